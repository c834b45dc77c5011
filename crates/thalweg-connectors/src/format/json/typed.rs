//! Declared columns: the conversions of T-4, and the strict checks of T-8 and T-9.

use std::sync::Arc;

use chrono_tz::Tz;
use thalweg_core::json::{Number, Scanner, Text, Token, write_float};
use thalweg_core::projection::Wanted;
use thalweg_core::{
    BatchBuilder, Cell, Column, DataType, Fields, FormatError, Timestamp, Value, Want, cast, datetime,
};

use super::walker::push_text;

/// Reads the value at the scanner's place into a column, converted to its declared type.
pub(super) fn push(
    scanner: &mut Scanner<'_>,
    name: &str,
    data_type: &DataType,
    (base, column): (usize, &mut Column),
) -> Result<(), FormatError> {
    let ahead = scanner.clone();
    if matches!(scanner.peek(), b'{' | b'[') {
        column.push_value(&value(scanner, name, data_type)?);
        return Ok(());
    }
    match (scanner.token()?, data_type) {
        (Token::Null, _) => column.push_null(),
        (Token::Number(Number::Int(value)), DataType::BigInt) => column.push_int(value),
        (Token::Number(number), DataType::Float) => column.push_float(number.as_f64()),
        (Token::Text(text), DataType::String | DataType::DateTime) => {
            push_text(column, text, scanner.bytes(), base);
        }
        _ => {
            *scanner = ahead;
            column.push_value(&value(scanner, name, data_type)?);
        }
    }
    Ok(())
}

/// Reads the value at the scanner's place as this type. `name` is for the error text.
pub(super) fn value(
    scanner: &mut Scanner<'_>,
    name: &str,
    data_type: &DataType,
) -> Result<Value, FormatError> {
    let token = scanner.token()?;
    Ok(match (token, data_type) {
        (Token::Null, _) => Value::Null,
        (Token::Number(Number::Int(value)), DataType::BigInt | DataType::DateTime) => Value::Int(value),
        (Token::Number(number), DataType::Float | DataType::DateTime) => Value::Float(number.as_f64()),
        (Token::Number(number), DataType::String) => Value::text(number_text(number)),
        (Token::Number(number), DataType::Boolean) => Value::Bool(number.as_f64() != 0.0),
        (Token::Bool(value), DataType::Boolean) => Value::Bool(value),
        (Token::Text(text), DataType::String | DataType::DateTime) => {
            Value::text(text.decode(scanner.bytes()))
        }
        (Token::Text(text), DataType::Boolean) => match truth(&text.decode(scanner.bytes())) {
            Some(value) => Value::Bool(value),
            None => return Err(wrong(name, token, data_type)),
        },
        (Token::Text(text), DataType::Bytea) => {
            Value::Bytes(cast::bytes_of(&text.decode(scanner.bytes())).into())
        }
        (Token::OpenArray, DataType::Array(element)) => {
            let mut items = Vec::new();
            while scanner.next_item(items.is_empty())? {
                items.push(value(scanner, name, element)?);
            }
            Value::list(items)
        }
        (Token::OpenObject, DataType::Struct(columns)) => members(scanner, columns)?,
        _ => return Err(wrong(name, token, data_type)),
    })
}

/// An object of which only the declared members stay.
pub(super) fn object(
    scanner: &mut Scanner<'_>,
    columns: &[(Arc<str>, DataType)],
) -> Result<Value, FormatError> {
    scanner.token()?;
    members(scanner, columns)
}

fn members(scanner: &mut Scanner<'_>, columns: &[(Arc<str>, DataType)]) -> Result<Value, FormatError> {
    let mut fields = Fields::new();
    let mut first = true;
    while let Some(key) = scanner.next_key(first)? {
        first = false;
        match declared(columns, key, scanner.bytes()) {
            None => drop(scanner.skip()?),
            Some((column, data_type)) => {
                fields.insert(Arc::clone(column), value(scanner, column, data_type)?);
            }
        }
    }
    Ok(Value::map(fields))
}

/// The declared member of this key. D-1: of two declarations of one name the later one counts.
pub(super) fn declared<'a>(
    columns: &'a [(Arc<str>, DataType)],
    key: Text,
    bytes: &[u8],
) -> Option<(&'a Arc<str>, &'a DataType)> {
    let name = key.decode(bytes);
    let found = columns.iter().rev().find(|(column, _)| **column == *name)?;
    Some((&found.0, &found.1))
}

