//! `upper(device)` behind AND in WHERE and again in SELECT, evaluated in each place and kept in a memo; the time of
//! making the memo is in it.

use std::sync::Arc;

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Batch, BinaryOp, Column, Schema, Selection, Slot, Timestamp, Unit, Value};
use thalweg_expr::{Expr, FunctionRef, Once, registry};

use super::filter::cx;
use crate::measure::{Variant, nanos_per_item};
use crate::report::Report;

const SIZES: &[usize] = &[1, 16, 256, 1_024];

fn batch(rows: usize) -> Batch {
    let devices: Vec<Value> =
        (0..rows).map(|row| Value::text(format!("device-{:04}", row * 7 % 100))).collect();
    let columns =
        [Column::from_ints((0..rows as i64).map(|row| row * 7 % 100)), Column::from_values(&devices)];
    Batch {
        schema: Arc::new(Schema::computed(["a", "device"])),
        columns: columns.into_iter().map(Arc::new).collect(),
        n_rows: rows,
        times: vec![Timestamp(0); rows],
        unit: Unit::Rows,
        window: None,
    }
}

fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    Expr::Binary(op, Box::new(left), Box::new(right))
}

/// `a >= 0 AND dear != 'X'`.
fn condition(dear: Expr) -> Expr {
    let some = binary(BinaryOp::GtEq, Expr::Column(Slot(0)), Expr::literal(Value::Int(0)));
    binary(BinaryOp::And, some, binary(BinaryOp::NotEq, dear, Expr::literal(Value::text("X"))))
}

/// WHERE, then SELECT.
fn both(batch: &Batch, condition: &Expr, dear: &Expr, metrics: &NodeMetrics) -> u64 {
    let mut cx = cx(metrics);
    let kept = Selection::rows(condition.filter(batch, &Selection::all(batch.n_rows), &mut cx).passed);
    let result = dear.eval(batch, &kept, &mut cx);
    kept.iter().map(|row| result.column().words()[row] & 1).sum()
}

/// All batch sizes.
pub(crate) fn run(report: &Report) {
    let Some(upper) = registry::builtin("upper") else { return };
    let upper =
        Expr::Call { function: FunctionRef::Builtin(upper), args: vec![Expr::Column(Slot(1))], call_id: 0 };
    let once = Expr::Once(Box::new(Once { slot: Slot(2), expr: upper.clone() }));
    let metrics = NodeMetrics::default();
    for &size in SIZES {
        let batch = batch(size);
        let by_itself = condition(upper.clone());
        let in_each = || both(&batch, &by_itself, &upper, &metrics);
        let kept = condition(once.clone());
        let in_one = || {
            let mut wider = batch.clone();
            let memo = once.append(&batch, &Selection::all(size), &mut cx(&metrics));
            wider.columns.push(Arc::new(memo));
            both(&wider, &kept, &once, &metrics)
        };
        let variants = vec![Variant::new("each", in_each), Variant::new("once", in_one)];
        report.compare(&format!("share_{size}"), &nanos_per_item(size, variants));
    }
}
