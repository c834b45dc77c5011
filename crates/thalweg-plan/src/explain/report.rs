//! What EXPLAIN adds to upstream's lines, in their form: one JSON object a line, `{"op":"…","info":"…"}`.
//!
//! | op | info |
//! |---|---|
//! | `Node` | a node of the optimized plan, inputs below, indented as upstream's lines are |
//! | `Decoder` | what is read of a stream: columns, paths below them, metadata, with types |
//! | `SourceFilter` | a condition that the rows of a stream meet first |
//! | `SplitStream` | how many connections a stream comes over, and what runs beside each |
//! | `ComputedOnce` | an expression that several places of the rule read |
//! | `SharedStream` | other running rules that read the same shared stream |
//! | `SharedCondition` | other running rules that ask the same of it: it is evaluated once for all |
//! | `SharedWindow` | other running rules whose rows are folded in the same window: it is done once for all |
//! | `EventTimeGroup` | other running rules whose rows wait in the same reorder buffer |
//! | `Warning` | what is worth knowing about the statement |

use thalweg_expr::Expr;

use super::{expr, line, node, tabs};
use crate::logical::{Kind, Node, Plan, Scan};
use crate::{rewrite, split};

/// What a rule shares of a stream with others.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sharing {
    /// The shared stream.
    pub stream: String,
    /// Running rules that read it too.
    pub rules: Vec<String>,
    /// What the rule asks first of its rows, and which of those rules ask the same.
    pub conditions: Vec<(String, Vec<String>)>,
    /// The window or the order of its rows, and which of those rules have it in common.
    pub states: Vec<(CommonState, Vec<String>)>,
}

/// State that rules of a shared stream have in common whose plans are equal up to there.
#[derive(Debug, Clone, PartialEq)]
pub struct CommonState {
    /// The stream.
    pub stream: String,
    /// By which EXPLAIN calls it.
    pub op: &'static str,
    /// How it is shown.
    pub info: String,
    /// Equal for rules that have it in common.
    pub key: String,
}

/// The window (`contracts.md` 7) or reorder buffer (6) that a rule may have in common with others.
pub fn common_state(plan: &Plan) -> Option<CommonState> {
    let mut stream = None;
    each_scan(&plan.root, &mut Vec::new(), &mut |scan, _| stream = Some(scan.clone()));
    let scan = stream.filter(|_| plan.hosts.is_empty())?;
    let name = scan.stream.name.to_string();
    if let Some((_, window)) = split::common_window(&plan.root) {
        let (info, key) = (node::line(window), format!("window {window:?}"));
        return Some(CommonState { stream: name, op: "SharedWindow", info, key });
    }
    let tolerance = split::event_group(&plan.root)?;
    let (slot, format) = scan.event_time.as_ref()?;
    let column = node::wanted(scan.projection.slots.get(slot.index())?);
    let info = format!("{column}, LateTolerance: {tolerance}");
    let key = format!("order {column} {format:?} {tolerance} {:?}", scan.projection);
    Some(CommonState { stream: name, op: "EventTimeGroup", info, key })
}

/// The conditions that a rule asks first of the rows of each shared stream, part by part: equal texts of two rules mean
/// that the stream answers them once.
pub fn shared_streams(plan: &Plan) -> Vec<(String, Vec<String>)> {
    let mut shared = Vec::new();
    each_scan(&plan.root, &mut Vec::new(), &mut |scan, above| {
        if scan.stream.shared {
            // Rows that wait for their watermark are asked rule by rule (`contracts.md` 6).
            let first = above.last().filter(|_| scan.event_time.is_none());
            let parts = first.map(|node| conditions(node)).unwrap_or_default();
            shared.push((scan.stream.name.to_string(), parts));
        }
    });
    shared
}

/// What EXPLAIN adds.
pub fn report(plan: &Plan, sharing: &[Sharing]) -> String {
    let mut lines = Vec::new();
    tree(&plan.root, 0, &mut lines);
    each_scan(&plan.root, &mut Vec::new(), &mut |scan, above| {
        lines.push(line("Decoder", &decoder(scan)));
        let filters = above.iter().rev().take_while(|node| stays_at_source(node));
        for part in filters.flat_map(|node| conditions(node)) {
            lines.push(line("SourceFilter", &format!("{}: {part}", scan.alias)));
        }
    });
    split_streams(plan, &mut lines);
    computed(&plan.root, &mut Vec::new(), &mut lines);
    for share in sharing {
        let rules = if share.rules.is_empty() { "no other rule".to_owned() } else { share.rules.join(", ") };
        lines.push(line("SharedStream", &format!("{}: {rules}", share.stream)));
        for (part, rules) in share.conditions.iter().filter(|(_, rules)| !rules.is_empty()) {
            lines.push(line("SharedCondition", &format!("{}: {part}: {}", share.stream, rules.join(", "))));
        }
        for (state, rules) in share.states.iter().filter(|(_, rules)| !rules.is_empty()) {
            lines.push(line(state.op, &format!("{}: {}: {}", share.stream, state.info, rules.join(", "))));
        }
    }
    lines.extend(plan.warnings.iter().map(|warning| line("Warning", &warning.to_string())));
    lines.join("\n")
}

