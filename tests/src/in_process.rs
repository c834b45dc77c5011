//! Runs a case in this process, on the rig: the real catalog, planner and operators, a manual clock, no threads.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Map, Value as Json};
use thalweg_core::connector::{SinkPayload, Spawner};
use thalweg_core::registry::{Registry, Shared};
use thalweg_core::time::BoxFuture;
use thalweg_core::{BinaryOp, Clock, Diagnostic, Fields, ManualClock, Props, Slot, Timestamp, Value};
use thalweg_engine::rule::{Builder, Ready, Run, Runner, Shapes, Zone};
use thalweg_engine::store::MemoryStore;
use thalweg_engine::{Catalog, Connections, NoProfiles, StoredProfiles, Surroundings};
use thalweg_expr::{Expr, FunctionRegistry, Instance};
use thalweg_plan::{Kind, Node};

use thalweg_runtime::{Rig, RigId, RuleSpec, Sent, Snapshot, Topology};

use crate::case::{Case, Expect, Form};
use crate::compare::agree;
use crate::tables::Tables;

/// One way of running a case. All must give the same output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Messages handed over at a time.
    pub batch: usize,
    /// Streams are shared.
    pub is_shared: bool,
    /// The rule is killed and resumed from a checkpoint after every event.
    pub is_restarted: bool,
    /// So many rules like it, with other thresholds, read the same streams.
    pub neighbours: usize,
    /// Streams are split over so many connections, each with a shard of its own; 0: they are not.
    pub split: u32,
}

/// Batch sizes 1, 3 and 1,024, shared streams, and checkpoint and restore.
pub const AXES: &[Axis] = &[
    Axis { batch: 1, is_shared: false, is_restarted: false, neighbours: 0, split: 0 },
    Axis { batch: 3, is_shared: false, is_restarted: false, neighbours: 0, split: 0 },
    Axis { batch: 1_024, is_shared: false, is_restarted: false, neighbours: 0, split: 0 },
    Axis { batch: 3, is_shared: true, is_restarted: false, neighbours: 0, split: 0 },
    Axis { batch: 1, is_shared: false, is_restarted: true, neighbours: 0, split: 0 },
];

/// Over two connections. Rules that nobody can run so are refused.
pub const SPLIT: Axis = Axis { batch: 1, is_shared: false, is_restarted: false, neighbours: 0, split: 2 };

/// Among fifty neighbours on the same shared streams.
pub const CROWDED: Axis = Axis { batch: 3, is_shared: true, is_restarted: false, neighbours: 50, split: 0 };

/// What an engine did with a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Got {
    /// The stream or rule was refused, with this text.
    Refused(String),
    /// What came out, and when (epoch ms).
    Sent(Vec<(i64, Json)>),
}

/// Whether the engine did what the case expects.
pub fn is_right(case: &Case, got: &Got) -> bool {
    match (&case.expect, got) {
        (Expect::Refused(_), Got::Refused(_)) => true,
        (Expect::Messages(want), Got::Sent(sent)) => {
            let messages: Vec<Json> = sent.iter().map(|(_, message)| message.clone()).collect();
            agree(want, &messages, case.unordered)
        }
        (Expect::Timed(want), Got::Sent(sent)) => {
            let times = |messages: &[(i64, Json)]| messages.iter().map(|(at, _)| *at).collect::<Vec<_>>();
            let texts =
                |messages: &[(i64, Json)]| messages.iter().map(|(_, m)| m.clone()).collect::<Vec<_>>();
            times(want) == times(sent) && agree(&texts(want), &texts(sent), case.unordered)
        }
        _ => false,
    }
}

/// Runs a case. A panic is reported as a refusal with its text, which no case expects.
pub fn run(case: &Case, axis: Axis) -> Got {
    match catch_unwind(AssertUnwindSafe(|| play(case, axis))) {
        Ok(Ok(sent)) => Got::Sent(sent),
        Ok(Err(refusal)) => Got::Refused(refusal),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Got::Sent(vec![(0, Json::from(format!("panic: {}", text.unwrap_or_default())))])
        }
    }
}

/// Of each node its name, what came in and went out, its exceptions and drops.
pub type Counts = Vec<(String, u64, u64, u64, u64)>;

/// Runs a case and tells what came out and what the status counts.
///
/// # Errors
/// The text of the refusal.
pub fn counted(case: &Case, axis: Axis) -> Result<(Vec<(i64, Json)>, Counts), String> {
    let (mut rig, rule) = driven(case, axis)?;
    let counts = counted_of(&mut rig, rule);
    Ok((collect(&mut rig, rule, &sinks(case)), counts))
}

