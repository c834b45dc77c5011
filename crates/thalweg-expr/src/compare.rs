//! `= != < <= > >=`, BETWEEN and IN (O-4, O-6, O-8, O-9). The rules themselves are `core/compare.rs`.

use thalweg_core::cast::{described, kind_name};
use thalweg_core::compare::{decides, holds};
use thalweg_core::{BinaryOp, Cell, Column, ColumnRef, RowError, Selection, Tag, Value};

use crate::expr::EvalCx;
use crate::kernel::{self, Lane, Lanes, is_dense, lanes, whole, zip};

/// A comparison of two columns.
pub(crate) fn compare(
    op: BinaryOp,
    left: &ColumnRef<'_>,
    right: &ColumnRef<'_>,
    (rows, n_rows): (&Selection, usize),
    cx: &EvalCx<'_>,
) -> ColumnRef<'static> {
    if is_dense(rows, n_rows)
        && let Some(lanes) = lanes(left, right)
    {
        let bools = match &lanes {
            Lanes::Ints(a, b) => by_operator(op, a, b),
            Lanes::Floats(a, b) => by_operator(op, a, b),
        };
        return whole(Column::from_bools(bools), left, right);
    }
    if let Some(column) = with_text(op, left, right, rows, n_rows) {
        return column;
    }
    plain(op, left, right, (rows, n_rows), cx)
}

/// One loop an operator, so that each is tight.
fn by_operator<T: Copy + PartialOrd>(op: BinaryOp, a: &Lane<'_, T>, b: &Lane<'_, T>) -> Vec<bool> {
    match op {
        BinaryOp::Eq => zip(a, b, |a, b| a == b),
        BinaryOp::NotEq => zip(a, b, |a, b| a != b),
        BinaryOp::Lt => zip(a, b, |a, b| a < b),
        BinaryOp::LtEq => zip(a, b, |a, b| a <= b),
        BinaryOp::Gt => zip(a, b, |a, b| a > b),
        _ => zip(a, b, |a, b| a >= b),
    }
}

/// A column of text only against one constant text.
fn with_text(
    op: BinaryOp,
    left: &ColumnRef<'_>,
    right: &ColumnRef<'_>,
    rows: &Selection,
    n_rows: usize,
) -> Option<ColumnRef<'static>> {
    let uniform = left.column().seen().only(Tag::Str) && !left.is_constant() && right.is_constant();
    // A batch without rows has only its constants to look at.
    if !uniform {
        return None;
    }
    let Cell::Str(wanted) = right.cell(0) else {
        return None;
    };
    let compare = |row: usize| match left.cell(row) {
        Cell::Str(text) if matches!(op, BinaryOp::Eq | BinaryOp::NotEq) => {
            (text == wanted) == (op == BinaryOp::Eq)
        }
        Cell::Str(text) => decides(op, Some(text.as_bytes().cmp(wanted.as_bytes()))),
        _ => false,
    };
    let bools = Column::from_bools(rows.iter().map(compare));
    Some(ColumnRef::owned(bools.spread(rows, n_rows)))
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
        push_bool(out, checked(op, left.cell(row), right.cell(row), cx));
    })
}

/// [`holds`], with errors of the operands first.
pub(crate) fn checked(
    op: BinaryOp,
    left: Cell<'_>,
    right: Cell<'_>,
    cx: &EvalCx<'_>,
) -> Result<bool, RowError> {
    match (left, right) {
        (Cell::Error(error), _) | (_, Cell::Error(error)) => Err(error.clone()),
        (left, right) => holds(op, &left, &right, cx.zone),
    }
}

pub(crate) fn push_bool(out: &mut Column, result: Result<bool, RowError>) {
    match result {
        Ok(value) => out.push_bool(value),
        Err(error) => out.push_error(error),
    }
}

