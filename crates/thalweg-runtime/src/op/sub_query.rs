//! Sub-queries: results become events of a stream without schema (`decisions.md`, "Beyond upstream's SQL").
//!
//! Columns are found by name in each batch, because the branches of a UNION ALL and `unnest` bring different ones. As
//! in a result, named columns win over what `*` brings (P-15).

use std::sync::Arc;

use thalweg_core::path::{in_any_case, is_same};
use thalweg_core::{Batch, Cell, Column, Fields, Projection, Schema, Selection, Tag, Unit, Value, Want};
use thalweg_plan::logical::SubQuery as Plan;

use crate::op::reshape::Room;
use crate::operator::{Emit, OpCx, Operator, Signal};

/// Makes events of results.
pub(crate) struct SubQuery {
    projection: Projection,
    back: i64,
    room: Room,
    /// The schema of the last batch, and where the columns stand in it if each is simply the one of its name.
    known: Option<(Arc<Schema>, Option<Vec<usize>>)>,
}

impl SubQuery {
    pub(crate) fn new(plan: &Plan, schema: &Arc<Schema>) -> Self {
        Self { projection: plan.projection.clone(), back: plan.back, room: Room::new(schema), known: None }
    }

    /// Looks where the columns stand in batches of this schema. Batches that follow each other nearly always share one.
    fn know(&mut self, schema: &Arc<Schema>) {
        if self.known.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, schema)) {
            return;
        }
        let ignore_case = self.projection.ignore_case;
        let place = |want: &Want| match want {
            Want::Column { path, .. } => path.first().and_then(|name| position(name, ignore_case, schema)),
            _ => None,
        };
        let has_star = schema.fields.iter().any(|field| &*field.name == "*");
        let places: Option<Vec<usize>> =
            self.projection.slots.iter().map(|wanted| place(&wanted.want)).collect();
        self.known = Some((Arc::clone(schema), places.filter(|_| !has_star)));
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
    fn memory(&self) -> usize {
        self.room.memory()
    }

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
        self.know(&batch.schema);
        self.room.begin(batch);
        match &self.known {
            Some((_, Some(places))) => {
                places.iter().for_each(|place| self.room.push(Arc::clone(&batch.columns[*place])));
            }
            _ => {
                for at in 0..self.projection.slots.len() {
                    let column = self.column(&self.projection.slots[at].want, batch, rows);
                    self.room.push(column);
                }
            }
        }
        let events = self.room.batch();
        if let Some(window) = events.window.take() {
            events.times.fill(window.end);
        }
        events.unit = Unit::Rows;
        out.batch(0, events, rows);
        self.room.clear();
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

/// The column of this name.
fn position(name: &str, ignore_case: bool, schema: &Schema) -> Option<usize> {
    let is_it = |other: &str| other == name || ignore_case && is_same(other, name);
    schema.fields.iter().position(|field| &*field.name != "*" && is_it(&field.name))
}

fn named(name: &str, ignore_case: bool, batch: &Batch, rows: &Selection) -> Arc<Column> {
    let own = position(name, ignore_case, &batch.schema).map(|slot| &batch.columns[slot]);
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
