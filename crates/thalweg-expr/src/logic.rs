//! AND, OR, NOT and CASE: the right side and the branches are evaluated only for the rows that reach them (O-5, O-11).

use thalweg_core::cast::{described, invalid_operation};
use thalweg_core::{Batch, BinaryOp, Cell, Column, ColumnRef, RowError, Selection, Tag};

use crate::compare;
use crate::expr::{EvalCx, Expr};
use crate::kernel;

/// AND, OR. Null is false on either side (decisions.md O-4, O-5).
pub(crate) fn and_or(
    op: BinaryOp,
    (left, right): (&Expr, &Expr),
    batch: &Batch,
    rows: &Selection,
    cx: &mut EvalCx<'_>,
) -> ColumnRef<'static> {
    // The value of the left side that decides alone.
    let decisive = op == BinaryOp::Or;
    let left = left.eval(batch, rows, cx);
    let undecided: Vec<u32> =
        rows.iter().filter(|row| needs_right(left.cell(*row), decisive)).map(|row| row as u32).collect();
    if undecided.is_empty() && left.column().seen().only(Tag::Bool) {
        return match left.is_constant() {
            true => kernel::constant(left.cell(0)),
            false => ColumnRef::owned(left.into_column(batch.n_rows)),
        };
    }
    let undecided = Selection::rows(undecided);
    let right = right.eval(batch, &undecided, cx);
    kernel::per_row(false, rows, batch.n_rows, |row, out| match left.cell(row) {
        Cell::Error(error) => out.push_error(error.clone()),
        first if !needs_right(first, decisive) => out.push_bool(decisive),
        first => compare::push_bool(out, both(op, first, right.cell(row))),
    })
}

fn needs_right(left: Cell<'_>, decisive: bool) -> bool {
    match left {
        Cell::Error(_) => false,
        Cell::Missing | Cell::Null => decisive,
        Cell::Bool(value) => value != decisive,
        _ => true,
    }
}

/// The left side did not decide alone.
fn both(op: BinaryOp, left: Cell<'_>, right: Cell<'_>) -> Result<bool, RowError> {
    match (left, right) {
        (_, Cell::Error(error)) => Err(error.clone()),
        (Cell::Missing | Cell::Null | Cell::Bool(_), Cell::Bool(value)) => Ok(value),
        (Cell::Missing | Cell::Null | Cell::Bool(_), Cell::Missing | Cell::Null) => Ok(false),
        (left, right) => Err(invalid_operation(&left, op, &right)),
    }
}

/// NOT; of null it is null.
pub(crate) fn not(value: &ColumnRef<'_>, rows: &Selection, n_rows: usize) -> ColumnRef<'static> {
    kernel::per_row(value.is_constant(), rows, n_rows, |row, out| match value.cell(row) {
        Cell::Bool(value) => out.push_bool(!value),
        Cell::Missing | Cell::Null => out.push_null(),
        Cell::Error(error) => out.push_error(error.clone()),
        other => out.push_error(RowError::InvalidOperation(format!("NOT {}", described(&other)).into())),
    })
}

/// The parts of a CASE.
pub(crate) struct Case<'a> {
    pub(crate) value: Option<&'a Expr>,
    pub(crate) arms: &'a [(Expr, Expr)],
    pub(crate) otherwise: Option<&'a Expr>,
}

/// CASE. A row that fails in a WHEN ends there.
pub(crate) fn case<'a>(
    case: &Case<'a>,
    batch: &'a Batch,
    rows: &Selection,
    cx: &mut EvalCx<'_>,
) -> ColumnRef<'static> {
    let value = case.value.map(|value| value.eval(batch, rows, cx));
    let mut left: Vec<u32> = rows.iter().map(|row| row as u32).collect();
    let mut results: Vec<ColumnRef<'_>> = vec![kernel::constant(Cell::Null)];
    let mut choice = vec![0u32; batch.n_rows];
    let mut failed: Vec<(u32, RowError)> = Vec::new();
    for (when, then) in case.arms {
        if left.is_empty() {
            break;
        }
        let reached = Selection::rows(left);
        let condition = when.eval(batch, &reached, cx);
        let (mut taken, mut next) = (Vec::new(), Vec::new());
        for row in reached.iter() {
            match is_taken(value.as_ref().map(|value| value.cell(row)), condition.cell(row), cx) {
                Ok(true) => taken.push(row as u32),
                Ok(false) => next.push(row as u32),
                Err(error) => {
                    let text = format!("evaluate case expression error: {error}");
                    failed.push((row as u32, RowError::text(text)));
                }
            }
        }
        taken.iter().for_each(|row| choice[*row as usize] = results.len() as u32);
        results.push(then.eval(batch, &Selection::rows(taken), cx));
        left = next;
    }
    if let Some(otherwise) = case.otherwise.filter(|_| !left.is_empty()) {
        left.iter().for_each(|row| choice[*row as usize] = results.len() as u32);
        results.push(otherwise.eval(batch, &Selection::rows(left), cx));
    }
    failed.sort_unstable_by_key(|(row, _)| *row);
    assemble(&results, &choice, &failed, rows)
}

fn is_taken(value: Option<Cell<'_>>, when: Cell<'_>, cx: &EvalCx<'_>) -> Result<bool, RowError> {
    match (value, when) {
        (Some(value), when) => compare::checked(BinaryOp::Eq, value, when, cx),
        (None, Cell::Error(error)) => Err(error.clone()),
        (None, when) => Ok(when == Cell::Bool(true)),
    }
}

fn assemble(
    results: &[ColumnRef<'_>],
    choice: &[u32],
    failed: &[(u32, RowError)],
    rows: &Selection,
) -> ColumnRef<'static> {
    let mut column = Column::new();
    for row in rows {
        match failed.binary_search_by_key(&(row as u32), |(row, _)| *row) {
            Ok(at) => column.push_error(failed[at].1.clone()),
            Err(_) => column.push_cell(results[choice[row] as usize].cell(row)),
        }
    }
    ColumnRef::owned(column.spread(rows, choice.len()))
}
