//! Sub-queries: results become events of a stream without schema (`decisions.md`, "Beyond upstream's SQL").
//!
//! Columns are found by name in each batch, because the branches of a UNION ALL and `unnest` bring different ones. As
//! in a result, named columns win over what `*` brings (P-15).

use std::sync::Arc;

use thalweg_core::path::{in_any_case, is_same};
use thalweg_core::{Batch, Cell, Column, Fields, Projection, Schema, Selection, Tag, Unit, Value, Want};
use thalweg_plan::logical::SubQuery as Plan;

use crate::operator::{Emit, OpCx, Operator, Signal};

/// Makes events of results.
pub(crate) struct SubQuery {
    projection: Projection,
    back: i64,
    schema: Arc<Schema>,
}

impl SubQuery {
    pub(crate) fn new(plan: &Plan, schema: &Arc<Schema>) -> Self {
        Self { projection: plan.projection.clone(), back: plan.back, schema: Arc::clone(schema) }
    }

    fn column(&self, want: &Want, batch: &Batch, rows: &Selection) -> Arc<Column> {
        match want {
            Want::Column { path, .. } => path.first().map_or_else(
                || missing(batch.n_rows),
                |name| named(name, self.projection.ignore_case, batch, rows),
            ),
            Want::Everything => everything(batch, rows),
            // Only scans are asked for paths.
            Want::Meta | Want::Path { .. } => missing(batch.n_rows),
        }
    }
}

impl Operator for SubQuery {
    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        _cx: &mut OpCx<'_>,
    ) {
        if rows.is_void() {
            return;
        }
        let wants = self.projection.slots.iter();
        let columns = wants.map(|wanted| self.column(&wanted.want, batch, rows)).collect();
        let times = match batch.window {
            Some(window) => vec![window.end; batch.n_rows],
            None => batch.times.clone(),
        };
        let schema = Arc::clone(&self.schema);
        let events = Batch { schema, columns, n_rows: batch.n_rows, times, unit: Unit::Rows, window: None };
        out.batch(0, &events, rows);
    }

    fn on_signal(&mut self, _input: usize, signal: Signal, out: &mut dyn Emit, _cx: &mut OpCx<'_>) {
        out.signal(match signal {
            Signal::Watermark(mark) => Signal::Watermark(mark.plus(-self.back)),
            other => other,
        });
    }
}

fn missing(n_rows: usize) -> Arc<Column> {
    let mut column = Column::new();
    (0..n_rows).for_each(|_| column.push_missing());
    Arc::new(column)
}

/// The columns that hold whole objects.
fn stars(batch: &Batch) -> impl Iterator<Item = &Column> {
    let fields = batch.schema.fields.iter().zip(&batch.columns);
    fields.filter(|(field, _)| &*field.name == "*").map(|(_, column)| &**column)
}

fn named(name: &str, ignore_case: bool, batch: &Batch, rows: &Selection) -> Arc<Column> {
    let is_it = |other: &str| other == name || ignore_case && is_same(other, name);
    let own = batch.schema.fields.iter().position(|field| &*field.name != "*" && is_it(&field.name));
    let own = own.map(|slot| &batch.columns[slot]);
    if let Some(column) = own
        && (stars(batch).next().is_none() || !column.seen().contains(Tag::Missing))
    {
        return Arc::clone(column);
    }
    let member = |row: usize| {
        stars(batch).find_map(|star| match star.cell(row).to_value() {
            Value::Map(members) if ignore_case => in_any_case(&members, name).cloned(),
            Value::Map(members) => members.get(name).cloned(),
            _ => None,
        })
    };
    let mut out = Column::new();
    for row in rows {
        (out.len()..row).for_each(|_| out.push_missing());
        match own.map(|column| column.cell(row)).filter(|cell| *cell != Cell::Missing) {
            Some(cell) => out.push_cell(cell),
            None => match member(row) {
                Some(value) => out.push_value(&value),
                None => out.push_missing(),
            },
        }
    }
    (out.len()..batch.n_rows).for_each(|_| out.push_missing());
    Arc::new(out)
}

/// Each row as one object.
fn everything(batch: &Batch, rows: &Selection) -> Arc<Column> {
    if let ([field], [column]) = (&batch.schema.fields[..], &batch.columns[..])
        && &*field.name == "*"
    {
        return Arc::clone(column);
    }
    let mut out = Column::new();
    for row in rows {
        (out.len()..row).for_each(|_| out.push_missing());
        let mut members = Fields::new();
        for star in stars(batch) {
            if let Value::Map(more) = star.cell(row).to_value() {
                members.extend(more.iter().map(|(name, value)| (Arc::clone(name), value.clone())));
            }
        }
        for (field, column) in batch.schema.fields.iter().zip(&batch.columns) {
            let cell = column.cell(row);
            if &*field.name != "*" && !matches!(cell, Cell::Missing | Cell::Error(_)) {
                members.insert(Arc::clone(&field.name), cell.to_value());
            }
        }
        out.push_value(&Value::map(members));
    }
    (out.len()..batch.n_rows).for_each(|_| out.push_missing());
    Arc::new(out)
}
