//! Snapshots of operators: named, versioned sections of little-endian bytes.
//!
//! Readers check every length, so a damaged snapshot is an error and never a panic.

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::column::Column;
use crate::error::RowError;
use crate::time::Timestamp;
use crate::value::{Fields, Value};

/// Why a snapshot cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("snapshot cannot be read: {0}")]
pub struct StateError(pub String);

/// Writes a snapshot.
#[derive(Debug, Default)]
pub struct StateWriter {
    bytes: Vec<u8>,
}

impl StateWriter {
    /// An empty snapshot.
    pub fn new() -> Self {
        Self::default()
    }

    /// Marks what follows, so that a reader of another version notices.
    pub fn section(&mut self, name: &str, version: u16) {
        self.text(name);
        self.u64(u64::from(version));
    }

    /// A number.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A signed number.
    pub fn i64(&mut self, value: i64) {
        self.u64(value as u64);
    }

    /// A float, bit for bit.
    pub fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    /// A boolean.
    pub fn bool(&mut self, value: bool) {
        self.bytes.push(u8::from(value));
    }

    /// An instant.
    pub fn time(&mut self, value: Timestamp) {
        self.i64(value.0);
    }

    /// Bytes with their length.
    pub fn bytes(&mut self, value: &[u8]) {
        self.u64(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// Text with its length.
    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// A value of any kind.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.bytes.push(0),
            Value::Bool(value) => {
                self.bytes.push(1);
                self.bool(*value);
            }
            Value::Int(value) => {
                self.bytes.push(2);
                self.i64(*value);
            }
            Value::Float(value) => {
                self.bytes.push(3);
                self.f64(*value);
            }
            Value::Str(value) => {
                self.bytes.push(4);
                self.text(value);
            }
            Value::Bytes(value) => {
                self.bytes.push(5);
                self.bytes(value);
            }
            Value::Time(value) => {
                self.bytes.push(6);
                self.time(*value);
            }
            Value::List(items) => {
                self.bytes.push(7);
                self.u64(items.len() as u64);
                items.iter().for_each(|item| self.value(item));
            }
            Value::Map(fields) => {
                self.bytes.push(8);
                self.u64(fields.len() as u64);
                for (name, value) in fields.iter() {
                    self.text(name);
                    self.value(value);
                }
            }
        }
    }

    /// A column, missing cells and raw JSON kept apart from null and maps, errors as their texts.
    pub fn column(&mut self, column: &Column) {
        use crate::column::Cell;
        self.u64(column.len() as u64);
        for row in 0..column.len() {
            match column.cell(row) {
                Cell::Missing => self.bytes.push(9),
                Cell::Error(error) => {
                    self.bytes.push(11);
                    self.text(&error.to_string());
                }
                Cell::Json(raw) => {
                    self.bytes.push(10);
                    self.bytes(raw);
                }
                cell => self.value(&cell.to_value()),
            }
        }
    }

    /// The snapshot.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads a snapshot.
#[derive(Debug)]
pub struct StateReader<'a> {
    rest: &'a [u8],
}

/// Nesting deeper than this is damage, not data.
const MAX_DEPTH: usize = 128;

impl<'a> StateReader<'a> {
    /// Reads these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Expects the section that [`StateWriter::section`] wrote.
    ///
    /// # Errors
    /// Another name or version.
    pub fn section(&mut self, name: &str, version: u16) -> Result<(), StateError> {
        let (found, number) = (self.text()?, self.u64()?);
        if found != name || number != u64::from(version) {
            return Err(StateError(format!(
                "expected section {name} version {version}, found {found} version {number}"
            )));
        }
        Ok(())
    }

