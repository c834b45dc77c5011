//! What a condition says about each row: WHERE, HAVING, FILTER, ON.

use thalweg_core::cast;
use thalweg_core::{Batch, Cell, ColumnRef, Live, Selection, Tag};
use thalweg_expr::{EvalCx, Expr};

use crate::operator::Verdict;

/// What null and missing are to a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// False.
    False,
    /// An error (Q-11, J-3).
    Error,
}

/// The rows that a condition picks, with room that is used again.
#[derive(Debug, Default)]
pub(crate) struct Picked {
    bits: Vec<u64>,
    rows: u32,
    /// How many rows were picked.
    pub(crate) count: usize,
    /// Failed rows and why, without the clause's prefix.
    pub(crate) bad: Vec<(usize, String)>,
    passed: Vec<u32>,
}

impl Picked {
    /// Asks a condition.
    pub(crate) fn ask(
        &mut self,
        condition: &Expr,
        (batch, rows): (&Batch, &Selection),
        nulls: Nulls,
        cx: &mut EvalCx<'_>,
    ) {
        if !condition.narrow(batch, rows, cx, &mut self.passed) {
            return self.pick(&condition.eval(batch, rows, cx), rows, batch.n_rows, nulls);
        }
        self.bits.clear();
        self.bits.resize(batch.n_rows.div_ceil(64), 0);
        self.rows = batch.n_rows as u32;
        self.bad.clear();
        self.count = self.passed.len();
        self.passed.iter().for_each(|row| self.bits[*row as usize / 64] |= 1 << (row % 64));
    }

    /// Looks at the condition's column for the live rows of a batch of `n_rows`.
    pub(crate) fn pick(&mut self, column: &ColumnRef<'_>, rows: &Selection, n_rows: usize, nulls: Nulls) {
        self.bits.clear();
        self.bits.resize(n_rows.div_ceil(64), 0);
        self.rows = n_rows as u32;
        self.bad.clear();
        match column {
            ColumnRef::Rows(column) if column.seen().only(Tag::Bool) => match rows.live {
                Live::All(count) => set_all(&column.words()[..count as usize], &mut self.bits),
                _ => {
                    let words = column.words();
                    rows.iter().for_each(|row| self.bits[row / 64] |= words[row] << (row % 64));
                }
            },
            _ => self.pick_mixed(column, rows, nulls),
        }
        self.count = self.bits.iter().map(|word| word.count_ones() as usize).sum();
    }

    fn pick_mixed(&mut self, column: &ColumnRef<'_>, rows: &Selection, nulls: Nulls) {
        for row in rows {
            match verdict(&column.cell(row), nulls) {
                Ok(true) => self.bits[row / 64] |= 1 << (row % 64),
                Ok(false) => {}
                Err(message) => self.bad.push((row, message)),
            }
        }
    }

    /// Whether a row was picked.
    pub(crate) fn has(&self, row: usize) -> bool {
        self.bits[row / 64] >> (row % 64) & 1 == 1
    }

    /// Lends the picked rows as a selection; give it back with [`Picked::put_back`].
    pub(crate) fn selection(&mut self) -> Selection {
        Selection::mask(std::mem::take(&mut self.bits), self.rows as usize)
    }

    /// Takes the room of a selection back.
    pub(crate) fn put_back(&mut self, selection: Selection) {
        if let Live::Mask { bits, .. } = selection.live {
            self.bits = bits;
        }
    }

    /// The picked rows and the failed ones.
    pub(crate) fn verdict(self) -> Verdict {
        let passed = Selection::mask(self.bits, self.rows as usize);
        let bad = self.bad.into_iter().map(|(row, why)| (row, format!("run Where error: {why}")));
        Verdict { passed, count: self.count, bad: bad.collect(), micros: 0 }
    }
}

fn set_all(words: &[u64], bits: &mut [u64]) {
    for (chunk, bits) in words.chunks(64).zip(bits) {
        *bits = chunk.iter().enumerate().fold(0, |mask, (bit, word)| mask | word << bit);
    }
}

/// What one cell says.
pub(crate) fn verdict(cell: &Cell<'_>, nulls: Nulls) -> Result<bool, String> {
    match cell {
        Cell::Bool(value) => Ok(*value),
        Cell::Missing | Cell::Null if nulls == Nulls::False => Ok(false),
        Cell::Error(error) => Err(error.to_string()),
        other => Err(format!("invalid condition that returns non-bool value {}", cast::described(other))),
    }
}
