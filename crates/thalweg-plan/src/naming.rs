//! Names of nodes as upstream gives them (R3.2, R3.4): `3_filter`, by a running index.
//!
//! The index counts the source side too: the connector, its decoder if it has one, its preprocessor if there is
//! one (C2.5). Nodes that upstream does not have stay without name and number.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::logical::{Kind, Node, Plan, Scan};

/// Gives every node its name.
pub(crate) fn name(mut plan: Plan) -> Plan {
    let mut index = 0;
    name_node(&mut plan.root, &mut index);
    name_twins(&mut plan.root);
    plan
}

/// A stream that is read twice has two nodes: they are told apart by their aliases.
fn name_twins(root: &mut Node) {
    let mut n_scans = BTreeMap::new();
    count_scans(root, &mut n_scans);
    name_twin(root, &n_scans);
    number_twins(root, &mut BTreeMap::new());
}

/// Those that have one alias too (in different SELECTs) are numbered: `demo`, `demo_2`.
fn number_twins(node: &mut Node, seen: &mut BTreeMap<Arc<str>, usize>) {
    if matches!(node.kind, Kind::Scan(_)) {
        let n_seen = seen.entry(Arc::clone(&node.name)).or_default();
        *n_seen += 1;
        if *n_seen > 1 {
            node.name = Arc::from(format!("{}_{n_seen}", node.name));
        }
    }
    node.inputs.iter_mut().for_each(|input| number_twins(input, seen));
}

fn count_scans(node: &Node, n_scans: &mut BTreeMap<Arc<str>, usize>) {
    if matches!(node.kind, Kind::Scan(_)) {
        *n_scans.entry(Arc::clone(&node.name)).or_default() += 1;
    }
    node.inputs.iter().for_each(|input| count_scans(input, n_scans));
}

fn name_twin(node: &mut Node, n_scans: &BTreeMap<Arc<str>, usize>) {
    if let Kind::Scan(scan) = &node.kind
        && n_scans.get(&node.name).is_some_and(|n_scans| *n_scans > 1)
    {
        node.name = Arc::clone(&scan.alias);
    }
    node.inputs.iter_mut().for_each(|input| name_twin(input, n_scans));
}

fn name_node(node: &mut Node, index: &mut usize) {
    node.inputs.iter_mut().for_each(|input| name_node(input, index));
    if let Kind::Scan(scan) = &node.kind {
        *index += n_source_nodes(scan);
        node.name = Arc::clone(&scan.stream.name);
        return;
    }
    let Some(suffix) = suffix(&node.kind) else { return };
    if node.kind.is_early_lane() {
        return;
    }
    // Upstream aligns tables in a node of its own before the join.
    *index += 1 + usize::from(matches!(node.kind, Kind::Join(_)) && aligns_tables(node));
    node.name = match &node.kind {
        Kind::LookupJoin(lookup) => Arc::clone(&lookup.alias),
        _ => Arc::from(format!("{index}_{suffix}")),
    };
    if let Some(common) = node.common_watermark() {
        let name = common.name;
        node.inputs.iter_mut().for_each(|input| name_lane(input, &name));
    }
}

fn name_lane(input: &mut Node, name: &Arc<str>) {
    match input.kind {
        Kind::Watermark { .. } => input.name = Arc::clone(name),
        _ => input.inputs.iter_mut().for_each(|input| name_lane(input, name)),
    }
}

fn n_source_nodes(scan: &Scan) -> usize {
    let is_preprocessed = scan.event_time.is_some() || scan.stream.strict && scan.stream.columns.is_some();
    1 + scan.stream.steps.kinds(scan.stream.has_decoder).count() + usize::from(is_preprocessed)
}

fn aligns_tables(join: &Node) -> bool {
    join.inputs.iter().any(|input| matches!(&input.kind, Kind::Scan(scan) if scan.retain.is_some()))
}

/// The name without its number; none for nodes that upstream does not have.
pub(crate) fn suffix(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Watermark { .. } => Some("watermark"),
        Kind::Analytic(_) => Some("analytic"),
        Kind::WindowFilter(_) => Some("windowFilter"),
        Kind::Window(_) => Some("window"),
        Kind::Join(_) => Some("join"),
        Kind::LookupJoin(_) => Some("lookup"),
        Kind::Filter(_) => Some("filter"),
        Kind::AggFunc(_) => Some("agg_func"),
        Kind::Aggregate { .. } => Some("aggregate"),
        Kind::Having { .. } => Some("having"),
        Kind::RowNumber { .. } => Some("windowFunc"),
        Kind::DedupTrigger(_) => Some("dedup_trigger"),
        Kind::Sort(_) => Some("order"),
        Kind::Project(_) => Some("project"),
        Kind::ProjectSet { .. } => Some("projectset"),
        Kind::Scan(_)
        | Kind::Compute(_)
        | Kind::Limit(_)
        | Kind::Union
        | Kind::Outlets
        | Kind::SubQuery(_) => None,
    }
}
