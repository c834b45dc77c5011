//! What a stream's own conditions or ON compute and the SELECT above a join reads again: computed once for each event,
//! below the first node that evaluates it for every one, and carried through window and join.
//!
//! Only of a side that the join never makes up: elsewhere the value would be missing where the expression of missing
//! columns has one (J-7). Never of scan tables, and never below the first condition on a shared stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::{Field, Schema, Slot, Want};
use thalweg_expr::{Expr, ExprKey};
use thalweg_sql::ast::JoinKind;

use super::sites::{self, Site, Sites, each_expr, replace};
use crate::explain;
use crate::logical::{JoinStep, Kind, Node, Plan};
use crate::optimize::carry::{moves, rescan};
use crate::optimize::exprs;
use crate::optimize::sides::{Side, join_order, sides};
use crate::rewrite;

/// So many values at most are carried.
const MOST_CARRIED: usize = 16;

/// A value to be carried.
struct Carried {
    /// The number of the scan, in the order in which rows enter.
    scan: usize,
    /// Over the scan's slots.
    expr: Expr,
    /// How many nodes stand between the scan and where it is computed.
    n_below: usize,
}

/// Runs it.
pub(super) fn run(mut plan: Plan) -> Plan {
    for _ in 0..MOST_CARRIED {
        let Some(carried) = find(&plan.root, &mut 0, &mut Vec::new()) else { break };
        plan.root = compute(plan.root, &carried);
    }
    plan
}

/// The first value that is worth it. `above` are the nodes up to the one that makes rows anew, nearest last.
fn find<'p>(node: &'p Node, n_scans: &mut usize, above: &mut Vec<&'p Node>) -> Option<Carried> {
    if matches!(node.kind, Kind::Scan(_)) {
        *n_scans += 1;
        return None;
    }
    if let Kind::Join(steps) = &node.kind
        && let Some(found) = of_join(node, steps, *n_scans, above)
    {
        return Some(found);
    }
    let ends = matches!(node.kind, Kind::Union | Kind::SubQuery(_) | Kind::ProjectSet { .. } | Kind::Join(_));
    let kept = if ends { std::mem::take(above) } else { Vec::new() };
    above.push(node);
    let found = node.inputs.iter().find_map(|input| find(input, n_scans, above));
    above.pop();
    if ends {
        *above = kept;
    }
    found
}

fn of_join(join: &Node, steps: &[JoinStep], n_scans: usize, above: &[&Node]) -> Option<Carried> {
    let sides = sides(join);
    let order = join_order(steps, sides.len());
    let events: Vec<&Node> = match &join.inputs.first()?.kind {
        Kind::Window(_) => join.inputs[0].inputs.iter().chain(&join.inputs[1..]).collect(),
        _ => join.inputs.iter().collect(),
    };
    let mut scan = n_scans;
    for (side, branch) in events.iter().enumerate() {
        let own_scan = scan;
        scan += count_scans(branch);
        let position = order.iter().position(|of| *of == side)?;
        if sides[side].is_table || is_padded(position, steps) {
            continue;
        }
        let Some(chain) = chain(branch) else { continue };
        let base = order[..position].iter().map(|side| sides[*side].n_slots).sum();
        let in_window = if sides[side].input == 0 { sides[side].first } else { 0 };
        let places = Places { chain: &chain, join, above, in_window, base };
        if let Some((expr, n_below)) = places.worth() {
            return Some(Carried { scan: own_scan, expr, n_below });
        }
    }
    None
}

fn count_scans(node: &Node) -> usize {
    usize::from(matches!(node.kind, Kind::Scan(_))) + node.inputs.iter().map(count_scans).sum::<usize>()
}

/// Whether rows of the side in this position may be made up (J-7).
fn is_padded(position: usize, steps: &[JoinStep]) -> bool {
    let own = position.checked_sub(1).map(|own| steps[own].kind);
    own.is_some_and(|kind| matches!(kind, JoinKind::Left | JoinKind::Full))
        || steps[position..].iter().any(|step| matches!(step.kind, JoinKind::Right | JoinKind::Full))
}

