//! JSON paths: `$.a[0]..b[?(@.x > 2)]` inside a small expression language (functions.md 12). A path of single steps
//! gives one value and fails where it does not exist; after a wildcard, slice, list, filter or descent it gives a
//! list of what is there. Parsing is `parse.rs`.

mod parse;

use thalweg_core::compare::{decides, values_equal};
use thalweg_core::{BinaryOp, Cell, Value};

/// A parsed path.
#[derive(Debug, Clone)]
pub(super) struct Path(Node);

#[derive(Debug, Clone)]
enum Node {
    Literal(Value),
    List(Vec<Node>),
    Select(Start, Vec<Step>),
    Not(Box<Node>),
    Minus(Box<Node>),
    Binary(Op, Box<Node>, Box<Node>),
}

#[derive(Debug, Clone)]
enum Start {
    /// `$`
    Root,
    /// `@`
    Current,
    /// A bare name: a member of the root.
    Name(String),
}

#[derive(Debug, Clone)]
enum Step {
    Keys(Vec<Key>),
    Slice { from: Option<i64>, to: Option<i64>, step: i64 },
    All,
    Descend(Option<String>),
    Filter(Box<Node>),
}

#[derive(Debug, Clone)]
enum Key {
    Name(String),
    Index(i64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Op {
    Or,
    And,
    Compare(BinaryOp),
    Matches,
    In,
    Calculate(BinaryOp),
}

type Outcome<T> = Result<T, String>;

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// What is not understood.
    pub(super) fn parse(text: &str) -> Outcome<Self> {
        parse::parse(text).map(Self)
    }

    /// What the path finds.
    ///
    /// # Errors
    /// It does not exist, or an operator does not fit.
    pub(super) fn find(&self, root: &Value) -> Outcome<Value> {
        self.0.eval(root, root)
    }
}

impl Node {
    fn eval(&self, root: &Value, current: &Value) -> Outcome<Value> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::List(items) => {
                let items: Outcome<Vec<Value>> = items.iter().map(|item| item.eval(root, current)).collect();
                items.map(Value::list)
            }
            Self::Select(start, steps) => {
                let from = match start {
                    Start::Root => root,
                    Start::Current => current,
                    Start::Name(name) => member(root, name).ok_or_else(|| format!("unknown key {name}"))?,
                };
                select(from, steps, root)
            }
            Self::Not(inner) => truth(&inner.eval(root, current)?).map(|value| Value::Bool(!value)),
            Self::Minus(inner) => number(&inner.eval(root, current)?).map(|value| Value::Float(-value)),
            Self::Binary(op, left, right) => binary(*op, left, right, (root, current)),
        }
    }
}

fn select(from: &Value, steps: &[Step], root: &Value) -> Outcome<Value> {
    let mut found = vec![from];
    let mut is_list = false;
    for step in steps {
        let mut next = Vec::new();
        for value in found {
            let taken = take(value, step, root, &mut next);
            // Behind a step that finds many, what is missing is left out.
            if !is_list {
                taken?;
            }
        }
        is_list |= !matches!(step, Step::Keys(keys) if keys.len() == 1);
        found = next;
    }
    match found.as_slice() {
        [value] if !is_list => Ok((*value).clone()),
        found => Ok(Value::list(found.iter().copied().cloned().collect())),
    }
}

fn take<'v>(value: &'v Value, step: &Step, root: &'v Value, into: &mut Vec<&'v Value>) -> Outcome<()> {
    match step {
        Step::Keys(keys) => {
            for key in keys {
                let found = match key {
                    Key::Name(name) => member(value, name).ok_or_else(|| format!("unknown key {name}")),
                    Key::Index(index) => item(value, *index).ok_or_else(|| format!("no item {index}")),
                };
                into.push(found?);
            }
        }
        Step::All => into.extend(children(value)),
        Step::Slice { from, to, step } => {
            let Value::List(items) = value else { return Err("a slice wants an array".to_owned()) };
            let len = items.len() as i64;
            let bound = |bound: i64| if bound < 0 { (bound + len).max(0) } else { bound.min(len) };
            let (from, to) = (bound(from.unwrap_or(0)), bound(to.unwrap_or(len)));
            let mut at = from;
            while at < to {
                into.push(&items[at as usize]);
                at = at.saturating_add(*step);
            }
        }
        Step::Descend(name) => descend(value, name.as_deref(), into),
        Step::Filter(condition) => {
            let holds = |child: &&Value| condition.eval(root, child) == Ok(Value::Bool(true));
            into.extend(children(value).filter(holds));
        }
    }
    Ok(())
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::List(items) => Box::new(items.iter()),
        Value::Map(fields) => Box::new(fields.values()),
        _ => Box::new(std::iter::empty()),
    }
}

fn descend<'v>(value: &'v Value, name: Option<&str>, into: &mut Vec<&'v Value>) {
    match name {
        Some(name) => into.extend(member(value, name)),
        None => into.extend(children(value)),
    }
    children(value).for_each(|child| descend(child, name, into));
}

fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Map(fields) => fields.get(name),
        _ => None,
    }
}

