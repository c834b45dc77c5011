//! The life of rules over a runner that only remembers, so that every end can be brought about.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use thalweg_core::connector::{Connector, Spawner};
use thalweg_core::registry::{Registry, Shared};
use thalweg_core::time::BoxFuture;
use thalweg_core::{Clock, Diagnostic, ManualClock, Props, Timestamp};
use thalweg_expr::FunctionRegistry;
use thalweg_runtime::{Entry, NodeSnapshot, Outcome, RuleSpec, Snapshot, Tell, Topology};
use tokio::sync::watch;

use super::{Phase, Ready, Run, Runner};
use crate::store::{MemoryStore, Snapshots, Store};
use crate::{Engine, EngineConfig, EngineError, NoProfiles, Surroundings};

static CONNECTORS: &[Connector] = &[Connector {
    name: "memory",
    summary: "For these tests.",
    props: &[],
    takes_rows: true,
    connect: None,
    source: Some(|_| Err(Diagnostic::plain("never built"))),
    sink: Some(|_| Err(Diagnostic::plain("never built"))),
    lookup: None,
}];

/// Launches in order: the rule, what it was restored from, and the way to end it.
type Launches = Arc<Mutex<Vec<(String, Option<Snapshot>, Arc<watch::Sender<Outcome>>)>>>;

#[derive(Clone, Default)]
struct FakeRunner {
    launches: Launches,
    /// What compiling answers, when it is to fail.
    refusal: Arc<Mutex<Option<String>>>,
}

struct Fake {
    id: String,
    launches: Launches,
}

struct FakeRun(Arc<watch::Sender<Outcome>>);

#[async_trait]
impl Runner for FakeRunner {
    fn compile(&self, spec: RuleSpec) -> Result<Box<dyn Ready>, Diagnostic> {
        match self.refusal.lock().unwrap().clone() {
            Some(why) => Err(Diagnostic::plain(why)),
            None => Ok(Box::new(Fake { id: spec.id.to_string(), launches: Arc::clone(&self.launches) })),
        }
    }

    async fn shutdown(&self) {}
}

impl Ready for Fake {
    fn topology(&self) -> Topology {
        Topology::default()
    }

    fn launch(self: Box<Self>, restore: Option<Snapshot>) -> Arc<dyn Run> {
        let outcome = Arc::new(watch::Sender::new(Outcome::Running));
        self.launches.lock().unwrap().push((self.id.clone(), restore, Arc::clone(&outcome)));
        Arc::new(FakeRun(outcome))
    }
}

#[async_trait]
impl Run for FakeRun {
    fn metrics(&self) -> Vec<NodeSnapshot> {
        Vec::new()
    }

    fn when_ended(&self, tell: Tell) {
        let mut outcome = self.0.subscribe();
        tokio::spawn(async move {
            let ended = outcome.wait_for(|outcome| *outcome != Outcome::Running).await;
            tell(ended.map_or(Outcome::Stopped, |outcome| outcome.clone()));
        });
    }

    async fn stop(&self, _: Duration) {
        self.0.send_if_modified(|outcome| {
            let runs = *outcome == Outcome::Running;
            if runs {
                *outcome = Outcome::Stopped;
            }
            runs
        });
    }
}

struct NoSpawner;

impl Spawner for NoSpawner {
    fn spawn(&self, _: BoxFuture<'static, ()>) {}
}

struct World {
    engine: Engine,
    runner: FakeRunner,
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
}

impl World {
    async fn new() -> Self {
        let world = Self::over(Arc::new(MemoryStore::default())).await;
        let sql = "CREATE STREAM demo () WITH (DATASOURCE=\"t\", TYPE=\"memory\")";
        world.engine.catalog().execute(sql).expect("the stream is right");
        world
    }

