//! `+ - * / %`, `& | ^`, `||` and unary minus (O-2 to O-4, O-7, L-14, L-16).

use thalweg_core::cast::{self, described, invalid_operation};
use thalweg_core::{BinaryOp, Cell, Column, ColumnRef, RowError, Selection};

use crate::expr::EvalCx;
use crate::kernel::{self, Lanes, is_dense, lanes, whole, zip};

/// An arithmetic, bit or text operator over two columns.
pub(crate) fn binary(
    op: BinaryOp,
    left: &ColumnRef<'_>,
    right: &ColumnRef<'_>,
    (rows, n_rows): (&Selection, usize),
    cx: &EvalCx<'_>,
) -> ColumnRef<'static> {
    if is_dense(rows, n_rows)
        && let Some(column) = lanes(left, right).and_then(|lanes| uniform(op, &lanes))
    {
        return whole(column, left, right);
    }
    plain(op, left, right, (rows, n_rows), cx)
}

/// Slices of one kind. `None`: a zero divides, or the kinds do not go together; the plain path says so row by row.
fn uniform(op: BinaryOp, operands: &Lanes<'_>) -> Option<Column> {
    match operands {
        Lanes::Ints(a, b) => {
            let divides = matches!(op, BinaryOp::Divide | BinaryOp::Modulo);
            if divides && b.contains(0) {
                return None;
            }
            let values = match op {
                BinaryOp::Plus => zip(a, b, i64::wrapping_add),
                BinaryOp::Minus => zip(a, b, i64::wrapping_sub),
                BinaryOp::Multiply => zip(a, b, i64::wrapping_mul),
                BinaryOp::Divide => zip(a, b, i64::wrapping_div),
                BinaryOp::Modulo => zip(a, b, i64::wrapping_rem),
                BinaryOp::BitAnd => zip(a, b, |a, b| a & b),
                BinaryOp::BitOr => zip(a, b, |a, b| a | b),
                BinaryOp::BitXor => zip(a, b, |a, b| a ^ b),
                _ => return None,
            };
            Some(Column::from_ints(values))
        }
        Lanes::Floats(a, b) => {
            let values = match op {
                BinaryOp::Plus => zip(a, b, |a, b| a + b),
                BinaryOp::Minus => zip(a, b, |a, b| a - b),
                BinaryOp::Multiply => zip(a, b, |a, b| a * b),
                BinaryOp::Divide if !b.contains(0.0) => zip(a, b, |a, b| a / b),
                BinaryOp::Modulo if !b.contains(0.0) => zip(a, b, |a, b| a % b),
                _ => return None,
            };
            Some(Column::from_floats(values))
        }
    }
}

/// The same, cell by cell, for any kinds.
pub(crate) fn plain(
    op: BinaryOp,
    left: &ColumnRef<'_>,
    right: &ColumnRef<'_>,
    (rows, n_rows): (&Selection, usize),
    cx: &EvalCx<'_>,
) -> ColumnRef<'static> {
    let constant = left.is_constant() && right.is_constant();
    kernel::per_row(constant, rows, n_rows, |row, out| {
        if let Err(error) = push(op, left.cell(row), right.cell(row), out, cx) {
            out.push_error(error);
        }
    })
}

fn push(
    op: BinaryOp,
    left: Cell<'_>,
    right: Cell<'_>,
    out: &mut Column,
    cx: &EvalCx<'_>,
) -> Result<(), RowError> {
    match (left, right) {
        (Cell::Error(error), _) | (_, Cell::Error(error)) => return Err(error.clone()),
        (a, b) if a.is_nothing() || b.is_nothing() => {
            // O-4: bit operators of null are false, the others null.
            match op {
                BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor => out.push_bool(false),
                _ => out.push_null(),
            }
        }
        (a, b) if op == BinaryOp::Concat => {
            let mut text = cast::plain_text(&a.to_value(), cx.zone);
            text.push_str(&cast::plain_text(&b.to_value(), cx.zone));
            out.push_str(&text);
        }
        (Cell::Int(a), Cell::Int(b)) => out.push_int(integers(op, a, b)?),
        (Cell::Bool(a), Cell::Bool(b)) if op == BinaryOp::BitAnd => out.push_bool(a & b),
        (Cell::Bool(a), Cell::Bool(b)) if op == BinaryOp::BitOr => out.push_bool(a | b),
        (Cell::Bool(a), Cell::Bool(b)) if op == BinaryOp::BitXor => out.push_bool(a ^ b),
        (a, b) => {
            let result = cast::number(&a).zip(cast::number(&b)).and_then(|(x, y)| floats(op, x, y));
            out.push_float(result.unwrap_or_else(|| Err(invalid_operation(&a, op, &b)))?);
        }
    }
    Ok(())
}

fn integers(op: BinaryOp, a: i64, b: i64) -> Result<i64, RowError> {
    Ok(match op {
        BinaryOp::Plus => a.wrapping_add(b),
        BinaryOp::Minus => a.wrapping_sub(b),
        BinaryOp::Multiply => a.wrapping_mul(b),
        BinaryOp::Divide | BinaryOp::Modulo if b == 0 => return Err(RowError::DividedByZero),
        BinaryOp::Divide => a.wrapping_div(b),
        BinaryOp::Modulo => a.wrapping_rem(b),
        BinaryOp::BitAnd => a & b,
        BinaryOp::BitOr => a | b,
        BinaryOp::BitXor => a ^ b,
        _ => return Err(invalid_operation(&Cell::Int(a), op, &Cell::Int(b))),
    })
}

/// `None`: floats do not have this operator (O-7).
fn floats(op: BinaryOp, a: f64, b: f64) -> Option<Result<f64, RowError>> {
    Some(match op {
        BinaryOp::Plus => Ok(a + b),
        BinaryOp::Minus => Ok(a - b),
        BinaryOp::Multiply => Ok(a * b),
        BinaryOp::Divide | BinaryOp::Modulo if b == 0.0 => Err(RowError::DividedByZero),
        BinaryOp::Divide => Ok(a / b),
        BinaryOp::Modulo => Ok(a % b),
        _ => return None,
    })
}

/// `-x`.
pub(crate) fn negate(value: &ColumnRef<'_>, rows: &Selection, n_rows: usize) -> ColumnRef<'static> {
    kernel::per_row(value.is_constant(), rows, n_rows, |row, out| match value.cell(row) {
        Cell::Missing | Cell::Null => out.push_null(),
        Cell::Int(value) => out.push_int(value.wrapping_neg()),
        Cell::Float(value) => out.push_float(-value),
        Cell::Error(error) => out.push_error(error.clone()),
        other => out.push_error(RowError::InvalidOperation(format!("- {}", described(&other)).into())),
    })
}
