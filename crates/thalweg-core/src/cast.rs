//! The one set of conversions between kinds of values: names of kinds, text forms, numbers.
//!
//! Three text forms exist. *Plain* (T-5, S4 as decided) is what string functions, group keys and `cast` show: no
//! exponents. *Go's* is what error texts show. JSON is `json.rs`. Instants as text need a zone, which the caller gives.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono_tz::Tz;

use crate::column::Cell;
use crate::error::RowError;
use crate::moment;
use crate::operator::BinaryOp;
use crate::value::Value;

/// The Go name of a cell's kind, as upstream's error texts print it.
pub fn kind_name(cell: &Cell<'_>) -> &'static str {
    match cell {
        Cell::Missing | Cell::Null => "<nil>",
        Cell::Bool(_) => "bool",
        Cell::Int(_) => "int64",
        Cell::Float(_) => "float64",
        Cell::Str(_) => "string",
        Cell::Json(raw) if raw.first() == Some(&b'[') => "[]interface {}",
        Cell::Json(_) => "map[string]interface {}",
        Cell::Bytes(_) => "[]uint8",
        Cell::Time(_) => "time.Time",
        Cell::Value(value) => value.kind_name(),
        Cell::Error(_) => "*errors.errorString",
    }
}

/// The error of an operator whose operands do not go together (O-2, O-6).
pub fn invalid_operation(left: &Cell<'_>, op: BinaryOp, right: &Cell<'_>) -> RowError {
    if matches!(left, Cell::Json(_) | Cell::Value(_)) {
        // Upstream refuses lists and maps on the left before it looks at the right.
        return RowError::text(format!("{} is an invalid operation for {}", op.symbol(), kind_name(left)));
    }
    let text = format!("{} {} {}", described(left), op.symbol(), described(right));
    RowError::InvalidOperation(text.into())
}

/// Kind and value as error texts show them: `float64(3)`, `string(x)`.
pub fn described(cell: &Cell<'_>) -> String {
    format!("{}({})", kind_name(cell), go_text(&cell.to_value()))
}

/// The bytes that a text means in a BYTEA column: base64, else those of the text (T-6).
pub fn bytes_of(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap_or_else(|_| text.as_bytes().to_vec())
}

/// A value as Go's `%v` prints it: floats with an exponent below 1e-4 and from 1e6.
pub fn go_text(value: &Value) -> String {
    let mut out = String::new();
    write_text(&mut out, value, Form::Go, Tz::UTC);
    out
}

/// A value as plain text (T-5 and S4 as decided): null is empty, numbers have no exponent, bytes are read as UTF-8.
pub fn plain_text(value: &Value, zone: Tz) -> String {
    let mut out = String::new();
    write_text(&mut out, value, Form::Plain, zone);
    out
}

/// A float as plain text: whole numbers without exponent and dot, others with the shortest digits that read back.
pub fn float_text(value: f64) -> String {
    let mut out = String::new();
    write_float(&mut out, value, Form::Plain);
    out
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Go,
    Plain,
}

fn write_text(out: &mut String, value: &Value, form: Form, zone: Tz) {
    match value {
        Value::Null if form == Form::Plain => {}
        Value::Null => out.push_str("<nil>"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => _ = write!(out, "{value}"),
        Value::Float(value) => write_float(out, *value, form),
        Value::Str(value) => out.push_str(value),
        Value::Bytes(value) if form == Form::Plain => out.push_str(&String::from_utf8_lossy(value)),
        Value::Bytes(value) => _ = write!(out, "{value:?}", value = &value[..]),
        Value::Time(value) => out.push_str(&moment::go_text(*value, zone)),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { " " } else { "" });
                write_inner(out, item, form, zone);
            }
            out.push(']');
        }
        Value::Map(fields) => {
            out.push_str("map[");
            for (i, (name, item)) in fields.iter().enumerate() {
                _ = write!(out, "{}{name}:", if i > 0 { " " } else { "" });
                write_inner(out, item, form, zone);
            }
            out.push(']');
        }
    }
}

/// Inside lists and maps null is visible in both forms.
fn write_inner(out: &mut String, value: &Value, form: Form, zone: Tz) {
    match value {
        Value::Null => out.push_str("<nil>"),
        other => write_text(out, other, form, zone),
    }
}

fn write_float(out: &mut String, value: f64, form: Form) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if form == Form::Plain || value == 0.0 {
        _ = write!(out, "{value}");
    } else {
        write_go_float(out, value);
    }
}

/// `%v` of a float: an exponent of at least two digits when it is below -4 or from 6 on.
fn write_go_float(out: &mut String, value: f64) {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..GO_EXPONENT).contains(&exponent) {
        _ = write!(out, "{value}");
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        _ = write!(out, "{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
}

/// From this exponent on, Go writes one (T-5: 1000000 is `1e+06`).
const GO_EXPONENT: i32 = 6;

/// A number of any kind as a float.
pub fn number(cell: &Cell<'_>) -> Option<f64> {
    match *cell {
        Cell::Int(value) => Some(value as f64),
        Cell::Float(value) => Some(value),
        _ => None,
    }
}

/// A float without fraction, inside the range of integers, as an integer.
pub fn whole(value: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (value.fract() == 0.0 && (-LIMIT..LIMIT).contains(&value)).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Fields;
    use std::sync::Arc;

    #[test]
    fn plain_text_never_shows_an_exponent_and_hides_null() {
        for (value, text) in [
            (Value::Null, ""),
            (Value::Float(12345678.0), "12345678"),
            (Value::Float(0.00001), "0.00001"),
            (Value::Float(2.5), "2.5"),
            (Value::Float(-0.0), "-0"),
            (Value::Int(7), "7"),
            (Value::list(vec![Value::Int(1), Value::text("a"), Value::Null]), "[1 a <nil>]"),
            (Value::map(Fields::from([(Arc::from("a"), Value::Int(1))])), "map[a:1]"),
        ] {
            assert_eq!(plain_text(&value, Tz::UTC), text);
        }
    }

    #[test]
    fn error_texts_show_values_as_go_does() {
        for (value, text) in [
            (Value::Float(3.0), "3"),
            (Value::Float(0.00001), "1e-05"),
            (Value::Float(1e6), "1e+06"),
            (Value::Float(123456789.0), "1.23456789e+08"),
            (Value::Float(123456.0), "123456"),
            (Value::Null, "<nil>"),
        ] {
            assert_eq!(go_text(&value), text);
        }
        let error = invalid_operation(&Cell::Float(3.0), BinaryOp::Eq, &Cell::Str("x"));
        assert_eq!(error.to_string(), "invalid operation float64(3) = string(x)");
    }

    #[test]
    fn only_floats_without_fraction_are_whole() {
        assert_eq!(whole(-3.0), Some(-3));
        assert_eq!(whole(3.5), None);
        assert_eq!(whole(1e19), None);
        assert_eq!(whole(f64::NAN), None);
    }
}
