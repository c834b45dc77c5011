//! Table: functions of objects. Members come in the order of their names (S36).

use std::sync::Arc;

use thalweg_core::{Fields, RowError, Value};

use super::args::{fail, list, map, only_text, text};
use crate::expr::EvalCx;
use crate::function::{Arg, ArgKind};

const OBJECT: &[Arg] = &[Arg::new("object", ArgKind::Object)];
const OBJECTS: &[Arg] = &[Arg::new("object", ArgKind::Object), Arg::new("more", ArgKind::Object).repeated()];
const PARTS: &[Arg] = &[Arg::new("names", ArgKind::Array), Arg::new("values", ArgKind::Array)];
const PAIRS: &[Arg] = &[Arg::new("pairs", ArgKind::Array)];
const NAMES: &[Arg] = &[Arg::new("name_value", ArgKind::Any).optional().repeated()];
const ERASE: &[Arg] = &[Arg::new("object", ArgKind::Object), Arg::new("names", ArgKind::Any)];
const PICK: &[Arg] = &[Arg::new("object", ArgKind::Object), Arg::new("names", ArgKind::Any).repeated()];

type Answer = Result<Value, RowError>;

functions! { Object
    "keys" (OBJECT) Null |args, _| Ok(Value::list(map(&args[0])?.keys().map(|key| Value::Str(Arc::clone(key))).collect())),
    "The names of the members.", &[("keys({\"b\":2,\"a\":1})", "[\"a\",\"b\"]"), ("keys({})", "-"), ("keys([1])", "ERR")];
    "values" (OBJECT) Null |args, _| Ok(Value::list(map(&args[0])?.values().cloned().collect())),
    "The values of the members.", &[("values({\"a\":1})", "[1]")];
    "items" (OBJECT) Null |args, _| Ok(Value::list(map(&args[0])?.iter().map(|(name, value)| Value::list(vec![Value::Str(Arc::clone(name)), value.clone()])).collect())),
    "The members as lists of name and value.", &[("items({\"a\":1})", "[[\"a\",1]]")];
    "object" (PARTS) Null |args, _| object(args),
    "An object of names and values.", &[("object([\"a\",\"b\"], [1,2])", "{\"a\":1,\"b\":2}"), ("object([\"a\"], [1,2])", "ERR")];
    "zip" (PAIRS) Null |args, _| zip(&args[0]),
    "An object of lists of name and value.", &[("zip([[\"a\",1],[\"b\",2]])", "{\"a\":1,\"b\":2}"), ("zip([[\"a\",1],null])", "{\"a\":1}"), ("zip([[\"a\",1,2]])", "ERR")];
    "object_concat" (OBJECTS) Own |args, _| concat(args),
    "One object of all; later members win, null adds nothing.", &[("object_concat({\"t\":1}, {\"h\":2}, {\"t\":5})", "{\"h\":2,\"t\":5}"), ("object_concat(null, null)", "{}")];
    "object_construct" (NAMES) Own |args, _| construct(args),
    "An object of names and values in turn; a null name drops its pair.", &[("object_construct(\"a\", 1, \"b\", 2)", "{\"a\":1,\"b\":2}"), ("object_construct(\"a\", null)", "{\"a\":null}"), ("object_construct(null, 1)", "{}")];
    "erase" (ERASE) Null erase,
    "The object without some members.", &[("erase({\"t\":21,\"h\":40,\"p\":9}, [\"t\",\"h\"])", "{\"p\":9}"), ("erase({\"a\":1}, \"a\")", "{}"), ("erase({\"a\":1}, [])", "-")];
    "object_size" (OBJECT) Zero |args, _| Ok(Value::Int(map(&args[0])?.len() as i64)),
    "The number of members.", &[("object_size({\"a\":1,\"b\":null})", "2"), ("object_size([1])", "ERR")];
    "object_pick" (PICK) Own |args, _| pick(args),
    "Only some members; a dotted name reaches into inner objects.", &[("object_pick({\"t\":21,\"h\":40,\"p\":9}, \"t\", \"p\")", "{\"p\":9,\"t\":21}"), ("object_pick({\"a\":{\"x\":1,\"y\":2,\"z\":3}}, \"a.x\", \"a.y\")", "{\"a\":{\"x\":1,\"y\":2}}"), ("object_pick({\"a\":1}, 5)", "{}"), ("object_pick(null, \"a\")", "-")];
    "obj_to_kvpair_array" (OBJECT) Null |args, _| Ok(Value::list(map(&args[0])?.iter().map(|(name, value)| pair(name, value)).collect())),
    "The members as objects of key and value.", &[("obj_to_kvpair_array({\"k\":1})", "[{\"key\":\"k\",\"value\":1}]")];
}

