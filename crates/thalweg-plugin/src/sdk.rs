//! The bundled Python modules `ekuiper` and `thalweg_sdk`: carried in the binary, unpacked where plugins find them
//! first.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::config::HostConfig;

macro_rules! files {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../plugins/sdk/", $folder, $path)))),*]
    };
}

/// What both plugins of the old kind (`ekuiper`) and of ours (`thalweg_sdk`) import.
const FILES: [&[(&str, &str)]; 2] = [
    files![
        "ekuiper_compat/":
        "ekuiper/__init__.py",
        "ekuiper/function.py",
        "ekuiper/sink.py",
        "ekuiper/source.py",
        "ekuiper/runtime/__init__.py",
        "ekuiper/runtime/context.py",
        "ekuiper/runtime/contextimpl.py",
        "ekuiper/runtime/plugin.py",
    ],
    files![
        "":
        "thalweg_sdk/__init__.py",
        "thalweg_sdk/api.py",
        "thalweg_sdk/arrow.py",
        "thalweg_sdk/calls.py",
        "thalweg_sdk/channel.py",
        "thalweg_sdk/context.py",
        "thalweg_sdk/discover.py",
        "thalweg_sdk/frames.py",
        "thalweg_sdk/hints.py",
        "thalweg_sdk/host.py",
        "thalweg_sdk/log.py",
        "thalweg_sdk/outlet.py",
        "thalweg_sdk/plugin.py",
        "thalweg_sdk/project.py",
        "thalweg_sdk/region.py",
        "thalweg_sdk/sp.py",
        "thalweg_sdk/stub.py",
        "thalweg_sdk/symbol.py",
        "thalweg_sdk/testing.py",
        "thalweg_sdk/values.py",
    ],
];

/// The folder that goes onto PYTHONPATH.
fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("sdk").join("python")
}

/// Writes the modules below a folder; the folder in there goes onto PYTHONPATH.
///
/// # Errors
/// A file cannot be written; the text names it.
pub fn unpack_sdk(below: &Path) -> Result<PathBuf, String> {
    unpack(below)?;
    let folder = folder(below);
    folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))
}

/// Writes the modules' files, unless they are there already.
pub(crate) fn unpack(data_dir: &Path) -> Result<(), String> {
    for (path, text) in FILES.into_iter().flatten() {
        let path = folder(data_dir).join(path);
        if fs::read_to_string(&path).is_ok_and(|there| there == *text) {
            continue;
        }
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        written.map_err(|error| format!("cannot write the bundled SDK to {}: {error}", path.display()))?;
    }
    Ok(())
}

/// Puts the modules in front of everything that the process would find otherwise.
pub(crate) fn put_first(command: &mut Command, config: &HostConfig) -> Result<(), String> {
    let mut path = OsString::from(unpacked(config)?);
    if let Some(further) = config.python_path.as_ref().filter(|path| !path.is_empty()) {
        path.push(":");
        path.push(further);
    }
    command.env("PYTHONPATH", path);
    Ok(())
}

/// The folder with the modules, with everything in it.
pub(crate) fn unpacked(config: &HostConfig) -> Result<PathBuf, String> {
    unpack(&config.data_dir)?;
    let folder = folder(&config.data_dir);
    folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))
}

/// The version of the module `thalweg_sdk`.
pub(crate) fn version() -> &'static str {
    let text = include_str!("../../../plugins/sdk/thalweg_sdk/__init__.py");
    let rest = text.split_once("__version__ = \"").map_or("0", |(_, rest)| rest);
    rest.split('"').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(folder: &Path, below: &Path, found: &mut Vec<String>) {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                modules(&path, below, found);
            } else if path.extension().is_some_and(|extension| extension == "py") {
                found.push(path.strip_prefix(below).unwrap().display().to_string());
            }
        }
    }

    #[test]
    fn every_module_of_both_packages_is_carried() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/sdk");
        let mut there = Vec::new();
        modules(&sdk.join("thalweg_sdk"), &sdk, &mut there);
        modules(&sdk.join("ekuiper_compat/ekuiper"), &sdk.join("ekuiper_compat"), &mut there);
        let mut carried: Vec<String> =
            FILES.into_iter().flatten().map(|(path, _)| (*path).to_owned()).collect();
        there.sort();
        carried.sort();
        assert_eq!(carried, there);
    }
}
