//! Aggregates over a whole collection, repeated on every row: aggregates in WHERE.

use std::sync::Arc;

use thalweg_core::{Batch, Column, Schema, Selection, Unit};
use thalweg_expr::GroupId;
use thalweg_plan::logical::AggregateCall;

use crate::op::calls::{Calls, Grouped};
use crate::op::reshape::Room;
use crate::op::{aggregate, reshape};
use crate::operator::{Emit, OpCx, Operator};

/// Appends one column a call.
pub(crate) struct AggFunc {
    calls: Calls,
    schema: Arc<Schema>,
    groups: Vec<GroupId>,
    /// One a call, with the one result of a collection.
    results: Vec<Arc<Column>>,
    room: Room,
}

impl AggFunc {
    pub(crate) fn new(calls: &[AggregateCall], schema: &Arc<Schema>) -> Self {
        Self {
            calls: Calls::new(calls),
            schema: Arc::clone(schema),
            groups: Vec::new(),
            results: calls.iter().map(|_| Arc::default()).collect(),
            room: Room::new(schema),
        }
    }
}

impl Operator for AggFunc {
    fn memory(&self) -> usize {
        self.calls.memory() + self.groups.capacity() * 4
    }

    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        if batch.unit == Unit::Rows {
            let columns = aggregate::alone(&mut self.calls, &mut self.groups, batch, rows, cx);
            return out.batch(0, &reshape::append(batch, &self.schema, columns), rows);
        }
        let Self { calls, groups, results, room, .. } = self;
        groups.clear();
        groups.resize(rows.len(), 0);
        calls.update(Grouped { batch, rows, groups, n_groups: 1 }, cx);
        calls.finish_into(1, results, cx);
        calls.reset();
        room.begin_wider(batch);
        for result in results {
            room.push_with(|_, own| own.copy_constant(result, batch.n_rows));
        }
        out.batch(0, room.batch(), rows);
        room.clear();
    }
}
