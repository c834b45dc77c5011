//! Takes columns out of scans that nothing reads any more: those that EXCEPT takes away, that only an ignored
//! clause names, that paths below them have replaced. (What was never named is not in a scan to begin with.)

use std::collections::BTreeSet;

use thalweg_core::Slot;

use super::carry::{Moves, moves, rescan};
use super::origins;
use crate::logical::{Kind, Node, OutputColumn, Plan, Scan};

/// Runs the pass.
pub(super) fn run(mut plan: Plan) -> Plan {
    drop_excepted(&mut plan.root);
    let mut read: BTreeSet<(usize, Slot)> = BTreeSet::new();
    origins::reads(&mut plan.root, &mut |origin, _| {
        read.insert((origin.scan, origin.slot));
    });
    plan.root = rescan(plan.root, &mut |index, scan| prune(scan, |slot| read.contains(&(index, slot))));
    plan
}

/// A column that EXCEPT takes away is not read by its `*`.
fn drop_excepted(node: &mut Node) {
    if let Kind::Project(columns) = &mut node.kind {
        for column in columns {
            if let OutputColumn::Spread { slots, except } = column {
                slots.retain(|(name, _)| &**name == "*" || !except.contains(name));
            }
        }
    }
    node.inputs.iter_mut().for_each(drop_excepted);
}

fn prune(scan: &mut Scan, is_read: impl Fn(Slot) -> bool) -> Moves {
    let (time, late) = (scan.event_time.as_ref().map(|(slot, _)| *slot), scan.late);
    let is_kept = |slot: Slot| is_read(slot) || Some(slot) == time || Some(slot) == late;
    let moves = moves((0..scan.projection.slots.len() as u32).map(|slot| is_kept(Slot(slot))));
    let mut slots = moves.iter();
    scan.projection.slots.retain(|_| slots.next().is_some_and(Option::is_some));
    if let Some((slot, _)) = &mut scan.event_time {
        *slot = moves[slot.index()].unwrap_or(*slot);
    }
    scan.late = late.and_then(|slot| moves[slot.index()]);
    moves
}
