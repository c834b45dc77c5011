//! GROUP BY and aggregates: one row per group, in the order in which the groups first appear.
//!
//! Knows no window: what it is given is a collection, or single rows, each of which is then aggregated alone.
//! A group's plain columns are those of its first row. A window that folds rows as they arrive has done all this
//! already; the node above it then only hands on.

use std::sync::Arc;

use thalweg_core::{Batch, Column, Schema, Selection, Unit};
use thalweg_expr::{Expr, GroupId};
use thalweg_plan::logical::AggregateCall;

use crate::op::calls::{Calls, Grouped};
use crate::op::groups::{Grouping, Groups};
use crate::op::{faults, reshape};
use crate::operator::{Emit, OpCx, Operator};

/// Groups and aggregates.
pub(crate) struct Aggregate {
    grouping: Grouping,
    /// Emptied after each collection; only its room is kept.
    groups: Groups,
    /// For single rows.
    calls: Calls,
    ids: Vec<GroupId>,
}

impl Aggregate {
    pub(crate) fn new(by: &[Expr], calls: &[AggregateCall], schema: &Arc<Schema>) -> Self {
        let grouping = Grouping::new(by, calls, schema);
        let groups = Groups::new(&grouping);
        Self { grouping, groups, calls: Calls::new(calls), ids: Vec::new() }
    }

    fn collection(&mut self, batch: &Batch, rows: &Selection, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let Self { grouping, groups, .. } = self;
        match groups.take(grouping, batch, rows, cx) {
            Err(message) => faults::fail_all(&message, rows, &grouping.schema, out, cx),
            Ok(()) => {
                faults::send(rows.faults.clone(), 0, &grouping.schema, out);
                groups.emit(grouping, batch.window, out, cx);
            }
        }
        groups.reset();
    }
}

impl Operator for Aggregate {
    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        if batch.unit == Unit::Collection {
            return self.collection(batch, rows, out, cx);
        }
        if !rows.is_void() {
            let columns = alone(&mut self.calls, &mut self.ids, batch, rows, cx);
            out.batch(0, &reshape::append(batch, &self.grouping.schema, columns), rows);
        }
    }
}

/// Each row is a group of its own: the results aligned with the batch.
pub(crate) fn alone(
    calls: &mut Calls,
    groups: &mut Vec<GroupId>,
    batch: &Batch,
    rows: &Selection,
    cx: &OpCx<'_>,
) -> Vec<Column> {
    let n_groups = rows.len();
    groups.clear();
    groups.extend(0..n_groups as u32);
    let columns = calls.compute(Grouped { batch, rows, groups, n_groups }, cx);
    columns.into_iter().map(|column| column.spread(rows, batch.n_rows)).collect()
}
