//! Lookup joins: rows of a table elsewhere, asked for row by row (J-12 to J-16).
//!
//! The question blocks, so rules with a lookup join run where blocking is allowed. Extra conditions of ON decide what
//! matches, so a LEFT join keeps its rows (J-14).

use std::sync::Arc;

use thalweg_core::{
    Batch, Column, ColumnRef, Fields, IoError, Schema, Selection, Timestamp, Unit, Value, Want,
};
use thalweg_plan::logical::Lookup;
use thalweg_plan::{JoinKind, Node};

use crate::op::condition::{Nulls, Picked};
use crate::op::keys::error_at;
use crate::op::{faults, reshape};
use crate::operator::{Emit, OpCx, Operator};

/// Finds rows by key, waiting for the answer.
pub trait LookupRows: Send {
    /// The rows whose `keys` equal `values`; `fields` names the columns wanted (empty: all, J-15). No value is null.
    ///
    /// # Errors
    /// The other side cannot be asked.
    fn rows(
        &mut self,
        fields: &[Arc<str>],
        keys: &[Arc<str>],
        values: &[Value],
    ) -> Result<Vec<Arc<Fields>>, IoError>;
}

/// Asks for each row.
pub(crate) struct LookupJoin {
    plan: Lookup,
    table: Box<dyn LookupRows>,
    /// Of the table's columns wanted; empty: all.
    fields: Vec<Arc<str>>,
    names: Vec<Arc<str>>,
    schema: Arc<Schema>,
}

/// Input rows and table rows side by side; `None` where the table has none.
#[derive(Default)]
struct Found {
    inputs: Vec<u32>,
    rows: Vec<Option<Arc<Fields>>>,
}

impl LookupJoin {
    pub(crate) fn new(node: &Node, plan: &Lookup, table: Box<dyn LookupRows>) -> Self {
        let mut fields = Vec::new();
        for wanted in &plan.projection.slots {
            match &wanted.want {
                Want::Column { path, .. } if !fields.contains(&path[0]) => fields.push(Arc::clone(&path[0])),
                _ => {}
            }
        }
        if plan.projection.slots.iter().any(|wanted| wanted.want == Want::Everything) {
            fields.clear();
        }
        let names = plan.keys.iter().map(|(name, _)| Arc::clone(name)).collect();
        Self { plan: plan.clone(), table, fields, names, schema: Arc::clone(&node.schema) }
    }

    /// The table rows for one input row. No lookup and no match where a key is null (J-12).
    fn ask(&mut self, keys: &[ColumnRef<'_>], row: usize, cx: &OpCx<'_>) -> Vec<Arc<Fields>> {
        let values: Vec<Value> = keys.iter().map(|key| key.cell(row).to_value()).collect();
        if values.iter().any(Value::is_null) {
            return Vec::new();
        }
        self.table.rows(&self.fields, &self.names, &values).unwrap_or_else(|error| {
            cx.metrics.exception(&format!("run Join error: lookup {}: {error}", self.plan.alias), cx.now);
            Vec::new()
        })
    }

    /// What matches one input row.
    ///
    /// # Errors
    /// A key or ON fails.
    fn matches(
        &mut self,
        batch: &Batch,
        keys: &[ColumnRef<'_>],
        row: usize,
        cx: &OpCx<'_>,
    ) -> Result<Found, String> {
        if let Some(error) = error_at(keys, row) {
            return Err(format!("run Join error: {error}"));
        }
        let rows = self.ask(keys, row, cx);
        let mut found =
            Found { inputs: vec![row as u32; rows.len()], rows: rows.into_iter().map(Some).collect() };
        if self.plan.on.is_some() && !found.rows.is_empty() {
            self.judge(batch, &mut found, cx)?;
        }
        if found.rows.is_empty() && self.plan.kind == JoinKind::Left {
            found = Found { inputs: vec![row as u32], rows: vec![None] };
        }
        Ok(found)
    }

    /// Keeps what the rest of ON accepts.
    fn judge(&self, batch: &Batch, found: &mut Found, cx: &OpCx<'_>) -> Result<(), String> {
        let Some(on) = &self.plan.on else { return Ok(()) };
        let joined = self.materialize(batch, found);
        let rows = Selection::all(joined.n_rows);
        let column = on.eval(&joined, &rows, &mut cx.eval(batch.window));
        let mut picked = Picked::default();
        picked.pick(&column, &rows, joined.n_rows, Nulls::Error);
        if let Some((_, error)) = picked.bad.first() {
            return Err(format!("run Join error: {error}"));
        }
        let (mut at, mut again) = (0, 0);
        found.inputs.retain(|_| (picked.has(at), at += 1).0);
        found.rows.retain(|_| (picked.has(again), again += 1).0);
        Ok(())
    }

    fn materialize(&self, batch: &Batch, found: &Found) -> Batch {
        let inputs = batch.columns.iter().map(|column| Arc::new(reshape::gather(column, &found.inputs)));
        let slots =
            self.plan.projection.slots.iter().map(|wanted| Arc::new(column_of(&wanted.want, &found.rows)));
        let columns = inputs.chain(slots).collect();
        let times: Vec<Timestamp> = found.inputs.iter().map(|row| batch.times[*row as usize]).collect();
        reshape::collection(&self.schema, columns, times, batch.window)
    }

    fn emit(&self, batch: &Batch, found: &Found, out: &mut dyn Emit) {
        if !found.inputs.is_empty() {
            out.batch(0, &self.materialize(batch, found), &Selection::all(found.inputs.len()));
        }
    }
}

/// One column of table rows.
fn column_of(want: &Want, rows: &[Option<Arc<Fields>>]) -> Column {
    let mut column = Column::new();
    for row in rows {
        match (want, row) {
            (Want::Column { path, .. }, Some(fields)) => match member(fields, path) {
                Some(value) => column.push_value(value),
                None => column.push_missing(),
            },
            (Want::Everything, Some(fields)) => column.push_value(&Value::Map(Arc::clone(fields))),
            _ => column.push_missing(),
        }
    }
    column
}

fn member<'a>(fields: &'a Fields, path: &[Arc<str>]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(fields.get(first)?, |value, name| match value {
        Value::Map(fields) => fields.get(name),
        _ => None,
    })
}

impl Operator for LookupJoin {
    /// Each event gives a collection of its matches; a collection gives one of all its rows' matches.
    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        if let Some(runs) = faults::runs(batch, rows) {
            return runs.iter().for_each(|run| self.on_batch(0, batch, run, out, cx));
        }
        faults::send(rows.faults.clone(), 0, &self.schema, out);
        let exprs: Vec<_> = self.plan.keys.iter().map(|(_, key)| key.clone()).collect();
        let mut eval = cx.eval(batch.window);
        let keys: Vec<_> = exprs.iter().map(|key| key.eval(batch, rows, &mut eval)).collect();
        let nothing = Selection::all(0);
        let mut all = Found::default();
        for row in rows {
            match self.matches(batch, &keys, row, cx) {
                Ok(found) if batch.unit == Unit::Rows => self.emit(batch, &found, out),
                Ok(mut found) => {
                    all.inputs.append(&mut found.inputs);
                    all.rows.append(&mut found.rows);
                }
                Err(message) => {
                    faults::fail_all(&message, &nothing, &self.schema, out, cx);
                    if batch.unit == Unit::Collection {
                        return;
                    }
                }
            }
        }
        self.emit(batch, &all, out);
    }
}