fn name(value: &Value) -> Result<Arc<str>, RowError> {
    only_text(value).map(Arc::from)
}

fn object(args: &[Value]) -> Answer {
    let (names, values) = (list(&args[0])?, list(&args[1])?);
    if names.len() != values.len() {
        return fail("the length of the arguments should be same");
    }
    let fields: Result<Fields, RowError> =
        names.iter().zip(values).map(|(key, value)| Ok((name(key)?, value.clone()))).collect();
    fields.map(Value::map)
}

fn zip(value: &Value) -> Answer {
    let mut fields = Fields::new();
    for item in list(value)?.iter().filter(|item| !item.is_null()) {
        match list(item)? {
            [key, value] => _ = fields.insert(name(key)?, value.clone()),
            _ => return fail("each element should be a pair of name and value"),
        }
    }
    Ok(Value::map(fields))
}

fn concat(args: &[Value]) -> Answer {
    let mut fields = Fields::new();
    for arg in args.iter().filter(|arg| !arg.is_null()) {
        fields.extend(map(arg)?.iter().map(|(name, value)| (Arc::clone(name), value.clone())));
    }
    Ok(Value::map(fields))
}

fn construct(args: &[Value]) -> Answer {
    if !args.len().is_multiple_of(2) {
        return fail("the args must be key value pairs");
    }
    let pairs = args.chunks_exact(2).filter(|pair| !pair[0].is_null());
    let fields: Result<Fields, RowError> = pairs.map(|pair| Ok((name(&pair[0])?, pair[1].clone()))).collect();
    fields.map(Value::map)
}

fn erase(args: &[Value], cx: &mut EvalCx<'_>) -> Answer {
    let mut fields = map(&args[0])?.clone();
    match &args[1] {
        Value::Str(name) => _ = fields.remove(name),
        Value::List(names) => names.iter().for_each(|name| _ = fields.remove(&*text(name, cx))),
        _ => return fail("the second argument should be a name or an array of names"),
    }
    Ok(Value::map(fields))
}

fn pick(args: &[Value]) -> Answer {
    let Some((object, names)) = args.split_first().filter(|(object, _)| !object.is_null()) else {
        return Ok(Value::Null);
    };
    let object = map(object)?;
    let names = match names {
        [Value::List(names)] => names,
        names => names,
    };
    let mut picked = Fields::new();
    for name in names {
        if let Value::Str(path) = name {
            take(object, path, &mut picked);
        }
    }
    Ok(Value::map(picked))
}

/// Copies the member at a dotted path to the same place (S35: several below one parent, too).
fn take(from: &Fields, path: &str, into: &mut Fields) {
    let Some((first, rest)) = path.split_once('.') else {
        if let Some((name, value)) = from.get_key_value(path) {
            into.insert(Arc::clone(name), value.clone());
        }
        return;
    };
    let Some((name, Value::Map(inner))) = from.get_key_value(first) else { return };
    let mut below = match into.get(first) {
        Some(Value::Map(known)) => Fields::clone(known),
        _ => Fields::new(),
    };
    take(inner, rest, &mut below);
    if !below.is_empty() {
        into.insert(Arc::clone(name), Value::map(below));
    }
}

fn pair(name: &Arc<str>, value: &Value) -> Value {
    let fields = [(Arc::from("key"), Value::Str(Arc::clone(name))), (Arc::from("value"), value.clone())];
    Value::map(Fields::from(fields))
}
