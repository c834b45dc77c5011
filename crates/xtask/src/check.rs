//! `cargo xtask check`: what CI refuses besides failing tests.

use crate::cargo;

/// Formatting, lints and documentation, each as an error.
pub(crate) fn run() -> Result<(), String> {
    crate::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    crate::run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    let mut docs = cargo(&["doc", "--workspace", "--no-deps"]);
    crate::run(docs.env("RUSTDOCFLAGS", "-D warnings"))
}
