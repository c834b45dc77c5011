//! Event time: puts rows in order, drops late ones and makes watermarks (E-1 to E-4).
//!
//! A row's time is already its TIMESTAMP. Rows are judged one by one, so a batch border never decides what is late.

use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Schema, Selection, Timestamp};
use thalweg_plan::Node;

use crate::op::faults;
use crate::op::reorder::Reorder;
use crate::op::signals::Merge;
use crate::operator::{Emit, OpCx, Operator, Signal};

/// Orders rows. With several inputs the rows of input `i` leave by port `i` and the slowest input decides (E-2).
pub(crate) struct Watermark {
    tolerance: i64,
    schemas: Vec<Arc<Schema>>,
    /// Watermarks by input; their minimum is the rule's.
    merge: Merge,
    reorder: Reorder,
    rows: Vec<u32>,
}

impl Watermark {
    pub(crate) fn new(node: &Node, late_tolerance: i64) -> Self {
        let schemas: Vec<_> = node.inputs.iter().map(|input| Arc::clone(&input.schema)).collect();
        Self {
            tolerance: late_tolerance,
            merge: Merge::new(schemas.len()),
            reorder: Reorder::new(schemas.iter()),
            schemas,
            rows: Vec::new(),
        }
    }

    /// Judges each row: the kept ones are in `self.rows`. Gives the new watermark, if it advanced.
    fn judge(&mut self, input: usize, batch: &Batch, rows: &Selection, cx: &OpCx<'_>) -> Option<Timestamp> {
        self.rows.clear();
        let (mut late, mut advanced) = (0, None);
        for row in rows {
            let time = batch.times[row];
            if self.merge.sent().is_some_and(|mark| time < mark) {
                late += 1;
                continue;
            }
            self.rows.push(row as u32);
            advanced = self.merge.watermark(input, time.plus(-self.tolerance)).or(advanced);
        }
        if late > 0 {
            cx.metrics.dropped("late", late);
        }
        advanced
    }
}

impl Operator for Watermark {
    fn on_batch(
        &mut self,
        input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        faults::send(rows.faults.clone(), input, &self.schemas[input], out);
        let advanced = self.judge(input, batch, rows, cx);
        let in_order = self.schemas.len() == 1 && self.tolerance == 0 && self.reorder.is_empty();
        if in_order && !self.rows.is_empty() {
            // Without tolerance a row that is not late is released by itself.
            let kept = Selection::rows(std::mem::take(&mut self.rows));
            out.batch(0, batch, &kept);
        } else {
            self.reorder.push(input, batch, &self.rows);
            if let Some(mark) = self.merge.sent() {
                self.reorder.release(mark, |port, batch, rows| out.batch(port, batch, rows));
            }
        }
        if let Some(mark) = advanced {
            out.signal(Signal::Watermark(mark));
        }
    }

    /// Nothing is flushed at the end (E-4). Watermarks from further up are replaced by our own.
    fn on_signal(&mut self, input: usize, signal: Signal, out: &mut dyn Emit, _cx: &mut OpCx<'_>) {
        if matches!(signal, Signal::Watermark(_)) {
            return;
        }
        if let Some(signal) = self.merge.take(input, signal) {
            out.signal(signal);
        }
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("watermark", 1);
        self.merge.save(out);
        self.reorder.save(out);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("watermark", 1)?;
        self.merge.load(from)?;
        self.reorder.load(from)
    }
}
