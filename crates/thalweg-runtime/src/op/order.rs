//! The order of rows by sort keys: stable, nulls last in both directions.

use std::cmp::Ordering;

use thalweg_core::cast::number;
use thalweg_core::compare::for_sorting;
use thalweg_core::{Batch, Cell, ColumnRef, RowError, Selection, Tag};
use thalweg_plan::logical::SortKey;

use crate::operator::OpCx;

struct Key<'a> {
    column: ColumnRef<'a>,
    descending: bool,
    /// Integers and floats are compared as floats, so that the order is one.
    mixed: bool,
}

/// Whether there are no two rows to bring in order.
///
/// # Errors
/// As [`sorted`].
pub(crate) fn is_one(
    keys: &[SortKey],
    batch: &Batch,
    rows: &Selection,
    cx: &OpCx<'_>,
) -> Result<bool, RowError> {
    if rows.len() > 1 {
        return Ok(false);
    }
    let mut eval = cx.eval(batch.window);
    keys.iter().try_for_each(|key| check(&key.expr.eval(batch, rows, &mut eval), rows))?;
    Ok(true)
}

/// The live rows in the order of the keys.
///
/// # Errors
/// A key that fails, kinds that do not go together, or that have no order.
pub(crate) fn sorted(
    keys: &[SortKey],
    batch: &Batch,
    rows: &Selection,
    cx: &OpCx<'_>,
) -> Result<Vec<u32>, RowError> {
    let mut eval = cx.eval(batch.window);
    let mut columns = Vec::with_capacity(keys.len());
    for key in keys {
        let column = key.expr.eval(batch, rows, &mut eval);
        check(&column, rows)?;
        let seen = column.column().seen();
        let mixed = seen.contains(Tag::Int) && seen.contains(Tag::Float);
        columns.push(Key { column, descending: key.descending, mixed });
    }
    let mut order: Vec<u32> = rows.iter().map(|row| row as u32).collect();
    order.sort_by(|a, b| compare(&columns, *a as usize, *b as usize));
    Ok(order)
}

/// All values of a key must be comparable with one of them, and so with each other.
fn check(column: &ColumnRef<'_>, rows: &Selection) -> Result<(), RowError> {
    let mut first: Option<Cell<'_>> = None;
    for row in rows {
        let cell = column.cell(row);
        if let Cell::Error(error) = cell {
            return Err(error.clone());
        }
        if !cell.is_nothing() {
            for_sorting(first.get_or_insert(cell), &cell, false)?;
        }
    }
    Ok(())
}

fn compare(keys: &[Key<'_>], a: usize, b: usize) -> Ordering {
    let orders = keys.iter().map(|key| {
        let (mut a, mut b) = (key.column.cell(a), key.column.cell(b));
        if key.mixed {
            a = number(&a).map_or(a, Cell::Float);
            b = number(&b).map_or(b, Cell::Float);
        }
        for_sorting(&a, &b, key.descending).unwrap_or(Ordering::Equal)
    });
    orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}
