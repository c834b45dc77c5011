//! The figures of Python plugins (`docs/design/python-plugins.md`, issue 5) beside their goals.
//!
//! `plugins [--json] [--only NAME,NAME] [--save]`. Calls go through the real plugin host to a real Python process; a share
//! is the time of a bare CPython loop over values in memory, in an idle process of its own that is asked before and after
//! each slice, divided by the time that the engine's call took. A run is the median of its slices, a figure that of five
//! runs. The single call and the rule without Python have no yardstick.

mod bare;
mod neighbour;
mod workshop;

use std::path::PathBuf;

use thalweg_core::Column;

use crate::hot_path::cpu::Meter;
use crate::hot_path::figure::{least, most};
use crate::hot_path::sheet::{Bench, Sheet};
use crate::hot_path::{median, run_parts};
use bare::{Bare, Kind};
use workshop::{Load, Workshop};

const RUNS: usize = 5;
const SLICES: usize = 40;
/// Of one slice; their median counts, so that a call that was interrupted does not.
const CALLS: usize = 5;
/// For the share of the CPU.
const LONG_CALLS: usize = 400;
const SINGLE_CALLS: usize = 1000;

const BENCH: Bench = Bench {
    name: "plugins",
    figures: &[
        least("py_scalar_1024_pct", "% of bare loop", 50.0),
        least("py_scalar_4096_pct", "% of bare loop", 60.0),
        least("py_agg_list_1000_pct", "% of bare loop", 17.0),
        least("py_agg_numpy_group_1000_pct", "% of bare loop", 50.0),
        least("py_agg_numpy_all_1000_pct", "% of bare loop", 150.0),
        least("py_bundled_agg_1000_pct", "% of bare loop", 15.0),
        most("py_oldsdk_p50_us", "us/call", 100.0),
        most("py_engine_cpu_pct", "% of CPU", 12.0),
        most("py_neighbour_loss_pct", "%", 5.0),
    ],
};

/// A figure that is a share of the bare loop.
struct Share {
    figure: &'static str,
    function: &'static str,
    kind: Kind,
    load: fn() -> Load,
}

const SHARES: &[Share] = &[
    Share { figure: "py_scalar_1024_pct", function: "inc", kind: Kind::Scalar, load: || Load::numbers(1024) },
    Share { figure: "py_scalar_4096_pct", function: "inc", kind: Kind::Scalar, load: || Load::numbers(4096) },
    Share {
        figure: "py_agg_list_1000_pct",
        function: "list",
        kind: Kind::Aggregate,
        load: || Load::groups(64),
    },
    Share {
        figure: "py_agg_numpy_group_1000_pct",
        function: "group",
        kind: Kind::Aggregate,
        load: || Load::groups(64),
    },
    Share {
        figure: "py_agg_numpy_all_1000_pct",
        function: "all",
        kind: Kind::Aggregate,
        load: || Load::groups(64),
    },
    Share {
        figure: "py_bundled_agg_1000_pct",
        function: "bundled",
        kind: Kind::Aggregate,
        load: || Load::groups(64),
    },
];

/// Measures what was asked for.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    run_parts(Sheet::new(&BENCH, args)?, &[batched, single, neighbour::run])
}

fn batched(sheet: &mut Sheet) -> Result<(), String> {
    let wanted: Vec<&Share> = SHARES.iter().filter(|share| sheet.wants(share.figure)).collect();
    if wanted.is_empty() && !sheet.wants("py_engine_cpu_pct") {
        return Ok(());
    }
    let python = workshop::python_with_numpy().or_else(|why| {
        crate::report::complain(&format!("{why}: only what needs no numpy is measured"));
        Ok::<_, String>(PathBuf::from("python3"))
    })?;
    let workshop = Workshop::open("n", &python, true)?;
    let mut bare = Bare::start(&python)?;
    let mut out = Column::new();
    for share in wanted {
        match measure(&workshop, &mut bare, share, &mut out) {
            Err(why) => crate::report::complain(&format!("{}: {why}", share.figure)),
            Ok((value, note)) => sheet.figure(share.figure, value, &note),
        }
    }
    if sheet.wants("py_engine_cpu_pct") {
        let (share, note) = cpu_share(&workshop, &SHARES[0], &mut out)?;
        sheet.figure("py_engine_cpu_pct", share, &note);
        for other in &SHARES[1..] {
            if let Ok((share, _)) = cpu_share(&workshop, other, &mut out) {
                let name = other.figure.trim_end_matches("_pct");
                sheet.extra(&format!("{name}_engine_cpu_pct"), share, "% of CPU");
            }
        }
    }
    Ok(())
}

