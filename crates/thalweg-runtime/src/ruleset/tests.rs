//! Whole rules on one stream: whatever they share, each is what it would be alone.

use proptest::prelude::*;
use serde_json::json;
use thalweg_core::connector::{BuildCx, Built, Connector, Sink, SinkPayload, Written};
use thalweg_core::{BinaryOp, RowError, Value};
use thalweg_expr::function::{Doc, Family, Nulls};
use thalweg_expr::{EvalCx, Expr, Function, FunctionKind, FunctionRef};
use thalweg_plan::logical::{Empty, OutputColumn};

use super::conditions::tests::conjunction;
use super::*;
use crate::rig::{Rig, RigId};
use crate::rule::{NodeSnapshot, Outcome, RuleSpec};
use crate::testing::{binary, column, filter_project, greater, project, registry, scan, spec, stream};

fn no_sink(_: &BuildCx) -> Built<Box<dyn Sink>> {
    Err(thalweg_core::Diagnostic::plain("the rig builds no sinks"))
}

const TABLE: Connector = Connector {
    name: "table",
    summary: "Takes rows.",
    props: &[],
    takes_rows: true,
    connect: None,
    source: None,
    sink: Some(no_sink),
    lookup: None,
};

static CONNECTORS: &[Connector] = &[TABLE];

struct Abyss;

#[async_trait::async_trait]
impl Sink for Abyss {
    async fn open(
        &mut self,
        _: Arc<dyn thalweg_core::connector::SinkPort>,
    ) -> Result<(), thalweg_core::IoError> {
        Ok(())
    }

    fn swallows(&self) -> bool {
        true
    }

    async fn write(&mut self, payloads: &[SinkPayload]) -> Written {
        Written::all(payloads)
    }
}

static SWALLOWING: &[Connector] =
    &[Connector { name: "log", takes_rows: false, sink: Some(|_| Ok(Box::new(Abyss))), ..TABLE }];

/// One rule to be: its condition, the number of its SELECT list and of its sinks, and whether it sends errors.
#[derive(Debug, Clone)]
struct Wish {
    condition: Option<Expr>,
    list: usize,
    sinks: usize,
    send_error: bool,
}

fn wish() -> impl Strategy<Value = Wish> {
    let condition = prop::option::weighted(0.8, conjunction());
    (condition, 0usize..5, 0usize..5, any::<bool>()).prop_map(|(condition, list, sinks, send_error)| Wish {
        condition,
        list,
        sinks,
        send_error,
    })
}

/// Slots: a, b and the whole row, in an order that differs from rule to rule.
fn rule(id: String, shared: bool, wish: &Wish) -> RuleSpec {
    let demo = stream("demo", "mqtt", shared);
    let input = scan(&demo, &["a", "b", "*"]);
    let columns =
        [&[("a", 0)][..], &[("b", 1), ("x", 0)], &[("*", 2)], &[("a", 0), ("sum", 1)], &[("s", 3), ("t", 4)]]
            [wish.list];
    let mut plan = match &wish.condition {
        Some(condition) => filter_project(input, condition.clone(), columns),
        None => project(input, "3_project", columns),
    };
    if wish.list == 3
        && let thalweg_plan::Kind::Project(columns) = &mut plan.root.kind
    {
        // Fails where a or b is no number.
        let sum = binary(BinaryOp::Plus, column(0), column(1));
        columns[1] = OutputColumn::One { name: Arc::from("sum"), expr: sum, empty: Empty::Omit };
    }
    if wish.list == 4 {
        // As `a + b AS s, (a + b) + a AS t`, of which the planner computes the sum once.
        let sum = binary(BinaryOp::Plus, column(0), column(1));
        let input = plan.root.inputs.remove(0);
        let schema = Arc::new(thalweg_core::Schema::computed(["a", "b", "*", "s", "t"]));
        let values = vec![sum, binary(BinaryOp::Plus, column(3), column(0))];
        let (name, kind) = (Arc::from(""), thalweg_plan::Kind::Compute(values));
        plan.root.inputs.push(thalweg_plan::Node { name, kind, inputs: vec![input], schema });
    }
    let sinks = match wish.sinks {
        0 => json!({"log": {}}),
        1 => json!({"log": {"sendSingle": true, "omitIfEmpty": true}}),
        2 => json!({"table": {"sendSingle": true}}),
        3 => json!({"log": {}, "table": {"omitIfEmpty": true}}),
        _ => json!({"log": {"fields": ["a"]}}),
    };
    let mut spec = spec(&id, plan, &[&demo], sinks);
    spec.options.send_error = wish.send_error;
    spec
}

