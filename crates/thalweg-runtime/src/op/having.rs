//! HAVING: keeps groups, or without groups the collection as a whole. Unlike WHERE, null is an error.

use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Live, Schema, Selection, Timestamp, Unit};
use thalweg_expr::Expr;

use crate::op::condition::{Nulls, Picked, verdict};
use crate::op::faults;
use crate::op::hits::Condition;
use crate::operator::{Emit, OpCx, Operator};

/// Keeps groups.
pub(crate) struct Having {
    condition: Condition,
    grouped: bool,
    schema: Arc<Schema>,
    picked: Picked,
    /// The groups of the last collection that were kept: room for the next.
    kept: Vec<u32>,
}

impl Having {
    pub(crate) fn new(condition: &Expr, grouped: bool, schema: &Arc<Schema>) -> Self {
        Self {
            condition: Condition::new(condition),
            grouped,
            schema: Arc::clone(schema),
            picked: Picked::default(),
            kept: Vec::new(),
        }
    }

    /// Keeps groups by a condition that is true or false of every one. False: it is another.
    fn narrow(&mut self, batch: &Batch, rows: &Selection, out: &mut dyn Emit, cx: &OpCx<'_>) -> bool {
        let Some(condition) = self.condition.plain().filter(|_| self.grouped) else { return false };
        if !condition.narrow(batch, rows, &mut cx.eval(batch.window), &mut self.kept) {
            return false;
        }
        if self.kept.is_empty() {
            faults::send(rows.faults.clone(), 0, &self.schema, out);
        } else if self.kept.len() == rows.len() {
            out.batch(0, batch, rows);
        } else {
            let mut kept = Selection::rows(std::mem::take(&mut self.kept));
            kept.faults.clone_from(&rows.faults);
            out.batch(0, batch, &kept);
            if let Live::Rows(kept) = kept.live {
                self.kept = kept;
            }
        }
        true
    }

    fn fail(&self, error: &str, (batch, rows): (&Batch, &Selection), out: &mut dyn Emit, cx: &OpCx<'_>) {
        let message = format!("run Having error: {error}");
        faults::fail_all(&message, (faults::time_of(batch), rows), &self.schema, out, cx);
    }

    /// Single rows have no groups: an error for each.
    fn refuse(&self, batch: &Batch, rows: &Selection, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let bad: Vec<_> =
            rows.iter().map(|row| (row, "run Having error: invalid input".to_owned())).collect();
        faults::send(faults::fail_rows(&bad, (batch, rows), cx), 0, &self.schema, out);
    }
}

impl Operator for Having {
    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        if batch.unit == Unit::Rows {
            return self.refuse(batch, rows, out, cx);
        }
        if self.narrow(batch, rows, out, cx) {
            return;
        }
        let column = self.condition.eval(batch, rows, &mut cx.eval(batch.window));
        if !self.grouped {
            let first = rows.iter().next().map(|row| verdict(&column.cell(row), Nulls::Error));
            return match first {
                Some(Ok(true)) => {
                    self.condition.hit(window_time(batch, cx));
                    out.batch(0, batch, rows);
                }
                Some(Err(error)) => {
                    self.fail(&error, (batch, rows), out, cx);
                }
                Some(Ok(false)) | None => faults::send(rows.faults.clone(), 0, &self.schema, out),
            };
        }
        self.picked.pick(&column, rows, batch.n_rows, Nulls::Error);
        if let Some((_, error)) = self.picked.bad.first() {
            return self.fail(error, (batch, rows), out, cx);
        }
        if self.picked.count == 0 {
            return faults::send(rows.faults.clone(), 0, &self.schema, out);
        }
        self.condition.hit(window_time(batch, cx));
        let mut kept = self.picked.selection();
        kept.faults.clone_from(&rows.faults);
        out.batch(0, batch, &kept);
        self.picked.put_back(kept);
    }
    fn save(&self, out: &mut StateWriter) {
        self.condition.save(out);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        self.condition.load(from)
    }
}

/// a window's hit has the time of its trigger.
fn window_time(batch: &Batch, cx: &OpCx<'_>) -> Timestamp {
    batch.window.map_or(cx.now, |window| window.trigger)
}
