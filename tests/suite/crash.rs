//! `kill -9` at any moment: what was acknowledged is there again, and state goes on from its checkpoint.

mod feeds;
mod load;
mod session;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use serde_json::{Value as Json, json};
use thalweg_tests::http::Api;
use thalweg_tests::mqtt::Mqtt;
use thalweg_tests::processes::{Engine, Mosquitto, signal};
use thalweg_tests::wait;

/// What the engine said yes to, and what it was asked last.
#[derive(Default)]
struct Asked {
    streams: Vec<String>,
    /// Rule id → every text sent for it since and including the last acknowledged one.
    rules: BTreeMap<String, Vec<String>>,
    n_acknowledged: usize,
}

/// Creates and updates until nobody answers.
fn keep_asking(api: &Api, asked: &Mutex<Asked>) {
    let lock = || asked.lock().expect("nobody panics with it");
    for round in 0.. {
        let stream = format!("s{round}");
        let sql = format!(r#"CREATE STREAM {stream} () WITH (DATASOURCE="t", TYPE="memory")"#);
        match api.try_call("POST", "/streams", &json!({ "sql": sql }).to_string()) {
            Ok(answer) => assert_eq!(answer.status, 201, "{}", answer.body),
            Err(_) => return,
        }
        lock().streams.push(stream.clone());
        lock().n_acknowledged += 1;
        // Each rule is updated a few times.
        let id = format!("r{}", round % 5);
        let text = json!({"sql": format!("SELECT {round} AS n FROM {stream}"), "actions": [{"nop": {}}]})
            .to_string();
        lock().rules.entry(id.clone()).or_default().push(text.clone());
        match api.try_call("PUT", &format!("/rules/{id}"), &text) {
            Ok(answer) => assert_eq!(answer.status, 200, "{}", answer.body),
            Err(_) => return,
        }
        lock().rules.insert(id, vec![text]);
        lock().n_acknowledged += 1;
    }
}

#[test]
fn every_acknowledged_change_is_there_after_kill_9() {
    for n_before in [3, 12, 25] {
        let home = tempfile::tempdir().expect("a temporary folder can be made");
        let Some(engine) = Engine::start(home.path(), &[]) else { return };
        let asked = Mutex::<Asked>::default();
        thread::scope(|scope| {
            scope.spawn(|| keep_asking(engine.api(), &asked));
            wait::until_true("acknowledged changes", || {
                asked.lock().is_ok_and(|asked| asked.n_acknowledged >= n_before)
            });
            signal("KILL", engine.pid());
        });
        engine.kill();
        let asked = asked.into_inner().expect("nobody panicked with it");
        let Some(engine) = Engine::start(home.path(), &[]) else { return };
        let streams = engine.api().get("/streams").json();
        let names: Vec<&str> = streams.as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        let lost: Vec<&String> =
            asked.streams.iter().filter(|name| !names.contains(&name.as_str())).collect();
        assert!(lost.is_empty(), "lost streams {lost:?} of {names:?}");
        for (id, texts) in &asked.rules {
            let found = engine.api().get(&format!("/rules/{id}"));
            // The first one was acknowledged, unless it was the last call of all.
            let may_be_missing = texts.len() == 1 && found.status == 404 && asked.n_acknowledged % 2 == 1;
            assert!(texts.contains(&found.body) || may_be_missing, "{id}: {found:?}, asked for {texts:?}");
            if found.status == 200 {
                engine.api().status_when(id, |status| status["status"] == "running");
            }
        }
    }
}

/// Waits until a checkpoint that began after this call is durable: the second one from now on.
fn checkpointed(api: &Api, rule: &str) {
    let total = |status: &Json| status["checkpoint_total"].as_u64().unwrap_or_default();
    let before = total(&api.status(rule));
    api.status_when(rule, |status| total(status) >= before + 2);
}

fn restored(sql: &str, more: &[i64], is_complete: impl Fn(&[Json]) -> bool) {
    let Some(broker) = Mosquitto::start() else { return };
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    let options = json!({"qos": 1, "checkpointInterval": "100ms"});
    engine.api().sql(&broker.stream("demo", "in", ""));
    engine.api().rule_with("r", sql, broker.action("out"), options);
    engine.api().connected("r");
    let mqtt = Mqtt::connect(broker.port(), "test");
    let message = |a: &i64| json!({ "a": a }).to_string();
    mqtt.subscribe("out").publish("in", &[message(&1), message(&2)]);
    engine.api().status_when("r", |status| {
        let mut fields = status.as_object().into_iter().flatten();
        fields.any(|(key, value)| key.ends_with("window_0_records_in_total") && *value == 2)
    });
    checkpointed(engine.api(), "r");
    engine.kill();
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    engine.api().connected("r");
    mqtt.publish("in", &more.iter().map(message).collect::<Vec<_>>());
    let complete = wait::within(wait::LIMIT, || is_complete(&mqtt.messages("out")).then_some(()));
    assert!(complete.is_some(), "{:?}; {:#}", mqtt.messages("out"), engine.api().status("r"));
}

#[test]
fn r7_6_a_count_window_goes_on_from_its_checkpoint() {
    let sql = "SELECT count(*) AS n, sum(a) AS total FROM demo GROUP BY COUNTWINDOW(4)";
    restored(sql, &[4, 8], |rows| rows == [json!({"n": 4, "total": 15})]);
}

#[test]
fn r7_6_a_tumbling_window_goes_on_from_its_checkpoint() {
    let sql = "SELECT collect(a) AS parts FROM demo GROUP BY TUMBLINGWINDOW(ss, 4)";
    // Its end may pass in between; every reading is in some window.
    restored(sql, &[4], |rows| {
        let parts = rows.iter().flat_map(|row| row["parts"].as_array().cloned().unwrap_or_default());
        let parts: Vec<Json> = parts.collect();
        [1, 2, 4].iter().all(|a| parts.contains(&json!(a)))
    });
}
