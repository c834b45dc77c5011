//! JSON text to values and back, in Go's printed form (R-4, F1.1 to F1.4).

use std::sync::Arc;

use serde_json::Value as Json;

use crate::error::FormatError;
use crate::value::{Fields, Value};

/// How number tokens are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Every number is a float (T-2).
    Float,
    /// A token without dot and exponent is an integer (T-3).
    Whole,
}

/// Parses JSON text.
///
/// # Errors
/// What is wrong and where.
pub fn parse(text: &[u8], numbers: Numbers) -> Result<Value, FormatError> {
    let json: Json = serde_json::from_slice(text).map_err(|error| FormatError::new(error.to_string()))?;
    Ok(from_json(&json, numbers))
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
            let fields = fields.iter().map(|(name, value)| (Arc::from(name.as_str()), from_json(value, numbers)));
            Value::map(fields.collect::<Fields>())
        }
    }
}
