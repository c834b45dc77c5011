//! Cells: what one row of a column holds, as a tag and as a borrowed value.

use bytes::Bytes;

use crate::error::RowError;
use crate::time::Timestamp;
use crate::value::Value;

/// What a cell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Tag {
    /// The key was not there.
    Missing = 0,
    /// JSON null.
    Null = 1,
    /// Word 0 or 1.
    Bool = 2,
    /// Word is an `i64`.
    Int = 3,
    /// Word is the bits of an `f64`.
    Float = 4,
    /// Word is a span of UTF-8 text.
    Str = 5,
    /// Word is a span of unparsed JSON: an object or array from schemaless input (its numbers are floats, T-2).
    Json = 6,
    /// Word is a span of bytes.
    Bytes = 7,
    /// Word is an `i64`: milliseconds since the epoch.
    Time = 8,
    /// Word is an index into the heap's values: computed lists and maps.
    Value = 9,
    /// Word is an index into the heap's errors: evaluation failed for this row.
    Error = 10,
}

impl Tag {
    /// Every tag, by its number.
    pub(crate) const ALL: [Tag; 11] = [
        Tag::Missing,
        Tag::Null,
        Tag::Bool,
        Tag::Int,
        Tag::Float,
        Tag::Str,
        Tag::Json,
        Tag::Bytes,
        Tag::Time,
        Tag::Value,
        Tag::Error,
    ];
}

/// A set of tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TagSet(u16);

impl TagSet {
    /// The set of this tag alone.
    pub const fn of(tag: Tag) -> Self {
        Self(1 << tag as u8)
    }

    /// Adds a tag.
    #[inline]
    pub fn insert(&mut self, tag: Tag) {
        self.0 |= 1 << tag as u8;
    }

    /// Adds all tags of another set.
    pub fn extend(&mut self, other: TagSet) {
        self.0 |= other.0;
    }

    /// Whether the tag occurs.
    pub fn contains(self, tag: Tag) -> bool {
        self.0 & (1 << tag as u8) != 0
    }

    /// Whether no other tag than this occurs (true for the empty set).
    pub fn only(self, tag: Tag) -> bool {
        self.0 & !(1 << tag as u8) == 0
    }

    /// Whether every tag of `self` is in `other`.
    pub fn within(self, other: TagSet) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether one tag alone occurs.
    pub const fn is_single(self) -> bool {
        self.0.is_power_of_two()
    }

    /// The set of both sets' tags.
    pub const fn with_all(self, other: TagSet) -> Self {
        Self(self.0 | other.0)
    }

    /// The set without this tag.
    pub const fn without(self, tag: Tag) -> Self {
        Self(self.0 & !(1 << tag as u8))
    }

    /// The set without any of these.
    pub const fn without_all(self, other: TagSet) -> Self {
        Self(self.0 & !other.0)
    }

    /// The set of both.
    pub const fn with(self, tag: Tag) -> Self {
        Self(self.0 | 1 << tag as u8)
    }
}

/// A cell, borrowed from its column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// The key was not there.
    Missing,
    /// JSON null.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text.
    Str(&'a str),
    /// Unparsed JSON, an object or array.
    Json(&'a [u8]),
    /// Bytes.
    Bytes(&'a [u8]),
    /// An instant.
    Time(Timestamp),
    /// A computed list or map.
    Value(&'a Value),
    /// Evaluation failed here.
    Error(&'a RowError),
}

impl<'a> Cell<'a> {
    /// The cell that a value makes.
    pub fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(*value),
            Value::Float(value) => Self::Float(*value),
            Value::Str(value) => Self::Str(value),
            Value::Bytes(value) => Self::Bytes(value),
            Value::Time(value) => Self::Time(*value),
            Value::List(_) | Value::Map(_) => Self::Value(value),
        }
    }
}

impl Cell<'_> {
    /// Whether the cell is null or missing.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Missing | Self::Null)
    }

    /// The cell as a value of its own. Missing and errors become null; raw JSON is parsed (malformed JSON: null,
    /// which a decoder has already excluded).
    pub fn to_value(&self) -> Value {
        match *self {
            Self::Missing | Self::Null | Self::Error(_) => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::Float(value) => Value::Float(value),
            Self::Str(value) => Value::text(value),
            Self::Json(raw) => crate::json::parse(raw, crate::json::Numbers::Float).unwrap_or_default(),
            Self::Bytes(value) => Value::Bytes(Bytes::copy_from_slice(value)),
            Self::Time(value) => Value::Time(value),
            Self::Value(value) => value.clone(),
        }
    }
}