    /// An engine over what another one has stored.
    async fn over(store: Arc<dyn Store>) -> Self {
        let runner = FakeRunner::default();
        let clock = ManualClock::at(Timestamp(1_000));
        let around = Surroundings {
            registry: Arc::new(Registry::new(CONNECTORS, &[])),
            shared: Arc::new(Shared::default()),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            home: PathBuf::new(),
            spawner: Arc::new(NoSpawner),
        };
        let config = EngineConfig {
            store: Arc::clone(&store),
            around,
            functions: FunctionRegistry::default(),
            profiles: Arc::new(NoProfiles),
            runner: Arc::new(runner.clone()),
            rule_defaults: Props::new(),
            sink_defaults: Props::new(),
            zone: "UTC".to_owned(),
            ignore_case: false,
            props: Default::default(),
            patrol: Duration::from_millis(1),
        };
        let engine = Engine::open(config).expect("the store is read");
        engine.boot().await.expect("the store is read");
        Self { engine, runner, store, clock }
    }

    async fn create(&self, more: serde_json::Value) -> Result<(), EngineError> {
        let mut rule =
            json!({"id": "r", "sql": "SELECT a FROM demo", "actions": [{"memory": {"topic": "o"}}]});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.engine.rules().create(rule.to_string()).await.map(drop)
    }

    /// Waits until the rule stands there, and gives its message.
    async fn reaches(&self, phase: Phase) -> String {
        let mut status = serde_json::Value::Null;
        for _ in 0..1_000_000 {
            let text = self.engine.rules().status("r").await.expect("the rule exists").compact();
            status = serde_json::from_str(&text).unwrap();
            if status["status"] == phase.text() {
                return status["message"].as_str().unwrap().to_owned();
            }
            tokio::task::yield_now().await;
        }
        panic!("the rule does not get to {phase:?}: {status:#}");
    }

    fn end(&self, outcome: Outcome) {
        let launches = self.runner.launches.lock().unwrap();
        launches.last().expect("it was launched").2.send_replace(outcome);
    }

