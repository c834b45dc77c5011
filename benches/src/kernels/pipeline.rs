//! Whole rules on the in-process rig: payloads in, messages out, time and allocations per message.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::{Diagnostic, Props, Timestamp};
use thalweg_expr::{FunctionRef, FunctionRegistry};
use thalweg_plan::{PlanOptions, Resolver, StreamDef};
use thalweg_runtime::{ActionSpec, Rig, RuleSpec, RunOptions, SourceSpec};
use thalweg_sql::ast::Statement;

use crate::allocations;
use crate::measure::{Variant, nanos_per_item};
use crate::report::Report;

const BATCH: usize = 1_024;

const FILTER: &str =
    "SELECT temperature * 1.8 + 32 AS f, humidity FROM demo WHERE temperature > 50 AND humidity < 80";
const PASS: &str = "SELECT temperature, humidity FROM demo";
const WINDOW: &str = "SELECT device, avg(temperature) AS mean, max(humidity) AS most FROM demo \
                      GROUP BY device, TUMBLINGWINDOW(ss, 1)";

/// All pipelines.
pub(crate) fn run(report: &Report) {
    let text =
        |row: usize| format!("{{\"temperature\": {}, \"humidity\": {}}}", row % 90 + 10, row % 80 + 10);
    let keyed = |row: usize| {
        let (temperature, humidity) = (row % 90 + 10, row % 80 + 10);
        format!(
            "{{\"device\":\"dev-{:02}\",\"temperature\":{temperature},\"humidity\":{humidity}}}",
            row % 100
        )
    };
    let payloads: Vec<String> = (0..BATCH).map(text).collect();
    let by_key: Vec<String> = (0..BATCH).map(keyed).collect();
    measure(report, "pipeline_pass", &[PASS.to_owned()], &payloads, false);
    measure(report, "pipeline_filter_project", &[FILTER.to_owned()], &payloads, false);
    measure(report, "pipeline_tumbling_100_keys", &[WINDOW.to_owned()], &by_key, false);
    let same = vec![FILTER.to_owned(); 300];
    measure(report, "pipeline_300_equal_rules", &same, &payloads, true);
    let none = "SELECT temperature, humidity FROM demo WHERE temperature > 1000";
    measure(report, "pipeline_300_equal_rules_no_match", &vec![none.to_owned(); 300], &payloads, true);
    let differ = |rule: usize| {
        format!(
            "SELECT temperature, humidity FROM demo WHERE temperature > 97 AND humidity = {}",
            rule % 80 + 10
        )
    };
    let differing: Vec<String> = (0..300).map(differ).collect();
    measure(report, "pipeline_300_different_rules", &differing, &payloads, true);
}

/// Filter rules that differ in both constants, over readings of which each rule passes about 10 %
/// (`rules_300_us`, `rules_3000_us`, `rules_10000_us`).
pub(crate) fn rule_sets(report: &Report) {
    let part = |number: usize, step: f64| (number as f64 * step).fract();
    let reading = |row: usize| {
        let (temperature, humidity) = (part(row, 0.618_033_988_7), part(row, 0.754_877_666_2));
        format!("{{\"temperature\": {:.2}, \"humidity\": {:.2}}}", temperature * 1e3, humidity * 1e3)
    };
    let rule = |number: usize| {
        let above = 0.6 + 0.2 * part(number, 0.569_840_290_9);
        let (above, below) = (above * 1e3, 0.1 / (1.0 - above) * 1e3);
        format!(
            "SELECT temperature, humidity FROM demo WHERE temperature > {above:.3} AND humidity < {below:.3}"
        )
    };
    for n_rules in [300, 3_000, 10_000] {
        let rules: Vec<String> = (0..n_rules).map(rule).collect();
        for batch in [BATCH, 16] {
            let payloads: Vec<String> = (0..batch).map(reading).collect();
            let name = format!("pipeline_{n_rules}_rules_10_percent_batch_{batch}");
            turns(report, &name, specs(&rules, true), &payloads, Rig::swallowing);
        }
        let payloads: Vec<String> = (0..BATCH).map(reading).collect();
        let name = format!("pipeline_{n_rules}_rules_10_percent_collected");
        turns(report, &name, specs(&rules, true), &payloads, |rig| rig);
    }
}

