//! Every recorded case that upstream accepts must plan, every one that it refuses when the rule is created must be
//! refused.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod support;

use std::path::Path;

use serde_json::Value as Json;
use support::World;
use thalweg_core::Diagnostic;
use thalweg_plan::{Plan, PlanOptions, plan};
use thalweg_sql::parse_query;

/// Cases that do not behave so, and why.
const KNOWN: &[(&str, &str)] =
    &[("result-shape-028", "the sink's template is wrong, which is not the planner's business")];

#[test]
fn recorded_cases_plan_or_are_refused_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/cases");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut wrong, mut n_cases) = (Vec::new(), 0);
    for file in files {
        for line in std::fs::read_to_string(file).unwrap().lines().filter(|line| !line.trim().is_empty()) {
            let case: Json = serde_json::from_str(line).unwrap();
            if case["expect"]["stage"] == "stream" {
                continue;
            }
            n_cases += 1;
            wrong.extend(check(&case));
        }
    }
    assert!(n_cases > 1_000, "{n_cases}");
    assert!(wrong.is_empty(), "{} of {n_cases}:\n{}", wrong.len(), wrong.join("\n"));
}

fn check(case: &Json) -> Option<String> {
    let id = case["id"].as_str().unwrap();
    let sql = case["sql"].as_str().unwrap();
    let known = KNOWN.iter().any(|(known, _)| *known == id);
    if is_unchecked(case) {
        return None;
    }
    let outcome = outcome(case, sql);
    let is_as_recorded = (case["expect"]["create"] == 201) == outcome.is_ok();
    let text = match &outcome {
        Ok(_) => "planned".to_owned(),
        Err(mistakes) => mistakes.iter().map(|mistake| mistake.render(sql)).collect::<Vec<_>>().join(" | "),
    };
    match (known, is_as_recorded) {
        (false, true) | (true, false) => None,
        (false, false) => Some(format!("{id}: {sql}\n    {text}, recorded {}", case["expect"]["create"])),
        (true, true) => Some(format!("{id} behaves as recorded now, take it off the list")),
    }
}

/// Whether the case is about the arguments of a function that the table does not have yet.
fn is_unchecked(case: &Json) -> bool {
    let error = case["expect"]["error"].as_str().unwrap_or_default();
    let Some((_, rest)) = error.split_once("validate function ") else { return false };
    thalweg_expr::registry::builtin(rest.split(' ').next().unwrap_or_default()).is_none()
}

fn outcome(case: &Json, sql: &str) -> Result<Plan, Vec<Diagnostic>> {
    let mut world = World::new();
    for stream in case["streams"].as_array().unwrap() {
        let text = |key: &str| stream[key].as_str().unwrap_or_default();
        let statement = match text("ddl") {
            "" => create(stream),
            ddl => ddl.replace("{name}", text("name")),
        };
        world.create(&statement)?;
    }
    let option = |name: &str| &case["options"][name];
    let options = PlanOptions {
        event_time: option("isEventTime") == true,
        send_meta: option("sendMetaToSink") == true,
        send_nil: option("sendNilField") == true,
        ..PlanOptions::default()
    };
    plan(&parse_query(sql)?, &options, &world)
}

fn create(stream: &Json) -> String {
    let options: Vec<String> = stream["with"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", Json::from(value.as_str().unwrap())))
        .collect();
    format!(
        "CREATE {} {} ({}) WITH ({})",
        stream["kind"].as_str().unwrap_or("STREAM"),
        stream["name"].as_str().unwrap(),
        stream["columns"].as_str().unwrap_or_default(),
        options.join(", ")
    )
}
