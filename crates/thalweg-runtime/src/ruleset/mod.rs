//! What the rules of one stream share (`contracts.md` 2, hot-path.md 7.6): one scan with the union of their
//! projections, decoded once per batch, and their conditions, answered by an index.
//!
//! A *quiet* rule is called only when rows pass its condition; what it would have counted otherwise is derived from
//! the stream's count ([`tally`]). Joining and leaving touch the rule's own entries and no other rule.

pub(crate) mod conditions;
mod conjunct;
mod filing;
mod hash_index;
mod lane;
mod mask;
mod shelf;
pub(crate) mod tally;
mod threshold;
pub(crate) mod view;

use std::sync::Arc;

use hashbrown::HashMap;
use thalweg_core::{Batch, Clock, Selection, Timestamp};

use crate::operator::Verdict;
use crate::shard::inbox::Key;
use crate::shard::stream::Reader;
use conditions::{Conditions, Said};
use tally::{Shown, Tally};

/// The rules that read a stream.
#[derive(Default)]
pub(crate) struct RuleSet {
    readers: Vec<Option<Reader>>,
    free: Vec<u32>,
    by_rule: HashMap<Key, Vec<u32>>,
    conditions: Conditions,
    /// The readers of each condition that are called only when it says something.
    quiet: Vec<Vec<u32>>,
    /// Readers that are called for every batch.
    always: Vec<u32>,
    /// Readers that want to know of faults.
    heeding: Vec<u32>,
    /// Readers that may ask the stream to pause.
    pausing: Vec<u32>,
    shown: Arc<Shown>,
}

/// What a rule needs in order to be called only when rows pass.
pub(crate) struct Quiet {
    pub tally: Arc<Tally>,
    /// Its sinks are told of rows that fail (`sendError`), those of the decoder included.
    pub wants_faults: bool,
}

/// A reader to be called, and what its condition says.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub reader: &'a Reader,
    pub verdict: Option<&'a Verdict>,
}

impl RuleSet {
    pub(crate) fn new(shown: Arc<Shown>) -> Self {
        Self { shown, ..Self::default() }
    }

    /// Whether nobody reads the stream.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_rule.is_empty()
    }

    /// Takes a reader on and files its condition.
    pub(crate) fn join(&mut self, mut reader: Reader) {
        reader.node = reader.condition.take().map(|condition| self.conditions.join(condition));
        let at = self.free.pop().unwrap_or(self.readers.len() as u32);
        if at as usize == self.readers.len() {
            self.readers.push(None);
        }
        match (reader.node, &reader.quiet) {
            (Some(node), Some(quiet)) => {
                quiet.tally.join();
                let n_conditions = self.quiet.len().max(node as usize + 1);
                self.quiet.resize(n_conditions, Vec::new());
                self.quiet[node as usize].push(at);
                if quiet.wants_faults {
                    self.heeding.push(at);
                }
            }
            _ => self.always.push(at),
        }
        if reader.pauses {
            self.pausing.push(at);
        }
        self.by_rule.entry(reader.rule).or_default().push(at);
        self.readers[at as usize] = Some(reader);
    }

    /// Lets the readers of a rule go.
    pub(crate) fn leave(&mut self, rule: Key) {
        for at in self.by_rule.remove(&rule).unwrap_or_default() {
            let Some(reader) = self.readers[at as usize].take() else { continue };
            let drop_from = |list: &mut Vec<u32>| list.retain(|other| *other != at);
            match (reader.node, &reader.quiet) {
                (Some(node), Some(quiet)) => {
                    quiet.tally.leave();
                    drop_from(&mut self.quiet[node as usize]);
                    if quiet.wants_faults {
                        drop_from(&mut self.heeding);
                    }
                }
                _ => drop_from(&mut self.always),
            }
            if reader.pauses {
                drop_from(&mut self.pausing);
            }
            if let Some(node) = reader.node {
                self.conditions.leave(node);
            }
            self.free.push(at);
        }
    }

    /// Takes all readers out: the stream has ended.
    pub(crate) fn take(&mut self) -> Vec<Reader> {
        let shown = Arc::clone(&self.shown);
        let readers: Vec<Reader> =
            std::mem::replace(self, Self::new(shown)).readers.into_iter().flatten().collect();
        readers.iter().filter_map(|reader| reader.quiet.as_ref()).for_each(|quiet| quiet.tally.leave());
        readers
    }

    /// Readers that may ask the stream to pause.
    pub(crate) fn pausing(&self) -> impl Iterator<Item = &Reader> {
        self.pausing.iter().filter_map(|at| self.readers[*at as usize].as_ref())
    }

    /// Looks at the next batch: asks all conditions, and counts what the quiet rules are shown.
    pub(crate) fn judge(&mut self, (batch, rows): (&Batch, &Selection), now: Timestamp, clock: &dyn Clock) {
        let began = clock.monotonic_micros();
        self.conditions.judge(batch, rows, clock);
        let shown = rows.len();
        if shown > 0 {
            self.shown.add(shown, now, clock.monotonic_micros().saturating_sub(began));
        }
    }

    /// Calls whom the batch concerns.
    pub(crate) fn call(&self, has_faults: bool, mut call: impl FnMut(Call<'_>)) {
        let reader = |at: &u32| self.readers[*at as usize].as_ref();
        for reader in self.always.iter().filter_map(reader) {
            call(self.heard(reader));
        }
        if has_faults {
            for reader in self.heeding.iter().filter_map(reader) {
                call(self.heard(reader));
            }
        }
        let is_left =
            |reader: &&Reader| !has_faults || reader.quiet.as_ref().is_none_or(|quiet| !quiet.wants_faults);
        for hit in self.conditions.hits().iter().filter(|hit| !hit.verdict.is_void()) {
            let readers = self.quiet.get(hit.condition as usize).into_iter().flatten();
            for reader in readers.filter_map(reader).filter(is_left) {
                call(Call { reader, verdict: Some(&hit.verdict) });
            }
        }
        for condition in self.conditions.private() {
            let readers = self.quiet.get(condition as usize).into_iter().flatten();
            for reader in readers.filter_map(reader).filter(is_left) {
                call(Call { reader, verdict: None });
            }
        }
    }

    fn heard<'a>(&'a self, reader: &'a Reader) -> Call<'a> {
        const NOTHING: &Verdict = &Verdict::NOTHING;
        let verdict = reader.node.and_then(|node| match self.conditions.said(node) {
            Said::Nothing => Some(NOTHING),
            Said::Verdict(verdict) => Some(verdict),
            Said::Private => None,
        });
        Call { reader, verdict }
    }
}