fn measure(report: &Report, name: &str, rules: &[String], payloads: &[String], is_shared: bool) {
    turns(report, name, specs(rules, is_shared), payloads, |rig| rig);
}

fn specs(rules: &[String], is_shared: bool) -> Vec<RuleSpec> {
    let options = PlanOptions::default();
    let rules = rules.iter().enumerate();
    rules.filter_map(|(at, sql)| spec(format!("rule{at}"), sql, is_shared, &options)).collect()
}

/// One turn: all payloads arrive, the clock goes on by 100 ms, every rule's messages are taken.
/// With [`Rig::swallowing`] the messages go where the engine's nop sink puts them; otherwise the rig collects them, as the queue of
/// a sink does.
pub(super) fn turns(
    report: &Report,
    name: &str,
    rules: Vec<RuleSpec>,
    payloads: &[String],
    sinks: fn(Rig) -> Rig,
) {
    let registry = Arc::new(thalweg_connectors::registry());
    let mut rig = sinks(Rig::new(registry, Timestamp(0)).batch_size(payloads.len()));
    let added: Result<Vec<_>, _> = rules.into_iter().map(|spec| rig.add(spec)).collect();
    if added.is_err() {
        return;
    }
    let mut turn = || {
        payloads.iter().for_each(|payload| rig.feed("demo", payload.as_bytes()));
        rig.advance(100);
        rig.drop_output()
    };
    for _ in 0..20 {
        turn();
    }
    let (_, allocated) = allocations::counted(|| (0..20).map(|_| turn()).sum::<u64>());
    let times = nanos_per_item(payloads.len(), vec![Variant::new("rig", turn)]);
    for (_, nanos) in times {
        report.figure(&format!("{name}/time"), nanos, "ns/message");
    }
    report.figure(
        &format!("{name}/allocations"),
        allocated as f64 / (20 * payloads.len()) as f64,
        "per message",
    );
}

/// A rule over the one stream.
pub(crate) fn spec(id: String, sql: &str, is_shared: bool, options: &PlanOptions) -> Option<RuleSpec> {
    let (plan, world) = planned(sql, is_shared, options)?;
    let source = SourceSpec { stream: Arc::clone(&world.0), props: Props::new(), connection: None };
    let action = ActionSpec {
        kind: Arc::from("nop"),
        index: 0,
        is_late: false,
        props: Props::new(),
        connection: None,
        drawn: None,
    };
    Some(RuleSpec {
        id: Arc::from(id),
        plan,
        sources: BTreeMap::from([(Arc::from("demo"), source)]),
        actions: vec![action],
        options: RunOptions::default(),
    })
}

/// The plan of a statement over the one stream.
pub(crate) fn plan(sql: &str) -> Option<thalweg_plan::Plan> {
    planned(sql, false, &PlanOptions::default()).map(|(plan, _)| plan)
}

fn planned(sql: &str, is_shared: bool, options: &PlanOptions) -> Option<(thalweg_plan::Plan, World)> {
    let Ok(Statement::Query(query)) = thalweg_sql::parse(sql) else { return None };
    let world = World(Arc::new(demo(is_shared)));
    Some((thalweg_plan::plan(&query, options, &world).ok()?, world))
}

fn demo(shared: bool) -> StreamDef {
    StreamDef {
        source_type: Arc::from("mqtt"),
        datasource: Arc::from("demo"),
        format: Arc::from("json"),
        shared,
        has_decoder: true,
        ..StreamDef::schemaless(&Arc::from("demo"))
    }
}

/// The one stream.
struct World(Arc<StreamDef>);

impl Resolver for World {
    fn stream(&self, name: &str) -> Option<Arc<StreamDef>> {
        (name == "demo").then(|| Arc::clone(&self.0))
    }

    fn stream_names(&self) -> Vec<String> {
        vec!["demo".to_owned()]
    }

    fn function(&self, name: &str) -> Result<Option<FunctionRef>, Diagnostic> {
        FunctionRegistry::default().resolve(name)
    }

    fn function_names(&self) -> Vec<String> {
        FunctionRegistry::default().names()
    }
}
