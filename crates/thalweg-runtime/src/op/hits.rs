//! Conditions that ask for their own past: `last_hit_count()`, `last_hit_time()`.
//!
//! Whether a row is a hit decides what the next row reads, so such a condition is evaluated row by row.

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Cell, Column, ColumnRef, Selection, Timestamp};
use thalweg_expr::expr::{Context, Hits};
use thalweg_expr::{EvalCx, Expr};

/// A condition and what it knows of its past.
pub(crate) struct Condition {
    expr: Expr,
    /// Absent where the condition does not ask.
    hits: Option<Hits>,
}

impl Condition {
    pub(crate) fn new(expr: &Expr) -> Self {
        let mut asks = false;
        expr.walk(&mut |part| asks |= matches!(part, Expr::Context(Context::HitCount | Context::HitTime)));
        Self { expr: expr.clone(), hits: asks.then(Hits::default) }
    }

    /// The condition, when it does not ask for its past.
    pub(crate) fn plain(&self) -> Option<&Expr> {
        self.hits.is_none().then_some(&self.expr)
    }

    /// The condition's values; each row for which it is true is a hit at the row's time.
    pub(crate) fn eval_rows<'b>(
        &'b mut self,
        batch: &'b Batch,
        rows: &Selection,
        cx: &mut EvalCx<'_>,
    ) -> ColumnRef<'b> {
        let Some(hits) = &mut self.hits else { return self.expr.eval(batch, rows, cx) };
        let mut out = Column::new();
        for row in rows {
            (out.len()..row).for_each(|_| out.push_missing());
            cx.hits = *hits;
            let column = self.expr.eval(batch, &Selection::rows(vec![row as u32]), cx);
            let cell = column.cell(row);
            if cell == Cell::Bool(true) {
                *hits = hit(*hits, batch.times[row]);
            }
            out.push_cell(cell);
        }
        (out.len()..batch.n_rows).for_each(|_| out.push_missing());
        ColumnRef::owned(out)
    }

    /// The condition's values, all from the same past; [`Condition::hit`] tells whether it was a hit as a whole.
    pub(crate) fn eval<'b>(
        &'b self,
        batch: &'b Batch,
        rows: &Selection,
        cx: &mut EvalCx<'_>,
    ) -> ColumnRef<'b> {
        cx.hits = self.hits.unwrap_or_default();
        self.expr.eval(batch, rows, cx)
    }

    /// What it knows of its past.
    pub(crate) fn hits(&self) -> Option<Hits> {
        self.hits
    }

    /// Takes over what another form of the same condition knows.
    pub(crate) fn set_hits(&mut self, hits: Option<Hits>) {
        if self.hits.is_some() && hits.is_some() {
            self.hits = hits;
        }
    }

    /// Notes a hit.
    pub(crate) fn hit(&mut self, at: Timestamp) {
        self.hits = self.hits.map(|hits| hit(hits, at));
    }

    pub(crate) fn save(&self, out: &mut StateWriter) {
        if let Some(hits) = &self.hits {
            out.section("hits", 1);
            out.i64(hits.count);
            out.time(hits.time);
        }
    }

    pub(crate) fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        if let Some(hits) = &mut self.hits {
            from.section("hits", 1)?;
            *hits = Hits { count: from.i64()?, time: from.time()? };
        }
        Ok(())
    }
}

fn hit(before: Hits, at: Timestamp) -> Hits {
    Hits { count: before.count.saturating_add(1), time: at }
}
