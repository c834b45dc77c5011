//! The figures of the hot path (`docs/design/hot-path.md` 8), each through the real server or the data plane's own code,
//! each beside its goal.
//!
//! `hot-path [--json] [--only NAME,NAME] [--save]`. Rates are messages per second of engine CPU, not of real time, so that
//! neighbours on the machine count less; rounds are interleaved, the median of five counts. The engine runs as a process
//! of its own between two ends of a broker that writes prebuilt packets and relays nothing.

mod allocations;
pub(crate) mod broker;
pub(crate) mod cpu;
mod decode;
pub(crate) mod figure;
mod latency;
mod mosquitto;
mod plain;
pub(crate) mod plant;
mod process;
pub(crate) mod rates;
mod relay;
mod rig;
mod rules;
pub(crate) mod sheet;
#[cfg(test)]
mod tests;

use crate::e2e::process::Started;
pub(crate) use cpu::own_seconds;
use plant::Plant;
use sheet::{Bench, Sheet};

/// Of each figure; their median counts.
const ROUNDS: usize = 5;

const BENCH: Bench = Bench { name: "hot-path", figures: figure::FIGURES };

/// Measures some of the figures.
pub(crate) type Part = fn(&mut Sheet) -> Result<(), String>;

/// The middle one.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The threshold of rule `at` of `n`: between 80 and 100, all different; of readings from 0 to 100 one in ten passes.
fn threshold(at: usize, n: usize) -> f64 {
    80.0 + 20.0 * (at as f64 + 0.5) / n as f64
}

/// Measures what was asked for.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let parts: [Part; 6] =
        [decode::run, rates_and_latency, allocations::run, rule_sets, mosquitto::run, process::run];
    run_parts(Sheet::new(&BENCH, args)?, &parts)
}

/// Runs all parts. One that cannot be measured is told and does not stop the others.
pub(crate) fn run_parts(mut sheet: Sheet, parts: &[Part]) -> Result<(), String> {
    let mut failed = Vec::new();
    for part in parts {
        if let Err(why) = part(&mut sheet) {
            crate::report::complain(&why);
            failed.push(why);
        }
    }
    sheet.finish()?;
    if failed.is_empty() { Ok(()) } else { Err(format!("{} parts could not be measured", failed.len())) }
}

fn rates_and_latency(sheet: &mut Sheet) -> Result<(), String> {
    if !sheet.wants_any(rates::FIGURES) && !sheet.wants_any(&["latency_p50_us", "latency_p99_us"]) {
        return Ok(());
    }
    let mut own = Started::default();
    let (engine, pid) = own.engine()?;
    let plant = Plant::new(&engine, pid)?;
    // Alone first: windows of the rates go on ticking.
    latency::run(sheet, &plant)?;
    rates::run(sheet, &plant)
}

fn rule_sets(sheet: &mut Sheet) -> Result<(), String> {
    if sheet.wants("rules_300x500_core_pct") {
        let mut own = Started::default();
        let (engine, pid) = own.engine()?;
        rules::steady(sheet, &Plant::new(&engine, pid)?)?;
    }
    if !sheet.wants_any(&["rules_300_us", "rules_3000_us", "rules_10000_us", "rule_kb"]) {
        return Ok(());
    }
    let mut own = Started::default();
    let (engine, pid) = own.engine()?;
    rules::run(sheet, &Plant::new(&engine, pid)?)
}
