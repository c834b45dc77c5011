//! The project's own commands.
//!
//! `cargo xtask test [filter]`, `check`, `docs`, `bench …`, `fuzz …`: one file each. Nothing outside the standard library,
//! so that the first command of a fresh clone is quick to build.

mod bench;
mod check;
mod docs;
mod fuzz;
mod schemathesis;
mod setup;
mod test;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo xtask <command>

  test [filter]     set up what the tests need, then run all of them (or those whose name holds the filter)
  test plugins      all tests of plugins: the wire, the host with fault injection, both SDKs, both transports, the Python side
  test rest         all of the management interface: every call, bad input, 5,000 rules, kill -9, schemathesis
  check             formatting, clippy, documentation: everything CI refuses, without the tests
  docs              write the pages that are made: docs/reference/functions, docs/guide/coming-from-ekuiper.md
  setup             only set up what the tests need: mosquitto, the Python environment
  conformance [..]  start an engine and a broker and run tests/conformance/run.py against them
  bench [kernels|operators|hot-path|plugins|e2e ..]  measure; --json prints one JSON line per figure
  schemathesis [..] random requests by the document of the REST interface, in both modes of authentication (1 min each)
  fuzz [--target T] [--seconds N] [--seed S]  try random input on sql, expr, window, json, template, mqtt (600 s)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let outcome = match args.first().map(String::as_str) {
        Some("test") => test::run(rest),
        Some("check") => check::run(),
        Some("docs") => docs::run(),
        Some("setup") => setup::run().map(drop),
        Some("conformance") => test::conformance(rest),
        Some("bench") => bench::run(rest),
        Some("schemathesis") => schemathesis::run(rest),
        Some("fuzz") => fuzz::run(rest),
        None | Some("help" | "-h" | "--help") => say(HELP),
        Some(other) => Err(format!("unknown command {other}\n\n{HELP}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprint_line(&why);
            ExitCode::FAILURE
        }
    }
}

/// The top of the checkout.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Prints the command, runs it at the top of the checkout, and fails with it.
fn run(command: &mut Command) -> Result<(), String> {
    let shown = shown(command);
    say(&format!("$ {shown}\n"))?;
    let status =
        command.current_dir(root()).status().map_err(|error| format!("cannot run {shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("failed: {shown} ({status})")) }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// `cargo` as this process was started by.
fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

#[allow(clippy::print_stdout)]
fn say(text: &str) -> Result<(), String> {
    print!("{text}");
    Ok(())
}

#[allow(clippy::print_stderr)]
fn eprint_line(text: &str) {
    eprintln!("xtask: {text}");
}
