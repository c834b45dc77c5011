//! `kill -9` of a plugin and of the engine under load: a source that remembers, a sink that acknowledges, state between
//! them (`portable-plugins.md` 12.7, 12.8).
//!
//! The source counts without end, as fast as the sinks let it. Results may be repeated after a crash (R7.9), but none
//! may be missing, and whatever a rule of `qos` 2 says must follow from each number counted exactly once (R7.3).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};
use thalweg_tests::http::Api;
use thalweg_tests::plugins::flow;
use thalweg_tests::processes::{Engine, python, signal};
use thalweg_tests::wait;

/// What a sink has written, one result a line; a kill may tear one.
fn results(path: &Path) -> Vec<Json> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn int(row: &Json, name: &str) -> i64 {
    row[name].as_f64().map_or(-1, |number| number as i64)
}

/// The numbers that are out.
fn numbers(path: &Path) -> BTreeSet<i64> {
    results(path).iter().map(|row| int(row, "i")).collect()
}

/// The windows of ten that are out. Each must hold ten numbers in a row that begin where a window does.
fn windows(path: &Path) -> BTreeSet<i64> {
    let window = |row: &Json| {
        let first = (int(row, "s") - 45) / 10;
        let is_right = int(row, "n") == 10 && first * 10 + 45 == int(row, "s") && first % 10 == 0;
        assert!(is_right, "not ten numbers in a row, each once: {row}");
        first / 10
    };
    results(path).iter().map(window).collect()
}

/// The first and last of what is missing in between, from 0 on.
fn gaps(found: &BTreeSet<i64>) -> Vec<(i64, i64)> {
    let mut next = 0;
    let mut gaps = Vec::new();
    for number in found {
        if *number > next {
            gaps.push((next, number - 1));
        }
        next = number + 1;
    }
    assert!(next > 0, "there are results");
    gaps
}

/// Waits until both rules have written something further.
fn progress(api: &Api, out: &[std::path::PathBuf; 2], rules: &[String; 2]) {
    let len = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
    for (path, rule) in out.iter().zip(rules) {
        let before = len(path);
        let further = wait::within(wait::LIMIT, || (len(path) > before + 2_000).then_some(()));
        assert!(further.is_some(), "no further results in {}: {:#}", path.display(), api.status(rule));
    }
}

fn plugin_status(api: &Api, name: &str) -> Json {
    api.get(&format!("/plugins/portables/{name}/status")).json()
}

/// Kills the plugin's process, once it runs.
fn kill_plugin(api: &Api, name: &str) {
    let pid = wait::until("the plugin's process", || {
        let status = plugin_status(api, name);
        (status["status"] == "running").then(|| status["pid"].as_u64()).flatten()
    });
    signal("KILL", u32::try_from(pid).expect("a process id is small"));
    wait::until_true("the end of the plugin's process to be noticed", || {
        plugin_status(api, name)["pid"].as_u64() != Some(pid)
    });
}

#[test]
fn nothing_is_lost_and_nothing_counts_twice_when_plugin_and_engine_are_killed_under_load() {
    if python().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let home = folder.path().join("home");
    fs::create_dir(&home).expect("the folder is ours");
    let out = ["all", "tens"].map(|name| folder.path().join(name));
    let Some(engine) = Engine::start(&home, &[]) else { return };
    let api = engine.api();
    let name = flow(api, folder.path());
    api.sql(&format!(
        r#"CREATE STREAM s () WITH (TYPE="{name}_walk", FORMAT="json", EXTRA="{{\"count\":-1,\"many\":7}}")"#
    ));
    let action = |path: &Path| {
        let props = json!({"path": path.display().to_string(), "requireAck": true, "sendSingle": true});
        Json::Object([(format!("{name}_keep"), props)].into_iter().collect())
    };
    // Names of sockets.
    let rules = ["all", "tens"].map(|rule| format!("{name}{rule}"));
    let options = |qos: i64| json!({"qos": qos, "checkpointInterval": "100ms"});
    api.rule_with(&rules[0], "SELECT i FROM s", action(&out[0]), options(1));
    let tens = "SELECT count(*) AS n, sum(i) AS s FROM s GROUP BY COUNTWINDOW(10)";
    api.rule_with(&rules[1], tens, action(&out[1]), options(2));
    for _ in 0..2 {
        progress(api, &out, &rules);
        kill_plugin(api, &name);
    }
    progress(api, &out, &rules);
    // All of it can be seen.
    let status = plugin_status(api, &name);
    assert!(status["restarts"].as_u64() >= Some(2), "{status:#}");
    assert_eq!(status["lastExit"], "signal 9", "{status:#}");
    let status = api.status_when(&rules[0], |status| {
        let text = |end: &str| {
            let mut fields = status.as_object().into_iter().flatten();
            fields.any(|(key, value)| {
                key.ends_with("_last_exception") && value.as_str().is_some_and(|text| text.contains(end))
            })
        };
        text("ended (signal 9) and was started again")
    });
    assert_eq!(status["status"], "running");
    engine.kill();

    let Some(engine) = Engine::start(&home, &[]) else { return };
    progress(engine.api(), &out, &rules);
    kill_plugin(engine.api(), &name);
    progress(engine.api(), &out, &rules);
    for rule in &rules {
        let status = engine.api().status(rule);
        let fields = status.as_object().into_iter().flatten();
        for (key, value) in fields.filter(|(key, _)| key.ends_with("_dropped_total")) {
            assert_eq!(value, 0, "{key} of {rule}: {status:#}");
        }
    }
    engine.terminate();

    assert_eq!(gaps(&numbers(&out[0])), [] as [(i64, i64); 0], "missing numbers");
    assert_eq!(gaps(&windows(&out[1])), [] as [(i64, i64); 0], "missing windows");
}
