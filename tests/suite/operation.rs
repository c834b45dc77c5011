//! What somebody who runs an engine sees and changes: metrics (`rest-api.md` 17), configuration (15), and why nothing
//! comes out of a rule.

use std::fs;
use std::time::Duration;

use serde_json::{Value as Json, json};
use thalweg_tests::instance::Instance;
use thalweg_tests::processes::Engine;
use thalweg_tests::wait;

const TICKS: &str = "CREATE STREAM ticks (a BIGINT) WITH (TYPE=\"simulator\", EXTRA='{\"data\":[{\"a\":1}],\"interval\":10}')";

/// An instance with a stream that plays rows, and `/metrics` on the management interface.
fn instance() -> Instance {
    let ports = [("KUIPER__BASIC__PROMETHEUSPORT", "0"), ("KUIPER__BASIC__RESTPORT", "0")];
    let prometheus = [("KUIPER__BASIC__PROMETHEUS", "true")];
    let instance = Instance::start(None, &[ports.as_slice(), &prometheus].concat(), |_| {});
    post(&instance, "/streams", &json!({"sql": TICKS}));
    instance
}

fn post(instance: &Instance, path: &str, body: &Json) {
    let answer = instance.call("POST", path, &[], &body.to_string());
    assert_eq!(answer.status, 201, "{path}: {}", answer.body);
}

fn status(instance: &Instance, rule: &str) -> Json {
    let answer = instance.call("GET", &format!("/rules/{rule}/status"), &[], "");
    serde_json::from_str(&answer.body).expect("it is JSON")
}

/// The value of a series.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn latencies_are_histograms_and_named_connections_have_a_gauge() {
    let instance = instance();
    post(
        &instance,
        "/rules",
        &json!({"id": "r", "sql": "SELECT a FROM ticks WHERE a > 0", "actions": [{"log": {}}]}),
    );
    post(
        &instance,
        "/connections",
        &json!({"id": "c1", "typ": "mqtt", "props": {"server": "tcp://127.0.0.1:1"}}),
    );
    let hist = "kuiper_op_process_latency_us_hist";
    let labels = "op=\"3_project\",op_instance=\"0\",rule=\"r\",type=\"op\"";
    let text = wait::until("a batch in the histogram of a node", || {
        let text = instance.call("GET", "/metrics", &[], "").body;
        let labels = if text.contains("op=\"3_project\"") { labels } else { return None };
        value(&text, &format!("{hist}_count{{{labels}}}")).filter(|count| *count > 0.0).map(|_| text)
    });
    assert!(text.contains(&format!("# TYPE {hist} histogram\n")), "{text}");
    let ends = (0..20).map(|n| (10_u64 << n).to_string()).chain(["+Inf".to_owned()]);
    let counts: Vec<f64> = ends
        .map(|end| value(&text, &format!("{hist}_bucket{{{labels},le=\"{end}\"}}")).expect("a bucket"))
        .collect();
    assert!(counts.is_sorted(), "buckets hold what is below them: {counts:?}");
    assert_eq!(counts.last().copied(), value(&text, &format!("{hist}_count{{{labels}}}")));
    assert!(value(&text, &format!("{hist}_sum{{{labels}}}")).is_some());
    let gauge = value(&text, "kuiper_conn_status_gauge{name=\"c1\"}").expect("the connection is told");
    assert!([0.0, -1.0].contains(&gauge), "nobody listens at port 1: {gauge}");
    for series in ["process_cpu_seconds_total", "process_resident_memory_bytes"] {
        assert!(value(&text, series).is_some(), "{series}");
    }
}

