//! Moves WHERE towards the sources, part by part, where the result stays the same (J-8, J-14).
//!
//! Below a window only in processing time, and only one whose windows do not depend on how many events there are:
//! not count, not sliding. That is no optimization: it decides what a session or a state window holds and what is
//! sent of a window without rows, so it is where WHERE stands whichever passes run ([`place`]). Never below analytic
//! functions, aggregates in WHERE or a watermark, never into tables.

use thalweg_core::Slot;
use thalweg_expr::Expr;
use thalweg_sql::ast::JoinKind;

use super::sides::{Side, join_order, sides};
use crate::logical::{JoinStep, Kind, Node, Plan, WindowKind};
use crate::rewrite;

/// How far conditions move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Below windows, where they belong.
    Windows,
    /// As near to the sources as the results allow.
    Sources,
}

/// Puts WHERE where it belongs.
pub(super) fn place(mut plan: Plan) -> Plan {
    plan.root = push_node(plan.root, Reach::Windows);
    plan
}

/// Runs the pass.
pub(super) fn run(mut plan: Plan) -> Plan {
    plan.root = push_node(plan.root, Reach::Sources);
    plan
}

fn push_node(mut node: Node, reach: Reach) -> Node {
    node.inputs = node.inputs.into_iter().map(|input| push_node(input, reach)).collect();
    let Kind::Filter(condition) = &node.kind else { return node };
    if rewrite::asks_for_hits(condition) {
        return node;
    }
    let mut parts: Vec<Option<Expr>> = rewrite::conjuncts(condition.clone()).into_iter().map(Some).collect();
    let Some(input) = node.inputs.pop() else { return node };
    let input = sink(input, &mut parts, reach);
    filter(input, parts.into_iter().flatten().collect())
}

/// Puts the parts on top of a node.
fn filter(input: Node, parts: Vec<Expr>) -> Node {
    let Some(condition) = rewrite::all_of(parts) else { return input };
    let schema = std::sync::Arc::clone(&input.schema);
    Node { name: std::sync::Arc::from(""), kind: Kind::Filter(condition), inputs: vec![input], schema }
}

/// Moves what it can below `node`; the parts that were taken are gone from `parts`.
fn sink(mut node: Node, parts: &mut [Option<Expr>], reach: Reach) -> Node {
    match &node.kind {
        Kind::Window(window) => {
            let does_not_count = matches!(
                window.kind,
                WindowKind::Tumbling { .. }
                    | WindowKind::Hopping { .. }
                    | WindowKind::Session { .. }
                    | WindowKind::State { .. }
            );
            if does_not_count && !window.event_time {
                let (mut of_events, of_windows) = split(parts);
                node.inputs = sink_sides(node.inputs, &mut of_events, reach, |_| true);
                give_back(parts, of_events.into_iter().chain(of_windows).flatten());
            }
            node
        }
        Kind::Join(steps) if reach == Reach::Sources || joins_a_window(&node) => {
            let steps = steps.clone();
            sink_join(&steps, node, parts, reach)
        }
        Kind::Compute(_) | Kind::LookupJoin(_) | Kind::WindowFilter(_)
            if reach == Reach::Sources || leads_to_a_window(&node) =>
        {
            let n_slots = node.inputs[0].schema.len();
            node.inputs = sink_sides(node.inputs, parts, reach, |slot| slot.index() < n_slots);
            node
        }
        _ => node,
    }
}

/// The parts that single events can answer, and those that ask for the window.
fn split(parts: &mut [Option<Expr>]) -> (Vec<Option<Expr>>, Vec<Option<Expr>>) {
    let taken = parts.iter_mut().filter_map(Option::take).map(Some);
    taken.partition(|part| part.as_ref().is_none_or(|part| !rewrite::asks_for_window(part)))
}

/// Puts parts back into the places that are free.
fn give_back(parts: &mut [Option<Expr>], back: impl Iterator<Item = Expr>) {
    let free = parts.iter_mut().filter(|part| part.is_none());
    free.zip(back).for_each(|(place, part)| *place = Some(part));
}

/// Sinks each part that reads slots of one input alone into that input. Inputs' slots follow each other.
fn sink_sides(
    inputs: Vec<Node>,
    parts: &mut [Option<Expr>],
    reach: Reach,
    may: impl Fn(Slot) -> bool,
) -> Vec<Node> {
    let (mut first, is_single) = (0, inputs.len() == 1);
    let mut sunk = Vec::new();
    for input in inputs {
        let range = first..first + input.schema.len();
        let is_own = |slot: &Slot| may(*slot) && range.contains(&slot.index());
        first = range.end;
        sunk.push(sink_into(input, range.start, (parts, reach), |part| {
            let slots = rewrite::slots(part);
            (is_single || !slots.is_empty()) && slots.iter().all(is_own)
        }));
    }
    sunk
}

