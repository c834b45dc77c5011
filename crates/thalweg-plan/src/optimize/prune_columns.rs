//! Takes columns out of scans that nothing reads any more: those that EXCEPT takes away, that only an ignored
//! clause names, that folding has removed. (What was never named is not in a scan to begin with.)

use std::collections::BTreeSet;
use std::sync::Arc;

use thalweg_core::{Schema, Slot};
use thalweg_expr::Expr;

use super::exprs;
use super::sides::{Side, join_order, sides};
use crate::logical::{Kind, Node, OutputColumn, Plan, Scan};
use crate::rewrite;

/// Where each output slot has gone; nothing for those that are gone.
type Moves = Vec<Option<Slot>>;

/// Runs the pass.
pub(super) fn run(mut plan: Plan) -> Plan {
    let all = every_slot(&plan.root);
    plan.root = prune(plan.root, &all).0;
    plan
}

fn every_slot(node: &Node) -> BTreeSet<Slot> {
    (0..node.schema.len() as u32).map(Slot).collect()
}

/// The node without what neither `needed` nor its own expressions read.
fn prune(node: Node, needed: &BTreeSet<Slot>) -> (Node, Moves) {
    match &node.kind {
        Kind::Scan(scan) => {
            let scan = scan.clone();
            prune_scan(node, scan, needed)
        }
        Kind::Project(_) => prune_project(node),
        Kind::ProjectSet { .. } | Kind::Union | Kind::SubQuery(_) => keep_output(node),
        _ => prune_through(node, needed),
    }
}

fn prune_scan(mut node: Node, mut scan: Scan, needed: &BTreeSet<Slot>) -> (Node, Moves) {
    let (time, late) = (scan.event_time.as_ref().map(|(slot, _)| *slot), scan.late);
    let is_kept = |slot: Slot| needed.contains(&slot) || Some(slot) == time || Some(slot) == late;
    let moves = moves((0..scan.projection.slots.len() as u32).map(|slot| is_kept(Slot(slot))));
    let mut slots = moves.iter();
    scan.projection.slots.retain(|_| slots.next().is_some_and(Option::is_some));
    if let Some((slot, _)) = &mut scan.event_time {
        *slot = moves[slot.index()].unwrap_or(*slot);
    }
    scan.late = late.and_then(|slot| moves[slot.index()]);
    node.schema = Arc::new(scan.projection.schema());
    node.kind = Kind::Scan(scan);
    (node, moves)
}

/// New numbers for what is kept.
fn moves(kept: impl Iterator<Item = bool>) -> Moves {
    let mut next = 0;
    kept.map(|kept| {
        kept.then(|| {
            next += 1;
            Slot(next - 1)
        })
    })
    .collect()
}

/// A projection reads only what it says; its own output stays.
fn prune_project(mut node: Node) -> (Node, Moves) {
    let Kind::Project(columns) = &mut node.kind else { return keep_output(node) };
    let mut needed = BTreeSet::new();
    for column in columns.iter_mut() {
        match column {
            OutputColumn::One { expr, .. } | OutputColumn::Keyed { expr } => {
                needed.extend(rewrite::slots(expr))
            }
            OutputColumn::Spread { slots, except } => {
                slots.retain(|(name, _)| &**name == "*" || !except.contains(name));
                needed.extend(slots.iter().map(|(_, slot)| *slot));
            }
        }
    }
    let Some(input) = node.inputs.pop() else { return keep_output(node) };
    let (input, moves) = prune(input, &needed);
    let to = |slot: Slot| moved(&moves, slot);
    for column in columns.iter_mut() {
        match column {
            OutputColumn::One { expr, .. } | OutputColumn::Keyed { expr } => *expr = expr.map_slots(&to),
            OutputColumn::Spread { slots, .. } => slots.iter_mut().for_each(|(_, slot)| *slot = to(*slot)),
        }
    }
    node.inputs.push(input);
    keep(node)
}

/// Inputs that stand for the whole output (ProjectSet, Union, SubQuery) keep all columns.
fn keep_output(mut node: Node) -> (Node, Moves) {
    let prune_whole = |input: Node| {
        let all = every_slot(&input);
        prune(input, &all).0
    };
    node.inputs = node.inputs.into_iter().map(prune_whole).collect();
    keep(node)
}

fn keep(node: Node) -> (Node, Moves) {
    let moves = (0..node.schema.len() as u32).map(|slot| Some(Slot(slot))).collect();
    (node, moves)
}

/// A node whose output is that of its inputs and what it appends itself.
fn prune_through(mut node: Node, needed: &BTreeSet<Slot>) -> (Node, Moves) {
    let mut reads = needed.clone();
    exprs::visit(&mut node.kind, &mut |expr| reads.extend(rewrite::slots(expr)));
    let sides = sides(&node);
    let layout = layout(&node, &sides);
    let mut by_input: Vec<BTreeSet<Slot>> = vec![BTreeSet::new(); node.inputs.len()];
    for slot in reads.iter().filter_map(|slot| layout.get(slot.index())) {
        by_input[slot.0].insert(slot.1);
    }
    exprs::join_right_sides(&mut node.kind, &mut |side, expr| {
        let Side { input, first, .. } = sides[side];
        by_input[input].extend(rewrite::slots(expr).into_iter().map(|slot| Slot(slot.0 + first as u32)));
    });
    let pruned = node.inputs.into_iter().zip(&by_input).map(|(input, needed)| prune(input, needed));
    let (inputs, input_moves): (Vec<Node>, Vec<Moves>) = pruned.unzip();
    node.inputs = inputs;
    let n_appended = node.schema.len() - layout.len();
    let is_kept = |(input, slot): &(usize, Slot)| input_moves[*input][slot.index()].is_some();
    let moves = moves(layout.iter().map(is_kept).chain(std::iter::repeat_n(true, n_appended)));
    exprs::visit(&mut node.kind, &mut |expr| *expr = expr.map_slots(&|slot| moved(&moves, slot)));
    exprs::join_right_sides(&mut node.kind, &mut |side, expr| {
        let Side { input, first, .. } = sides[side];
        let n_before = input_moves[input][..first].iter().flatten().count() as u32;
        let to = |slot: Slot| Slot(moved(&input_moves[input], Slot(slot.0 + first as u32)).0 - n_before);
        *expr = Expr::map_slots(expr, &to);
    });
    let kept = node.schema.fields.iter().zip(&moves).filter(|(_, moved)| moved.is_some());
    node.schema = Arc::new(Schema { fields: kept.map(|(field, _)| field.clone()).collect() });
    (node, moves)
}

/// Of each output slot that comes from an input: the input and the slot there.
fn layout(node: &Node, sides: &[Side]) -> Vec<(usize, Slot)> {
    let of_input = |input: usize, first: usize, n_slots: usize| {
        (first..first + n_slots).map(move |slot| (input, Slot(slot as u32)))
    };
    match &node.kind {
        Kind::Join(steps) => {
            let order = join_order(steps, sides.len());
            let sides = order.into_iter().map(|side| sides[side]);
            sides.flat_map(|side| of_input(side.input, side.first, side.n_slots)).collect()
        }
        _ => {
            let inputs = node.inputs.iter().enumerate();
            inputs.flat_map(|(index, input)| of_input(index, 0, input.schema.len())).collect()
        }
    }
}

/// A slot that is read is never gone.
fn moved(moves: &Moves, slot: Slot) -> Slot {
    moves.get(slot.index()).copied().flatten().unwrap_or(slot)
}
