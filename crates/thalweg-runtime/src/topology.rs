//! The printable graph of a rule, with upstream's node names (R3.1 to R3.6).

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_plan::graph::Drawn;
use thalweg_plan::logical::Scan;
use thalweg_plan::{Kind, Node};

use crate::compile::{CompiledAction, CompiledRule};
use crate::egress::Output;
use crate::rule::Topology;

/// The graph of a rule.
pub(crate) fn of(rule: &CompiledRule) -> Topology {
    let mut draw = Draw::default();
    if let Some(drawn) = &rule.spec.plan.drawn {
        draw.graph(rule, drawn);
        return draw.topology;
    }
    let last = draw.node(&rule.spec.plan.root, &mut 0);
    let mut watermarks = Vec::new();
    late_from(&rule.spec.plan.root, &mut watermarks);
    for action in &rule.actions {
        let mut from = if action.is_late { watermarks.clone() } else { last.clone() };
        for name in action_nodes(action) {
            draw.edge(&from, &name);
            from = vec![name];
        }
    }
    draw.topology
}

/// The nodes that late rows come from.
fn late_from(node: &Node, into: &mut Vec<Arc<str>>) {
    node.inputs.iter().for_each(|input| late_from(input, into));
    let name: Arc<str> = Arc::from(format!("op_{}", node.name));
    if matches!(node.kind, Kind::Watermark { .. }) && !into.contains(&name) {
        into.push(name);
    }
}

/// The nodes of an action, from the rule to the sink, with prefix.
pub(crate) fn action_nodes(action: &CompiledAction) -> Vec<Arc<str>> {
    let (before, behind) = action_steps(action);
    let steps = before.into_iter().chain(behind);
    steps.chain([Arc::from(format!("sink_{}", action.node))]).collect()
}

/// The steps of an action: those before the transform step and from it on.
pub(crate) fn action_steps(action: &CompiledAction) -> (Option<Arc<str>>, Vec<Arc<str>>) {
    let is_batching = action.options.is_batching();
    let name = |at: usize, kind: &str| Arc::<str>::from(format!("op_{}_{at}_{kind}", action.node));
    let before = is_batching.then(|| name(0, "batch"));
    let at = usize::from(is_batching);
    let mut behind = vec![name(at, "transform")];
    if !matches!(action.output, Output::Rows) {
        behind.push(name(at + 1, if is_batching { "batchWriter" } else { "encode" }));
        if action.options.compression.is_some() {
            behind.push(name(at + 2, "compress"));
        }
    }
    (before, behind)
}

/// The nodes between a source, which has number `index`, and the rule: decoder and preprocessor (R3.1, C2.5).
pub(crate) fn scan_steps(scan: &Scan, index: usize) -> Vec<Arc<str>> {
    let stream = &scan.stream;
    let is_preprocessed = scan.event_time.is_some() || stream.strict && stream.columns.is_some();
    let kinds = stream.steps.kinds(stream.has_decoder).chain(is_preprocessed.then_some("preprocessor"));
    let name = |(at, kind): (usize, &str)| {
        let number = index + 1 + at;
        if stream.shared {
            format!("op_{}_{number}_{kind}", stream.name)
        } else {
            format!("op_{number}_{kind}")
        }
    };
    kinds.enumerate().map(name).map(Arc::from).collect()
}

/// The number of each scan's source, as the planner has counted it.
pub(crate) fn scan_indices(root: &Node) -> Vec<usize> {
    fn walk(node: &Node, index: &mut usize, found: &mut Vec<usize>) {
        if let Kind::Scan(scan) = &node.kind {
            *index += 1;
            found.push(*index);
            *index += scan_steps(scan, *index).len();
            return;
        }
        node.inputs.iter().for_each(|input| walk(input, index, found));
        if !node.name.is_empty() && !node.kind.is_early_lane() {
            *index += 1 + usize::from(aligns_tables(node));
        }
    }
    let mut found = Vec::new();
    walk(root, &mut 0, &mut found);
    found
}

/// Upstream aligns tables in a node of its own before the join.
fn aligns_tables(node: &Node) -> bool {
    let is_table = |input: &Node| matches!(&input.kind, Kind::Scan(scan) if scan.retain.is_some());
    matches!(node.kind, Kind::Join(_)) && node.inputs.iter().any(is_table)
}

#[derive(Default)]
struct Draw {
    topology: Topology,
}

impl Draw {
    /// Draws a node behind its inputs; the names that the next node hangs on (several behind a nameless node).
    fn node(&mut self, node: &Node, index: &mut usize) -> Vec<Arc<str>> {
        if let Kind::Scan(scan) = &node.kind {
            *index += 1;
            let source: Arc<str> = Arc::from(format!("source_{}", node.name));
            if !self.topology.sources.contains(&source) {
                self.topology.sources.push(Arc::clone(&source));
            }
            let mut from = vec![source];
            for name in scan_steps(scan, *index) {
                *index += 1;
                self.edge(&from, &name);
                from = vec![name];
            }
            return from;
        }
        let mut from = Vec::new();
        for input in &node.inputs {
            from.extend(self.node(input, index));
        }
        if node.name.is_empty() {
            return from;
        }
        if !node.kind.is_early_lane() {
            *index += 1 + usize::from(aligns_tables(node));
        }
        let name: Arc<str> = Arc::from(format!("op_{}", node.name));
        self.edge(&from, &name);
        vec![name]
    }

    /// Draws a graph rule as it was drawn, with the steps of its sources and sinks.
    fn graph(&mut self, rule: &CompiledRule, drawn: &Drawn) {
        let mut ends: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
        for scan in &rule.scans {
            if ends.contains_key(&scan.node) {
                continue;
            }
            self.topology.sources.push(Arc::clone(&scan.node));
            let mut last = Arc::clone(&scan.node);
            for step in &scan.steps {
                self.edge(&[last], step);
                last = Arc::clone(step);
            }
            ends.insert(Arc::clone(&scan.node), last);
        }
        let end = |name: &Arc<str>| Arc::clone(ends.get(name).unwrap_or(name));
        for (from, to) in &drawn.edges {
            self.edge(&[end(from)], to);
        }
        for action in &rule.actions {
            let results = action.results.iter().filter_map(|result| drawn.results.get(*result));
            let mut from: Vec<Arc<str>> = results.map(end).collect();
            for name in action_nodes(action) {
                self.edge(&from, &name);
                from = vec![name];
            }
        }
    }

    fn edge(&mut self, from: &[Arc<str>], to: &Arc<str>) {
        let edges: &mut BTreeMap<Arc<str>, Vec<Arc<str>>> = &mut self.topology.edges;
        for from in from {
            let next = edges.entry(Arc::clone(from)).or_default();
            if !next.contains(to) {
                next.push(Arc::clone(to));
            }
        }
    }
}
