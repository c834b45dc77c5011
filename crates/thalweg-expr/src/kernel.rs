//! What the kernels share: cells for the selected rows only, and pairs of uniform number columns as slices.

use std::borrow::Cow;

use thalweg_core::{Cell, Column, ColumnRef, Selection};

/// Calls `cell` for each selected row, which pushes exactly one cell. When all inputs are constant it is called once.
pub(crate) fn per_row(
    constant: bool,
    rows: &Selection,
    n_rows: usize,
    mut cell: impl FnMut(usize, &mut Column),
) -> ColumnRef<'static> {
    let mut column = Column::new();
    if constant {
        cell(0, &mut column);
        return ColumnRef::Constant(Cow::Owned(column));
    }
    rows.iter().for_each(|row| cell(row, &mut column));
    ColumnRef::owned(column.spread(rows, n_rows))
}

/// One cell for every row.
pub(crate) fn constant(cell: Cell<'_>) -> ColumnRef<'static> {
    let mut column = Column::new();
    column.push_cell(cell);
    ColumnRef::Constant(Cow::Owned(column))
}

/// A uniform column as a slice, or its one constant.
pub(crate) enum Lane<'a, T: Clone> {
    Many(Cow<'a, [T]>),
    One(T),
}

/// Two operands of one number kind.
pub(crate) enum Lanes<'a> {
    Ints(Lane<'a, i64>, Lane<'a, i64>),
    Floats(Lane<'a, f64>, Lane<'a, f64>),
}

/// Both operands as numbers of one kind, if both columns are uniform: integers stay such, mixed pairs become floats.
pub(crate) fn lanes<'a>(left: &'a ColumnRef<'_>, right: &'a ColumnRef<'_>) -> Option<Lanes<'a>> {
    if let (Some(left), Some(right)) = (ints(left), ints(right)) {
        return Some(Lanes::Ints(left, right));
    }
    Some(Lanes::Floats(floats(left)?, floats(right)?))
}

fn ints<'a>(column: &'a ColumnRef<'_>) -> Option<Lane<'a, i64>> {
    let values = column.column().ints()?;
    lane(column, Cow::Borrowed(values))
}

fn floats<'a>(column: &'a ColumnRef<'_>) -> Option<Lane<'a, f64>> {
    let values = match column.column().floats() {
        Some(values) => Cow::Borrowed(values),
        None => column.column().ints()?.iter().map(|value| *value as f64).collect(),
    };
    lane(column, values)
}

fn lane<'a, T: Copy>(column: &ColumnRef<'_>, values: Cow<'a, [T]>) -> Option<Lane<'a, T>> {
    if column.is_constant() { values.first().copied().map(Lane::One) } else { Some(Lane::Many(values)) }
}

/// Applies `op` to each pair: the whole column at once, selected or not.
#[inline]
pub(crate) fn zip<T: Copy, U>(left: &Lane<'_, T>, right: &Lane<'_, T>, op: impl Fn(T, T) -> U) -> Vec<U> {
    match (left, right) {
        (Lane::Many(left), Lane::Many(right)) => {
            left.iter().zip(right.iter()).map(|(a, b)| op(*a, *b)).collect()
        }
        (Lane::Many(left), Lane::One(right)) => left.iter().map(|a| op(*a, *right)).collect(),
        (Lane::One(left), Lane::Many(right)) => right.iter().map(|b| op(*left, *b)).collect(),
        (Lane::One(left), Lane::One(right)) => vec![op(*left, *right)],
    }
}

impl<T: Copy + PartialEq> Lane<'_, T> {
    pub(crate) fn contains(&self, wanted: T) -> bool {
        match self {
            Self::Many(values) => values.contains(&wanted),
            Self::One(value) => *value == wanted,
        }
    }
}

/// Wraps what a kernel computed for whole columns, or for two constants.
pub(crate) fn whole(column: Column, left: &ColumnRef<'_>, right: &ColumnRef<'_>) -> ColumnRef<'static> {
    if left.is_constant() && right.is_constant() {
        ColumnRef::Constant(Cow::Owned(column))
    } else {
        ColumnRef::owned(column)
    }
}

/// Whether computing all rows is cheaper than visiting the selected ones.
pub(crate) fn is_dense(rows: &Selection, n_rows: usize) -> bool {
    rows.len() * 4 >= n_rows
}
