//! Timing: variants interleaved in one run, the median of their rounds.

use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 7;
/// A round lasts about this long.
const ROUND_NANOS: f64 = 3e7;

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
            let started = Instant::now();
            for _ in 0..calls[index] {
                black_box((variant.work)());
            }
            let nanos = started.elapsed().as_nanos() as f64;
            rounds[index].push(nanos / (calls[index] * items) as f64);
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    variants.iter().map(|variant| variant.name).zip(rounds.into_iter().map(median)).collect()
}

fn calls_per_round(variant: &mut Variant<'_>) -> usize {
    black_box((variant.work)());
    let started = Instant::now();
    black_box((variant.work)());
    let once = started.elapsed().as_nanos().max(1) as f64;
    (ROUND_NANOS / once).ceil() as usize
}
