//! Batches made of other batches: columns appended, rows gathered.

use std::ops::Range;
use std::sync::Arc;

use thalweg_core::column::NO_ROW;
use thalweg_core::{Batch, Column, Schema, Timestamp, Unit, WindowRange};

/// In a list of rows: no row, whose cells are missing.
pub(crate) const NONE: u32 = NO_ROW;

/// The column for other rows, empty: in its own room, unless a batch that was handed on still shares it.
pub(crate) fn emptied(column: &mut Arc<Column>) -> &mut Column {
    if Arc::strong_count(column) != 1 {
        *column = Arc::default();
    }
    let column = Arc::make_mut(column);
    column.clear(None);
    column
}

/// A result that is written again for each batch: its lists, and those of its columns that nobody else holds any more.
/// With one row, making these anew is most of what an operator costs.
#[derive(Debug)]
pub(crate) struct Room {
    batch: Batch,
    spare: Vec<Arc<Column>>,
}

impl Room {
    /// The bytes that it has on the heap.
    pub(crate) fn memory(&self) -> usize {
        let spare = self.spare.iter().map(|column| size_of::<Column>() + column.memory());
        self.batch.memory() + spare.sum::<usize>()
    }

    /// No result yet.
    pub(crate) fn new(schema: &Arc<Schema>) -> Self {
        let batch = Batch {
            schema: Arc::clone(schema),
            columns: Vec::new(),
            n_rows: 0,
            times: Vec::new(),
            unit: Unit::Rows,
            window: None,
        };
        Self { batch, spare: Vec::new() }
    }

    /// Begins a result without columns for the same rows.
    pub(crate) fn begin(&mut self, from: &Batch) {
        self.clear();
        let batch = &mut self.batch;
        batch.times.clone_from(&from.times);
        (batch.n_rows, batch.unit, batch.window) = (from.n_rows, from.unit, from.window);
    }

    /// Begins a result with the same columns, to which others are appended.
    pub(crate) fn begin_wider(&mut self, from: &Batch) {
        self.begin(from);
        self.batch.columns.extend(from.columns.iter().map(Arc::clone));
    }

    /// These rows of a batch, in this order; [`Room::clear`] lets go of them.
    pub(crate) fn gather(&mut self, from: &Batch, rows: &[u32]) -> &Batch {
        self.clear();
        for column in &from.columns {
            self.push_with(|_, own| column.gather_into(rows, own));
        }
        let batch = &mut self.batch;
        batch.times.clear();
        batch.times.extend(rows.iter().map(|row| from.times[*row as usize]));
        (batch.n_rows, batch.unit, batch.window) = (rows.len(), from.unit, from.window);
        batch
    }

    /// Appends a column; `fill` makes it of the result so far, and of whatever there was in it before.
    pub(crate) fn push_with(&mut self, fill: impl FnOnce(&Batch, &mut Column)) {
        let mut column = self.spare.pop().unwrap_or_default();
        match Arc::get_mut(&mut column) {
            Some(own) => fill(&self.batch, own),
            None => {
                let mut own = Column::new();
                fill(&self.batch, &mut own);
                column = Arc::new(own);
            }
        }
        self.batch.columns.push(column);
    }

    /// Appends a column that others hold as well.
    pub(crate) fn push(&mut self, column: Arc<Column>) {
        self.batch.columns.push(column);
    }

    /// The result, which may still be changed.
    pub(crate) fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Lets go of the result once it has been handed on, so that those below can use their columns again.
    pub(crate) fn clear(&mut self) {
        // The last comes first, so that a column finds its own room of the last batch, or one like it.
        while let Some(column) = self.batch.columns.pop() {
            if Arc::strong_count(&column) == 1 && column.is_own() {
                self.spare.push(column);
            }
        }
        self.spare.truncate(self.batch.schema.len());
    }
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

/// Rows that follow each other without a gap.
pub(crate) fn range(rows: &[u32]) -> Option<Range<usize>> {
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
