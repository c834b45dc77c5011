//! Shared conditions: the same outputs and counters as without sharing, whatever comes and goes.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use proptest::prelude::*;
use serde_json::json;
use thalweg_core::{BinaryOp, RowError, Slot, Timestamp, Unit, Value};
use thalweg_expr::function::{Doc, Family, Nulls};
use thalweg_expr::{Function, FunctionKind, FunctionRef};

use super::*;
use crate::rig::{Rig, RigId};
use crate::rule::{NodeSnapshot, Outcome, RuleSpec};
use crate::testing::{and, binary, column, filter_project, greater, literal, registry, scan, spec, stream};

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
    assert_eq!(conditions.filing().filed(), (2, 0, 2), "two conditions, two bounds");
    conditions.leave(first);
    conditions.leave(first);
    assert_eq!(conditions.filing().filed(), (1, 0, 2));
    conditions.leave(other);
    assert_eq!(conditions.filing().filed(), (0, 0, 0));
    let last = conditions.join(condition(greater(0, 7)));
    assert!(last < 2, "places are used again");
    let elsewhere = Condition { expr: greater(0, 7), zone: Tz::Europe__Paris };
    assert_ne!(conditions.join(elsewhere), last, "another zone is another condition (T-12)");
}

#[test]
fn a_rule_that_comes_or_goes_among_thousands_touches_no_other() {
    let mut conditions = Conditions::default();
    let rule = |number: i64| and(greater(0, number), greater(1, -number));
    for number in 0..5_000 {
        conditions.join(condition(rule(number)));
    }
    let before = conditions.filing().work;
    let added = conditions.join(condition(rule(9_999)));
    conditions.leave(added);
    conditions.leave(17);
    assert_eq!(conditions.filing().work - before, 3);
    assert_eq!(conditions.filing().filed(), (4_999, 0, 2 * 4_999));
}

/// A leaf over slot 0 or 1: all that an index can answer, and some that it cannot.
fn leaf() -> impl Strategy<Value = Expr> {
    let constant = || {
        prop_oneof![
            (-1i64..6).prop_map(Value::Int),
            (-2i8..10).prop_map(|half| Value::Float(f64::from(half) / 2.0)),
            "[xy]".prop_map(Value::text),
        ]
    };
    let op = prop::sample::select(vec![
        BinaryOp::Eq,
        BinaryOp::NotEq,
        BinaryOp::Lt,
        BinaryOp::LtEq,
        BinaryOp::Gt,
        BinaryOp::GtEq,
    ]);
    let comparison = (op, 0u32..2, constant(), any::<bool>()).prop_map(|(op, slot, value, mirrored)| {
        let (left, right) = (column(slot), literal(value));
        if mirrored { binary(op, right, left) } else { binary(op, left, right) }
    });
    let between = (0u32..2, constant(), constant()).prop_map(|(slot, low, high)| Expr::Between {
        negated: false,
        parts: Box::new([column(slot), literal(low), literal(high)]),
    });
    let member = (0u32..2, prop::collection::vec(constant(), 1..4)).prop_map(|(slot, list)| Expr::InList {
        negated: false,
        value: Box::new(column(slot)),
        list: list.into_iter().map(literal).collect(),
    });
    let arithmetic = (0usize..4, 0u32..2, constant(), any::<bool>(), constant()).prop_map(
        |(op, slot, operand, is_upper, bound)| {
            let op = [BinaryOp::Plus, BinaryOp::Multiply, BinaryOp::Divide, BinaryOp::Modulo][op];
            let value = binary(op, column(slot), literal(operand));
            binary(if is_upper { BinaryOp::LtEq } else { BinaryOp::Gt }, value, literal(bound))
        },
    );
    let pair = Just(binary(BinaryOp::Lt, column(0), column(1)));
    prop_oneof![6 => comparison, 2 => arithmetic, 2 => between, 2 => member, 1 => pair, 1 => (0u32..2).prop_map(column)]
}

/// One to three leaves joined by AND.
pub(in crate::ruleset) fn conjunction() -> impl Strategy<Value = Expr> {
    prop::collection::vec(leaf(), 1..4).prop_map(|leaves| leaves.into_iter().reduce(and).unwrap())
}

