//! Dictionaries. None is changed in place (T4.5).

use std::sync::Arc;

use thalweg_core::{Fields, Value};

use super::{ANY, Answer, Function, text};
use crate::Context;

pub(super) const TABLE: &[Function] = &[
    Function::informed("dict", 0, ANY, dict),
    Function::pure("get", 2, 2, |a| {
        Ok(fields(&a[0])?.get(text(&a[1])?).cloned().unwrap_or_else(|| Value::text("")))
    }),
    Function::pure("hasKey", 2, 2, |a| Ok(Value::Bool(fields(&a[0])?.contains_key(text(&a[1])?)))),
    Function::pure("keys", 0, ANY, |a| {
        let maps: Result<Vec<&Fields>, String> = a.iter().map(fields).collect();
        Ok(Value::list(
            maps?.into_iter().flat_map(Fields::keys).map(|key| Value::Str(Arc::clone(key))).collect(),
        ))
    }),
    Function::pure("values", 1, 1, |a| Ok(Value::list(fields(&a[0])?.values().cloned().collect()))),
    Function::pure("pick", 1, ANY, |a| chosen(a, true)),
    Function::pure("omit", 1, ANY, |a| chosen(a, false)),
    Function::pure("set", 3, 3, |a| {
        let mut copy = fields(&a[0])?.clone();
        copy.insert(Arc::from(text(&a[1])?), a[2].clone());
        Ok(Value::map(copy))
    }),
    Function::pure("unset", 2, 2, |a| {
        let mut copy = fields(&a[0])?.clone();
        copy.remove(text(&a[1])?);
        Ok(Value::map(copy))
    }),
    Function::pure("merge", 1, ANY, |a| merged(a.iter())),
    Function::pure("mergeOverwrite", 1, ANY, |a| merged(a.iter().rev())),
    Function::pure("pluck", 1, ANY, |a| {
        let name = text(&a[0])?;
        let maps: Result<Vec<&Fields>, String> = a[1..].iter().map(fields).collect();
        Ok(Value::list(maps?.into_iter().filter_map(|map| map.get(name).cloned()).collect()))
    }),
    Function::pure("dig", 3, ANY, dig),
];

fn fields(value: &Value) -> Result<&Fields, String> {
    match value {
        Value::Map(fields) => Ok(fields),
        Value::Null => Err("invalid value; expected map[string]interface {}".to_owned()),
        other => Err(format!(
            "wrong type for value; expected map[string]interface {{}}; got {}",
            other.kind_name()
        )),
    }
}

/// Keys and values in turn; a last key without value has the value "".
fn dict(args: &[Value], cx: &Context<'_>) -> Answer {
    let pair = |pair: &[Value]| {
        let key = super::text::strval(&pair[0], cx);
        (Arc::from(key), pair.get(1).cloned().unwrap_or_else(|| Value::text("")))
    };
    Ok(Value::map(args.chunks(2).map(pair).collect()))
}

fn chosen(args: &[Value], named: bool) -> Answer {
    let names: Result<Vec<&str>, String> = args[1..].iter().map(text).collect();
    let names = names?;
    let map = fields(&args[0])?.iter().filter(|(key, _)| names.contains(&key.as_ref()) == named);
    Ok(Value::map(map.map(|(key, value)| (Arc::clone(key), value.clone())).collect()))
}

/// The first map that has a key decides; maps inside are merged alike.
fn merged<'a>(maps: impl Iterator<Item = &'a Value>) -> Answer {
    let mut result = Fields::new();
    for map in maps {
        merge(&mut result, fields(map)?);
    }
    Ok(Value::map(result))
}

fn merge(into: &mut Fields, from: &Fields) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (None, _) => {
                into.insert(Arc::clone(key), value.clone());
            }
            (Some(Value::Map(inner)), Value::Map(other)) => merge(Arc::make_mut(inner), other),
            _ => {}
        }
    }
}

/// `dig "a" "b" default map`.
fn dig(args: &[Value]) -> Answer {
    let (path, [default, map]) = args.split_at(args.len() - 2) else { return Ok(Value::Null) };
    let mut value = map;
    for key in path {
        match fields(value)?.get(text(key)?) {
            Some(inner) => value = inner,
            None => return Ok(default.clone()),
        }
    }
    Ok(value.clone())
}