/// `x [NOT] BETWEEN low AND high`: any null part gives false, for both forms (O-9).
pub(crate) fn between(
    negated: bool,
    [value, low, high]: [&ColumnRef<'_>; 3],
    (rows, n_rows): (&Selection, usize),
    cx: &EvalCx<'_>,
) -> ColumnRef<'static> {
    let constant = value.is_constant() && low.is_constant() && high.is_constant();
    kernel::per_row(constant, rows, n_rows, |row, out| {
        let (value, low, high) = (value.cell(row), low.cell(row), high.cell(row));
        let holds = |op, bound: Cell<'_>| match checked(op, value, bound, cx) {
            Err(RowError::InvalidOperation(_)) => {
                let text = format!(
                    "between operator cannot compare {} and {}",
                    described(&value),
                    described(&bound)
                );
                Err(RowError::text(text))
            }
            other => other,
        };
        let above = holds(BinaryOp::GtEq, low);
        let inside = above.and_then(|above| Ok(holds(BinaryOp::LtEq, high)? && above));
        let nothing = [value, low, high].iter().any(Cell::is_nothing);
        push_bool(out, inside.map(|inside| !nothing && inside != negated));
    })
}

/// `x [NOT] IN (…)`: from left to right, the first match wins over later errors (O-8).
pub(crate) fn in_list(
    negated: bool,
    value: &ColumnRef<'_>,
    list: &[ColumnRef<'_>],
    (rows, n_rows): (&Selection, usize),
    cx: &EvalCx<'_>,
) -> ColumnRef<'static> {
    let constant = value.is_constant() && list.iter().all(ColumnRef::is_constant);
    kernel::per_row(constant, rows, n_rows, |row, out| {
        let members = list.iter().map(|member| member.cell(row));
        push_bool(out, contains(negated, value.cell(row), members, cx));
    })
}

fn contains<'a>(
    negated: bool,
    value: Cell<'_>,
    members: impl Iterator<Item = Cell<'a>>,
    cx: &EvalCx<'_>,
) -> Result<bool, RowError> {
    if let Cell::Error(error) = value {
        return Err(error.clone());
    }
    if value.is_nothing() {
        return Ok(false);
    }
    for member in members {
        if checked(BinaryOp::Eq, value, member, cx)? {
            return Ok(!negated);
        }
    }
    Ok(negated)
}

/// `x [NOT] IN y`: y is a list; null holds nothing; any other kind is an error (O-8).
pub(crate) fn in_array(
    negated: bool,
    value: &ColumnRef<'_>,
    array: &ColumnRef<'_>,
    (rows, n_rows): (&Selection, usize),
    cx: &EvalCx<'_>,
) -> ColumnRef<'static> {
    let constant = value.is_constant() && array.is_constant();
    kernel::per_row(constant, rows, n_rows, |row, out| {
        let (value, array) = (value.cell(row), array.cell(row));
        push_bool(out, in_cell(negated, value, array, cx));
    })
}

fn in_cell(negated: bool, value: Cell<'_>, array: Cell<'_>, cx: &EvalCx<'_>) -> Result<bool, RowError> {
    match (value, array) {
        (Cell::Error(error), _) | (_, Cell::Error(error)) => return Err(error.clone()),
        (value, _) if value.is_nothing() => return Ok(false),
        (_, array) if array.is_nothing() => return Ok(negated),
        _ => {}
    }
    match array.to_value() {
        Value::List(items) => contains(negated, value, items.iter().map(Cell::of), cx),
        _ => {
            let op = if negated { "NOT IN" } else { "IN" };
            let text =
                format!("{} {op} {}: the right side is not an array", described(&value), described(&array));
            Err(RowError::InvalidOperation(text.into()))
        }
    }
}

/// The error of a condition that is not a boolean.
pub(crate) fn not_a_condition(cell: &Cell<'_>) -> RowError {
    let value = thalweg_core::cast::go_text(&cell.to_value());
    RowError::text(format!("invalid condition that returns non-bool value {}({value})", kind_name(cell)))
}