    fn n_launches(&self) -> usize {
        self.runner.launches.lock().unwrap().len()
    }
}

#[tokio::test]
async fn r4_6_a_rule_whose_input_ends_is_stopped_and_stays_so_after_a_restart() {
    let world = World::new().await;
    world.create(json!({})).await.expect("it runs");
    world.end(Outcome::Done);
    assert_eq!(world.reaches(Phase::Stopped).await, "done");
    let stored = || world.engine.rules().describe("r").expect("it exists");
    assert!(stored().contains("\"triggered\":false"), "{}", stored());
    world.engine.shutdown().await;
    let again = World::over(Arc::clone(&world.store)).await;
    again.reaches(Phase::Stopped).await;
    assert_eq!(again.n_launches(), 0);
}

#[tokio::test]
async fn r4_8_a_rule_that_fails_at_run_time_says_why_and_can_be_started_again() {
    let world = World::new().await;
    world.create(json!({})).await.expect("it runs");
    world.end(Outcome::Failed(Arc::from("the source is gone")));
    assert_eq!(world.reaches(Phase::StoppedByError).await, "the source is gone");
    let status = world.engine.rules().status("r").await.expect("it exists");
    assert_eq!(status.get("health"), Some(&"failing".into()));
    world.engine.rules().launch("r").await.expect("it starts");
    assert_eq!(world.reaches(Phase::Running).await, "");
}

#[tokio::test]
async fn r4_12_a_failed_rule_with_attempts_is_started_again_by_the_patrol() {
    let world = World::new().await;
    world.create(json!({"options": {"restartStrategy": {"attempts": 1}}})).await.expect("it runs");
    world.end(Outcome::Failed(Arc::from("for now")));
    while world.n_launches() < 2 {
        tokio::task::yield_now().await;
    }
    world.reaches(Phase::Running).await;
}

#[tokio::test]
async fn r4_5_stored_rules_start_at_boot_and_one_that_cannot_be_built_is_listed_with_its_error() {
    let world = World::new().await;
    world.create(json!({})).await.expect("it runs");
    world.engine.shutdown().await;
    let again = World::over(Arc::clone(&world.store)).await;
    again.reaches(Phase::Running).await;
    again.engine.drop_stream(thalweg_sql::ast::SourceKind::Stream, "demo", true).expect("forced");
    again.engine.shutdown().await;
    let broken = World::over(Arc::clone(&world.store)).await;
    let message = broken.reaches(Phase::StoppedByError).await;
    assert!(message.starts_with("fail to get stream demo, please check if stream is created (line 1, "));
}

#[tokio::test]
async fn r1_4_a_rule_that_cannot_be_built_is_not_stored_and_a_failed_update_leaves_the_old_one_running() {
    let world = World::new().await;
    *world.runner.refusal.lock().unwrap() = Some("no such sink".to_owned());
    let refused = world.create(json!({})).await.expect_err("it cannot be built");
    assert_eq!((refused.code.number(), refused.message.as_str()), (2201, "no such sink"));
    assert_eq!(world.engine.rules().list().compact(), "[]");
    *world.runner.refusal.lock().unwrap() = None;
    world.create(json!({})).await.expect("it runs");
    *world.runner.refusal.lock().unwrap() = Some("not now".to_owned());
    let text = json!({"sql": "SELECT b FROM demo", "actions": [{"memory": {}}]}).to_string();
    world.engine.rules().update("r", text).await.expect_err("it cannot be built");
    world.reaches(Phase::Running).await;
    assert_eq!(world.n_launches(), 1);
    assert!(world.engine.rules().describe("r").expect("it exists").contains("SELECT a"));
}

#[tokio::test]
async fn r7_6_a_rule_with_qos_starts_from_its_newest_checkpoint_and_deleting_it_drops_them() {
    let world = World::new().await;
    let snapshots = Snapshots::new(Arc::clone(&world.store));
    let snapshot = Snapshot { fingerprint: 1, epoch: 5, ..Snapshot::default() };
    let entry = Entry { rule: "r".into(), epoch: 5, bytes: snapshot.encode() };
    snapshots.save(std::slice::from_ref(&entry)).expect("saved");
    world.create(json!({"options": {"qos": 1}})).await.expect("it runs");
    assert_eq!(world.runner.launches.lock().unwrap()[0].1, Some(snapshot));
    world.engine.rules().delete("r").await.expect("it is there");
    assert_eq!(snapshots.newest("r"), Ok(None));
    assert_eq!(world.engine.rules().list().compact(), "[]");
    // R7.1: what an earlier time at qos 1 has left is no state of a rule at qos 0, now or later.
    snapshots.save(&[entry]).expect("saved");
    world.create(json!({})).await.expect("it runs");
    assert_eq!((world.runner.launches.lock().unwrap()[1].1.clone(), snapshots.newest("r")), (None, Ok(None)));
}

#[tokio::test]
async fn r4_10_a_rule_with_a_duration_ends_after_it_and_would_start_again_at_the_next_boot() {
    let world = World::new().await;
    world.create(json!({"options": {"duration": "10s"}})).await.expect("it runs");
    world.reaches(Phase::Running).await;
    world.clock.advance_to(Timestamp(11_000));
    assert_eq!(world.reaches(Phase::Stopped).await, "duration terminated");
    assert!(!world.engine.rules().describe("r").expect("it exists").contains("triggered"));
    world.engine.shutdown().await;
    World::over(Arc::clone(&world.store)).await.reaches(Phase::Running).await;
}

impl World {
    async fn status(&self) -> serde_json::Value {
        let text = self.engine.rules().status("r").await.expect("the rule exists").compact();
        serde_json::from_str(&text).expect("JSON")
    }

