//! STRICT_VALIDATION of values that came as rows (T-8): each is of its declared type, or its row fails.

use std::sync::Arc;

use chrono_tz::Tz;
use thalweg_core::cast::{self, go_text};
use thalweg_core::json::{self, Numbers};
use thalweg_core::{DataType, Fields, Timestamp, Value, datetime};

/// What reading times depends on.
#[derive(Clone, Copy)]
pub(super) struct Times<'a> {
    /// TIMESTAMP_FORMAT.
    pub pattern: Option<&'a str>,
    pub zone: Tz,
    pub now: Timestamp,
}

/// The value as its declared type.
///
/// # Errors
/// Why it is none, in upstream's words.
pub(super) fn strict(value: &Value, data_type: &DataType, times: Times<'_>) -> Result<Value, String> {
    let wrong = || {
        let name = go_name(data_type);
        Err(format!("cannot convert {}({}) to {name}", value.kind_name(), go_text(value)))
    };
    Ok(match (value, data_type) {
        (Value::Null, DataType::Array(_) | DataType::Struct(_)) => Value::Null,
        (Value::Int(_), DataType::BigInt)
        | (Value::Float(_), DataType::Float)
        | (Value::Str(_), DataType::String)
        | (Value::Bool(_), DataType::Boolean)
        | (Value::Bytes(_), DataType::Bytea)
        | (Value::Time(_), DataType::DateTime) => value.clone(),
        (Value::Float(float), DataType::BigInt) => match cast::whole(*float) {
            Some(whole) => Value::Int(whole),
            None => return wrong(),
        },
        (Value::Int(int), DataType::Float) => Value::Float(*int as f64),
        (Value::Int(millis), DataType::DateTime) => Value::Time(Timestamp(*millis)),
        (Value::Float(millis), DataType::DateTime) if millis.is_finite() => {
            Value::Time(Timestamp(*millis as i64))
        }
        (Value::Str(text), DataType::DateTime) => {
            match datetime::parse(text, times.pattern, times.zone, times.now) {
                Some(time) => Value::Time(time),
                None => return wrong(),
            }
        }
        (Value::Str(text), DataType::Bytea) => Value::Bytes(cast::bytes_of(text).into()),
        (Value::List(items), DataType::Array(element)) => {
            Value::list(items.iter().map(|item| strict(item, element, times)).collect::<Result<_, _>>()?)
        }
        (Value::Map(fields), DataType::Struct(members)) => self::members(fields, members, times)?,
        (Value::Str(text), DataType::Struct(members)) => match json::parse(text.as_bytes(), Numbers::Float) {
            Ok(Value::Map(fields)) => self::members(&fields, members, times)?,
            _ => return wrong(),
        },
        _ => return wrong(),
    })
}

/// The declared members that are there.
fn members(fields: &Fields, members: &[(Arc<str>, DataType)], times: Times<'_>) -> Result<Value, String> {
    let member = |(name, data_type): &(Arc<str>, DataType)| {
        let value = fields.get(name)?;
        Some(strict(value, data_type, times).map(|value| (Arc::clone(name), value)))
    };
    Ok(Value::map(members.iter().filter_map(member).collect::<Result<_, _>>()?))
}

fn go_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::BigInt => "int64",
        DataType::Float => "float64",
        DataType::String => "string",
        DataType::Bytea => "bytea",
        DataType::DateTime => "datetime",
        DataType::Boolean => "bool",
        DataType::Array(_) => "array",
        DataType::Struct(_) => "struct",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: Value, data_type: DataType, expected: Result<Value, &str>) {
        let times = Times { pattern: None, zone: Tz::Europe__Berlin, now: Timestamp(0) };
        assert_eq!(strict(&value, &data_type, times), expected.map_err(str::to_owned));
    }

    #[test]
    fn t8_values_are_of_their_type_or_say_what_they_are() {
        check(Value::Float(2.0), DataType::BigInt, Ok(Value::Int(2)));
        check(Value::Float(2.5), DataType::BigInt, Err("cannot convert float64(2.5) to int64"));
        check(Value::text("x"), DataType::BigInt, Err("cannot convert string(x) to int64"));
        check(Value::Null, DataType::String, Err("cannot convert <nil>(<nil>) to string"));
        check(Value::Int(3_000), DataType::DateTime, Ok(Value::Time(Timestamp(3_000))));
        let midnight = Value::Time(Timestamp(-3_600_000));
        check(Value::text("1970-01-01T00:00:00"), DataType::DateTime, Ok(midnight));
        check(Value::text("aGk="), DataType::Bytea, Ok(Value::Bytes(b"hi".to_vec().into())));
    }

    #[test]
    fn t8_nested_types_are_checked_through_and_a_struct_may_come_as_text() {
        let list = DataType::Array(Box::new(DataType::BigInt));
        check(Value::Null, list.clone(), Ok(Value::Null));
        let with_null = Value::list(vec![Value::Int(1), Value::Null]);
        check(with_null, list, Err("cannot convert <nil>(<nil>) to int64"));
        let object = DataType::Struct(vec![(Arc::from("x"), DataType::BigInt)]);
        let expected = Value::map(Fields::from([(Arc::from("x"), Value::Int(1))]));
        check(Value::text(r#"{"x":1,"y":2}"#), object.clone(), Ok(expected));
        check(Value::text("no"), object, Err("cannot convert string(no) to struct"));
    }
}