/// Cells of every kind, numbers most of all.
fn cells(rows: usize) -> impl Strategy<Value = Vec<Value>> {
    let cell = prop_oneof![
        20 => (-2i8..12).prop_map(|half| Value::Float(f64::from(half) / 2.0)),
        4 => (-1i64..6).prop_map(Value::Int),
        2 => Just(Value::Null),
        1 => "[xy]".prop_map(Value::text),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => Just(Value::Int(i64::MAX)),
        1 => Just(Value::Float(f64::NAN)),
    ];
    prop::collection::vec(cell, rows)
}

/// Rows of one kind each, as they come from most devices.
fn uniform(rows: usize) -> impl Strategy<Value = Vec<Value>> {
    prop_oneof![
        prop::collection::vec((-2i8..12).prop_map(|half| Value::Float(f64::from(half) / 2.0)), rows),
        prop::collection::vec((-1i64..6).prop_map(Value::Int), rows),
        prop::collection::vec("[xyz]".prop_map(Value::text), rows),
    ]
}

proptest! {
    #[test]
    fn the_index_says_of_every_condition_what_the_condition_says_alone(
        exprs in prop::collection::vec(conjunction(), 1..24),
        (a, b) in (1usize..140).prop_flat_map(|rows| {
            let column = || prop_oneof![uniform(rows), cells(rows)];
            (column(), column())
        }),
        gaps in any::<u64>(),
        leaving in prop::collection::vec(any::<bool>(), 24),
    ) {
        let mut conditions = Conditions::default();
        let numbers: Vec<u32> =
            exprs.iter().map(|expr| conditions.join(condition(expr.clone()))).collect();
        let n_rows = a.len();
        let batch = Batch {
            schema: std::sync::Arc::new(thalweg_core::Schema::computed(["a", "b"])),
            columns: [&a, &b].map(|values| std::sync::Arc::new(thalweg_core::Column::from_values(values))).to_vec(),
            n_rows,
            times: vec![Timestamp(0); n_rows],
            unit: Unit::Rows,
            window: None,
        };
        let clock = thalweg_core::ManualClock::at(Timestamp(0));
        let some = Selection::rows((0..n_rows as u32).filter(|row| gaps >> (row % 64) & 1 == 1).collect());
        for rows in [Selection::all(n_rows), some] {
            conditions.judge(&batch, &rows, clock.as_ref());
            for (at, (expr, number)) in exprs.iter().zip(&numbers).enumerate() {
                let metrics = NodeMetrics::default();
                let alone = Verdict::of(expr, &batch, &rows, &mut surroundings(Tz::UTC, clock.as_ref(), &metrics));
                let nothing = Verdict::NOTHING;
                let said = match conditions.said(*number) {
                    Said::Nothing => &nothing,
                    Said::Verdict(verdict) => verdict,
                    Said::Private => return Err(TestCaseError::fail("nothing here panics or counts")),
                };
                let rows = |verdict: &Verdict| verdict.passed.iter().collect::<Vec<_>>();
                prop_assert_eq!(rows(said), rows(&alone), "{} {:?}", at, expr);
                prop_assert_eq!(said.count, alone.count);
                prop_assert_eq!(&said.bad, &alone.bad, "{} {:?}", at, expr);
            }
        }
        // Whatever leaves, the others go on saying the same.
        let stay: Vec<usize> = (0..exprs.len()).filter(|at| !leaving[*at]).collect();
        (0..exprs.len()).filter(|at| leaving[*at]).for_each(|at| conditions.leave(numbers[at]));
        let rows = Selection::all(n_rows);
        conditions.judge(&batch, &rows, clock.as_ref());
        for at in &stay {
            let metrics = NodeMetrics::default();
            let alone =
                Verdict::of(&exprs[*at], &batch, &rows, &mut surroundings(Tz::UTC, clock.as_ref(), &metrics));
            let count = match conditions.said(numbers[*at]) {
                Said::Verdict(verdict) => (verdict.count, verdict.bad.len()),
                _ => (0, 0),
            };
            prop_assert_eq!(count, (alone.count, alone.bad.len()));
        }
        stay.iter().for_each(|at| conditions.leave(numbers[*at]));
        prop_assert_eq!(conditions.filing().filed(), (0, 0, 0));
    }
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
