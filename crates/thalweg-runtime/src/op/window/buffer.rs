//! The rows a window holds: the one buffer of all window kinds, of scan tables and of reordering.
//!
//! The buffer *is* a batch. A window hands on that batch with the range of its members as the selection, so closing a
//! window copies nothing; rows are dropped at the front by moving a mark, and now and then the dead ones are removed.
//! While rows come in, the buffer has its columns to itself; it puts them into the batch when that is lent.

use std::ops::Range;
use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Column, Live, Schema, Selection, Timestamp, Unit, WindowRange};

use crate::op::reshape;

/// Room for so many rows is kept whether or not they come.
const MUCH: usize = 1_024;

/// Rows in order of their times.
#[derive(Debug)]
pub(crate) struct RowBuffer {
    batch: Batch,
    /// The columns while the batch is not lent: to write into them needs no look at who else has them, which for one
    /// row costs more than the row.
    own: Vec<Column>,
    is_lent: bool,
    /// Rows before it are dead.
    start: usize,
    /// Dead and removed rows so far: a row's position counts from the first row ever.
    removed: u64,
}

impl RowBuffer {
    pub(crate) fn new(schema: &Arc<Schema>) -> Self {
        Self::of(schema, Unit::Collection)
    }

    /// A buffer whose batch is handed on as single rows.
    pub(crate) fn of_rows(schema: &Arc<Schema>) -> Self {
        Self::of(schema, Unit::Rows)
    }

    fn of(schema: &Arc<Schema>, unit: Unit) -> Self {
        let own = (0..schema.len()).map(|_| Column::new()).collect();
        Self { batch: Batch::empty(Arc::clone(schema), unit), own, is_lent: false, start: 0, removed: 0 }
    }

    /// The columns to write into. What somebody keeps who was lent them is copied, or left to him if all rows go.
    fn columns_mut(&mut self, goes_all: bool) -> &mut [Column] {
        if std::mem::take(&mut self.is_lent) {
            for (lent, own) in self.batch.columns.iter_mut().zip(&mut self.own) {
                match Arc::get_mut(lent) {
                    Some(column) => std::mem::swap(column, own),
                    None if goes_all => *lent = Arc::default(),
                    None => *own = (*std::mem::take(lent)).clone(),
                }
            }
        }
        &mut self.own
    }

    /// The number of live rows.
    pub(crate) fn len(&self) -> usize {
        self.batch.n_rows - self.start
    }

    /// The position of the next row to come. Positions are never used again.
    pub(crate) fn end(&self) -> u64 {
        self.removed.saturating_add(self.batch.n_rows as u64)
    }

    /// The position of the first live row.
    pub(crate) fn first(&self) -> u64 {
        self.removed + self.start as u64
    }

    /// The times of the live rows.
    pub(crate) fn times(&self) -> &[Timestamp] {
        &self.batch.times[self.start..]
    }

    /// The buffer as a batch; live rows start at [`RowBuffer::row`] of [`RowBuffer::first`].
    pub(crate) fn lend(&mut self) -> &Batch {
        if !std::mem::replace(&mut self.is_lent, true) {
            for (lent, own) in self.batch.columns.iter_mut().zip(&mut self.own) {
                match Arc::get_mut(lent) {
                    Some(column) => std::mem::swap(column, own),
                    None => *lent = Arc::new(std::mem::take(own)),
                }
            }
        }
        &self.batch
    }

    /// The number of rows, live or dead.
    pub(crate) fn n_rows(&self) -> usize {
        self.batch.n_rows
    }

    /// The schema of the rows.
    pub(crate) fn schema(&self) -> &Arc<Schema> {
        &self.batch.schema
    }

    /// The row of the batch at a position.
    pub(crate) fn row(&self, position: u64) -> usize {
        (position - self.removed) as usize
    }

    /// The position of the first live row at or after `time`.
    pub(crate) fn at(&self, time: Timestamp) -> u64 {
        self.first() + self.times().partition_point(|have| *have < time) as u64
    }

    /// Copies rows in, at least one, ascending. A row's time is at least `not_before` and that of the row before it, so
    /// that times ascend.
    pub(crate) fn push(&mut self, batch: &Batch, rows: &[u32], not_before: Timestamp) {
        let mut latest = self.times().last().map_or(not_before, |last| (*last).max(not_before));
        let mut ascending = |time: &Timestamp| {
            latest = latest.max(*time);
            latest
        };
        match self.append(batch, rows) {
            Some(rows) => self.batch.times.extend(batch.times[rows].iter().map(ascending)),
            None => {
                self.batch.times.extend(rows.iter().map(|row| ascending(&batch.times[*row as usize])));
            }
        }
        self.batch.n_rows = self.batch.times.len();
    }

