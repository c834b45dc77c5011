//! Conversions between the kinds of SQL and those of protobuf, with the texts that upstream has for what does not fit.
//!
//! What is of the same kind converts (integers and floats into each other), nothing else: a text is no number.

use thalweg_core::Value;
use thalweg_core::cast::go_text;

/// `cannot convert int64(5) to string`.
pub(crate) fn refuse(value: &Value, to: &str) -> String {
    format!("cannot convert {}({}) to {to}", value.kind_name(), go_text(value))
}

pub(crate) fn float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        other => Err(refuse(other, "float64")),
    }
}

/// A whole number: floats lose their fraction, as upstream; what is out of range is refused.
fn whole(value: &Value, kind: &str) -> Result<i128, String> {
    const LIMIT: f64 = 1e30;
    match value {
        Value::Int(value) => Ok(i128::from(*value)),
        Value::Float(value) if value.abs() < LIMIT => Ok(value.trunc() as i128),
        other => Err(refuse(other, kind)),
    }
}

fn fit<T: TryFrom<i128>>(value: &Value, kind: &str, range: &str) -> Result<T, String> {
    let number = whole(value, kind)?;
    T::try_from(number).map_err(|_| format!("value {number} is out of {range} range"))
}

pub(crate) fn int32(value: &Value) -> Result<i32, String> {
    fit(value, "int", "int32")
}

pub(crate) fn int64(value: &Value) -> Result<i64, String> {
    fit(value, "int64", "int64")
}

fn not_negative(value: &Value) -> Result<(), String> {
    match whole(value, "uint") {
        Ok(number) if number < 0 => Err(format!("{}, negative not allowed", refuse(value, "uint"))),
        _ => Ok(()),
    }
}

pub(crate) fn uint32(value: &Value) -> Result<u32, String> {
    not_negative(value)?;
    fit(value, "uint", "uint32")
}

pub(crate) fn uint64(value: &Value) -> Result<u64, String> {
    not_negative(value)?;
    fit(value, "uint", "uint64")
}

pub(crate) fn boolean(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(value) => Ok(*value),
        other => Err(refuse(other, "bool")),
    }
}

pub(crate) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Str(text) => Ok(text.as_ref().to_owned()),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec())
            .map_err(|_| "bytes that are no UTF-8 cannot become a string".to_owned()),
        other => Err(refuse(other, "string")),
    }
}

pub(crate) fn bytes(value: &Value) -> Result<bytes::Bytes, String> {
    match value {
        Value::Bytes(bytes) => Ok(bytes.clone()),
        Value::Str(text) => Ok(bytes::Bytes::copy_from_slice(text.as_bytes())),
        other => Err(refuse(other, "bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_convert_into_each_other_and_nothing_wraps() {
        assert_eq!(int32(&Value::Float(3.9)), Ok(3));
        assert_eq!(float(&Value::Int(3)), Ok(3.0));
        assert_eq!(uint64(&Value::Float(1e19)), Ok(10_000_000_000_000_000_000));
        assert_eq!(int32(&Value::Int(1 << 31)), Err("value 2147483648 is out of int32 range".to_owned()));
        assert!(int64(&Value::Float(1e19)).unwrap_err().contains("out of int64 range"));
        assert_eq!(int64(&Value::Float(f64::NAN)), Err("cannot convert float64(NaN) to int64".to_owned()));
        assert_eq!(
            uint32(&Value::Int(-1)),
            Err("cannot convert int64(-1) to uint, negative not allowed".to_owned())
        );
        assert_eq!(text(&Value::Int(5)), Err("cannot convert int64(5) to string".to_owned()));
        assert_eq!(boolean(&Value::Null), Err("cannot convert <nil>(<nil>) to bool".to_owned()));
    }
}
