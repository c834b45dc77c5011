//! JSON text to values and back, in Go's printed form (R-4, F1.1 to F1.4).
//!
//! [`scan`] is the one walker over JSON text: decoders, path access and [`parse`] use it. [`write`](mod@write) prints, and [`Canonical`] prints what is not
//! built.

mod canon;
mod form;
mod number;
pub mod scan;
pub mod write;

use std::sync::Arc;

use serde_json::Value as Json;

use crate::error::FormatError;
use crate::value::{Fields, Value};

pub use canon::Canonical;
pub use number::Number;
pub use scan::{Scanner, Text, Token};
pub use write::{write_cell, write_fields, write_float, write_text, write_value};

/// How number tokens are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Every number is a float (T-2).
    Float,
    /// A token without dot and exponent is an integer (T-3).
    Whole,
}

/// Parses JSON text. Duplicate keys: the last wins (T-10).
///
/// # Errors
/// What is wrong and where.
pub fn parse(text: &[u8], numbers: Numbers) -> Result<Value, FormatError> {
    let mut scanner = Scanner::new(text);
    let value = read_value(&mut scanner, numbers)?;
    scanner.end()?;
    Ok(value)
}

/// Reads the value at the scanner's place.
///
/// # Errors
/// What is wrong and where.
pub fn read_value(scanner: &mut Scanner<'_>, numbers: Numbers) -> Result<Value, FormatError> {
    Ok(match scanner.token()? {
        Token::Null => Value::Null,
        Token::Bool(value) => Value::Bool(value),
        Token::Number(number) => match (numbers, number) {
            (Numbers::Whole, Number::Int(value)) => Value::Int(value),
            (_, number) => Value::Float(number.as_f64()),
        },
        Token::Text(text) => Value::Str(Arc::from(&*text.decode(scanner.bytes()))),
        Token::OpenArray => {
            let mut items = Vec::new();
            while scanner.next_item(items.is_empty())? {
                items.push(read_value(scanner, numbers)?);
            }
            Value::list(items)
        }
        Token::OpenObject => {
            let mut fields = Fields::new();
            let mut first = true;
            while let Some(key) = scanner.next_key(first)? {
                first = false;
                let name: Arc<str> = Arc::from(&*key.decode(scanner.bytes()));
                fields.insert(name, read_value(scanner, numbers)?);
            }
            Value::map(fields)
        }
    })
}

/// A `serde_json` document as a value.
pub fn from_json(json: &Json, numbers: Numbers) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(whole) if numbers == Numbers::Whole => Value::Int(whole),
            _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::text(text),
        Json::Array(items) => Value::list(items.iter().map(|item| from_json(item, numbers)).collect()),
        Json::Object(fields) => {
            let fields =
                fields.iter().map(|(name, value)| (Arc::from(name.as_str()), from_json(value, numbers)));
            Value::map(fields.collect::<Fields>())
        }
    }
}
