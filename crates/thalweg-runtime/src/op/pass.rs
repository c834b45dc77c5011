//! Hands everything on: the place of a Scan in a chain, and of nodes whose work the window below has done.

use thalweg_core::{Batch, Selection};

use crate::operator::{Emit, OpCx, Operator};

/// Does nothing.
pub(crate) struct Pass;

impl Operator for Pass {
    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        _cx: &mut OpCx<'_>,
    ) {
        out.batch(0, batch, rows);
    }
}
