//! Common sub-expressions: what occurs more than once between two points where rows are made anew is computed once
//! per row, in a Compute below the first node that evaluates it for every row anyway.
//!
//! So nothing is evaluated that would not have been: a part that only stands behind AND, OR or in a branch of CASE
//! stays there, and what stands below that node keeps its own. Only pure expressions that count nothing by themselves
//! are shared; an error stays a cell, counted by whoever consumes it (`contracts.md` 9). A Compute costs some time a
//! batch, so only expressions that cost more are worth one.

use std::sync::Arc;

use thalweg_core::{BinaryOp, Field, Schema, Slot};
use thalweg_expr::{Expr, ExprKey, FunctionRef};

use super::exprs;
use crate::explain;
use crate::logical::{AggregateCall, Kind, Node, OutputColumn, Plan, WindowKind};
use crate::rewrite;

/// An expression is worth a Compute from this cost on, counted in simple operators.
const DEAR: usize = 8;

/// A SELECT with more expression nodes than this is left alone, so that planning stays quick.
const MOST_NODES: usize = 4_000;

/// Runs the pass.
pub(super) fn run(mut plan: Plan) -> Plan {
    plan.root = share(plan.root);
    plan
}

/// Nodes through which rows keep their slots, lowest first, on top of the node that makes the rows.
struct Segment {
    bottom: Node,
    nodes: Vec<Node>,
}

/// A place where a candidate occurs.
struct Site {
    key: ExprKey,
    expr: Expr,
    cost: usize,
    node: usize,
    /// Whether it is evaluated for every row there.
    is_certain: bool,
}

fn share(node: Node) -> Node {
    let mut segment = cut(node);
    // Below anything but a SELECT list, one more slot would be seen.
    let ends_here = segment.nodes.last().is_some_and(|top| matches!(top.kind, Kind::Project(_)));
    if ends_here && segment.size() <= MOST_NODES {
        while let Some((expr, first)) = segment.dearest() {
            segment.compute(&expr, first);
        }
    }
    segment.join()
}

/// Takes the segment that ends with this node off the plan; what is below it has been worked on.
fn cut(node: Node) -> Segment {
    let (mut nodes, mut at) = (Vec::new(), node);
    while at.inputs.len() == 1 && (nodes.is_empty() || keeps_slots(&at.kind)) {
        let Some(input) = at.inputs.pop() else { break };
        nodes.push(at);
        at = input;
    }
    nodes.reverse();
    let bottom = match at.inputs.len() {
        1 => share(at),
        _ => Node { inputs: std::mem::take(&mut at.inputs).into_iter().map(share).collect(), ..at },
    };
    Segment { bottom, nodes }
}

/// Whether the input's slots are found again in the output.
fn keeps_slots(kind: &Kind) -> bool {
    !matches!(
        kind,
        Kind::Project(_) | Kind::ProjectSet { .. } | Kind::SubQuery(_) | Kind::Union | Kind::Join(_)
    )
}

impl Segment {
    fn size(&self) -> usize {
        let mut size = 0;
        for node in &self.nodes {
            exprs::visit(&mut node.kind.clone(), &mut |expr| size += rewrite::size(expr));
        }
        size
    }

    /// The dearest expression that is worth computing once, and the node below which to do so.
    fn dearest(&self) -> Option<(Expr, usize)> {
        let sites = self.sites();
        let is_there = |site: &&Site| {
            let width = self.below(site.node).schema.len();
            site.is_certain && rewrite::slots(&site.expr).iter().all(|slot| slot.index() < width)
        };
        let mut candidates: Vec<&Site> = sites.iter().filter(is_there).collect();
        candidates.sort_by_key(|site| (std::cmp::Reverse(site.cost), site.node));
        let is_shared = |site: &&&Site| {
            let reach = site.node..self.reach(site.node);
            sites.iter().filter(|other| other.key == site.key && reach.contains(&other.node)).count() > 1
        };
        let found = candidates.iter().find(is_shared)?;
        Some((found.expr.clone(), found.node))
    }

