//! Messages whose other side waits for an answer: which rules have to make them durable, and when all have.
//!
//! Rules of `qos` 1 and 2 join the ledger of each stream that they read. A message is answered when every one of them
//! has it in a checkpoint (`contracts.md` 7). What was answered lately is remembered by its identity: the answer may not
//! have arrived, and then the message comes again after a crash (R7.3).

use std::collections::VecDeque;

use thalweg_core::connector::Due;

use crate::checkpoint::Urge;
use crate::shard::inbox::Key;

/// So many unanswered messages call for a checkpoint at once: brokers send no more than a window of unanswered ones, and
/// the usual windows are 20 and more.
pub(crate) const SHARE: usize = 8;
/// Answered messages that are remembered: more than any usual window.
const REMEMBERED: usize = 1_024;

/// The ledger of one inlet.
#[derive(Default)]
pub(crate) struct Ledger {
    last: u64,
    /// By number, ascending.
    open: VecDeque<(u64, Due)>,
    /// Identities of messages that were answered, the oldest first, with their numbers.
    answered: VecDeque<(u64, u64)>,
    readers: Vec<Reader>,
}

struct Reader {
    urge: Urge,
    /// Everything up to this number is durable.
    durable: u64,
    is_told: bool,
    is_urged: bool,
}

impl Ledger {
    /// Whether messages are answered when they are accepted.
    pub(crate) fn is_idle(&self) -> bool {
        self.readers.is_empty()
    }

    /// Whether nothing waits for an answer.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// How many messages do.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// A rule reads the stream from now on, whether once or several times.
    pub(crate) fn join(&mut self, urge: Urge) {
        if self.readers.iter().any(|reader| reader.urge.key() == urge.key()) {
            return;
        }
        self.readers.push(Reader { urge, durable: self.last, is_told: false, is_urged: false });
    }

    /// A rule reads it no longer. What is due to be answered then; nothing when no rule is left.
    pub(crate) fn leave(&mut self, rule: Key) -> Vec<Due> {
        self.readers.retain(|reader| reader.urge.key() != rule);
        self.due()
    }

    /// The number of the next message.
    pub(crate) fn next(&self) -> u64 {
        self.last + 1
    }

    /// The next message was accepted.
    pub(crate) fn push(&mut self, due: Due) {
        self.last += 1;
        self.open.push_back((self.last, due));
        self.tell();
    }

    /// Tells a rule again what it may have missed.
    pub(crate) fn remind(&mut self, rule: Key) {
        if let Some(reader) = self.readers.iter_mut().find(|reader| reader.urge.key() == rule) {
            (reader.is_told, reader.is_urged) = (false, false);
        }
        self.tell();
    }

    fn tell(&mut self) {
        let Some((last, _)) = self.open.back() else { return };
        for reader in &mut self.readers {
            let waiting = last.saturating_sub(reader.durable) as usize;
            if waiting == 0 {
                continue;
            }
            let is_urgent = waiting >= SHARE;
            if !reader.is_told || (is_urgent && !reader.is_urged) {
                (reader.is_told, reader.is_urged) = (true, is_urgent);
                reader.urge.send(is_urgent);
            }
        }
    }

    /// Everything up to `upto` is durable for a rule. What is due to be answered now.
    pub(crate) fn settle(&mut self, rule: Key, upto: u64) -> Vec<Due> {
        if let Some(reader) = self.readers.iter_mut().find(|reader| reader.urge.key() == rule) {
            reader.durable = reader.durable.max(upto);
            (reader.is_told, reader.is_urged) = (false, false);
        }
        let due = self.due();
        self.tell();
        due
    }

    fn due(&mut self) -> Vec<Due> {
        let Some(durable) = self.readers.iter().map(|reader| reader.durable).min() else { return Vec::new() };
        let n_due = self.open.partition_point(|(number, _)| *number <= durable);
        let due = self.open.drain(..n_due).map(|(number, due)| {
            self.answered.push_back((number, due.identity));
            due
        });
        let due: Vec<Due> = due.collect();
        let n_old = self.answered.len().saturating_sub(REMEMBERED);
        self.answered.drain(..n_old);
        due
    }

    /// Takes out everything that waits.
    pub(crate) fn release(&mut self) -> Vec<Due> {
        self.open.drain(..).map(|(_, due)| due).collect()
    }

    /// The identities of messages up to `upto` that may come again.
    pub(crate) fn identities(&self, upto: u64) -> impl Iterator<Item = u64> {
        let answered = self.answered.iter().map(|(number, identity)| (*number, *identity));
        let open = self.open.iter().map(|(number, due)| (*number, due.identity));
        answered.chain(open).filter(move |(number, _)| *number <= upto).map(|(_, identity)| identity)
    }
}
