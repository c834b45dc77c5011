//! Whether the nodes of a graph fit together (R6.4).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use thalweg_core::Diagnostic;
use thalweg_core::diagnostic::nearest;

use super::document::{Graph, Node, Source};
use super::operator::Operator;
use crate::logical::Resolver;

/// What flows along an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Single rows.
    Rows,
    /// What a window has collected. A join has merged rows of several streams in it.
    Collection { is_grouped: bool, is_merged: bool },
}

/// A graph that fits together.
pub(super) struct Wired<'g> {
    pub graph: &'g Graph,
    /// What comes out of each source and operator.
    pub flows: BTreeMap<&'g str, Flow>,
    /// What comes into each node: the node before and its outlet, in the order of the edges.
    pub inputs: BTreeMap<&'g str, Vec<(&'g Arc<str>, usize)>>,
    /// The source nodes that are lookup tables.
    pub lookups: BTreeSet<&'g str>,
}

fn wrong<T>(text: String, help: impl Into<String>) -> Result<T, Diagnostic> {
    Err(Diagnostic::plain(text).help(help))
}

impl<'g> Wired<'g> {
    /// Checks a graph.
    pub(super) fn new(graph: &'g Graph, world: &dyn Resolver) -> Result<Self, Diagnostic> {
        let mut wired =
            Self { graph, flows: BTreeMap::new(), inputs: BTreeMap::new(), lookups: BTreeSet::new() };
        wired.check_sources(world)?;
        wired.check_nodes()?;
        wired.check_edges()?;
        let order = wired.order()?;
        for node in order {
            wired.flow(node)?;
        }
        Ok(wired)
    }

    fn unknown<T>(&self, text: String, name: &str) -> Result<T, Diagnostic> {
        let names = self.graph.nodes.keys().map(|name| &**name);
        wrong(
            text,
            match nearest(name, names) {
                Some(near) => format!("did you mean {near}?"),
                None => "define it in /graph/nodes".to_owned(),
            },
        )
    }

    fn check_sources(&mut self, world: &dyn Resolver) -> Result<(), Diagnostic> {
        for name in &self.graph.sources {
            match self.graph.nodes.get(name) {
                None => return self.unknown(format!("source node {name} not defined"), name),
                Some(Node::Source(source)) => {
                    if !self.graph.edges.contains_key(name) {
                        return wrong(
                            format!("no edge defined for source node {name}"),
                            format!("say in /graph/topo/edges/{name} where its rows go"),
                        );
                    }
                    let stream = world.stream(source.emitter(name));
                    if stream.is_some_and(|stream| stream.is_lookup) {
                        self.lookups.insert(name);
                    } else if matches!(source, Source::Named { is_table: true, .. }) {
                        let emitter = source.emitter(name);
                        return wrong(
                            format!("source {name}: do not support scan table {emitter} yet"),
                            "a graph joins lookup tables; write the rule as sql to join a scan table",
                        );
                    }
                }
                Some(_) => {
                    let text = format!("source {name} is not a source type node");
                    return wrong(text, "leave it out of /graph/topo/sources");
                }
            }
        }
        let missing = self.graph.source_nodes().find(|(name, _)| !self.graph.sources.contains(name));
        match missing {
            Some((name, _)) => wrong(
                format!("source node {name} is not in the topology"),
                format!("add \"{name}\" to /graph/topo/sources, or leave the node out"),
            ),
            None if self.graph.sources.is_empty() => {
                wrong("the graph has no source".to_owned(), "name one in /graph/topo/sources")
            }
            None => Ok(()),
        }
    }

    fn check_nodes(&self) -> Result<(), Diagnostic> {
        for (name, node) in &self.graph.nodes {
            let has_edge = self.graph.edges.contains_key(name);
            match node {
                Node::Sink { .. } if has_edge => {
                    return wrong(format!("sink {name} has edge"), "nothing stands behind a sink");
                }
                Node::Operator(_) if !has_edge => {
                    return wrong(
                        format!("no edge defined for operator node {name}"),
                        format!("say in /graph/topo/edges/{name} where its results go"),
                    );
                }
                _ => {}
            }
        }
        if self.graph.sinks().next().is_none() {
            return wrong(
                "the graph has no sink".to_owned(),
                r#"add a node such as {"type": "sink", "nodeType": "log"}"#,
            );
        }
        Ok(())
    }