    /// The node below one of the segment.
    fn below(&self, node: usize) -> &Node {
        node.checked_sub(1).map_or(&self.bottom, |below| &self.nodes[below])
    }

    /// Behind the last node up to which a value computed below `first` holds: the group of an empty window has no row
    /// (W-6), so that nothing passes an aggregate without keys.
    fn reach(&self, first: usize) -> usize {
        let ends = |node: &Node| matches!(&node.kind, Kind::Aggregate { keys, .. } if keys.is_empty());
        self.nodes[first..].iter().position(ends).map_or(self.nodes.len(), |at| first + at + 1)
    }

    fn sites(&self) -> Vec<Site> {
        let mut sites = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if index == 0 && self.asks_shared_stream(node) {
                continue;
            }
            each_expr(&mut node.kind.clone(), self.is_aggregate(), &mut |expr, is_certain| {
                note(expr, is_certain, &mut |expr, is_certain| {
                    let cost = cost(expr);
                    if cost >= DEAR && expr.is_pure() && expr.is_quiet() && !expr.is_constant() {
                        let (key, expr) = (expr.key(), expr.clone());
                        sites.push(Site { key, expr, cost, node: index, is_certain });
                    }
                });
            });
        }
        sites
    }

    /// Whether the node asks the condition that the rules of a shared stream may have in common: it must come first.
    fn asks_shared_stream(&self, node: &Node) -> bool {
        let is_shared = matches!(&self.bottom.kind, Kind::Scan(scan) if scan.stream.shared);
        is_shared && matches!(node.kind, Kind::Filter(_) | Kind::WindowFilter(_))
    }

    /// Whether rows are groups at the top.
    fn is_aggregate(&self) -> bool {
        let is_it = |node: &Node| matches!(node.kind, Kind::Aggregate { .. });
        is_it(&self.bottom) || self.nodes.iter().any(is_it)
    }

    /// Computes an expression below a node, and reads it from there on.
    fn compute(&mut self, expr: &Expr, first: usize) {
        let (below, reach) = (self.below(first), self.reach(first));
        let width = below.schema.len();
        let field = Field { name: Arc::from(explain::part(expr, &below.schema)), source: None };
        let schema = wider(&below.schema, width, &field);
        let (key, size) = (expr.key(), rewrite::size(expr));
        let is_aggregate = self.is_aggregate();
        let moved = |slot: Slot| if slot.index() >= width { Slot(slot.0 + 1) } else { slot };
        for (index, node) in self.nodes.iter_mut().enumerate().skip(first) {
            exprs::visit(&mut node.kind, &mut |expr| *expr = expr.map_slots(&moved));
            if let Kind::Project(columns) = &mut node.kind {
                for column in columns.iter_mut() {
                    if let OutputColumn::Spread { slots, .. } = column {
                        slots.iter_mut().for_each(|(_, slot)| *slot = moved(*slot));
                    }
                }
            }
            if index < reach {
                each_expr(&mut node.kind, is_aggregate, &mut |expr, _| replace(expr, &key, size, width));
            }
            if keeps_slots(&node.kind) {
                node.schema = wider(&node.schema, width, &field);
            }
        }
        let value = Kind::Compute(vec![expr.clone()]);
        let node = Node { name: Arc::from(""), kind: value, inputs: Vec::new(), schema };
        self.nodes.insert(first, node);
    }

    /// The plan again, Computes that follow each other in one.
    fn join(self) -> Node {
        let mut at = self.bottom;
        for mut node in self.nodes {
            if let (Kind::Compute(before), Kind::Compute(values)) = (&mut at.kind, &mut node.kind)
                && before.iter().chain(values.iter()).all(Expr::is_pure)
            {
                before.append(values);
                at.schema = node.schema;
                continue;
            }
            node.inputs = vec![at];
            at = node;
        }
        at
    }
}

fn wider(schema: &Schema, at: usize, field: &Field) -> Arc<Schema> {
    let mut fields = schema.fields.clone();
    fields.insert(at, field.clone());
    Arc::new(Schema { fields })
}

