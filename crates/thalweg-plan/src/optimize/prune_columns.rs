//! Takes columns out of scans that nothing reads any more: those that EXCEPT takes away, that only an ignored
//! clause names, that paths below them have replaced. (What was never named is not in a scan to begin with.)

use std::collections::BTreeSet;

use thalweg_core::Slot;

use super::carry::{Moves, moves, rescan};
use super::origins;
use crate::logical::{Plan, Scan};

/// Runs the pass.
pub(super) fn run(mut plan: Plan) -> Plan {
    let mut read: BTreeSet<(usize, Slot)> = BTreeSet::new();
    origins::reads(&mut plan.root, &mut |origin, _| {
        read.insert((origin.scan, origin.slot));
    });
    plan.root = rescan(plan.root, &mut |index, scan| prune(scan, |slot| read.contains(&(index, slot))));
    plan
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
