//! Rules on real threads.

mod checkpoints;
mod split;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use serde_json::json;
use thalweg_core::connector::{
    BuildCx, Built, Connector, Offer, Payload, RawMessage, Sink, SinkPayload, SinkPort, Source, SourceKind,
    SourcePort, WhenFull, Written,
};
use thalweg_core::{IoError, SystemClock, Timestamp, Value};
use thalweg_plan::StreamDef;
use tokio::sync::watch;

use super::*;
use crate::rule::NodeSnapshot;
use crate::snapshot::{Entry, Offset};
use crate::testing::{filter_project, greater, registry, scan, spec, stream};

/// What the tests and their connectors tell each other.
struct Stage {
    /// Messages that arrived at each action.
    arrived: watch::Sender<BTreeMap<String, Vec<String>>>,
    /// Sinks of type `gated` write only while this is true.
    gate: watch::Sender<bool>,
    /// Messages that a source has got rid of.
    offered: watch::Sender<u64>,
    /// How often a source was built.
    built: AtomicU64,
    /// Messages of `asker` that were answered, in order.
    answered: watch::Sender<Vec<i64>>,
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            arrived: watch::Sender::default(),
            gate: watch::Sender::new(false),
            offered: watch::Sender::default(),
            built: AtomicU64::new(0),
            answered: watch::Sender::default(),
        }
    }
}

/// Offers `{"a": n}` for n from 1 to `count`, then ends.
struct Counter {
    stage: Arc<Stage>,
    count: i64,
    fails: &'static str,
    ends: bool,
}

#[async_trait]
impl Source for Counter {
    async fn run(self: Box<Self>, port: Arc<dyn SourcePort>) -> Result<(), IoError> {
        let from = match port.resume_from() {
            Some(Value::Int(offset)) => offset + 1,
            _ => 1,
        };
        match self.fails {
            "twice" if self.stage.built.load(Relaxed) < 3 => return Err(IoError::transient("not yet")),
            "always" => return Err(IoError::permanent("no such thing")),
            "panics" => panic!("oh"),
            _ => {}
        }
        for number in from..=self.count {
            let text = format!("{{\"a\":{number}}}");
            loop {
                let payload = Payload::Bytes(text.as_bytes());
                let message =
                    RawMessage { payload, time: Timestamp(0), meta: None, offset: Some(Value::Int(number)) };
                match port.offer(message, WhenFull::Refuse) {
                    Offer::Accepted => break,
                    Offer::Stopped => return Ok(()),
                    Offer::Full => {
                        if !port.room().await {
                            return Ok(());
                        }
                    }
                }
            }
            self.stage.offered.send_modify(|offered| *offered += 1);
        }
        if !self.ends {
            port.stopped().await;
        }
        Ok(())
    }
}

fn counter(cx: &BuildCx) -> Built<SourceKind> {
    let stage = cx.shared.get::<Stage>();
    stage.built.fetch_add(1, Relaxed);
    let fails = match cx.props.text("fails")? {
        Some("twice") => "twice",
        Some("always") => "always",
        Some("panics") => "panics",
        _ => "",
    };
    let count = cx.props.int("count")?.unwrap_or(10);
    let ends = cx.props.bool("ends")?.unwrap_or(true);
    Ok(SourceKind::Push(Box::new(Counter { stage, count, fails, ends })))
}

/// Notes what arrives under `<rule>/<node>`.
struct Collector {
    stage: Arc<Stage>,
    name: String,
    is_gated: bool,
    opens: bool,
    fails: i64,
}

#[async_trait]
impl Sink for Collector {
    async fn open(&mut self, _port: Arc<dyn SinkPort>) -> Result<(), IoError> {
        if self.opens { Ok(()) } else { Err(IoError::permanent("cannot be opened")) }
    }

    async fn write(&mut self, payloads: &[SinkPayload]) -> Written {
        if self.fails > 0 {
            self.fails -= 1;
            let error =
                if self.fails % 2 == 1 { IoError::transient("away") } else { IoError::permanent("refused") };
            return Written { accepted: 0, error: Some(error) };
        }
        if self.is_gated {
            let mut gate = self.stage.gate.subscribe();
            let _ = gate.wait_for(|is_open| *is_open).await;
        }
        let text = |payload: &SinkPayload| match payload {
            SinkPayload::Bytes { payload, .. } => String::from_utf8(payload.to_vec()).unwrap(),
            SinkPayload::Rows { .. } => panic!("bytes are expected"),
        };
        self.stage.arrived.send_modify(|arrived| {
            arrived.entry(self.name.clone()).or_default().extend(payloads.iter().map(text));
        });
        Written::all(payloads)
    }
}

