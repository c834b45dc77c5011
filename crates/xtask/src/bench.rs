//! `cargo xtask bench`: the figures, from the `benches` package in the `dist` profile.

use crate::cargo;

/// Runs the benches; arguments go to them.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    crate::run(cargo(&["run", "--quiet", "--profile", "dist", "-p", "thalweg-benches", "--"]).args(args))
}
