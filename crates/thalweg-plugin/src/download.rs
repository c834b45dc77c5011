//! Fetching a package by its url (`portable-plugins.md` 2).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::HostConfig;

/// For the whole download.
const PATIENCE: Duration = Duration::from_secs(600);

/// Whether an url can name a package at all.
pub(crate) fn is_package_url(url: &str) -> bool {
    let rest = ["http://", "https://", "file://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty()) && url.ends_with(".zip")
}

/// Copies the package to `target`.
pub(crate) fn download(url: &str, target: &Path, config: &HostConfig) -> Result<(), String> {
    let written = match url.strip_prefix("file://") {
        Some(path) => {
            let path = decode(path);
            allowed(&path, config)?;
            File::open(&path).and_then(|from| write(from, target))
        }
        None => {
            let settings = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build();
            let response =
                ureq::Agent::new_with_config(settings).get(url).call().map_err(|error| error.to_string())?;
            write(response.into_body().into_reader(), target)
        }
    };
    written.map_err(|error| error.to_string())
}

fn write(mut from: impl io::Read, target: &Path) -> io::Result<()> {
    io::copy(&mut from, &mut File::create(target)?).map(drop)
}

/// Whether a path may be read at all.
pub(crate) fn allowed(path: &Path, config: &HostConfig) -> Result<(), String> {
    if config.allow_external_files {
        return Ok(());
    }
    let uploads = config.data_dir.join("uploads");
    let inside = match (fs::canonicalize(path), fs::canonicalize(&uploads)) {
        (Ok(path), Ok(uploads)) => path.starts_with(uploads),
        _ => false,
    };
    if inside { Ok(()) } else { Err(format!("file access outside of {} is not allowed", uploads.display())) }
}

/// `%20` and the like.
pub(crate) fn decode(path: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let code = (bytes[i] == b'%').then(|| path.get(i + 1..i + 3)).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_zip_files_are_packages() {
        for good in ["http://x/a.zip", "https://x/a.zip", "file:///tmp/a.zip"] {
            assert!(is_package_url(good), "{good}");
        }
        for bad in ["", "a.zip", "ftp://x/a.zip", "http://x/a.tar", "file://", "/tmp/a.zip"] {
            assert!(!is_package_url(bad), "{bad}");
        }
        assert_eq!(decode("/a%20b/%zz"), PathBuf::from("/a b/%zz"));
    }

    #[test]
    fn files_outside_of_uploads_are_refused_when_they_must_be() {
        let home = tempfile::tempdir().unwrap();
        let mut config = HostConfig::in_home(home.path());
        config.allow_external_files = false;
        let uploads = config.data_dir.join("uploads");
        fs::create_dir_all(&uploads).unwrap();
        fs::write(uploads.join("a.zip"), "in").unwrap();
        fs::write(home.path().join("b.zip"), "out").unwrap();
        let target = home.path().join("t");
        let url = |path: &Path| format!("file://{}", path.display());
        assert_eq!(download(&url(&uploads.join("a.zip")), &target, &config), Ok(()));
        for outside in [home.path().join("b.zip"), uploads.join("../../b.zip")] {
            let error = download(&url(&outside), &target, &config).unwrap_err();
            assert!(error.contains("is not allowed"), "{error}");
        }
    }
}
