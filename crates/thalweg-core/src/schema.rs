//! Names and declared types of columns.

use std::sync::Arc;

/// The position of a column in a batch. Stable while any rule reads the stream: slots are only ever appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

impl Slot {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A declared type (chapter 5 of `sql.md`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DataType {
    /// BIGINT.
    BigInt,
    /// FLOAT.
    Float,
    /// STRING.
    String,
    /// BYTEA.
    Bytea,
    /// DATETIME.
    DateTime,
    /// BOOLEAN.
    Boolean,
    /// ARRAY(element).
    Array(Box<DataType>),
    /// STRUCT(name type, …), in declared order.
    Struct(Vec<(Arc<str>, DataType)>),
}

impl DataType {
    /// The type's name in lower case, without its parts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BigInt => "bigint",
            Self::Float => "float",
            Self::String => "string",
            Self::Bytea => "bytea",
            Self::DateTime => "datetime",
            Self::Boolean => "boolean",
            Self::Array(_) => "array",
            Self::Struct(_) => "struct",
        }
    }
}

/// One column of a [`Schema`].
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The column's name.
    pub name: Arc<str>,
    /// The stream or table it came from; absent for computed columns.
    pub source: Option<Arc<str>>,
}

/// The columns of a batch in slot order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Schema {
    /// The columns; index = slot.
    pub fields: Vec<Field>,
}

impl Schema {
    /// A schema of computed columns with these names.
    pub fn computed<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let field = |name: &str| Field { name: Arc::from(name), source: None };
        Self { fields: names.into_iter().map(field).collect() }
    }

    /// The number of columns.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}
