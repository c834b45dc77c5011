//! Conditions as row lists. Comparisons of uniform columns never become a column of booleans: the loop writes the
//! numbers of the rows that pass. AND hands the survivors of its left side to its right one (hot-path.md 7.3).

use std::cmp::Ordering;

use thalweg_core::cast::invalid_operation;
use thalweg_core::selection::Live;
use thalweg_core::{Batch, BinaryOp, Cell, ColumnRef, RowError, Selection, Tag, Value};

use crate::compare::not_a_condition;
use crate::expr::{EvalCx, Expr};
use crate::kernel::Lane;
use crate::numbers::{Numbers, numbers};

/// What a condition says of the selected rows.
#[derive(Debug, Default, PartialEq)]
pub struct Filtered {
    /// Rows for which it is true, ascending.
    pub passed: Vec<u32>,
    /// Rows that fail, ascending: the cause without the clause's prefix.
    pub failed: Vec<(u32, RowError)>,
}

impl Expr {
    /// The rows for which this condition is true. Null and false drop a row; any other kind fails it.
    pub fn filter(&self, batch: &Batch, rows: &Selection, cx: &mut EvalCx<'_>) -> Filtered {
        let mut said = Filtered::default();
        self.filter_into(batch, rows, cx, &mut said);
        said
    }

    /// The same in lists that are written again for each batch.
    pub fn filter_into(&self, batch: &Batch, rows: &Selection, cx: &mut EvalCx<'_>, said: &mut Filtered) {
        said.failed.clear();
        if self.narrow(batch, rows, cx, &mut said.passed) {
            return;
        }
        if let Self::Binary(BinaryOp::And, left, right) = self {
            let mut survivors = Vec::new();
            if left.narrow(batch, rows, cx, &mut survivors) {
                let survivors = Selection::rows(survivors);
                let column = right.eval(batch, &survivors, cx);
                return sort_out(&column, &survivors, said, |cell| {
                    invalid_operation(&Cell::Bool(true), BinaryOp::And, cell)
                });
            }
        }
        sort_out(&self.eval(batch, rows, cx), rows, said, not_a_condition);
    }

    /// The same for conditions that can neither fail nor be anything but a boolean on this batch, whichever rows are
    /// selected. False for others; what is in `passed` then means nothing.
    pub fn narrow(
        &self,
        batch: &Batch,
        rows: &Selection,
        cx: &mut EvalCx<'_>,
        passed: &mut Vec<u32>,
    ) -> bool {
        if let Live::All(1) = rows.live
            && let Some(holds) = self.holds(batch)
        {
            passed.clear();
            passed.extend(holds.then_some(0));
            return true;
        }
        self.narrow_among(batch, Among::These(rows), cx, passed)
    }

    /// What this condition says of the only row of a batch, where no column need be made to know it.
    fn holds(&self, batch: &Batch) -> Option<bool> {
        match self {
            Self::Binary(BinaryOp::And, left, right) => {
                let (left, right) = (left.holds(batch)?, right.holds(batch)?);
                Some(left && right)
            }
            Self::Binary(op, left, right) if is_comparison(*op) => {
                let order = match (number(left, batch)?, number(right, batch)?) {
                    (Number::Int(left), Number::Int(right)) => Some(left.cmp(&right)),
                    (left, right) => left.as_float().partial_cmp(&right.as_float()),
                };
                Some(match op {
                    BinaryOp::Eq => order == Some(Ordering::Equal),
                    BinaryOp::NotEq => order != Some(Ordering::Equal),
                    BinaryOp::Lt => order == Some(Ordering::Less),
                    BinaryOp::LtEq => order.is_some_and(Ordering::is_le),
                    BinaryOp::Gt => order == Some(Ordering::Greater),
                    _ => order.is_some_and(Ordering::is_ge),
                })
            }
            _ => None,
        }
    }

