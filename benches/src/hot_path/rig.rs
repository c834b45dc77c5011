//! The data plane alone, on the in-process rig: from payload bytes in a stream's inlet to encoded results. What stands
//! between this and a figure is the way through sockets, queues and sinks.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use thalweg_core::Timestamp;
use thalweg_core::polled::DirectSink;
use thalweg_plan::PlanOptions;
use thalweg_runtime::{Rig, RigId};

use super::cpu::own_seconds;
use super::median;
use crate::allocations;
use crate::kernels::pipeline;

/// Messages handed over at a time unless said otherwise, and the time in which they come.
pub(crate) const BATCH: usize = 1_024;
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
    per_message_of(rules, payloads, (is_shared, BATCH))
}

/// A rig with these rules.
fn rig(rules: &[String], (is_shared, batch): (bool, usize)) -> Result<Rig, String> {
    let rig = Rig::new(Arc::new(thalweg_connectors::registry()), Timestamp(0)).batch_size(batch);
    // A rule set throws its results away, as its figure does; others write them to a socket that takes all.
    let mut rig = if is_shared { rig.swallowing() } else { rig.writing_to(Arc::<Taker>::default()) };
    for (at, sql) in rules.iter().enumerate() {
        add(&mut rig, &format!("rule{at}"), sql, is_shared)?;
    }
    Ok(rig)
}

fn add(rig: &mut Rig, id: &str, sql: &str, is_shared: bool) -> Result<RigId, String> {
    let spec = pipeline::spec(id.to_owned(), sql, is_shared, &PlanOptions::default());
    let spec = spec.ok_or_else(|| format!("cannot plan {sql}"))?;
    rig.add(spec).map_err(|why| format!("{sql}: {why}"))
}

/// Microseconds of CPU that the rules of a stream go without service while a rule leaves them, and another comes:
/// taking it out and in between two batches, and what the next batch costs more than the one after that. The plan is
/// made before.
pub(crate) fn change_us(rules: &[String], payloads: &[String]) -> Result<(f64, f64), String> {
    const BATCH: usize = 64;
    let mut rig = rig(rules, (true, BATCH))?;
    let mut at = 0;
    let mut turn = |rig: &mut Rig| {
        let began = Instant::now();
        (at..at + BATCH).for_each(|row| rig.feed("demo", payloads[row % payloads.len()].as_bytes()));
        at += BATCH;
        began.elapsed().as_secs_f64() * 1e6
    };
    (0..50).for_each(|_| {
        black_box(turn(&mut rig));
    });
    let (mut changes, mut after) = (Vec::new(), Vec::new());
    for (number, sql) in rules.iter().enumerate().step_by(rules.len().div_ceil(200)) {
        let id = format!("more{number}");
        let spec = pipeline::spec(id, sql, true, &PlanOptions::default());
        let spec = spec.ok_or_else(|| format!("cannot plan {sql}"))?;
        let began = Instant::now();
        let added = rig.add(spec).map_err(|why| why.to_string())?;
        rig.stop(added);
        changes.push(began.elapsed().as_secs_f64() * 1e6);
        let (first, second) = (turn(&mut rig), turn(&mut rig));
        after.push(first - second);
    }
    Ok((median(changes.into_iter()), median(after.into_iter())))
}

/// The same, so many messages handed over at a time.
pub(crate) fn per_message_of(
    rules: &[String],
    payloads: &[String],
    (is_shared, batch): (bool, usize),
) -> Result<(f64, f64), String> {
    let mut rig = rig(rules, (is_shared, batch))?;
    let mut at = 0;
    let mut turn = || {
        (at..at + batch).for_each(|row| rig.feed("demo", payloads[row % payloads.len()].as_bytes()));
        at += batch;
        rig.advance(MILLIS);
        if !is_shared {
            black_box(rig.drop_output());
        }
    };
    // Every key is known and every list has grown.
    let n_warm = (payloads.len() / batch + 2).max(5);
    (0..n_warm).for_each(|_| turn());
    let ((), allocated) = allocations::counted(|| (0..5).for_each(|_| turn()));
    let rounds: Vec<f64> = (0..super::ROUNDS)
        .map(|_| {
            let (started, mut n) = (own_seconds(), 0);
            loop {
                turn();
                n += batch;
                let used = own_seconds() - started;
                if used > 0.05 {
                    return used / n as f64;
                }
            }
        })
        .collect();
    Ok((median(rounds.into_iter()), allocated as f64 / (5 * batch) as f64))
}
