//! The contract of aggregates. One implementation serves windows of every kind, GROUP BY, running (`acc_`) and
//! incremental use (`contracts.md` 5).

use std::fmt;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Column, ColumnRef, Selection};

use crate::expr::EvalCx;

/// A group: a dense number. A new group is one past the largest seen.
pub type GroupId = u32;

/// The states of one aggregate call for many groups.
pub trait Accumulator: Send + fmt::Debug {
    /// Folds rows in: `groups[i]` is the group of the i-th selected row. Grows to hold new groups. Rows whose
    /// argument is an error cell are the caller's business: it has taken them out of `rows` (S9).
    fn update(&mut self, groups: &[GroupId], args: &[ColumnRef<'_>], rows: &Selection, cx: &mut EvalCx<'_>);

    /// Folds another accumulator of the same call in: its group `g` goes to `map[g]`.
    fn merge(&mut self, other: &dyn Accumulator, map: &[GroupId], cx: &mut EvalCx<'_>);

    /// Folds in some groups of another accumulator of the same call: of each pair the first, there, goes to the second,
    /// here.
    fn merge_some(&mut self, other: &dyn Accumulator, pairs: &[(GroupId, GroupId)]);

    /// Folds groups into each other, pair by pair: the first behind what the second has.
    fn merge_within(&mut self, pairs: &[(GroupId, GroupId)]);

    /// Whether a state stays small however many rows it has taken.
    fn is_small(&self) -> bool;

    /// Whether the result depends on the order of the rows, not just on which they are.
    fn is_ordered(&self) -> bool;

    /// Pushes one cell for each of `groups`, an error cell where it fails. Leaves the state usable: sliding windows
    /// ask again. A group that was never updated gives the aggregate of nothing (count 0, others null; O-16).
    fn finish(&mut self, groups: &[GroupId], out: &mut Column, cx: &mut EvalCx<'_>);

    /// Empties all states, keeping allocations.
    fn reset(&mut self);

    /// The bytes that the states have on the heap.
    fn memory(&self) -> usize;

    /// Writes all states.
    fn save(&self, out: &mut StateWriter);

    /// Reads what [`Accumulator::save`] wrote.
    ///
    /// # Errors
    /// Damage, or another version.
    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError>;

    /// For [`Accumulator::merge`].
    fn as_any(&self) -> &dyn std::any::Any;
}
