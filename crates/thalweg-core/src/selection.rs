//! Which rows of a batch live on, and which ended with an error that still has to travel.
//!
//! A selection is passed beside a batch and never stored in it (`contracts.md` 1), so that thousands of rules can
//! look at one batch. Faults keep their place in the row order, because with `sendError` they reach the sinks.

use std::sync::Arc;

use crate::Timestamp;

/// A row that ended with an error, at its place in the order of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// The fault stands before this row of the batch (or after the last one).
    pub row: u32,
    /// The whole text as `sendError` shows it.
    pub message: Arc<str>,
    /// The time of the row, or the end of the collection's window; a payload that cannot be read has none. In event
    /// time it says which windows come before the error, however far the watermark goes at once.
    pub time: Option<Timestamp>,
}

/// The rows that live on.
#[derive(Debug, Clone, PartialEq)]
pub enum Live {
    /// Rows `0..n`.
    All(u32),
    /// A bit a row, lowest first; bits past `rows` are zero.
    Mask {
        /// The bits.
        bits: Vec<u64>,
        /// Rows of the batch.
        rows: u32,
    },
    /// Ascending row numbers.
    Rows(Vec<u32>),
}

/// The live rows of a batch and the faults between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// The rows that live on.
    pub live: Live,
    /// Errors to be forwarded, ordered by row; empty unless the rule says `sendError`.
    pub faults: Vec<Fault>,
}

impl Selection {
    /// All rows of a batch of `rows`.
    pub fn all(rows: usize) -> Self {
        Self { live: Live::All(rows as u32), faults: Vec::new() }
    }

    /// These rows, ascending.
    pub fn rows(rows: Vec<u32>) -> Self {
        debug_assert!(rows.is_sorted());
        Self { live: Live::Rows(rows), faults: Vec::new() }
    }

    /// The rows whose bit is set.
    pub fn mask(bits: Vec<u64>, rows: usize) -> Self {
        Self { live: Live::Mask { bits, rows: rows as u32 }, faults: Vec::new() }
    }

    /// The number of live rows.
    pub fn len(&self) -> usize {
        match &self.live {
            Live::All(rows) => *rows as usize,
            Live::Mask { bits, .. } => bits.iter().map(|word| word.count_ones() as usize).sum(),
            Live::Rows(rows) => rows.len(),
        }
    }

    /// Whether no row lives (faults may still be there).
    pub fn is_empty(&self) -> bool {
        match &self.live {
            Live::All(rows) => *rows == 0,
            Live::Mask { bits, .. } => bits.iter().all(|word| *word == 0),
            Live::Rows(rows) => rows.is_empty(),
        }
    }

    /// Whether there is neither a live row nor a fault.
    pub fn is_void(&self) -> bool {
        self.faults.is_empty() && self.is_empty()
    }

    /// The live rows in ascending order.
    pub fn iter(&self) -> Iter<'_> {
        match &self.live {
            Live::All(rows) => Iter::All(0..*rows),
            Live::Mask { bits, .. } => Iter::Mask { bits, word: 0, rest: bits.first().copied().unwrap_or(0) },
            Live::Rows(rows) => Iter::Rows(rows.iter()),
        }
    }
}

/// Iterates over the live rows of a [`Selection`].
#[derive(Debug, Clone)]
pub enum Iter<'a> {
    /// Over [`Live::All`].
    All(std::ops::Range<u32>),
    /// Over [`Live::Mask`].
    Mask {
        /// All words.
        bits: &'a [u64],
        /// The word that `rest` came from.
        word: usize,
        /// Bits of that word not yet visited.
        rest: u64,
    },
    /// Over [`Live::Rows`].
    Rows(std::slice::Iter<'a, u32>),
}

impl Iterator for Iter<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        match self {
            Self::All(range) => range.next().map(|row| row as usize),
            Self::Rows(rows) => rows.next().map(|row| *row as usize),
            Self::Mask { bits, word, rest } => {
                while *rest == 0 {
                    *word += 1;
                    *rest = *bits.get(*word)?;
                }
                let bit = rest.trailing_zeros() as usize;
                *rest &= *rest - 1;
                Some(*word * 64 + bit)
            }
        }
    }
}

impl<'a> IntoIterator for &'a Selection {
    type Item = usize;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_visit_the_same_rows() {
        let rows = Selection::rows(vec![0, 3, 64, 69]);
        let mask = Selection::mask(vec![0b1001, 0b100001], 70);
        assert!(rows.iter().eq(mask.iter()));
        assert_eq!(mask.len(), 4);
        assert_eq!(Selection::all(3).iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert!(Selection::mask(vec![0, 0], 70).is_empty());
    }
}
