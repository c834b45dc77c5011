//! Shared conditions: the same outputs and counters as without sharing, whatever comes and goes.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use proptest::prelude::*;
use serde_json::json;
use thalweg_core::{RowError, Slot, Timestamp, Value};
use thalweg_expr::function::{Doc, Family, Nulls};
use thalweg_expr::{Function, FunctionKind, FunctionRef};

use super::*;
use crate::rig::{Rig, RigId};
use crate::rule::{NodeSnapshot, Outcome, RuleSpec};
use crate::testing::{filter_project, greater, registry, scan, spec, stream};

fn and(left: Expr, right: Expr) -> Expr {
    Expr::Binary(BinaryOp::And, Box::new(left), Box::new(right))
}

fn condition(expr: Expr) -> Condition {
    Condition { expr, zone: Tz::UTC }
}

/// `SELECT a FROM demo WHERE condition`; slots: a, b.
fn rule(id: &str, shared: bool, condition: Expr) -> RuleSpec {
    let demo = stream("demo", "mqtt", shared);
    let plan = filter_project(scan(&demo, &["a", "b"]), condition, &[("a", 0)]);
    let mut spec = spec(id, plan, &[&demo], json!({"log": {}}));
    spec.options.send_error = true;
    spec
}

/// The counters of the rule's own nodes.
fn counts(rig: &mut Rig, rule: RigId) -> Vec<(u64, u64, u64, Option<u64>)> {
    let count = |node: &NodeSnapshot| {
        let dropped = node.rare.dropped.get("eval").copied();
        (node.records_in, node.records_out, node.exceptions, dropped)
    };
    rig.metrics(rule).iter().map(count).collect()
}

const CONDITIONS: [fn() -> Expr; 6] = [
    || greater(0, 2),
    || and(greater(0, 2), greater(1, 1)),
    || and(greater(1, 1), greater(0, 2)),
    || and(greater(0, 2), greater(1, 3)),
    || Expr::Column(Slot(1)),
    || and(and(greater(0, 0), greater(0, 2)), Expr::Column(Slot(1))),
];

proptest! {
    #[test]
    fn sharing_changes_neither_outputs_nor_counters(
        rules in prop::collection::vec(0usize..6, 1..5),
        rows in prop::collection::vec((0usize..6, 0usize..6), 1..12),
        size in 1usize..6,
    ) {
        let values = ["1", "3", "4.5", "\"x\"", "null", "true"];
        let run = |shared: bool| {
            let mut rig = Rig::new(registry(&[]), Timestamp(0)).batch_size(size);
            let add = |(at, number): (usize, &usize)| {
                rig.add(rule(&format!("r{at}"), shared, CONDITIONS[*number]())).unwrap()
            };
            let added: Vec<RigId> = rules.iter().enumerate().map(add).collect();
            for (a, b) in &rows {
                rig.feed("demo", format!("{{\"a\":{},\"b\":{}}}", values[*a], values[*b]).as_bytes());
            }
            added.iter().map(|rule| (rig.texts(*rule), counts(&mut rig, *rule))).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(true), run(false));
    }
}

#[test]
fn rules_that_come_and_go_keep_the_rest_right() {
    let mut rig = Rig::new(registry(&[]), Timestamp(0)).batch_size(2);
    let first = rig.add(rule("first", true, greater(0, 2))).unwrap();
    let second = rig.add(rule("second", true, and(greater(0, 2), greater(1, 1)))).unwrap();
    let feed = |rig: &mut Rig| {
        rig.feed("demo", br#"{"a":3,"b":1}"#);
        rig.feed("demo", br#"{"a":4,"b":2}"#);
    };
    feed(&mut rig);
    rig.stop(first);
    let third = rig.add(rule("third", true, greater(1, 1))).unwrap();
    feed(&mut rig);
    rig.stop(second);
    feed(&mut rig);
    assert_eq!(rig.texts(first), [r#"[{"a":3}]"#, r#"[{"a":4}]"#]);
    assert_eq!(rig.texts(second), [r#"[{"a":4}]"#, r#"[{"a":4}]"#]);
    assert_eq!(rig.texts(third), [r#"[{"a":4}]"#, r#"[{"a":4}]"#]);
}

#[test]
fn equal_conditions_are_filed_once_and_go_with_their_last_user() {
    let mut conditions = Conditions::default();
    let first = conditions.join(condition(greater(0, 2)));
    assert_eq!(conditions.join(condition(greater(0, 2))), first);
    let other = conditions.join(condition(and(greater(0, 2), greater(1, 3))));
    assert_ne!(other, first);
    conditions.leave(first);
    assert_eq!(conditions.whole.users(first), 1);
    conditions.leave(first);
    conditions.leave(other);
    assert!(conditions.whole.by_key.is_empty() && conditions.parts.by_key.is_empty());
    assert_eq!(conditions.join(condition(greater(0, 7))), 0, "places are used again");
    let elsewhere = Condition { expr: greater(0, 7), zone: Tz::Europe__Paris };
    assert_ne!(conditions.join(elsewhere), 0, "another zone is another condition (T-12)");
}

static CALLS: AtomicUsize = AtomicUsize::new(0);

/// True; counts its calls, and panics at 13.
fn touchy(args: &[Value], _: &mut EvalCx<'_>) -> Result<Value, RowError> {
    CALLS.fetch_add(1, Relaxed);
    assert_ne!(args[0], Value::Float(13.0), "thirteen");
    Ok(Value::Bool(true))
}

static TOUCHY: Function = Function {
    name: "touchy",
    aliases: &[],
    args: &[],
    kind: FunctionKind::Row(touchy),
    nulls: Nulls::Own,
    doc: Doc { family: Family::Other, summary: "", examples: &[] },
};

fn touchy_call() -> Expr {
    let function = FunctionRef::Builtin(&TOUCHY);
    Expr::Call { function, args: vec![Expr::Column(Slot(0))], call_id: 0 }
}

#[test]
fn equal_conditions_are_evaluated_once_and_a_panic_stops_only_who_asked() {
    // contracts.md 9
    let mut rig = Rig::new(registry(&[]), Timestamp(0));
    let guilty: Vec<RigId> =
        ["one", "two"].iter().map(|id| rig.add(rule(id, true, touchy_call())).unwrap()).collect();
    let other = rig.add(rule("other", true, greater(0, 2))).unwrap();
    rig.feed("demo", br#"{"a":3}"#);
    assert_eq!(CALLS.load(Relaxed), 1, "two rules, one call");
    rig.feed("demo", br#"{"a":13}"#);
    rig.feed("demo", br#"{"a":4}"#);
    for rule in guilty {
        assert!(matches!(rig.outcome(rule), Outcome::Failed(_)));
        assert_eq!(rig.texts(rule), [r#"[{"a":3}]"#]);
    }
    assert_eq!(rig.outcome(other), Outcome::Running);
    assert_eq!(rig.texts(other), [r#"[{"a":3}]"#, r#"[{"a":13}]"#, r#"[{"a":4}]"#]);
    let again = rig.add(rule("again", true, touchy_call())).unwrap();
    rig.feed("demo", br#"{"a":5}"#);
    assert_eq!(rig.texts(again), [r#"[{"a":5}]"#], "a new rule starts with a clean slate");
}
