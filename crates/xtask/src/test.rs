//! `cargo xtask test`: everything, with what it needs set up first; `cargo xtask test plugins` and `… rest`: these alone.

use std::path::Path;
use std::process::Command;

use crate::{cargo, check, root, schemathesis, setup};

/// Sets up, checks, and runs all tests; with a filter only the tests whose name holds it.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let tools = setup::run()?;
    if args == ["plugins"] {
        return of_plugins(&tools.python);
    }
    if args == ["rest"] {
        return of_rest(&tools.python);
    }
    if args.is_empty() {
        check::run()?;
    }
    crate::run(&mut cargo(&["build", "-p", "thalweg-server"]))?;
    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    tests.args(args);
    tests.env("THALWEG_TEST_PYTHON", &tools.python).env("THALWEG_REQUIRE_SERVERS", "1");
    crate::run(&mut tests)?;
    if args.is_empty() {
        on_nng(&tools.python)?;
        python_side()
    } else {
        Ok(())
    }
}

/// Everything about plugins: the wire, the host with its fault injection on both SDKs and both transports, the engine
/// with plugins in it, and the Python side.
fn of_plugins(python: &Path) -> Result<(), String> {
    crate::run(&mut cargo(&["build", "-p", "thalweg-server"]))?;
    let suites: [&[&str]; 3] = [
        &["test", "--no-fail-fast", "-p", "thalweg-sp", "-p", "thalweg-plugin"],
        &["test", "-p", "thalweg-server", "plugin"],
        &["test", "-p", "thalweg-tests", "--test", "suite", "--", "plugin", "python"],
    ];
    for suite in suites {
        let mut tests = cargo(suite);
        crate::run(tests.env("THALWEG_TEST_PYTHON", python).env("THALWEG_REQUIRE_SERVERS", "1"))?;
    }
    on_nng(python)?;
    python_side()
}

/// How many rules are made, listed and removed.
const RULES: &str = "5000";

/// Tests of the management interface: all whose names hold one of these.
const OF_REST: [&str; 8] = [
    "rest::",
    "front::",
    "routes::",
    "cycle::",
    "dashboard::",
    "migration::",
    "services::",
    "crash::every_acknowledged_change",
];

/// Everything about the management interface: each call against the specification, bad input, many rules with time and
/// memory, kill -9 in the middle of changes, and requests made up from its document.
fn of_rest(python: &Path) -> Result<(), String> {
    crate::run(&mut cargo(&["build", "-p", "thalweg-server"]))?;
    crate::run(cargo(&["test", "-p", "thalweg-server"]).env("THALWEG_TEST_PYTHON", python))?;
    let suite = ["test", "-p", "thalweg-tests", "--test", "suite", "--"];
    let mut tests = cargo(&suite);
    tests.args(OF_REST).args(["--skip", "thousands_of_rules"]);
    crate::run(tests.env("THALWEG_TEST_PYTHON", python).env("THALWEG_REQUIRE_SERVERS", "1"))?;
    let mut cycle = cargo(&suite);
    cycle.args(["thousands_of_rules", "--nocapture"]);
    crate::run(cycle.env("THALWEG_CYCLE_RULES", RULES).env("THALWEG_REQUIRE_SERVERS", "1"))?;
    schemathesis::run(&[])
}

/// The acceptance tests of plugins once more, on nng's own library, which cmake builds.
fn on_nng(python: &Path) -> Result<(), String> {
    if let Err(why) = setup::cmake() {
        crate::eprint_line(&format!(
            "{why}; without cmake the plugin tests are not repeated with --features nng"
        ));
        return Ok(());
    }
    let mut tests = cargo(&["test", "-p", "thalweg-plugin", "--features", "nng"]);
    crate::run(tests.env("THALWEG_TEST_PYTHON", python).env("THALWEG_REQUIRE_SERVERS", "1"))
}

/// The Python side's own tests need nothing but python3; each plugin's folder is a root of its own.
fn python_side() -> Result<(), String> {
    let folders = std::fs::read_dir(root().join("plugins")).map_err(|error| format!("plugins: {error}"))?;
    for folder in folders.filter_map(|entry| Some(entry.ok()?.path())) {
        let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        if files.map(|file| file.file_name()).any(|name| name.to_string_lossy().starts_with("test_")) {
            let mut tests = Command::new("python3");
            crate::run(tests.args(["-m", "unittest", "discover", "-s"]).arg(folder))?;
        }
    }
    Ok(())
}

/// Starts an engine and a broker and drives them with `tests/conformance/run.py`.
pub(crate) fn conformance(args: &[String]) -> Result<(), String> {
    let tools = setup::run()?;
    crate::run(&mut cargo(&["build", "--release", "-p", "thalweg-server"]))?;
    let mut script = Command::new(tools.python);
    crate::run(script.arg(root().join("tests/conformance/against.py")).args(args))
}
