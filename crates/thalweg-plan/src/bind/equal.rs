//! When two calls of a statement are one: equal aggregates are accumulated once, equal analytic calls keep one state,
//! and what fails in them is counted once. That is how calls are bound and no pass: nobody switches it off.
//!
//! Of an argument that is not pure each mention is another one, unless an alias brings the same call twice; so is
//! every call of a plugin's aggregate, about which the protocol tells nothing.

use thalweg_expr::{Expr, FunctionRef};

use crate::logical::{AggregateCall, AnalyticCall};

/// Whether two aggregate calls of one operator always have the same value.
pub(super) fn aggregates(one: &AggregateCall, other: &AggregateCall) -> bool {
    let is_same_call = one.call_id == other.call_id;
    (is_same_call || is_same_builtin(&one.function, &other.function))
        && all(&one.args, &other.args)
        && all(&one.filter, &other.filter)
}

/// Whether two analytic calls over the events of one source always have the same value.
pub(super) fn analytic(one: &AnalyticCall, other: &AnalyticCall) -> bool {
    is_same_builtin(&one.function, &other.function)
        && all(&one.args, &other.args)
        && all(&one.partition_by, &other.partition_by)
        && all(&one.when, &other.when)
}

fn is_same_builtin(one: &FunctionRef, other: &FunctionRef) -> bool {
    match (one, other) {
        (FunctionRef::Builtin(one), FunctionRef::Builtin(other)) => std::ptr::eq(*one, *other),
        _ => false,
    }
}

fn all<'e>(one: impl IntoIterator<Item = &'e Expr>, other: impl IntoIterator<Item = &'e Expr>) -> bool {
    let keys = |exprs: &mut dyn Iterator<Item = &'e Expr>| exprs.map(key).collect::<Vec<_>>();
    keys(&mut one.into_iter()) == keys(&mut other.into_iter())
}

/// With the numbers of calls in what is not pure, which tell mentions apart.
fn key(expr: &Expr) -> String {
    if expr.is_pure() { format!("{:?}", expr.key()) } else { format!("{expr:?}") }
}