fn collector(cx: &BuildCx) -> Built<Box<dyn Sink>> {
    Ok(Box::new(Collector {
        stage: cx.shared.get::<Stage>(),
        name: cx.rule.to_string(),
        is_gated: cx.props.bool("gated")?.unwrap_or(false),
        opens: cx.props.bool("opens")?.unwrap_or(true),
        fails: cx.props.int("failures")?.unwrap_or(0),
    }))
}

const NOTHING: Connector = Connector {
    name: "",
    summary: "",
    props: &[],
    takes_rows: false,
    connect: None,
    source: None,
    sink: None,
    lookup: None,
};

static CONNECTORS: &[Connector] = &[
    Connector { name: "counter", source: Some(counter), ..NOTHING },
    Connector { name: "asker", source: Some(checkpoints::asker), ..NOTHING },
    Connector { name: "collect", sink: Some(collector), ..NOTHING },
];

#[derive(Default)]
struct Snapshots(
    Mutex<BTreeMap<String, Snapshot>>,
    watch::Sender<u64>,
    /// Why the next write fails.
    Mutex<Option<String>>,
    /// How many rules each write was for.
    Mutex<Vec<usize>>,
);

impl SnapshotStore for Snapshots {
    fn save(&self, entries: &[Entry]) -> Result<(), String> {
        if let Some(why) = lock(&self.2).take() {
            return Err(why);
        }
        for Entry { rule, bytes, .. } in entries {
            let snapshot = Snapshot::decode(bytes).map_err(|why| why.to_string())?;
            lock(&self.0).insert(rule.to_string(), snapshot);
        }
        lock(&self.3).push(entries.len());
        self.1.send_modify(|saved| *saved += 1);
        Ok(())
    }

    fn newest(&self, rule: &str) -> Result<Option<Snapshot>, String> {
        Ok(lock(&self.0).get(rule).cloned())
    }

    fn remove(&self, rule: &str) -> Result<(), String> {
        lock(&self.0).remove(rule);
        Ok(())
    }
}

struct World {
    runtime: Arc<Runtime>,
    stage: Arc<Stage>,
    snapshots: Arc<Snapshots>,
}

impl World {
    fn new(shards: usize) -> Self {
        let (shared, snapshots) = (Arc::new(Shared::default()), Arc::new(Snapshots::default()));
        let config = RuntimeConfig {
            shards,
            registry: registry(CONNECTORS),
            shared: Arc::clone(&shared),
            clock: Arc::new(SystemClock::default()),
            home: PathBuf::from("."),
            instance: Arc::from("test"),
            snapshots: Arc::clone(&snapshots) as Arc<dyn SnapshotStore>,
            traces: 2_048,
        };
        Self { runtime: Runtime::start(config).unwrap(), stage: shared.get(), snapshots }
    }

    fn run(&self, spec: RuleSpec) -> RunningRule {
        self.runtime.launch(self.runtime.compile(spec).unwrap(), None)
    }

    /// Waits until so many messages have arrived for a rule.
    async fn arrived(&self, rule: &str, count: usize) -> Vec<String> {
        let mut arrived = self.stage.arrived.subscribe();
        let found = arrived.wait_for(|all| all.get(rule).is_some_and(|list| list.len() >= count)).await;
        found.unwrap()[rule].clone()
    }
}

fn counter_stream(shared: bool) -> Arc<StreamDef> {
    stream("demo", "counter", shared)
}

/// `SELECT a FROM demo WHERE a > 2`, one message a row.
fn count_spec(
    id: &str,
    stream: &Arc<StreamDef>,
    source: serde_json::Value,
    sink: serde_json::Value,
) -> RuleSpec {
    let plan = filter_project(scan(stream, &["a"]), greater(0, 2), &[("a", 0)]);
    let mut action = json!({"sendSingle": true});
    action.as_object_mut().unwrap().extend(sink.as_object().unwrap().clone());
    let mut spec = spec(id, plan, &[stream], json!({"collect": action}));
    for (name, value) in source.as_object().unwrap() {
        spec.sources.get_mut("demo").unwrap().props.set(name, value.clone());
    }
    spec
}

