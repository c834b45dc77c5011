//! `cargo xtask fuzz`: random input for a long time, from the `thalweg-fuzz` package in the `fuzz` profile.

use std::fs;
use std::process::Command;

use crate::{cargo, root};

/// Memory of the process, in KiB: an input that makes something huge dies of it instead of taking the machine along.
const MEMORY: &str = "4000000";

/// Arguments go to the binary. It is optimised a little, with overflow checks and debug assertions on.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    crate::run(&mut cargo(&["build", "--quiet", "--profile", "fuzz", "-p", "thalweg-fuzz"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let note = target.join("fuzz").join("current-input");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\"")]);
    command.arg(target.join("fuzz").join("thalweg-fuzz")).env("THALWEG_FUZZ_NOTE", &note);
    if !args.iter().any(|arg| ["--seconds", "--inputs", "--at"].contains(&arg.as_str())) {
        command.args(["--seconds", "600"]);
    }
    let status = command.args(args).current_dir(root()).status();
    let status = status.map_err(|error| format!("cannot run thalweg-fuzz: {error}"))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(_) => Err("inputs above go wrong".to_owned()),
        None => {
            let input = fs::read_to_string(&note).unwrap_or_default();
            Err(format!("the process died ({status}) of: cargo xtask fuzz {}", input.trim()))
        }
    }
}
