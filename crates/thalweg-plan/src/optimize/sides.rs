//! The sides of a join, as [`crate::Kind::Join`] numbers them.

use crate::logical::{JoinStep, Kind, Node};

/// Where a side's slots are found among the join's inputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    /// The input that brings it.
    pub input: usize,
    /// Its first slot there.
    pub first: usize,
    /// The number of its slots.
    pub n_slots: usize,
    /// Whether it is a scan table.
    pub is_table: bool,
}

impl Side {
    /// Whether a slot of the input is one of its own.
    pub(super) fn holds(&self, slot: usize) -> bool {
        (self.first..self.first + self.n_slots).contains(&slot)
    }
}

/// The sides of a join by number; of any other node, its inputs.
pub(super) fn sides(node: &Node) -> Vec<Side> {
    let mut sides = Vec::new();
    for (index, input) in node.inputs.iter().enumerate() {
        if index == 0 && matches!((&node.kind, &input.kind), (Kind::Join(_), Kind::Window(_))) {
            let mut first = 0;
            for stream in &input.inputs {
                let n_slots = stream.schema.len();
                sides.push(Side { input: index, first, n_slots, is_table: false });
                first += n_slots;
            }
            continue;
        }
        let is_table = matches!(&input.kind, Kind::Scan(scan) if scan.retain.is_some());
        sides.push(Side { input: index, first: 0, n_slots: input.schema.len(), is_table });
    }
    sides
}

/// The sides in the order of the join's output: FROM's, then one for each step.
pub(super) fn join_order(steps: &[JoinStep], n_sides: usize) -> Vec<usize> {
    let from = (0..n_sides).find(|side| steps.iter().all(|step| step.side != *side)).unwrap_or(0);
    std::iter::once(from).chain(steps.iter().map(|step| step.side)).collect()
}
