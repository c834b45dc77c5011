//! GROUP BY and aggregates: one row per group, in the order in which the groups first appear.
//!
//! Knows no window: what it is given is a collection, or single rows, each of which is then aggregated alone.
//! A group's plain columns are those of its first row.

use std::sync::Arc;

use thalweg_core::{Batch, Column, Schema, Selection, Tag, Unit};
use thalweg_expr::{Expr, GroupId};
use thalweg_plan::logical::AggregateCall;

use crate::op::calls::{Calls, Grouped};
use crate::op::keys::{Keys, error_at};
use crate::op::{faults, reshape};
use crate::operator::{Emit, OpCx, Operator};

/// Groups and aggregates.
pub(crate) struct Aggregate {
    by: Vec<Expr>,
    calls: Calls,
    schema: Arc<Schema>,
    /// Emptied after each collection; only its room is kept.
    keys: Keys,
    groups: Vec<GroupId>,
    /// The first row of each group.
    firsts: Vec<u32>,
}

impl Aggregate {
    pub(crate) fn new(by: &[Expr], calls: &[AggregateCall], schema: &Arc<Schema>) -> Self {
        Self {
            by: by.to_vec(),
            calls: Calls::new(calls),
            schema: Arc::clone(schema),
            keys: Keys::default(),
            groups: Vec::new(),
            firsts: Vec::new(),
        }
    }

    /// Numbers the groups of a collection.
    ///
    /// # Errors
    /// A key that fails.
    fn group(&mut self, batch: &Batch, rows: &Selection, cx: &OpCx<'_>) -> Result<(), String> {
        self.groups.clear();
        self.firsts.clear();
        if self.by.is_empty() {
            self.groups.resize(rows.len(), 0);
            self.firsts.push(rows.iter().next().map_or(reshape::NONE, |row| row as u32));
            return Ok(());
        }
        let mut eval = cx.eval(batch.window);
        let columns: Vec<_> = self.by.iter().map(|key| key.eval(batch, rows, &mut eval)).collect();
        if columns.iter().any(|column| column.column().seen().contains(Tag::Error))
            && let Some(error) = rows.iter().find_map(|row| error_at(&columns, row))
        {
            return Err(format!("run Group By error: {error}"));
        }
        self.keys.clear();
        for row in rows {
            let group = self.keys.number(&columns, row);
            if group as usize == self.firsts.len() {
                self.firsts.push(row as u32);
            }
            self.groups.push(group);
        }
        Ok(())
    }

    fn collection(&mut self, batch: &Batch, rows: &Selection, out: &mut dyn Emit, cx: &OpCx<'_>) {
        if let Err(message) = self.group(batch, rows, cx) {
            return faults::fail_all(&message, rows, &self.schema, out, cx);
        }
        faults::send(rows.faults.clone(), 0, &self.schema, out);
        if self.firsts.is_empty() {
            return;
        }
        let grouped = Grouped { batch, rows, groups: &self.groups, n_groups: self.firsts.len() };
        let results = self.calls.compute(grouped, cx);
        let mut columns: Vec<_> =
            batch.columns.iter().map(|column| Arc::new(reshape::gather(column, &self.firsts))).collect();
        columns.extend(results.into_iter().map(Arc::new));
        let closed = batch.window.map_or(cx.now, |window| window.trigger);
        let time = |row: &u32| batch.times.get(*row as usize).copied().unwrap_or(closed);
        let times = self.firsts.iter().map(time).collect();
        let result = reshape::collection(&self.schema, columns, times, batch.window);
        out.batch(0, &result, &Selection::all(self.firsts.len()));
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
            let columns = alone(&mut self.calls, &mut self.groups, batch, rows, cx);
            out.batch(0, &reshape::append(batch, &self.schema, columns), rows);
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
