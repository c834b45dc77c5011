//! How much of its threads' time a rule takes: its own calls, and its part of what is done for several at once.
//!
//! Times are read once a batch (`contracts.md` 10). What a stream does for all its rules is divided evenly: it adds one
//! rule's part to a common sum, from which each rule subtracts what was there when it joined.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use thalweg_core::metrics::NodeMetrics;

use super::tally::Tally;

/// One rule's part of what a stream does for all, in nanoseconds from the beginning.
#[derive(Debug, Default)]
pub(crate) struct Common(AtomicU64);

impl Common {
    /// So many microseconds were spent for so many rules.
    pub(crate) fn add(&self, micros: u64, rules: usize) {
        NodeMetrics::add(&self.0, micros * 1_000 / rules.max(1) as u64);
    }
}

/// The time of one rule.
#[derive(Debug, Default)]
pub(crate) struct Cpu {
    own: AtomicU64,
    parts: Mutex<Vec<Part>>,
    tally: OnceLock<Arc<Tally>>,
}

/// Its part of a stream.
#[derive(Debug)]
struct Part {
    common: Arc<Common>,
    joined: u64,
    left: Option<u64>,
}

impl Cpu {
    /// Time spent for the rule. Added to by the rule's thread only.
    pub(crate) fn add(&self, nanos: u64) {
        NodeMetrics::add(&self.own, nanos);
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, Vec<Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what is spent for the rule without it being called.
    pub(super) fn tally(&self, tally: &Arc<Tally>) {
        self.tally.get_or_init(|| Arc::clone(tally));
    }

    pub(crate) fn join(&self, common: &Arc<Common>) {
        let part = Part { common: Arc::clone(common), joined: common.0.load(Relaxed), left: None };
        let mut parts = self.parts();
        parts.reserve_exact(1);
        parts.push(part);
    }

    pub(super) fn leave(&self, common: &Arc<Common>) {
        let mut parts = self.parts();
        for part in parts.iter_mut().filter(|part| Arc::ptr_eq(&part.common, common)) {
            part.left = part.left.or(Some(common.0.load(Relaxed)));
        }
    }

    /// Nanoseconds since the rule's run began.
    pub(crate) fn nanos(&self) -> u64 {
        let part = |part: &Part| {
            part.left.unwrap_or_else(|| part.common.0.load(Relaxed)).saturating_sub(part.joined)
        };
        let uncalled = self.tally.get().map_or(0, |tally| tally.nanos());
        self.own.load(Relaxed) + uncalled + self.parts().iter().map(part).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_work_is_divided_among_the_rules_that_were_there() {
        let common = Arc::new(Common::default());
        common.add(50, 1);
        let (first, second) = (Cpu::default(), Cpu::default());
        first.join(&common);
        common.add(10, 1);
        second.join(&common);
        common.add(10, 2);
        first.leave(&common);
        common.add(10, 1);
        second.add(500);
        assert_eq!((first.nanos(), second.nanos()), (15_000, 15_500));
    }
}
