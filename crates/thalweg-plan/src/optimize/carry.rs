//! Gives scans other slots and carries the change up through the plan: expressions are renumbered, schemas follow.

use std::sync::Arc;

use thalweg_core::{Field, Schema, Slot};

use super::exprs;
use super::sides::{Side, join_order, sides};
use crate::logical::{Kind, Node, OutputColumn, Scan};

/// Where each slot has gone; nothing for those that are gone.
pub(super) type Moves = Vec<Option<Slot>>;

/// New numbers for what is kept.
pub(super) fn moves(kept: impl Iterator<Item = bool>) -> Moves {
    let mut next = 0;
    let number = |kept: bool| {
        kept.then(|| {
            next += 1;
            Slot(next - 1)
        })
    };
    kept.map(number).collect()
}

/// The plan over changed scans. `change` gets each scan with its number, and says where its slots go; slots that
/// something reads must stay.
pub(super) fn rescan(root: Node, change: &mut dyn FnMut(usize, &mut Scan) -> Moves) -> Node {
    carry(root, &mut 0, change).0
}

fn carry(
    mut node: Node,
    n_scans: &mut usize,
    change: &mut dyn FnMut(usize, &mut Scan) -> Moves,
) -> (Node, Moves) {
    if let Kind::Scan(scan) = &mut node.kind {
        let moves = change(*n_scans, scan);
        *n_scans += 1;
        node.schema = Arc::new(scan.projection.schema());
        return (node, moves);
    }
    let (old_sides, old_layout) = (sides(&node), layout(&node));
    let inputs = std::mem::take(&mut node.inputs).into_iter().map(|input| carry(input, n_scans, change));
    let (inputs, below): (Vec<Node>, Vec<Moves>) = inputs.unzip();
    node.inputs = inputs;
    let new_sides = sides(&node);
    match &mut node.kind {
        Kind::Union | Kind::SubQuery(_) | Kind::ProjectSet { .. } => return unmoved(node),
        Kind::Project(columns) => {
            let moves = below.into_iter().next().unwrap_or_default();
            renumber_output(columns, &moves);
            return unmoved(node);
        }
        _ => {}
    }
    let new_layout = layout(&node);
    let place = |(input, slot): &(usize, Slot)| {
        let moved = below[*input][slot.index()]?;
        let place = new_layout.iter().position(|new| *new == (*input, moved))?;
        Some(Slot(place as u32))
    };
    let n_appended = node.schema.len() - old_layout.len();
    let appended = (0..n_appended).map(|at| Some(Slot((new_layout.len() + at) as u32)));
    let moves: Moves = old_layout.iter().map(place).chain(appended).collect();
    exprs::visit(&mut node.kind, &mut |expr| *expr = expr.map_slots(&|slot| moved(&moves, slot)));
    exprs::join_right_sides(&mut node.kind, &mut |side, expr| {
        let (Side { input, first, .. }, new_first) = (old_sides[side], new_sides[side].first as u32);
        let to = |slot: Slot| Slot(moved(&below[input], Slot(slot.0 + first as u32)).0 - new_first);
        *expr = expr.map_slots(&to);
    });
    let own = node.schema.fields[old_layout.len()..].to_vec();
    let field = |(input, slot): &(usize, Slot)| node.inputs[*input].schema.fields[slot.index()].clone();
    let fields: Vec<Field> = new_layout.iter().map(field).chain(own).collect();
    node.schema = Arc::new(Schema { fields });
    (node, moves)
}

fn unmoved(node: Node) -> (Node, Moves) {
    let moves = (0..node.schema.len() as u32).map(|slot| Some(Slot(slot))).collect();
    (node, moves)
}

fn renumber_output(columns: &mut [OutputColumn], moves: &Moves) {
    let to = |slot: Slot| moved(moves, slot);
    for column in columns {
        match column {
            OutputColumn::One { expr, .. } | OutputColumn::Keyed { expr } => *expr = expr.map_slots(&to),
            OutputColumn::Spread { slots, .. } => slots.iter_mut().for_each(|(_, slot)| *slot = to(*slot)),
        }
    }
}

/// Of each output slot that comes from an input: the input and the slot there.
fn layout(node: &Node) -> Vec<(usize, Slot)> {
    let of_input = |input: usize, first: usize, n_slots: usize| {
        (first..first + n_slots).map(move |slot| (input, Slot(slot as u32)))
    };
    if let Kind::Join(steps) = &node.kind {
        let sides = sides(node);
        let order = join_order(steps, sides.len()).into_iter().map(|side| sides[side]);
        return order.flat_map(|side| of_input(side.input, side.first, side.n_slots)).collect();
    }
    let inputs = node.inputs.iter().enumerate();
    inputs.flat_map(|(index, input)| of_input(index, 0, input.schema.len())).collect()
}

/// A slot that is read is never gone.
fn moved(moves: &Moves, slot: Slot) -> Slot {
    moves.get(slot.index()).copied().flatten().unwrap_or(slot)
}
