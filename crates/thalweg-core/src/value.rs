//! One value outside a column: literals, heaps, row functions, the edges.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::time::Timestamp;

/// The members of an object or of a row, in byte-wise key order (the order in which they are printed, R-4).
pub type Fields = BTreeMap<Arc<str>, Value>;

/// A dynamically typed value (T-1). "Missing" is not a value: it exists in columns only.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// JSON null.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A 64-bit float.
    Float(f64),
    /// UTF-8 text.
    Str(Arc<str>),
    /// Raw bytes.
    Bytes(Bytes),
    /// An instant, milliseconds since the epoch.
    Time(Timestamp),
    /// A list.
    List(Arc<[Value]>),
    /// An object.
    Map(Arc<Fields>),
}

impl Value {
    /// Text as a value.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::Str(Arc::from(text.as_ref()))
    }

    /// A list as a value.
    pub fn list(items: Vec<Value>) -> Self {
        Self::List(Arc::from(items))
    }

    /// An object as a value.
    pub fn map(fields: Fields) -> Self {
        Self::Map(Arc::new(fields))
    }

    /// The bytes that it has on the heap. What several values share counts for each of them.
    pub fn memory(&self) -> usize {
        /// The counts of an `Arc`.
        const COUNTS: usize = 16;
        match self {
            Self::Str(text) => COUNTS + text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => {
                COUNTS + size_of_val(&**items) + items.iter().map(Self::memory).sum::<usize>()
            }
            Self::Map(fields) => COUNTS + size_of::<Fields>() + Self::memory_of(fields),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Time(_) => 0,
        }
    }

    /// The same of the members of an object.
    pub fn memory_of(fields: &Fields) -> usize {
        let member = |(name, value): (&Arc<str>, &Self)| {
            size_of::<(Arc<str>, Self)>() + 16 + name.len() + value.memory()
        };
        fields.iter().map(member).sum()
    }

    /// True for [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The Go name of the value's kind, as upstream's error texts print it: `float64`, `string`, `map[string]interface {}` …
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Null => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int64",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::Bytes(_) => "[]uint8",
            Self::Time(_) => "time.Time",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::text(value)
    }
}