    fn narrow_among(
        &self,
        batch: &Batch,
        rows: Among<'_>,
        cx: &mut EvalCx<'_>,
        passed: &mut Vec<u32>,
    ) -> bool {
        match self {
            Self::Binary(BinaryOp::And, left, right) => {
                left.narrow_among(batch, rows, cx, passed)
                    && right.narrow_among(batch, Among::Passed, cx, passed)
            }
            Self::Binary(op, left, right) if is_comparison(*op) => {
                // Both sides are evaluated once at most: what is not simple is left to the other path.
                if let (Some(left), Some(right)) = (numbers(left, batch), numbers(right, batch)) {
                    compare_numbers(*op, left, right, rows, passed);
                    return true;
                }
                if !is_simple(left) || !is_simple(right) {
                    return false;
                }
                let all = Selection::all(batch.n_rows);
                let (left, right) = (left.eval(batch, &all, cx), right.eval(batch, &all, cx));
                equal_text(*op, &left, &right, rows, passed)
            }
            Self::Between { negated: false, parts } => {
                // Numbers are never nothing, so both comparisons say it (O-9).
                let [value, low, high] = &**parts;
                let both = [(BinaryOp::GtEq, low, rows), (BinaryOp::LtEq, high, Among::Passed)];
                both.into_iter().all(|(op, bound, rows)| {
                    let sides = numbers(value, batch).zip(numbers(bound, batch));
                    sides.map(|(value, bound)| compare_numbers(op, value, bound, rows, passed)).is_some()
                })
            }
            _ => false,
        }
    }
}

/// A number.
#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    fn as_float(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

/// The number that a column or literal has in the only row.
#[inline]
fn number(expr: &Expr, batch: &Batch) -> Option<Number> {
    match expr {
        Expr::Literal(literal) => match literal.value() {
            Value::Int(value) => Some(Number::Int(*value)),
            Value::Float(value) => Some(Number::Float(*value)),
            _ => None,
        },
        Expr::Column(slot) => match batch.columns.get(slot.index())?.cell(0) {
            Cell::Int(value) => Some(Number::Int(value)),
            Cell::Float(value) => Some(Number::Float(value)),
            _ => None,
        },
        _ => None,
    }
}

/// The rows that are asked.
#[derive(Clone, Copy)]
enum Among<'a> {
    These(&'a Selection),
    /// Those that have passed so far.
    Passed,
}

fn is_comparison(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Eq | BinaryOp::NotEq | BinaryOp::Lt | BinaryOp::LtEq | BinaryOp::Gt | BinaryOp::GtEq
    )
}

fn is_simple(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(_) | Expr::Literal(_))
}

/// Integers are compared as such, mixed pairs as floats (O-6).
fn compare_numbers(
    op: BinaryOp,
    left: Numbers<'_>,
    right: Numbers<'_>,
    rows: Among<'_>,
    passed: &mut Vec<u32>,
) {
    match (left, right) {
        (Numbers::Ints(left), Numbers::Ints(right)) => by_operator(op, &left, &right, rows, passed),
        (left, right) => by_operator(op, &left.into_floats(), &right.into_floats(), rows, passed),
    }
}

fn by_operator<T: Copy + PartialOrd>(
    op: BinaryOp,
    a: &Lane<'_, T>,
    b: &Lane<'_, T>,
    rows: Among<'_>,
    passed: &mut Vec<u32>,
) {
    match op {
        BinaryOp::Eq => by_lane(a, b, rows, passed, |a, b| a == b),
        BinaryOp::NotEq => by_lane(a, b, rows, passed, |a, b| a != b),
        BinaryOp::Lt => by_lane(a, b, rows, passed, |a, b| a < b),
        BinaryOp::LtEq => by_lane(a, b, rows, passed, |a, b| a <= b),
        BinaryOp::Gt => by_lane(a, b, rows, passed, |a, b| a > b),
        _ => by_lane(a, b, rows, passed, |a, b| a >= b),
    }
}

fn by_lane<T: Copy>(
    a: &Lane<'_, T>,
    b: &Lane<'_, T>,
    rows: Among<'_>,
    passed: &mut Vec<u32>,
    holds: impl Fn(T, T) -> bool,
) {
    match (a, b) {
        (Lane::Many(a), Lane::Many(b)) => passing(rows, passed, |row| holds(a[row], b[row])),
        (Lane::Many(a), Lane::One(b)) => passing(rows, passed, |row| holds(a[row], *b)),
        (Lane::One(a), Lane::Many(b)) => passing(rows, passed, |row| holds(*a, b[row])),
        (Lane::One(a), Lane::One(b)) => {
            let all = holds(*a, *b);
            passing(rows, passed, |_| all);
        }
    }
}

/// Without a branch on the outcome, which no predictor would guess.
fn passing(rows: Among<'_>, passed: &mut Vec<u32>, holds: impl Fn(usize) -> bool) {
    let mut n_passed = 0;
    match rows {
        Among::Passed => {
            for at in 0..passed.len() {
                let row = passed[at];
                passed[n_passed] = row;
                n_passed += usize::from(holds(row as usize));
            }
        }
        Among::These(rows) => {
            // What stands there is written over before it is read.
            passed.resize(rows.len(), 0);
            let mut note = |row: usize| {
                passed[n_passed] = row as u32;
                n_passed += usize::from(holds(row));
            };
            match &rows.live {
                Live::All(n_rows) => (0..*n_rows as usize).for_each(&mut note),
                _ => rows.iter().for_each(&mut note),
            }
        }
    }
    passed.truncate(n_passed);
}

