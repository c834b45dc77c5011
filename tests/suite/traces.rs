//! What traces of rules show (`rest-api.md` 16).

use serde_json::{Value as Json, json};
use thalweg_tests::instance::Instance;
use thalweg_tests::wait;

/// An instance with a stream that plays rows.
fn instance(options: &str, capacity: &str) -> Instance {
    let capacity = ("KUIPER__OPENTELEMETRY__LOCALTRACECAPACITY", capacity);
    let instance = Instance::start(None, &[capacity], |_| {});
    let extra = r#"{"data":[{"a":1}],"interval":10}"#;
    let sql = format!("CREATE STREAM ticks (a BIGINT) WITH (TYPE=\"simulator\", EXTRA='{extra}'{options})");
    post(&instance, "/streams", &json!({ "sql": sql }));
    instance
}

fn post(instance: &Instance, path: &str, body: &Json) {
    let answer = instance.call("POST", path, &[], &body.to_string());
    assert!([200, 201].contains(&answer.status), "{path}: {}", answer.body);
}

fn get(instance: &Instance, path: &str) -> Json {
    let answer = instance.call("GET", path, &[], "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{path}");
    serde_json::from_str(&answer.body).expect("it is JSON")
}

fn traces(instance: &Instance, rule: &str) -> Vec<Json> {
    get(instance, &format!("/trace/rule/{rule}")).as_array().expect("a list").clone()
}

/// The newest trace of a rule, once there is one.
fn newest(instance: &Instance, rule: &str) -> Json {
    wait::until("a trace", || {
        let id = traces(instance, rule).first()?.as_str()?.to_owned();
        // It may have made room for newer ones.
        let answer = instance.call("GET", &format!("/trace/{id}"), &[], "");
        if answer.status == 200 {
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
        (answer.status == 200).then(|| serde_json::from_str(&answer.body).expect("it is JSON"))
    })
}

/// The spans of a trace from the root on, each with nothing beside it.
fn names(trace: &Json) -> Vec<String> {
    let mut names = Vec::new();
    let (mut span, mut above) = (trace, "0000000000000000");
    loop {
        names.push(span["name"].as_str().expect("a name").to_owned());
        assert_eq!(span["parentSpanID"], above);
        assert_eq!(span["traceID"], trace["traceID"]);
        assert!(span["startTime"].as_str() <= span["endTime"].as_str(), "{span}");
        above = span["spanID"].as_str().expect("an id");
        match span["ChildSpan"].as_array().expect("a list") {
            below if below.is_empty() => return names,
            below => {
                assert_eq!(below.len(), 1, "{span}");
                span = &below[0];
            }
        }
    }
}

#[test]
fn a_trace_shows_what_became_of_a_batch_from_the_source_to_the_sink() {
    let instance = instance("", "3");
    let sql = "SELECT a FROM ticks WHERE a > 0";
    post(&instance, "/rules", &json!({"id": "r", "sql": sql, "actions": [{"log": {}}]}));
    assert_eq!(traces(&instance, "r"), Vec::<Json>::new());
    post(&instance, "/rules/r/trace/start", &json!({"strategy": "always"}));
    let trace = newest(&instance, "r");
    assert_eq!(trace["attribute"], json!({"data": "{\"a\":1}", "rule": "r"}));
    assert_eq!(trace["ruleID"], "r");
    assert_eq!(names(&trace), ["ticks", "2_filter", "3_project", "log_0"]);
    wait::until_true("as many traces as are kept", || traces(&instance, "r").len() == 3);
    assert_eq!(get(&instance, "/trace/rule/r?limit=1").as_array().map(Vec::len), Some(1));
    let none = instance.call("GET", "/trace/65aa", &[], "");
    assert_eq!(none.all(), (404, "text/plain; charset=utf-8", "Not Found\n"));
    for how in ["stop", "start"] {
        let body = if how == "start" { "{\"strategy\":\"head\"}" } else { "" };
        let done = instance.call("POST", &format!("/rules/r/trace/{how}"), &[], body);
        assert_eq!((done.status, done.body.as_str()), (200, ""), "{how}");
    }
}

#[test]
fn a_rule_of_a_shared_stream_is_traced_and_its_neighbours_are_not() {
    let instance = instance(", SHARED=\"true\"", "2048");
    for rule in ["a", "b", "c"] {
        let sql = "SELECT a FROM ticks WHERE a > 0";
        post(&instance, "/rules", &json!({"id": rule, "sql": sql, "actions": [{"nop": {}}]}));
    }
    post(&instance, "/rules/b/trace/start", &json!({}));
    assert_eq!(names(&newest(&instance, "b"))[..3], ["ticks", "2_filter", "3_project"]);
    // What it has counted before counts on.
    let counted = |rule: &str| {
        let status = get(&instance, &format!("/rules/{rule}/status"));
        let count = |node: &str| status[format!("{node}_0_records_in_total")].as_u64().expect("a number");
        (count("op_2_filter"), count("op_3_project"))
    };
    let (_, before) = counted("b");
    assert!(before > 0);
    wait::until_true("more rows", || counted("b").1 > before + 3);
    let stopped = instance.call("POST", "/rules/b/stop", &[], "");
    assert_eq!(stopped.status, 200, "{}", stopped.body);
    let (filter, project) = counted("b");
    assert_eq!(filter, project, "every row passes, and is counted once");
    for rule in ["a", "c"] {
        assert_eq!(traces(&instance, rule), Vec::<Json>::new(), "{rule}");
    }
}

#[test]
fn a_window_that_closes_has_a_trace_of_its_own() {
    let instance = instance("", "2048");
    let sql = "SELECT count(*) AS n FROM ticks GROUP BY TUMBLINGWINDOW(ms, 50)";
    post(&instance, "/rules", &json!({"id": "w", "sql": sql, "actions": [{"log": {}}]}));
    post(&instance, "/rules/w/trace/start", &json!({"strategy": "always"}));
    let names = wait::until("the trace of a window", || {
        let ids = traces(&instance, "w");
        let all = ids.iter().map(|id| get(&instance, &format!("/trace/{}", id.as_str().expect("an id"))));
        all.map(|trace| names(&trace)).find(|names| names[0] != "ticks")
    });
    assert!(names[0].ends_with("_window"), "{names:?}");
    assert_eq!(names.last().map(String::as_str), Some("log_0"), "{names:?}");
}
