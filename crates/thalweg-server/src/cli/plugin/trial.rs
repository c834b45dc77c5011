//! `thalweg plugin test`: the plugin against a stand-in for the engine, with the SDK that this binary carries, then the
//! tests that its author wrote.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Failure, Scratch, TestArgs, interpreter, package};

pub(super) fn run(args: &TestArgs) -> Result<String, Failure> {
    let folder = args.folder.as_path();
    if !folder.is_dir() {
        return Err(Failure::Usage(format!("there is no folder {}", folder.display())));
    }
    let own = if package::is_project(folder) {
        None
    } else {
        package::bundle(folder)?.interpreter(folder).filter(|python| python.is_file())
    };
    let python = interpreter(args.python.as_ref().or(own.as_ref()))?;
    let scratch = Scratch::new()?;
    let sdk = thalweg_plugin::unpack_sdk(&scratch.0).map_err(Failure::Refused)?;
    let mut trial = python_with(&python, std::slice::from_ref(&sdk));
    trial.args(["-m", "thalweg_sdk.testing"]).arg(folder);
    let mut failed = Vec::new();
    if !succeeds(&mut trial)? {
        failed.push("the trial");
    }
    let mut path = vec![sdk];
    path.extend(
        ["src", "."].map(|part| folder.join(part)).into_iter().filter_map(|path| path.canonicalize().ok()),
    );
    for tests in [folder.to_owned(), folder.join("tests")].into_iter().filter(|folder| has_tests(folder)) {
        let mut command = python_with(&python, &path);
        command.args(["-m", "unittest", "discover", "-s"]).arg(&tests);
        if !succeeds(&mut command)? {
            failed.push("its own tests");
        }
    }
    match failed.as_slice() {
        [] => Ok(String::new()),
        parts => Err(Failure::Refused(format!("{} failed: {}", folder.display(), parts.join(" and ")))),
    }
}

/// The interpreter with these folders first among those of modules; it leaves no caches in the plugin's folder.
fn python_with(python: &Path, folders: &[PathBuf]) -> Command {
    let mut command = Command::new(python);
    let mut path = OsString::new();
    for folder in folders {
        path.push(folder);
        path.push(":");
    }
    path.push(std::env::var_os("PYTHONPATH").unwrap_or_default());
    command.env("PYTHONPATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn succeeds(command: &mut Command) -> Result<bool, Failure> {
    let ended = command.status().map(|status| status.success());
    ended.map_err(|why| Failure::Refused(format!("cannot run {}: {why}", command.get_program().display())))
}

fn has_tests(folder: &Path) -> bool {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.map(|file| file.file_name()).any(|name| {
        let name = name.to_string_lossy();
        name.starts_with("test_") && name.ends_with(".py")
    })
}
