//! The part of checkpoints that waits for the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Subject;
use crate::shard::inbox::{Checkpoint, Key, Position};
use crate::snapshot::{Entry, SnapshotStore, checksum};

/// A checkpoint to be written.
pub(super) struct Job {
    pub(super) key: Key,
    pub(super) subject: Arc<Subject>,
    pub(super) checkpoint: Box<Checkpoint>,
    /// When the rule was asked.
    pub(super) since: Instant,
    /// A checksum of the content on disk.
    pub(super) stored: Option<u64>,
    /// The barrier of what is on disk.
    pub(super) epoch: i64,
    pub(super) done: Option<oneshot::Sender<bool>>,
}

/// What became of it.
pub(super) struct Written {
    pub(super) key: Key,
    pub(super) subject: Arc<Subject>,
    pub(super) positions: Vec<Position>,
    pub(super) result: Result<Stored, Arc<str>>,
    pub(super) since: Instant,
    /// What it has cost: time on the shard and at the disk.
    pub(super) cost: Duration,
    pub(super) done: Option<oneshot::Sender<bool>>,
}

/// A checkpoint that is durable.
pub(super) struct Stored {
    pub(super) bytes: u64,
    pub(super) content: u64,
    pub(super) epoch: i64,
}

/// Writes all of them, in one go if the store takes it.
pub(super) fn write(jobs: Vec<Job>, store: &dyn SnapshotStore) -> Vec<Written> {
    let began = Instant::now();
    let mut entries = Vec::new();
    let mut written: Vec<(Written, Option<usize>)> = Vec::with_capacity(jobs.len());
    for job in jobs {
        let Job { key, subject, mut checkpoint, since, stored, epoch, done } = job;
        let (cost, lacks) = (Duration::from_micros(checkpoint.micros), checkpoint.lacks.take());
        subject.remember(&mut checkpoint.positions);
        let (mut snapshot, positions) = checkpoint.finish();
        // The clock may have been set back; the newest checkpoint must still be the greatest.
        snapshot.epoch = snapshot.epoch.max(epoch.saturating_add(1));
        let content = snapshot.content();
        let sum = checksum(&content);
        let is_known = stored == Some(sum) || lacks.is_some();
        let mut result = Stored { bytes: content.len() as u64, content: sum, epoch };
        let mut entry = None;
        if !is_known {
            result.epoch = snapshot.epoch;
            entry = Some(entries.len());
            let bytes = snapshot.seal(&content);
            entries.push(Entry { rule: Arc::clone(&subject.id), epoch: snapshot.epoch, bytes });
        }
        let result = lacks.map_or(Ok(result), Err);
        written.push((Written { key, subject, positions, result, since, cost, done }, entry));
    }
    let results = if entries.is_empty() { Vec::new() } else { save(&entries, store) };
    let spent = began.elapsed();
    for (written, entry) in &mut written {
        written.cost += spent;
        if let Some(why) = entry.and_then(|entry| results.get(entry)).and_then(|result| result.as_ref().err())
        {
            written.result = Err(Arc::clone(why));
        }
    }
    written.into_iter().map(|(written, _)| written).collect()
}

/// All at once; one by one if that fails, so that a rule does not fail for another one's state.
fn save(entries: &[Entry], store: &dyn SnapshotStore) -> Vec<Result<(), Arc<str>>> {
    let save = |entries: &[Entry]| {
        catch_unwind(AssertUnwindSafe(|| store.save(entries)))
            .unwrap_or_else(|_| Err("internal error: the store panicked".to_owned()))
            .map_err(Arc::<str>::from)
    };
    match save(entries) {
        Ok(()) => vec![Ok(()); entries.len()],
        Err(why) if entries.len() == 1 => vec![Err(why)],
        Err(_) => entries.iter().map(|entry| save(std::slice::from_ref(entry))).collect(),
    }
}
