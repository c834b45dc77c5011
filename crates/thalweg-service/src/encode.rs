//! Arguments of a call become a message: one object that has its fields, or one argument a field in their order.

use std::collections::HashMap;

use prost_reflect::{
    Cardinality, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value as Proto,
};
use thalweg_core::{Fields, Value};

use crate::kinds;
use crate::schema::is_wrapper;

/// The fields of a message in the order in which they are written.
pub(crate) fn fields(message: &MessageDescriptor) -> impl Iterator<Item = FieldDescriptor> {
    let written = &message.descriptor_proto().field;
    written.iter().filter_map(|field| message.get_field(u32::try_from(field.number()).ok()?))
}

/// The message that a call sends.
pub(crate) fn message(of: &MessageDescriptor, args: &[Value]) -> Result<DynamicMessage, String> {
    let mut message = DynamicMessage::new(of.clone());
    for (field, value) in values(of, args)? {
        if let Some(value) = value {
            message.set_field(&field, value);
        }
    }
    Ok(message)
}

/// What a call gives each field of its message.
pub(crate) fn values(
    of: &MessageDescriptor,
    args: &[Value],
) -> Result<Vec<(FieldDescriptor, Option<Proto>)>, String> {
    let all: Vec<FieldDescriptor> = fields(of).collect();
    match args {
        [] if all.is_empty() => Ok(Vec::new()),
        [] => Err(format!("require {} parameters but none", all.len())),
        [arg] => {
            if let Value::Map(members) = arg {
                let unfolded = unfold(&all, members)?;
                if all.is_empty() || unfolded.iter().any(|(_, value)| value.is_some()) {
                    return Ok(unfolded);
                }
            }
            match &all[..] {
                [only] => Ok(vec![(only.clone(), Some(field(only, arg)?))]),
                _ => Err(format!("require {} parameters but only got 1", all.len())),
            }
        }
        _ if args.len() == all.len() => {
            let given = all.into_iter().zip(args);
            given.map(|(of, arg)| field(&of, arg).map(|value| (of, Some(value)))).collect()
        }
        _ => Err(format!("require {} parameters but only got {}", all.len(), args.len())),
    }
}

/// The fields that the object has.
fn unfold(
    all: &[FieldDescriptor],
    members: &Fields,
) -> Result<Vec<(FieldDescriptor, Option<Proto>)>, String> {
    let given = all.iter().map(|of| match members.get(of.name()).filter(|value| !value.is_null()) {
        Some(value) => Ok((of.clone(), Some(field(of, value)?))),
        None if of.cardinality() == Cardinality::Required => Err(format!("field {} not found", of.name())),
        None => Ok((of.clone(), None)),
    });
    given.collect()
}

/// One field.
fn field(of: &FieldDescriptor, value: &Value) -> Result<Proto, String> {
    if of.is_map() {
        return entries(of, value).map_err(|why| format!("failed to encode field '{}': {why}", of.name()));
    }
    if of.is_list() {
        let Value::List(items) = value else {
            let why = kinds::refuse(value, "a list");
            return Err(format!("failed to encode field '{}': {why}", of.name()));
        };
        let items = items.iter().enumerate().map(|(at, item)| {
            single(&of.kind(), item)
                .map_err(|why| format!("failed to encode field '{}': element {at}: {why}", of.name()))
        });
        return Ok(Proto::List(items.collect::<Result<_, _>>()?));
    }
    single(&of.kind(), value).map_err(|why| {
        format!("invalid type for {} type field '{}': {why}", kind_word(&of.kind()), of.name())
    })
}

/// What upstream calls a kind in its texts.
fn kind_word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Double | Kind::Float => "float",
        Kind::Bool => "bool",
        Kind::String => "string",
        Kind::Bytes => "bytes",
        Kind::Message(_) => "map",
        Kind::Uint32 | Kind::Fixed32 | Kind::Uint64 | Kind::Fixed64 => "uint",
        _ => "int",
    }
}

fn single(kind: &Kind, value: &Value) -> Result<Proto, String> {
    Ok(match kind {
        Kind::Double => Proto::F64(kinds::float(value)?),
        Kind::Float => Proto::F32(kinds::float(value)? as f32),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Proto::I32(kinds::int32(value)?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Proto::I64(kinds::int64(value)?),
        Kind::Uint32 | Kind::Fixed32 => Proto::U32(kinds::uint32(value)?),
        Kind::Uint64 | Kind::Fixed64 => Proto::U64(kinds::uint64(value)?),
        Kind::Bool => Proto::Bool(kinds::boolean(value)?),
        Kind::String => Proto::String(kinds::text(value)?),
        Kind::Bytes => Proto::Bytes(kinds::bytes(value)?),
        Kind::Enum(of) => match value {
            Value::Str(name) => match of.get_value_by_name(name) {
                Some(found) => Proto::EnumNumber(found.number()),
                None => return Err(format!("enum {} has no value {name}", of.full_name())),
            },
            other => Proto::EnumNumber(kinds::int32(other)?),
        },
        Kind::Message(of) => Proto::Message(nested(of, value)?),
    })
}

fn nested(of: &MessageDescriptor, value: &Value) -> Result<DynamicMessage, String> {
    let mut message = DynamicMessage::new(of.clone());
    match value {
        Value::Map(members) => {
            let all: Vec<FieldDescriptor> = fields(of).collect();
            for (field, value) in unfold(&all, members)? {
                if let Some(value) = value {
                    message.set_field(&field, value);
                }
            }
        }
        scalar if is_wrapper(of) => {
            if let Some(only) = of.get_field(1) {
                message.set_field(&only, field(&only, scalar)?);
            }
        }
        other => return Err(kinds::refuse(other, "map")),
    }
    Ok(message)
}

/// A field of type `map<…>`.
fn entries(of: &FieldDescriptor, value: &Value) -> Result<Proto, String> {
    let (Value::Map(members), Kind::Message(entry)) = (value, of.kind()) else {
        return Err(kinds::refuse(value, "map"));
    };
    let (key_kind, value_kind) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
    let mut map = HashMap::new();
    for (name, value) in members.iter() {
        map.insert(key(&key_kind, name)?, single(&value_kind, value)?);
    }
    Ok(Proto::Map(map))
}

fn key(kind: &Kind, name: &str) -> Result<MapKey, String> {
    let wrong = |_| format!("key {name} is not of kind {}", kind_word(kind));
    Ok(match kind {
        Kind::String => MapKey::String(name.to_owned()),
        Kind::Bool => MapKey::Bool(name.parse().map_err(|_| format!("key {name} is not of kind bool"))?),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => MapKey::I32(name.parse().map_err(wrong)?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => MapKey::I64(name.parse().map_err(wrong)?),
        Kind::Uint32 | Kind::Fixed32 => MapKey::U32(name.parse().map_err(wrong)?),
        _ => MapKey::U64(name.parse().map_err(wrong)?),
    })
}
