//! Many rules made, listed and removed, by one caller and by several at once. `THALWEG_CYCLE_RULES=5000` says how many;
//! `cargo xtask test rest` does so and shows time and memory.

use std::fs;
use std::io::Write;
use std::thread;
use std::time::Instant;

use serde_json::{Value as Json, json};
use thalweg_tests::http::Api;
use thalweg_tests::processes::Engine;

/// How many rules where nobody says.
const FEW: usize = 200;

/// Cycles: what piles up is seen in the second.
const CYCLES: usize = 2;

fn n_rules() -> usize {
    std::env::var("THALWEG_CYCLE_RULES").ok().and_then(|n| n.parse().ok()).unwrap_or(FEW)
}

/// Resident memory in KiB.
fn memory(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).expect("Linux tells it")
}

/// Runs a step and tells what it took.
fn step(what: &str, engine: &Engine, n: usize, run: impl FnOnce(&Api)) {
    let before = Instant::now();
    run(engine.api());
    let (took, mib) = (before.elapsed(), memory(engine.pid()) / 1024);
    let each = took.as_secs_f64() * 1e3 / n as f64;
    let _ = writeln!(std::io::stderr(), "{what:<8} {n} rules: {took:.2?}, {each:.2} ms each, {mib} MiB");
}

fn cycle(engine: &Engine, n: usize) {
    step("create", engine, n, |api| {
        for index in 0..n {
            api.rule(&format!("cycle{index}"), "SELECT a FROM cycled WHERE a > 1", json!({"nop": {}}));
        }
    });
    step("list", engine, n, |api| {
        let answer = api.get("/rules");
        assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/json"));
        assert_eq!(answer.json().as_array().map(Vec::len), Some(n));
    });
    step("status", engine, n, |api| {
        let answer = api.get("/rules/status/all").json();
        let all = answer.as_object().expect("an object");
        assert_eq!(all.len(), n);
        assert!(all.values().all(|rule| rule["status"] == "running"), "{:?}", all.values().next());
    });
    step("delete", engine, n, |api| {
        for index in 0..n {
            let id = format!("cycle{index}");
            api.call("DELETE", &format!("/rules/{id}"), "").is(200, &format!("Rule {id} is dropped."));
        }
    });
    assert_eq!(engine.api().get("/rules").json(), json!([]));
}

#[test]
fn thousands_of_rules_come_and_go_and_leave_nothing() {
    let home = tempfile::tempdir().expect("a folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    engine.api().sql(r#"CREATE STREAM cycled () WITH (DATASOURCE="cycled/in", TYPE="memory")"#);
    let n = n_rules();
    let mut left = Vec::new();
    for _ in 0..CYCLES {
        cycle(&engine, n);
        left.push(memory(engine.pid()));
    }
    // What the allocator keeps is used again: a second cycle needs nothing like the first one's memory once more.
    assert!(left[1] < left[0] * 3 / 2 + 32 * 1024, "{left:?} KiB after the cycles");
    let sql = engine.api().call("DELETE", "/streams/cycled", "");
    sql.is(200, "Stream cycled is dropped.");
}

#[test]
fn callers_that_make_and_remove_the_same_rule_get_answers() {
    // Issue 6, "bad input": concurrent create and delete of one id.
    const CALLERS: usize = 4;
    const ROUNDS: usize = 25;
    let home = tempfile::tempdir().expect("a folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    let api = engine.api();
    api.sql(r#"CREATE STREAM fought () WITH (DATASOURCE="fought/in", TYPE="memory")"#);
    let rule = json!({"id": "same", "sql": "SELECT * FROM fought", "actions": [{"nop": {}}]});
    let (made, missing) = ("Rule same was created successfully.", "rule same not found");
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let rule = &rule;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let answer = match (caller + round) % 3 {
                        0 => api.post("/rules", rule),
                        1 => api.call("PUT", "/rules/same", &rule.to_string()),
                        _ => api.call("DELETE", "/rules/same", ""),
                    };
                    let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
                    let is_known = match answer.status {
                        201 => answer.body == made,
                        200 => ["Rule same is dropped.", "Rule same was updated successfully."]
                            .contains(&&*answer.body),
                        400 => message.contains("already exists") || message.contains(missing),
                        404 => message.contains("is not found"),
                        _ => false,
                    };
                    assert!(is_known, "{} {}", answer.status, answer.body);
                }
            });
        }
    });
    // Whoever was last, the id is as good as new.
    api.call("DELETE", "/rules/same", "");
    assert_eq!(api.get("/rules").json(), Json::Array(Vec::new()));
    api.post("/rules", &rule).is(201, made);
    api.status_when("same", |status| status["status"] == "running");
}
