//! One aggregate = one [`Fold`]: the state of one group. [`Groups`] turns it into an accumulator for many.

use std::fmt;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Cell, Column, ColumnRef, Live, Selection};

use crate::aggregate::{Accumulator, GroupId};
use crate::expr::EvalCx;

/// More arguments no built-in aggregate has.
const MAX_ARGS: usize = 4;

/// The state of one group.
pub(crate) trait Fold: Default + Clone + fmt::Debug + Send + 'static {
    /// Names the section in snapshots.
    const NAME: &'static str;

    /// Whether it stays small however many rows it has taken.
    const IS_SMALL: bool = true;

    /// Whether the result depends on the order of the rows.
    const IS_ORDERED: bool = false;

    /// Takes one row's arguments in.
    fn add(&mut self, args: &[Cell<'_>], cx: &EvalCx<'_>);

    /// Whether the incremental form (`inc_…`) takes these arguments; what the aggregate passes over is an error there.
    fn accepts(_args: &[Cell<'_>]) -> bool {
        true
    }

    /// The same for one float, when that is the only argument.
    #[inline]
    fn add_float(&mut self, value: f64, cx: &EvalCx<'_>) {
        self.add(&[Cell::Float(value)], cx);
    }

    /// The same for one integer.
    #[inline]
    fn add_int(&mut self, value: i64, cx: &EvalCx<'_>) {
        self.add(&[Cell::Int(value)], cx);
    }

    /// Takes in what came later.
    fn merge(&mut self, later: &Self);

    /// Pushes exactly one cell.
    fn finish(&self, out: &mut Column, cx: &EvalCx<'_>);

    /// The bytes that it has on the heap.
    fn memory(&self) -> usize {
        0
    }

    /// Writes the state.
    fn save(&self, out: &mut StateWriter);

    /// Reads it.
    ///
    /// # Errors
    /// Damage.
    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError>;
}

/// The states of all groups.
#[derive(Debug)]
pub(crate) struct Groups<F> {
    states: Vec<F>,
}

/// For the function table.
pub(crate) fn accumulator<F: Fold>() -> Box<dyn Accumulator> {
    Box::new(Groups::<F> { states: Vec::new() })
}

impl<F: Fold> Groups<F> {
    fn grow(&mut self, groups: &[GroupId]) {
        let needed = groups.iter().max().map_or(0, |group| *group as usize + 1);
        if needed > self.states.len() {
            self.states.resize_with(needed, F::default);
        }
    }
}

/// The value of each selected row, and its group.
#[inline]
fn each<T: Copy>(groups: &[GroupId], rows: &Selection, values: &[T], mut add: impl FnMut(usize, T)) {
    match &rows.live {
        Live::All(_) => groups.iter().zip(values).for_each(|(group, value)| add(*group as usize, *value)),
        _ => groups.iter().zip(rows).for_each(|(group, row)| add(*group as usize, values[row])),
    }
}

fn cells<'a>(args: &'a [ColumnRef<'_>], row: usize, into: &mut [Cell<'a>; MAX_ARGS]) -> usize {
    for (cell, arg) in into.iter_mut().zip(args) {
        *cell = arg.cell(row);
    }
    args.len().min(MAX_ARGS)
}

impl<F: Fold> Accumulator for Groups<F> {
    fn update(&mut self, groups: &[GroupId], args: &[ColumnRef<'_>], rows: &Selection, cx: &mut EvalCx<'_>) {
        self.grow(groups);
        let states = &mut self.states;
        if let [ColumnRef::Rows(column)] = args {
            if let Some(values) = column.floats() {
                return each(groups, rows, values, |group, value| states[group].add_float(value, cx));
            }
            if let Some(values) = column.ints() {
                return each(groups, rows, values, |group, value| states[group].add_int(value, cx));
            }
        }
        if let [] | [ColumnRef::Constant(_)] = args {
            let cell = args.first().map(|arg| arg.cell(0));
            let args = cell.as_slice();
            return groups.iter().for_each(|group| states[*group as usize].add(args, cx));
        }
        let mut row_args = [Cell::Missing; MAX_ARGS];
        for (group, row) in groups.iter().zip(rows) {
            let n_args = cells(args, row, &mut row_args);
            states[*group as usize].add(&row_args[..n_args], cx);
        }
    }

    fn merge(&mut self, other: &dyn Accumulator, map: &[GroupId], _cx: &mut EvalCx<'_>) {
        // Accumulators of one call are of one type: both came from the same row of the function table.
        let Some(other) = other.as_any().downcast_ref::<Self>() else { return };
        self.grow(&map[..other.states.len().min(map.len())]);
        for (state, group) in other.states.iter().zip(map) {
            self.states[*group as usize].merge(state);
        }
    }

    fn merge_some(&mut self, other: &dyn Accumulator, pairs: &[(GroupId, GroupId)]) {
        let Some(other) = other.as_any().downcast_ref::<Self>() else { return };
        for (from, to) in pairs {
            self.grow(&[*to]);
            if let Some(state) = other.states.get(*from as usize) {
                self.states[*to as usize].merge(state);
            }
        }
    }

    fn merge_within(&mut self, pairs: &[(GroupId, GroupId)]) {
        for (from, to) in pairs {
            self.grow(&[*from, *to]);
            if let Ok([from, to]) = self.states.get_disjoint_mut([*from as usize, *to as usize]) {
                to.merge(from);
            }
        }
    }

    fn is_small(&self) -> bool {
        F::IS_SMALL
    }

    fn is_ordered(&self) -> bool {
        F::IS_ORDERED
    }

    fn finish(&mut self, groups: &[GroupId], out: &mut Column, cx: &mut EvalCx<'_>) {
        let nothing = F::default();
        for group in groups {
            self.states.get(*group as usize).unwrap_or(&nothing).finish(out, cx);
        }
    }

    fn reset(&mut self) {
        self.states.clear();
    }

    fn memory(&self) -> usize {
        self.states.capacity() * size_of::<F>() + self.states.iter().map(F::memory).sum::<usize>()
    }

    fn save(&self, out: &mut StateWriter) {
        out.section(F::NAME, 2);
        out.u64(self.states.len() as u64);
        self.states.iter().for_each(|state| state.save(out));
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section(F::NAME, 2)?;
        let len = from.u64()?;
        // No state is reserved ahead: a damaged length ends with the bytes.
        self.states.clear();
        for _ in 0..len {
            self.states.push(F::load(from)?);
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
