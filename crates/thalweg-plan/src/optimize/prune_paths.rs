//! Lets decoders pick what is read below a column: `o->p->q` and `o->list[0]->x` become slots of the scan, so
//! that nested values are neither built nor walked over again. The column itself goes when nothing else reads it
//! (`prune_columns.rs`).
//!
//! A slot holds what the expression would give, errors included. Below a declared column the path ends where the
//! type does not say how it goes on; the expression follows the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::projection::{Want, Wanted};
use thalweg_core::{DataType, PathStep, Slot};
use thalweg_expr::Expr;

use super::carry::{moves, rescan};
use super::origins::{self, Layout, Origin, Read, literal};
use crate::logical::{Plan, Scan};
use crate::rewrite;

/// Of each column that paths lead below: the paths that its scan delivers, with their slots.
type Picked = BTreeMap<(usize, Slot), BTreeMap<Vec<PathStep>, Slot>>;

/// Runs the pass.
pub(super) fn run(mut plan: Plan) -> Plan {
    let mut paths: BTreeMap<usize, Vec<(Slot, Vec<PathStep>)>> = BTreeMap::new();
    origins::reads(&mut plan.root, &mut |origin, steps| {
        if !steps.is_empty() {
            paths.entry(origin.scan).or_default().push((origin.slot, steps.to_vec()));
        }
    });
    let mut picked = Picked::new();
    plan.root = rescan(plan.root, &mut |index, scan| {
        let n_before = scan.projection.slots.len();
        for (column, steps) in paths.remove(&index).unwrap_or_default() {
            if let Some((steps, slot)) = pick(scan, column, steps) {
                picked.entry((index, column)).or_default().insert(steps, slot);
            }
        }
        moves((0..n_before).map(|_| true))
    });
    origins::visit(&mut plan.root, &mut |read, layout| {
        if let Read::Expr(expr) = read {
            rewrite::rewrite(expr, &mut |expr| replace(expr, layout, &picked));
        }
    });
    plan
}

/// Adds a path to what the scan delivers, as far as the column's type says how it goes; the steps and the slot.
fn pick(scan: &mut Scan, column: Slot, mut steps: Vec<PathStep>) -> Option<(Vec<PathStep>, Slot)> {
    let Wanted { want, strict } = scan.projection.slots[column.index()].clone();
    let Want::Column { path, data_type } = want else { return None };
    let [name] = path.as_slice() else { return None };
    // T-8: the items of a strict list are looked at one by one.
    if strict.is_some() && matches!(data_type, Some(DataType::Array(_))) {
        return None;
    }
    if let Some(data_type) = &data_type {
        steps.truncate(fitting(data_type, &steps));
    }
    if steps.is_empty() {
        return None;
    }
    let want = Want::Path { column: Arc::clone(name), steps: steps.clone(), data_type };
    Some((steps, scan.projection.slot(want, strict)))
}

/// How many of the steps a value of this type can go.
fn fitting(data_type: &DataType, steps: &[PathStep]) -> usize {
    let next = match (data_type, steps.first()) {
        // D-1: of two declarations of one name the later one counts.
        (DataType::Struct(columns), Some(PathStep::Member(name))) => {
            columns.iter().rfind(|(column, _)| column == name).map(|(_, data_type)| data_type)
        }
        (DataType::Array(element), Some(PathStep::Index(_))) => Some(&**element),
        _ => None,
    };
    next.map_or(0, |next| 1 + fitting(next, &steps[1..]))
}

/// Reads the longest path that the scan delivers, and follows the rest.
fn replace(expr: &mut Expr, layout: &Layout, picked: &Picked) {
    let Expr::Path(base, steps) = &*expr else { return };
    let Expr::Column(column) = **base else { return };
    let Some(Some(Origin { scan, slot, is_padded: false })) = layout.get(column.index()).copied() else {
        return;
    };
    let Some(paths) = picked.get(&(scan, slot)) else { return };
    let wanted = literal(steps);
    let longest = (1..=wanted.len()).rev().find_map(|n| Some((n, *paths.get(&wanted[..n])?)));
    let Some((n_steps, found)) = longest else { return };
    let is_it = |origin: &Option<Origin>| origin.is_some_and(|o| o.scan == scan && o.slot == found);
    let Some(place) = layout.iter().position(is_it) else { return };
    let column = Expr::Column(Slot(place as u32));
    let rest = steps[n_steps..].to_vec();
    *expr = if rest.is_empty() { column } else { Expr::Path(Box::new(column), rest) };
}
