//! The dashboard in `etc/grafana` asks for metrics and labels that the engine really exports, and Prometheus' example for
//! the port that it really has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use thalweg_tests::instance::Instance;
use thalweg_tests::wait;

fn etc(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc").join(name)
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// All texts under this key.
fn texts<'a>(json: &'a Json, key: &str, found: &mut Vec<&'a str>) {
    match json {
        Json::Object(members) => {
            found.extend(members.get(key).and_then(Json::as_str));
            members.values().for_each(|member| texts(member, key, found));
        }
        Json::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        _ => {}
    }
}

/// Each metric with the labels that are asked of it or that its series are added up by.
fn asked(expression: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut grouped = BTreeSet::new();
    for part in expression.split(" by (").skip(1) {
        let labels = part.split(')').next().unwrap_or_default();
        grouped.extend(labels.split(", ").map(str::to_owned));
    }
    let mut asked: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (at, _) in expression.match_indices("kuiper_").chain(expression.match_indices("thalweg_")) {
        let rest = &expression[at..];
        let name = &rest[..rest.find(|letter| !is_word(letter)).unwrap_or(rest.len())];
        let labels = asked.entry(name.to_owned()).or_default();
        labels.extend(grouped.iter().cloned());
        if let Some(inside) = rest[name.len()..].strip_prefix('{') {
            let inside = inside.split('}').next().unwrap_or_default();
            let names = inside.split(',').filter_map(|pair| pair.split(['=', '!']).next());
            labels.extend(names.map(|name| name.trim().to_owned()));
        }
    }
    asked
}

/// The labels of the series of each metric.
fn exported(exposition: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut exported: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in exposition.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line.split_once('{').unwrap_or((line.split(' ').next().unwrap_or_default(), ""));
        let labels = labels.split('}').next().unwrap_or_default();
        let names = labels.split(',').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
        exported.entry(name.to_owned()).or_default().extend(names);
    }
    exported
}

#[test]
fn the_dashboard_asks_for_what_is_exported() {
    let text = fs::read_to_string(etc("grafana/thalweg.json")).expect("it is in the repository");
    let dashboard: Json = serde_json::from_str(&text).expect("it is JSON");
    let mut expressions = Vec::new();
    texts(&dashboard, "expr", &mut expressions);
    texts(&dashboard, "query", &mut expressions);
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (metric, labels) in expressions.iter().flat_map(|expression| asked(expression)) {
        wanted.entry(metric).or_default().extend(labels);
    }
    assert!(wanted.len() > 12, "{wanted:?}");

    // One port for both; a rule with a source, an operator and a sink that have a connection, and one that loses rows:
    // what is no JSON cannot be decoded.
    let variables = [
        ("KUIPER__BASIC__PROMETHEUS", "true"),
        ("KUIPER__BASIC__PROMETHEUSPORT", "0"),
        ("KUIPER__BASIC__RESTPORT", "0"),
    ];
    let instance = Instance::start(None, &variables, |home| {
        fs::write(home.join("broken.json"), "no json\n").expect("the home is ours");
    });
    let post = |path: &str, body: &Json| {
        let answer = instance.call("POST", path, &[], &body.to_string());
        assert_eq!(answer.status, 201, "{path}: {}", answer.body);
    };
    let folder = instance.home().display().to_string();
    let sql = r#"CREATE STREAM shown () WITH (TYPE="simulator", FORMAT="json", EXTRA="{\"data\":[{\"a\":1}],\"interval\":\"10ms\",\"loop\":true}")"#;
    post("/streams", &json!({ "sql": sql }));
    let lines = format!(
        r#"CREATE STREAM lossy () WITH (TYPE="file", DATASOURCE="broken.json", FORMAT="json", EXTRA="{{\"path\":\"{folder}\",\"fileType\":\"lines\"}}")"#
    );
    post("/streams", &json!({ "sql": lines }));
    let rule = |id: &str, stream: &str| {
        let sql = format!("SELECT * FROM {stream} WHERE a > 0");
        json!({"id": id, "sql": sql, "actions": [{"memory": {"topic": "dashboard/out"}}]})
    };
    post("/rules", &rule("shown", "shown"));
    post("/rules", &rule("lossy", "lossy"));
    let metrics = || instance.call("GET", "/metrics", &[], "");
    let answer = metrics();
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("text/plain; version=0.0.4; charset=utf-8"))
    );
    let mut missing = Vec::new();
    let found = wait::within(wait::LIMIT, || {
        let exported = exported(&metrics().body);
        missing = wanted
            .iter()
            .filter(|(metric, labels)| !exported.get(*metric).is_some_and(|have| labels.is_subset(have)))
            .map(|(metric, labels)| format!("{metric} with {labels:?}, not {:?}", exported.get(metric)))
            .collect();
        missing.is_empty().then_some(())
    });
    assert!(found.is_some(), "the dashboard asks for what is not exported: {missing:#?}\n{}", metrics().body);
}

#[test]
fn the_example_for_prometheus_asks_the_right_port() {
    let text = fs::read_to_string(etc("prometheus.yml")).expect("it is in the repository");
    let tree = thalweg_server::yaml::parse(&text).expect("it is YAML");
    let job = &tree["scrape_configs"][0];
    assert_eq!(job["metrics_path"], "/metrics");
    let shipped = fs::read_to_string(etc("kuiper.yaml")).expect("it is in the repository");
    let shipped = thalweg_server::yaml::parse(&shipped).expect("it is YAML");
    let port = &shipped["basic"]["prometheusPort"];
    assert_eq!(job["static_configs"][0]["targets"][0], format!("127.0.0.1:{port}"));
}

#[test]
fn what_expressions_ask_for_is_found() {
    let found =
        asked(r#"sum by (rule, op) (rate(kuiper_op_x_total{type="op",rule=~"$rule"}[5m])) + thalweg_y"#);
    let labels = |metric: &str| found[metric].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(labels("kuiper_op_x_total"), ["op", "rule", "type"]);
    assert_eq!(labels("thalweg_y"), ["op", "rule"]);
}
