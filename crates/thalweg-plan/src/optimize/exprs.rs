//! The expressions of a node, whatever its kind.

use thalweg_core::Slot;
use thalweg_expr::Expr;

use crate::logical::{AggregateCall, Kind, Node, OutputColumn, SortKey, Window, WindowKind};

/// Calls `visit` for each expression of a node. The right sides of a join's equalities, which are bound to other
/// slots than the rest, are for [`join_right_sides`].
pub(crate) fn visit(kind: &mut Kind, visit: &mut dyn FnMut(&mut Expr)) {
    match kind {
        Kind::Scan(_) | Kind::Watermark { .. } | Kind::Limit(_) | Kind::ProjectSet { .. } => {}
        Kind::Union | Kind::Outlets | Kind::SubQuery(_) => {}
        Kind::Analytic(calls) => {
            for call in calls {
                call.args
                    .iter_mut()
                    .chain(&mut call.partition_by)
                    .chain(&mut call.when)
                    .for_each(&mut *visit);
            }
        }
        Kind::WindowFilter(condition) | Kind::Filter(condition) | Kind::Having { condition, .. } => {
            visit(condition)
        }
        Kind::Window(window) => self::window(window, visit),
        Kind::Join(steps) => {
            for step in steps {
                step.on.iter_mut().for_each(&mut *visit);
                step.equi.iter_mut().for_each(|(left, _)| visit(left));
            }
        }
        Kind::LookupJoin(lookup) => {
            lookup.keys.iter_mut().for_each(|(_, value)| visit(value));
            lookup.on.iter_mut().for_each(visit);
        }
        Kind::Compute(values) => values.iter_mut().for_each(visit),
        Kind::AggFunc(calls) => aggregates(calls, visit),
        Kind::Aggregate { keys, calls } => {
            keys.iter_mut().for_each(&mut *visit);
            aggregates(calls, visit);
        }
        Kind::RowNumber { partition_by, order_by } => {
            partition_by.iter_mut().for_each(&mut *visit);
            sort_keys(order_by, visit);
        }
        Kind::DedupTrigger(dedup) => {
            [&mut dedup.start, &mut dedup.end, &mut dedup.now].into_iter().for_each(visit);
        }
        Kind::Sort(keys) => sort_keys(keys, visit),
        Kind::Project(columns) => {
            for column in columns {
                match column {
                    OutputColumn::One { expr, .. } | OutputColumn::Keyed { expr } => visit(expr),
                    OutputColumn::Spread { .. } => {}
                }
            }
        }
    }
}

/// Calls `found` for each slot of its input that a node reads, as often as it does.
pub(crate) fn each_read(node: &Node, found: &mut dyn FnMut(Slot)) {
    let mut kind = node.kind.clone();
    if let Kind::Project(columns) = &kind {
        let spread = columns.iter().filter_map(|column| match column {
            OutputColumn::Spread { slots, .. } => Some(slots),
            _ => None,
        });
        spread.flatten().for_each(|(_, slot)| found(*slot));
    }
    visit(&mut kind, &mut |expr| expr.slots(found));
}

/// The right sides of a join's equalities with the side that they are bound to.
pub(super) fn join_right_sides(kind: &mut Kind, visit: &mut dyn FnMut(usize, &mut Expr)) {
    let Kind::Join(steps) = kind else { return };
    for step in steps {
        step.equi.iter_mut().for_each(|(_, right)| visit(step.side, right));
    }
}

fn window(window: &mut Window, visit: &mut dyn FnMut(&mut Expr)) {
    if let WindowKind::State { begin, emit } = &mut window.kind {
        begin.iter_mut().chain(emit).for_each(&mut *visit);
    }
    window.trigger.iter_mut().chain(window.partition_by.iter_mut().flatten()).for_each(visit);
}

fn aggregates(calls: &mut [AggregateCall], visit: &mut dyn FnMut(&mut Expr)) {
    for call in calls {
        call.args.iter_mut().chain(&mut call.filter).for_each(&mut *visit);
    }
}

fn sort_keys(keys: &mut [SortKey], visit: &mut dyn FnMut(&mut Expr)) {
    keys.iter_mut().for_each(|key| visit(&mut key.expr));
}
