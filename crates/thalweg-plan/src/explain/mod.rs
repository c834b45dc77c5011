//! Plans as text: upstream's lines for REST, and our own tree for tests and fingerprints.

mod expr;
mod node;
mod report;
mod sql;

pub use report::{CommonState, Sharing, common_state, report, shared_streams};
pub(crate) use sql::part;
pub use sql::sql;

use crate::logical::{Kind, Node, Plan};

/// The plan as our own tree: one line a node, inputs indented below, Scan with what it decodes.
pub fn tree(plan: &Plan) -> String {
    let mut text = String::new();
    tree_node(&plan.root, 0, &mut text);
    text
}

fn tree_node(node: &Node, depth: usize, text: &mut String) {
    text.push_str(&"  ".repeat(depth));
    text.push_str(&node::line(node));
    text.push('\n');
    node.inputs.iter().for_each(|input| tree_node(input, depth + 1, text));
}

/// Upstream's explain text: `{"op":"ProjectPlan_0","info":"…"}`, children below, indented by 2d-1 tabs. Nodes that
/// upstream does not have (Compute, Limit, Union, SubQuery) are not shown; a join with tables shows its JoinAlignPlan.
pub fn explain(plan: &Plan) -> String {
    let mut lines = Vec::new();
    explain_node(&plan.root, 0, 0, &mut lines);
    lines.join("\n")
}

fn explain_node(node: &Node, depth: usize, id: usize, lines: &mut Vec<String>) {
    let Some(op) = upstream_name(&node.kind) else {
        return node.inputs.iter().for_each(|input| explain_node(input, depth, id, lines));
    };
    push_line(op, id, &node::info(node), depth, lines);
    let (mut depth, mut id) = (depth, id);
    let is_table = |input: &Node| matches!(&input.kind, Kind::Scan(scan) if scan.retain.is_some());
    if matches!(node.kind, Kind::Join(_)) && node.inputs.iter().any(is_table) {
        (depth, id) = (depth + 1, id + 1);
        push_line("JoinAlignPlan", id, "", depth, lines);
    }
    for (position, input) in node.inputs.iter().enumerate() {
        explain_node(input, depth + 1, id + 1 + position, lines);
    }
}

fn push_line(op: &str, id: usize, info: &str, depth: usize, lines: &mut Vec<String>) {
    lines.push(tabs(depth) + &line(&format!("{op}_{id}"), info));
}

/// Upstream indents by 2d-1 tabs.
fn tabs(depth: usize) -> String {
    "\t".repeat((2 * depth).saturating_sub(1))
}

fn line(op: &str, info: &str) -> String {
    format!("{{\"op\":\"{op}\",\"info\":{}}}", serde_json::Value::from(info))
}

fn upstream_name(kind: &Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Scan(_) => "DataSourcePlan",
        Kind::Watermark { .. } => "WatermarkPlan",
        Kind::Analytic(_) => "AnalyticFuncsPlan",
        Kind::WindowFilter(_) | Kind::Filter(_) => "FilterPlan",
        Kind::Window(window) if window.fold.is_some() => "IncAggWindowPlan",
        Kind::Window(_) => "WindowPlan",
        Kind::Join(_) => "JoinPlan",
        Kind::LookupJoin(_) => "LookupPlan",
        Kind::AggFunc(_) => "AggFunc",
        Kind::Aggregate { .. } => "AggregatePlan",
        Kind::Having { .. } => "HavingPlan",
        Kind::RowNumber { .. } => "WindowFuncPlan",
        Kind::DedupTrigger(_) => "DedupTriggerPlan",
        Kind::Sort(_) => "OrderPlan",
        Kind::Project(_) => "ProjectPlan",
        Kind::ProjectSet { .. } => "ProjectSetPlan",
        Kind::Compute(_) | Kind::Limit(_) | Kind::Union | Kind::Outlets | Kind::SubQuery(_) => return None,
    })
}