/// Percent of the bare loop.
fn measure(
    workshop: &Workshop,
    bare: &mut Bare,
    share: &Share,
    out: &mut Column,
) -> Result<(f64, String), String> {
    let (function, load) = (workshop.function(share.function)?, (share.load)());
    // Messages grow until they are as long as they get.
    for _ in 0..20 {
        load.call(&*function, out)?;
    }
    let (mut runs, mut times) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let mut slices = Vec::new();
        let mut before = bare.nanos(share.kind)?;
        for _ in 0..SLICES {
            let mut calls = Vec::new();
            for _ in 0..CALLS {
                calls.push(load.call(&*function, out)? / load.n() as f64);
            }
            let after = bare.nanos(share.kind)?;
            let nanos = median(calls.into_iter());
            times.push(nanos);
            slices.push((before + after) / 2.0 / nanos);
            before = after;
        }
        runs.push(100.0 * median(slices.into_iter()));
    }
    let least = runs.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = runs.iter().copied().fold(0.0, f64::max);
    let note = format!(
        "runs from {least:.1} to {greatest:.1}; {:.3} us a call, {} a message",
        median(times.into_iter()) / 1e3,
        load.n()
    );
    Ok((median(runs.into_iter()), note))
}

/// The engine's percent of the CPU that calls take on both sides.
fn cpu_share(workshop: &Workshop, share: &Share, out: &mut Column) -> Result<(f64, String), String> {
    let (function, load) = (workshop.function(share.function)?, (share.load)());
    for _ in 0..20 {
        load.call(&*function, out)?;
    }
    let mut runs = Vec::new();
    let mut both = (0.0, 0.0);
    for _ in 0..RUNS {
        let (engine, python) = (Meter::start(std::process::id()), Meter::start(workshop.pid()?));
        let mut checking = 0.0;
        for _ in 0..LONG_CALLS {
            let start = std::time::Instant::now();
            let nanos = load.call(&*function, out)?;
            // Looking at the results is the bench's work.
            checking += start.elapsed().as_nanos() as f64 - nanos;
        }
        let (engine, python) = ((engine.seconds() - checking / 1e9).max(0.0), python.seconds());
        runs.push(100.0 * engine / (engine + python));
        both = (both.0 + engine, both.1 + python);
    }
    let n = (RUNS * LONG_CALLS) as f64;
    let note = format!(
        "engine {:.0} us, Python {:.0} us a message of {} calls",
        both.0 / n * 1e6,
        both.1 / n * 1e6,
        load.n()
    );
    Ok((median(runs.into_iter()), note))
}

/// Calls one by one through the published SDK.
fn single(sheet: &mut Sheet) -> Result<(), String> {
    if !sheet.wants("py_oldsdk_p50_us") {
        return Ok(());
    }
    let workshop = Workshop::open("o", &workshop::python_with_old_sdk()?, false)?;
    let (function, load, mut out) = (workshop.function("inc")?, Load::numbers(1), Column::new());
    for _ in 0..100 {
        load.call(&*function, &mut out)?;
    }
    let (mut runs, mut slow) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let mut times = Vec::new();
        for _ in 0..SINGLE_CALLS {
            times.push(load.call(&*function, &mut out)? / 1e3);
        }
        times.sort_by(f64::total_cmp);
        slow.push(times[SINGLE_CALLS * 99 / 100]);
        runs.push(median(times.into_iter()));
    }
    let note = format!("p99 {:.0} us", median(slow.into_iter()));
    sheet.figure("py_oldsdk_p50_us", median(runs.into_iter()), &note);
    Ok(())
}
