//! ORDER BY of each collection; single rows pass.

use thalweg_core::{Batch, Selection, Unit};
use thalweg_plan::logical::SortKey;

use crate::op::{faults, order, reshape};
use crate::operator::{Emit, OpCx, Operator};

/// Sorts.
pub(crate) struct Sort {
    keys: Vec<SortKey>,
}

impl Sort {
    pub(crate) fn new(keys: &[SortKey]) -> Self {
        Self { keys: keys.to_vec() }
    }
}

impl Operator for Sort {
    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        if batch.unit == Unit::Rows {
            return out.batch(0, batch, rows);
        }
        let order = match order::is_one(&self.keys, batch, rows, cx) {
            Ok(true) => return out.batch(0, batch, rows),
            Ok(false) => order::sorted(&self.keys, batch, rows, cx),
            Err(error) => Err(error),
        };
        match order {
            Ok(order) if order.is_sorted() => out.batch(0, batch, rows),
            Ok(order) => {
                let mut all = Selection::all(order.len());
                all.faults.clone_from(&rows.faults);
                out.batch(0, &reshape::gather_rows(batch, &order), &all);
            }
            Err(error) => {
                let message = format!("run Order By error: {error}");
                faults::fail_all(&message, (faults::time_of(batch), rows), &batch.schema, out, cx);
            }
        }
    }
}
