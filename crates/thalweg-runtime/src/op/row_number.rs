//! `row_number()`: 1, 2, … over each collection or within its partitions (F-4); single rows are number 1.

use std::sync::Arc;

use thalweg_core::{Batch, ColumnRef, RowError, Schema, Selection, Unit};
use thalweg_expr::{Expr, eval_all};
use thalweg_plan::logical::SortKey;

use crate::op::keys::{Keys, error_at};
use crate::op::reshape::Room;
use crate::op::{faults, order};
use crate::operator::{Emit, OpCx, Operator};

/// Appends the numbers.
pub(crate) struct RowNumber {
    partition_by: Vec<Expr>,
    order_by: Vec<SortKey>,
    schema: Arc<Schema>,
    keys: Keys,
    /// Rows so far of each partition, and the number of each row.
    counts: Vec<i64>,
    numbers: Vec<i64>,
    room: Room,
}

impl RowNumber {
    pub(crate) fn new(partition_by: &[Expr], order_by: &[SortKey], schema: &Arc<Schema>) -> Self {
        Self {
            partition_by: partition_by.to_vec(),
            order_by: order_by.to_vec(),
            schema: Arc::clone(schema),
            keys: Keys::default(),
            counts: Vec::new(),
            numbers: Vec::new(),
            room: Room::new(schema),
        }
    }

    fn number(&mut self, batch: &Batch, rows: &Selection, cx: &OpCx<'_>) -> Result<(), RowError> {
        self.numbers.clear();
        if batch.unit == Unit::Rows {
            self.numbers.resize(batch.n_rows, 1);
            return Ok(());
        }
        self.numbers.resize(batch.n_rows, 0);
        self.counts.clear();
        self.keys.clear();
        let by = std::mem::take(&mut self.partition_by);
        let numbered = eval_all(&by, batch, rows, &mut cx.eval(batch.window), |columns, _| {
            if self.order_by.is_empty() {
                return rows.iter().try_for_each(|row| self.number_row(columns, row));
            }
            let order = order::sorted(&self.order_by, batch, rows, cx)?;
            order.into_iter().try_for_each(|row| self.number_row(columns, row as usize))
        });
        self.partition_by = by;
        numbered
    }

    fn number_row(&mut self, columns: &[ColumnRef<'_>], row: usize) -> Result<(), RowError> {
        if let Some(error) = error_at(columns, row) {
            return Err(error.clone());
        }
        let partition = self.keys.number(columns, row) as usize;
        if partition == self.counts.len() {
            self.counts.push(0);
        }
        self.counts[partition] += 1;
        self.numbers[row] = self.counts[partition];
        Ok(())
    }
}

impl Operator for RowNumber {
    fn memory(&self) -> usize {
        self.keys.memory()
    }

    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        match self.number(batch, rows, cx) {
            Ok(()) => {
                let Self { numbers, room, .. } = self;
                room.begin_wider(batch);
                room.push_with(|_, own| {
                    own.clear(None);
                    numbers.iter().for_each(|number| own.push_int(*number));
                });
                out.batch(0, room.batch(), rows);
                room.clear();
            }
            Err(error) => {
                let message = format!("run Select error: expr: row_number() meet error, err:{error}");
                faults::fail_all(&message, (faults::time_of(batch), rows), &self.schema, out, cx);
            }
        }
    }
}
