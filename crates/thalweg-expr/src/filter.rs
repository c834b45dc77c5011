//! Conditions as row lists. Comparisons of uniform columns never become a column of booleans: the loop writes the
//! numbers of the rows that pass. AND hands the survivors of its left side to its right one (hot-path.md 7.3).

use std::borrow::Cow;

use thalweg_core::cast::invalid_operation;
use thalweg_core::selection::Live;
use thalweg_core::{Batch, BinaryOp, Cell, ColumnRef, RowError, Selection, Tag, Value};

use crate::compare::not_a_condition;
use crate::expr::{EvalCx, Expr};
use crate::kernel::Lane;

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
        if let Some(passed) = self.narrow(batch, rows, cx) {
            return Filtered { passed, failed: Vec::new() };
        }
        if let Self::Binary(BinaryOp::And, left, right) = self
            && let Some(survivors) = left.narrow(batch, rows, cx)
        {
            let survivors = Selection::rows(survivors);
            let column = right.eval(batch, &survivors, cx);
            return sort_out(&column, &survivors, |cell| {
                invalid_operation(&Cell::Bool(true), BinaryOp::And, cell)
            });
        }
        sort_out(&self.eval(batch, rows, cx), rows, not_a_condition)
    }

    /// The same for conditions that can neither fail nor be anything but a boolean on this batch, whichever rows are
    /// selected; `None` for others.
    pub fn narrow(&self, batch: &Batch, rows: &Selection, cx: &mut EvalCx<'_>) -> Option<Vec<u32>> {
        match self {
            Self::Binary(BinaryOp::And, left, right) => {
                let survivors = left.narrow(batch, rows, cx)?;
                right.narrow_further(batch, survivors, cx)
            }
            Self::Binary(op, left, right) if is_comparison(*op) => {
                // Both sides are evaluated once at most: what is not simple is left to the other path.
                if let (Some(left), Some(right)) = (numbers(left, batch), numbers(right, batch)) {
                    return Some(compare_numbers(*op, left, right, Among::These(rows)));
                }
                let (true, true) = (is_simple(left), is_simple(right)) else { return None };
                let (left, right) = (left.eval(batch, rows, cx), right.eval(batch, rows, cx));
                equal_text(*op, &left, &right, rows)
            }
            _ => None,
        }
    }

    /// The same for rows in a list that is no longer needed and becomes the answer.
    pub fn narrow_further(&self, batch: &Batch, rows: Vec<u32>, cx: &mut EvalCx<'_>) -> Option<Vec<u32>> {
        if let Self::Binary(op, left, right) = self
            && is_comparison(*op)
            && let (Some(left), Some(right)) = (numbers(left, batch), numbers(right, batch))
        {
            return Some(compare_numbers(*op, left, right, Among::List(rows)));
        }
        self.narrow(batch, &Selection::rows(rows), cx)
    }
}

/// The rows that are asked.
enum Among<'a> {
    These(&'a Selection),
    /// A list that becomes the answer.
    List(Vec<u32>),
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

/// A uniform number column, or a number.
enum Numbers<'a> {
    Ints(Lane<'a, i64>),
    Floats(Lane<'a, f64>),
}

impl<'a> Numbers<'a> {
    fn into_floats(self) -> Lane<'a, f64> {
        match self {
            Self::Floats(lane) => lane,
            Self::Ints(Lane::One(value)) => Lane::One(value as f64),
            Self::Ints(Lane::Many(values)) => Lane::Many(values.iter().map(|value| *value as f64).collect()),
        }
    }
}

/// The numbers of a column or literal as they lie there. A literal needs no column of its own, which counts when a
/// batch has few rows.
fn numbers<'a>(expr: &Expr, batch: &'a Batch) -> Option<Numbers<'a>> {
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

/// Integers are compared as such, mixed pairs as floats (O-6).
fn compare_numbers(op: BinaryOp, left: Numbers<'_>, right: Numbers<'_>, rows: Among<'_>) -> Vec<u32> {
    match (left, right) {
        (Numbers::Ints(left), Numbers::Ints(right)) => by_operator(op, &left, &right, rows),
        (left, right) => by_operator(op, &left.into_floats(), &right.into_floats(), rows),
    }
}

fn by_operator<T: Copy + PartialOrd>(
    op: BinaryOp,
    a: &Lane<'_, T>,
    b: &Lane<'_, T>,
    rows: Among<'_>,
) -> Vec<u32> {
    match op {
        BinaryOp::Eq => by_lane(a, b, rows, |a, b| a == b),
        BinaryOp::NotEq => by_lane(a, b, rows, |a, b| a != b),
        BinaryOp::Lt => by_lane(a, b, rows, |a, b| a < b),
        BinaryOp::LtEq => by_lane(a, b, rows, |a, b| a <= b),
        BinaryOp::Gt => by_lane(a, b, rows, |a, b| a > b),
        _ => by_lane(a, b, rows, |a, b| a >= b),
    }
}