    /// Copies rows in with their times as they are.
    pub(crate) fn push_unordered(&mut self, batch: &Batch, rows: &[u32]) {
        match self.append(batch, rows) {
            Some(rows) => self.batch.times.extend_from_slice(&batch.times[rows]),
            None => self.batch.times.extend(rows.iter().map(|row| batch.times[*row as usize])),
        }
        self.batch.n_rows = self.batch.times.len();
    }

    /// Copies the columns of rows in; gives the rows as a range if they are one.
    fn append(&mut self, batch: &Batch, rows: &[u32]) -> Option<Range<usize>> {
        let range = reshape::range(rows);
        for (column, from) in self.columns_mut(false).iter_mut().zip(&batch.columns) {
            match &range {
                Some(rows) => column.append_range(from, rows.clone()),
                None => column.append_rows(from, rows.iter().map(|row| *row as usize)),
            }
        }
        range
    }

    /// Keeps only these rows of the batch, in this order, and counts positions anew.
    pub(crate) fn keep(&mut self, rows: &[u32]) {
        let columns = self.columns_mut(rows.is_empty());
        if rows.is_empty() {
            columns.iter_mut().for_each(|column| column.clear(None));
            self.batch.times.clear();
        } else {
            for column in columns {
                let all = std::mem::take(column);
                column.append_rows(&all, rows.iter().map(|row| *row as usize));
            }
            self.batch.times = rows.iter().map(|row| self.batch.times[*row as usize]).collect();
        }
        self.batch.n_rows = rows.len();
        (self.start, self.removed) = (0, 0);
    }

    /// Drops the live rows before a position.
    pub(crate) fn drop_before(&mut self, position: u64) {
        if position <= self.first() {
            return;
        }
        self.start = (position - self.removed) as usize;
        let start = self.start;
        if start == self.batch.n_rows {
            self.empty(start);
        } else if start >= 64 && start * 2 > self.batch.n_rows {
            self.columns_mut(false).iter_mut().for_each(|column| column.drop_front(start));
            self.batch.times.drain(..start);
        } else {
            return;
        }
        self.removed += start as u64;
        self.start = 0;
        self.batch.n_rows = self.batch.times.len();
    }

    /// Drops all rows. The room stays, unless it is much more than the last rows needed.
    fn empty(&mut self, n_rows: usize) {
        let is_too_much = self.batch.times.capacity() > MUCH.max(8 * n_rows);
        let columns = self.columns_mut(true).iter_mut();
        if is_too_much {
            columns.for_each(|column| *column = Column::new());
            self.batch.times = Vec::new();
        } else {
            columns.for_each(|column| column.clear(None));
            self.batch.times.clear();
        }
    }

    /// Lends the rows between two positions as the collection of a window.
    pub(crate) fn range(&mut self, from: u64, to: u64, window: WindowRange) -> (&Batch, Selection) {
        self.batch.window = Some(window);
        let (from, to) = (from.clamp(self.first(), self.end()), to.min(self.end()));
        let (from, to) = (self.row(from) as u32, self.row(to.max(from)) as u32);
        let live = if from == 0 && to as usize == self.batch.n_rows {
            Live::All(to)
        } else {
            Live::Rows((from..to).collect())
        };
        (self.lend(), Selection { live, faults: Vec::new() })
    }

    /// The bytes that it has on the heap.
    pub(crate) fn memory(&self) -> usize {
        let own = self.own.iter().map(|column| size_of::<Column>() + column.memory());
        self.batch.memory() + own.sum::<usize>()
    }

    /// Writes the live rows and their positions.
    pub(crate) fn save(&self, out: &mut StateWriter) {
        out.u64(self.first());
        out.u64(self.len() as u64);
        self.times().iter().for_each(|time| out.time(*time));
        for (lent, own) in self.batch.columns.iter().zip(&self.own) {
            let mut live = Column::new();
            live.append_range(if self.is_lent { lent } else { own }, self.start..self.batch.n_rows);
            out.column(&live);
        }
    }

    /// Reads what [`RowBuffer::save`] wrote.
    pub(crate) fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        self.removed = from.u64()?;
        self.start = 0;
        let rows = from.read_len()?;
        self.batch.times = (0..rows).map(|_| from.time()).collect::<Result<_, _>>()?;
        for column in self.columns_mut(true) {
            let read = from.column()?;
            if read.len() != rows {
                return Err(StateError(format!("a column has {} of {rows} rows", read.len())));
            }
            *column = read;
        }
        self.batch.n_rows = rows;
        Ok(())
    }
}
