//! The one set of comparison and ordering rules.
//!
//! Four questions, four answers: the operators `= != < <= > >=` ([`holds`], O-6), sorting ([`for_sorting`], Q-13),
//! equality of values inside functions and keys ([`equal`], S1), and the bytes of a group key ([`push_key`], Q-6).
//! The last two agree: cells are equal if and only if their key bytes are.

use std::cmp::Ordering;

use chrono_tz::Tz;

use crate::cast::{self, invalid_operation, kind_name};
use crate::column::Cell;
use crate::error::RowError;
use crate::moment;
use crate::operator::BinaryOp;
use crate::value::Value;

/// Whether a comparison operator holds. Null and missing operands: false, also for `!=` (O-4).
///
/// # Errors
/// Kinds that do not go together (O-6).
pub fn holds(op: BinaryOp, left: &Cell<'_>, right: &Cell<'_>, zone: Tz) -> Result<bool, RowError> {
    if left.is_nothing() || right.is_nothing() {
        return Ok(false);
    }
    let invalid = || invalid_operation(left, op, right);
    let ordering = match (left, right) {
        (Cell::Int(a), Cell::Int(b)) => Some(a.cmp(b)),
        (Cell::Int(_) | Cell::Float(_), Cell::Int(_) | Cell::Float(_)) => {
            cast::number(left).partial_cmp(&cast::number(right))
        }
        (Cell::Str(a), Cell::Str(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Cell::Bool(a), Cell::Bool(b)) if matches!(op, BinaryOp::Eq | BinaryOp::NotEq) => Some(a.cmp(b)),
        (Cell::Time(a), Cell::Time(b)) => Some(a.cmp(b)),
        (Cell::Time(a), Cell::Int(b)) => Some(a.0.cmp(b)),
        (Cell::Time(a), Cell::Float(b)) => Some(a.0.cmp(&(*b as i64))),
        (Cell::Time(a), Cell::Str(b)) => Some(a.cmp(&moment::parse(b, zone).ok_or_else(invalid)?)),
        _ => return Err(invalid()),
    };
    Ok(decides(op, ordering))
}

/// What an operator says of an ordering; `None` is that of NaN.
#[inline]
pub fn decides(op: BinaryOp, ordering: Option<Ordering>) -> bool {
    match op {
        BinaryOp::Eq => ordering == Some(Ordering::Equal),
        BinaryOp::NotEq => ordering != Some(Ordering::Equal),
        BinaryOp::Lt => ordering == Some(Ordering::Less),
        BinaryOp::LtEq => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
        BinaryOp::Gt => ordering == Some(Ordering::Greater),
        BinaryOp::GtEq => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
        _ => false,
    }
}

/// The order of two sort keys: null and missing come last in both directions and tie with each other, false
/// comes before true, NaN after all numbers. The caller sorts stably.
///
/// # Errors
/// Kinds that do not go together, or that have no order.
pub fn for_sorting(left: &Cell<'_>, right: &Cell<'_>, descending: bool) -> Result<Ordering, RowError> {
    match (left.is_nothing(), right.is_nothing()) {
        (true, true) => return Ok(Ordering::Equal),
        (true, false) => return Ok(Ordering::Greater),
        (false, true) => return Ok(Ordering::Less),
        (false, false) => {}
    }
    let ordering = match (left, right) {
        (Cell::Int(a), Cell::Int(b)) => a.cmp(b),
        (Cell::Int(_) | Cell::Float(_), Cell::Int(_) | Cell::Float(_)) => {
            let (a, b) = (cast::number(left).unwrap_or(f64::NAN), cast::number(right).unwrap_or(f64::NAN));
            a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        }
        (Cell::Str(a), Cell::Str(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Cell::Bool(a), Cell::Bool(b)) => a.cmp(b),
        (Cell::Time(a), Cell::Time(b)) => a.cmp(b),
        _ => {
            let text =
                format!("incompatible types for comparison: {} and {}", kind_name(left), kind_name(right));
            return Err(RowError::text(text));
        }
    };
    Ok(if descending { ordering.reverse() } else { ordering })
}

/// Whether two cells are the same value: numbers by value whatever their kind (S1, S52), null is missing,
/// lists and maps deeply. Never true for errors.
pub fn equal(left: &Cell<'_>, right: &Cell<'_>) -> bool {
    match (left, right) {
        (Cell::Missing | Cell::Null, Cell::Missing | Cell::Null) => true,
        (Cell::Bool(a), Cell::Bool(b)) => a == b,
        (Cell::Int(a), Cell::Int(b)) => a == b,
        (Cell::Float(a), Cell::Float(b)) => a == b || a.is_nan() && b.is_nan(),
        (Cell::Int(a), Cell::Float(b)) | (Cell::Float(b), Cell::Int(a)) => cast::whole(*b) == Some(*a),
        (Cell::Str(a), Cell::Str(b)) => a == b,
        (Cell::Bytes(a), Cell::Bytes(b)) => a == b,
        (Cell::Time(a), Cell::Time(b)) => a == b,
        (Cell::Json(_) | Cell::Value(_), Cell::Json(_) | Cell::Value(_)) => {
            values_equal(&left.to_value(), &right.to_value())
        }
        _ => false,
    }
}

/// [`equal`] for values.
pub fn values_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| values_equal(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            let same = |((a, x), (b, y)): ((_, &Value), (_, &Value))| a == b && values_equal(x, y);
            a.len() == b.len() && a.iter().zip(b.iter()).all(same)
        }
        (Value::List(_) | Value::Map(_), _) | (_, Value::List(_) | Value::Map(_)) => false,
        _ => equal(&Cell::of(left), &Cell::of(right)),
    }
}

