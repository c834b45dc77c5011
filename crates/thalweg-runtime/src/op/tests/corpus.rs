//! The recorded cases of windows, joins and friends (`tests/conformance`), at every batch size and across snapshots.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;
use thalweg_core::json::{self, Numbers};
use thalweg_core::{Diagnostic, Timestamp, Value};
use thalweg_expr::{FunctionRef, FunctionRegistry};
use thalweg_plan::logical::{ColumnDef, StreamDef};
use thalweg_plan::{PlanOptions, Resolver};
use thalweg_sql::ast::{CreateSource, SourceKind, Statement};

use super::super::testing::{Event, Options, forms, run_from};

/// The files whose cases are about operators.
const AREAS: &[&str] = &[
    "aggregate",
    "alias",
    "analytic",
    "case-when",
    "count-window",
    "eventtime-late",
    "groupby",
    "having",
    "hopping-event",
    "join",
    "nested",
    "null",
    "orderby-limit",
    "over-partition-when",
    "processing-time",
    "rownumber",
    "session-event",
    "sliding-event",
    "state-window",
    "tumbling-event",
    "unnest-srf",
    "where",
    "wildcard",
    "window-filter-over",
];

/// FROM a table alone: whoever feeds the scans knows that tables never trigger (J-11).
const NOT_HERE: &[&str] = &["join-057"];

struct World(BTreeMap<String, Arc<StreamDef>>);

impl Resolver for World {
    fn stream(&self, name: &str) -> Option<Arc<StreamDef>> {
        self.0.get(name).cloned()
    }

    fn stream_names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn function(&self, name: &str) -> Result<Option<FunctionRef>, Diagnostic> {
        FunctionRegistry::default().resolve(name)
    }

    fn function_names(&self) -> Vec<String> {
        Vec::new()
    }
}

fn define(create: &CreateSource) -> StreamDef {
    let text = |name: &str| create.option(name).unwrap_or_default();
    let some = |name: &str| Some(text(name)).filter(|text| !text.is_empty()).map(Arc::from);
    let column = |column: &thalweg_sql::ast::ColumnDef| ColumnDef {
        name: Arc::clone(&column.name.text),
        data_type: column.data_type.clone(),
        default: column.default.clone(),
    };
    StreamDef {
        name: Arc::clone(&create.name.text),
        kind: create.kind,
        columns: (!create.columns.is_empty()).then(|| create.columns.iter().map(column).collect()),
        has_decoder: true,
        steps: thalweg_plan::SourceSteps::default(),
        source_type: Arc::from("mqtt"),
        datasource: Arc::from(""),
        format: Arc::from("json"),
        shared: false,
        strict: false,
        timestamp: some("TIMESTAMP"),
        timestamp_format: None,
        is_lookup: create.kind == SourceKind::Table && text("KIND").eq_ignore_ascii_case("lookup"),
        retain: text("RETAIN_SIZE").parse().unwrap_or(1),
        temp: false,
        version: Arc::from(""),
        options: Vec::new(),
        whole_numbers: text("EXTRA").contains("useInt64ForWholeNumber"),
        strict_json: false,
        split: 0,
    }
}

/// The CREATE statement of a case's stream; `None` for formats that the rig cannot decode.
fn create_text(stream: &Json) -> Option<String> {
    let name = stream["name"].as_str()?;
    let kind = stream["kind"].as_str().unwrap_or("STREAM");
    let columns = stream["columns"].as_str().unwrap_or("");
    let mut options = vec!["FORMAT=\"json\"".to_owned()];
    for (key, value) in stream["with"].as_object().into_iter().flatten() {
        options.push(format!("{key}={:?}", value.as_str()?));
    }
    Some(format!("CREATE {kind} {name} ({columns}) WITH ({})", options.join(", ")))
}

/// The streams of a case, if the rig can feed them: no lookup, no checks, no format but plain JSON.
fn world(case: &Json) -> Option<World> {
    let mut world = World(BTreeMap::new());
    for stream in case["streams"].as_array()? {
        let Ok(Statement::Create(create)) = thalweg_sql::parse(&create_text(stream)?) else { return None };
        let other =
            ["STRICT_VALIDATION", "TIMESTAMP_FORMAT"].iter().any(|name| create.option(name).is_some());
        let def = define(&create);
        let is_json = create.option("FORMAT").is_none_or(|format| format.eq_ignore_ascii_case("json"));
        if def.is_lookup || other || !is_json {
            return None;
        }
        world.0.insert(def.name.to_string(), Arc::new(def));
    }
    Some(world)
}

fn options(case: &Json) -> Options {
    let options = &case["options"];
    let tolerance = match &options["lateTolerance"] {
        Json::String(text) => thalweg_core::time::parse_duration(text),
        other => other.as_i64(),
    };
    Options {
        plan: PlanOptions {
            event_time: options["isEventTime"] == true,
            late_tolerance: tolerance.unwrap_or(1_000),
            send_nil: options["sendNilField"] == true,
            ..PlanOptions::default()
        },
        send_error: options["sendError"] == true,
        function: None,
        lookup: "",
    }
}