fn numbers(range: std::ops::RangeInclusive<i64>) -> Vec<String> {
    range.map(|number| format!("{{\"a\":{number}}}")).collect()
}

async fn ended(rule: &RunningRule) -> Outcome {
    rule.ending().ended().await
}

fn node(rule: &RunningRule, name: &str) -> NodeSnapshot {
    rule.metrics().into_iter().find(|node| &*node.name == name).unwrap()
}

/// How far the source had come; 0: nowhere.
fn offset(snapshot: &Snapshot) -> i64 {
    let bytes = snapshot.offsets.get("source_demo");
    match bytes.map(|bytes| Offset::decode(bytes)) {
        Some(Ok(Offset { value: Value::Int(offset), .. })) => offset,
        _ => 0,
    }
}

const GRACE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn every_message_goes_from_source_to_sink_in_order_and_the_rule_is_done() {
    let world = World::new(2);
    let rule = world.run(count_spec("r", &counter_stream(false), json!({"count": 10_000}), json!({})));
    assert_eq!(ended(&rule).await, Outcome::Done);
    rule.stop(GRACE).await;
    assert_eq!(world.arrived("r", 9_998).await, numbers(3..=10_000));
    assert_eq!(rule.ending().outcome(), Outcome::Done);
    let sink = node(&rule, "sink_collect_0");
    assert_eq!((sink.records_in, sink.records_out, sink.exceptions), (9_998, 9_998, 0));
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn a_sink_that_cannot_follow_pushes_back_to_the_source_and_nothing_is_lost() {
    let world = World::new(1);
    let mut spec = count_spec("r", &counter_stream(false), json!({"count": 5_000}), json!({"gated": true}));
    spec.options.buffer_length = 64;
    spec.actions[0].props.set("bufferLength", 64);
    let rule = world.run(spec);
    // A neighbour on the same shard is not held up.
    let neighbour = world.run(count_spec("free", &counter_stream(false), json!({"count": 5_000}), json!({})));
    world.arrived("free", 4_998).await;
    let offered = *world.stage.offered.borrow() - 5_000;
    assert!(offered < 1_000, "{offered} messages went into queues for 64");
    assert!(world.stage.arrived.borrow().get("r").is_none());
    world.stage.gate.send_replace(true);
    assert_eq!(world.arrived("r", 4_998).await, numbers(3..=5_000));
    neighbour.stop(GRACE).await;
    rule.stop(GRACE).await;
}

#[tokio::test]
async fn on_a_shared_stream_a_slow_rule_loses_its_own_oldest_rows_counted() {
    let world = World::new(1);
    let shared = counter_stream(true);
    let source = json!({"count": 5_000, "ends": false});
    let mut slow = count_spec("slow", &shared, source.clone(), json!({"gated": true, "bufferLength": 64}));
    slow.options.buffer_length = 64;
    let slow = world.run(slow);
    // Room for all, so that how the machine schedules threads does not matter.
    let fast = world.run(count_spec("fast", &shared, source, json!({"bufferLength": 5_000})));
    let last = numbers(5_000..=5_000);
    let mut arrived = world.stage.arrived.subscribe();
    arrived.wait_for(|all| all.get("fast").is_some_and(|list| list.ends_with(&last))).await.unwrap();
    world.stage.gate.send_replace(true);
    arrived.wait_for(|all| all.get("slow").is_some_and(|list| list.ends_with(&last))).await.unwrap();
    let (got, sink) = (arrived.borrow()["slow"].len() as u64, node(&slow, "sink_collect_0"));
    let lost = sink.rare.dropped["queue_full"];
    assert!(lost > 0);
    assert_eq!(got + lost, node(&slow, "op_3_filter").records_out, "what is lost is counted");
    assert_eq!(node(&fast, "sink_collect_0").rare.dropped.len(), 0);
    assert_eq!(world.stage.built.load(Relaxed), 2, "both were checked, one runs");
    slow.stop(GRACE).await;
    fast.stop(GRACE).await;
    assert!(world.runtime.streams().home_of("demo").is_none());
}

#[tokio::test]
async fn a_source_that_breaks_is_built_anew_and_one_that_never_works_stops_the_rule() {
    let world = World::new(1);
    let rule = world.run(count_spec("r", &counter_stream(false), json!({"fails": "twice"}), json!({})));
    assert_eq!(ended(&rule).await, Outcome::Done);
    assert_eq!(world.arrived("r", 8).await, numbers(3..=10));
    let source = node(&rule, "source_demo");
    assert_eq!((source.exceptions, &*source.rare.last_exception), (2, "not yet"));
    let never = world.run(count_spec("never", &counter_stream(false), json!({"fails": "always"}), json!({})));
    assert_eq!(ended(&never).await, Outcome::Failed(Arc::from("no such thing")));
    let panics =
        world.run(count_spec("panics", &counter_stream(false), json!({"fails": "panics"}), json!({})));
    assert_eq!(ended(&panics).await, Outcome::Failed(Arc::from("internal error: the source panicked")));
    let shut = world.run(count_spec(
        "shut",
        &counter_stream(false),
        json!({"ends": false}),
        json!({"opens": false}),
    ));
    assert_eq!(ended(&shut).await, Outcome::Failed(Arc::from("cannot be opened")));
}

#[tokio::test]
async fn failed_messages_are_tried_again_or_dropped_and_counted() {
    let world = World::new(1);
    // Failures, in turn: permanent (dropped), transient (tried again), permanent (dropped).
    let rule = world.run(count_spec("r", &counter_stream(false), json!({}), json!({"failures": 3})));
    assert_eq!(ended(&rule).await, Outcome::Done);
    rule.stop(GRACE).await;
    assert_eq!(world.arrived("r", 6).await, numbers(5..=10));
    let sink = node(&rule, "sink_collect_0");
    assert_eq!((sink.records_in, sink.records_out, sink.exceptions), (8, 6, 3));
    assert_eq!(sink.rare.dropped.get("send"), Some(&2));
}

#[tokio::test]
async fn stopping_a_rule_sends_what_has_arrived_and_frees_its_tasks() {
    let world = World::new(1);
    let rule =
        world.run(count_spec("r", &counter_stream(false), json!({"count": 500, "ends": false}), json!({})));
    world.stage.offered.subscribe().wait_for(|offered| *offered == 500).await.unwrap();
    rule.stop(GRACE).await;
    assert_eq!(rule.ending().outcome(), Outcome::Stopped);
    assert_eq!(world.arrived("r", 498).await, numbers(3..=500));
    assert!(matches!(rule.checkpoint().await, Err(RunError::NotRunning(_))));
}

#[tokio::test]
async fn a_rule_that_blocks_lives_on_a_worker_and_reads_a_shared_stream_through_a_queue() {
    let world = World::new(2);
    let shared = counter_stream(true);
    let source = json!({"count": 200, "ends": false});
    let mut blocking = count_spec("blocking", &shared, source.clone(), json!({}));
    blocking.plan.hosts = vec![Arc::from("plugin")];
    let blocking = world.run(blocking);
    let other = world.run(count_spec("other", &shared, source, json!({})));
    let all = numbers(3..=200);
    let last = all.last().unwrap();
    let mut arrived = world.stage.arrived.subscribe();
    arrived.wait_for(|all| all.get("blocking").is_some_and(|list| list.last() == Some(last))).await.unwrap();
    blocking.stop(GRACE).await;
    other.stop(GRACE).await;
    assert_eq!(lock(&world.runtime.workers).len(), 1);
}

#[tokio::test]
async fn a_rule_that_joins_a_shared_stream_that_cannot_work_is_told_so_too() {
    let world = World::new(1);
    let (shared, source) = (counter_stream(true), json!({"fails": "always"}));
    let first = world.run(count_spec("first", &shared, source.clone(), json!({})));
    assert_eq!(ended(&first).await, Outcome::Failed(Arc::from("no such thing")));
    let second = world.run(count_spec("second", &shared, source, json!({})));
    assert_eq!(ended(&second).await, Outcome::Failed(Arc::from("no such thing")));
}

#[tokio::test]
async fn what_a_sink_could_not_send_before_the_rule_stopped_is_counted() {
    let world = World::new(1);
    let rule =
        world.run(count_spec("r", &counter_stream(false), json!({"ends": false}), json!({"gated": true})));
    while offset(&rule.checkpoint().await.unwrap()) < 10 {
        tokio::task::yield_now().await;
    }
    rule.stop(Duration::from_millis(50)).await;
    let sink = node(&rule, "sink_collect_0");
    assert_eq!((sink.records_out, sink.rare.dropped.get("send")), (0, Some(&8)));
}
