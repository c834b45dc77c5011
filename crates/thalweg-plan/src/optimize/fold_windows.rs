//! Lets windows fold rows into the aggregate above as they arrive, instead of keeping them (X-5, S19).
//!
//! Possible where the aggregate would see the same rows in the same order with the same values: no join, one input, and
//! between window and aggregate nothing but conditions and values of single rows that depend on nothing else. A window
//! whose rows leave one by one (sliding) keeps its rows all the same, and running groups beside them.

use std::collections::BTreeSet;
use std::sync::Arc;

use thalweg_core::Slot;
use thalweg_expr::{Expr, FunctionKind, FunctionRef};

use super::exprs;
use crate::logical::{AggregateCall, Fold, FoldStep, Kind, Node, OutputColumn, Plan, Window, WindowKind};
use crate::rewrite;

/// Runs the pass.
pub(super) fn run(mut plan: Plan) -> Plan {
    let all = every_slot(&plan.root);
    fold_below(&mut plan.root, all);
    plan
}

fn every_slot(node: &Node) -> BTreeSet<Slot> {
    (0..node.schema.len() as u32).map(Slot).collect()
}

/// Folds what can be folded in a node of which `reads` is read.
fn fold_below(node: &mut Node, mut reads: BTreeSet<Slot>) {
    match &mut node.kind {
        Kind::Aggregate { .. } => try_fold(node, &reads),
        Kind::Project(columns) => reads = of_project(columns),
        // Of these the output's slots are the input's, and more.
        Kind::Having { .. }
        | Kind::Sort(_)
        | Kind::Limit(_)
        | Kind::RowNumber { .. }
        | Kind::Compute(_)
        | Kind::Analytic(_) => {
            exprs::visit(&mut node.kind, &mut |expr| reads.extend(rewrite::slots(expr)));
        }
        _ => {
            return node.inputs.iter_mut().for_each(|input| {
                let all = every_slot(input);
                fold_below(input, all);
            });
        }
    }
    node.inputs.iter_mut().for_each(|input| fold_below(input, reads.clone()));
}

fn of_project(columns: &[OutputColumn]) -> BTreeSet<Slot> {
    let mut reads = BTreeSet::new();
    for column in columns {
        match column {
            OutputColumn::One { expr, .. } | OutputColumn::Keyed { expr } => {
                reads.extend(rewrite::slots(expr));
            }
            OutputColumn::Spread { slots, .. } => reads.extend(slots.iter().map(|(_, slot)| *slot)),
        }
    }
    reads
}

fn try_fold(aggregate: &mut Node, reads: &BTreeSet<Slot>) {
    let Kind::Aggregate { keys, calls } = &aggregate.kind else { return };
    if !keys.iter().all(Expr::is_pure) || !calls.iter().all(can_fold) {
        return;
    }
    let (keys, calls, schema) = (keys.clone(), calls.clone(), Arc::clone(&aggregate.schema));
    let Some(mut below) = aggregate.inputs.first_mut() else { return };
    let n_slots = below.schema.len();
    let firsts = reads.iter().copied().filter(|slot| slot.index() < n_slots).collect();
    let mut steps = Vec::new();
    loop {
        match &mut below.kind {
            Kind::Filter(condition) if condition.is_pure() => {
                steps.push(FoldStep::Filter(condition.clone()));
            }
            Kind::Compute(values) if values.iter().all(Expr::is_pure) => {
                steps.push(FoldStep::Compute { values: values.clone(), schema: Arc::clone(&below.schema) });
            }
            Kind::Window(window) if below.inputs.len() == 1 && suits(window, &calls) => {
                steps.reverse();
                window.fold = Some(Arc::new(Fold { steps, keys, calls, firsts, schema }));
                return;
            }
            _ => return,
        }
        let Some(next) = below.inputs.first_mut() else { return };
        below = next;
    }
}

/// Whether a call's states can be kept from row to row.
fn can_fold(call: &AggregateCall) -> bool {
    let is_pure = call.args.iter().chain(&call.filter).all(Expr::is_pure);
    is_pure
        && match &call.function {
            FunctionRef::Builtin(_) => true,
            FunctionRef::Remote(function) => function.accumulators().is_some(),
        }
}

/// Whether the window's rows fall into panes that windows hold whole, or leave one by one those who came first.
fn suits(window: &Window, calls: &[AggregateCall]) -> bool {
    match window.kind {
        // Every row is in one window.
        WindowKind::Tumbling { .. } | WindowKind::Session { .. } | WindowKind::State { .. } => true,
        WindowKind::Hopping { .. } | WindowKind::Count { .. } => calls.iter().all(can_merge),
        WindowKind::Sliding { twice, .. } => !twice && calls.iter().all(stays_small),
    }
}

/// Whether the states of panes can be joined.
fn can_merge(call: &AggregateCall) -> bool {
    match &call.function {
        FunctionRef::Builtin(_) => true,
        FunctionRef::Remote(function) => function.accumulators().is_some_and(|can| can.merge),
    }
}

/// Whether there may be a state for every row.
fn stays_small(call: &AggregateCall) -> bool {
    match &call.function {
        FunctionRef::Builtin(function) => match function.kind {
            FunctionKind::Aggregate(new) => new().is_small(),
            _ => false,
        },
        FunctionRef::Remote(_) => false,
    }
}