/// Appends the canonical bytes of a cell: equal cells give equal bytes, and no cell's bytes are the beginning of
/// another's, so that the bytes of several cells in a row are a key (Q-6, S48).
pub fn push_key(cell: &Cell<'_>, out: &mut Vec<u8>) {
    match *cell {
        Cell::Missing | Cell::Null | Cell::Error(_) => out.push(b'0'),
        Cell::Bool(value) => out.extend_from_slice(&[b'b', u8::from(value)]),
        Cell::Int(value) => push_word(b'i', value as u64, out),
        Cell::Float(value) => match cast::whole(value) {
            Some(whole) => push_word(b'i', whole as u64, out),
            None if value.is_nan() => push_word(b'f', f64::NAN.to_bits(), out),
            None => push_word(b'f', value.to_bits(), out),
        },
        Cell::Str(value) => push_bytes(b's', value.as_bytes(), out),
        Cell::Bytes(value) => push_bytes(b'y', value, out),
        Cell::Time(value) => push_word(b't', value.0 as u64, out),
        Cell::Json(_) => push_value_key(&cell.to_value(), out),
        Cell::Value(value) => push_value_key(value, out),
    }
}

fn push_value_key(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::List(items) => {
            push_word(b'l', items.len() as u64, out);
            items.iter().for_each(|item| push_value_key(item, out));
        }
        Value::Map(fields) => {
            push_word(b'm', fields.len() as u64, out);
            for (name, item) in fields.iter() {
                push_bytes(b's', name.as_bytes(), out);
                push_value_key(item, out);
            }
        }
        scalar => push_key(&Cell::of(scalar), out),
    }
}

fn push_word(kind: u8, word: u64, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&word.to_le_bytes());
}

fn push_bytes(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    push_word(kind, bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use crate::value::Fields;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn check(op: BinaryOp, left: Cell<'_>, right: Cell<'_>) -> Option<bool> {
        holds(op, &left, &right, Tz::UTC).ok()
    }

    #[test]
    fn comparison_follows_o4_and_o6() {
        use BinaryOp::{Eq, Gt, Lt, NotEq};
        assert_eq!(check(Eq, Cell::Int(1), Cell::Float(1.0)), Some(true));
        assert_eq!(check(NotEq, Cell::Null, Cell::Int(1)), Some(false));
        assert_eq!(check(Eq, Cell::Missing, Cell::Null), Some(false));
        assert_eq!(check(Lt, Cell::Str("a"), Cell::Str("b")), Some(true));
        assert_eq!(check(Gt, Cell::Bool(true), Cell::Bool(false)), None);
        assert_eq!(check(Eq, Cell::Float(3.0), Cell::Str("x")), None);
        assert_eq!(check(Eq, Cell::Time(Timestamp(5)), Cell::Float(5.7)), Some(true));
        assert_eq!(check(Eq, Cell::Float(5.0), Cell::Time(Timestamp(5))), None);
        assert_eq!(check(Eq, Cell::Time(Timestamp(0)), Cell::Str("1970-01-01 00:00:00")), Some(true));
        assert_eq!(check(NotEq, Cell::Float(f64::NAN), Cell::Float(f64::NAN)), Some(true));
        assert_eq!(check(Eq, Cell::Json(b"[1]"), Cell::Json(b"[1]")), None);
    }

    #[test]
    fn nulls_sort_last_in_both_directions_and_kinds_may_not_mix() {
        for descending in [false, true] {
            let order = for_sorting(&Cell::Null, &Cell::Int(1), descending);
            assert_eq!(order, Ok(Ordering::Greater));
        }
        assert_eq!(for_sorting(&Cell::Missing, &Cell::Null, true), Ok(Ordering::Equal));
        assert_eq!(for_sorting(&Cell::Bool(false), &Cell::Bool(true), true), Ok(Ordering::Greater));
        let error = for_sorting(&Cell::Float(1.0), &Cell::Str("a"), false).map_err(|error| error.to_string());
        assert_eq!(error, Err("incompatible types for comparison: float64 and string".to_owned()));
    }

    #[test]
    fn keys_are_typed_and_raw_json_equals_its_value() {
        let map = Value::map(Fields::from([(Arc::from("a"), Value::Int(1))]));
        let mut keys = Vec::new();
        for cell in [Cell::Json(b"{ \"a\" : 1.0 }"), Cell::Value(&map)] {
            let mut key = Vec::new();
            push_key(&cell, &mut key);
            keys.push(key);
        }
        assert_eq!(keys[0], keys[1]);
        assert!(equal(&Cell::Json(b"{\"a\":1}"), &Cell::Value(&map)));
        assert!(!equal(&Cell::Int(1), &Cell::Str("1")));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-3i64..3).prop_map(Value::Int),
            any::<i64>().prop_map(Value::Int),
            (-6i32..6).prop_map(|half| Value::Float(f64::from(half) / 2.0)),
            any::<f64>().prop_map(Value::Float),
            "[ab]{0,2}".prop_map(Value::text),
            (0i64..3).prop_map(|time| Value::Time(Timestamp(time))),
        ];
        scalar.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::list),
                prop::collection::btree_map("[ab]", inner, 0..3)
                    .prop_map(|map| Value::map(map.into_iter().map(|(k, v)| (Arc::from(k), v)).collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn equality_and_key_bytes_agree(a in any_value(), b in any_value()) {
            let (mut x, mut y) = (Vec::new(), Vec::new());
            push_key(&Cell::of(&a), &mut x);
            push_key(&Cell::of(&b), &mut y);
            prop_assert_eq!(values_equal(&a, &b), x == y);
            prop_assert!(x == y || !x.starts_with(&y));
        }
    }
}
