//! Arithmetic over uniform numbers in one column: each step is taken where the one before it has left its results, so
//! that `temperature * 1.8 + 32` needs one column, which the caller may use again for the next batch.

use std::borrow::Cow;

use thalweg_core::{Batch, BinaryOp, Column, Selection, Value};

use crate::expr::Expr;
use crate::kernel::{Lane, is_dense};

/// A uniform number column, or a number.
pub(crate) enum Numbers<'a> {
    Ints(Lane<'a, i64>),
    Floats(Lane<'a, f64>),
}

impl<'a> Numbers<'a> {
    pub(crate) fn into_floats(self) -> Lane<'a, f64> {
        match self {
            Self::Floats(lane) => lane,
            Self::Ints(Lane::One(value)) => Lane::One(value as f64),
            Self::Ints(Lane::Many(values)) => Lane::Many(values.iter().map(|value| *value as f64).collect()),
        }
    }
}

/// The numbers of a column or literal as they lie there. A literal needs no column of its own, which counts when a
/// batch has few rows.
#[inline]
pub(crate) fn numbers<'a>(expr: &Expr, batch: &'a Batch) -> Option<Numbers<'a>> {
    match expr {
        Expr::Literal(literal) => match literal.value() {
            Value::Int(value) => Some(Numbers::Ints(Lane::One(*value))),
            Value::Float(value) => Some(Numbers::Floats(Lane::One(*value))),
            _ => None,
        },
        Expr::Column(slot) => {
            let column = batch.columns.get(slot.index())?;
            match column.ints() {
                Some(values) => Some(Numbers::Ints(Lane::Many(Cow::Borrowed(values)))),
                None => Some(Numbers::Floats(Lane::Many(Cow::Borrowed(column.floats()?)))),
            }
        }
        _ => None,
    }
}

/// Computes arithmetic for the whole column. `None`: the operands are not numbers throughout, a zero divides, few rows
/// are selected of something dear, or both sides of an operator are computed; what is in `out` then means nothing.
pub(crate) fn compute(expr: &Expr, batch: &Batch, rows: &Selection, out: &mut Column) -> Option<()> {
    match expr {
        Expr::Binary(op, ..) if is_arithmetic(*op) && (is_cheap(expr) || is_dense(rows, batch.n_rows)) => {
            fill(expr, batch, out)
        }
        _ => None,
    }
}

/// Whether computing rows that are not selected costs less than making a column for those that are.
fn is_cheap(expr: &Expr) -> bool {
    match expr {
        Expr::Binary(op, left, right) => {
            !matches!(op, BinaryOp::Divide | BinaryOp::Modulo) && is_cheap(left) && is_cheap(right)
        }
        _ => true,
    }
}

fn is_arithmetic(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Plus
            | BinaryOp::Minus
            | BinaryOp::Multiply
            | BinaryOp::Divide
            | BinaryOp::Modulo
            | BinaryOp::BitAnd
            | BinaryOp::BitOr
            | BinaryOp::BitXor
    )
}

fn fill(expr: &Expr, batch: &Batch, out: &mut Column) -> Option<()> {
    match expr {
        Expr::Column(slot) => {
            let column = batch.columns.get(slot.index())?;
            (column.floats().is_some() || column.ints().is_some()).then(|| out.copy_numbers(column))
        }
        Expr::Binary(op, left, right) if is_arithmetic(*op) => {
            // What is simple is the other operand of what is computed in place.
            let is_swapped = matches!(**left, Expr::Literal(_)) || numbers(right, batch).is_none();
            let (own, other) = if is_swapped { (right, left) } else { (left, right) };
            let other = numbers(other, batch)?;
            fill(own, batch, out)?;
            apply(*op, out, other, is_swapped)
        }
        _ => None,
    }
}

/// `out op other`, or `other op out`; integers with integers stay such, mixed pairs become floats (O-2).
fn apply(op: BinaryOp, out: &mut Column, other: Numbers<'_>, is_swapped: bool) -> Option<()> {
    if out.ints().is_none() {
        return floats(op, out.floats_mut()?, &other.into_floats(), is_swapped);
    }
    match other {
        Numbers::Ints(other) => ints(op, out.ints_mut()?, &other, is_swapped),
        Numbers::Floats(other) => {
            out.ints_to_floats();
            floats(op, out.floats_mut()?, &other, is_swapped)
        }
    }
}

fn ints(op: BinaryOp, values: &mut [i64], other: &Lane<'_, i64>, is_swapped: bool) -> Option<()> {
    let divides = matches!(op, BinaryOp::Divide | BinaryOp::Modulo);
    if divides && if is_swapped { values.contains(&0) } else { other.contains(0) } {
        return None;
    }
    let each = (values, other, is_swapped);
    match op {
        BinaryOp::Plus => in_place(each, i64::wrapping_add),
        BinaryOp::Minus => in_place(each, i64::wrapping_sub),
        BinaryOp::Multiply => in_place(each, i64::wrapping_mul),
        BinaryOp::Divide => in_place(each, i64::wrapping_div),
        BinaryOp::Modulo => in_place(each, i64::wrapping_rem),
        BinaryOp::BitAnd => in_place(each, |a, b| a & b),
        BinaryOp::BitOr => in_place(each, |a, b| a | b),
        BinaryOp::BitXor => in_place(each, |a, b| a ^ b),
        _ => return None,
    }
    Some(())
}

