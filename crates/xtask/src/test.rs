//! `cargo xtask test`: everything, with what it needs set up first.

use std::path::Path;
use std::process::Command;

use crate::{cargo, check, root, setup};

/// Sets up, checks, and runs all tests; with a filter only the tests whose name holds it.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let tools = setup::run()?;
    if args.is_empty() {
        check::run()?;
    }
    crate::run(&mut cargo(&["build", "-p", "thalweg-server"]))?;
    let mut tests = cargo(&["test", "--workspace"]);
    tests.args(args);
    tests.env("THALWEG_TEST_PYTHON", &tools.python).env("THALWEG_REQUIRE_SERVERS", "1");
    crate::run(&mut tests)?;
    if args.is_empty() {
        on_nng(&tools.python)?;
        plugins()
    } else {
        Ok(())
    }
}

/// The acceptance tests of plugins once more, on nng's own library, which cmake builds.
fn on_nng(python: &Path) -> Result<(), String> {
    if Command::new("cmake").arg("--version").output().is_err() {
        crate::eprint_line("no cmake: the plugin tests are not repeated with --features nng");
        return Ok(());
    }
    let mut tests = cargo(&["test", "-p", "thalweg-plugin", "--features", "nng"]);
    crate::run(tests.env("THALWEG_TEST_PYTHON", python).env("THALWEG_REQUIRE_SERVERS", "1"))
}

/// The Python side's own tests need nothing but python3.
fn plugins() -> Result<(), String> {
    let mut tests = Command::new("python3");
    crate::run(tests.args([
        "-m",
        "unittest",
        "discover",
        "-s",
        "plugins",
        "-p",
        "test_*.py",
        "-t",
        "plugins",
    ]))
}

/// Starts an engine and a broker and drives them with `tests/conformance/run.py`.
pub(crate) fn conformance(args: &[String]) -> Result<(), String> {
    let tools = setup::run()?;
    crate::run(&mut cargo(&["build", "--release", "-p", "thalweg-server"]))?;
    let mut script = Command::new(tools.python);
    crate::run(script.arg(root().join("tests/conformance/against.py")).args(args))
}
