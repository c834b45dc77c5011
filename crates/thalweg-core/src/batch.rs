//! Batches: rows in columns, on their way through the operators.

use std::sync::Arc;

use crate::column::Column;
use crate::schema::{Schema, Slot};
use crate::time::Timestamp;

/// How the edge cuts a batch into messages (`contracts.md` 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Every row is a message of its own: rules without window and join.
    Rows,
    /// All rows are one message: the result of a window or a join.
    Collection,
}

/// The window that a collection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowRange {
    /// `window_start()`.
    pub start: Timestamp,
    /// `window_end()`.
    pub end: Timestamp,
    /// `window_trigger()`, and `event_time()` in an aggregate query (W-7).
    pub trigger: Timestamp,
}

/// Rows in columns. Immutable once built; behind an `Arc` only in queues.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Names of the columns.
    pub schema: Arc<Schema>,
    /// One column a slot, each `n_rows` long. Behind an `Arc` so that a projection can pass a column on.
    pub columns: Vec<Arc<Column>>,
    /// The number of rows.
    pub n_rows: usize,
    /// The time of each row: arrival at the source, or the TIMESTAMP column (W-1).
    pub times: Vec<Timestamp>,
    /// How the edge frames the rows.
    pub unit: Unit,
    /// The window the rows came from.
    pub window: Option<WindowRange>,
}

impl Batch {
    /// A batch without rows.
    pub fn empty(schema: Arc<Schema>, unit: Unit) -> Self {
        let columns = (0..schema.len()).map(|_| Arc::new(Column::new())).collect();
        Self { schema, columns, n_rows: 0, times: Vec::new(), unit, window: None }
    }

    /// The bytes that it has on the heap. A column that several batches share counts for each of them.
    pub fn memory(&self) -> usize {
        let column = |column: &Arc<Column>| size_of::<Column>() + column.memory();
        self.columns.capacity() * size_of::<Arc<Column>>()
            + self.columns.iter().map(column).sum::<usize>()
            + self.times.capacity() * size_of::<Timestamp>()
    }

    /// The column of a slot.
    #[inline]
    pub fn column(&self, slot: Slot) -> &Column {
        &self.columns[slot.index()]
    }
}