    /// Lets the patrol come by several times.
    async fn patrols(&self) {
        let mut patrol = tokio::time::interval(Duration::from_millis(1));
        for _ in 0..10 {
            patrol.tick().await;
        }
    }
}

const MINUTE: i64 = 60_000;

#[tokio::test]
async fn r4_10_a_scheduled_rule_runs_in_its_slots_waits_between_them_and_says_when_it_goes_on() {
    let world = World::new().await;
    // At 0:00:01 it is in no slot; made by hand it runs until the patrol comes (rules.md 4.2).
    world.create(json!({"options": {"cron": "10 * * * *", "duration": "5m"}})).await.expect("it runs");
    assert_eq!(world.reaches(Phase::Waiting).await, "schedule terminated");
    assert_eq!(world.status().await["nextStartTimestamp"], 10 * MINUTE);
    world.clock.advance_to(Timestamp(10 * MINUTE + 1));
    assert_eq!(world.reaches(Phase::Running).await, "");
    let status = world.status().await;
    assert_eq!(status["lastStartTimestamp"], 10 * MINUTE + 1, "{status:#}");
    assert_eq!(status["nextStartTimestamp"], 70 * MINUTE, "{status:#}");
    world.clock.advance_to(Timestamp(15 * MINUTE));
    assert_eq!(world.reaches(Phase::Waiting).await, "schedule terminated");
    assert_eq!(world.n_launches(), 2);
    assert!(!world.engine.rules().describe("r").expect("it exists").contains("triggered"));
}

#[tokio::test]
async fn r4_11_a_scheduled_rule_that_was_stopped_by_hand_stays_so_until_it_is_started() {
    let world = World::new().await;
    let range = json!([{"beginTimestamp": 500, "endTimestamp": 60_000}]);
    world.create(json!({"options": {"cronDatetimeRange": range}})).await.expect("it runs");
    world.reaches(Phase::Running).await;
    world.engine.rules().halt("r").await.expect("it stops");
    world.patrols().await;
    assert_eq!(world.reaches(Phase::Stopped).await, "canceled manually");
    world.engine.rules().launch("r").await.expect("it starts");
    world.reaches(Phase::Running).await;
    world.clock.advance_to(Timestamp(60_000));
    assert_eq!(world.reaches(Phase::Waiting).await, "schedule terminated");
    // A rule that waits can be stopped, too.
    world.engine.rules().halt("r").await.expect("it stops");
    assert_eq!(world.reaches(Phase::Stopped).await, "canceled manually");
    assert_eq!(world.status().await["nextStartTimestamp"], 0);
}

#[tokio::test]
async fn r4_3_a_scheduled_rule_is_parked_at_boot_and_joins_a_slot_that_is_open() {
    let world = World::new().await;
    let options = json!({"cron": "* * * * *", "duration": "30s"});
    world.create(json!({"options": options})).await.expect("it runs");
    world.reaches(Phase::Running).await;
    world.engine.shutdown().await;
    let again = World::over(Arc::clone(&world.store)).await;
    again.reaches(Phase::Running).await;
    again.engine.rules().delete("r").await.expect("it is there");
    again.create(json!({"options": {"cron": "30 * * * *", "duration": "30s"}})).await.expect("it runs");
    again.engine.shutdown().await;
    let later = World::over(Arc::clone(&world.store)).await;
    assert_eq!(later.reaches(Phase::Waiting).await, "");
    assert_eq!(later.n_launches(), 0);
}

#[tokio::test]
async fn r4_9_temp_rules_have_schedules_and_restarts_as_well() {
    let world = World::new().await;
    let options =
        json!({"cronDatetimeRange": [{"begin": "1970-01-01 00:00:00", "end": "1970-01-01 00:00:10"}]});
    world.create(json!({"temp": true, "options": options})).await.expect("it runs");
    world.reaches(Phase::Running).await;
    world.end(Outcome::Failed(Arc::from("for now")));
    while world.n_launches() < 2 {
        tokio::task::yield_now().await;
    }
    world.clock.advance_to(Timestamp(10_000));
    world.reaches(Phase::Waiting).await;
}

#[tokio::test]
async fn r1_3_schedules_that_mean_nothing_are_refused_by_option_and_cron_alone_is_told() {
    let world = World::new().await;
    let refused = world.create(json!({"options": {"cron": "* * * *", "duration": "1m"}})).await;
    let refused = refused.expect_err("four fields").message;
    assert!(
        refused.contains("Rule r has invalid options: invalidCron:expected exactly 5 fields"),
        "{refused}"
    );
    assert!(refused.contains("at /options/cron"), "{refused}");
    let range = json!({"options": {"cronDatetimeRange": [{"beginTimestamp": 9, "endTimestamp": 1}]}});
    let refused = world.create(range).await.expect_err("it ends before it begins").message;
    assert!(refused.contains("validate cronDatetimeRange failed, err:begin is after end"), "{refused}");
    world.create(json!({"options": {"cron": "* * * * *"}})).await.expect("it runs");
    world.patrols().await;
    world.reaches(Phase::Running).await;
    let status = world.status().await;
    assert!(status["warnings"].to_string().contains("cron has no effect without duration"), "{status:#}");
}