/// All that a status shows of the nodes, but for the names of those that belong to the stream.
fn status(rig: &mut Rig, rule: RigId) -> Vec<String> {
    let show = |node: &NodeSnapshot| {
        let name = node.name.replace("op_demo_", "op_");
        format!("{:?}", NodeSnapshot { name: name.into(), latencies: None, ..node.clone() })
    };
    rig.metrics(rule).iter().map(show).collect()
}

fn payload((a, b): &(usize, usize)) -> String {
    let values = ["1", "3", "4.5", "\"x\"", "null", "true", "0"];
    match a {
        7 => "no object".to_owned(),
        _ => format!("{{\"a\":{},\"b\":{}}}", values[*a], values[*b]),
    }
}

/// Outputs and status of the rules, each of which joins before the message of its number, among neighbours of which
/// one leaves.
fn run(
    wishes: &[Option<&Wish>],
    rows: &[(usize, usize)],
    size: usize,
    neighbours: Option<usize>,
) -> Vec<(Vec<String>, Vec<String>)> {
    let mut rig = Rig::new(registry(CONNECTORS), Timestamp(1_000)).batch_size(size);
    run_on(&mut rig, wishes, rows, neighbours)
}

/// The same with sinks that swallow everything.
fn run_swallowing(
    wishes: &[Option<&Wish>],
    rows: &[(usize, usize)],
    size: usize,
    neighbours: Option<usize>,
) -> Vec<Vec<String>> {
    let mut rig = Rig::new(registry(SWALLOWING), Timestamp(1_000)).batch_size(size).swallowing();
    let run = run_on(&mut rig, wishes, rows, neighbours);
    run.into_iter().map(|(_, status)| status).collect()
}

fn run_on(
    rig: &mut Rig,
    wishes: &[Option<&Wish>],
    rows: &[(usize, usize)],
    neighbours: Option<usize>,
) -> Vec<(Vec<String>, Vec<String>)> {
    let shared = neighbours.is_some();
    let mut others = Vec::new();
    for number in 0..neighbours.unwrap_or_default() {
        let condition = Some(greater(0, number as i64 - 3));
        let other = Wish { condition, list: number % 5, sinks: number % 2, send_error: false };
        others.push(rig.add(rule(format!("other{number}"), shared, &other)).unwrap());
    }
    let mut added = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        if let Some(wish) = wishes.get(at) {
            rig.flush();
            added.extend(wish.map(|wish| rig.add(rule(format!("r{at}"), shared, wish)).unwrap()));
        }
        if at == rows.len() / 2 {
            rig.flush();
            others.pop().into_iter().for_each(|other| rig.stop(other));
        }
        rig.feed("demo", payload(row).as_bytes());
        rig.clock().advance_to(rig.now().plus(3));
    }
    added.iter().map(|rule| (rig.texts(*rule), status(rig, *rule))).collect()
}

proptest! {
    #[test]
    fn outputs_and_the_whole_status_are_those_of_the_rule_alone(
        wishes in prop::collection::vec(wish(), 1..5),
        rows in prop::collection::vec((0usize..8, 0usize..7), 5..16),
        size in 1usize..7,
        neighbours in 0usize..12,
    ) {
        let all: Vec<Option<&Wish>> = wishes.iter().map(Some).collect();
        let together = run(&all, &rows, size, Some(neighbours));
        for (at, together) in together.iter().enumerate() {
            let only: Vec<Option<&Wish>> =
                all.iter().enumerate().map(|(other, wish)| wish.filter(|_| other == at)).collect();
            let alone = run(&only, &rows, size, None);
            prop_assert_eq!(&together.0, &alone[0].0, "outputs of {} {:?}", at, wishes[at]);
            prop_assert_eq!(&together.1, &alone[0].1, "status of {} {:?}", at, wishes[at]);
        }
    }
}

proptest! {
    #[test]
    fn rules_that_only_count_have_the_status_of_the_rule_alone(
        bounds in prop::collection::vec((0usize..4, -1i64..6, 0u32..3), 1..9),
        (odd_list, error) in (0usize..5, any::<bool>()),
        rows in prop::collection::vec((0usize..8, 0usize..7), 9..24),
        size in 1usize..7,
        neighbours in 0usize..12,
    ) {
        let wish = |(at, (op, bound, slot)): (usize, &(usize, i64, u32))| {
            let op = [BinaryOp::Gt, BinaryOp::GtEq, BinaryOp::Lt, BinaryOp::LtEq][*op];
            let literal = Expr::literal(Value::Int(*bound));
            // Some compare what they calculate.
            let twice = || binary(BinaryOp::Multiply, column(0), Expr::literal(Value::Int(2)));
            let value = if *slot == 2 { twice() } else { column(*slot) };
            let condition = Some(binary(op, value, literal));
            // Most have the list of their neighbours.
            let list = if at % 3 == 2 { odd_list } else { 0 };
            Wish { condition, list, sinks: at % 2, send_error: error && at % 4 == 3 }
        };
        let wishes: Vec<Wish> = bounds.iter().enumerate().map(wish).collect();
        let all: Vec<Option<&Wish>> = wishes.iter().map(Some).collect();
        let together = run_swallowing(&all, &rows, size, Some(neighbours));
        for (at, together) in together.iter().enumerate() {
            let only: Vec<Option<&Wish>> =
                all.iter().enumerate().map(|(other, wish)| wish.filter(|_| other == at)).collect();
            let alone = run_swallowing(&only, &rows, size, None);
            prop_assert_eq!(together, &alone[0], "status of {} {:?}", at, wishes[at]);
        }
    }
}

