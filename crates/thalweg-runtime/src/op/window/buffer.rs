//! The rows a window holds: the one buffer of all window kinds, of scan tables and of reordering.
//!
//! The buffer *is* a batch. A window hands on that batch with the range of its members as the selection, so closing a
//! window copies nothing; rows are dropped at the front by moving a mark, and now and then the dead ones are removed.

use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Column, Live, Schema, Selection, Timestamp, Unit, WindowRange};

use crate::op::reshape;

/// Rows in order of their times.
#[derive(Debug)]
pub(crate) struct RowBuffer {
    batch: Batch,
    /// Rows before it are dead.
    start: usize,
    /// Dead and removed rows so far: a row's position counts from the first row ever.
    removed: u64,
}

impl RowBuffer {
    pub(crate) fn new(schema: &Arc<Schema>) -> Self {
        Self { batch: Batch::empty(Arc::clone(schema), Unit::Collection), start: 0, removed: 0 }
    }

    /// A buffer whose batch is handed on as single rows.
    pub(crate) fn of_rows(schema: &Arc<Schema>) -> Self {
        Self { batch: Batch::empty(Arc::clone(schema), Unit::Rows), start: 0, removed: 0 }
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
    pub(crate) fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The row of the batch at a position.
    pub(crate) fn row(&self, position: u64) -> usize {
        (position - self.removed) as usize
    }

    /// The position of the first live row at or after `time`.
    pub(crate) fn at(&self, time: Timestamp) -> u64 {
        self.first() + self.times().partition_point(|have| *have < time) as u64
    }

    /// Copies rows in, at least one, ascending. A row's time is at least `not_before` and that of the row before it, so that times ascend.
    pub(crate) fn push(&mut self, batch: &Batch, rows: &[u32], not_before: Timestamp) {
        let mut latest = self.times().last().map_or(not_before, |last| (*last).max(not_before));
        reshape::append_rows(&mut self.batch.columns, &batch.columns, rows);
        for row in rows {
            latest = latest.max(batch.times[*row as usize]);
            self.batch.times.push(latest);
        }
        self.batch.n_rows += rows.len();
    }

    /// Copies rows in with their times as they are.
    pub(crate) fn push_unordered(&mut self, batch: &Batch, rows: &[u32]) {
        reshape::append_rows(&mut self.batch.columns, &batch.columns, rows);
        self.batch.times.extend(rows.iter().map(|row| batch.times[*row as usize]));
        self.batch.n_rows = self.batch.times.len();
    }

    /// Keeps only these rows of the batch, in this order, and counts positions anew.
    pub(crate) fn keep(&mut self, rows: &[u32]) {
        if rows.is_empty() {
            self.batch.columns.iter_mut().for_each(|column| _ = reshape::emptied(column));
            self.batch.times.clear();
            self.batch.n_rows = 0;
        } else {
            let all = std::mem::take(&mut self.batch.columns);
            self.batch.columns = all.iter().map(|_| Arc::default()).collect();
            reshape::append_rows(&mut self.batch.columns, &all, rows);
            self.batch.times = rows.iter().map(|row| self.batch.times[*row as usize]).collect();
            self.batch.n_rows = rows.len();
        }
        (self.start, self.removed) = (0, 0);
    }

    /// Drops the live rows before a position.
    pub(crate) fn drop_before(&mut self, position: u64) {
        if position <= self.first() {
            return;
        }
        self.start = (position - self.removed) as usize;
        if self.start == self.batch.n_rows {
            self.batch.columns.iter_mut().for_each(|column| _ = reshape::emptied(column));
            self.batch.times.clear();
        } else if self.start >= 64 && self.start * 2 > self.batch.n_rows {
            let (start, end) = (self.start, self.batch.n_rows);
            for column in &mut self.batch.columns {
                match Arc::get_mut(column) {
                    Some(column) => column.drop_front(start),
                    None => {
                        let mut rest = Column::new();
                        rest.append_range(column, start..end);
                        *column = Arc::new(rest);
                    }
                }
            }
            self.batch.times.drain(..start);
        } else {
            return;
        }
        self.removed += self.start as u64;
        self.start = 0;
        self.batch.n_rows = self.batch.times.len();
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
        (&self.batch, Selection { live, faults: Vec::new() })
    }

    /// Writes the live rows and their positions.
    pub(crate) fn save(&self, out: &mut StateWriter) {
        out.u64(self.first());
        out.u64(self.len() as u64);
        self.times().iter().for_each(|time| out.time(*time));
        for column in &self.batch.columns {
            let mut live = Column::new();
            live.append_range(column, self.start..self.batch.n_rows);
            out.column(&live);
        }
    }

    /// Reads what [`RowBuffer::save`] wrote.
    pub(crate) fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        self.removed = from.u64()?;
        self.start = 0;
        let rows = from.read_len()?;
        self.batch.times = (0..rows).map(|_| from.time()).collect::<Result<_, _>>()?;
        for column in &mut self.batch.columns {
            let read = from.column()?;
            if read.len() != rows {
                return Err(StateError(format!("a column has {} of {rows} rows", read.len())));
            }
            *column = Arc::new(read);
        }
        self.batch.n_rows = rows;
        Ok(())
    }
}
