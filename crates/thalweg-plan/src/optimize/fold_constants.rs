//! Computes what does not depend on the row: operators over literals, and `TRUE AND` in conditions.
//!
//! Calls are left alone: some look at the configured time zone, which is not known here. What fails stays as it is
//! and fails for each row, as written.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Batch, Cell, Column, Schema, Selection, Timestamp, Unit, Value};
use thalweg_expr::{EvalCx, Expr};

use super::exprs;
use crate::logical::{Kind, Node, Plan};
use crate::rewrite;

/// Runs the pass.
pub(super) fn run(mut plan: Plan) -> Plan {
    plan.root = fold_node(plan.root);
    plan
}

fn fold_node(mut node: Node) -> Node {
    node.inputs = node.inputs.into_iter().map(fold_node).collect();
    exprs::visit(&mut node.kind, &mut |expr| rewrite::rewrite(expr, &mut fold));
    exprs::join_right_sides(&mut node.kind, &mut |_, expr| rewrite::rewrite(expr, &mut fold));
    match &node.kind {
        Kind::Filter(condition) => match without_true(condition.clone()) {
            Some(condition) => node.kind = Kind::Filter(condition),
            // behind a window even a condition that is always true drops empty collections.
            None if node.inputs.iter().any(has_window) => {
                node.kind = Kind::Filter(Expr::literal(Value::Bool(true)));
            }
            None => return node.inputs.pop().unwrap_or(node),
        },
        Kind::WindowFilter(condition) => match without_true(condition.clone()) {
            Some(condition) => node.kind = Kind::WindowFilter(condition),
            None => return node.inputs.pop().unwrap_or(node),
        },
        _ => {}
    }
    node
}

/// Whether what comes out are collections of a window in the same SELECT.
fn has_window(node: &Node) -> bool {
    match &node.kind {
        Kind::Window(_) => true,
        Kind::SubQuery(_) => false,
        _ => node.inputs.iter().any(has_window),
    }
}

/// The condition without parts that are always true; nothing if that was all.
fn without_true(condition: Expr) -> Option<Expr> {
    let is_true = |part: &Expr| matches!(part.as_literal(), Some(Value::Bool(true)));
    rewrite::all_of(rewrite::conjuncts(condition).into_iter().filter(|part| !is_true(part)))
}

/// Replaces an operator over literals by its value. Its parts have been folded before.
fn fold(expr: &mut Expr) {
    let is_operator = matches!(
        expr,
        Expr::Unary(..) | Expr::Binary(..) | Expr::Between { .. } | Expr::InList { .. } | Expr::IsNull { .. }
    );
    let is_constant = expr.parts().iter().all(|part| matches!(part, Expr::Literal(_)));
    if is_operator
        && is_constant
        && let Some(value) = value(expr)
    {
        *expr = Expr::literal(value);
    }
}

fn value(expr: &Expr) -> Option<Value> {
    let batch = Batch {
        schema: Arc::new(Schema::default()),
        columns: Vec::new(),
        n_rows: 1,
        times: vec![Timestamp(0)],
        unit: Unit::Rows,
        window: None,
    };
    let metrics = NodeMetrics::default();
    let mut cx = EvalCx {
        now: Timestamp(0),
        zone: thalweg_expr::Tz::UTC,
        rule: "",
        node: "",
        rule_start: Timestamp(0),
        window: None,
        instance: None,
        clock: None,
        hits: thalweg_expr::expr::Hits::default(),
        metrics: &metrics,
    };
    let column: Column = expr.eval(&batch, &Selection::all(1), &mut cx).into_column(1);
    match column.cell(0) {
        Cell::Error(_) => None,
        // What is counted is counted row by row (S7).
        _ if metrics.exceptions.load(Relaxed) > 0 => None,
        cell => Some(cell.to_value()),
    }
}
