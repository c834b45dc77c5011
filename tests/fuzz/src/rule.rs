//! Rules in process: planned by the real planner, run on the real shard by hand ([`Rig`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_connectors::{CONNECTORS, FORMATS};
use thalweg_core::registry::Registry;
use thalweg_core::{Props, Timestamp};
use thalweg_plan::{Kind, Node, PlanOptions, StreamDef};
use thalweg_runtime::{ActionSpec, Rig, RigId, RuleSpec, RunOptions, Sent, SourceSpec};

use crate::world::World;

/// 2024-02-29 13:14:15 UTC: an odd second of a leap day.
pub(crate) const START: i64 = 1_709_212_455_000;

/// The passes of the optimiser.
pub(crate) const PASSES: &[&str] =
    &["constantFolding", "predicatePushDown", "pathPruner", "commonSubexpressions", "columnPruner"];

/// How a rule is run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) event_time: bool,
    pub(crate) late_tolerance: i64,
    pub(crate) send_error: bool,
    pub(crate) is_shared: bool,
    pub(crate) disabled: Vec<String>,
}

/// A rule, or why it is refused.
pub(crate) fn spec(sql: &str, options: &Options) -> Result<RuleSpec, String> {
    let world = if options.is_shared { World::usual().shared() } else { World::usual() };
    let query = thalweg_sql::parse_query(sql).map_err(|mistakes| thalweg_sql::parse_error(sql, &mistakes))?;
    let planning = PlanOptions {
        event_time: options.event_time,
        late_tolerance: options.late_tolerance,
        disabled_passes: options.disabled.clone(),
        ..PlanOptions::default()
    };
    let plan = thalweg_plan::plan(&query, &planning, &world)
        .map_err(|mistakes| thalweg_sql::parse_error(sql, &mistakes))?;
    let mut sources = BTreeMap::new();
    read(&plan.root, &mut sources);
    let action = ActionSpec {
        kind: Arc::from("nop"),
        index: 0,
        props: Props::new(),
        connection: None,
        drawn: None,
        is_late: false,
    };
    let options = RunOptions {
        event_time: options.event_time,
        late_tolerance: options.late_tolerance,
        send_error: options.send_error,
        ..RunOptions::default()
    };
    Ok(RuleSpec { id: Arc::from("fuzz"), plan, sources, actions: vec![action], options })
}

fn read(node: &Node, into: &mut BTreeMap<Arc<str>, SourceSpec>) {
    let source = |stream: &Arc<StreamDef>| SourceSpec {
        stream: Arc::clone(stream),
        props: Props::new(),
        connection: None,
    };
    match &node.kind {
        Kind::Scan(scan) => drop(into.insert(Arc::clone(&scan.stream.name), source(&scan.stream))),
        Kind::LookupJoin(lookup) => drop(into.insert(Arc::clone(&lookup.table.name), source(&lookup.table))),
        _ => {}
    }
    node.inputs.iter().for_each(|input| read(input, into));
}

/// A rule on a rig of its own, or why it does not start.
pub(crate) fn rig(sql: &str, options: &Options, batch: usize) -> Result<(Rig, RigId), String> {
    let registry = Arc::new(Registry::new(CONNECTORS, FORMATS));
    let mut rig = Rig::new(registry, Timestamp(START)).batch_size(batch);
    let rule = rig.add(spec(sql, options)?).map_err(|why| why.to_string())?;
    Ok((rig, rule))
}

/// What a rule has sent since the last look, each message with its time.
pub(crate) fn sent(rig: &mut Rig, rule: RigId) -> Vec<String> {
    let line = |sent: &Sent| format!("@{} {}", sent.at.0 - START, without_expressions(&sent.text()));
    rig.output(rule).iter().map(line).collect()
}

/// Error texts show an expression as the optimiser left it.
fn without_expressions(text: &str) -> String {
    match (text.find(" expr: "), text.find(" meet error")) {
        (Some(start), Some(end)) if start < end => format!("{}{}", &text[..start], &text[end..]),
        _ => text.to_owned(),
    }
}
