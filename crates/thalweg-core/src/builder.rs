//! Where decoders write: rows are begun, filled by slot, and ended or given up.

use std::sync::Arc;

use crate::batch::{Batch, Unit};
use crate::column::{Arena, Column};
use crate::error::FormatError;
use crate::schema::Schema;
use crate::selection::{Fault, Live, Selection};
use crate::time::Timestamp;

/// Collects decoded rows into columns. A row that is not filled in some slot is missing there.
#[derive(Debug)]
pub struct BatchBuilder {
    schema: Arc<Schema>,
    columns: Vec<Column>,
    times: Vec<Timestamp>,
    faults: Vec<Fault>,
    arena: Option<Arena>,
    /// The list of an earlier batch, with columns that nobody else holds.
    shells: Vec<Arc<Column>>,
}

impl BatchBuilder {
    /// A builder for batches of this schema.
    pub fn new(schema: Arc<Schema>) -> Self {
        let columns = (0..schema.len()).map(|_| Column::new()).collect();
        let (times, faults, shells) = (Vec::new(), Vec::new(), Vec::new());
        Self { schema, columns, times, faults, arena: None, shells }
    }

    /// Starts a batch whose payloads stand in `arena`.
    pub fn begin(&mut self, arena: Option<Arena>) {
        for column in &mut self.columns {
            column.clear(arena.clone());
        }
        self.arena = arena;
        self.times.clear();
        self.faults.clear();
    }

    /// Finished rows so far.
    #[inline]
    pub fn n_rows(&self) -> usize {
        self.times.len()
    }

    /// The column of a slot, to push the current row's cell. The first push to a slot in a row wins its place; use
    /// [`BatchBuilder::reset_slot`] before a second one (duplicate keys: the last wins).
    #[inline]
    pub fn column(&mut self, slot: usize) -> &mut Column {
        &mut self.columns[slot]
    }

    /// Takes back the current row's cell of a slot, if one was pushed.
    #[inline]
    pub fn reset_slot(&mut self, slot: usize) {
        let rows = self.times.len();
        if self.columns[slot].len() > rows {
            self.columns[slot].truncate(rows);
        }
    }

    /// Ends the current row.
    #[inline]
    pub fn end_row(&mut self, time: Timestamp) {
        let rows = self.times.len();
        for column in &mut self.columns {
            if column.len() == rows {
                column.push_missing();
            }
        }
        self.times.push(time);
    }

    /// Ends the current row, which was filled in every slot.
    #[inline]
    pub fn end_filled_row(&mut self, time: Timestamp) {
        debug_assert!(self.columns.iter().all(|column| column.len() == self.times.len() + 1));
        self.times.push(time);
    }

    /// Gives up all rows from `rows` on, the current one included, and notes why.
    pub fn fail(&mut self, rows: usize, error: &FormatError) {
        for column in &mut self.columns {
            column.truncate(rows);
        }
        self.times.truncate(rows);
        self.faults.push(Fault { row: rows as u32, message: Arc::clone(&error.message), time: None });
    }

    /// The faults so far.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The batch and the selection of its good rows with the decode faults between them. The builder is left
    /// without columns' allocations; [`BatchBuilder::recycle`] gives them back.
    pub fn finish(&mut self) -> (Batch, Selection) {
        let n_rows = self.times.len();
        let mut columns = std::mem::take(&mut self.shells);
        columns.resize_with(self.columns.len(), Arc::default);
        for (shell, column) in columns.iter_mut().zip(&mut self.columns) {
            match Arc::get_mut(shell) {
                Some(shell) => std::mem::swap(shell, column),
                None => *shell = Arc::new(std::mem::take(column)),
            }
        }
        let batch = Batch {
            schema: Arc::clone(&self.schema),
            columns,
            n_rows,
            times: std::mem::take(&mut self.times),
            unit: Unit::Rows,
            window: None,
        };
        self.arena = None;
        let selection =
            Selection { live: Live::All(n_rows as u32), faults: std::mem::take(&mut self.faults) };
        (batch, selection)
    }

    /// Takes the allocations of a batch that nobody else holds any more.
    pub fn recycle(&mut self, batch: Batch) {
        if batch.columns.len() != self.columns.len() {
            return;
        }
        self.shells = batch.columns;
        for (shell, column) in self.shells.iter_mut().zip(&mut self.columns) {
            match Arc::get_mut(shell) {
                Some(shell) => {
                    shell.clear(None);
                    std::mem::swap(shell, column);
                }
                // Somebody keeps it.
                None => *shell = Arc::default(),
            }
        }
        self.times = batch.times;
        self.times.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Cell;

    #[test]
    fn a_failed_payload_leaves_a_fault_and_no_row() {
        let mut builder = BatchBuilder::new(Arc::new(Schema::computed(["a", "b"])));
        builder.begin(None);
        builder.column(0).push_int(1);
        builder.end_row(Timestamp(5));
        builder.column(1).push_int(2);
        builder.fail(1, &FormatError::new("bad"));
        builder.column(0).push_int(3);
        builder.reset_slot(0);
        builder.column(0).push_int(4);
        builder.end_row(Timestamp(6));
        let (batch, selection) = builder.finish();
        assert_eq!(batch.n_rows, 2);
        assert_eq!(batch.columns[1].cell(0), Cell::Missing);
        assert_eq!(batch.columns[0].cell(1), Cell::Int(4));
        assert_eq!(selection.faults[0].row, 1);
        builder.recycle(batch);
        builder.begin(None);
        assert_eq!(builder.n_rows(), 0);
    }
}
