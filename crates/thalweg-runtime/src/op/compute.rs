//! Appends the values of expressions that several clauses share (P-7). A failed value stays an error cell: whoever
//! uses it counts it.

use std::sync::Arc;

use thalweg_core::{Batch, Schema, Selection};
use thalweg_expr::Expr;

use crate::op::reshape;
use crate::operator::{Emit, OpCx, Operator};

/// Appends columns.
pub(crate) struct Compute {
    exprs: Vec<Expr>,
    schema: Arc<Schema>,
}

impl Compute {
    pub(crate) fn new(exprs: &[Expr], schema: &Arc<Schema>) -> Self {
        Self { exprs: exprs.to_vec(), schema: Arc::clone(schema) }
    }
}

impl Operator for Compute {
    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        let mut eval = cx.eval(batch.window);
        let mut wider = reshape::append(batch, &self.schema, []);
        // One after the other: a later expression may read an earlier one's slot.
        for expr in &self.exprs {
            let column = expr.append(&wider, rows, &mut eval);
            wider.columns.push(Arc::new(column));
        }
        out.batch(0, &wider, rows);
    }
}
