//! Streams over several connections (`contracts.md` 8), on several threads.

use thalweg_core::{Batch, Selection};
use thalweg_plan::Node;

use super::*;
use crate::operator::{Emit, OpCx, Operator};
use crate::rig::Rig;

fn split(shared: bool, n: u32) -> Arc<StreamDef> {
    let mut stream = StreamDef::clone(&counter_stream(shared));
    stream.split = n;
    Arc::new(stream)
}

#[tokio::test]
async fn a_rule_gets_what_all_connections_bring_and_is_done_with_the_last() {
    let world = World::new(2);
    let rule = world.run(count_spec("r", &split(false, 3), json!({"count": 10_000}), json!({})));
    assert_eq!(ended(&rule).await, Outcome::Done);
    rule.stop(GRACE).await;
    // Each of the three connections counts to 10,000.
    let mut arrived = world.arrived("r", 3 * 9_998).await;
    let mut all: Vec<String> = (0..3).flat_map(|_| numbers(3..=10_000)).collect();
    arrived.sort_unstable();
    all.sort_unstable();
    assert_eq!(arrived, all);
    let counts =
        ["source_demo", "op_2_decoder", "op_3_filter", "op_4_project", "sink_collect_0"].map(|name| {
            let node = node(&rule, name);
            (node.records_in, node.records_out)
        });
    let (come, gone) = (30_000, 3 * 9_998);
    assert_eq!(counts, [(come, come), (come, come), (come, gone), (gone, gone), (gone, gone)]);
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn a_sink_that_cannot_follow_pushes_back_to_all_connections() {
    let world = World::new(2);
    let mut spec = count_spec("r", &split(false, 2), json!({"count": 5_000}), json!({"gated": true}));
    spec.options.buffer_length = 64;
    spec.actions[0].props.set("bufferLength", 64);
    let rule = world.run(spec);
    let mut offered = world.stage.offered.subscribe();
    offered.wait_for(|offered| *offered > 128).await.unwrap();
    world.stage.gate.send_replace(true);
    assert_eq!(world.arrived("r", 2 * 4_998).await.len(), 2 * 4_998);
    rule.stop(GRACE).await;
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn a_source_that_cannot_work_ends_the_rule_and_all_its_parts() {
    let world = World::new(2);
    let rule = world.run(count_spec("r", &split(false, 2), json!({"fails": "always"}), json!({})));
    assert_eq!(ended(&rule).await, Outcome::Failed(Arc::from("no such thing")));
    rule.stop(GRACE).await;
    world.runtime.shutdown().await;
}

/// Hands everything on, but panics on a row with a = 13.
struct Fears;

fn fears(_: &Node, _: &RuleInfo) -> Box<dyn Operator> {
    Box::new(Fears)
}

impl Operator for Fears {
    fn on_batch(&mut self, _: usize, batch: &Batch, rows: &Selection, out: &mut dyn Emit, cx: &mut OpCx<'_>) {
        let is_bad = |row: usize| batch.columns[0].value(row) == Value::Float(13.0);
        assert!(&*cx.rule.id != "guilty" || !rows.iter().any(is_bad), "thirteen");
        out.batch(0, batch, rows);
    }
}

#[test]
fn a_rule_that_panics_beside_a_connection_stops_as_a_whole_and_alone() {
    let stream = split(true, 2);
    let mut rig = Rig::new(registry(CONNECTORS), Timestamp(0)).shards(2).operators(fears);
    let guilty = rig.add(count_spec("guilty", &stream, json!({}), json!({}))).unwrap();
    let other = rig.add(count_spec("other", &stream, json!({}), json!({}))).unwrap();
    for number in 1..=20 {
        rig.feed("demo", format!("{{\"a\":{number}}}").as_bytes());
    }
    assert_eq!(rig.outcome(guilty), Outcome::Failed(Arc::from("internal error: thirteen")));
    assert_eq!((rig.outcome(other), rig.texts(other).len()), (Outcome::Running, 20));
    assert_eq!(rig.texts(guilty), numbers(1..=12), "what was before it went out");
    rig.stop(other);
}

#[test]
fn rules_join_and_leave_a_split_stream_that_others_read() {
    let stream = split(true, 2);
    let mut rig = Rig::new(registry(CONNECTORS), Timestamp(0)).shards(3);
    let first = rig.add(count_spec("first", &stream, json!({}), json!({}))).unwrap();
    let feed = |rig: &mut Rig, range: std::ops::RangeInclusive<i64>| {
        range.for_each(|number| rig.feed("demo", format!("{{\"a\":{number}}}").as_bytes()));
    };
    feed(&mut rig, 3..=8);
    let second = rig.add(count_spec("second", &stream, json!({}), json!({}))).unwrap();
    feed(&mut rig, 9..=12);
    rig.stop(first);
    feed(&mut rig, 13..=20);
    assert_eq!(rig.texts(first), numbers(3..=12));
    assert_eq!(rig.texts(second), numbers(9..=20));
    let source = rig.metrics(second).into_iter().next().unwrap();
    assert_eq!((&*source.name, source.records_in), ("source_demo", 12), "a base for each connection");
}
