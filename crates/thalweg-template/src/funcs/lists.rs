//! Lists. None is changed in place.

use thalweg_core::Value;

use super::{ANY, Answer, Function, count, equal, items, text, truth};

pub(super) const TABLE: &[Function] = &[
    Function::pure("list", 0, ANY, |a| Ok(Value::list(a.to_vec()))),
    Function::pure("tuple", 0, ANY, |a| Ok(Value::list(a.to_vec()))),
    Function::pure("len", 1, 1, len),
    Function::pure("index", 1, ANY, index),
    Function::pure("slice", 1, 3, slice),
    Function::pure("first", 1, 1, |a| Ok(items(&a[0], "first")?.first().cloned().unwrap_or_default())),
    Function::pure("last", 1, 1, |a| Ok(items(&a[0], "last")?.last().cloned().unwrap_or_default())),
    Function::pure("rest", 1, 1, |a| Ok(part(items(&a[0], "rest")?.split_first().map(|(_, rest)| rest)))),
    Function::pure("initial", 1, 1, |a| {
        Ok(part(items(&a[0], "initial")?.split_last().map(|(_, rest)| rest)))
    }),
    Function::pure("append", 2, 2, |a| append(&a[0], &a[1])),
    Function::pure("push", 2, 2, |a| append(&a[0], &a[1])),
    Function::pure("prepend", 2, 2, |a| {
        let list = list(&a[0], "prepend to")?;
        Ok(Value::list(std::iter::once(&a[1]).chain(list).cloned().collect()))
    }),
    Function::pure("concat", 0, ANY, |a| {
        let lists: Result<Vec<&[Value]>, String> = a.iter().map(|value| list(value, "concat")).collect();
        Ok(Value::list(lists?.concat()))
    }),
    Function::pure("has", 2, 2, |a| match &a[1] {
        Value::Null => Ok(Value::Bool(false)),
        haystack => Ok(Value::Bool(list(haystack, "search in")?.iter().any(|item| equal(item, &a[0])))),
    }),
    Function::pure("without", 1, ANY, |a| {
        Ok(kept(list(&a[0], "remove from")?, |item| !a[1..].iter().any(|other| equal(item, other))))
    }),
    Function::pure("compact", 1, 1, |a| Ok(kept(list(&a[0], "compact")?, truth))),
    Function::pure("uniq", 1, 1, uniq),
    Function::informed("sortAlpha", 1, 1, |a, cx| {
        let mut texts = super::text::strings(&a[0], cx);
        texts.sort_unstable();
        Ok(Value::list(texts.into_iter().map(Value::text).collect()))
    }),
    Function::pure("reverse", 1, 1, |a| {
        Ok(Value::list(list(&a[0], "reverse")?.iter().rev().cloned().collect()))
    }),
    Function::pure("chunk", 2, 2, |a| {
        let size = usize::try_from(count(&a[0])?)
            .ok()
            .filter(|size| *size > 0)
            .ok_or("the size must be positive")?;
        Ok(Value::list(list(&a[1], "chunk")?.chunks(size).map(|part| Value::list(part.to_vec())).collect()))
    }),
];

fn list<'a>(value: &'a Value, action: &str) -> Result<&'a [Value], String> {
    match value {
        Value::List(items) => Ok(items),
        other => Err(format!("cannot {action} type {}", other.kind_name())),
    }
}

/// Sprig gives nil for the rest of an empty list.
fn part(rest: Option<&[Value]>) -> Value {
    rest.map_or(Value::Null, |rest| Value::list(rest.to_vec()))
}

fn append(to: &Value, item: &Value) -> Answer {
    let list = list(to, "push on")?;
    Ok(Value::list(list.iter().chain(std::iter::once(item)).cloned().collect()))
}

fn kept(list: &[Value], keep: impl Fn(&Value) -> bool) -> Value {
    Value::list(list.iter().filter(|item| keep(item)).cloned().collect())
}

fn uniq(args: &[Value]) -> Answer {
    let mut seen: Vec<Value> = Vec::new();
    for item in list(&args[0], "find unique on")? {
        if !seen.iter().any(|other| equal(other, item)) {
            seen.push(item.clone());
        }
    }
    Ok(Value::list(seen))
}

fn len(args: &[Value]) -> Answer {
    let length = match &args[0] {
        Value::Str(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::Map(fields) => fields.len(),
        Value::Null => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.kind_name())),
    };
    Ok(Value::Int(length as i64))
}

/// `index x 1 "a"` is Go's `x[1]["a"]`. A missing key is null.
fn index(args: &[Value]) -> Answer {
    let mut value = args[0].clone();
    for key in &args[1..] {
        value = match &value {
            Value::Map(fields) => fields.get(text(key)?).cloned().unwrap_or_default(),
            Value::List(items) => item(items, key)?.clone(),
            Value::Str(text) => Value::Int(i64::from(*item(text.as_bytes(), key)?)),
            Value::Bytes(bytes) => Value::Int(i64::from(*item(bytes, key)?)),
            Value::Null => return Err("index of untyped nil".to_owned()),
            other => return Err(format!("can't index item of type {}", other.kind_name())),
        };
    }
    Ok(value)
}

/// Like [`count`], so that an index from JSON (a float) works.
fn item<'a, T>(items: &'a [T], key: &Value) -> Result<&'a T, String> {
    let index = match key {
        Value::Int(_) | Value::Float(_) => count(key)?,
        other => return Err(format!("cannot index slice/array with type {}", other.kind_name())),
    };
    if items.is_empty() {
        return Err("slice index out of range".to_owned());
    }
    usize::try_from(index)
        .ok()
        .and_then(|at| items.get(at))
        .ok_or_else(|| format!("index out of range: {index}"))
}

/// Sprig's: lists only (T4.3).
fn slice(args: &[Value]) -> Answer {
    let items = match &args[0] {
        Value::List(items) if items.is_empty() => return Ok(Value::Null),
        value => list(value, "slice")?,
    };
    let at = |index: usize, default: usize| match args.get(index) {
        None => Ok(default),
        Some(value) => Ok::<usize, String>(super::math::int(value).max(0) as usize),
    };
    let (start, end) = (at(1, 0)?, at(2, items.len())?);
    let part = items.get(start..end).ok_or_else(|| "slice bounds out of range".to_owned())?;
    Ok(Value::list(part.to_vec()))
}
