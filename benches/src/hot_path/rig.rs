//! The data plane alone, on the in-process rig: from payload bytes in a stream's inlet to encoded results. What stands
//! between this and a figure is the way through sockets, queues and sinks.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use thalweg_core::Timestamp;
use thalweg_core::polled::DirectSink;
use thalweg_plan::PlanOptions;
use thalweg_runtime::Rig;

use super::cpu::own_seconds;
use super::median;
use crate::allocations;
use crate::kernels::pipeline;

/// Messages handed over at a time, and the time in which they come.
const BATCH: usize = 1_024;
const MILLIS: i64 = 1;

/// Takes every message, as a socket with room does.
#[derive(Debug, Default)]
pub(crate) struct Taker {
    /// Messages, and their bytes.
    n_messages: AtomicU64,
    n_bytes: AtomicU64,
}

#[cfg(test)]
impl Taker {
    /// So many it has taken.
    pub(crate) fn n_messages(&self) -> u64 {
        self.n_messages.load(Relaxed)
    }
}

impl DirectSink for Taker {
    fn write(&self, bytes: &[u8], spans: &[(u32, u32)], _at_once: bool) -> usize {
        let sent: u64 = spans.iter().map(|(start, end)| u64::from(end - start)).sum();
        self.n_bytes.fetch_add(sent.min(black_box(bytes).len() as u64), Relaxed);
        self.n_messages.fetch_add(spans.len() as u64, Relaxed);
        spans.len()
    }
}

/// CPU seconds and allocations per message of these rules, which read the stream `demo`.
pub(crate) fn per_message(
    rules: &[String],
    payloads: &[String],
    is_shared: bool,
) -> Result<(f64, f64), String> {
    let rig = Rig::new(Arc::new(thalweg_connectors::registry()), Timestamp(0)).batch_size(BATCH);
    // A rule set throws its results away, as its figure does; others write them to a socket that takes all.
    let mut rig = if is_shared { rig.swallowing() } else { rig.writing_to(Arc::<Taker>::default()) };
    let options = PlanOptions::default();
    for (at, sql) in rules.iter().enumerate() {
        let spec = pipeline::spec(format!("rule{at}"), sql, is_shared, &options);
        let spec = spec.ok_or_else(|| format!("cannot plan {sql}"))?;
        rig.add(spec).map_err(|why| format!("{sql}: {why}"))?;
    }
    let mut at = 0;
    let mut turn = || {
        (at..at + BATCH).for_each(|row| rig.feed("demo", payloads[row % payloads.len()].as_bytes()));
        at += BATCH;
        rig.advance(MILLIS);
        black_box(rig.drop_output());
    };
    // Every key is known and every list has grown.
    let n_warm = (payloads.len() / BATCH + 2).max(5);
    (0..n_warm).for_each(|_| turn());
    let ((), allocated) = allocations::counted(|| (0..5).for_each(|_| turn()));
    let rounds: Vec<f64> = (0..super::ROUNDS)
        .map(|_| {
            let (started, mut n) = (own_seconds(), 0);
            loop {
                turn();
                n += BATCH;
                let used = own_seconds() - started;
                if used > 0.05 {
                    return used / n as f64;
                }
            }
        })
        .collect();
    Ok((median(rounds.into_iter()), allocated as f64 / (5 * BATCH) as f64))
}
