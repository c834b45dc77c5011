//! WHERE and the window's FILTER: keeps the rows for which a condition is true (Q-1, W-10).

use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Selection, Unit};
use thalweg_expr::Expr;

use crate::op::condition::{Nulls, Picked};
use crate::op::faults;
use crate::op::hits::Condition;
use crate::operator::{Emit, OpCx, Operator};

/// Keeps rows.
pub(crate) struct Filter {
    condition: Condition,
    picked: Picked,
}

impl Filter {
    pub(crate) fn new(condition: &Expr) -> Self {
        Self { condition: Condition::new(condition), picked: Picked::default() }
    }
}

impl Operator for Filter {
    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        let column = self.condition.eval_rows(batch, rows, &mut cx.eval(batch.window));
        self.picked.pick(&column, rows, batch.n_rows, Nulls::False);
        for (_, message) in &mut self.picked.bad {
            message.insert_str(0, "run Where error: ");
        }
        if batch.unit == Unit::Collection {
            return self.collection(batch, rows, out, cx);
        }
        if self.picked.bad.is_empty() && self.picked.count == rows.len() {
            return out.batch(0, batch, rows);
        }
        let faults = faults::fail_rows(&self.picked.bad, rows, cx);
        let mut kept = self.picked.selection();
        kept.faults = faults;
        if !kept.is_void() {
            out.batch(0, batch, &kept);
        }
        self.picked.put_back(kept);
    }

    fn save(&self, out: &mut StateWriter) {
        self.condition.save(out);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        self.condition.load(from)
    }
}

impl Filter {
    /// An error fails the whole collection (Z-2), and one of which nothing is left is dropped.
    fn collection(&mut self, batch: &Batch, rows: &Selection, out: &mut dyn Emit, cx: &mut OpCx<'_>) {
        if let Some((_, message)) = self.picked.bad.first() {
            return faults::fail_all(message, rows, &batch.schema, out, cx);
        }
        if self.picked.count == 0 {
            return faults::send(rows.faults.clone(), 0, &Arc::clone(&batch.schema), out);
        }
        let mut kept = self.picked.selection();
        kept.faults.clone_from(&rows.faults);
        out.batch(0, batch, &kept);
        self.picked.put_back(kept);
    }
}
