//! Batches made of other batches: columns appended, rows gathered.

use std::ops::Range;
use std::sync::Arc;

use thalweg_core::column::NO_ROW;
use thalweg_core::{Batch, Column, Schema, Timestamp, Unit, WindowRange};

/// In a list of rows: no row, whose cells are missing.
pub(crate) const NONE: u32 = NO_ROW;

/// The column for other rows, empty: in its own room, unless a batch that was handed on still shares it.
pub(crate) fn emptied(column: &mut Arc<Column>) -> &mut Column {
    if Arc::get_mut(column).is_none() {
        *column = Arc::default();
    }
    let column = Arc::make_mut(column);
    column.clear(None);
    column
}

/// The batch with more columns.
pub(crate) fn append(batch: &Batch, schema: &Arc<Schema>, more: impl IntoIterator<Item = Column>) -> Batch {
    let mut columns = Vec::with_capacity(schema.len());
    columns.extend(batch.columns.iter().map(Arc::clone));
    columns.extend(more.into_iter().map(Arc::new));
    with_columns(batch, schema, columns)
}

/// The batch with other columns for the same rows.
pub(crate) fn with_columns(batch: &Batch, schema: &Arc<Schema>, columns: Vec<Arc<Column>>) -> Batch {
    Batch {
        schema: Arc::clone(schema),
        columns,
        n_rows: batch.n_rows,
        times: batch.times.clone(),
        unit: batch.unit,
        window: batch.window,
    }
}

/// These rows of a column, for the batch that follows; [`NONE`] gives a missing cell.
pub(crate) fn gather(column: &Column, rows: &[u32]) -> Column {
    column.gather(rows)
}

/// Adds rows of other columns, copying what they hold: as blocks when the rows follow each other. A column that a batch
/// which was handed on still shares is copied first.
pub(crate) fn append_rows(columns: &mut [Arc<Column>], from: &[Arc<Column>], rows: &[u32]) {
    let range = range(rows);
    for (column, from) in columns.iter_mut().zip(from) {
        match &range {
            Some(rows) => Arc::make_mut(column).append_range(from, rows.clone()),
            None => Arc::make_mut(column).append_rows(from, rows.iter().map(|row| *row as usize)),
        }
    }
}

/// Rows that follow each other without a gap.
fn range(rows: &[u32]) -> Option<Range<usize>> {
    let (first, last) = (*rows.first()? as usize, *rows.last()? as usize);
    let is_range = last.checked_sub(first)? + 1 == rows.len() && rows.is_sorted();
    is_range.then_some(first..last + 1)
}

/// These rows of a batch, in this order.
pub(crate) fn gather_rows(batch: &Batch, rows: &[u32]) -> Batch {
    let columns = batch.columns.iter().map(|column| Arc::new(gather(column, rows))).collect();
    with_rows(batch, columns, rows)
}

/// The batch of these rows, whose columns are gathered already.
fn with_rows(batch: &Batch, columns: Vec<Arc<Column>>, rows: &[u32]) -> Batch {
    let times = rows.iter().map(|row| batch.times[*row as usize]).collect();
    Batch {
        schema: Arc::clone(&batch.schema),
        columns,
        n_rows: rows.len(),
        times,
        unit: batch.unit,
        window: batch.window,
    }
}

/// A collection of these columns.
pub(crate) fn collection(
    schema: &Arc<Schema>,
    columns: Vec<Arc<Column>>,
    times: Vec<Timestamp>,
    window: Option<WindowRange>,
) -> Batch {
    Batch { schema: Arc::clone(schema), columns, n_rows: times.len(), times, unit: Unit::Collection, window }
}
