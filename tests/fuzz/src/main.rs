//! The command: `cargo xtask fuzz [--target T] [--seconds N] [--seed S] [--at K] [--inputs N]`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use thalweg_fuzz::{Search, TARGETS, Target, search};

/// How long one input may take.
const PATIENCE: Duration = Duration::from_secs(2);

struct Options {
    targets: Vec<&'static Target>,
    search: Search,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match options(&args) {
        Ok(options) => run(&options),
        Err(why) => {
            say(&why);
            ExitCode::from(2)
        }
    }
}

fn options(args: &[String]) -> Result<Options, String> {
    let mut targets: Vec<&'static Target> = TARGETS.iter().collect();
    let note = std::env::var_os("THALWEG_FUZZ_NOTE").map(PathBuf::from);
    let mut search = Search { seed: 1, first: 0, inputs: u64::MAX, time: None, patience: PATIENCE, note };
    let mut seconds = None;
    for pair in args.chunks(2) {
        let [name, value] = pair else { return Err(format!("{} needs a value", pair.join(" "))) };
        let number = || value.parse::<u64>().map_err(|_| format!("{name} needs a number, not {value}"));
        match name.as_str() {
            "--target" => {
                let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
                let found = TARGETS.iter().find(|target| target.name == value);
                targets = vec![found.ok_or_else(|| format!("no target {value}: {}", names.join(", ")))?];
            }
            "--seconds" => seconds = Some(number()?),
            "--seed" => search.seed = number()?,
            "--inputs" => search.inputs = number()?,
            "--at" => (search.first, search.inputs) = (number()?, 1),
            _ => return Err(format!("unknown option {name}: --target, --seconds, --seed, --inputs or --at")),
        }
    }
    if search.inputs == u64::MAX {
        let each = Duration::from_secs(seconds.unwrap_or(60)) / targets.len() as u32;
        search.time = Some(each);
    }
    Ok(Options { targets, search })
}

/// The time is shared out among the targets; `--inputs` counts for each.
fn run(options: &Options) -> ExitCode {
    let mut found = 0;
    for target in &options.targets {
        say(&format!("{:<9} {}", target.name, target.claim));
        let started = std::time::Instant::now();
        let outcome = search(target, &options.search);
        for finding in &outcome.findings {
            say(&format!("\n=== {} ===\n{}\n", target.name, finding.describe(target, options.search.seed)));
        }
        let seconds = started.elapsed().as_secs_f64();
        let count = outcome.findings.len();
        found += count;
        say(&format!(
            "{:<9} {} inputs in {seconds:.0} s (seed {}), {count} found",
            target.name, outcome.inputs, options.search.seed
        ));
    }
    if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}
