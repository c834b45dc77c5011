//! WHERE and the window's FILTER: keeps the rows for which a condition is true (Q-1, W-10).

use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Selection, Unit};
use thalweg_expr::Expr;

use crate::op::condition::{Nulls, Picked};
use crate::op::faults;
use crate::op::hits::Condition;
use crate::operator::{Emit, OpCx, Operator, Verdict};

/// Keeps rows.
pub(crate) struct Filter {
    condition: Condition,
    /// Of the last batch: room for the next.
    /// Most rules of a shared stream never need it.
    verdict: Option<Box<Verdict>>,
}

impl Filter {
    pub(crate) fn new(condition: &Expr) -> Self {
        Self { condition: Condition::new(condition), verdict: None }
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
        let mut eval = cx.eval(batch.window);
        let verdict = &mut **self.verdict.get_or_insert_with(|| Box::new(Verdict::NOTHING));
        match self.condition.plain() {
            Some(expr) => verdict.ask(expr, batch, rows, &mut eval),
            None => {
                let mut picked = Picked::default();
                picked.pick(
                    &self.condition.eval_rows(batch, rows, &mut eval),
                    rows,
                    batch.n_rows,
                    Nulls::False,
                );
                *verdict = picked.verdict();
            }
        }
        pass(batch, rows, verdict, out, cx);
    }

    fn condition(&self) -> Option<&Expr> {
        self.condition.plain()
    }

    fn on_judged(
        &mut self,
        batch: &Batch,
        rows: &Selection,
        verdict: &Verdict,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        pass(batch, rows, verdict, out, cx);
    }

    fn save(&self, out: &mut StateWriter) {
        self.condition.save(out);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        self.condition.load(from)
    }
}

/// Hands on what passes.
fn pass(batch: &Batch, rows: &Selection, verdict: &Verdict, out: &mut dyn Emit, cx: &mut OpCx<'_>) {
    if batch.unit == Unit::Collection {
        return collection(batch, rows, verdict, out, cx);
    }
    if verdict.bad.is_empty() {
        if verdict.count == rows.len() {
            return out.batch(0, batch, rows);
        }
        if rows.faults.is_empty() {
            if verdict.count > 0 {
                out.batch(0, batch, &verdict.passed);
            }
            return;
        }
    }
    let faults = faults::fail_rows(&verdict.bad, (batch, rows), cx);
    if !faults.is_empty() {
        out.batch(0, batch, &Selection { live: verdict.passed.live.clone(), faults });
    } else if verdict.count > 0 {
        out.batch(0, batch, &verdict.passed);
    }
}

/// An error fails the whole collection (Z-2), and one of which nothing is left is dropped.
fn collection(batch: &Batch, rows: &Selection, verdict: &Verdict, out: &mut dyn Emit, cx: &mut OpCx<'_>) {
    if let Some((_, message)) = verdict.bad.first() {
        return faults::fail_all(message, (faults::time_of(batch), rows), &batch.schema, out, cx);
    }
    if verdict.count == 0 {
        return faults::send(rows.faults.clone(), 0, &Arc::clone(&batch.schema), out);
    }
    if rows.faults.is_empty() {
        return out.batch(0, batch, &verdict.passed);
    }
    out.batch(0, batch, &Selection { live: verdict.passed.live.clone(), faults: rows.faults.clone() });
}
