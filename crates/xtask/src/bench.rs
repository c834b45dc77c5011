//! `cargo xtask bench`: the figures, from the `benches` package in the `dist` profile.

use std::process::Stdio;

use crate::{cargo, eprint_line, root};

/// Runs the benches; arguments go to them. Those that start an engine need the binary beside them. Standard output holds
/// figures and nothing else, so that `--json` can be read by programs.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let mut packages = vec!["build", "--quiet", "--profile", "dist", "-p", "thalweg-benches"];
    if args.first().is_some_and(|name| matches!(name.as_str(), "e2e" | "hot-path" | "plugins")) {
        packages.extend(["-p", "thalweg-server"]);
    }
    eprint_line("building in the profile dist, which takes minutes the first time");
    silent(&packages, &[])?;
    silent(&["run", "--quiet", "--profile", "dist", "-p", "thalweg-benches", "--"], args)
}

fn silent(words: &[&str], args: &[String]) -> Result<(), String> {
    let mut command = cargo(words);
    let status = command.args(args).current_dir(root()).stdin(Stdio::null()).status();
    let status = status.map_err(|why| format!("cannot run cargo: {why}"))?;
    if status.success() { Ok(()) } else { Err(format!("failed: cargo {} ({status})", words.join(" "))) }
}
