//! Batches made of other batches: columns appended, rows gathered.

use std::sync::Arc;

use thalweg_core::{Batch, Column, Schema, Timestamp, Unit, WindowRange};

/// In a list of rows: no row, whose cells are missing.
pub(crate) const NONE: u32 = u32::MAX;

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

/// These rows of a column; [`NONE`] gives a missing cell.
pub(crate) fn gather(column: &Column, rows: &[u32]) -> Column {
    let mut out = Column::new();
    if rows.contains(&NONE) {
        for row in rows {
            match *row {
                NONE => out.push_missing(),
                row => out.push_cell(column.cell(row as usize)),
            }
        }
    } else {
        out.append_rows(column, rows.iter().map(|row| *row as usize));
    }
    out
}

/// Adds rows of another column, most of which follow each other: runs of them are moved as blocks.
pub(crate) fn append_runs(column: &mut Column, from: &Column, rows: &[u32]) {
    for run in rows.chunk_by(|row, next| row.checked_add(1) == Some(*next)) {
        let first = run[0] as usize;
        column.append_range(from, first..first + run.len());
    }
}

/// As [`gather_rows`], for rows most of which follow each other.
pub(crate) fn gather_runs(batch: &Batch, rows: &[u32]) -> Batch {
    let gather = |column: &Arc<Column>| {
        let mut out = Column::new();
        append_runs(&mut out, column, rows);
        Arc::new(out)
    };
    with_rows(batch, batch.columns.iter().map(gather).collect(), rows)
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
