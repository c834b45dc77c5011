//! Figures: kernels and operators beside a plain yardstick in the same run, the hot path beside its goals, and loads
//! from end to end.
//!
//! `cargo xtask bench [kernels|operators|hot-path|plugins|e2e] [--json]`. Absolute numbers move with the machine; the ratios are the result.

mod allocations;
mod e2e;
mod hot_path;
mod kernels;
mod measure;
mod operators;
mod plugins;
mod report;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let as_json = args.iter().any(|arg| arg == "--json");
    let report = report::Report::new(as_json);
    let filter = args.iter().skip(1).find(|arg| !arg.starts_with("--")).map_or("", String::as_str);
    let outcome = match args.first().map(String::as_str) {
        Some("e2e") => e2e::run(&args[1..]),
        Some("hot-path") => hot_path::run(&args[1..]),
        None | Some("kernels" | "--json") => {
            kernels::run(&report, filter);
            Ok(())
        }
        Some("plugins") => plugins::run(&args[1..]),
        Some("operators") => operators::run(&report, filter, &args),
        Some(other) => Err(format!("unknown bench {other}: kernels, operators, hot-path, plugins or e2e")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            report::complain(&why);
            ExitCode::FAILURE
        }
    }
}
