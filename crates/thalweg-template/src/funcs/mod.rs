//! The functions: one table, from which arities, error texts and hints come.

mod encode;
mod lists;
mod logic;
mod maps;
mod math;
mod text;
mod times;

use thalweg_core::{Value, cast, moment};

use crate::Context;

/// What a function gives, or why it cannot.
pub(crate) type Answer = Result<Value, String>;

/// Items that `until`, `range` over a number and the like may make.
pub(crate) const MAX_ITEMS: i64 = 100_000;

/// A function of the language.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    least: usize,
    most: usize,
    pub(crate) kind: Kind,
}

/// How a function is called.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Pure(fn(&[Value]) -> Answer),
    Informed(fn(&[Value], &Context<'_>) -> Answer),
    /// `and` and `or`: arguments are evaluated until one has this truth.
    ShortCircuit(bool),
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kind")
    }
}

/// Any number of arguments.
const ANY: usize = usize::MAX;

impl Function {
    const fn pure(name: &'static str, least: usize, most: usize, call: fn(&[Value]) -> Answer) -> Self {
        Self { name, least, most, kind: Kind::Pure(call) }
    }

    const fn informed(
        name: &'static str,
        least: usize,
        most: usize,
        call: fn(&[Value], &Context<'_>) -> Answer,
    ) -> Self {
        Self { name, least, most, kind: Kind::Informed(call) }
    }

    const fn short_circuit(name: &'static str, stops_at: bool) -> Self {
        Self { name, least: 1, most: ANY, kind: Kind::ShortCircuit(stops_at) }
    }

    /// Whether it takes so many arguments, or how many it wants, in Go's words.
    pub(crate) fn takes(&self, count: usize) -> Result<(), String> {
        if (self.least..=self.most).contains(&count) {
            return Ok(());
        }
        Err(if self.least == self.most { self.least.to_string() } else { format!("at least {}", self.least) })
    }
}

/// Built-ins of Go, what eKuiper adds, and sprig's (4.2), by module.
const TABLES: &[&[Function]] =
    &[logic::TABLE, encode::TABLE, math::TABLE, text::TABLE, lists::TABLE, maps::TABLE, times::TABLE];

/// The function of this name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    TABLES.iter().flat_map(|table| table.iter()).find(|function| function.name == name)
}

/// All names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().flat_map(|table| table.iter()).map(|function| function.name)
}

/// Why a function of sprig is missing on purpose (T4.5).
pub(crate) fn left_out(name: &str) -> Option<&'static str> {
    match name {
        "env" | "expandenv" => Some("templates cannot read the server's environment; use prop"),
        "getHostByName" => Some("templates cannot look up host names"),
        _ => None,
    }
}

/// T4.10: false, 0, "", null and what is empty are false.
pub(crate) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::Float(value) => *value != 0.0,
        Value::Str(text) => !text.is_empty(),
        Value::Bytes(bytes) => !bytes.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(fields) => !fields.is_empty(),
        Value::Time(_) => true,
    }
}

/// Appends a value as Go's `%v` shows it (T4.7, T4.11); null as `nil` is shown.
pub(crate) fn print(value: &Value, nil: &str, cx: &Context<'_>, out: &mut String) {
    match value {
        Value::Null => out.push_str(nil),
        Value::Str(text) => out.push_str(text),
        Value::Time(time) => out.push_str(&moment::go_text(*time, cx.zone)),
        Value::Bytes(bytes) => {
            let bytes: Vec<String> = bytes.iter().map(u8::to_string).collect();
            out.push_str(&format!("[{}]", bytes.join(" ")));
        }
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { " " } else { "" });
                print(item, "<nil>", cx, out);
            }
            out.push(']');
        }
        Value::Map(fields) => {
            out.push_str("map[");
            for (index, (name, item)) in fields.iter().enumerate() {
                out.push_str(if index > 0 { " " } else { "" });
                out.push_str(name);
                out.push(':');
                print(item, "<nil>", cx, out);
            }
            out.push(']');
        }
        other => out.push_str(&cast::go_text(other)),
    }
}

/// A value as `%v`; null is `<nil>`.
pub(crate) fn text_of(value: &Value, cx: &Context<'_>) -> String {
    let mut out = String::new();
    print(value, "<nil>", cx, &mut out);
    out
}

/// Text for functions that take text only.
fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Str(text) => Ok(text),
        Value::Null => Err("invalid value; expected string".to_owned()),
        other => Err(format!("wrong type for value; expected string; got {}", other.kind_name())),
    }
}

/// A number for functions that take an `int` only. By value, so that 2.0 from JSON will do (T4.8).
fn count(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(value) => Ok(*value),
        Value::Float(value) if value.fract() == 0.0 => Ok(*value as i64),
        other => Err(format!("wrong type for value; expected int; got {}", other.kind_name())),
    }
}

/// A list for functions that take lists; null is none.
fn items<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], String> {
    match value {
        Value::List(items) => Ok(items),
        other => Err(format!("cannot find {name} on type {}", other.kind_name())),
    }
}

/// Equality by value (decision T4.8), also inside lists and maps.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(a), Value::Float(b)) | (Value::Float(b), Value::Int(a)) => *a as f64 == *b,
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| equal(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|((k, a), (l, b))| k == l && equal(a, b))
        }
        _ => a == b,
    }
}
