//! `cargo xtask bench`: the figures, from the `benches` package in the `dist` profile.

use crate::cargo;

/// Runs the benches; arguments go to them. A load from end to end needs the binary beside them.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    if args.first().is_some_and(|name| name == "e2e") {
        crate::run(&mut cargo(&["build", "--profile", "dist", "-p", "thalweg-server"]))?;
    }
    crate::run(cargo(&["run", "--quiet", "--profile", "dist", "-p", "thalweg-benches", "--"]).args(args))
}
