//! Rewriting bound expressions.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_core::{BinaryOp, Slot};
use thalweg_expr::{Context, Expr};

/// The slots that an expression reads.
pub(crate) fn slots(expr: &Expr) -> BTreeSet<Slot> {
    let mut slots = BTreeSet::new();
    expr.slots(&mut |slot| {
        slots.insert(slot);
    });
    slots
}

/// Changes an expression from the leaves up: `change` sees each node with its children already changed.
pub(crate) fn rewrite(expr: &mut Expr, change: &mut dyn FnMut(&mut Expr)) {
    expr.parts_mut(&mut |part| rewrite(part, change));
    change(expr);
}

/// Replaces columns by expressions.
pub(crate) fn substitute(mut expr: Expr, values: &BTreeMap<Slot, Expr>) -> Expr {
    if !values.is_empty() {
        rewrite(&mut expr, &mut |expr| {
            if let Expr::Column(slot) = expr
                && let Some(value) = values.get(slot)
            {
                *expr = value.clone();
            }
        });
    }
    expr
}

/// The number of nodes of an expression.
pub(crate) fn size(expr: &Expr) -> usize {
    let mut n_nodes = 0;
    expr.walk(&mut |_| n_nodes += 1);
    n_nodes
}

/// The parts of a condition that are joined by AND, in order.
pub(crate) fn conjuncts(condition: Expr) -> Vec<Expr> {
    let (mut parts, mut rest) = (Vec::new(), vec![condition]);
    while let Some(part) = rest.pop() {
        match part {
            Expr::Binary(BinaryOp::And, left, right) => rest.extend([*right, *left]),
            other => parts.push(other),
        }
    }
    parts
}

/// The reverse of [`conjuncts`]; nothing from no part.
pub(crate) fn all_of(parts: impl IntoIterator<Item = Expr>) -> Option<Expr> {
    let and = |left, right| Expr::Binary(BinaryOp::And, Box::new(left), Box::new(right));
    parts.into_iter().reduce(and)
}

/// Whether the expression's value depends on the window, so that it has none before it.
pub(crate) fn asks_for_window(expr: &Expr) -> bool {
    let mut asks = false;
    expr.walk(&mut |expr| {
        asks |= matches!(
            expr,
            Expr::Context(
                Context::WindowStart
                    | Context::WindowEnd
                    | Context::WindowTrigger
                    | Context::EventTime { of_window: true }
            )
        );
    });
    asks
}

/// Whether the expression asks how often the condition that it is part of was true: it must stay there whole.
pub(crate) fn asks_for_hits(expr: &Expr) -> bool {
    let mut asks = false;
    expr.walk(&mut |expr| asks |= matches!(expr, Expr::Context(Context::HitCount | Context::HitTime)));
    asks
}
