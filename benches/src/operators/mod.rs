//! Every operator by itself at several batch sizes, beside a naive interpreter of rows in the same run.
//!
//! The operators are the real ones: a statement is planned, the operator of one plan node is built as the runtime
//! builds it, and fed with what the nodes below it gave for decoded JSON (`subject.rs`). The yardstick is what one
//! writes first: rows are shared `serde_json` maps, expressions a tree that is walked for each row (`plain.rs`).
//! Both only hand their results on; nothing is printed. What they do is listed in `cases.rs`.

mod cases;
mod edges;
mod plain;
mod subject;
#[cfg(test)]
mod tests;

use crate::measure::{Phase, Variant, nanos_per_item};
use crate::report::Report;
use cases::{CASES, Case};

/// Rows handed over at a time.
pub(crate) const SIZES: [usize; 4] = [1, 16, 256, 1_024];

/// So many rows are made ready at a time, for both: they get their times and are looked at, so that they lie in the
/// cache as what has just been decoded does. In an engine too rows do not come from far away.
const PREPARED: usize = 256;

/// Nanoseconds per row of one way at one batch size, and of the yardstick.
struct Figure<'a> {
    operator: &'a str,
    batch: usize,
    ours: f64,
    plain: f64,
}

/// All operators, or those whose name holds the filter; with `--batch=N` at that size alone.
pub(crate) fn run(report: &Report, filter: &str, args: &[String]) -> Result<(), String> {
    report.operators_head();
    let only = args.iter().find_map(|arg| arg.strip_prefix("--batch=")?.parse::<usize>().ok());
    let sizes = || SIZES.into_iter().filter(move |size| only.is_none_or(|only| only == *size));
    let wanted = |name: &&str| name.contains(filter);
    for name in ["decode", "encode"].iter().filter(|name| wanted(name)) {
        for batch in sizes() {
            let ways = if *name == "decode" { edges::decode(batch)? } else { edges::encode(batch)? };
            show(report, name, batch, ways);
        }
    }
    for case in CASES.iter().filter(|case| wanted(&case.name)) {
        for batch in sizes() {
            show(report, case.name, batch, ways(case, batch)?);
        }
    }
    Ok(())
}

/// The yardstick and the operator.
fn ways(case: &Case, batch: usize) -> Result<Vec<Variant<'static>>, String> {
    let mut subject = subject::Subject::new(case, batch)?;
    let mut plain = plain::Feeder::new(case, batch)?;
    let prepared = (PREPARED / batch).max(1);
    Ok(vec![
        Variant::prepared("plain", prepared, move |phase| match phase {
            Phase::Prepare => plain.prepare(prepared),
            Phase::Work => plain.turn(),
        }),
        Variant::prepared("ours", prepared, move |phase| match phase {
            Phase::Prepare => subject.prepare(prepared),
            Phase::Work => subject.turn(),
        }),
    ])
}

fn show(report: &Report, operator: &str, batch: usize, ways: Vec<Variant<'_>>) {
    if let [(_, plain), (_, ours)] = nanos_per_item(batch, ways)[..] {
        report.operator(&Figure { operator, batch, ours, plain });
    }
}

#[allow(clippy::print_stdout)]
impl Report {
    fn operators_head(&self) {
        if !self.is_json() {
            println!("{:<34} {:>6} {:>10} {:>12} {:>7}", "operator", "batch", "ns/row", "yardstick", "ratio");
        }
    }

    fn operator(&self, figure: &Figure<'_>) {
        let Figure { operator, batch, ours, plain } = figure;
        let ratio = plain / ours;
        if self.is_json() {
            let line = serde_json::json!({
                "operator": operator, "batch": batch, "ns_per_row": ours, "yardstick_ns_per_row": plain, "ratio": ratio
            });
            println!("{line}");
        } else {
            println!("{operator:<34} {batch:>6} {ours:>10.1} {plain:>12.1} {ratio:>7.2}");
        }
    }
}
