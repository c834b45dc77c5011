//! Answers become values: from a message (gRPC), or from JSON and msgpack by the message's description.

use std::sync::Arc;

use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value as Proto,
};
use thalweg_core::{Fields, Value};

use crate::encode::fields;
use crate::kinds;
use crate::schema::is_wrapper;

/// The value of a message: what a wrapper wraps, else an object of all fields. Fields that were not sent have their
/// defaults, messages among them null; of a oneof only the one that was sent is there.
pub(crate) fn message(message: &DynamicMessage) -> Result<Value, String> {
    let of = message.descriptor();
    if is_wrapper(&of)
        && let Some(only) = of.get_field(1)
    {
        return scalar(&message.get_field(&only));
    }
    let mut object = Fields::new();
    for field in of.fields() {
        let is_set = message.has_field(&field);
        let value = match field.kind() {
            _ if !is_set && field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic()) => continue,
            Kind::Message(_) if !is_set && !field.is_list() && !field.is_map() => Value::Null,
            _ => scalar(&message.get_field(&field))
                .map_err(|why| format!("invalid type of return value for '{}': {why}", field.name()))?,
        };
        object.insert(Arc::from(field.name()), value);
    }
    Ok(Value::map(object))
}

/// A single value of a message.
pub(crate) fn scalar(value: &Proto) -> Result<Value, String> {
    Ok(match value {
        Proto::Bool(value) => Value::Bool(*value),
        Proto::I32(value) | Proto::EnumNumber(value) => Value::Int(i64::from(*value)),
        Proto::I64(value) => Value::Int(*value),
        Proto::U32(value) => Value::Int(i64::from(*value)),
        Proto::U64(value) => {
            Value::Int(i64::try_from(*value).map_err(|_| format!("value {value} is out of int64 range"))?)
        }
        Proto::F32(value) => Value::Float(f64::from(*value)),
        Proto::F64(value) => Value::Float(*value),
        Proto::String(text) => Value::text(text),
        Proto::Bytes(bytes) => Value::Bytes(bytes.clone()),
        Proto::Message(inner) => message(inner)?,
        Proto::List(items) => Value::list(items.iter().map(scalar).collect::<Result<_, _>>()?),
        Proto::Map(entries) => {
            let mut object = Fields::new();
            for (key, value) in entries {
                object.insert(key_text(key), scalar(value)?);
            }
            Value::map(object)
        }
    })
}

fn key_text(key: &MapKey) -> Arc<str> {
    match key {
        MapKey::String(key) => Arc::from(key.as_str()),
        MapKey::Bool(key) => Arc::from(key.to_string()),
        MapKey::I32(key) => Arc::from(key.to_string()),
        MapKey::I64(key) => Arc::from(key.to_string()),
        MapKey::U32(key) => Arc::from(key.to_string()),
        MapKey::U64(key) => Arc::from(key.to_string()),
    }
}

/// The value of a document that stands for a message: the fields that it has, under the names of the schema.
pub(crate) fn document(of: &MessageDescriptor, value: &Value) -> Result<Value, String> {
    match value {
        Value::Map(members) => members_of(of, members),
        scalar if is_wrapper(of) => wrapped(of, scalar),
        other => {
            let got = thalweg_core::cast::go_text(other);
            Err(format!("fail to convert return val, must be a map but got {got}"))
        }
    }
}

fn wrapped(of: &MessageDescriptor, value: &Value) -> Result<Value, String> {
    let only = of.get_field(1).ok_or("a wrapper without a value")?;
    field(&only, value)
}

fn members_of(of: &MessageDescriptor, members: &Fields) -> Result<Value, String> {
    if is_wrapper(of)
        && let Some(value) = members.get("value")
    {
        return wrapped(of, value);
    }
    let mut object = Fields::new();
    for of in fields(of) {
        // Upstream knows the names of the schema only; servers that follow protobuf's JSON send the other form.
        let Some(value) = members.get(of.name()).or_else(|| members.get(of.json_name())) else { continue };
        object.insert(Arc::from(of.name()), field(&of, value)?);
    }
    Ok(Value::map(object))
}

fn field(of: &FieldDescriptor, value: &Value) -> Result<Value, String> {
    let named = |why| format!("invalid type of return value for '{}': {why}", of.name());
    if value.is_null() {
        return Ok(Value::Null);
    }
    if of.is_map() {
        let (Value::Map(members), Kind::Message(entry)) = (value, of.kind()) else {
            return Err(named(kinds::refuse(value, "map")));
        };
        let kind = entry.map_entry_value_field().kind();
        let members = members.iter().map(|(name, value)| Ok((Arc::clone(name), single(&kind, value)?)));
        return members.collect::<Result<Fields, _>>().map(Value::map).map_err(named);
    }
    if of.is_list() {
        let Value::List(items) = value else { return Err(named(kinds::refuse(value, "a list"))) };
        let items = items
            .iter()
            .enumerate()
            .map(|(at, item)| single(&of.kind(), item).map_err(|why| named(format!("element {at}: {why}"))));
        return items.collect::<Result<_, _>>().map(Value::list);
    }
    single(&of.kind(), value).map_err(named)
}

fn single(kind: &Kind, value: &Value) -> Result<Value, String> {
    Ok(match (kind, value) {
        (Kind::Double | Kind::Float, value) => Value::Float(kinds::float(value)?),
        (Kind::Bool, value) => Value::Bool(kinds::boolean(value)?),
        (Kind::String, value) => Value::text(kinds::text(value)?),
        (Kind::Bytes, value) => Value::Bytes(kinds::bytes(value)?),
        (Kind::Message(of), value) => document(of, value)?,
        (Kind::Enum(of), Value::Str(name)) => match of.get_value_by_name(name) {
            Some(found) => Value::Int(i64::from(found.number())),
            None => return Err(format!("enum {} has no value {name}", of.full_name())),
        },
        // Protobuf's JSON has 64-bit integers as text.
        (Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64, Value::Str(text)) => {
            Value::Int(text.parse().map_err(|_| kinds::refuse(value, "int64"))?)
        }
        (_, value) => Value::Int(kinds::int64(value)?),
    })
}

/// The value of a text that stands for a wrapper.
pub(crate) fn text(of: &MessageDescriptor, text: &str) -> Result<Value, String> {
    let Some(only) = of.get_field(1).filter(|_| is_wrapper(of)) else {
        let name = of.name();
        return Err(format!(
            "fail to convert return val to text, return type must be primitive type but got {name}"
        ));
    };
    let value = Value::text(text);
    let trimmed = text.trim();
    Ok(match only.kind() {
        Kind::String => value,
        Kind::Bytes => Value::Bytes(text.as_bytes().to_vec().into()),
        Kind::Bool => match trimmed {
            "true" | "TRUE" | "True" | "t" | "T" | "1" => Value::Bool(true),
            "false" | "FALSE" | "False" | "f" | "F" | "0" => Value::Bool(false),
            _ => return Err(kinds::refuse(&value, "bool")),
        },
        Kind::Double | Kind::Float => {
            Value::Float(trimmed.parse().map_err(|_| kinds::refuse(&value, "float64"))?)
        }
        _ => Value::Int(trimmed.parse().map_err(|_| kinds::refuse(&value, "int64"))?),
    })
}
