//! Arguments of row functions as what the function needs, with the errors that upstream gives.

use std::borrow::Cow;

use chrono::{DateTime, FixedOffset};
use thalweg_core::cast::{described, plain_text, whole};
use thalweg_core::{Cell, Fields, RowError, Timestamp, Value, moment};

use crate::expr::EvalCx;

/// A number of any kind.
pub(super) fn float(value: &Value) -> Result<f64, RowError> {
    match value {
        Value::Int(value) => Ok(*value as f64),
        Value::Float(value) => Ok(*value),
        other => Err(cannot(other, "float64")),
    }
}

/// An integer, or a float without fraction.
pub(super) fn int(value: &Value) -> Result<i64, RowError> {
    match value {
        Value::Int(value) => Ok(*value),
        Value::Float(float) => whole(*float).ok_or_else(|| cannot(value, "int")),
        other => Err(cannot(other, "int")),
    }
}

/// Any value as plain text (S4).
pub(super) fn text<'a>(value: &'a Value, cx: &EvalCx<'_>) -> Cow<'a, str> {
    match value {
        Value::Str(text) => Cow::Borrowed(text),
        other => Cow::Owned(plain_text(other, cx.zone)),
    }
}

/// Text, and nothing else.
pub(super) fn only_text(value: &Value) -> Result<&str, RowError> {
    match value {
        Value::Str(text) => Ok(text),
        other => Err(cannot(other, "string")),
    }
}

/// A list.
pub(super) fn list(value: &Value) -> Result<&[Value], RowError> {
    match value {
        Value::List(items) => Ok(items),
        other => Err(RowError::text(format!("requires an array but found {}", described(&Cell::of(other))))),
    }
}

/// An object.
pub(super) fn map(value: &Value) -> Result<&Fields, RowError> {
    match value {
        Value::Map(fields) => Ok(fields),
        other => Err(RowError::text(format!("requires an object but found {}", described(&Cell::of(other))))),
    }
}

/// Upstream's words for a value of the wrong kind.
pub(super) fn cannot(value: &Value, wanted: &str) -> RowError {
    RowError::text(format!("cannot convert {} to {wanted}", described(&Cell::of(value))))
}

/// An error with a text.
pub(super) fn fail<T>(text: impl AsRef<str>) -> Result<T, RowError> {
    Err(RowError::text(text))
}

/// The argument, or null where it was left out.
pub(super) fn get(args: &[Value], index: usize) -> &Value {
    args.get(index).unwrap_or(&Value::Null)
}

/// A float as a value; NaN, which no sink can print, is null (S7).
pub(super) fn defined(value: f64) -> Value {
    if value.is_nan() { Value::Null } else { Value::Float(value) }
}

/// A moment: an instant, milliseconds, or text (functions.md 9.1). Text with an offset keeps it.
pub(super) fn time(value: &Value, cx: &EvalCx<'_>) -> Result<DateTime<FixedOffset>, RowError> {
    let found = match value {
        Value::Time(time) => moment::local(*time, cx.zone),
        Value::Int(millis) => moment::local(Timestamp(*millis), cx.zone),
        Value::Float(millis) => moment::local(Timestamp(*millis as i64), cx.zone),
        Value::Str(text) => moment::parse_near(text, cx.zone, cx.now),
        _ => None,
    };
    found.ok_or_else(|| cannot(value, "datetime"))
}
