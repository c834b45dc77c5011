//! UNION ALL: rows of all inputs as they come; the watermark is the slowest input's.

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Selection};

use crate::op::signals::Merge;
use crate::operator::{Emit, OpCx, Operator, Signal};

/// Hands everything on.
pub(crate) struct Union {
    merge: Merge,
}

impl Union {
    pub(crate) fn new(inputs: usize) -> Self {
        Self { merge: Merge::new(inputs) }
    }
}

impl Operator for Union {
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

    fn on_signal(&mut self, input: usize, signal: Signal, out: &mut dyn Emit, _cx: &mut OpCx<'_>) {
        if let Some(signal) = self.merge.take(input, signal) {
            out.signal(signal);
        }
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("union", 1);
        self.merge.save(out);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("union", 1)?;
        self.merge.load(from)
    }
}
