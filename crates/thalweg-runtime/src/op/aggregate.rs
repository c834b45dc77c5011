//! GROUP BY and aggregates: one row per group, in the order in which the groups first appear (Q-7).
//!
//! Knows no window: what it is given is a collection, or single rows, each of which is then aggregated alone (Q-9).
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
            Err(message) => {
                faults::fail_all(&message, (faults::time_of(batch), rows), &grouping.schema, out, cx)
            }
            Ok(()) => {
                faults::send(rows.faults.clone(), 0, &grouping.schema, out);
                groups.emit(grouping, batch.window, out, cx);
            }
        }
        groups.reset();
    }
}

impl Operator for Aggregate {
    fn memory(&self) -> usize {
        self.groups.memory() + self.calls.memory() + self.ids.capacity() * 4
    }

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

/// Each row is a group of its own (Q-9): the results aligned with the batch.
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

#[cfg(test)]
mod tests {
    use thalweg_core::metrics::NodeMetrics;
    use thalweg_core::{Diagnostic, Slot, Timestamp, WindowRange};
    use thalweg_expr::function::ArgShape;
    use thalweg_expr::{CallCx, Frame, FunctionRef, RemoteFunction};

    use super::*;
    use crate::operator::{RuleInfo, Signal};

    /// Gives the number of rows of each group; of the last group nothing.
    #[derive(Debug)]
    struct Rows;

    impl RemoteFunction for Rows {
        fn name(&self) -> &str {
            "rows"
        }

        fn host(&self) -> &str {
            "plugin"
        }

        fn is_aggregate(&self) -> Result<bool, Diagnostic> {
            Ok(true)
        }

        fn validate(&self, _args: &[ArgShape]) -> Result<(), Diagnostic> {
            Ok(())
        }

        fn call(&self, frame: &Frame<'_>, out: &mut Column, _cx: &CallCx<'_>) {
            let (groups, n_groups) = frame.groups.expect("an aggregate is given groups");
            for group in 0..n_groups as u32 - 1 {
                out.push_int(groups.iter().filter(|of| **of == group).count() as i64);
            }
        }
    }

    struct Printed(Vec<String>);

    impl Emit for Printed {
        fn batch(&mut self, _port: usize, batch: &Batch, rows: &Selection) {
            let row =
                |row: usize| batch.columns.iter().map(|column| format!("{:?}", column.cell(row))).collect();
            self.0.extend(rows.iter().map(|at| {
                let cells: Vec<String> = row(at);
                cells.join(" ")
            }));
        }

        fn signal(&mut self, _signal: Signal) {}
    }

    #[test]
    fn a_remote_aggregate_gets_all_rows_of_a_collection_and_what_it_leaves_out_is_an_error() {
        let call = AggregateCall {
            function: FunctionRef::Remote(Arc::new(Rows)),
            args: vec![Expr::Column(Slot(0))],
            filter: None,
            call_id: 0,
        };
        let schema = Arc::new(Schema::computed(["k", "n"]));
        let mut aggregate = Aggregate::new(&[Expr::Column(Slot(0))], &[call], &schema);
        let rule = RuleInfo {
            id: Arc::from("r"),
            started: Timestamp(0),
            zone: chrono_tz::Tz::UTC,
            send_error: false,
            latency_budget: 300,
            instance: Arc::default(),
            clock: thalweg_core::ManualClock::at(Timestamp(0)),
        };
        let metrics = NodeMetrics::default();
        let mut cx = OpCx { now: Timestamp(0), rule: &rule, metrics: &metrics, node: "node", behind: &[] };
        let mut out = Printed(Vec::new());
        for keys in [vec![7, 8, 7], vec![8]] {
            let at = Timestamp(0);
            let batch = Batch {
                schema: Arc::new(Schema::computed(["k"])),
                n_rows: keys.len(),
                times: vec![at; keys.len()],
                columns: vec![Arc::new(Column::from_ints(keys.iter().copied()))],
                unit: Unit::Collection,
                window: Some(WindowRange { start: at, end: at, trigger: at }),
            };
            aggregate.on_batch(0, &batch, &Selection::all(keys.len()), &mut out, &mut cx);
        }
        let error = "Error(Text(\"rows gave no result\"))";
        assert_eq!(out.0, ["Int(7) Int(2)".to_owned(), format!("Int(8) {error}"), format!("Int(8) {error}")]);
    }
}
