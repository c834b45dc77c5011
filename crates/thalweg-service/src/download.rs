//! Fetching a package by its url.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ServiceConfig;
use crate::client::agent;

/// For the whole download.
const PATIENCE: Duration = Duration::from_secs(600);
/// The largest package.
const LARGEST: u64 = 64 << 20;

/// Whether an url can name a file at all.
pub(crate) fn is_url(url: &str) -> bool {
    match url.split_once("://") {
        Some(("http" | "https", rest)) => !rest.is_empty() && !rest.starts_with('/'),
        Some(("file", path)) => path.starts_with('/') && path.len() > 1,
        _ => false,
    }
}

/// Copies the file to `target`.
pub(crate) fn download(url: &str, target: &Path, config: &ServiceConfig) -> Result<(), String> {
    let written = match url.strip_prefix("file://") {
        Some(path) => {
            let path = PathBuf::from(decode(path));
            allowed(&path, config)?;
            File::open(path).and_then(|from| write(from, target))
        }
        None => {
            let response =
                agent(PATIENCE, false, 1, config).get(url).call().map_err(|why| why.to_string())?;
            if !response.status().is_success() {
                return Err(format!("http status {}", response.status()));
            }
            write(response.into_body().into_reader(), target)
        }
    };
    written.map_err(|why| why.to_string())
}

fn write(from: impl Read, target: &Path) -> io::Result<()> {
    let copied = io::copy(&mut from.take(LARGEST + 1), &mut File::create(target)?)?;
    if copied > LARGEST {
        return Err(io::Error::other(format!("it is larger than {} MB", LARGEST >> 20)));
    }
    Ok(())
}

fn allowed(path: &Path, config: &ServiceConfig) -> Result<(), String> {
    if config.allow_external_files {
        return Ok(());
    }
    let uploads = config.data_dir.join("uploads");
    let inside = match (fs::canonicalize(path), fs::canonicalize(&uploads)) {
        (Ok(path), Ok(uploads)) => path.starts_with(uploads),
        _ => false,
    };
    if inside { Ok(()) } else { Err(format!("file access denied: path must be under {}", uploads.display())) }
}

/// `%20` and the like.
fn decode(path: &str) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt;
    let (mut rest, mut out) = (path, Vec::with_capacity(path.len()));
    while let Some(at) = rest.find('%') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let byte = rest.get(at + 1..at + 3).and_then(|code| u8::from_str_radix(code, 16).ok());
        out.push(byte.unwrap_or(b'%'));
        rest = &rest[at + if byte.is_some() { 3 } else { 1 }..];
    }
    out.extend_from_slice(rest.as_bytes());
    std::ffi::OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths_and_escapes_are_read() {
        for good in ["http://x/a.zip", "https://x", "file:///tmp/a.zip"] {
            assert!(is_url(good), "{good}");
        }
        for bad in ["", "a.zip", "ftp://x/a.zip", "http://", "file://a", "file:///", "http:///x"] {
            assert!(!is_url(bad), "{bad}");
        }
        assert_eq!(decode("/a%20b/%zz%"), "/a b/%zz%");
    }
}
