//! The time limit of a call: the interpreter asks now and then whether it should go on.
//!
//! No clock is read when a call begins. Whoever asks compares which call it is with the one seen before, and measures
//! from when it saw that call first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::board::Words;

/// What the interpreter's questions are answered from.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Counts what was begun from this side.
    entries: AtomicU64,
    /// The row at which the loop in JavaScript is.
    at: Words,
    limit: Duration,
    fired: AtomicBool,
}

impl Watch {
    pub(crate) fn new(limit: Duration) -> Arc<Self> {
        let entries = AtomicU64::new(0);
        Arc::new(Self { entries, at: Words::new(1), limit, fired: AtomicBool::new(false) })
    }

    /// Something else begins: it has the whole time to itself.
    pub(crate) fn begin(&self) {
        self.entries.fetch_add(1, Relaxed);
    }

    /// The place where the loop writes down its row.
    pub(crate) fn at(&self) -> &Words {
        &self.at
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether a call was cut short since this was asked last.
    pub(crate) fn has_fired(&self) -> bool {
        self.fired.swap(false, Relaxed)
    }

    /// Answers the interpreter: true ends the call.
    pub(crate) fn guard(self: &Arc<Self>) -> impl FnMut() -> bool + Send + 'static {
        let watch = Arc::clone(self);
        let mut seen = (u64::MAX, 0);
        let mut since = Instant::now();
        move || {
            let now = (watch.entries.load(Relaxed), watch.at.bits(0));
            if now != seen {
                (seen, since) = (now, Instant::now());
                return false;
            }
            let is_over = since.elapsed() >= watch.limit;
            if is_over {
                watch.fired.store(true, Relaxed);
            }
            is_over
        }
    }
}
