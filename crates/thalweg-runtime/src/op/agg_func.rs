//! Aggregates over a whole collection, repeated on every row: aggregates in WHERE.

use std::sync::Arc;

use thalweg_core::{Batch, Column, Schema, Selection, Unit};
use thalweg_expr::GroupId;
use thalweg_plan::logical::AggregateCall;

use crate::op::calls::{Calls, Grouped};
use crate::op::{aggregate, reshape};
use crate::operator::{Emit, OpCx, Operator};

/// Appends one column a call.
pub(crate) struct AggFunc {
    calls: Calls,
    schema: Arc<Schema>,
    groups: Vec<GroupId>,
}

impl AggFunc {
    pub(crate) fn new(calls: &[AggregateCall], schema: &Arc<Schema>) -> Self {
        Self { calls: Calls::new(calls), schema: Arc::clone(schema), groups: Vec::new() }
    }
}

impl Operator for AggFunc {
    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        let columns = if batch.unit == Unit::Rows {
            aggregate::alone(&mut self.calls, &mut self.groups, batch, rows, cx)
        } else {
            self.groups.clear();
            self.groups.resize(rows.len(), 0);
            let grouped = Grouped { batch, rows, groups: &self.groups, n_groups: 1 };
            self.calls.compute(grouped, cx).iter().map(|column| repeat(column, batch.n_rows)).collect()
        };
        out.batch(0, &reshape::append(batch, &self.schema, columns), rows);
    }
}

fn repeat(column: &Column, n_rows: usize) -> Column {
    let mut out = Column::new();
    out.append_repeated(column, 0, n_rows);
    out
}
