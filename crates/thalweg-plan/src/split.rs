//! What of a rule runs beside each connection of a stream that is split (`contracts.md` 8).
//!
//! From the scan upwards: conditions and values of single rows. Then, when the next node is a tumbling or hopping window
//! in processing time that folds its rows into groups, that window too: it hands on the states of its groups, which are
//! merged by key when it ends. Everything above runs once, on the rows or groups of all parts. What depends on how rows of
//! different parts follow each other cannot be had, and is refused by name.

use std::collections::BTreeSet;

use thalweg_core::{Diagnostic, ErrorCode, Slot};
use thalweg_expr::{Expr, FunctionKind, FunctionRef};

use crate::logical::{AggregateCall, Kind, Node, OutputColumn, Scan, Window, WindowKind};
use crate::optimize::exprs;

/// The operators that run beside each connection, from the scan upwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// How many connections there are.
    pub parts: u32,
    /// How many operators.
    pub steps: usize,
    /// Whether the last of them is a window whose groups are merged.
    pub merges: bool,
}

/// The cut above each scan of a plan, in the order of the scans; none above streams that are not split.
///
/// # Errors
/// Something in the plan depends on the order of rows of which nobody knows it.
pub fn cuts(root: &Node) -> Result<Vec<Option<Cut>>, Diagnostic> {
    let mut cuts = Vec::new();
    walk(root, &mut Vec::new(), &mut cuts)?;
    Ok(cuts)
}

/// What the rules of a shared stream may have in common whose plans are equal up to there (`contracts.md` 7): the cut above
/// the only scan, up to a window, and the window's node, by which equal ones are known.
pub fn common_window(root: &Node) -> Option<(Cut, &Node)> {
    let mut above = Vec::new();
    let mut node = root;
    while let [input] = &node.inputs[..] {
        above.push(node);
        node = input;
    }
    let Kind::Scan(scan) = &node.kind else { return None };
    let cut = Cut { parts: 1, ..cut(scan, &above) };
    let window = above.iter().rev().nth(cut.steps.checked_sub(1)?)?;
    let Kind::Window(Window { kind, .. }) = &window.kind else { return None };
    // Windows with gaps between begin with the rule that they belong to.
    let is_gapless = !matches!(kind, WindowKind::Hopping { length, hop, .. } if hop > length);
    (cut.merges && is_gapless && scan.stream.shared).then_some((cut, *window))
}

/// The tolerance of the reorder buffer above the only scan of a plan, when rules of a shared stream may have it in common
/// (`contracts.md` 6).
pub fn event_group(root: &Node) -> Option<i64> {
    let mut node = root;
    loop {
        let [input] = &node.inputs[..] else { return None };
        if let Kind::Scan(scan) = &input.kind {
            let Kind::Watermark { late_tolerance, n_lanes: 1, .. } = node.kind else { return None };
            return (scan.stream.shared && scan.late.is_none()).then_some(late_tolerance);
        }
        node = input;
    }
}

fn walk<'p>(
    node: &'p Node,
    above: &mut Vec<&'p Node>,
    cuts: &mut Vec<Option<Cut>>,
) -> Result<(), Diagnostic> {
    if let Kind::Scan(scan) = &node.kind {
        let is_split = scan.stream.split > 1 && scan.retain.is_none();
        cuts.push(is_split.then(|| cut(scan, above)));
        return if is_split { check(scan, above) } else { Ok(()) };
    }
    above.push(node);
    let walked = node.inputs.iter().try_for_each(|input| walk(input, above, cuts));
    above.pop();
    walked
}

fn cut(scan: &Scan, above: &[&Node]) -> Cut {
    let timed = scan.event_time.is_some();
    let steps = above.iter().rev().take_while(|node| !timed && is_row_wise(&node.kind)).count();
    let next = above.iter().rev().nth(steps).map(|node| &node.kind);
    let merges = matches!(next, Some(Kind::Window(window)) if !timed && can_merge(window));
    Cut { parts: scan.stream.split, steps: steps + usize::from(merges), merges }
}

