//! What a decoder has to produce: one entry a slot.

use std::sync::Arc;

use crate::path::PathStep;
use crate::schema::{DataType, Field, Schema, Slot};
use crate::value::Value;

/// What one slot holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Want {
    /// The value at a path of object members; a path of one name is a top-level column.
    Column {
        /// Member names from the outside in; never empty.
        path: Vec<Arc<str>>,
        /// The declared type (T-4). `None`: schemaless, dynamically typed.
        data_type: Option<DataType>,
    },
    /// What a path below a top-level column gives: exactly what the expression would give over the whole column
    /// (O-12, O-14), null where the path ends in nothing.
    Path {
        /// The top-level column.
        column: Arc<str>,
        /// The way down; never empty.
        steps: Vec<PathStep>,
        /// The declared type of the top-level column, which the whole value is still checked against (T-4).
        data_type: Option<DataType>,
    },
    /// All decoded columns as one object (`*`): raw JSON where the format allows it, else a map.
    Everything,
    /// The message's metadata as a map (`meta(…)`); missing when the source gives none.
    Meta,
}

/// Extra checks on a declared column (STRICT_VALIDATION, T-8, T-9).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Strict {
    /// Used when the key is missing, not when it is null.
    pub default: Option<Value>,
    /// The pattern for text in DATETIME columns (TIMESTAMP_FORMAT).
    pub time_format: Option<Arc<str>>,
}

/// One slot of a projection.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// What to put there.
    pub want: Want,
    /// Set when STRICT_VALIDATION applies to this column.
    pub strict: Option<Strict>,
}

/// Names and types of declared columns, in declared order.
pub type Declared = Arc<[(Arc<str>, DataType)]>;

/// The slots that a decoder fills, and how it reads numbers and names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Projection {
    /// The stream or table that the columns belong to.
    pub source: Arc<str>,
    /// One entry a slot; append-only on shared streams.
    pub slots: Vec<Wanted>,
    /// `useInt64ForWholeNumber` (T-3): a number token without dot and exponent becomes an integer.
    pub whole_numbers: bool,
    /// `ignoreCase` (C-1): member names match in any case.
    pub ignore_case: bool,
    /// `strictJson`: unneeded values are validated too.
    pub strict_json: bool,
    /// The declared columns when the stream has a schema: everything else is dropped, even under `*` (T-4).
    pub declared: Option<Declared>,
}

impl Projection {
    /// The slot of `want`, appended when it is new.
    pub fn slot(&mut self, want: Want, strict: Option<Strict>) -> Slot {
        let wanted = Wanted { want, strict };
        let found = self.slots.iter().position(|have| *have == wanted);
        let index = found.unwrap_or_else(|| {
            self.slots.push(wanted);
            self.slots.len() - 1
        });
        Slot(index as u32)
    }

    /// The schema of the batches that result: paths as they are written, `*` for everything, `$meta` for metadata.
    pub fn schema(&self) -> Schema {
        let fields = self.slots.iter().map(|wanted| {
            let name: Arc<str> = match &wanted.want {
                Want::Column { path, .. } if path.len() == 1 => Arc::clone(&path[0]),
                Want::Column { path, .. } => Arc::from(path.join(".")),
                Want::Path { column, steps, .. } => Arc::from(path_name(column, steps)),
                Want::Everything => Arc::from("*"),
                Want::Meta => Arc::from("$meta"),
            };
            Field { name, source: Some(Arc::clone(&self.source)) }
        });
        Schema { fields: fields.collect() }
    }
}

/// A path as it is written in SQL: `o->p[0]`.
pub fn path_name(column: &str, steps: &[PathStep]) -> String {
    steps.iter().fold(column.to_owned(), |name, step| name + &step.to_string())
}
