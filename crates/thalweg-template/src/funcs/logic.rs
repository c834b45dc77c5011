//! Truth, comparison, choice and types.

use std::cmp::Ordering;

use thalweg_core::Value;

use super::{ANY, Answer, Function, equal, truth};

pub(super) const TABLE: &[Function] = &[
    Function::short_circuit("and", false),
    Function::short_circuit("or", true),
    Function::pure("not", 1, 1, |a| Ok(Value::Bool(!truth(&a[0])))),
    Function::pure("eq", 2, ANY, eq),
    Function::pure("ne", 2, 2, |a| Ok(Value::Bool(!same(&a[0], &a[1])?))),
    Function::pure("lt", 2, 2, |a| Ok(Value::Bool(order(a)? == Some(Ordering::Less)))),
    Function::pure("le", 2, 2, |a| Ok(Value::Bool(order(a)?.is_some_and(Ordering::is_le)))),
    Function::pure("gt", 2, 2, |a| Ok(Value::Bool(order(a)? == Some(Ordering::Greater)))),
    Function::pure("ge", 2, 2, |a| Ok(Value::Bool(order(a)?.is_some_and(Ordering::is_ge)))),
    Function::pure("default", 1, 2, |a| Ok(a.get(1).filter(|given| truth(given)).unwrap_or(&a[0]).clone())),
    Function::pure("empty", 1, 1, |a| Ok(Value::Bool(!truth(&a[0])))),
    Function::pure("coalesce", 0, ANY, |a| {
        Ok(a.iter().find(|value| truth(value)).cloned().unwrap_or_default())
    }),
    Function::pure("all", 0, ANY, |a| Ok(Value::Bool(a.iter().all(truth)))),
    Function::pure("any", 0, ANY, |a| Ok(Value::Bool(a.iter().any(truth)))),
    Function::pure("ternary", 3, 3, ternary),
    Function::pure("deepEqual", 2, 2, |a| Ok(Value::Bool(equal(&a[0], &a[1])))),
    Function::pure("deepCopy", 1, 1, |a| Ok(a[0].clone())),
    Function::pure("kindOf", 1, 1, |a| Ok(Value::text(kind(&a[0])))),
    Function::pure("kindIs", 2, 2, |a| Ok(Value::Bool(super::text(&a[0])? == kind(&a[1])))),
    Function::pure("typeOf", 1, 1, |a| Ok(Value::text(a[0].kind_name()))),
    Function::pure("typeIs", 2, 2, |a| Ok(Value::Bool(super::text(&a[0])? == a[1].kind_name()))),
    Function::pure("fail", 1, 1, |a| Err(super::text(&a[0])?.to_owned())),
    Function::pure("call", 1, ANY, |_| Err("the values of rows hold no functions".to_owned())),
];

/// True if the first equals any other.
fn eq(args: &[Value]) -> Answer {
    for other in &args[1..] {
        if same(&args[0], other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

/// T4.8 as decided: numbers by value; other kinds only among themselves.
fn same(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::List(_) | Value::Map(_) | Value::Bytes(_), _)
        | (_, Value::List(_) | Value::Map(_) | Value::Bytes(_)) => Err("non-comparable type".to_owned()),
        (Value::Null, _) | (_, Value::Null) => Ok(a == b),
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => Ok(equal(a, b)),
        _ if std::mem::discriminant(a) == std::mem::discriminant(b) => Ok(a == b),
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

/// `None`: one is NaN.
fn order(args: &[Value]) -> Result<Option<Ordering>, String> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Int(a), Value::Float(b)) => Ok((*a as f64).partial_cmp(b)),
        (Value::Float(a), Value::Int(b)) => Ok(a.partial_cmp(&(*b as f64))),
        (Value::Str(a), Value::Str(b)) => Ok(Some(a.cmp(b))),
        (
            Value::Int(_) | Value::Float(_) | Value::Str(_),
            Value::Int(_) | Value::Float(_) | Value::Str(_),
        ) => Err("incompatible types for comparison".to_owned()),
        _ => Err("invalid type for comparison".to_owned()),
    }
}

fn ternary(args: &[Value]) -> Answer {
    match &args[2] {
        Value::Bool(test) => Ok(args[if *test { 0 } else { 1 }].clone()),
        other => Err(format!("wrong type for value; expected bool; got {}", other.kind_name())),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::List(_) | Value::Bytes(_) => "slice",
        Value::Map(_) => "map",
        Value::Time(_) => "struct",
        other => other.kind_name(),
    }
}
