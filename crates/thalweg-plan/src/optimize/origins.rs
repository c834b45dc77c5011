//! Which column of which scan a slot holds, at every node of a plan.

use thalweg_core::{PathStep, Slot, Value};
use thalweg_expr::Expr;
use thalweg_expr::expr::Step;
use thalweg_sql::ast::JoinKind;

use super::exprs;
use super::sides::{Side, join_order, sides};
use crate::logical::{JoinStep, Kind, Node, OutputColumn};

/// A column of a scan. Scans are numbered in the order in which their rows enter the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub scan: usize,
    pub slot: Slot,
    /// Whether it may be missing because its row is made up (outer joins, the group of an empty window).
    pub is_padded: bool,
}

/// The origin of each slot; none for what is computed.
pub(super) type Layout = Vec<Option<Origin>>;

/// Something that reads slots.
pub(super) enum Read<'a> {
    Expr(&'a mut Expr),
    /// A column as it is: of `*`, or of the result.
    Whole(Slot),
}

/// Calls `visit` for everything that reads slots, with their origins.
pub(super) fn visit(root: &mut Node, visit: &mut dyn FnMut(Read<'_>, &Layout)) {
    let output = walk(root, &mut 0, visit);
    whole(&output, visit);
}

/// Calls `found` for each read of a scan's column: with the literal steps that follow at once, none for the whole
/// column. A path over a column that may be padded reads the whole of it.
pub(super) fn reads(root: &mut Node, found: &mut dyn FnMut(Origin, &[PathStep])) {
    visit(root, &mut |read, layout| {
        let origin = |slot: Slot| layout.get(slot.index()).copied().flatten();
        match read {
            Read::Whole(slot) => origin(slot).into_iter().for_each(|origin| found(origin, &[])),
            Read::Expr(expr) => reads_of(expr, &mut |slot, steps| {
                if let Some(origin) = origin(slot) {
                    found(origin, if origin.is_padded { &[] } else { steps });
                }
            }),
        }
    });
}

fn reads_of(expr: &Expr, found: &mut dyn FnMut(Slot, &[PathStep])) {
    match expr {
        Expr::Column(slot) => found(*slot, &[]),
        Expr::Object(slots) => slots.iter().for_each(|(_, slot)| found(*slot, &[])),
        Expr::Path(base, steps) => {
            match &**base {
                Expr::Column(slot) => found(*slot, &literal(steps)),
                other => reads_of(other, found),
            }
            // The base is the first part.
            expr.parts().into_iter().skip(1).for_each(|part| reads_of(part, found));
        }
        other => other.parts().into_iter().for_each(|part| reads_of(part, found)),
    }
}

/// The steps from the first on that a decoder can follow.
pub(super) fn literal(steps: &[Step]) -> Vec<PathStep> {
    let step = |step: &Step| match step {
        Step::Member(name) => Some(PathStep::Member(std::sync::Arc::clone(name))),
        Step::Index(at) => match at.as_literal() {
            Some(Value::Int(index)) => usize::try_from(*index).ok().map(PathStep::Index),
            _ => None,
        },
        Step::AnyCase(_) | Step::Slice(..) => None,
    };
    steps.iter().map_while(step).collect()
}

fn whole(layout: &Layout, visit: &mut dyn FnMut(Read<'_>, &Layout)) {
    (0..layout.len() as u32).for_each(|slot| visit(Read::Whole(Slot(slot)), layout));
}

/// Visits a node with all below it; the layout of its output.
fn walk(node: &mut Node, n_scans: &mut usize, visit: &mut dyn FnMut(Read<'_>, &Layout)) -> Layout {
    let inputs: Vec<Layout> = node.inputs.iter_mut().map(|input| walk(input, n_scans, visit)).collect();
    let n_slots = node.schema.len();
    let sides = sides(node);
    let mut layout = match &node.kind {
        Kind::Scan(_) => {
            let scan = *n_scans;
            *n_scans += 1;
            let origin = |slot| Some(Origin { scan, slot: Slot(slot), is_padded: false });
            return (0..n_slots as u32).map(origin).collect();
        }
        Kind::Join(steps) => joined(steps, &sides, &inputs),
        _ => inputs.concat(),
    };
    match &mut node.kind {
        Kind::Union | Kind::SubQuery(_) | Kind::ProjectSet { .. } => {
            whole(&layout, visit);
            return vec![None; n_slots];
        }
        Kind::Project(columns) => {
            for column in columns {
                match column {
                    OutputColumn::One { expr, .. } | OutputColumn::Keyed { expr } => {
                        visit(Read::Expr(expr), &layout);
                    }
                    OutputColumn::Spread { slots, .. } => {
                        slots.iter().for_each(|(_, slot)| visit(Read::Whole(*slot), &layout));
                    }
                }
            }
            return vec![None; n_slots];
        }
        _ => {}
    }
    layout.resize(n_slots, None);
    exprs::visit(&mut node.kind, &mut |expr| visit(Read::Expr(expr), &layout));
    exprs::join_right_sides(&mut node.kind, &mut |side, expr| {
        let Side { input, first, n_slots, .. } = sides[side];
        visit(Read::Expr(expr), &inputs[input][first..first + n_slots].to_vec());
    });
    // The group of an empty window has no row (W-6).
    if matches!(&node.kind, Kind::Aggregate { keys, .. } if keys.is_empty()) {
        layout.iter_mut().flatten().for_each(|origin| origin.is_padded = true);
    }
    layout
}

/// The layout of a join's output (J-7).
fn joined(steps: &[JoinStep], sides: &[Side], inputs: &[Layout]) -> Layout {
    let mut layout = Layout::new();
    for (position, side) in join_order(steps, sides.len()).into_iter().enumerate() {
        let Side { input, first, n_slots, .. } = sides[side];
        let own = position.checked_sub(1).map(|own| steps[own].kind);
        let later = steps[position..].iter().map(|step| step.kind);
        let is_padded = own.is_some_and(|kind| matches!(kind, JoinKind::Left | JoinKind::Full))
            || later.into_iter().any(|kind| matches!(kind, JoinKind::Right | JoinKind::Full));
        let padded = |origin: &Option<Origin>| {
            origin.map(|origin| Origin { is_padded: origin.is_padded || is_padded, ..origin })
        };
        layout.extend(inputs[input][first..first + n_slots].iter().map(padded));
    }
    layout
}
