//! `row_number()`: 1, 2, … over each collection or within its partitions (F-4); single rows are number 1.

use std::sync::Arc;

use thalweg_core::{Batch, Column, RowError, Schema, Selection, Unit};
use thalweg_expr::Expr;
use thalweg_plan::logical::SortKey;

use crate::op::keys::{Keys, error_at};
use crate::op::{faults, order, reshape};
use crate::operator::{Emit, OpCx, Operator};

/// Appends the numbers.
pub(crate) struct RowNumber {
    partition_by: Vec<Expr>,
    order_by: Vec<SortKey>,
    schema: Arc<Schema>,
    keys: Keys,
}

impl RowNumber {
    pub(crate) fn new(partition_by: &[Expr], order_by: &[SortKey], schema: &Arc<Schema>) -> Self {
        Self {
            partition_by: partition_by.to_vec(),
            order_by: order_by.to_vec(),
            schema: Arc::clone(schema),
            keys: Keys::default(),
        }
    }

    fn number(&mut self, batch: &Batch, rows: &Selection, cx: &OpCx<'_>) -> Result<Column, RowError> {
        if batch.unit == Unit::Rows {
            return Ok(Column::from_ints(std::iter::repeat_n(1, batch.n_rows)));
        }
        let order = order::sorted(&self.order_by, batch, rows, cx)?;
        let mut eval = cx.eval(batch.window);
        let columns: Vec<_> = self.partition_by.iter().map(|key| key.eval(batch, rows, &mut eval)).collect();
        self.keys.clear();
        let mut counts: Vec<i64> = Vec::new();
        let mut numbers = vec![0; batch.n_rows];
        for row in order {
            let row = row as usize;
            if let Some(error) = error_at(&columns, row) {
                return Err(error.clone());
            }
            let partition = self.keys.number(&columns, row) as usize;
            if partition == counts.len() {
                counts.push(0);
            }
            counts[partition] += 1;
            numbers[row] = counts[partition];
        }
        Ok(Column::from_ints(numbers))
    }
}

impl Operator for RowNumber {
    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        match self.number(batch, rows, cx) {
            Ok(numbers) => out.batch(0, &reshape::append(batch, &self.schema, [numbers]), rows),
            Err(error) => {
                let message = format!("run Select error: expr: row_number() meet error, err:{error}");
                faults::fail_all(&message, (faults::time_of(batch), rows), &self.schema, out, cx);
            }
        }
    }
}
