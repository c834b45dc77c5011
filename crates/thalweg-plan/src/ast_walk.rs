//! Walking written expressions.

use thalweg_sql::ast::{Call, Expr, ExprKind};

/// Calls `visit` for the expression and all below it, outer ones first.
pub(crate) fn walk<'q>(expr: &'q Expr, visit: &mut dyn FnMut(&'q Expr)) {
    visit(expr);
    match &expr.kind {
        ExprKind::Literal(_) | ExprKind::Name(_) => {}
        ExprKind::Wildcard { replace, .. } => replace.iter().for_each(|field| walk(&field.expr, visit)),
        ExprKind::Unary(_, value) | ExprKind::IsNull { value, .. } | ExprKind::Arrow(value, _) => {
            walk(value, visit)
        }
        ExprKind::Binary(_, left, right) | ExprKind::Index(left, right) => {
            walk(left, visit);
            walk(right, visit);
        }
        ExprKind::Between { value, low, high, .. } => {
            [value, low, high].into_iter().for_each(|part| walk(part, visit))
        }
        ExprKind::InList { value, list, .. } => {
            walk(value, visit);
            list.iter().for_each(|item| walk(item, visit));
        }
        ExprKind::InArray { value, array, .. } => {
            walk(value, visit);
            walk(array, visit);
        }
        ExprKind::Slice { value, start, end } => {
            walk(value, visit);
            start.iter().chain(end).for_each(|bound| walk(bound, visit));
        }
        ExprKind::Case { value, arms, otherwise } => {
            value.iter().chain(otherwise).for_each(|part| walk(part, visit));
            for (when, then) in arms {
                walk(when, visit);
                walk(then, visit);
            }
        }
        ExprKind::Call(call) => walk_call(call, visit),
        ExprKind::Broken(operands) => operands.iter().for_each(|operand| walk(operand, visit)),
    }
}

fn walk_call<'q>(call: &'q Call, visit: &mut dyn FnMut(&'q Expr)) {
    let parts = call.args.iter().chain(&call.partition_by).chain(call.when.as_deref());
    parts.chain(call.order_by.iter().map(|key| &key.expr)).for_each(|part| walk(part, visit));
}

/// Whether the name occurs as an unqualified column.
pub(crate) fn mentions(expr: &Expr, name: &str) -> bool {
    let mut is_found = false;
    walk(expr, &mut |expr| {
        if let ExprKind::Name(parts) = &expr.kind {
            is_found |= parts.first().is_some_and(|first| &*first.text == name);
        }
    });
    is_found
}
