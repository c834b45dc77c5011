//! Common sub-expressions: what occurs more than once between two points where rows are made anew is computed at most
//! once per row.
//!
//! Nothing is evaluated that would not have been. If the first node that reads an expression evaluates it for every row,
//! a Compute below that node does so instead. If it stands only behind AND, OR or in branches of CASE there, the Compute
//! keeps a memo: whoever needs the value of a row first computes it, and those after it find it ([`Expr::Once`]). A
//! memo holds as long as rows stay in their places: up to the next window, aggregate or ORDER BY, that included.
//!
//! Not shared is what makes a difference or costs more than it saves:
//! - what counts errors by itself (a domain error, a null date: S7, S45): it would be counted once instead of twice;
//! - what is not pure; constants; what costs less than a Compute (each costs some time a batch);
//! - parts of which a row reaches one at most: the branches of one CASE;
//! - calls that stand alone in the SELECT of an aggregate query, which fail in their own way (S6);
//! - the condition that rules of a shared stream may have in common: it comes first;
//! - what stands below and above a UNION or a sub-query, and of a join more than `share/across.rs` carries through it.
//!
//! Only pure expressions that count nothing by themselves are shared; an error stays a cell, counted by whoever consumes
//! it (`contracts.md` 9).

mod across;
mod sites;

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::{Field, Schema, Slot};
use thalweg_expr::{Expr, ExprKey, Once};

use self::sites::{Branch, Site, each_expr, replace};

use super::exprs;
use crate::explain;
use crate::logical::{Kind, Node, OutputColumn, Plan};
use crate::rewrite;

/// A SELECT with more expression nodes than this is left alone, so that planning stays quick.
const MOST_NODES: usize = 4_000;

/// Runs the pass.
pub(super) fn run(plan: Plan) -> Plan {
    let mut plan = across::run(plan);
    plan.root = share(plan.root);
    plan
}

/// Nodes through which rows keep their slots, lowest first, on top of the node that makes the rows.
struct Segment {
    bottom: Node,
    nodes: Vec<Node>,
}

/// An expression that is worth computing once.
struct Found {
    expr: Expr,
    /// The node below which to do so.
    first: usize,
    /// Behind the last node that reads it.
    end: usize,
    /// Whether not every row needs it.
    is_lazy: bool,
}

fn share(node: Node) -> Node {
    let mut segment = cut(node);
    // Below anything but a SELECT list, one more slot would be seen.
    let ends_here = segment.nodes.last().is_some_and(|top| matches!(top.kind, Kind::Project(_)));
    if ends_here && segment.size() <= MOST_NODES {
        while let Some(found) = segment.dearest() {
            segment.compute(&found);
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

    /// The dearest expression that is worth computing once.
    fn dearest(&self) -> Option<Found> {
        let sites = self.sites();
        let mut alike: BTreeMap<&ExprKey, Vec<&Site>> = BTreeMap::new();
        sites.iter().for_each(|site| alike.entry(&site.key).or_default().push(site));
        let mut alike: Vec<Vec<&Site>> = alike.into_values().filter(|sites| sites.len() > 1).collect();
        alike.sort_by_key(|sites| (std::cmp::Reverse(sites[0].cost), sites[0].node));
        alike.iter().find_map(|sites| self.shared(sites))
    }

    /// Where to compute an expression that occurs in these places, from the lowest node on from which it is worth it.
    fn shared(&self, sites: &[&Site]) -> Option<Found> {
        let mut seen = None;
        sites.iter().find_map(|site| {
            let first = site.node;
            let is_there = || {
                let width = self.below(first).schema.len();
                rewrite::slots(&site.expr).iter().all(|slot| slot.index() < width)
            };
            if seen.replace(first) == Some(first) || !is_there() {
                return None;
            }
            let up_to = |end: usize| -> Vec<&Site> {
                sites.iter().copied().filter(|site| (first..end).contains(&site.node)).collect()
            };
            let (all, near) = (self.reach(first), self.stays(first));
            let is_certain = sites.iter().any(|site| site.node == first && site.is_certain());
            let found = |end, is_lazy| Some(Found { expr: site.expr.clone(), first, end, is_lazy });
            if is_certain && up_to(all).len() > 1 {
                return found(all, false);
            }
            if Branch::may_meet(&up_to(near)) { found(near, true) } else { None }
        })
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

    /// Behind the last node up to which rows stay where they are, so that a memo made below `first` is found. Windows
    /// keep rows; conditions that ask for their past are evaluated row by row, for which a memo is no use.
    fn stays(&self, first: usize) -> usize {
        let mut end = first;
        for node in &self.nodes[first..] {
            let asks_for_hits = || {
                let mut asks = false;
                exprs::visit(&mut node.kind.clone(), &mut |expr| asks |= rewrite::asks_for_hits(expr));
                asks
            };
            match node.kind {
                Kind::Window(_) | Kind::DedupTrigger(_) => break,
                _ if asks_for_hits() => break,
                Kind::Filter(_)
                | Kind::WindowFilter(_)
                | Kind::Compute(_)
                | Kind::Analytic(_)
                | Kind::AggFunc(_)
                | Kind::Having { .. }
                | Kind::RowNumber { .. }
                | Kind::Limit(_) => end += 1,
                _ => return end + 1,
            }
        }
        end
    }

    fn sites(&self) -> Vec<Site> {
        let is_aggregate = self.is_aggregate();
        let mut sites = sites::Sites::default();
        for (index, node) in self.nodes.iter().enumerate() {
            if index > 0 || !self.asks_shared_stream(node) {
                sites.add(index, node, is_aggregate);
            }
        }
        sites.found
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
    fn compute(&mut self, found: &Found) {
        let Found { expr, first, end, is_lazy } = found;
        let below = self.below(*first);
        let width = below.schema.len();
        let field = Field { name: Arc::from(explain::part(expr, &below.schema)), source: None };
        let schema = wider(&below.schema, width, &field);
        let slot = Slot(width as u32);
        let once = || Expr::Once(Box::new(Once { slot, expr: expr.clone() }));
        let (read, value) = if *is_lazy { (once(), once()) } else { (Expr::Column(slot), expr.clone()) };
        let (key, size) = (expr.key(), sites::size(expr));
        let is_aggregate = self.is_aggregate();
        let moved = |slot: Slot| if slot.index() >= width { Slot(slot.0 + 1) } else { slot };
        for (index, node) in self.nodes.iter_mut().enumerate().skip(*first) {
            exprs::visit(&mut node.kind, &mut |expr| *expr = expr.map_slots(&moved));
            if let Kind::Project(columns) = &mut node.kind {
                for column in columns.iter_mut() {
                    if let OutputColumn::Spread { slots, .. } = column {
                        slots.iter_mut().for_each(|(_, slot)| *slot = moved(*slot));
                    }
                }
            }
            if index < *end {
                let replace = |expr: &mut Expr, _: bool| replace(expr, &key, size, &read);
                each_expr(&mut node.kind, is_aggregate, &mut { replace });
            }
            if keeps_slots(&node.kind) {
                node.schema = wider(&node.schema, width, &field);
            }
        }
        let value = Kind::Compute(vec![value]);
        let node = Node { name: Arc::from(""), kind: value, inputs: Vec::new(), schema };
        self.nodes.insert(*first, node);
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
