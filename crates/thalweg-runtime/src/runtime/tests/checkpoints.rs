//! Checkpoints of rules on real threads, and the answers that sources get.

use thalweg_core::connector::{Due, Receipt};

use super::*;

/// Offers `{"a": n}` for n in its range, each waiting for an answer, and no more than `window` at a time.
struct Asker {
    stage: Arc<Stage>,
    range: std::ops::RangeInclusive<i64>,
    window: usize,
    again: bool,
}

struct Answer {
    stage: Arc<Stage>,
    number: i64,
}

impl Receipt for Answer {
    fn accepted(&self) {
        self.stage.answered.send_modify(|answered| answered.push(self.number));
    }
}

#[async_trait]
impl Source for Asker {
    async fn run(self: Box<Self>, port: Arc<dyn SourcePort>) -> Result<(), IoError> {
        let mut answered = self.stage.answered.subscribe();
        let before = answered.borrow().len();
        for (sent, number) in self.range.clone().enumerate() {
            let room = answered.wait_for(|answered| sent < answered.len() - before + self.window);
            tokio::select! {
                _ = room => {}
                () = port.stopped() => break,
            }
            let text = format!("{{\"a\":{number}}}");
            let payload = Payload::Bytes(text.as_bytes());
            let message = RawMessage { payload, time: Timestamp(0), meta: None, offset: None };
            let receipt = Arc::new(Answer { stage: Arc::clone(&self.stage), number });
            let due = Due { receipt, identity: number as u64, again: self.again };
            assert_eq!(port.offer_due(message, &due), Offer::Accepted);
        }
        port.stopped().await;
        port.answered().await;
        Ok(())
    }
}

pub(super) fn asker(cx: &BuildCx) -> Built<SourceKind> {
    let int = |name, default| Ok(cx.props.int(name)?.unwrap_or(default));
    Ok(SourceKind::Push(Box::new(Asker {
        stage: cx.shared.get::<Stage>(),
        range: int("from", 1)?..=int("to", 10)?,
        window: int("window", 10)? as usize,
        again: cx.props.bool("again")?.unwrap_or(false),
    })))
}

fn asked_spec(id: &str, shared: bool, qos: u8, source: serde_json::Value) -> RuleSpec {
    let mut spec = count_spec(id, &stream("demo", "asker", shared), source, json!({}));
    spec.options.qos = qos;
    spec.options.checkpoint_interval = 3_600_000;
    spec
}

impl World {
    async fn answered(&self, count: usize) -> Vec<i64> {
        let mut answered = self.stage.answered.subscribe();
        answered.wait_for(|answered| answered.len() >= count).await.unwrap().clone()
    }
}

#[tokio::test]
async fn r7_11_messages_are_answered_when_a_checkpoint_holds_them_and_never_wait_for_the_interval() {
    for window in [1, 8, 20] {
        let world = World::new(1);
        let rule = world.run(asked_spec("r", false, 1, json!({"to": 30, "window": window})));
        assert_eq!(world.answered(30).await, (1..=30).collect::<Vec<_>>());
        assert!(rule.checkpoints().unwrap().completed >= 30 / window);
        rule.stop(GRACE).await;
    }
}

#[tokio::test]
async fn without_qos_messages_are_answered_when_they_are_taken() {
    let world = World::new(1);
    let rule = world.run(asked_spec("r", false, 0, json!({"to": 30, "window": 1})));
    assert_eq!(world.answered(30).await.len(), 30);
    assert!(rule.checkpoints().is_none() && world.snapshots.newest("r").unwrap().is_none());
    rule.stop(GRACE).await;
}

#[tokio::test]
async fn while_the_disk_fails_nothing_is_answered() {
    let world = World::new(1);
    *lock(&world.snapshots.2) = Some("the disk is full".to_owned());
    let rule = world.run(asked_spec("r", false, 1, json!({"to": 5})));
    while rule.checkpoints().unwrap().failed == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*world.stage.answered.borrow(), Vec::<i64>::new());
    assert_eq!(world.answered(5).await.len(), 5, "the next try, some seconds later, answers");
    rule.stop(GRACE).await;
}

