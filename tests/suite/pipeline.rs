//! The main job on real input: mosquitto → stream → rule → mosquitto, with Python in between, and what goes wrong there.

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use thalweg_tests::compare::agree;
use thalweg_tests::http::Api;
use thalweg_tests::mqtt::Mqtt;
use thalweg_tests::plugins::{VibrationCopy, echo, misbehaving};
use thalweg_tests::processes::{Engine, Mosquitto, is_alive, python, python_with_sdk, signal};
use thalweg_tests::wait;

/// A broker, a client of it, and an engine.
pub(crate) struct Plant {
    pub(crate) mqtt: Mqtt,
    engine: Engine,
    pub(crate) broker: Mosquitto,
    home: TempDir,
}

impl Plant {
    pub(crate) fn start(variables: &[(&str, &str)]) -> Option<Self> {
        let broker = Mosquitto::start()?;
        let home = tempfile::tempdir().expect("a temporary folder can be made");
        let engine = Engine::start(home.path(), variables)?;
        let mqtt = Mqtt::connect(broker.port(), "test");
        mqtt.subscribe("out/#");
        Some(Self { mqtt, engine, broker, home })
    }

    pub(crate) fn api(&self) -> &Api {
        self.engine.api()
    }

    /// Stream `demo` of topic `in`.
    pub(crate) fn with_demo(variables: &[(&str, &str)]) -> Option<Self> {
        let plant = Self::start(variables)?;
        plant.api().sql(&plant.broker.stream("demo", "in", ""));
        Some(plant)
    }

    /// A rule whose results go to `out/<id>`; returns when it is connected.
    pub(crate) fn rule(&self, id: &str, sql: &str) {
        self.api().rule(id, sql, self.broker.action(&format!("out/{id}")));
        self.api().connected(id);
    }
}