/// The nodes of a stream's events from its scan on, if slots of the scan are where they were in all of them.
fn chain(branch: &Node) -> Option<Vec<&Node>> {
    let (mut nodes, mut at) = (vec![branch], branch);
    while let [input] = at.inputs.as_slice() {
        let keeps = matches!(
            at.kind,
            Kind::Watermark { .. }
                | Kind::Analytic(_)
                | Kind::WindowFilter(_)
                | Kind::Filter(_)
                | Kind::Compute(_)
        );
        if !keeps {
            return None;
        }
        nodes.push(input);
        at = input;
    }
    nodes.reverse();
    matches!(nodes[0].kind, Kind::Scan(_)).then_some(nodes)
}

/// Where expressions over one stream's columns may occur.
struct Places<'a, 'p> {
    /// From the scan on.
    chain: &'a [&'p Node],
    join: &'p Node,
    /// The nodes above the join, nearest last.
    above: &'a [&'p Node],
    /// Where the stream's slots begin in the window's, and in the join's output.
    in_window: usize,
    base: usize,
}

impl Places<'_, '_> {
    /// The dearest expression that every event needs and that is read above as well, and how many nodes of the chain
    /// but the scan stand below it.
    fn worth(&self) -> Option<(Expr, usize)> {
        let n_chain = self.chain.len();
        let mut alike: BTreeMap<ExprKey, Vec<Site>> = BTreeMap::new();
        self.sites().into_iter().for_each(|site| alike.entry(site.key.clone()).or_default().push(site));
        let mut alike: Vec<Vec<Site>> = alike.into_values().collect();
        alike.sort_by_key(|sites| (std::cmp::Reverse(sites[0].cost), sites[0].node));
        alike.into_iter().find_map(|sites| {
            let is_early = |site: &&Site| site.is_certain() && site.node <= n_chain + 1;
            let first = sites.iter().find(is_early)?.node;
            let passes = |node: &&&Node| {
                matches!(node.kind, Kind::Watermark { .. } | Kind::Filter(_) | Kind::WindowFilter(_))
            };
            let n_below = self.chain[1..first.min(n_chain)].iter().take_while(passes).count();
            let n_read = sites.iter().filter(|site| site.node > n_below).count();
            let is_carried = sites.iter().any(|site| site.node > n_chain + 1);
            (n_read > 1 && is_carried).then(|| (sites[0].expr.clone(), n_below))
        })
    }

    /// The places from below, each with its expression over the scan's slots; the chain's nodes are numbered from the
    /// scan, then come window, join and what is above.
    fn sites(&self) -> Vec<Site> {
        let n_chain = self.chain.len();
        let mut all = Vec::new();
        for (index, node) in self.chain.iter().enumerate().skip(1) {
            if index > 1 || !self.asks_shared_stream(node) {
                self.add(index, node, 0, false, &mut all);
            }
        }
        if let Some(window) = self.join.inputs.first().filter(|input| matches!(input.kind, Kind::Window(_))) {
            self.add(n_chain, window, self.in_window, false, &mut all);
        }
        self.add(n_chain + 1, self.join, self.base, false, &mut all);
        let mut is_aggregate = false;
        for (index, node) in self.above.iter().rev().enumerate() {
            self.add(n_chain + 2 + index, node, self.base, is_aggregate, &mut all);
            match &node.kind {
                Kind::Aggregate { keys, .. } if keys.is_empty() => break,
                Kind::Project(_) => break,
                Kind::Aggregate { .. } => is_aggregate = true,
                _ => {}
            }
        }
        all
    }

    fn asks_shared_stream(&self, node: &Node) -> bool {
        let is_shared = matches!(&self.chain[0].kind, Kind::Scan(scan) if scan.stream.shared);
        is_shared && matches!(node.kind, Kind::Filter(_) | Kind::WindowFilter(_))
    }

    /// Those of a node in which the stream's slots begin at `base`.
    fn add(&self, index: usize, node: &Node, base: usize, is_aggregate: bool, all: &mut Vec<Site>) {
        let own = base..base + self.chain[0].schema.len();
        let mut sites = Sites::default();
        sites.add(index, node, is_aggregate);
        for mut site in sites.found {
            if rewrite::slots(&site.expr).iter().all(|slot| own.contains(&slot.index())) {
                site.expr = site.expr.map_slots(&|slot| Slot(slot.0 - base as u32));
                site.key = site.expr.key();
                all.push(site);
            }
        }
    }
}

