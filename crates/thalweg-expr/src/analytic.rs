//! The contract of analytic functions: state per call site and partition, one value per input row (chapter 11).

use std::fmt;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Column, ColumnRef, RowError, Selection, Value};

use crate::expr::EvalCx;

/// The state of one analytic call in one partition.
pub trait Analytic: Send + fmt::Debug {
    /// Takes one row's arguments and gives the row's value. `valid` is false when the call's WHEN is false: the
    /// state stays, and the function answers as A-5 says.
    ///
    /// # Errors
    /// Arguments that the function refuses.
    fn next(&mut self, args: &[Value], valid: bool, cx: &mut EvalCx<'_>) -> Result<Value, RowError>;

    /// The same for all of `rows` at once, all valid and none with a failed argument: adds a cell for each row up to
    /// the last, missing ones for those that are not selected. False when the function has no such way for these
    /// rows, and then it is asked for each of them.
    fn next_rows(&mut self, _args: &[ColumnRef<'_>], _rows: &Selection, _out: &mut Column) -> bool {
        false
    }

    /// The bytes that the state has on the heap, beside the object itself.
    fn memory(&self) -> usize {
        0
    }

    /// Writes the state.
    fn save(&self, out: &mut StateWriter);

    /// Reads what [`Analytic::save`] wrote.
    ///
    /// # Errors
    /// Damage, or another version.
    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError>;
}
