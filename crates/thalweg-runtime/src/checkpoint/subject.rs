//! A run of a rule as its checkpoints see it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thalweg_core::Timestamp;

use crate::ingest::port::Inlet;
use crate::rule::CheckpointStatus;
use crate::shard::inbox::{Inbox, Key, Position};

/// A run with checkpoints.
pub(crate) struct Subject {
    pub id: Arc<str>,
    pub key: Key,
    pub home: Arc<Inbox>,
    pub interval: Duration,
    /// The barrier of the newest checkpoint that was there when the run began; 0: none.
    pub epoch: i64,
    /// The inlets of its inputs, in order.
    pub inlets: Vec<Arc<Inlet>>,
    /// `qos` 2: messages count once also when they are sent again.
    pub is_exact: bool,
    pub status: Mutex<CheckpointStatus>,
}

impl Subject {
    pub(crate) fn lock(&self) -> MutexGuard<'_, CheckpointStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run is over: its inlets wait for it no longer.
    pub(crate) fn leave(&self) {
        self.inlets.iter().for_each(|inlet| inlet.leave(self.key));
    }

    /// Adds to each position the messages before it that may come again.
    pub(super) fn remember(&self, positions: &mut [Position]) {
        if self.is_exact {
            for (inlet, position) in self.inlets.iter().zip(positions) {
                position.seen.extend(inlet.identities(position.upto));
                position.seen.sort_unstable();
                position.seen.dedup();
            }
        }
    }

    /// Counts a checkpoint that is durable and tells the sources.
    pub(super) fn completed(&self, bytes: u64, took: Duration, now: Timestamp, positions: &[Position]) {
        let mut status = self.lock();
        status.completed += 1;
        (status.failing, status.failing_since) = (0, Timestamp::default());
        (status.last_time, status.bytes) = (now, bytes);
        status.duration_ms = took.as_millis() as u64;
        drop(status);
        for (inlet, position) in self.inlets.iter().zip(positions) {
            if let Some(offset) = &position.offset {
                inlet.commit(offset.clone());
            }
            // A stream that is read twice has been taken as far as the slower one of the two.
            let same = self.inlets.iter().zip(positions).filter(|(other, _)| Arc::ptr_eq(other, inlet));
            let upto = same.map(|(_, position)| position.upto).min();
            inlet.settle(self.key, upto.unwrap_or_default());
        }
    }

    /// Counts one that is not.
    pub(super) fn failed(&self, why: &str, now: Timestamp) {
        tracing::error!(rule = %self.id, error = why, "checkpoint failed, it will be tried again");
        let mut status = self.lock();
        status.failed += 1;
        if status.failing == 0 {
            status.failing_since = now;
        }
        status.failing += 1;
        status.last_error = Arc::from(why);
    }
}