/// Calls `visit` for the expressions of a node that may be shared, and tells whether they are evaluated for every row.
fn each_expr(kind: &mut Kind, is_aggregate: bool, visit: &mut dyn FnMut(&mut Expr, bool)) {
    match kind {
        Kind::Project(columns) => {
            for column in columns {
                match column {
                    // S6: whether such a call fails by itself or by its argument makes a difference.
                    OutputColumn::One {
                        expr: Expr::Call { function: FunctionRef::Builtin(_), .. }, ..
                    } if is_aggregate => {}
                    OutputColumn::One { expr, .. } | OutputColumn::Keyed { expr } => visit(expr, true),
                    OutputColumn::Spread { .. } => {}
                }
            }
        }
        Kind::Window(window) => {
            if let WindowKind::State { begin, emit } = &mut window.kind {
                begin.iter_mut().for_each(|begin| visit(begin, true));
                emit.iter_mut().for_each(|emit| visit(emit, false));
            }
            let others = window.trigger.iter_mut().chain(window.partition_by.iter_mut().flatten());
            others.for_each(|expr| visit(expr, true));
        }
        Kind::Analytic(calls) => {
            for call in calls {
                let is_certain = call.when.is_none();
                call.args.iter_mut().for_each(|arg| visit(arg, is_certain));
                call.partition_by.iter_mut().chain(&mut call.when).for_each(|expr| visit(expr, true));
            }
        }
        Kind::AggFunc(calls) => aggregates(calls, visit),
        Kind::Aggregate { keys, calls } => {
            keys.iter_mut().for_each(|key| visit(key, true));
            aggregates(calls, visit);
        }
        Kind::LookupJoin(lookup) => lookup.keys.iter_mut().for_each(|(_, value)| visit(value, true)),
        other => exprs::visit(other, &mut |expr| visit(expr, true)),
    }
}

fn aggregates(calls: &mut [AggregateCall], visit: &mut dyn FnMut(&mut Expr, bool)) {
    for call in calls {
        let is_certain = call.filter.is_none();
        call.args.iter_mut().for_each(|arg| visit(arg, is_certain));
        call.filter.iter_mut().for_each(|filter| visit(filter, true));
    }
}

/// Calls `found` for the expression and its parts, and tells which are evaluated for every row (O-5, O-11).
fn note(expr: &Expr, is_certain: bool, found: &mut dyn FnMut(&Expr, bool)) {
    found(expr, is_certain);
    let parts = expr.parts();
    let n_certain = match expr {
        Expr::Binary(BinaryOp::And | BinaryOp::Or, ..) => 1,
        Expr::Case { value, .. } => 1 + usize::from(value.is_some()),
        _ => parts.len(),
    };
    for (index, part) in parts.into_iter().enumerate() {
        note(part, is_certain && index < n_certain, found);
    }
}

/// What evaluating costs, in simple operators. AND and OR are never shared whole: conditions take them apart.
fn cost(expr: &Expr) -> usize {
    let own = match expr {
        Expr::Column(_) | Expr::Literal(_) => 0,
        Expr::Binary(BinaryOp::And | BinaryOp::Or, ..) => return 0,
        Expr::Call { .. } | Expr::Binary(BinaryOp::Like | BinaryOp::NotLike, ..) | Expr::Object(_) => DEAR,
        Expr::Case { arms, .. } => 1 + 2 * arms.len(),
        Expr::Path(_, steps) => 2 + 2 * steps.len(),
        _ => 1,
    };
    expr.parts().into_iter().fold(own, |sum, part| sum + cost(part))
}

/// Reads the slot instead of computing the expression.
fn replace(expr: &mut Expr, key: &ExprKey, size: usize, slot: usize) {
    if rewrite::size(expr) < size {
        return;
    }
    if expr.key() == *key {
        *expr = Expr::Column(Slot(slot as u32));
    } else {
        expr.parts_mut(&mut |part| replace(part, key, size, slot));
    }
}
