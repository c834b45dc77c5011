//! Appends the values of expressions that several clauses share (P-7). A failed value stays an error cell: whoever
//! uses it counts it.

use std::sync::Arc;

use thalweg_core::{Batch, Schema, Selection};
use thalweg_expr::Expr;

use crate::op::reshape::Room;
use crate::operator::{Emit, OpCx, Operator};

/// Appends columns.
pub(crate) struct Compute {
    exprs: Vec<Expr>,
    room: Room,
}

impl Compute {
    pub(crate) fn new(exprs: &[Expr], schema: &Arc<Schema>) -> Self {
        Self { exprs: exprs.to_vec(), room: Room::new(schema) }
    }
}

impl Operator for Compute {
    fn memory(&self) -> usize {
        self.room.memory()
    }

    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        let mut eval = cx.eval(batch.window);
        self.room.begin_wider(batch);
        // One after the other: a later expression may read an earlier one's slot.
        for expr in &self.exprs {
            self.room.push_with(|wider, column| expr.append_into(wider, rows, &mut eval, column));
        }
        out.batch(0, self.room.batch(), rows);
        self.room.clear();
    }
}
