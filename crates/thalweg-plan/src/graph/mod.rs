//! Graph rules (rules.md 6): nodes and edges become the plan that the same rule in SQL has.
//!
//! What leads to each sink is written as one SELECT (`draft.rs`, `sql.rs`), bound and optimized like any other, and its
//! nodes get the names of the graph's (`name.rs`). Streams that several SELECTs read are read once (the runtime's twins);
//! what stands before a fork is done in every branch.

mod document;
mod draft;
mod name;
mod operator;
mod sql;
mod wiring;

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::{Diagnostic, Schema};
use thalweg_sql::ast;

pub use document::{Edges, Graph, Node as GraphNode, Source};
pub use operator::{NAMES as OPERATORS, Operator};

use crate::bind::query;
use crate::logical::{Kind, Node, Plan, PlanOptions, Resolver};
use crate::{fingerprint, optimize, split};
use draft::{Draft, Drafter};
use sql::Text;
use wiring::Wired;

/// How the nodes of a graph rule hang together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Drawn {
    /// Between sources and operators, with prefix.
    pub edges: Vec<(Arc<str>, Arc<str>)>,
    /// The node that each result comes from, with prefix. A plan of several results has an [`Kind::Outlets`] with an
    /// input for each.
    pub results: Vec<Arc<str>>,
    /// Which results each sink takes.
    pub sinks: BTreeMap<Arc<str>, Vec<usize>>,
}

