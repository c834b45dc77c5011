//! Literal paths into nested values: what `->name` and `[i]` give (O-12, O-14).
//!
//! Decoders fill slots of [`crate::Want::Path`] with exactly what the expression would have given over the whole
//! column, errors included: a path that ends in nothing is null, never missing.

use std::fmt;
use std::sync::Arc;

use crate::cast::go_text;
use crate::error::RowError;
use crate::value::{Fields, Value};

/// One step of a literal path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathStep {
    /// `->name`.
    Member(Arc<str>),
    /// `[i]`, counted from the front.
    Index(usize),
}

impl fmt::Display for PathStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(name) => write!(f, "->{name}"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// What stands at the end of a path.
///
/// # Errors
/// A member of a list, an item of what is no list, or an index past the end.
pub fn follow(value: &Value, steps: &[PathStep]) -> Result<Value, RowError> {
    let mut at = value;
    for step in steps {
        at = match (step, at) {
            (_, Value::Null) => return Ok(Value::Null),
            (PathStep::Member(name), Value::Map(members)) => match members.get(name) {
                Some(member) => member,
                None => return Ok(Value::Null),
            },
            (PathStep::Member(_), Value::List(_)) => return Err(no_object(at)),
            (PathStep::Member(_), _) => return Ok(Value::Null),
            (PathStep::Index(index), Value::List(items)) => {
                let len = items.len();
                items.get(*index).ok_or(RowError::OutOfIndex { index: *index as i64, len })?
            }
            (PathStep::Index(_), other) => return Err(no_list(other.kind_name())),
        };
    }
    Ok(at.clone())
}

/// A member whose name may be written in any case (C-1): the one of exactly this name, else the first in byte order.
pub fn in_any_case<'v>(members: &'v Fields, name: &str) -> Option<&'v Value> {
    let other = || members.iter().find(|(key, _)| is_same(key, name)).map(|(_, value)| value);
    members.get(name).or_else(other)
}

/// Whether two names differ in case only (C-1).
pub fn is_same(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() {
        return one.eq_ignore_ascii_case(other);
    }
    one.chars().flat_map(char::to_lowercase).eq(other.chars().flat_map(char::to_lowercase))
}

/// A member is asked of a list (O-14).
pub fn no_object(list: &Value) -> RowError {
    RowError::text(format!("the result {} is not a type of map[string]interface{{}}", go_text(list)))
}

/// An item is asked of something of this kind (O-12).
pub fn no_list(kind: &str) -> RowError {
    RowError::text(format!("[] is an invalid operation for {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Numbers, parse};

    #[test]
    fn o_12_and_o_14_hold_for_every_kind_of_value() {
        let value = parse(br#"{"o":{"p":{"q":7}},"arr":[{"x":1},2],"s":"t","n":null}"#, Numbers::Float);
        let value = value.expect("it is JSON");
        let member = |name: &str| PathStep::Member(Arc::from(name));
        let text = |steps: &[PathStep]| match follow(&value, steps) {
            Ok(found) => go_text(&found),
            Err(why) => format!("ERR {why}"),
        };
        let (list, object) = (member("arr"), member("o"));
        for (steps, expected) in [
            (vec![object.clone(), member("p"), member("q")], "7"),
            (vec![list.clone(), PathStep::Index(0), member("x")], "1"),
            (vec![member("s"), member("x")], "<nil>"),
            (vec![member("n"), PathStep::Index(4), member("x")], "<nil>"),
            (vec![member("zz"), PathStep::Index(4)], "<nil>"),
            (vec![list.clone(), PathStep::Index(2)], "ERR out of index: 2 of 2"),
            (vec![object, PathStep::Index(0)], "ERR [] is an invalid operation for map[string]interface {}"),
            (vec![member("s"), PathStep::Index(0)], "ERR [] is an invalid operation for string"),
        ] {
            assert_eq!(text(&steps), expected, "{steps:?}");
        }
        assert!(text(&[list, member("x")]).starts_with("ERR the result [map["));
    }
}