/// The rows of a case; `None` when one is no plain object with a number for a timestamp.
fn events(case: &Json, world: &World) -> Option<Vec<Event>> {
    let mut events = Vec::new();
    for (index, event) in case["events"].as_array()?.iter().enumerate() {
        let at = event[2].as_i64().unwrap_or(400 + index as i64);
        let stream = world.0.get(event[0].as_str()?)?;
        let text = event[1].as_str().map_or_else(|| event[1].to_string(), str::to_owned);
        let numbers = if stream.whole_numbers { Numbers::Whole } else { Numbers::Float };
        let row = json::parse(text.as_bytes(), numbers).ok()?;
        let Value::Map(fields) = &row else { return None };
        if let Some(column) = &stream.timestamp
            && !matches!(fields.get(column), Some(Value::Float(_) | Value::Int(_)))
        {
            return None;
        }
        events.push(Event { at: Timestamp(at), stream: Some(Arc::clone(&stream.name)), row });
    }
    if let Some(end) = case["end"].as_i64() {
        events.push(Event { at: Timestamp(end), stream: None, row: Value::Null });
    }
    Some(events)
}

/// Runs a case along all axes; `None`: not for this rig.
fn judge(case: &Json) -> Option<Result<(), String>> {
    let (world, options) = (world(case)?, options(case));
    let sql = case["sql"].as_str()?;
    let special = case["action"].is_object() || case["options"]["planOptimizeStrategy"].is_object();
    if case["expect"]["create"] != 201 || special || NOT_HERE.contains(&case["id"].as_str()?) {
        return None;
    }
    let Ok(Statement::Query(query)) = thalweg_sql::parse(sql) else { return None };
    let events = events(case, &world)?;
    let start = Timestamp(case["start"].as_i64().unwrap_or(300));
    let expected = match &case["expect"]["messages"] {
        Json::Array(messages) => messages.clone(),
        _ => case["expect"]["timed_messages"].as_array()?.iter().map(|timed| timed[1].clone()).collect(),
    };
    let unordered = case["unordered"] == true;
    let axes = [(1, false), (3, false), (usize::MAX, false), (1, true)];
    let both = forms(&options).into_iter().flat_map(|form| axes.map(|axis| (form.clone(), axis)));
    for ((form, options), (size, restore)) in both {
        let plan = thalweg_plan::plan(&query, &options.plan, &world).ok()?;
        let printed = run_from(&plan, &options, &events, size, restore, start);
        let found: Vec<Json> = printed.iter().map(|line| message(line)).collect();
        let pairs = found.iter().zip(&expected);
        if found.len() != expected.len() || !pairs.into_iter().all(|(a, b)| equal(a, b, unordered)) {
            let text = format!(
                "{sql}\n  {form}, batches of {size}, restored: {restore}\n  {found:?}\n  {expected:?}"
            );
            return Some(Err(text));
        }
    }
    Some(Ok(()))
}

fn message(line: &str) -> Json {
    if let Some(error) = line.strip_prefix("ERR ") {
        return serde_json::json!({ "error": error });
    }
    match serde_json::from_str(line) {
        Ok(Json::Array(rows)) => Json::Array(rows),
        Ok(row) => Json::Array(vec![row]),
        Err(error) => panic!("{line}: {error}"),
    }
}

fn equal(a: &Json, b: &Json, unordered: bool) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => {
            (a.as_f64().unwrap_or(0.0) - b.as_f64().unwrap_or(0.0)).abs()
                <= 1e-9 * a.as_f64().unwrap_or(1.0).abs().max(1.0)
        }
        (Json::Array(a), Json::Array(b)) if unordered => {
            a.len() == b.len() && a.iter().all(|x| b.iter().any(|y| equal(x, y, false)))
        }
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b, false))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b, false)))
        }
        (Json::String(a), Json::String(b)) if a.contains("meet error") => {
            let cause = |text: &str| text.rsplit("err:").next().map(str::to_owned);
            cause(a) == cause(b)
        }
        _ => a == b,
    }
}

#[test]
fn recorded_cases_agree_at_every_batch_size_and_across_snapshots() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/cases");
    let (mut agreed, mut wrong) = (0, Vec::new());
    for area in AREAS {
        let text = std::fs::read_to_string(folder.join(format!("{area}.jsonl"))).unwrap();
        for line in text.split('\n').filter(|line| !line.is_empty()) {
            let case: Json = serde_json::from_str(line).unwrap();
            match judge(&case) {
                Some(Ok(())) => agreed += 1,
                Some(Err(text)) => wrong.push(format!("{} {text}", case["id"])),
                None => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{agreed} agree, {} do not:\n{}", wrong.len(), wrong.join("\n"));
    assert!(agreed >= 400, "only {agreed} cases were run");
}
