//! The results of a graph rule: each leaves by a port of its own.

use thalweg_core::{Batch, Selection};

use crate::operator::{Emit, OpCx, Operator};

/// Hands the rows of each input to the port of its number.
pub(crate) struct Outlets;

impl Operator for Outlets {
    fn on_batch(
        &mut self,
        input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        _cx: &mut OpCx<'_>,
    ) {
        out.batch(input, batch, rows);
    }
}