/// Passes over the value at the scanner's place and refuses what [`value`] refuses, without building anything.
pub(super) fn check(scanner: &mut Scanner<'_>, name: &str, data_type: &DataType) -> Result<(), FormatError> {
    let token = scanner.token()?;
    match (token, data_type) {
        (Token::Null, _)
        | (Token::Number(Number::Int(_)), DataType::BigInt)
        | (Token::Number(_), DataType::Float | DataType::DateTime | DataType::String | DataType::Boolean)
        | (Token::Bool(_), DataType::Boolean)
        | (Token::Text(_), DataType::String | DataType::DateTime | DataType::Bytea) => Ok(()),
        (Token::Text(text), DataType::Boolean) => {
            let is_known = truth(&text.decode(scanner.bytes())).is_some();
            if is_known { Ok(()) } else { Err(wrong(name, token, data_type)) }
        }
        (Token::OpenArray, DataType::Array(element)) => {
            let mut first = true;
            while scanner.next_item(first)? {
                first = false;
                check(scanner, name, element)?;
            }
            Ok(())
        }
        (Token::OpenObject, DataType::Struct(columns)) => {
            let mut first = true;
            while let Some(key) = scanner.next_key(first)? {
                first = false;
                match declared(columns, key, scanner.bytes()) {
                    None => drop(scanner.skip()?),
                    Some((column, data_type)) => check(scanner, column, data_type)?,
                }
            }
            Ok(())
        }
        _ => Err(wrong(name, token, data_type)),
    }
}

/// The truth values that text can hold (T-4).
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// T-5 as decided: whole numbers without exponent, others with the shortest digits, never scientific.
fn number_text(number: Number) -> String {
    match number {
        Number::Int(value) => value.to_string(),
        Number::Float(value) => {
            let mut text = Vec::new();
            // Decoded numbers are finite.
            let _ = write_float(&mut text, value);
            if text.contains(&b'e') {
                format!("{value}")
            } else {
                String::from_utf8_lossy(&text).into_owned()
            }
        }
    }
}

/// F2.4.
fn wrong(name: &str, token: Token, data_type: &DataType) -> FormatError {
    let found = match token {
        Token::Null => "null",
        Token::Bool(true) => "true",
        Token::Bool(false) => "false",
        Token::Number(_) => "number",
        Token::Text(_) => "string",
        Token::OpenArray => "array",
        Token::OpenObject => "object",
    };
    FormatError::new(format!("{name} has wrong type:{found}, expect:{}", data_type.name()))
}

/// T-8, T-9: the current row's cell of a strictly checked column.
pub(in crate::format) fn check_strict(
    wanted: &Wanted,
    slot: usize,
    (now, zone): (Timestamp, Tz),
    into: &mut BatchBuilder,
) -> Result<(), FormatError> {
    let Some(strict) = &wanted.strict else { return Ok(()) };
    let (name, data_type) = match &wanted.want {
        Want::Column { path, data_type } => (&path[0], data_type),
        Want::Path { column, .. } => (column, &None),
        Want::Everything | Want::Meta => return Ok(()),
    };
    let row = into.n_rows();
    let fail = |why: String| FormatError::new(format!("error in preprocessor: {why}"));
    if into.column(slot).len() == row {
        return match &strict.default {
            Some(default) => {
                into.column(slot).push_value(default);
                Ok(())
            }
            None => Err(fail(format!("field {name} is not found"))),
        };
    }
    if matches!(wanted.want, Want::Path { .. }) {
        return Ok(());
    }
    let nested = matches!(data_type, Some(DataType::Array(_) | DataType::Struct(_)));
    match into.column(slot).cell(row) {
        Cell::Null if !nested => {
            Err(fail(format!("cannot convert <nil>(<nil>) to {}", go_type(data_type.as_ref()))))
        }
        cell if matches!(data_type, Some(DataType::DateTime)) => {
            let time = strict_time(cell, strict.time_format.as_deref(), zone, now);
            let time = time.ok_or_else(|| fail(format!("cannot convert {name} to datetime")))?;
            into.reset_slot(slot);
            into.column(slot).push_time(time);
            Ok(())
        }
        Cell::Value(Value::List(items)) if items.iter().any(Value::is_null) => match data_type {
            Some(DataType::Array(element))
                if !matches!(**element, DataType::Array(_) | DataType::Struct(_)) =>
            {
                Err(fail(format!("cannot convert <nil>(<nil>) to {}", go_type(Some(element)))))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn strict_time(cell: Cell<'_>, pattern: Option<&str>, zone: Tz, now: Timestamp) -> Option<Timestamp> {
    match cell {
        Cell::Int(millis) => Some(Timestamp(millis)),
        Cell::Float(millis) => Some(Timestamp(millis as i64)),
        Cell::Str(text) => datetime::parse(text, pattern, zone, now),
        _ => None,
    }
}

fn go_type(data_type: Option<&DataType>) -> &'static str {
    match data_type {
        Some(DataType::BigInt) => "int64",
        Some(DataType::Float) => "float64",
        Some(DataType::String) => "string",
        Some(DataType::Bytea) => "bytea",
        Some(DataType::DateTime) => "datetime",
        Some(DataType::Boolean) => "bool",
        _ => "value",
    }
}

/// For tests: the same conversion from a whole text.
#[cfg(test)]
pub(super) fn value_of(text: &str, data_type: &DataType) -> Result<Value, FormatError> {
    value(&mut Scanner::new(text.as_bytes()), "v", data_type)
}