/// Whether what it does to a row depends on nothing but the row.
fn is_row_wise(kind: &Kind) -> bool {
    match kind {
        Kind::Filter(condition) | Kind::WindowFilter(condition) => condition.is_pure(),
        Kind::Compute(values) => {
            values.iter().all(|value| value.is_pure() && !matches!(value, Expr::Once(_)))
        }
        Kind::Project(columns) => columns.iter().all(|column| match column {
            OutputColumn::One { expr, .. } => expr.is_pure(),
            OutputColumn::Spread { .. } => true,
            OutputColumn::Keyed { .. } => false,
        }),
        _ => false,
    }
}

fn can_merge(window: &Window) -> bool {
    let ends_by_time = matches!(window.kind, WindowKind::Tumbling { .. } | WindowKind::Hopping { .. });
    ends_by_time && !window.event_time && window.fold.is_some()
}

/// Refuses what depends on the order of rows. `above` are the nodes from the root to the scan.
fn check(scan: &Scan, above: &[&Node]) -> Result<(), Diagnostic> {
    for (depth, node) in above.iter().enumerate() {
        if let Some(what) = ordered(node, &above[..depth]) {
            let text = format!(
                "stream {} is split over {} connections, whose rows have no common order, which {what} depends on",
                scan.stream.name, scan.stream.split
            );
            let help = "read it without \"split\", or define a second stream for this rule";
            return Err(Diagnostic::new(ErrorCode::Executor, text).help(help));
        }
    }
    Ok(())
}

/// The name of what depends on the order of a node's rows, if something does.
fn ordered(node: &Node, above: &[&Node]) -> Option<String> {
    match &node.kind {
        Kind::Analytic(calls) => calls.first().map(|call| call.function.name().to_owned()),
        Kind::Window(window) => match window.kind {
            WindowKind::Count { .. } => Some("a count window".to_owned()),
            WindowKind::Session { .. } => Some("a session window".to_owned()),
            WindowKind::State { .. } => Some("a state window".to_owned()),
            WindowKind::Tumbling { .. } | WindowKind::Hopping { .. } | WindowKind::Sliding { .. } => None,
        },
        Kind::AggFunc(calls) => ordered_call(calls),
        Kind::Aggregate { keys, calls } => {
            ordered_call(calls).or_else(|| plain_column(node, keys, above)).filter(|_| is_windowed(node))
        }
        Kind::RowNumber { order_by, .. } if order_by.is_empty() => Some("row_number".to_owned()),
        Kind::DedupTrigger(_) => Some("dedup_trigger".to_owned()),
        _ => None,
    }
}

fn ordered_call(calls: &[AggregateCall]) -> Option<String> {
    let is_ordered = |call: &&AggregateCall| match &call.function {
        FunctionRef::Builtin(function) => match function.kind {
            FunctionKind::Aggregate(new) => new().is_ordered(),
            _ => true,
        },
        // Nobody knows what a plugin makes of the order.
        FunctionRef::Remote(_) => true,
    };
    calls.iter().find(is_ordered).map(|call| call.function.name().to_owned())
}

/// Whether groups have more than one row.
fn is_windowed(node: &Node) -> bool {
    match node.kind {
        Kind::Window(_) => true,
        Kind::SubQuery(_) => false,
        _ => node.inputs.iter().any(is_windowed),
    }
}

/// A column that is read of the first row of each group and is no key.
fn plain_column(aggregate: &Node, keys: &[Expr], above: &[&Node]) -> Option<String> {
    let below = &aggregate.inputs.first()?.schema;
    let mut reads: BTreeSet<Slot> = BTreeSet::new();
    let is_key = |expr: &Expr| keys.iter().any(|key| key.key() == expr.key());
    for node in above.iter().rev() {
        let Kind::Project(columns) = &node.kind else {
            exprs::each_read(node, &mut |slot| reads.extend([slot]));
            continue;
        };
        for column in columns {
            match column {
                OutputColumn::One { expr, .. } if is_key(expr) => {}
                OutputColumn::One { expr, .. } | OutputColumn::Keyed { expr } => {
                    reads.extend(crate::rewrite::slots(expr));
                }
                OutputColumn::Spread { slots, .. } => reads.extend(slots.iter().map(|(_, slot)| *slot)),
            }
        }
        break;
    }
    let plain = reads.into_iter().find(|slot| slot.index() < below.len() && !is_key(&Expr::Column(*slot)))?;
    Some(format!("the plain column {} of a group", below.fields[plain.index()].name))
}