fn by_lane<T: Copy>(
    a: &Lane<'_, T>,
    b: &Lane<'_, T>,
    rows: Among<'_>,
    holds: impl Fn(T, T) -> bool,
) -> Vec<u32> {
    match (a, b) {
        (Lane::Many(a), Lane::Many(b)) => passing(rows, |row| holds(a[row], b[row])),
        (Lane::Many(a), Lane::One(b)) => passing(rows, |row| holds(a[row], *b)),
        (Lane::One(a), Lane::Many(b)) => passing(rows, |row| holds(*a, b[row])),
        (Lane::One(a), Lane::One(b)) => {
            let all = holds(*a, *b);
            passing(rows, |_| all)
        }
    }
}

/// Without a branch on the outcome, which no predictor would guess.
fn passing(rows: Among<'_>, holds: impl Fn(usize) -> bool) -> Vec<u32> {
    let rows = match rows {
        Among::These(rows) => rows,
        Among::List(mut rows) => {
            let mut n_passed = 0;
            for at in 0..rows.len() {
                let row = rows[at];
                rows[n_passed] = row;
                n_passed += usize::from(holds(row as usize));
            }
            rows.truncate(n_passed);
            return rows;
        }
    };
    let n_rows = rows.len();
    let mut passed = vec![0u32; n_rows];
    let mut n_passed = 0;
    let mut note = |row: usize| {
        passed[n_passed] = row as u32;
        n_passed += usize::from(holds(row));
    };
    match &rows.live {
        Live::All(n_rows) => (0..*n_rows as usize).for_each(&mut note),
        _ => rows.iter().for_each(&mut note),
    }
    passed.truncate(n_passed);
    passed
}

/// A column of text only, against one constant text.
fn equal_text(
    op: BinaryOp,
    left: &ColumnRef<'_>,
    right: &ColumnRef<'_>,
    rows: &Selection,
) -> Option<Vec<u32>> {
    let (column, constant) = if right.is_constant() { (left, right) } else { (right, left) };
    let Cell::Str(wanted) = constant.is_constant().then(|| constant.cell(0))? else { return None };
    if !column.column().seen().only(Tag::Str) || !matches!(op, BinaryOp::Eq | BinaryOp::NotEq) {
        return None;
    }
    let equal = op == BinaryOp::Eq;
    Some(passing(
        Among::These(rows),
        |row| matches!(column.cell(row), Cell::Str(text) if (text == wanted) == equal),
    ))
}

/// Takes the rows of a column of truth values apart.
fn sort_out(column: &ColumnRef<'_>, rows: &Selection, refusal: impl Fn(&Cell<'_>) -> RowError) -> Filtered {
    let mut filtered = Filtered::default();
    if column.column().seen().only(Tag::Bool) && !column.is_constant() {
        let words = column.column().words();
        filtered.passed.extend(rows.iter().filter(|row| words[*row] != 0).map(|row| row as u32));
        return filtered;
    }
    for row in rows {
        match column.cell(row) {
            Cell::Bool(true) => filtered.passed.push(row as u32),
            Cell::Bool(false) | Cell::Null | Cell::Missing => {}
            Cell::Error(error) => filtered.failed.push((row as u32, error.clone())),
            other => filtered.failed.push((row as u32, refusal(&other))),
        }
    }
    filtered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{batch, cx, parse};
    use proptest::prelude::*;
    use thalweg_core::Column;

    /// What `filter` must say, by way of the whole column of values.
    fn plain(expr: &Expr, batch: &Batch, rows: &Selection) -> Filtered {
        sort_out(&expr.eval(batch, rows, &mut cx()), rows, not_a_condition)
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
            for text in [
                "f > 0", "0 >= f", "f = i", "i != 1", "f < i and i < 2", "s = '1'", "'1' != s", "s > '1'", "1 < 2",
                "f > 0 and s = '1' and i > 0", "f > 0 and m", "m and f > 0", "f > 0 or m", "f > 0 and 4 / i > 1",
                "f > s", "m", "i in (1, 2)",
            ] {
                let expr = parse(text, &batch.schema);
                prop_assert_eq!(expr.filter(&batch, &rows, &mut cx()), plain(&expr, &batch, &rows), "{}", text);
            }
        }
    }
}