#[test]
fn kept_metrics_come_as_a_zip() {
    let instance = instance();
    let enabled = instance.call("PATCH", "/configs", &[], r#"{"metricsDumpConfig":{"enable":true}}"#);
    assert_eq!(enabled.all(), (204, "", ""));
    let url = format!("http://127.0.0.1:{}/metrics/dump", instance.server().port());
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let (kind, zip) = wait::until("the first sample", || {
        let mut answer = agent.get(&url).call().ok().filter(|answer| answer.status() == 200)?;
        let kind = answer.headers().get("content-type")?.to_str().ok()?.to_owned();
        Some((kind, answer.body_mut().read_to_vec().ok()?))
    });
    assert_eq!(kind, "application/octet-stream");
    assert!(zip.starts_with(b"PK") && zip.windows(11).any(|part| part == b"metrics.txt"), "{zip:?}");
}

#[test]
fn a_rule_without_output_says_how_far_its_rows_have_come() {
    let instance = instance();
    let quiet = "CREATE STREAM quiet () WITH (TYPE=\"memory\", DATASOURCE=\"hints/quiet\")";
    post(&instance, "/streams", &json!({"sql": quiet}));
    for (id, sql, cause, part) in [
        ("quiet", "SELECT * FROM quiet", "no_input", "nothing has arrived at stream quiet"),
        ("filtered", "SELECT a FROM ticks WHERE a > 5", "all_filtered", "WHERE is true for none of"),
        (
            "open",
            "SELECT count(*) AS n FROM ticks GROUP BY TUMBLINGWINDOW(hh, 10)",
            "window_open",
            "not ended yet",
        ),
        ("failed", "SELECT a + \"x\" AS b FROM ticks", "all_failed", "the last with: "),
    ] {
        post(&instance, "/rules", &json!({"id": id, "sql": sql, "actions": [{"log": {}}]}));
        let hint = wait::until(&format!("the hint of rule {id}"), || {
            let status = status(&instance, id);
            let hints = status["hints"].as_array()?;
            hints.iter().find(|hint| hint["cause"] == cause).cloned()
        });
        assert!(hint["hint"].as_str().is_some_and(|text| text.contains(part)), "{id}: {hint}");
        assert!(hint["node"].is_string() && hint["since"].is_i64() && hint["count"].is_u64(), "{id}: {hint}");
    }
    post(&instance, "/rules", &json!({"id": "well", "sql": "SELECT a FROM ticks", "actions": [{"log": {}}]}));
    wait::until_true("a rule with output to have no hints", || {
        status(&instance, "well").get("hints").is_none()
    });
}

#[test]
fn level_and_targets_of_the_log_and_the_zone_are_changed_while_the_engine_runs() {
    let home = tempfile::tempdir().expect("a folder can be made");
    let quiet = [("KUIPER__BASIC__CONSOLELOG", "false"), ("KUIPER__BASIC__FILELOG", "false")];
    let Some(engine) = Engine::start(home.path(), &quiet) else { return };
    let log = || fs::read_to_string(home.path().join("log/stream.log")).unwrap_or_default();
    let change = |body: Json| engine.api().call("PATCH", "/configs", &body.to_string()).is(204, "");
    engine.api().sql(TICKS);
    let rule = |id: &str| {
        let body = json!({
            "id": id, "sql": "SELECT a FROM ticks", "actions": [{"nop": {}}],
            "options": {"cron": "0 5 * * *", "duration": "1m"},
        });
        assert_eq!(engine.api().post("/rules", &body).status, 201);
    };
    rule("before");
    assert_eq!(log(), "");
    change(json!({"fileLog": true, "logLevel": "info"}));
    rule("loud");
    wait::until_true("a line about a rule in the file", || log().contains("loud"));
    assert!(!log().contains("before"));
    change(json!({"logLevel": "error"}));
    rule("hushed");
    change(json!({"logLevel": "info", "debug": true}));
    rule("debugged");
    wait::until_true("a line about the last rule", || log().contains("debugged"));
    assert!(!log().contains("hushed"));
    change(json!({"fileLog": false}));
    rule("unheard");
    assert!(!log().contains("unheard"));
    let next = || {
        let next = engine.api().status("loud")["nextStartTimestamp"].as_i64().expect("a time");
        Duration::from_millis(next as u64).as_secs() % 86_400
    };
    assert_eq!(next(), 5 * 3_600, "UTC");
    change(json!({"timezone": "Asia/Tokyo"}));
    assert_eq!(next(), 20 * 3_600, "five o'clock in Tokyo");
}
