//! Files that a user names by an url: from the network, or from this machine, within what the configuration allows
//! (`rest-api.md` 11, `connectors.md` N6.7). Services use the same client for their calls.

mod client;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use client::{Client, agent};

/// For a whole download.
const PATIENCE: Duration = Duration::from_secs(600);

/// What may be fetched.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// Files of this machine come from here if they may not come from everywhere.
    pub uploads: PathBuf,
    /// `basic.allowExternalFileAccess`: files from everywhere.
    pub allow_external_files: bool,
    /// `basic.enablePrivateNet`: hosts at private addresses (N6.7).
    pub allow_private_net: bool,
    /// The most bytes.
    pub largest: Option<u64>,
}

impl Fetch {
    /// Copies what a `file`, `http` or `https` url names to `target`.
    ///
    /// # Errors
    /// It cannot be had or written, is too large, or outside of what is allowed.
    pub fn download(&self, url: &str, target: &Path) -> Result<(), String> {
        let written = match url.strip_prefix("file://") {
            Some(path) => {
                let path = decode(path);
                self.check(&path)?;
                File::open(path).and_then(|from| self.write(from, target))
            }
            None => {
                let client = Client { timeout: PATIENCE, insecure: false, n_idle: 1 };
                let response =
                    agent(&client, self.allow_private_net).get(url).call().map_err(|why| why.to_string())?;
                if !response.status().is_success() {
                    return Err(format!("http status {}", response.status()));
                }
                self.write(response.into_body().into_reader(), target)
            }
        };
        written.map_err(|why| why.to_string())
    }

    fn write(&self, mut from: impl Read, target: &Path) -> io::Result<()> {
        let mut to = File::create(target)?;
        let Some(largest) = self.largest else { return io::copy(&mut from, &mut to).map(drop) };
        // One byte more tells that there is more.
        if io::copy(&mut from.take(largest.saturating_add(1)), &mut to)? > largest {
            return Err(io::Error::other(format!("it is larger than {} MB", largest >> 20)));
        }
        Ok(())
    }

    /// Whether a path of this machine may be read.
    ///
    /// # Errors
    /// It is outside of the folder from which files may come.
    pub fn check(&self, path: &Path) -> Result<(), String> {
        if self.allow_external_files {
            return Ok(());
        }
        let is_inside = match (fs::canonicalize(path), fs::canonicalize(&self.uploads)) {
            (Ok(path), Ok(uploads)) => path.starts_with(uploads),
            _ => false,
        };
        if is_inside {
            return Ok(());
        }
        Err(format!("file access denied: path must be under {}", self.uploads.display()))
    }
}

/// The path of a url, in which `%20` and the like stand for bytes.
pub fn decode(path: &str) -> PathBuf {
    let (mut rest, mut out) = (path, Vec::with_capacity(path.len()));
    while let Some(at) = rest.find('%') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let byte = rest.get(at + 1..at + 3).and_then(|code| u8::from_str_radix(code, 16).ok());
        out.push(byte.unwrap_or(b'%'));
        rest = &rest[at + if byte.is_some() { 3 } else { 1 }..];
    }
    out.extend_from_slice(rest.as_bytes());
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(home: &Path) -> Fetch {
        let uploads = home.join("uploads");
        fs::create_dir_all(&uploads).unwrap();
        Fetch { uploads, allow_external_files: false, allow_private_net: true, largest: None }
    }

    fn url(path: &Path) -> String {
        format!("file://{}", path.display())
    }

    #[test]
    fn escapes_of_urls_are_read() {
        assert_eq!(decode("/a%20b/%zz%"), PathBuf::from("/a b/%zz%"));
    }

    #[test]
    fn files_outside_of_uploads_are_refused_when_they_must_be() {
        let home = tempfile::tempdir().unwrap();
        let fetch = fetch(home.path());
        fs::write(fetch.uploads.join("a.zip"), "in").unwrap();
        fs::write(home.path().join("b.zip"), "out").unwrap();
        let target = home.path().join("t");
        assert_eq!(fetch.download(&url(&fetch.uploads.join("a.zip")), &target), Ok(()));
        for outside in [home.path().join("b.zip"), fetch.uploads.join("../../b.zip")] {
            let error = fetch.download(&url(&outside), &target).unwrap_err();
            assert!(error.starts_with("file access denied: path must be under "), "{error}");
            let all = Fetch { allow_external_files: true, ..fetch.clone() };
            assert_eq!(all.check(&outside), Ok(()));
        }
    }

    #[test]
    fn what_is_too_large_is_refused_and_what_just_fits_is_not() {
        let home = tempfile::tempdir().unwrap();
        let fetch = Fetch { largest: Some(1 << 20), ..fetch(home.path()) };
        let (file, target) = (fetch.uploads.join("a.zip"), home.path().join("t"));
        fs::write(&file, vec![0; 1 << 20]).unwrap();
        assert_eq!(fetch.download(&url(&file), &target), Ok(()));
        fs::write(&file, vec![0; (1 << 20) + 1]).unwrap();
        assert_eq!(fetch.download(&url(&file), &target), Err("it is larger than 1 MB".to_owned()));
    }

    #[test]
    fn n6_7_downloads_are_guarded() {
        let home = tempfile::tempdir().unwrap();
        let guarded = Fetch { allow_private_net: false, ..fetch(home.path()) };
        let target = home.path().join("t");
        // Nobody is asked: the address is refused before.
        for (fetch, url) in [
            (&guarded, "http://127.0.0.1:1/a.zip"),
            (&fetch(home.path()), "http://169.254.169.254/latest/meta-data"),
        ] {
            let error = fetch.download(url, &target).unwrap_err();
            assert!(error.contains("is in internal network"), "{error}");
        }
        assert!(!target.exists());
    }
}