#[test]
fn rows_that_nobody_passes_call_nobody_and_are_counted_all_the_same() {
    let mut rig = Rig::new(registry(CONNECTORS), Timestamp(5));
    let wish = Wish { condition: Some(greater(0, 100)), list: 0, sinks: 0, send_error: false };
    let added = rig.add(rule("r".to_owned(), true, &wish)).unwrap();
    rig.feed("demo", br#"{"a":1}"#);
    let filter = &rig.metrics(added)[2];
    assert_eq!((&*filter.name, filter.records_in, filter.records_out), ("op_3_filter", 1, 0));
    assert_eq!(filter.last_invocation, Timestamp(5));
}

#[test]
fn a_sink_that_swallows_everything_counts_what_it_swallows() {
    let mut rig = Rig::new(registry(SWALLOWING), Timestamp(5)).swallowing();
    let wish = Wish { condition: Some(greater(0, 2)), list: 3, sinks: 0, send_error: false };
    let added = rig.add(rule("r".to_owned(), true, &wish)).unwrap();
    for row in [(1, 1), (0, 0), (1, 3), (2, 2)] {
        rig.feed("demo", payload(&row).as_bytes());
    }
    // 3 + "x" fails in the list, so that batch goes through the rule's own operators; the others do not.
    let counts = rig.metrics(added).into_iter().skip(2).map(|node| (node.records_in, node.records_out));
    assert_eq!(counts.collect::<Vec<_>>(), [(4, 3), (3, 2), (2, 2), (2, 2), (2, 2)]);
    assert_eq!(rig.drop_output(), 0);
}

/// Panics at 13.
fn fragile(args: &[Value], _: &mut EvalCx<'_>) -> Result<Value, RowError> {
    assert_ne!(args[0], Value::Float(13.0), "thirteen");
    Ok(args[0].clone())
}

static FRAGILE: Function = Function {
    name: "fragile",
    aliases: &[],
    args: &[],
    kind: FunctionKind::Row(fragile),
    nulls: Nulls::Own,
    doc: Doc { family: Family::Other, summary: "", examples: &[] },
};

#[test]
fn a_panic_in_a_shared_list_stops_only_the_rules_whose_rows_make_it() {
    // contracts.md 9, with sinks and without.
    for connectors in [CONNECTORS, SWALLOWING] {
        let mut rig = Rig::new(registry(connectors), Timestamp(5)).batch_size(3);
        if std::ptr::eq(connectors, SWALLOWING) {
            rig = rig.swallowing();
        }
        let mut add = |at: usize, bound: i64| {
            let wish = Wish { condition: Some(greater(0, bound)), list: 3, sinks: 0, send_error: false };
            let mut spec = rule(format!("r{at}"), true, &wish);
            if let thalweg_plan::Kind::Project(columns) = &mut spec.plan.root.kind {
                let (function, args) = (FunctionRef::Builtin(&FRAGILE), vec![column(0)]);
                let expr = Expr::Call { function, args, call_id: 0 };
                columns[1] = OutputColumn::One { name: Arc::from("sum"), expr, empty: Empty::Omit };
            }
            rig.add(spec).unwrap()
        };
        let rules: Vec<RigId> =
            [0, 5, 20].into_iter().enumerate().map(|(at, bound)| add(at, bound)).collect();
        for a in [1, 13, 30, 2, 4, 40] {
            rig.feed("demo", format!("{{\"a\":{a}}}").as_bytes());
        }
        let ends: Vec<bool> =
            rules.iter().map(|rule| matches!(rig.outcome(*rule), Outcome::Failed(_))).collect();
        assert_eq!(ends, [true, true, false]);
        let project = &rig.metrics(rules[2])[3];
        assert_eq!((&*project.name, project.records_in, project.records_out), ("op_4_project", 2, 2));
    }
}
