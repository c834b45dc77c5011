//! A window that several rules of a shared stream have in common (`contracts.md` 7), as one of them sees it.
//!
//! What the rule began in the middle of is its own: it folds rows until the last window closes that began before the rule.
//! From then on the groups of each window come from the common one, which has seen the same rows.

use thalweg_core::Timestamp;

use crate::operator::Partial;

#[derive(Debug)]
pub(super) struct Common {
    length: i64,
    hop: i64,
    /// The end of the rule's last own window; absent before it starts.
    until: Option<Timestamp>,
    is_over: bool,
    /// Groups of later windows that came before that.
    pub(super) waiting: Vec<Partial>,
}

impl Common {
    pub(super) fn new(length: i64, hop: i64) -> Self {
        Self { length, hop: hop.max(1), until: None, is_over: false, waiting: Vec::new() }
    }

    /// The rule starts; its first window ends at `end`.
    pub(super) fn start(&mut self, now: Timestamp, end: Timestamp) {
        let mut first_whole = end;
        // Of the rows of this very millisecond some may have come before the rule.
        while first_whole.plus(-self.length) <= now {
            first_whole = first_whole.plus(self.hop);
        }
        self.until = Some(first_whole.plus(-self.hop));
    }

    /// The end of the last own window, as long as that is open.
    pub(super) fn open_until(&self) -> Option<Timestamp> {
        self.until.filter(|_| !self.is_over)
    }

    /// The last own window has closed.
    pub(super) fn close(&mut self) {
        self.is_over = true;
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether the rule has these groups from nowhere else.
    pub(super) fn wants(&self, partial: &Partial) -> bool {
        self.until.is_some_and(|until| partial.window.end > until)
    }
}
