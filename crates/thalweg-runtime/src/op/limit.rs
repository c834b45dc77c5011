//! LIMIT n of each collection. Without a collection every row stands alone: 0 drops it, anything else keeps it.

use thalweg_core::{Batch, Live, Selection, Unit};

use crate::op::faults;
use crate::operator::{Emit, OpCx, Operator};

/// Keeps the first rows.
pub(crate) struct Limit {
    rows: usize,
}

impl Limit {
    pub(crate) fn new(rows: u64) -> Self {
        Self { rows: rows.min(u64::from(u32::MAX)) as usize }
    }
}

impl Operator for Limit {
    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        _cx: &mut OpCx<'_>,
    ) {
        if self.rows == 0 {
            return faults::send(rows.faults.clone(), 0, &batch.schema, out);
        }
        if batch.unit == Unit::Rows || rows.len() <= self.rows {
            return out.batch(0, batch, rows);
        }
        let first = rows.iter().take(self.rows).map(|row| row as u32).collect();
        out.batch(0, batch, &Selection { live: Live::Rows(first), faults: rows.faults.clone() });
    }
}