#[tokio::test]
async fn a_shared_stream_answers_what_all_rules_with_qos_have_made_durable() {
    let world = World::new(2);
    world.runtime.hold_shared(true);
    let mut slow = asked_spec("slow", true, 1, json!({}));
    slow.plan.hosts = vec![Arc::from("plugin")];
    let rules = [
        world.run(slow),
        world.run(asked_spec("fast", true, 2, json!({}))),
        world.run(asked_spec("none", true, 0, json!({}))),
    ];
    world.runtime.hold_shared(false);
    assert_eq!(world.answered(10).await, (1..=10).collect::<Vec<_>>());
    for name in ["slow", "fast", "none"] {
        assert_eq!(world.arrived(name, 8).await, numbers(3..=10));
    }
    assert!(rules[0].checkpoints().unwrap().completed > 0 && rules[1].checkpoints().unwrap().completed > 0);
    for rule in rules {
        rule.stop(GRACE).await;
    }
}

#[tokio::test]
async fn r7_3_at_qos_2_a_message_of_the_checkpoint_that_comes_again_is_answered_and_not_counted_again() {
    let world = World::new(1);
    let rule = world.run(asked_spec("r", false, 2, json!({"to": 10})));
    world.answered(10).await;
    let snapshot = world.saved("r", |snapshot| !snapshot.seen.is_empty()).await;
    // As a crash would: the answers may have been lost.
    drop(rule);
    let spec = asked_spec("r", false, 2, json!({"from": 6, "to": 12, "again": true}));
    let compiled = world.runtime.compile(spec).unwrap();
    let again = world.runtime.launch(compiled, Some(snapshot));
    assert_eq!(world.answered(17).await[10..], [6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(world.arrived("r", 10).await, numbers(3..=12));
    again.stop(GRACE).await;
}

#[tokio::test]
async fn r7_10_a_rule_that_saves_before_it_stops_answers_what_it_saved() {
    let world = World::new(1);
    let mut spec = asked_spec("r", false, 1, json!({"to": 3}));
    spec.options.save_before_stop = true;
    let rule = world.run(spec);
    world.arrived("r", 1).await;
    rule.stop(GRACE).await;
    assert_eq!(*world.stage.answered.borrow(), [1, 2, 3]);
}

#[tokio::test]
async fn checkpoints_hold_the_source_position_and_a_restored_rule_goes_on_from_there() {
    let world = World::new(1);
    let mut spec = count_spec("r", &counter_stream(false), json!({"count": 100, "ends": false}), json!({}));
    spec.options.qos = 1;
    spec.options.save_before_stop = true;
    let rule = world.run(spec.clone());
    world.arrived("r", 98).await;
    rule.stop(GRACE).await;
    let snapshot = world.snapshots.newest("r").unwrap().unwrap();
    assert_eq!((snapshot.fingerprint, offset(&snapshot)), (7, 100));
    spec.sources.get_mut("demo").unwrap().props.set("count", 103);
    let again = world.runtime.launch(world.runtime.compile(spec).unwrap(), Some(snapshot));
    assert_eq!(world.arrived("r", 101).await[98..], numbers(101..=103));
    again.stop(GRACE).await;
}

impl World {
    /// The newest snapshot of a rule as soon as it is as wanted.
    async fn saved(&self, rule: &str, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let mut saved = self.snapshots.1.subscribe();
        loop {
            if let Some(snapshot) = self.snapshots.newest(rule).unwrap().filter(|snapshot| wanted(snapshot)) {
                return snapshot;
            }
            saved.changed().await.unwrap();
        }
    }
}

/// A rule whose sink takes nothing before the gate opens, with checkpoints all the time.
fn gated_spec(source: serde_json::Value) -> RuleSpec {
    let mut spec = count_spec("r", &counter_stream(false), source, json!({"gated": true}));
    spec.options.qos = 1;
    spec.options.checkpoint_interval = 1;
    spec
}

#[tokio::test]
async fn a_checkpoint_holds_the_messages_that_have_not_left_and_a_restored_rule_sends_them() {
    let world = World::new(1);
    let spec = gated_spec(json!({"count": 20, "ends": false}));
    let rule = world.run(spec.clone());
    let snapshot = world.saved("r", |snapshot| offset(snapshot) == 20).await;
    assert_eq!(snapshot.outputs.keys().collect::<Vec<_>>(), ["collect_0"]);
    // As a crash would: nothing that the run still does counts.
    drop(rule);
    world.stage.gate.send_replace(true);
    let again = world.runtime.launch(world.runtime.compile(spec).unwrap(), Some(snapshot));
    assert_eq!(world.arrived("r", 18).await, numbers(3..=20));
    world.saved("r", |snapshot| offset(snapshot) == 20 && snapshot.outputs.is_empty()).await;
    again.stop(GRACE).await;
}

#[tokio::test]
async fn r7_5_a_checkpoint_that_fails_is_counted_and_tried_again() {
    let world = World::new(1);
    let mut spec = count_spec("r", &counter_stream(false), json!({"ends": false}), json!({}));
    spec.options.qos = 2;
    spec.options.checkpoint_interval = 20;
    *lock(&world.snapshots.2) = Some("the disk is full".to_owned());
    let rule = world.run(spec);
    world.saved("r", |snapshot| offset(snapshot) == 10).await;
    let status = loop {
        let status = rule.checkpoints().unwrap();
        if status.completed > 0 {
            break status;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((status.failed, status.failing, &*status.last_error), (1, 0, "the disk is full"));
    assert!(status.last_time.0 > 0 && status.bytes > 0);
    rule.stop(GRACE).await;
}

#[tokio::test]
async fn checkpoints_of_many_rules_share_a_write_and_idle_rules_write_nothing() {
    let world = World::new(1);
    let spec = |index: usize| {
        let mut spec =
            count_spec(&format!("r{index}"), &counter_stream(false), json!({"ends": false}), json!({}));
        spec.options.qos = 1;
        spec.options.checkpoint_interval = 50;
        spec
    };
    let rules: Vec<RunningRule> = (0..50).map(|index| world.run(spec(index))).collect();
    for index in 0..50 {
        world.saved(&format!("r{index}"), |snapshot| offset(snapshot) == 10).await;
    }
    while rules.iter().any(|rule| rule.checkpoints().is_none_or(|status| status.completed < 4)) {
        tokio::task::yield_now().await;
    }
    let writes = lock(&world.snapshots.3).clone();
    let entries: usize = writes.iter().sum();
    assert!(entries <= 120, "50 rules were written {entries} times, though they read everything at once");
    assert!(writes.len() < entries, "{writes:?}");
    for rule in rules {
        rule.stop(GRACE).await;
    }
}

#[tokio::test]
async fn r7_6_a_checkpoint_of_another_plan_is_discarded_and_the_status_says_so() {
    let world = World::new(1);
    let mut spec = count_spec("r", &counter_stream(false), json!({"count": 5, "ends": false}), json!({}));
    spec.options.qos = 1;
    spec.options.save_before_stop = true;
    let rule = world.run(spec.clone());
    world.arrived("r", 3).await;
    rule.stop(GRACE).await;
    let snapshot = world.snapshots.newest("r").unwrap();
    spec.plan.fingerprint += 1;
    let again = world.runtime.launch(world.runtime.compile(spec).unwrap(), snapshot.clone());
    assert_eq!(world.arrived("r", 6).await, [numbers(3..=5), numbers(3..=5)].concat());
    let status = again.checkpoints().unwrap();
    assert_eq!(status.restored, Timestamp(0));
    let epoch = snapshot.unwrap().epoch;
    let note =
        format!("the checkpoint of {epoch} was discarded: it belongs to another plan (the rule was changed)");
    assert_eq!(*status.note, *note);
    again.stop(GRACE).await;
}