pub(crate) fn readings(range: std::ops::Range<i64>) -> Vec<String> {
    range.map(|a| format!(r#"{{"a":{a},"text":"x"}}"#)).collect()
}

/// The sum of the counters whose keys begin and end so.
pub(crate) fn count(status: &Json, begin: &str, end: &str) -> u64 {
    let fields = status.as_object().into_iter().flatten();
    let wanted = fields.filter(|(key, _)| key.starts_with(begin) && key.ends_with(end));
    wanted.filter_map(|(_, value)| value.as_u64()).sum()
}

#[test]
fn r8_7_messages_pass_a_filter_in_order_and_every_node_counts_them() {
    let Some(plant) = Plant::with_demo(&[]) else { return };
    plant.rule("r", "SELECT a, a * 2 AS twice FROM demo WHERE a >= 3");
    plant.mqtt.publish("in", &readings(0..5));
    let want = [json!({"a": 3, "twice": 6}), json!({"a": 4, "twice": 8})];
    assert_eq!(plant.mqtt.expect("out/r", 2), want);
    let status = plant.api().status_when("r", |status| count(status, "sink_mqtt", "_records_out_total") == 2);
    let figures = [
        ("source_demo_0_records_in_total", 5),
        ("source_demo_0_records_out_total", 5),
        ("op_2_decoder_0_records_in_total", 5),
        ("op_3_filter_0_records_in_total", 5),
        ("op_3_filter_0_records_out_total", 2),
        ("op_4_project_0_records_in_total", 2),
        ("op_4_project_0_records_out_total", 2),
        ("sink_mqtt_0_0_records_in_total", 2),
        ("sink_mqtt_0_0_connection_status", 1),
    ];
    for (key, value) in figures {
        assert_eq!(status[key], value, "{key}: {status:#}");
    }
    assert_eq!((&status["status"], &status["health"]), (&json!("running"), &json!("ok")), "{status:#}");
    plant.mqtt.publish("in", &readings(10..1_010));
    let all = plant.mqtt.expect("out/r", 1_002);
    let numbers: Vec<i64> = all.iter().filter_map(|row| row["a"].as_i64()).collect();
    assert!(numbers.is_sorted() && numbers.len() == 1_002, "{numbers:?}");
}

/// A window of four readings through the example plugin.
fn python_aggregate(variables: &[(&str, &str)], is_published: bool) {
    let Some(plant) = Plant::with_demo(variables) else { return };
    let vibration = VibrationCopy::new();
    vibration.install(plant.api(), plant.home.path());
    plant.rule(
        "vib",
        &format!(
            "SELECT pump, {}(x) AS rms, count(*) AS n FROM demo GROUP BY pump, COUNTWINDOW(4) ORDER BY pump",
            vibration.rms
        ),
    );
    let readings = [("p1", 3.0), ("p2", 2.0), ("p1", -3.0), ("p2", -2.0)];
    plant.mqtt.publish("in", &readings.map(|(pump, x)| json!({"pump": pump, "x": x}).to_string()));
    let rows = plant.mqtt.expect("out/vib", 2);
    let want = [json!({"pump": "p1", "rms": 3, "n": 2}), json!({"pump": "p2", "rms": 2, "n": 2})];
    assert!(agree(&want, &rows, false), "{rows:?}");
    let status = plant.api().get(&format!("/plugins/portables/{}/status", vibration.name)).json();
    let pid = status["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a process runs");
    assert_eq!(status["status"], "running", "{status}");
    // The published SDK loads the library nng; ours is nothing but Python.
    let loaded = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process runs");
    assert_eq!(loaded.contains("nng"), is_published);
    assert!(plant.engine.terminate().success(), "SIGTERM is no failure");
    wait::until_true("the end of the plugin's process", || !is_alive(pid));
}

#[test]
fn a_python_aggregate_runs_with_the_bundled_sdk_and_ends_with_the_engine() {
    if python().is_some() {
        python_aggregate(&[], false);
    }
}

#[test]
fn a_python_aggregate_runs_with_the_published_sdk() {
    let Some(interpreter) = python_with_sdk() else { return };
    let interpreter = interpreter.to_string_lossy();
    let variables =
        [("KUIPER__PORTABLE__PYTHONBIN", interpreter.as_ref()), ("KUIPER__PORTABLE__USEBUNDLEDSDK", "false")];
    python_aggregate(&variables, true);
}

/// Rows of a Python source, through a Python function, to a Python sink.
fn python_at_every_end(variables: &[(&str, &str)]) {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(engine) = Engine::start(home.path(), variables) else { return };
    let name = echo(engine.api(), home.path());
    engine.api().sql(&format!(
        r#"CREATE STREAM counted () WITH (TYPE="{name}_count", DATASOURCE="here", FORMAT="json")"#
    ));
    let file = home.path().join("lines");
    let sql = format!("SELECT {name}_echo(i) AS i, datasource FROM counted");
    let action = json!({format!("{name}_lines"): {"path": file, "sendSingle": true}});
    // No rule of another engine may have this id: it is part of the socket's name.
    engine.api().rule(&format!("r{name}"), &sql, action);
    let lines = wait::until("three lines", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        (text.lines().count() >= 3).then_some(text)
    });
    let rows: Vec<Json> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let want = [0, 1, 2].map(|i| json!({"i": i, "datasource": "here"}));
    assert!(agree(&want, &rows, false), "{lines}");
    assert!(engine.terminate().success());
}

#[test]
fn python_sources_functions_and_sinks_work_together_with_the_bundled_sdk() {
    if python().is_some() {
        python_at_every_end(&[]);
    }
}

#[test]
fn python_sources_functions_and_sinks_work_together_with_the_published_sdk() {
    let Some(interpreter) = python_with_sdk() else { return };
    let interpreter = interpreter.to_string_lossy();
    python_at_every_end(&[
        ("KUIPER__PORTABLE__PYTHONBIN", interpreter.as_ref()),
        ("KUIPER__PORTABLE__USEBUNDLEDSDK", "false"),
    ]);
}

#[test]
fn time_windows_of_a_python_aggregate_close_without_further_messages() {
    if python().is_none() {
        return;
    }
    let Some(plant) = Plant::with_demo(&[]) else { return };
    let vibration = VibrationCopy::new();
    vibration.install(plant.api(), plant.home.path());
    let sql = "SELECT vib_rms(x) AS rms, count(*) AS n FROM demo GROUP BY TUMBLINGWINDOW(ss, 1)";
    plant.rule("vib", &sql.replace("vib_rms", &vibration.rms));
    plant.mqtt.publish("in", &[r#"{"x":1.5}"#, r#"{"x":-1.5}"#, r#"{"x":1.5}"#]);
    // A window may end between two of them; empty windows are results too (W-6).
    let rows = wait::until("three readings in windows", || {
        let rows = plant.mqtt.messages("out/vib");
        (rows.iter().filter_map(|row| row["n"].as_u64()).sum::<u64>() == 3).then_some(rows)
    });
    assert!(rows.iter().all(|row| row["n"] == 0 || row["rms"] == 1.5), "{rows:?}");
}

#[test]
fn two_rules_on_a_shared_stream_read_and_decode_it_once() {
    let Some(plant) = Plant::start(&[]) else { return };
    plant.api().sql(&plant.broker.stream("demo", "in", r#", SHARED="true""#));
    plant.rule("r1", "SELECT a FROM demo WHERE a > 1");
    plant.rule("r2", "SELECT text FROM demo WHERE a = 1");
    let mut payloads = readings(0..3);
    payloads.insert(1, "{".to_owned());
    plant.mqtt.publish("in", &payloads);
    assert_eq!(plant.mqtt.expect("out/r1", 1), [json!({"a": 2})]);
    assert_eq!(plant.mqtt.expect("out/r2", 1), [json!({"text": "x"})]);
    // Both rules show the one source: four messages came, and the wrong one was decoded and counted once.
    for rule in ["r1", "r2"] {
        let status = plant
            .api()
            .status_when(rule, |status| status["source_demo_0_records_in_total"].as_u64() >= Some(4));
        assert_eq!(status["source_demo_0_records_in_total"], 4, "{status:#}");
        assert_eq!(count(&status, "op_demo_2_decoder", "_dropped_decode_total"), 1, "{status:#}");
    }
}

#[test]
fn status_and_usage_tell_the_memory_of_a_rule_and_what_its_decoder_has_learned() {
    let Some(plant) = Plant::with_demo(&[]) else { return };
    plant.rule("r", "SELECT text, count(*) AS n FROM demo GROUP BY text, COUNTWINDOW(500)");
    let payloads: Vec<String> = (0..400).map(|a| format!(r#"{{"a":{a},"text":"t{a}"}}"#)).collect();
    plant.mqtt.publish("in", &payloads);
    let read = |status: &Json| {
        count(status, "op_2_decoder", "_decoded_by_shape_total")
            + count(status, "op_2_decoder", "_decoded_by_walker_total")
    };
    let status = plant.api().status_when("r", |status| read(status) == 400);
    assert_eq!(count(&status, "op_2_decoder", "_learned_shapes"), 1, "{status:#}");
    assert!(count(&status, "op_2_decoder", "_decoded_by_shape_total") > 300, "{status:#}");
    let part = |name: &str| status[format!("memory_{name}bytes")].as_u64().expect("bytes are a number");
    assert_eq!(part(""), part("state_") + part("queue_") + part("record_"), "{status:#}");
    assert!(part("state_") > 400 * 8, "400 rows wait in the window: {status:#}");
    let usage = plant.api().get("/rules/usage/memory").json();
    assert!(usage["r"].as_u64().is_some_and(|bytes| bytes >= part("state_")), "{usage:#}");
}

#[test]
fn prometheus_scrapes_rules_nodes_and_drops_in_its_format() {
    // Where the ports are equal, `/metrics` is on the management interface (rest-api.md 17).
    let port = [("KUIPER__BASIC__PROMETHEUS", "true"), ("KUIPER__BASIC__PROMETHEUSPORT", "0")];
    let Some(plant) = Plant::with_demo(&port) else { return };
    plant.rule("r", "SELECT a FROM demo WHERE a > 1");
    plant.mqtt.publish("in", &["no json", r#"{"a":1}"#, r#"{"a":2}"#]);
    assert_eq!(plant.mqtt.expect("out/r", 1), [json!({"a": 2})]);
    plant.api().status_when("r", |status| count(status, "sink_mqtt", "_records_out_total") == 1);
    let text = plant.api().get("/metrics").body;
    for line in [
        "kuiper_rule_status{rule=\"r\"} 1",
        "kuiper_rule_count{status=\"running\"} 1",
        "kuiper_source_records_in_total{op=\"demo\",op_instance=\"0\",rule=\"r\",type=\"source\"} 3",
        "kuiper_source_connection_status{op=\"demo\",op_instance=\"0\",rule=\"r\",type=\"source\"} 1",
        "kuiper_op_records_out_total{op=\"3_filter\",op_instance=\"0\",rule=\"r\",type=\"op\"} 1",
        "thalweg_dropped_total{rule=\"r\",node=\"op_2_decoder\",cause=\"decode\"} 1",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is missing in\n{text}");
    }
    let is_sound = |line: &str| {
        line.starts_with("# ") || line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok())
    };
    assert!(text.lines().all(is_sound), "{text}");
}

#[test]
fn a_broker_that_comes_late_and_goes_away_costs_no_rule() {
    let Some(mut broker) = Mosquitto::prepared() else { return };
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(mut engine) = Engine::start(home.path(), &[]) else { return };
    engine.api().sql(&broker.stream("demo", "in", ""));
    engine.api().rule("r", "SELECT a FROM demo", broker.action("out/r"));
    let status = engine.api().status_when("r", |status| status["health"] == "failing");
    assert_eq!(status["status"], "running", "{status:#}");
    for round in 0..2 {
        broker.run();
        engine.api().connected("r");
        let mqtt = Mqtt::connect(broker.port(), "test");
        mqtt.subscribe("out/#").publish("in", &readings(round..round + 1));
        assert_eq!(mqtt.expect("out/r", 1), [json!({"a": round})]);
        engine.api().status_when("r", |status| status["health"] != "failing");
        broker.kill();
        let status = engine.api().status_when("r", |status| status["source_demo_0_connection_status"] != 1);
        assert_eq!(status["status"], "running", "{status:#}");
        assert_ne!(status["source_demo_0_connection_last_disconnected_message"], "", "{status:#}");
    }
    assert!(engine.is_alive());
}

#[test]
fn what_is_no_json_is_counted_and_named_while_the_rule_runs_on() {
    let Some(plant) = Plant::with_demo(&[]) else { return };
    plant.rule("r", "SELECT a FROM demo");
    plant.mqtt.publish("in", &["no json", r#"{"a":1}"#, "[1,2", "", "\u{feff}{", r#"{"a":2}"#]);
    assert_eq!(plant.mqtt.expect("out/r", 2), [json!({"a": 1}), json!({"a": 2})]);
    let status =
        plant.api().status_when("r", |status| count(status, "op_2_decoder", "_dropped_decode_total") == 4);
    assert_eq!((&status["status"], &status["health"]), (&json!("running"), &json!("degraded")), "{status:#}");
    let reasons = status["health_reasons"].as_array().cloned().unwrap_or_default();
    assert!(reasons.iter().any(|reason| reason["cause"] == "decode"), "{status:#}");
    assert_ne!(status["op_2_decoder_0_last_exception"], "", "{status:#}");
}

#[test]
fn a_killed_plugin_is_started_again_and_its_rule_goes_on() {
    if python().is_none() {
        return;
    }
    let Some(plant) = Plant::with_demo(&[]) else { return };
    let bad = misbehaving(plant.api(), plant.home.path());
    plant.rule("r", &format!("SELECT {bad}_do(\"pid\", a) AS pid FROM demo"));
    let pid = || {
        let rows = plant.mqtt.messages("out/r");
        rows.last().and_then(|row| row["pid"].as_u64()).and_then(|pid| u32::try_from(pid).ok())
    };
    plant.mqtt.publish("in", &readings(0..1));
    plant.mqtt.expect("out/r", 1);
    let first = pid().expect("the function answers");
    let status = plant.api().get(&format!("/plugins/portables/{bad}/status")).json();
    assert_eq!(status["pid"], first, "{status}");
    signal("KILL", first);
    // Calls in between fail, and are counted.
    wait::until_true("another process", || {
        plant.mqtt.publish("in", &readings(1..2));
        pid().is_some_and(|pid| pid != first)
    });
    let status = plant.api().get(&format!("/plugins/portables/{bad}/status")).json();
    assert_eq!((&status["status"], &status["restarts"]), (&json!("running"), &json!(1)), "{status}");
    assert_eq!(plant.api().status("r")["status"], "running");
    // What its processes have printed (rest-api.md 11.1).
    let logs = plant.api().get(&format!("/plugins/portables/{bad}/logs?lines=5")).json();
    assert!(logs["lines"].as_array().is_some_and(|lines| lines.len() <= 5), "{logs}");
    assert_eq!(logs["suppressedLines"], 0, "{logs}");
}

#[test]
fn a_hanging_plugin_hits_its_limit_while_another_rule_runs() {
    if python().is_none() {
        return;
    }
    let Some(plant) = Plant::with_demo(&[("KUIPER__PORTABLE__RECVTIMEOUT", "4000")]) else { return };
    let bad = misbehaving(plant.api(), plant.home.path());
    let file = plant.home.path().join("until-this-is-removed");
    std::fs::write(&file, "").expect("the home is ours");
    plant.api().sql(&plant.broker.stream("other", "other", ""));
    let sql = format!("SELECT {bad}_do(\"hang\", \"{}\") AS x FROM demo", file.display());
    plant.rule("hangs", &sql);
    plant.rule("runs", "SELECT a FROM other");
    plant.rule("beside", "SELECT a FROM demo");
    plant.mqtt.publish("in", &readings(0..1));
    plant.mqtt.publish("other", &readings(0..100));
    plant.mqtt.expect("out/runs", 100);
    plant.mqtt.expect("out/beside", 1);
    let hanging = plant.api().status("hangs");
    assert_eq!(count(&hanging, "op_", "_exceptions_total"), 0, "the others did not wait: {hanging:#}");
    // Its own rule says what is wrong (portable-plugins.md 9.1); the others are well.
    let is_hung = |reason: &Json| {
        reason["cause"] == "plugin_hung" && reason["hint"].as_str().is_some_and(|hint| hint.contains(&bad))
    };
    let status = plant.api().status_when("hangs", |status| {
        status["health_reasons"].as_array().is_some_and(|reasons| reasons.iter().any(is_hung))
    });
    assert_eq!(status["health"], "failing", "{status:#}");
    for other in ["runs", "beside"] {
        assert_eq!(plant.api().status(other)["health"], "ok");
    }
    let status = plant.api().status_when("hangs", |status| count(status, "op_", "_exceptions_total") >= 1);
    let fields = status.as_object().into_iter().flatten();
    let mut errors = fields.filter(|(key, _)| key.ends_with("_last_exception")).map(|(_, value)| value);
    assert!(errors.any(|error| error.as_str().is_some_and(|text| text.contains(&bad))), "{status:#}");
    assert_eq!(status["status"], "running", "{status:#}");
    std::fs::remove_file(&file).expect("it is there");
    plant.mqtt.publish("in", &readings(1..2));
    plant.mqtt.expect("out/hangs", 1);
}

#[test]
fn engines_run_side_by_side_on_one_machine_and_broker() {
    let Some(broker) = Mosquitto::start() else { return };
    let homes = [(); 3].map(|()| tempfile::tempdir().expect("a temporary folder can be made"));
    let mqtt = Mqtt::connect(broker.port(), "test");
    mqtt.subscribe("out/#");
    let mut engines = Vec::new();
    for (n, home) in homes.iter().enumerate() {
        let Some(engine) = Engine::start(home.path(), &[]) else { return };
        engine.api().sql(&broker.stream("demo", "in", ""));
        let sql = format!("SELECT a, {n} AS engine FROM demo");
        engine.api().rule("r", &sql, broker.action(&format!("out/{n}")));
        engine.api().connected("r");
        if python().is_some() {
            VibrationCopy::new().install(engine.api(), home.path());
        }
        engines.push(engine);
    }
    mqtt.publish("in", &readings(7..8));
    for n in 0..engines.len() {
        assert_eq!(mqtt.expect(&format!("out/{n}"), 1), [json!({"a": 7, "engine": n})]);
    }
    for engine in engines {
        assert!(engine.terminate().success());
    }
}

#[test]
fn r4_6_a_rule_on_a_file_ends_with_it() {
    let Some(plant) = Plant::start(&[]) else { return };
    let file = plant.home.path().join("readings.jsonl");
    std::fs::write(&file, readings(0..1_000).join("\n")).expect("the home is ours");
    let folder = plant.home.path().display();
    plant.api().sql(&format!(
        r#"CREATE STREAM recorded () WITH (TYPE="file", DATASOURCE="readings.jsonl", EXTRA="{{\"fileType\":\"lines\",\"path\":\"{folder}\"}}")"#
    ));
    let sql = "SELECT a FROM recorded WHERE a % 10 = 0";
    plant.api().rule("r", sql, plant.broker.action("out/r"));
    let status = plant.api().status_when("r", |status| status["status"] == "stopped");
    assert_eq!(status["message"], "done", "{status:#}");
    assert_eq!(plant.mqtt.expect("out/r", 100).len(), 100);
    assert_eq!(plant.api().get("/rules/r").json()["triggered"], false);
}

#[test]
fn e4_late_rows_reach_actions_of_their_own_and_are_counted_where_there_are_none() {
    let Some(plant) = Plant::start(&[]) else { return };
    plant.api().sql(&plant.broker.stream("demo", "in", r#", TIMESTAMP="ts""#));
    let sql = "SELECT a FROM demo WHERE a > 0";
    let event_time = json!({"isEventTime": true, "lateTolerance": 0});
    plant.api().rule_with("drops", sql, plant.broker.action("out/drops"), event_time.clone());
    let mut options = event_time;
    options["lateData"] = json!([plant.broker.action("out/late/{{.id}}")]);
    plant.api().rule_with("keeps", sql, plant.broker.action("out/keeps"), options.clone());
    ["drops", "keeps"].iter().for_each(|rule| plant.api().connected(rule));
    plant
        .mqtt
        .publish("in", &[r#"{"a":1,"ts":2000}"#, r#"{"id":"x","a":0,"ts":500}"#, r#"{"a":2,"ts":3000}"#]);
    for rule in ["drops", "keeps"] {
        assert_eq!(plant.mqtt.expect(&format!("out/{rule}"), 2), [json!({"a": 1}), json!({"a": 2})]);
    }
    let late = [json!({"__late_ms": 1_500, "a": 0, "id": "x", "ts": 500})];
    assert_eq!(plant.mqtt.expect("out/late/x", 1), late);
    let sent = "sink_late_mqtt_0_0_records_out_total";
    let keeps = plant.api().status_when("keeps", |status| status[sent] == 1);
    assert_eq!(count(&keeps, "op_", "_dropped_late_total"), 0, "{keeps:#}");
    let drops = plant.api().status("drops");
    assert_eq!(count(&drops, "op_", "_dropped_late_total"), 1, "{drops:#}");
    let topology = plant.api().get("/rules/keeps/topo").json();
    let after = topology["edges"]["op_4_watermark"].to_string();
    assert!(after.contains("op_late_mqtt_0_0_transform"), "{topology:#}");
    options["lateData"] = json!([{"nosuch": {}}]);
    let rule = json!({"id": "wrong", "sql": sql, "actions": [{"nop": {}}], "options": options});
    let refused = plant.api().post("/rules", &rule);
    assert!(refused.body.contains("lateData: sink nosuch is not defined"), "{}", refused.body);
}
