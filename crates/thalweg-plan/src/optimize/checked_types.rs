//! What of the declared types a rule's rows are checked against (X-2, T-8, T-13): only what the rule reads. A column
//! that it does not read cannot fail, nor can a member of a STRUCT of which it reads others.
//!
//! This is no optimization: it always holds, whichever passes run.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::projection::Want;
use thalweg_core::{DataType, PathStep, Slot};

use super::carry::{moves, rescan};
use super::origins;
use crate::logical::{Kind, Node, OutputColumn, Plan, Scan};

/// The paths that are read below each column; an empty one is the whole column.
type Paths = BTreeMap<(usize, Slot), Vec<Vec<PathStep>>>;

/// Leaves of each scan's types what is read.
pub(super) fn run(mut plan: Plan) -> Plan {
    drop_excepted(&mut plan.root);
    let mut paths = Paths::new();
    origins::reads(&mut plan.root, &mut |origin, steps| {
        paths.entry((origin.scan, origin.slot)).or_default().push(steps.to_vec());
    });
    plan.root = rescan(plan.root, &mut |index, scan| {
        narrow_scan(scan, index, &paths);
        moves((0..scan.projection.slots.len()).map(|_| true))
    });
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

fn narrow_scan(scan: &mut Scan, index: usize, paths: &Paths) {
    let time = scan.event_time.as_ref().map(|(slot, _)| *slot);
    for (slot, wanted) in scan.projection.slots.iter_mut().enumerate() {
        let slot = Slot(slot as u32);
        let Want::Column { data_type, .. } = &mut wanted.want else { continue };
        if Some(slot) == time {
            continue;
        }
        match paths.get(&(index, slot)) {
            None => (*data_type, wanted.strict) = (None, None),
            Some(paths) => {
                let paths: Vec<&[PathStep]> = paths.iter().map(Vec::as_slice).collect();
                *data_type = data_type.take().map(|data_type| narrow(data_type, &paths));
            }
        }
    }
}

/// The type without the members of STRUCTs that no path leads to. Lists are checked as they are.
fn narrow(data_type: DataType, paths: &[&[PathStep]]) -> DataType {
    let DataType::Struct(columns) = data_type else { return data_type };
    let by_member = |path: &&[PathStep]| matches!(path.first(), Some(PathStep::Member(_)));
    if !paths.iter().all(by_member) {
        return DataType::Struct(columns);
    }
    let narrowed = columns.into_iter().filter_map(|(name, data_type)| {
        let leads_here = |path: &&&[PathStep]| path[0] == PathStep::Member(Arc::clone(&name));
        let below: Vec<&[PathStep]> = paths.iter().filter(leads_here).map(|path| &path[1..]).collect();
        (!below.is_empty()).then(|| (Arc::clone(&name), narrow(data_type, &below)))
    });
    DataType::Struct(narrowed.collect())
}
