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
    pub(crate) work: Box<dyn FnMut() -> u64 + 'a>,
}

impl<'a> Variant<'a> {
    pub(crate) fn new(name: &'static str, work: impl FnMut() -> u64 + 'a) -> Self {
        Self { name, work: Box::new(work) }
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
    let (used, started) = (own_seconds(), Instant::now());
    for _ in 0..calls {
        black_box((variant.work)());
    }
    let passed = started.elapsed().as_nanos() as f64;
    let used = (own_seconds() - used) * 1e9;
    if passed > SLICE_NANOS && used > 0.0 { used } else { passed }
}