/// When a rule comes and when it goes, by the number of the event before which it does.
pub type Stay = (usize, Option<usize>);

/// What came of a rule, and what its status counted when it went.
pub type Told = (Vec<(i64, Json)>, Counts);

/// Runs rules with the SQL of each on the streams and events of a case, each for its stay; besides how many of them, or of
/// what they share, read streams in the end.
///
/// # Errors
/// The text of a refusal.
pub fn together(case: &Case, rules: &[(&str, Stay)], axis: Axis) -> Result<(Vec<Told>, usize), String> {
    let registry = Arc::new(thalweg_connectors::registry());
    let mut rig = Rig::new(Arc::clone(&registry), Timestamp(case.start)).batch_size(axis.batch);
    let mut told: Vec<Option<(RigId, Counts)>> = vec![None; rules.len()];
    for (at, event) in case.events.iter().map(Some).chain([None]).enumerate() {
        if let Some(time) = event.and_then(|event| event.at) {
            rig.advance_to(Timestamp(time));
        }
        for (number, (sql, (from, until))) in rules.iter().enumerate() {
            if *from == at {
                let case = Case { sql: (*sql).to_owned(), ..case.clone() };
                let mut spec = build(&case, axis, &registry)?;
                spec.id = Arc::from(format!("rule_{number}"));
                told[number] = Some((rig.add(spec).map_err(|why| why.to_string())?, Vec::new()));
            }
            if let Some((rule, counts)) = told[number].as_mut().filter(|_| *until == Some(at)) {
                *counts = counted_of(&mut rig, *rule);
                rig.stop(*rule);
            }
        }
        if let Some(event) = event {
            rig.feed_with_meta(&event.stream, &event.payload, &metadata(&event.stream));
        }
    }
    case.end.into_iter().for_each(|end| rig.advance_to(Timestamp(end)));
    let readers = rig.readers();
    let told = told.into_iter().flatten().map(|(rule, counts)| {
        let counts = if counts.is_empty() { counted_of(&mut rig, rule) } else { counts };
        (collect(&mut rig, rule, &sinks(case)), counts)
    });
    Ok((told.collect(), readers))
}

fn counted_of(rig: &mut Rig, rule: RigId) -> Counts {
    let count = |node: &thalweg_runtime::NodeSnapshot| {
        let dropped = node.rare.dropped.values().sum();
        // The nodes of shared streams are named after the stream.
        let name = node.name.replace("op_s_", "op_");
        (name, node.records_in, node.records_out, node.exceptions, dropped)
    };
    rig.metrics(rule).iter().map(count).collect()
}

fn play(case: &Case, axis: Axis) -> Result<Vec<(i64, Json)>, String> {
    let (mut rig, rule) = driven(case, axis)?;
    Ok(collect(&mut rig, rule, &sinks(case)))
}

/// The rig behind the last event, and the rule of the case.
fn driven(case: &Case, axis: Axis) -> Result<(Rig, RigId), String> {
    let registry = Arc::new(thalweg_connectors::registry());
    let mut spec = build(case, axis, &registry)?;
    let mut rig = Rig::new(Arc::clone(&registry), Timestamp(case.start)).batch_size(axis.batch);
    if axis.split > 0 {
        split(&mut spec.plan.root, axis.split);
        rig = rig.shards(axis.split as usize);
    }
    let like_it = neighbours(&spec, axis.neighbours);
    let (before, behind) = like_it.split_at(like_it.len() / 2);
    before.iter().try_for_each(|spec| rig.add(spec.clone()).map(drop)).map_err(|why| why.to_string())?;
    let rule = rig.add(spec).map_err(|why| why.to_string())?;
    behind.iter().try_for_each(|spec| rig.add(spec.clone()).map(drop)).map_err(|why| why.to_string())?;
    let mut tables = Tables::of(case);
    let spawner: Arc<dyn Spawner> = Arc::new(NoTasks);
    for event in &case.events {
        if let Some(at) = event.at {
            rig.advance_to(Timestamp(at));
        }
        if tables.has(&event.stream) {
            let row = (event.stream.as_str(), event.payload.as_slice());
            tables.add(row, &mut rig, &registry, Arc::clone(&spawner))?;
            continue;
        }
        rig.feed_with_meta(&event.stream, &event.payload, &metadata(&event.stream));
        if axis.is_restarted {
            rig.restart(rule).map_err(|why| why.to_string())?;
            tables.again(&mut rig, &registry, &spawner)?;
        }
    }
    if let Some(end) = case.end {
        rig.advance_to(Timestamp(end));
    }
    Ok((rig, rule))
}