    fn check_edges(&mut self) -> Result<(), Diagnostic> {
        let graph = self.graph;
        for (from, outlets) in &graph.edges {
            let Some(node) = graph.nodes.get(from) else {
                return self.unknown(format!("node {from} is not defined"), from);
            };
            let n_outlets = match node {
                Node::Operator(Operator::Switch { cases, .. }) => cases.len(),
                _ => 1,
            };
            if outlets.len() > n_outlets {
                return match node {
                    Node::Operator(Operator::Switch { .. }) => wrong(
                        format!("switch node {from} has {n_outlets} cases, but {} outlets", outlets.len()),
                        "each case has a list of names of its own",
                    ),
                    _ => wrong(
                        format!("node {from} is not a switch node but have multiple output"),
                        format!("write one list of names in /graph/topo/edges/{from}"),
                    ),
                };
            }
            for (port, to) in
                outlets.iter().enumerate().flat_map(|(port, to)| to.iter().map(move |to| (port, to)))
            {
                match graph.nodes.get(to) {
                    None => return self.unknown(format!("node {to} is not defined"), to),
                    Some(Node::Source(_)) => {
                        return wrong(
                            format!("source {to} has an input"),
                            format!("node {from} leads to it"),
                        );
                    }
                    Some(_) => self.inputs.entry(to).or_default().push((from, port)),
                }
            }
        }
        for (name, node) in &graph.nodes {
            let has_input = self.inputs.contains_key(&**name);
            match node {
                Node::Operator(operator) if !has_input => {
                    let text = format!("operator {name} of type {} has no input", operator.kind());
                    return wrong(text, "lead an edge to it, or leave it out");
                }
                Node::Sink { .. } if !has_input => {
                    return wrong(format!("sink {name} has no input"), "lead an edge to it, or leave it out");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The operators, each behind all that lead to it.
    fn order(&self) -> Result<Vec<&'g Arc<str>>, Diagnostic> {
        let (mut done, mut order) = (BTreeSet::new(), Vec::new());
        for name in self.graph.nodes.keys() {
            self.visit(name, &mut Vec::new(), &mut done, &mut order)?;
        }
        Ok(order)
    }

    fn visit(
        &self,
        name: &'g Arc<str>,
        path: &mut Vec<&'g Arc<str>>,
        done: &mut BTreeSet<&'g str>,
        order: &mut Vec<&'g Arc<str>>,
    ) -> Result<(), Diagnostic> {
        if done.contains(&**name) {
            return Ok(());
        }
        if let Some(start) = path.iter().position(|seen| *seen == name) {
            let mut cycle: Vec<&str> = path[start..].iter().rev().map(|name| &***name).collect();
            cycle.insert(0, name);
            return wrong(
                format!("the graph has a cycle: {}", cycle.join(" -> ")),
                "rows must flow from sources to sinks; leave one of these edges out",
            );
        }
        if path.len() > MAX_DEPTH {
            return wrong(
                format!("the graph is too deep at node {name}"),
                format!("at most {MAX_DEPTH} nodes in a row"),
            );
        }
        path.push(name);
        for (input, _) in self.inputs.get(&**name).into_iter().flatten() {
            self.visit(input, path, done, order)?;
        }
        path.pop();
        done.insert(name);
        order.push(name);
        Ok(())
    }

    /// What comes out of a node; its inputs are known.
    fn flow(&mut self, name: &'g Arc<str>) -> Result<(), Diagnostic> {
        let flow = match &self.graph.nodes[name] {
            Node::Source(_) => Flow::Rows,
            Node::Sink { .. } => {
                let inputs = self.inputs[&**name].iter();
                if let Some((lookup, _)) = inputs.clone().find(|(from, _)| self.lookups.contains(&***from)) {
                    return wrong(
                        format!("lookup table {lookup} leads to sink {name}"),
                        "a lookup table brings no rows; lead it to a join",
                    );
                }
                return Ok(());
            }
            Node::Operator(operator) => self.check_inputs(name, operator)?,
        };
        self.flows.insert(name, flow);
        Ok(())
    }

    fn check_inputs(&self, name: &Arc<str>, operator: &Operator) -> Result<Flow, Diagnostic> {
        let inputs = &self.inputs[&**name];
        let kind = operator.kind();
        let is_lookup = |from: &Arc<str>| self.lookups.contains(&**from);
        let streams: Vec<&Arc<str>> =
            inputs.iter().map(|(from, _)| *from).filter(|from| !is_lookup(from)).collect();
        let allows_many =
            matches!(operator, Operator::Window(_) | Operator::Watermark(_) | Operator::Join { .. });
        if inputs.len() > 1 && !allows_many {
            let text = format!("operator {name} of type {kind} does not allow multiple inputs");
            return wrong(text, "a window, a watermark or a join takes several");
        }
        if matches!(operator, Operator::Join { .. }) {
            if streams.len() > 1 {
                let text = format!("join node {name} does not allow multiple stream inputs");
                return wrong(text, "lead the streams to one window, and the window to the join");
            }
        } else if let Some((lookup, _)) = inputs.iter().find(|(from, _)| is_lookup(from)) {
            let text = format!("lookup table {lookup} leads to node {name} of type {kind}");
            return wrong(text, "a lookup table brings no rows; lead it to a join");
        }
        let Some(first) = streams.first() else {
            let text = format!("operator {name} of type {kind} has no input");
            return wrong(text, "a join needs a stream or a window beside its table");
        };
        for from in &streams {
            if let Some((what, expected, got)) = mismatch(operator, self.flows[&***from]) {
                let text = format!(
                    "node {from} output does not match node {name} input: {what} type mismatch, expect {expected}, got {got}"
                );
                return wrong(text, advice(operator, expected));
            }
        }
        let rows = self.flows[&***first];
        Ok(match operator {
            Operator::Window(_) => Flow::Collection { is_grouped: false, is_merged: false },
            Operator::Join { .. } => Flow::Collection { is_grouped: false, is_merged: true },
            Operator::GroupBy(_) | Operator::Aggregate(_) => {
                let is_merged = matches!(rows, Flow::Collection { is_merged: true, .. });
                Flow::Collection { is_grouped: true, is_merged }
            }
            _ => rows,
        })
    }
}

/// More nodes no row passes.
const MAX_DEPTH: usize = 200;

/// What of a flow an operator does not take: which type, what it expects, and what it gets.
fn mismatch(operator: &Operator, flow: Flow) -> Option<(&'static str, &'static str, &'static str)> {
    let grouped = matches!(flow, Flow::Collection { is_grouped: true, .. });
    let merged = matches!(flow, Flow::Collection { is_merged: true, .. });
    match operator {
        Operator::Aggregate(_) | Operator::GroupBy(_) | Operator::OrderBy(_) if flow == Flow::Rows => {
            Some(("input", "collection", "row"))
        }
        Operator::Window(_) | Operator::Watermark(_) if flow != Flow::Rows => {
            Some(("input", "row", "collection"))
        }
        Operator::Join { .. } if merged => Some(("row", "single emitter row", "merged row")),
        Operator::Function(_) | Operator::GroupBy(_) | Operator::Join { .. } if grouped => {
            Some(("collection", "non-grouped collection", "grouped collection"))
        }
        _ => None,
    }
}

fn advice(operator: &Operator, expected: &str) -> String {
    match expected {
        "collection" => "put a window before it".to_owned(),
        "row" if operator.kind() == "window" => {
            "a collection goes through one window; leave one out".to_owned()
        }
        "row" => format!("put the {} before the window", operator.kind()),
        "single emitter row" => "one join node can hold several joins".to_owned(),
        _ => format!("put the {} before groupby and aggfunc", operator.kind()),
    }
}