/// Negative indices find nothing, as upstream.
fn item(value: &Value, index: i64) -> Option<&Value> {
    match value {
        Value::List(items) => items.get(usize::try_from(index).ok()?),
        _ => None,
    }
}

fn truth(value: &Value) -> Outcome<bool> {
    match value {
        Value::Bool(value) => Ok(*value),
        _ => Err("a condition must be true or false".to_owned()),
    }
}

fn number(value: &Value) -> Outcome<f64> {
    match value {
        Value::Int(value) => Ok(*value as f64),
        Value::Float(value) => Ok(*value),
        _ => Err("a number is wanted".to_owned()),
    }
}

fn binary(op: Op, left: &Node, right: &Node, (root, current): (&Value, &Value)) -> Outcome<Value> {
    let left = left.eval(root, current)?;
    match op {
        Op::Or if truth(&left)? => return Ok(Value::Bool(true)),
        Op::And if !truth(&left)? => return Ok(Value::Bool(false)),
        _ => {}
    }
    let right = right.eval(root, current)?;
    match op {
        Op::Or | Op::And => truth(&right).map(Value::Bool),
        Op::Compare(BinaryOp::Eq) => Ok(Value::Bool(values_equal(&left, &right))),
        Op::Compare(BinaryOp::NotEq) => Ok(Value::Bool(!values_equal(&left, &right))),
        Op::Compare(op) => {
            let ordering = match (Cell::of(&left), Cell::of(&right)) {
                (Cell::Str(a), Cell::Str(b)) => Some(a.cmp(b)),
                _ => number(&left)?.partial_cmp(&number(&right)?),
            };
            Ok(Value::Bool(decides(op, ordering)))
        }
        Op::Matches => match (&left, &right) {
            (Value::Str(text), Value::Str(pattern)) => {
                Ok(Value::Bool(thalweg_core::go_regex::compile(pattern)?.is_match(text)))
            }
            _ => Err("=~ wants two texts".to_owned()),
        },
        Op::In => match &right {
            Value::List(items) => Ok(Value::Bool(items.iter().any(|item| values_equal(item, &left)))),
            _ => Err("in wants an array".to_owned()),
        },
        Op::Calculate(BinaryOp::Plus) if matches!((&left, &right), (Value::Str(_), Value::Str(_))) => {
            Ok(Value::text(format!(
                "{}{}",
                thalweg_core::cast::go_text(&left),
                thalweg_core::cast::go_text(&right)
            )))
        }
        Op::Calculate(op) => {
            let (a, b) = (number(&left)?, number(&right)?);
            Ok(Value::Float(match op {
                BinaryOp::Plus => a + b,
                BinaryOp::Minus => a - b,
                BinaryOp::Multiply => a * b,
                BinaryOp::Divide => a / b,
                _ => a % b,
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_core::json::{Numbers, parse};

    #[test]
    fn paths_of_section_12_find_what_they_name() {
        let text = br#"{"a":{"b":[1,2,3]},"s":"x","n":null,"e":[],"r":[{"k":1,"t":"p"},{"k":5,"t":"q"}],"z":0,"odd key":7}"#;
        let root = parse(text, Numbers::Float).expect("JSON");
        for (path, expected) in [
            ("$.a.b", "[1,2,3]"),
            ("$.a.b[1]", "2"),
            ("$.s", "\"x\""),
            ("$[\"odd key\"]", "7"),
            ("$['s']", "\"x\""),
            ("$.r[*].k", "[1,5]"),
            ("$.a.b[0:2]", "[1,2]"),
            ("$.a.b[-2:]", "[2,3]"),
            ("$.a.b[::2]", "[1,3]"),
            ("$.a.b[0,2]", "[1,3]"),
            ("$..k", "[1,5]"),
            ("$.r[? @.k<2].t", "[\"p\"]"),
            ("$.r[?(@.k > 2 && @.t == \"q\")].t", "[\"q\"]"),
            ("$.r[?(@.missing > 2)].t", "[]"),
            ("$.r[?(@.t =~ \"^p\")].k", "[1]"),
            ("$.r[?(@.k in [5, 6])].t", "[\"q\"]"),
            ("$.r[?(@.k * 2 - 1 == 9 || !(@.k < 9))].t", "[\"q\"]"),
            ("$.r[?(@.k == $.a.b[0])].t", "[\"p\"]"),
            ("$.a.*", "[[1,2,3]]"),
            ("$.n", "null"),
            ("$.z + 4", "4"),
            ("1+1", "2"),
            ("z", "0"),
        ] {
            let found = Path::parse(path).and_then(|path| path.find(&root)).expect(path);
            let expected = parse(expected.as_bytes(), Numbers::Float).expect("JSON");
            assert!(values_equal(&found, &expected), "{path}: {found:?}");
        }
        for path in ["$.zz", "$.a.b[9]", "$.a.b[-1]", "$.s.t", "$.s > 1", "q"] {
            let path = Path::parse(path).expect(path);
            assert!(path.find(&root).is_err(), "{path:?}");
        }
        for path in ["", "$.", "$.[", "$[", "$.a b", "$.a[?(@.x]", "$['a", "((((", "$.a[0:1:0]"] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
        assert!(Path::parse(&"(".repeat(100_000)).is_err());
    }
}