fn tree(at: &Node, depth: usize, lines: &mut Vec<String>) {
    lines.push(tabs(depth) + &line("Node", &node::line(at)));
    at.inputs.iter().for_each(|input| tree(input, depth + 1, lines));
}

/// Calls `visit` for each scan with the nodes above it, nearest last.
fn each_scan<'p>(at: &'p Node, above: &mut Vec<&'p Node>, visit: &mut dyn FnMut(&Scan, &[&'p Node])) {
    if let Kind::Scan(scan) = &at.kind {
        return visit(scan, above);
    }
    above.push(at);
    at.inputs.iter().for_each(|input| each_scan(input, above, visit));
    above.pop();
}

fn split_streams(plan: &Plan, lines: &mut Vec<String>) {
    // A plan that cannot be cut has been refused.
    let mut cuts = split::cuts(&plan.root).unwrap_or_default().into_iter();
    each_scan(&plan.root, &mut Vec::new(), &mut |scan, above| {
        let Some(cut) = cuts.next().flatten() else { return };
        let beside = above.iter().rev().take(cut.steps).filter(|node| !node.name.is_empty());
        let names: Vec<&str> = beside.map(|node| &*node.name).collect();
        let names = if names.is_empty() { "the decoder".to_owned() } else { names.join(", ") };
        let merges = if cut.merges { "; groups are merged when a window ends" } else { "" };
        let text = format!("{}: {} connections, beside each: {names}{merges}", scan.stream.name, cut.parts);
        lines.push(line("SplitStream", &text));
    });
}

fn stays_at_source(node: &Node) -> bool {
    matches!(node.kind, Kind::Filter(_) | Kind::WindowFilter(_) | Kind::Compute(_) | Kind::Watermark { .. })
}

/// The parts of a condition; none of any other node.
fn conditions(node: &Node) -> Vec<String> {
    let (Kind::Filter(condition) | Kind::WindowFilter(condition), Some(input)) =
        (&node.kind, node.inputs.first())
    else {
        return Vec::new();
    };
    let parts = rewrite::conjuncts(condition.clone());
    parts.iter().map(|part| expr::expr(part, &input.schema)).collect()
}

fn decoder(scan: &Scan) -> String {
    let columns: Vec<String> = scan.projection.slots.iter().map(node::wanted).collect();
    let columns = if columns.is_empty() { "nothing".to_owned() } else { columns.join(", ") };
    let name = match scan.alias == scan.stream.name {
        true => scan.alias.to_string(),
        false => format!("{} (stream {})", scan.alias, scan.stream.name),
    };
    format!("{name}: {columns}")
}

/// Every value that a Compute keeps, with the places that read it.
fn computed<'p>(at: &'p Node, above: &mut Vec<&'p Node>, lines: &mut Vec<String>) {
    if let (Kind::Compute(values), Some(input)) = (&at.kind, at.inputs.first()) {
        let width = input.schema.len();
        for (index, value) in values.iter().enumerate() {
            let own = &at.schema.fields[width + index].name;
            let readers = readers(at, above, width + index);
            let text = expr::expr(value, &at.schema);
            let name = if **own == *text { text } else { format!("{text} AS {own}") };
            let when = if node::is_lazy(value) { ", when needed" } else { "" };
            lines.push(line("ComputedOnce", &format!("{name}{when}: read by {}", readers.join(", "))));
        }
    }
    above.push(at);
    at.inputs.iter().for_each(|input| computed(input, above, lines));
    above.pop();
}

/// Whether a slot of a Compute is one whose values wait for whoever needs them.
fn is_memo(compute: &Node, slot: usize) -> bool {
    let is_it = |value: &Expr| matches!(value, Expr::Once(once) if once.slot.index() == slot);
    matches!(&compute.kind, Kind::Compute(values) if values.iter().any(is_it))
}

/// The nodes that read a slot, nearest first. Above the node that makes rows anew it has another meaning.
fn readers(at: &Node, above: &[&Node], slot: usize) -> Vec<String> {
    let mut names = Vec::new();
    for node in std::iter::once(&at).chain(above.iter().rev()) {
        let mut n_reads = 0usize;
        crate::optimize::each_read(node, &mut |read| n_reads += usize::from(read.index() == slot));
        // What is computed when it is needed names its own slot.
        if std::ptr::eq(*node, at) && is_memo(at, slot) {
            n_reads -= 1;
        }
        let name = if node.name.is_empty() { "another value" } else { &node.name };
        match n_reads {
            0 => {}
            1 => names.push(name.to_owned()),
            n => names.push(format!("{name} ({n} times)")),
        }
        let ends = matches!(node.kind, Kind::Project(_) | Kind::Join(_) | Kind::Union | Kind::SubQuery(_));
        if ends {
            break;
        }
    }
    names
}