/// Has the streams of a plan come over so many connections.
fn split(node: &mut Node, n: u32) {
    if let Kind::Scan(scan) = &mut node.kind {
        Arc::make_mut(&mut scan.stream).split = n;
    }
    node.inputs.iter_mut().for_each(|input| split(input, n));
}

/// Rules like this one. Where it filters, each asks besides whether the first column is above a threshold of its own,
/// before the rule's condition or behind it.
fn neighbours(spec: &RuleSpec, count: usize) -> Vec<RuleSpec> {
    let neighbour = |number: usize| {
        let mut spec = spec.clone();
        spec.id = Arc::from(format!("neighbour_{number}"));
        spec.options.instance = Arc::default();
        raise(&mut spec.plan.root, number);
        spec
    };
    (0..count).map(neighbour).collect()
}

fn raise(node: &mut Node, number: usize) {
    if let Kind::Filter(condition) = &mut node.kind {
        let threshold = Expr::literal(Value::Float(number as f64 * 2.5 - 20.0));
        let binary = |op, left, right| Expr::Binary(op, Box::new(left), Box::new(right));
        let above = binary(BinaryOp::Gt, Expr::Column(Slot(0)), threshold);
        let (left, right) =
            if number.is_multiple_of(2) { (condition.clone(), above) } else { (above, condition.clone()) };
        *condition = binary(BinaryOp::And, left, right);
    }
    node.inputs.iter_mut().for_each(|input| raise(input, number));
}

/// What the MQTT source of `run.py` would tell of a message.
fn metadata(stream: &str) -> Arc<Fields> {
    let topic = Value::text(format!("conformance/case/in/{stream}"));
    Arc::new(Fields::from([
        (Arc::from("topic"), topic),
        (Arc::from("qos"), Value::Int(1)),
        (Arc::from("messageId"), Value::Int(1)),
    ]))
}

/// The sinks of a graph, in the order of the actions that they are.
fn sinks(case: &Case) -> Vec<Arc<str>> {
    let graph = (case.form == Form::Graph).then(|| serde_json::from_str(&case.sql).ok()).flatten();
    let graph = graph.and_then(|graph| thalweg_plan::graph::Graph::read(&graph).ok());
    graph.iter().flat_map(|graph| graph.sinks().map(|(name, ..)| Arc::clone(name))).collect()
}

/// What was sent. The messages of `lateData` stand behind the others, each as `{"late": message}`; those of a graph's
/// sinks each under its name.
fn collect(rig: &mut Rig, rule: RigId, sinks: &[Arc<str>]) -> Vec<(i64, Json)> {
    if !sinks.is_empty() {
        let mut sent = rig.output(rule);
        sent.sort_by_key(|sent| (sent.at, sent.action));
        let named = |sent: &Sent| (sent.at.0, serde_json::json!({ &*sinks[sent.action]: read(sent) }));
        return sent.iter().map(named).collect();
    }
    let (results, late): (Vec<Sent>, Vec<Sent>) =
        rig.output(rule).into_iter().partition(|sent| sent.action == 0);
    let results = results.iter().map(|sent| (sent.at.0, read(sent)));
    results.chain(late.iter().map(|sent| (sent.at.0, serde_json::json!({ "late": read(sent) })))).collect()
}

/// A message, with its dynamic properties if it has any.
fn read(sent: &Sent) -> Json {
    let text = sent.text();
    let message = serde_json::from_str(&text).unwrap_or_else(|_| serde_json::json!({ "raw": text }));
    let (SinkPayload::Bytes { props, .. } | SinkPayload::Rows { props, .. }) = &sent.payload;
    match props {
        Some(props) => serde_json::json!({ "props": props.to_json(), "message": message }),
        None => message,
    }
}

