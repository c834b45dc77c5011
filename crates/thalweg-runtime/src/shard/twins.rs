//! A stream that a rule reads through several scans: a join with itself, both sides of a UNION ALL.
//!
//! Each row goes through all scans before the next row goes through the first, as if it came alone: a batch border is
//! never visible in any output (`contracts.md` 3). The stream hands the same rows to one scan after the other, so they
//! wait here until the last one has its own.

use std::sync::Arc;

use thalweg_core::format::Mark;
use thalweg_core::{Batch, Fault, Live, Selection, Unit};

use super::stream::Hand;
use crate::compile::CompiledScan;
use crate::op::reshape;

/// The scans of a rule that share a stream with another one.
#[derive(Default)]
pub(crate) struct Twins {
    /// For each input the first one that reads its stream.
    first: Box<[usize]>,
    waiting: Vec<Waiting>,
}

/// Rows for one of the scans.
pub(crate) struct Waiting {
    pub input: usize,
    pub mark: Mark,
    batch: Batch,
    rows: Selection,
}

impl Twins {
    /// Those of a rule. Scan tables are none: their rows trigger nothing, so their order among others does not show.
    pub(crate) fn of(scans: &[CompiledScan]) -> Self {
        if scans.len() < 2 {
            return Self::default();
        }
        let first = (0..scans.len()).map(|at| first_of(scans, at));
        Self { first: first.collect(), waiting: Vec::new() }
    }

    /// The bytes that wait here.
    pub(crate) fn memory(&self) -> usize {
        self.waiting.iter().map(|waiting| size_of::<Waiting>() + waiting.batch.memory()).sum()
    }

    /// Whether the stream of this input is read by another input, too.
    pub(crate) fn has(&self, input: usize) -> bool {
        self.group(input).nth(1).is_some()
    }

    /// The inputs that read the stream of this one.
    fn group(&self, input: usize) -> impl Iterator<Item = usize> {
        let first = self.first.get(input).copied();
        self.first.iter().enumerate().filter(move |(_, other)| Some(**other) == first).map(|(at, _)| at)
    }

    /// Takes the rows of one input; all that wait once every input of the stream has come. An input that comes again
    /// before the others have (its queue has dropped theirs) finds its rows on the list before it.
    pub(crate) fn add(&mut self, input: usize, hand: Hand<'_>) -> Vec<Vec<Waiting>> {
        let mut due = Vec::new();
        if self.waiting.iter().any(|waiting| waiting.input == input) {
            due.push(self.take(input));
        }
        let (batch, rows, mark) = (hand.batch.clone(), hand.rows.clone(), hand.mark.clone());
        self.waiting.push(Waiting { input, mark, batch, rows });
        if self.group(input).all(|twin| self.waiting.iter().any(|waiting| waiting.input == twin)) {
            due.push(self.take(input));
        }
        due
    }

    /// What waits on the stream of this input.
    pub(crate) fn take(&mut self, input: usize) -> Vec<Waiting> {
        let group: Vec<usize> = self.group(input).collect();
        let (mut taken, rest): (Vec<_>, Vec<_>) =
            self.waiting.drain(..).partition(|waiting| group.contains(&waiting.input));
        self.waiting = rest;
        taken.sort_by_key(|waiting| waiting.input);
        taken
    }
}

/// The first scan of the stream that scan `at` reads.
pub(crate) fn first_of(scans: &[CompiledScan], at: usize) -> usize {
    let same = |other: &CompiledScan| {
        let (one, other) = (&scans[at].scan, &other.scan);
        one.stream.name == other.stream.name && one.retain.is_none() && other.retain.is_none()
    };
    scans.iter().position(same).unwrap_or(at)
}

impl Waiting {
    /// The rows and the faults between them, in their order, each by itself.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (Batch, Selection)> {
        let mut faults = self.rows.faults.iter().peekable();
        let mut rows = self.rows.iter().peekable();
        std::iter::from_fn(move || {
            let row = rows.peek().copied();
            if let Some(fault) = faults.next_if(|fault| row.is_none_or(|row| fault.row as usize <= row)) {
                return Some(alone(&self.batch, fault));
            }
            let row = rows.next()? as u32;
            Some((reshape::gather_rows(&self.batch, &[row]), Selection::all(1)))
        })
    }
}

fn alone(batch: &Batch, fault: &Fault) -> (Batch, Selection) {
    let faults = vec![Fault { row: 0, ..fault.clone() }];
    (Batch::empty(Arc::clone(&batch.schema), Unit::Rows), Selection { live: Live::All(0), faults })
}
