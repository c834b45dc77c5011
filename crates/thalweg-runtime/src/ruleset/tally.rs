//! What a rule counts without being called: the rows that its stream has shown it, and those that passed.
//!
//! A stream counts once what all its rules are shown; each rule remembers where the stream stood when it joined
//! (`contracts.md` 10). Everything is written by the stream's shard and read by anybody.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use thalweg_core::Timestamp;
use thalweg_core::metrics::NodeMetrics;

use super::counted::Part;

/// What a stream has shown to the rules that it asks by its conditions.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    rows: AtomicU64,
    last: AtomicI64,
    micros: AtomicU64,
}

/// The part of one rule in that.
#[derive(Debug)]
pub(crate) struct Tally {
    shown: Arc<Shown>,
    /// Where the stream stood when the rule joined; `NEVER` before.
    joined: AtomicU64,
    /// The same and the last time, once it has left.
    left: AtomicU64,
    left_at: AtomicI64,
    /// Rows that passed without the rule being called.
    passed: AtomicU64,
    passed_at: AtomicI64,
    micros: AtomicU64,
    /// The rule's part of the time that this took.
    nanos: AtomicU64,
    /// Its place among the rules that are only counted, from which all that comes while it reads the stream.
    part: OnceLock<Box<Part>>,
}

const NEVER: u64 = u64::MAX;

/// Rows, when the last of them came, and how long they took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Count {
    pub rows: u64,
    pub last: Timestamp,
    pub micros: u64,
}

impl Shown {
    /// One more batch.
    pub(super) fn add(&self, rows: usize, now: Timestamp, micros: u64) {
        NodeMetrics::add(&self.rows, rows as u64);
        self.last.store(now.0, Relaxed);
        self.micros.store(micros, Relaxed);
    }
}

impl Tally {
    /// For a rule that is going to join.
    pub(crate) fn new(shown: Arc<Shown>) -> Arc<Self> {
        Arc::new(Self {
            shown,
            joined: AtomicU64::new(NEVER),
            left: AtomicU64::new(NEVER),
            left_at: AtomicI64::new(0),
            passed: AtomicU64::new(0),
            passed_at: AtomicI64::new(0),
            micros: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            part: OnceLock::new(),
        })
    }

    /// The rule is shown everything from now on.
    pub(super) fn join(&self) {
        self.joined.store(self.shown.rows.load(Relaxed), Relaxed);
    }

    /// The rule is only counted.
    pub(super) fn count_by(&self, part: Box<Part>) {
        self.part.get_or_init(|| part);
    }

    /// And no more.
    pub(super) fn leave(&self) {
        let leave = || {
            self.left_at.store(self.shown.last.load(Relaxed), Relaxed);
            self.left.store(self.shown.rows.load(Relaxed), Relaxed);
        };
        let Some(part) = self.part.get() else { return leave() };
        part.look(|counted| {
            if self.left.load(Relaxed) == NEVER {
                let (count, nanos) = counted();
                self.pass(count, nanos);
                leave();
            }
        });
    }

    /// What its part says, as long as it reads the stream.
    fn counted(&self) -> Option<(Count, u64)> {
        self.part.get()?.look(|counted| (self.left.load(Relaxed) == NEVER).then(counted))
    }

    /// Rows passed, and went to the sinks without the rule being called.
    #[inline]
    pub(super) fn pass(&self, Count { rows, last, micros }: Count, nanos: u64) {
        NodeMetrics::add(&self.passed, rows);
        self.passed_at.store(last.0, Relaxed);
        self.micros.store(micros, Relaxed);
        NodeMetrics::add(&self.nanos, nanos);
    }

    /// The rule's part of the time spent for rows that passed without it being called.
    pub(super) fn nanos(&self) -> u64 {
        self.counted().map_or_else(|| self.nanos.load(Relaxed), |(_, nanos)| nanos)
    }

    /// What the rule was shown.
    pub(crate) fn shown(&self) -> Count {
        let (joined, left) = (self.joined.load(Relaxed), self.left.load(Relaxed));
        if joined == NEVER {
            return Count::default();
        }
        let (until, last) = match left {
            NEVER => (self.shown.rows.load(Relaxed), self.shown.last.load(Relaxed)),
            left => (left, self.left_at.load(Relaxed)),
        };
        match until.saturating_sub(joined) {
            0 => Count::default(),
            rows => Count { rows, last: Timestamp(last), micros: self.shown.micros.load(Relaxed) },
        }
    }

    /// What passed without the rule being called.
    pub(crate) fn passed(&self) -> Count {
        let noted = || Count {
            rows: self.passed.load(Relaxed),
            last: Timestamp(self.passed_at.load(Relaxed)),
            micros: self.micros.load(Relaxed),
        };
        self.counted().map_or_else(noted, |(count, _)| count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_counts_what_was_shown_between_joining_and_leaving() {
        let shown = Arc::new(Shown::default());
        shown.add(5, Timestamp(1), 0);
        let tally = Tally::new(Arc::clone(&shown));
        assert_eq!(tally.shown(), Count::default());
        tally.join();
        assert_eq!(tally.shown(), Count::default(), "nothing since");
        shown.add(3, Timestamp(2), 7);
        assert_eq!(tally.shown(), Count { rows: 3, last: Timestamp(2), micros: 7 });
        tally.leave();
        shown.add(3, Timestamp(3), 7);
        assert_eq!((tally.shown().rows, tally.shown().last), (3, Timestamp(2)));
    }
}
