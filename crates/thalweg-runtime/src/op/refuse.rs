//! Stands where a plan node cannot be run: every row fails and says why.

use std::sync::Arc;

use thalweg_core::{Batch, Schema, Selection};

use crate::op::faults;
use crate::operator::{Emit, OpCx, Operator};

/// Fails every row.
pub(crate) struct Refuse {
    reason: String,
    schema: Arc<Schema>,
}

impl Refuse {
    pub(crate) fn new(reason: &str, schema: &Arc<Schema>) -> Self {
        Self { reason: reason.to_owned(), schema: Arc::clone(schema) }
    }
}

impl Operator for Refuse {
    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        let bad: Vec<_> = rows.iter().map(|row| (row, self.reason.clone())).collect();
        faults::send(faults::fail_rows(&bad, (batch, rows), cx), 0, &self.schema, out);
    }
}
