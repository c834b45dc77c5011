//! A stream on its shard: one inlet, one decoder, and the rules that read it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use thalweg_core::format::{Mark, RawBatch};
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Batch, Selection, Timestamp};

use super::inbox::Key;
use crate::ingest::Decode;
use crate::ingest::port::Inlet;
use crate::operator::{Partial, Verdict};
use crate::queue::{Bucket, Entries, Entry, Queue, Wake};
use crate::ruleset::conditions::Condition;
use crate::ruleset::cpu::Cpu;
use crate::ruleset::view::View;
use crate::ruleset::{Quiet, RuleSet};

/// A stream as its shard runs it.
pub(crate) struct StreamRun {
    pub key: Key,
    pub inlet: Arc<Inlet>,
    pub decode: Decode,
    pub set: RuleSet,
    /// Makes this stream ready on its shard.
    pub waker: Arc<dyn Wake>,
    pub has_ended: bool,
    /// Why its source will never work, for rules that join later.
    pub failed: Option<Arc<str>>,
}

/// A rule that reads the stream.
pub(crate) struct Reader {
    pub rule: Key,
    /// The number of the scan within the rule.
    pub input: usize,
    pub view: View,
    pub place: Place,
    /// What it asks of the rows first, until that is filed.
    pub condition: Option<Box<Condition>>,
    /// That, among the stream's conditions.
    pub node: Option<u32>,
    /// Set when it is called only for rows that pass its condition.
    pub quiet: Option<Quiet>,
    /// The time that is spent for it.
    pub cpu: Arc<Cpu>,
    /// Whether it may ask the stream to pause instead of dropping rows.
    pub pauses: bool,
}

/// Rows on their way into a rule.
#[derive(Clone, Copy)]
pub(crate) struct Hand<'a> {
    pub batch: &'a Batch,
    pub rows: &'a Selection,
    /// What the rule's first condition says of them, when it has been asked already.
    pub verdict: Option<&'a Verdict>,
    /// Whether the stream has counted them for the rule's first operator.
    pub is_counted: bool,
    /// Where the source stands behind them.
    pub mark: &'a Mark,
}

/// Where the rule runs.
pub(crate) enum Place {
    /// On the stream's shard: a function call away.
    Here,
    /// Elsewhere, behind a queue of batches.
    There(Arc<RuleInlet>),
}

/// The inlet of a rule whose stream lives on another shard.
pub(crate) struct RuleInlet {
    pub queue: Queue<Entries<Parcel>>,
    /// The node that drops are counted on: the rule's first operator.
    pub metrics: Arc<NodeMetrics>,
    /// Pause the stream instead of dropping the rule's own oldest rows (`disableBufferFullDiscard`).
    pub pushes_back: bool,
}

/// Something on its way to a rule on another shard.
pub(crate) struct Parcel {
    pub input: usize,
    pub content: Content,
}

/// What it is.
pub(crate) enum Content {
    /// Rows, with the source's position behind them.
    Rows { batch: Arc<Batch>, rows: Selection, mark: Mark },
    /// The groups of a window, from one part of a split stream.
    Partial { part: usize, partial: Partial },
    /// The input has ended.
    End,
    /// The input will never come.
    Failed(Arc<str>),
}

impl Entry for Parcel {
    fn weight(&self) -> usize {
        match &self.content {
            Content::Rows { rows, .. } => rows.len() + rows.faults.len(),
            // Without weight it is never dropped.
            Content::Partial { .. } | Content::End | Content::Failed(_) => 0,
        }
    }

    fn bytes(&self) -> usize {
        match &self.content {
            Content::Rows { batch, .. } => batch.columns.len() * batch.n_rows * 9,
            Content::Partial { partial, .. } => partial.groups.len(),
            Content::End | Content::Failed(_) => 0,
        }
    }
}

impl RuleInlet {
    /// Hands rows over; the rule's own oldest ones go when it cannot follow, counted.
    pub(crate) fn push(&self, parcel: Parcel, now: Timestamp) {
        let bound = if self.pushes_back { usize::MAX } else { self.queue.bounds().messages };
        let mut dropped = 0;
        self.queue.force(|bucket| {
            let weight = parcel.weight();
            while bucket.n_messages() > 0 && bucket.n_messages().saturating_add(weight) > bound {
                dropped += bucket.drop_oldest() as u64;
            }
            bucket.push(parcel);
        });
        self.metrics.buffer.store(self.queue.waiting() as u64, Relaxed);
        if dropped > 0 {
            self.metrics.dropped("queue_full", dropped);
            self.metrics.exception(&format!("buffer full, {dropped} oldest rows dropped"), now);
        }
    }
}

impl StreamRun {
    /// Decodes one hand-over, counting it on the source's node.
    pub(crate) fn decode(&mut self, raw: &RawBatch, now: Timestamp) -> (Batch, Selection) {
        let count = raw.len().max(raw.rows.iter().map(Vec::len).sum()) as u64;
        let metrics = &self.inlet.metrics;
        NodeMetrics::add(&metrics.records_in, count);
        NodeMetrics::add(&metrics.records_out, count);
        NodeMetrics::add(&metrics.processed, count);
        metrics.buffer.store(self.inlet.queue.waiting() as u64, Relaxed);
        metrics.last_invocation.store(now.0, Relaxed);
        metrics.last_row.store(now.0, Relaxed);
        self.decode.decode(raw)
    }
}
