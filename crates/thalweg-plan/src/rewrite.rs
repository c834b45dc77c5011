//! Walking and rewriting bound expressions.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_core::Slot;
use thalweg_expr::Expr;
use thalweg_expr::expr::Step;

/// Calls `visit` for the expression and all below it, outer ones first.
pub(crate) fn walk(expr: &Expr, visit: &mut dyn FnMut(&Expr)) {
    visit(expr);
    match expr {
        Expr::Column(_) | Expr::Literal(_) | Expr::Context(_) | Expr::Object(_) => {}
        Expr::Unary(_, value) | Expr::IsNull { value, .. } => walk(value, visit),
        Expr::Binary(_, left, right) => {
            walk(left, visit);
            walk(right, visit);
        }
        Expr::Between { parts, .. } => parts.iter().for_each(|part| walk(part, visit)),
        Expr::InList { value, list, .. } => {
            walk(value, visit);
            list.iter().for_each(|item| walk(item, visit));
        }
        Expr::InArray { value, array, .. } => {
            walk(value, visit);
            walk(array, visit);
        }
        Expr::Path(value, steps) => {
            walk(value, visit);
            steps.iter().for_each(|step| walk_step(step, visit));
        }
        Expr::Case { value, arms, otherwise } => {
            value.iter().chain(otherwise).for_each(|part| walk(part, visit));
            for (when, then) in arms {
                walk(when, visit);
                walk(then, visit);
            }
        }
        Expr::Call { args, .. } => args.iter().for_each(|arg| walk(arg, visit)),
    }
}

fn walk_step(step: &Step, visit: &mut dyn FnMut(&Expr)) {
    match step {
        Step::Member(_) => {}
        Step::Index(index) => walk(index, visit),
        Step::Slice(start, end) => start.iter().chain(end).for_each(|bound| walk(bound, visit)),
    }
}

/// Rebuilds an expression from the leaves up: `change` sees each node with its children already changed.
pub(crate) fn rewrite(expr: Expr, change: &mut dyn FnMut(Expr) -> Expr) -> Expr {
    let mut sub = |expr: Box<Expr>| Box::new(rewrite(*expr, change));
    let rebuilt = match expr {
        Expr::Column(_) | Expr::Literal(_) | Expr::Context(_) | Expr::Object(_) => expr,
        Expr::Unary(op, value) => Expr::Unary(op, sub(value)),
        Expr::Binary(op, left, right) => {
            let left = sub(left);
            Expr::Binary(op, left, sub(right))
        }
        Expr::Between { negated, parts } => {
            let parts = parts.map(|part| rewrite(part, change));
            Expr::Between { negated, parts: Box::new(parts) }
        }
        Expr::InList { negated, value, list } => {
            let value = sub(value);
            Expr::InList { negated, value, list: rewrite_all(list, change) }
        }
        Expr::InArray { negated, value, array } => {
            let value = sub(value);
            Expr::InArray { negated, value, array: sub(array) }
        }
        Expr::IsNull { negated, value } => Expr::IsNull { negated, value: sub(value) },
        Expr::Path(value, steps) => {
            let value = sub(value);
            Expr::Path(value, steps.into_iter().map(|step| rewrite_step(step, change)).collect())
        }
        Expr::Case { value, arms, otherwise } => {
            let value = value.map(&mut sub);
            let otherwise = otherwise.map(sub);
            let arms = arms.into_iter().map(|(when, then)| (rewrite(when, change), rewrite(then, change))).collect();
            Expr::Case { value, arms, otherwise }
        }
        Expr::Call { function, args, call_id } => {
            Expr::Call { function, args: rewrite_all(args, change), call_id }
        }
    };
    change(rebuilt)
}

fn rewrite_all(list: Vec<Expr>, change: &mut dyn FnMut(Expr) -> Expr) -> Vec<Expr> {
    list.into_iter().map(|expr| rewrite(expr, change)).collect()
}

fn rewrite_step(step: Step, change: &mut dyn FnMut(Expr) -> Expr) -> Step {
    match step {
        Step::Member(name) => Step::Member(name),
        Step::Index(index) => Step::Index(rewrite(index, change)),
        Step::Slice(start, end) => {
            let start = start.map(|bound| rewrite(bound, change));
            Step::Slice(start, end.map(|bound| rewrite(bound, change)))
        }
    }
}

/// The slots that an expression reads.
pub(crate) fn slots(expr: &Expr) -> BTreeSet<Slot> {
    let mut slots = BTreeSet::new();
    walk(expr, &mut |expr| match expr {
        Expr::Column(slot) => {
            slots.insert(*slot);
        }
        Expr::Object(members) => slots.extend(members.iter().map(|(_, slot)| *slot)),
        _ => {}
    });
    slots
}

/// The same expression with other slot numbers.
pub(crate) fn renumber(expr: Expr, number: &dyn Fn(Slot) -> Slot) -> Expr {
    rewrite(expr, &mut |expr| match expr {
        Expr::Column(slot) => Expr::Column(number(slot)),
        Expr::Object(members) => {
            Expr::Object(members.into_iter().map(|(name, slot)| (name, number(slot))).collect())
        }
        other => other,
    })
}

/// Replaces columns by expressions.
pub(crate) fn substitute(expr: Expr, values: &BTreeMap<Slot, Expr>) -> Expr {
    if values.is_empty() {
        return expr;
    }
    rewrite(expr, &mut |expr| match expr {
        Expr::Column(slot) => values.get(&slot).cloned().unwrap_or(Expr::Column(slot)),
        other => other,
    })
}

/// The number of nodes of an expression.
pub(crate) fn size(expr: &Expr) -> usize {
    let mut n_nodes = 0;
    walk(expr, &mut |_| n_nodes += 1);
    n_nodes
}

/// The parts of a condition that are joined by AND, in order.
pub(crate) fn conjuncts(condition: Expr) -> Vec<Expr> {
    match condition {
        Expr::Binary(thalweg_core::BinaryOp::And, left, right) => {
            let mut parts = conjuncts(*left);
            parts.extend(conjuncts(*right));
            parts
        }
        other => vec![other],
    }
}

/// The reverse of [`conjuncts`]; nothing from no part.
pub(crate) fn all_of(parts: impl IntoIterator<Item = Expr>) -> Option<Expr> {
    let and = |left, right| Expr::Binary(thalweg_core::BinaryOp::And, Box::new(left), Box::new(right));
    parts.into_iter().reduce(and)
}
