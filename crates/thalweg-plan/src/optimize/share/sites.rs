//! Where expressions occur that are worth computing once, and whether each row needs them there.

use std::collections::BTreeSet;

use thalweg_core::{BinaryOp, Slot};
use thalweg_expr::{Expr, ExprKey, FunctionRef};

use crate::logical::{AggregateCall, Kind, Node, OutputColumn, WindowKind};
use crate::optimize::exprs;

/// An expression is worth a Compute from this cost on, counted in simple operators.
const DEAR: usize = 8;

/// A place where a candidate occurs.
pub(super) struct Site {
    pub(super) key: ExprKey,
    pub(super) expr: Expr,
    pub(super) cost: usize,
    pub(super) node: usize,
    branch: Branch,
}

impl Site {
    /// Whether it is evaluated for every row there.
    pub(super) fn is_certain(&self) -> bool {
        self.branch.is_certain
    }
}

/// Which rows get to a place.
#[derive(Debug, Clone)]
pub(super) struct Branch {
    is_certain: bool,
    /// The branches of CASE around it: which CASE, and which of its branches.
    of_cases: Vec<(usize, usize)>,
}

impl Branch {
    /// Whether one row may get to two of these places.
    pub(super) fn may_meet(sites: &[&Site]) -> bool {
        let meets = |one: &Self, other: &Self| {
            let excludes = |(case, arm): &(usize, usize)| {
                other.of_cases.iter().any(|(case_2, arm_2)| case == case_2 && arm != arm_2)
            };
            !one.of_cases.iter().any(excludes)
        };
        let with_later = |(at, site): (usize, &&Site)| {
            sites[at + 1..].iter().any(|later| meets(&site.branch, &later.branch))
        };
        sites.iter().enumerate().any(with_later)
    }
}

/// The places of a segment.
#[derive(Default)]
pub(super) struct Sites {
    pub(super) found: Vec<Site>,
    n_cases: usize,
    /// Memos that were met already. Each place that reads one has a copy of its expression, evaluated in one of them.
    memos: BTreeSet<Slot>,
}

impl Sites {
    /// Adds those of a node.
    pub(super) fn add(&mut self, node: usize, of: &Node, is_aggregate: bool) {
        each_expr(&mut of.kind.clone(), is_aggregate, &mut |expr, is_certain| {
            self.note(node, expr, &Branch { is_certain, of_cases: Vec::new() });
        });
    }

    /// Adds an expression and its parts (O-5, O-11).
    fn note(&mut self, node: usize, expr: &Expr, branch: &Branch) {
        if let Expr::Once(once) = expr {
            if self.memos.insert(once.slot) {
                let branch = Branch { is_certain: false, ..branch.clone() };
                once.expr.parts().into_iter().for_each(|part| self.note(node, part, &branch));
            }
            return;
        }
        let cost = cost(expr);
        if cost >= DEAR && expr.is_pure() && expr.is_quiet() && !expr.is_constant() {
            let (key, expr, branch) = (expr.key(), expr.clone(), branch.clone());
            self.found.push(Site { key, expr, cost, node, branch });
        }
        match expr {
            Expr::Binary(BinaryOp::And | BinaryOp::Or, left, right) => {
                self.note(node, left, branch);
                self.note(node, right, &Branch { is_certain: false, ..branch.clone() });
            }
            Expr::Case { value, arms, otherwise } => {
                self.n_cases += 1;
                let case = self.n_cases;
                value.iter().for_each(|value| self.note(node, value, branch));
                for (arm, (when, then)) in arms.iter().enumerate() {
                    let is_certain = branch.is_certain && arm == 0;
                    self.note(node, when, &Branch { is_certain, ..branch.clone() });
                    self.note(node, then, &branch.arm(case, arm));
                }
                otherwise.iter().for_each(|value| self.note(node, value, &branch.arm(case, arms.len())));
            }
            _ => expr.parts().into_iter().for_each(|part| self.note(node, part, branch)),
        }
    }
}