/// Takes the parts that `takes` picks, renumbers them for `input`, whose slots start at `first`, and sinks them on.
fn sink_into(
    input: Node,
    first: usize,
    (parts, reach): (&mut [Option<Expr>], Reach),
    takes: impl Fn(&Expr) -> bool,
) -> Node {
    let taken: Vec<Expr> = parts.iter_mut().filter_map(|part| part.take_if(|part| takes(part))).collect();
    let down = |slot: Slot| Slot(slot.0 - first as u32);
    let mut taken: Vec<Option<Expr>> = taken.into_iter().map(|part| Some(part.map_slots(&down))).collect();
    let input = sink(input, &mut taken, reach);
    filter(input, taken.into_iter().flatten().collect())
}

/// A part may go below a join into a stream whose rows are not made up for others (J-8): no row may appear or
/// disappear but those that the part itself is about.
fn sink_join(steps: &[JoinStep], mut node: Node, parts: &mut [Option<Expr>], reach: Reach) -> Node {
    let sides = sides(&node);
    let mut start = 0;
    for (position, side) in join_order(steps, sides.len()).into_iter().enumerate() {
        let Side { input, first, n_slots, is_table } = sides[side];
        let range = start..start + n_slots;
        start = range.end;
        if is_table || !is_preserved(position, steps) {
            continue;
        }
        let is_own = |part: &mut Expr| {
            let slots = rewrite::slots(part);
            !slots.is_empty() && slots.iter().all(|slot| range.contains(&slot.index()))
        };
        let taken: Vec<Expr> = parts.iter_mut().filter_map(|part| part.take_if(is_own)).collect();
        let own = std::mem::replace(&mut node.inputs[input], placeholder());
        let to_input = |slot: Slot| Slot((slot.index() - range.start + first) as u32);
        let (own, left) = sink_or_return(own, taken, reach, &to_input);
        node.inputs[input] = own;
        // What cannot pass the window goes back on top of the join.
        let to_join = |slot: Slot| Slot((slot.index() - first + range.start) as u32);
        give_back(parts, left.into_iter().map(|part| part.map_slots(&to_join)));
    }
    node
}

/// Sinks the parts into a join's input: below its window, or on top of it if it is a stream by itself.
fn sink_or_return(
    input: Node,
    taken: Vec<Expr>,
    reach: Reach,
    down: &dyn Fn(Slot) -> Slot,
) -> (Node, Vec<Expr>) {
    let mut parts: Vec<Option<Expr>> = taken.into_iter().map(|part| Some(part.map_slots(down))).collect();
    let is_window = matches!(input.kind, Kind::Window(_));
    let input = sink(input, &mut parts, reach);
    let left: Vec<Expr> = parts.into_iter().flatten().collect();
    if is_window { (input, left) } else { (filter(input, left), Vec::new()) }
}

/// Whether the sides come out of a window.
fn joins_a_window(join: &Node) -> bool {
    join.inputs.first().is_some_and(|input| matches!(input.kind, Kind::Window(_)))
}

/// Whether a window stands below, behind nothing but what a condition may pass.
fn leads_to_a_window(node: &Node) -> bool {
    node.inputs.first().is_some_and(|input| match input.kind {
        Kind::Window(_) => true,
        Kind::Join(_) => joins_a_window(input),
        Kind::Compute(_) | Kind::LookupJoin(_) | Kind::WindowFilter(_) => leads_to_a_window(input),
        _ => false,
    })
}

/// Whether dropping rows of the side in this position drops exactly the joined rows that they are part of.
fn is_preserved(position: usize, steps: &[JoinStep]) -> bool {
    let (own, later) = (position.checked_sub(1), &steps[position..]);
    let enters =
        own.is_none_or(|own| matches!(steps[own].kind, JoinKind::Inner | JoinKind::Cross | JoinKind::Right));
    enters && later.iter().all(|step| matches!(step.kind, JoinKind::Inner | JoinKind::Cross | JoinKind::Left))
}

/// Stands in while an input is taken out and put back.
fn placeholder() -> Node {
    let schema = std::sync::Arc::new(thalweg_core::Schema::default());
    Node { name: std::sync::Arc::from(""), kind: Kind::Union, inputs: Vec::new(), schema }
}