/// A column of text only, against one constant text.
fn equal_text(
    op: BinaryOp,
    left: &ColumnRef<'_>,
    right: &ColumnRef<'_>,
    rows: Among<'_>,
    passed: &mut Vec<u32>,
) -> bool {
    let (column, constant) = if right.is_constant() { (left, right) } else { (right, left) };
    if !constant.is_constant() || !column.column().seen().only(Tag::Str) {
        return false;
    }
    let (Cell::Str(wanted), BinaryOp::Eq | BinaryOp::NotEq) = (constant.cell(0), op) else { return false };
    let equal = op == BinaryOp::Eq;
    let holds = |row| matches!(column.cell(row), Cell::Str(text) if (text == wanted) == equal);
    passing(rows, passed, holds);
    true
}

/// Takes the rows of a column of truth values apart.
fn sort_out(
    column: &ColumnRef<'_>,
    rows: &Selection,
    said: &mut Filtered,
    refusal: impl Fn(&Cell<'_>) -> RowError,
) {
    said.passed.clear();
    if column.column().seen().only(Tag::Bool) && !column.is_constant() {
        let words = column.column().words();
        said.passed.extend(rows.iter().filter(|row| words[*row] != 0).map(|row| row as u32));
        return;
    }
    for row in rows {
        match column.cell(row) {
            Cell::Bool(true) => said.passed.push(row as u32),
            Cell::Bool(false) | Cell::Null | Cell::Missing => {}
            Cell::Error(error) => said.failed.push((row as u32, error.clone())),
            other => said.failed.push((row as u32, refusal(&other))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{batch, cx, parse};
    use proptest::prelude::*;
    use thalweg_core::Column;

    /// What `filter` must say, by way of the whole column of values.
    fn plain(expr: &Expr, batch: &Batch, rows: &Selection) -> Filtered {
        let mut said = Filtered::default();
        sort_out(&expr.eval(batch, rows, &mut cx()), rows, &mut said, not_a_condition);
        said
    }

    proptest! {
        #[test]
        fn row_lists_and_columns_of_booleans_agree(
            floats in prop::collection::vec(prop_oneof![Just(f64::NAN), (-3i8..3).prop_map(f64::from)], 1..40),
            mask in any::<u64>(),
            form in 0usize..3,
        ) {
            let n_rows = floats.len();
            let texts: Vec<Value> = floats.iter().map(|value| Value::text(format!("{value}"))).collect();
            let mixed: Vec<Value> = floats.iter().map(|value| match *value as i64 {
                0 => Value::Null,
                1 => Value::text("x"),
                _ => Value::Bool(*value > 0.0),
            }).collect();
            let batch = batch(vec![
                ("f", Column::from_floats(floats.iter().copied())),
                ("i", Column::from_ints(floats.iter().map(|value| *value as i64 - 1))),
                ("s", Column::from_values(&texts)),
                ("m", Column::from_values(&mixed)),
            ]);
            let bits = mask & (u64::MAX >> (64 - n_rows));
            let rows = match form {
                0 => Selection::all(n_rows),
                1 => Selection::mask(vec![bits], n_rows),
                _ => Selection::rows((0..n_rows as u32).filter(|row| bits >> row & 1 == 1).collect()),
            };
            let mut again = Filtered { passed: vec![9; 3], failed: Vec::new() };
            for text in [
                "f > 0", "0 >= f", "f = i", "i != 1", "f < i and i < 2", "s = '1'", "'1' != s", "s > '1'", "1 < 2",
                "f > 0 and s = '1' and i > 0", "f > 0 and m", "m and f > 0", "f > 0 or m", "f > 0 and 4 / i > 1",
                "f > s", "m", "i in (1, 2)", "f between -1 and 1", "i between 0 and f", "i between 0.5 and 2",
                "f not between 0 and 1", "s between 0 and 1", "f between m and 1", "f > 0 and i between 0 and 1",
            ] {
                let expr = parse(text, &batch.schema);
                expr.filter_into(&batch, &rows, &mut cx(), &mut again);
                prop_assert_eq!(&again, &plain(&expr, &batch, &rows), "{}", text);
                prop_assert_eq!(expr.filter(&batch, &rows, &mut cx()), plain(&expr, &batch, &rows), "{}", text);
            }
        }
    }
}