/// Computes a value above its scan. The slot is first made in the scan, so that everything above is numbered anew, and
/// then computed in that place.
fn compute(root: Node, carried: &Carried) -> Node {
    let mut slot = Slot(0);
    let mut root = rescan(root, &mut |index, scan| {
        let n_before = scan.projection.slots.len();
        if index == carried.scan {
            let path = vec![Arc::from(" carried")];
            slot = scan.projection.slot(Want::Column { path, data_type: None }, None);
        }
        moves((0..n_before).map(|_| true))
    });
    Computing { carried, slot, n_scans: 0 }.node(&mut root);
    root
}

struct Computing<'a> {
    carried: &'a Carried,
    /// In the scan's numbers.
    slot: Slot,
    n_scans: usize,
}

/// Where the slots of the scan in question are found in a node's output.
#[derive(Clone, Copy)]
struct Found {
    base: usize,
    /// How many nodes above the scan are still to come before the value is computed.
    n_below: Option<usize>,
    /// Whether rows are groups.
    is_aggregate: bool,
}

impl Computing<'_> {
    fn node(&mut self, node: &mut Node) -> Option<Found> {
        if let Kind::Scan(scan) = &mut node.kind {
            self.n_scans += 1;
            if self.n_scans != self.carried.scan + 1 {
                return None;
            }
            scan.projection.slots.pop();
            node.schema = Arc::new(scan.projection.schema());
            return Some(self.settle(node, self.carried.n_below));
        }
        let mut found = None;
        for (index, input) in node.inputs.iter_mut().enumerate() {
            found = self.node(input).map(|found| (index, found)).or(found);
        }
        let (input, found) = found?;
        if let Some(n_below) = found.n_below {
            node.schema = Arc::clone(&node.inputs[0].schema);
            return Some(self.settle(node, n_below - 1));
        }
        let first = |of: usize| node.inputs[..of].iter().map(|input| input.schema.len()).sum::<usize>();
        let mut base = first(input) + found.base;
        if let Kind::Join(steps) = &node.kind {
            let sides = sides(node);
            let is_it = |side: &Side| side.input == input && side.holds(found.base);
            let (side, order) = (sides.iter().position(is_it)?, join_order(steps, sides.len()));
            let position = order.iter().position(|of| *of == side)?;
            base = order[..position].iter().map(|side| sides[*side].n_slots).sum();
            exprs::join_right_sides(&mut node.kind, &mut |of, expr| {
                if of == side {
                    self.read(expr, 0);
                }
            });
        }
        each_expr(&mut node.kind, found.is_aggregate, &mut |expr, _| self.read(expr, base));
        match &node.kind {
            Kind::Project(_) | Kind::ProjectSet { .. } | Kind::Union | Kind::SubQuery(_) => None,
            Kind::Aggregate { keys, .. } if keys.is_empty() => None,
            Kind::Aggregate { .. } => Some(Found { base, is_aggregate: true, ..found }),
            _ => Some(Found { base, ..found }),
        }
    }

    /// Computes the value on top of a node, or leaves that to one further up.
    fn settle(&self, node: &mut Node, n_below: usize) -> Found {
        let found = Found { base: 0, n_below: None, is_aggregate: false };
        if n_below > 0 {
            return Found { n_below: Some(n_below), ..found };
        }
        let expr = self.carried.expr.clone();
        let name = Arc::from(explain::part(&expr, &node.schema));
        let mut fields = node.schema.fields.clone();
        fields.push(Field { name, source: None });
        let below = Node { inputs: std::mem::take(&mut node.inputs), ..node.clone() };
        *node = Node {
            name: Arc::from(""),
            kind: Kind::Compute(vec![expr]),
            inputs: vec![below],
            schema: Arc::new(Schema { fields }),
        };
        found
    }

    /// Reads the slot, where the scan's slots begin at `base`.
    fn read(&self, expr: &mut Expr, base: usize) {
        let own = self.carried.expr.map_slots(&|slot| Slot(slot.0 + base as u32));
        let column = Expr::Column(Slot(self.slot.0 + base as u32));
        replace(expr, &own.key(), sites::size(&own), &column);
    }
}
