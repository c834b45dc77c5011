//! Timing: variants interleaved in one run, the median of their rounds.

use std::hint::black_box;
use std::time::Instant;

use crate::hot_path::own_seconds;

const ROUNDS: usize = 301;
/// A round lasts about this long: less than a time slice, so that on a busy machine most rounds are not interrupted and
/// the median is that of the work. Long rounds measured the neighbours.
const ROUND_NANOS: f64 = 3e5;

/// A time slice, about.
const SLICE_NANOS: f64 = 3e6;

/// One way of doing the work; it returns something that depends on the result.
pub(crate) struct Variant<'a> {
    pub(crate) name: &'static str,
    pub(crate) work: Box<dyn FnMut(Phase) -> u64 + 'a>,
    /// So many calls follow each preparation; 0: nothing is prepared.
    prepared: usize,
}

/// What a variant is to do.
#[derive(Clone, Copy)]
pub(crate) enum Phase {
    /// Make ready what the next calls will be given; not measured.
    Prepare,
    /// The work of one call.
    Work,
}

impl<'a> Variant<'a> {
    pub(crate) fn new(name: &'static str, mut work: impl FnMut() -> u64 + 'a) -> Self {
        Self { name, work: Box::new(move |_| work()), prepared: 0 }
    }

    /// One whose input is made outside of what is measured, for `prepared` calls at a time.
    pub(crate) fn prepared(name: &'static str, prepared: usize, work: impl FnMut(Phase) -> u64 + 'a) -> Self {
        Self { name, work: Box::new(work), prepared }
    }
}

/// Nanoseconds per item of each variant, where one call of `work` handles `items`.
pub(crate) fn nanos_per_item(items: usize, mut variants: Vec<Variant<'_>>) -> Vec<(&'static str, f64)> {
    let calls: Vec<usize> = variants.iter_mut().map(calls_per_round).collect();
    let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); variants.len()];
    for _ in 0..ROUNDS {
        for (index, variant) in variants.iter_mut().enumerate() {
            let nanos = timed(variant, calls[index]);
            rounds[index].push(nanos / (calls[index] * items) as f64);
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    variants.iter().map(|variant| variant.name).zip(rounds.into_iter().map(median)).collect()
}

/// A single call from a cold start says nothing: their number is doubled until they fill a round, also when nothing
/// interrupts them.
fn calls_per_round(variant: &mut Variant<'_>) -> usize {
    let mut calls = 1;
    loop {
        let nanos = (0..3).map(|_| timed(variant, calls)).fold(f64::INFINITY, f64::min).max(1.0);
        if nanos * 2.0 >= ROUND_NANOS {
            return (calls as f64 * ROUND_NANOS / nanos).ceil() as usize;
        }
        calls *= 2;
    }
}

/// Nanoseconds of so many calls. What takes longer than a time slice is interrupted on a busy machine, so there the
/// thread's CPU time counts.
fn timed(variant: &mut Variant<'_>, calls: usize) -> f64 {
    let (mut passed, mut used) = (0.0, 0.0);
    let mut rest = calls;
    while rest > 0 {
        let now = if variant.prepared == 0 { rest } else { rest.min(variant.prepared) };
        rest -= now;
        if variant.prepared > 0 {
            black_box((variant.work)(Phase::Prepare));
        }
        let (used_before, started) = (if now == calls { own_seconds() } else { 0.0 }, Instant::now());
        for _ in 0..now {
            black_box((variant.work)(Phase::Work));
        }
        passed += started.elapsed().as_nanos() as f64;
        if now == calls {
            used = (own_seconds() - used_before) * 1e9;
        }
    }
    if passed > SLICE_NANOS && used > 0.0 { used } else { passed }
}