    /// Whether everything was read.
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], StateError> {
        if len > self.rest.len() {
            return Err(StateError("it ends too early".to_owned()));
        }
        let (head, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(head)
    }

    /// A number.
    pub fn u64(&mut self) -> Result<u64, StateError> {
        let bytes = self.take(8)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A length that the remaining bytes can hold.
    pub fn read_len(&mut self) -> Result<usize, StateError> {
        let len = self.u64()?;
        if len > self.rest.len() as u64 {
            return Err(StateError(format!("length {len} is more than is left")));
        }
        Ok(len as usize)
    }

    /// A signed number.
    pub fn i64(&mut self) -> Result<i64, StateError> {
        self.u64().map(|value| value as i64)
    }

    /// A float.
    pub fn f64(&mut self) -> Result<f64, StateError> {
        self.u64().map(f64::from_bits)
    }

    /// A boolean.
    pub fn bool(&mut self) -> Result<bool, StateError> {
        Ok(self.take(1)?[0] != 0)
    }

    /// An instant.
    pub fn time(&mut self) -> Result<Timestamp, StateError> {
        self.i64().map(Timestamp)
    }

    /// Bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], StateError> {
        let len = self.read_len()?;
        self.take(len)
    }

    /// Text.
    pub fn text(&mut self) -> Result<&'a str, StateError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| StateError("text is not UTF-8".to_owned()))
    }

    /// A value.
    pub fn value(&mut self) -> Result<Value, StateError> {
        let kind = self.take(1)?[0];
        self.value_of(kind, 0)
    }

    fn value_of(&mut self, kind: u8, depth: usize) -> Result<Value, StateError> {
        if depth > MAX_DEPTH {
            return Err(StateError("values are nested too deep".to_owned()));
        }
        Ok(match kind {
            0 => Value::Null,
            1 => Value::Bool(self.bool()?),
            2 => Value::Int(self.i64()?),
            3 => Value::Float(self.f64()?),
            4 => Value::text(self.text()?),
            5 => Value::Bytes(Bytes::copy_from_slice(self.bytes()?)),
            6 => Value::Time(self.time()?),
            7 => {
                let len = self.read_len()?;
                let mut items = Vec::with_capacity(len);
                for _ in 0..len {
                    let kind = self.take(1)?[0];
                    items.push(self.value_of(kind, depth + 1)?);
                }
                Value::list(items)
            }
            8 => {
                let mut fields = Fields::new();
                for _ in 0..self.read_len()? {
                    let name: Arc<str> = Arc::from(self.text()?);
                    let kind = self.take(1)?[0];
                    fields.insert(name, self.value_of(kind, depth + 1)?);
                }
                Value::map(fields)
            }
            other => return Err(StateError(format!("unknown kind {other} of value"))),
        })
    }

    /// A column.
    pub fn column(&mut self) -> Result<Column, StateError> {
        let len = self.read_len()?;
        let mut column = Column::new();
        for _ in 0..len {
            match self.take(1)?[0] {
                9 => column.push_missing(),
                10 => column.push_json(self.bytes()?),
                11 => column.push_error(RowError::text(self.text()?)),
                kind => column.push_value(&self.value_of(kind, 0)?),
            }
        }
        Ok(column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_damage_is_an_error() {
        let mut column = Column::from_values([&Value::Int(1), &Value::list(vec![Value::Float(0.5)])]);
        column.push_missing();
        column.push_json(b"{\"a\":1}");
        column.push_error(RowError::DividedByZero);
        let mut writer = StateWriter::new();
        writer.section("window", 1);
        writer.column(&column);
        writer.value(&Value::map(Fields::from([(Arc::from("k"), Value::text("v"))])));
        let bytes = writer.finish();
        let mut reader = StateReader::new(&bytes);
        reader.section("window", 1).expect("the section is there");
        let read = reader.column().expect("the column is whole");
        assert_eq!(read.tag(2), crate::column::Tag::Missing);
        assert_eq!(read.tag(3), crate::column::Tag::Json);
        assert_eq!(read.value(1), column.value(1));
        assert!(
            matches!(read.cell(4), crate::column::Cell::Error(error) if error.to_string() == "divided by zero")
        );
        assert!(matches!(reader.value(), Ok(Value::Map(_))) && reader.is_at_end());
        for cut in 0..bytes.len() {
            let mut reader = StateReader::new(&bytes[..cut]);
            let whole =
                reader.section("window", 1).is_ok() && reader.column().is_ok() && reader.value().is_ok();
            assert!(!whole, "cut at {cut}");
        }
    }
}