impl Branch {
    fn arm(&self, case: usize, arm: usize) -> Self {
        let mut of_cases = self.of_cases.clone();
        of_cases.push((case, arm));
        Self { is_certain: false, of_cases }
    }
}

/// Calls `visit` for the expressions of a node that may be shared, and tells whether they are evaluated for every row.
pub(super) fn each_expr(kind: &mut Kind, is_aggregate: bool, visit: &mut dyn FnMut(&mut Expr, bool)) {
    match kind {
        Kind::Project(columns) => {
            for column in columns {
                match column {
                    // S6: whether such a call fails by itself or by its argument makes a difference.
                    OutputColumn::One {
                        expr: Expr::Call { function: FunctionRef::Builtin(_), .. }, ..
                    } if is_aggregate => {}
                    OutputColumn::One { expr, .. } | OutputColumn::Keyed { expr } => visit(expr, true),
                    OutputColumn::Spread { .. } => {}
                }
            }
        }
        Kind::Window(window) => {
            if let WindowKind::State { begin, emit } = &mut window.kind {
                begin.iter_mut().for_each(|begin| visit(begin, true));
                emit.iter_mut().for_each(|emit| visit(emit, false));
            }
            let others = window.trigger.iter_mut().chain(window.partition_by.iter_mut().flatten());
            others.for_each(|expr| visit(expr, true));
        }
        Kind::Analytic(calls) => {
            for call in calls {
                let is_certain = call.when.is_none();
                call.args.iter_mut().for_each(|arg| visit(arg, is_certain));
                call.partition_by.iter_mut().chain(&mut call.when).for_each(|expr| visit(expr, true));
            }
        }
        Kind::AggFunc(calls) => aggregates(calls, visit),
        Kind::Aggregate { keys, calls } => {
            keys.iter_mut().for_each(|key| visit(key, true));
            aggregates(calls, visit);
        }
        Kind::LookupJoin(lookup) => lookup.keys.iter_mut().for_each(|(_, value)| visit(value, true)),
        other => exprs::visit(other, &mut |expr| visit(expr, true)),
    }
}

fn aggregates(calls: &mut [AggregateCall], visit: &mut dyn FnMut(&mut Expr, bool)) {
    for call in calls {
        let is_certain = call.filter.is_none();
        call.args.iter_mut().for_each(|arg| visit(arg, is_certain));
        call.filter.iter_mut().for_each(|filter| visit(filter, true));
    }
}

/// What evaluating costs, in simple operators. AND and OR are never shared whole: conditions take them apart.
fn cost(expr: &Expr) -> usize {
    let own = match expr {
        Expr::Column(_) | Expr::Literal(_) => 0,
        Expr::Once(_) => return 0,
        Expr::Binary(BinaryOp::And | BinaryOp::Or, ..) => return 0,
        Expr::Call { .. } | Expr::Binary(BinaryOp::Like | BinaryOp::NotLike, ..) | Expr::Object(_) => DEAR,
        Expr::Case { arms, .. } => 1 + 2 * arms.len(),
        Expr::Path(_, steps) => 2 + 2 * steps.len(),
        _ => 1,
    };
    expr.parts().into_iter().fold(own, |sum, part| sum + cost(part))
}

/// The number of nodes of an expression as it is written: equal for equal keys.
pub(super) fn size(expr: &Expr) -> usize {
    let mut n_nodes = 0;
    expr.walk(&mut |expr| n_nodes += usize::from(!matches!(expr, Expr::Once(_))));
    n_nodes
}

/// Reads what is computed instead of the expression. What waits in a memo keeps its expression, of which parts may be
/// computed by others.
pub(super) fn replace(expr: &mut Expr, key: &ExprKey, size: usize, read: &Expr) {
    if self::size(expr) < size {
        return;
    }
    match expr {
        Expr::Once(once) => once.expr.parts_mut(&mut |part| replace(part, key, size, read)),
        _ if expr.key() == *key => *expr = read.clone(),
        _ => expr.parts_mut(&mut |part| replace(part, key, size, read)),
    }
}
