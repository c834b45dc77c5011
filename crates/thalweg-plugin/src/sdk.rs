//! The bundled Python module `ekuiper`: carried in the binary, unpacked where plugins find it first.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::config::HostConfig;

macro_rules! module {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../plugins/sdk/ekuiper_compat/", $path)))),*]
    };
}

const FILES: &[(&str, &str)] = module![
    "ekuiper/__init__.py",
    "ekuiper/function.py",
    "ekuiper/sink.py",
    "ekuiper/source.py",
    "ekuiper/runtime/__init__.py",
    "ekuiper/runtime/context.py",
    "ekuiper/runtime/contextimpl.py",
    "ekuiper/runtime/plugin.py",
    "ekuiper/runtime/sp.py",
    "ekuiper/runtime/symbol.py",
];

/// The folder that goes onto PYTHONPATH.
fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("sdk").join("python")
}

/// Writes the module's files, unless they are there already.
pub(crate) fn unpack(data_dir: &Path) -> Result<(), String> {
    for (path, text) in FILES {
        let path = folder(data_dir).join(path);
        if fs::read_to_string(&path).is_ok_and(|there| there == *text) {
            continue;
        }
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        written.map_err(|error| format!("cannot write the bundled SDK to {}: {error}", path.display()))?;
    }
    Ok(())
}

/// Puts the module in front of everything that the process would find otherwise.
pub(crate) fn put_first(command: &mut Command, config: &HostConfig) -> Result<(), String> {
    unpack(&config.data_dir)?;
    let folder = folder(&config.data_dir);
    let folder = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut path = OsString::from(folder);
    if let Some(further) = config.python_path.as_ref().filter(|path| !path.is_empty()) {
        path.push(":");
        path.push(further);
    }
    command.env("PYTHONPATH", path);
    Ok(())
}