/// Plans a graph.
///
/// # Errors
/// All mistakes that were found, each with its node, in the order in which they are told.
pub fn plan(graph: &Graph, options: &PlanOptions, world: &dyn Resolver) -> Result<Plan, Vec<Diagnostic>> {
    let wired = Wired::new(graph, world).map_err(|why| vec![why])?;
    let drafter = Drafter::new(wired);
    let mut results = Results { drafts: Vec::new(), from: Vec::new(), sinks: BTreeMap::new() };
    for (sink, ..) in graph.sinks() {
        for (node, port) in &drafter.wired().inputs[&**sink] {
            results.add(sink, (node, *port), &drafter).map_err(|why| vec![why])?;
        }
    }
    let mut plans = Vec::new();
    let (mut mistakes, mut shown) = (Vec::new(), name::Shown::new());
    let scope = query::Scope::default();
    for draft in &results.drafts {
        let text = Text::of(draft);
        match bind(&text, options, world, &scope) {
            Ok(mut plan) => {
                let warnings = std::mem::take(&mut plan.warnings).into_iter();
                plan.warnings = warnings.map(|why| text.told(why)).collect();
                let mut plan = optimize::optimize(plan, &options.disabled_passes);
                name::name(&mut plan.root, draft, &mut shown);
                plans.push(plan);
            }
            Err(found) => {
                for why in found.into_iter().map(|why| text.told(why)) {
                    if !mistakes.contains(&why) {
                        mistakes.push(why);
                    }
                }
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let mut plan = join(plans);
    plan.warnings.extend(results.repeated(graph));
    split::cuts(&plan.root).map_err(|why| vec![why])?;
    plan.drawn = Some(Arc::new(drawn(graph, results)));
    Ok(fingerprint::stamp(plan))
}

fn bind(
    text: &Text,
    options: &PlanOptions,
    world: &dyn Resolver,
    scope: &query::Scope,
) -> Result<Plan, Vec<Diagnostic>> {
    let query: ast::Query = thalweg_sql::parse_query(&text.sql)?;
    query::bind(&query, options, world, scope).map_err(|mut mistakes| {
        thalweg_core::diagnostic::sort(&mut mistakes);
        mistakes
    })
}

/// What leads to the sinks.
struct Results<'g> {
    drafts: Vec<Draft>,
    /// The node and outlet of each draft.
    from: Vec<(&'g Arc<str>, usize)>,
    /// Which of them each sink takes.
    sinks: BTreeMap<Arc<str>, Vec<usize>>,
}

impl<'g> Results<'g> {
    fn add(
        &mut self,
        sink: &Arc<str>,
        from: (&'g Arc<str>, usize),
        drafter: &Drafter<'g>,
    ) -> Result<(), Diagnostic> {
        if !self.from.contains(&from) {
            let drafts = drafter.draft(from.0, from.1)?;
            self.from.extend(std::iter::repeat_n(from, drafts.len()));
            self.drafts.extend(drafts);
        }
        let taken = self.from.iter().enumerate().filter(|(_, other)| **other == from).map(|(at, _)| at);
        let takes = self.sinks.entry(Arc::clone(sink)).or_default();
        for at in taken {
            if !takes.contains(&at) {
                takes.push(at);
            }
        }
        Ok(())
    }

    /// What is worth knowing of nodes that several branches repeat, whose results differ each time.
    fn repeated(&self, graph: &Graph) -> Vec<Diagnostic> {
        let n_branches = |name: &Arc<str>| self.drafts.iter().filter(|draft| holds(draft, name)).count();
        let is_unsteady = |call: &ast::Call| {
            thalweg_expr::registry::builtin(&call.name.text).is_none_or(|function| !function.is_pure())
        };
        let mut warnings = Vec::new();
        for (name, node) in &graph.nodes {
            let GraphNode::Operator(Operator::Function(column)) = node else { continue };
            let calls = column.expr.exprs.iter().any(|expr| draft::calls(expr, &is_unsteady));
            let n = if calls { n_branches(name) } else { 0 };
            if n > 1 {
                let text =
                    format!("node {name} stands before a fork and is evaluated in each of its {n} branches");
                warnings.push(Diagnostic::plain(text));
            }
        }
        warnings
    }
}

/// Whether a node is in a draft or in what it reads.
fn holds(draft: &Draft, name: &Arc<str>) -> bool {
    let joined = draft.joins.iter().filter_map(|(_, feed, _)| feed.as_ref());
    let mut below = draft.feeds.iter().chain(joined).flat_map(|feed| &feed.queries);
    draft.steps.iter().any(|(step, _)| step == name) || below.any(|draft| holds(draft, name))
}

/// The plans of all results as one.
fn join(mut plans: Vec<Plan>) -> Plan {
    if plans.len() == 1 {
        return plans.remove(0);
    }
    let mut hosts: Vec<Arc<str>> = plans.iter().flat_map(|plan| plan.hosts.iter().cloned()).collect();
    hosts.sort();
    hosts.dedup();
    let mut warnings: Vec<Diagnostic> = Vec::new();
    for warning in plans.iter().flat_map(|plan| &plan.warnings) {
        if !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
    let is_collection = plans.iter().any(|plan| plan.is_collection);
    let inputs = plans.into_iter().map(|plan| plan.root).collect();
    let root =
        Node { name: Arc::from(""), kind: Kind::Outlets, inputs, schema: Arc::new(Schema::computed([])) };
    Plan { root, fingerprint: 0, is_collection, hosts, warnings, drawn: None }
}

/// The edges between sources and operators, and where each result comes from.
fn drawn(graph: &Graph, results: Results<'_>) -> Drawn {
    let shown = |name: &Arc<str>| -> Option<Arc<str>> {
        match &graph.nodes[name] {
            GraphNode::Source(source) => Some(Arc::from(format!("source_{}", source.emitter(name)))),
            GraphNode::Operator(_) => Some(Arc::from(format!("op_{name}"))),
            GraphNode::Sink { .. } => None,
        }
    };
    let mut edges = Vec::new();
    for (from, outlets) in &graph.edges {
        for to in outlets.iter().flatten() {
            if let (Some(from), Some(to)) = (shown(from), shown(to)) {
                edges.push((from, to));
            }
        }
    }
    let from = results.from.iter().filter_map(|(node, _)| shown(node)).collect();
    Drawn { edges, results: from, sinks: results.sinks }
}