/// The rule's spec, through the engine's own catalog and builder.
fn build(case: &Case, axis: Axis, registry: &Arc<Registry>) -> Result<RuleSpec, String> {
    let store = Arc::new(MemoryStore::default());
    let clock: Arc<dyn Clock> = ManualClock::at(Timestamp(case.start));
    let around = Surroundings {
        registry: Arc::clone(registry),
        shared: Arc::new(Shared::default()),
        clock,
        home: PathBuf::from("."),
        spawner: Arc::new(NoTasks),
    };
    let catalog = Catalog::load(Arc::clone(registry), store.clone()).map_err(|why| why.to_string())?;
    for (_, ddl) in &case.streams {
        catalog.execute(&shared(ddl, axis.is_shared)).map_err(|why| why.to_string())?;
    }
    if case.form == Form::Statement {
        catalog.execute(&case.sql).map_err(|why| why.to_string())?;
        return Err("the statement was accepted".to_owned());
    }
    let captured = Arc::new(Captured::default());
    let profiles = StoredProfiles::load(Arc::new(NoProfiles), Arc::clone(registry), store.clone());
    let profiles = profiles.map_err(|why| why.to_string())?;
    let builder = Builder {
        catalog: Arc::new(catalog),
        connections: Arc::new(Connections::load(around, store.clone()).map_err(|why| why.to_string())?),
        registry: Arc::clone(registry),
        profiles: Arc::new(profiles),
        functions: FunctionRegistry::default(),
        runner: captured.clone(),
        sink_defaults: Props::new(),
        zone: Zone::new(case.instance.get("timezone").and_then(Json::as_str).unwrap_or("UTC")),
        ignore_case: case.instance.get("ignoreCase") == Some(&Json::Bool(true)),
        instance: Arc::new(Instance { props: instance_props(case), ..Instance::default() }),
        shapes: Shapes::default(),
    };
    let definition = builder.read(&document(case), None, &Props::new()).map_err(|why| why.to_string())?;
    builder.build(&definition).map_err(|why| why.to_string())?;
    let spec = captured.spec.lock().ok().and_then(|mut spec| spec.take());
    spec.ok_or_else(|| "the builder compiled nothing".to_owned())
}

fn instance_props(case: &Case) -> BTreeMap<String, String> {
    let texts =
        case.instance.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    texts.collect()
}

fn shared(ddl: &str, is_shared: bool) -> String {
    let is_stream = ddl.trim_start().to_uppercase().starts_with("CREATE STREAM");
    match ddl.rfind(')') {
        Some(close) if is_shared && is_stream && !ddl.to_uppercase().contains("SHARED") => {
            let comma = if ddl[..close].trim_end().ends_with('(') { "" } else { ", " };
            format!("{}{comma}SHARED=\"true\"{}", &ddl[..close], &ddl[close..])
        }
        _ => ddl.to_owned(),
    }
}

/// The rule document, with an MQTT action as `run.py` makes it.
fn document(case: &Case) -> String {
    if case.form == Form::Document {
        return case.sql.clone();
    }
    if case.form == Form::Graph {
        let graph: Json = serde_json::from_str(&case.sql).unwrap_or(Json::Null);
        return serde_json::json!({"id": "rule_1", "graph": graph, "options": case.options}).to_string();
    }
    let mut action = Map::new();
    action.insert("server".to_owned(), Json::from("tcp://127.0.0.1:1883"));
    action.insert("topic".to_owned(), Json::from("out"));
    action.insert("sendSingle".to_owned(), Json::from(false));
    action.extend(case.action.clone());
    let sink = if case.sink.is_empty() { "mqtt" } else { &case.sink };
    serde_json::json!({
        "id": "rule_1", "sql": case.sql, "actions": [{sink: action}], "options": case.options
    })
    .to_string()
}

/// Takes the spec that the builder would have compiled; the rig compiles it.
#[derive(Default)]
struct Captured {
    spec: Mutex<Option<RuleSpec>>,
}

#[async_trait]
impl Runner for Captured {
    fn compile(&self, spec: RuleSpec) -> Result<Box<dyn Ready>, Diagnostic> {
        if let Ok(mut slot) = self.spec.lock() {
            *slot = Some(spec);
        }
        Ok(Box::new(NotRun))
    }

    async fn shutdown(&self) {}
}

struct NotRun;

impl Ready for NotRun {
    fn topology(&self) -> Topology {
        Topology::default()
    }

    fn launch(self: Box<Self>, _restore: Option<Snapshot>) -> Arc<dyn Run> {
        unreachable!("the rig runs the rule")
    }
}

/// Cases start no background tasks.
struct NoTasks;

impl Spawner for NoTasks {
    fn spawn(&self, _task: BoxFuture<'static, ()>) {}
}