fn floats(op: BinaryOp, values: &mut [f64], other: &Lane<'_, f64>, is_swapped: bool) -> Option<()> {
    let divides = matches!(op, BinaryOp::Divide | BinaryOp::Modulo);
    if divides && if is_swapped { values.contains(&0.0) } else { other.contains(0.0) } {
        return None;
    }
    let each = (values, other, is_swapped);
    match op {
        BinaryOp::Plus => in_place(each, |a, b| a + b),
        BinaryOp::Minus => in_place(each, |a, b| a - b),
        BinaryOp::Multiply => in_place(each, |a, b| a * b),
        BinaryOp::Divide => in_place(each, |a, b| a / b),
        BinaryOp::Modulo => in_place(each, |a, b| a % b),
        _ => return None,
    }
    Some(())
}

#[inline]
fn in_place<T: Copy>((values, other, is_swapped): (&mut [T], &Lane<'_, T>, bool), op: impl Fn(T, T) -> T) {
    match (other, is_swapped) {
        (Lane::One(other), false) => values.iter_mut().for_each(|value| *value = op(*value, *other)),
        (Lane::One(other), true) => values.iter_mut().for_each(|value| *value = op(*other, *value)),
        (Lane::Many(other), false) => {
            values.iter_mut().zip(other.iter()).for_each(|(value, other)| *value = op(*value, *other));
        }
        (Lane::Many(other), true) => {
            values.iter_mut().zip(other.iter()).for_each(|(value, other)| *value = op(*other, *value));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{batch, cx, parse};

    proptest! {
        /// O-2 to O-4, O-7: a value does not depend on the way by which it is computed, or on what was there before.
        #[test]
        fn a_column_that_is_written_again_holds_what_a_new_one_would(
            numbers in prop::collection::vec(-3i64..4, 1..20),
            mask in any::<u64>(),
            is_masked: bool,
        ) {
            let n_rows = numbers.len();
            let mixed: Vec<Value> = numbers.iter().map(|number| match number {
                0 => Value::Null,
                1 => Value::Float(0.5),
                number => Value::Int(*number),
            }).collect();
            let batch = batch(vec![
                ("i", Column::from_ints(numbers.iter().copied())),
                ("f", Column::from_floats(numbers.iter().map(|number| *number as f64 / 2.0))),
                ("m", Column::from_values(&mixed)),
            ]);
            let bits = mask & (u64::MAX >> (64 - n_rows));
            let rows = if is_masked { Selection::mask(vec![bits], n_rows) } else { Selection::all(n_rows) };
            let mut out = Column::new();
            for text in [
                "f * 1.8 + 32", "i * 2 - 1", "2 - i * 3", "i / 2", "7 / i", "i % 2", "7.5 % f", "f / 2", "1 / f",
                "i + f", "f - i", "i * 1.5", "(i + f) * (f - i)", "i & 6", "6 | i", "i ^ i", "f & 1", "m + 1",
                "1 - m", "i", "f", "m", "3", "'x'", "i > 1", "f * 1.8 + m", "1 + 2", "i || f",
            ] {
                let expr = parse(text, &batch.schema);
                expr.eval_into(&batch, &rows, &mut cx(), &mut out);
                let plain = match &expr {
                    Expr::Binary(op, left, right) if is_arithmetic(*op) => {
                        let (left, right) =
                            (left.eval(&batch, &rows, &mut cx()), right.eval(&batch, &rows, &mut cx()));
                        crate::arith::plain(*op, &left, &right, (&rows, n_rows), &cx()).into_column(n_rows)
                    }
                    other => other.eval(&batch, &rows, &mut cx()).into_column(n_rows),
                };
                prop_assert_eq!(out.len(), n_rows);
                for row in &rows {
                    prop_assert_eq!(out.cell(row), plain.cell(row), "{} of row {}", text, row);
                }
            }
        }
    }

    #[test]
    fn arithmetic_in_steps_needs_no_second_column() {
        let batch = batch(vec![("f", Column::from_floats([10.0, 20.0]))]);
        let expr = parse("f * 1.8 + 32", &batch.schema);
        let mut out = Column::new();
        assert_eq!(compute(&expr, &batch, &Selection::all(2), &mut out), Some(()));
        assert_eq!(out.floats(), Some(&[50.0, 68.0][..]));
        let words = out.words().as_ptr();
        expr.eval_into(&batch, &Selection::all(2), &mut cx(), &mut out);
        assert_eq!(out.words().as_ptr(), words);
    }
}
