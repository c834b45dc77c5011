//! `rest-api.md` 5: rules over the wire, with memory topics and simulators in and out.

use serde_json::json;

use super::client::Instance;

const RULE: &str = r#"{"id":"r1","sql":"SELECT a FROM demo WHERE a > 1","actions":[{"log":{}}]}"#;

async fn with_stream() -> Instance {
    let instance = Instance::start().await;
    let demo = r#"CREATE STREAM demo () WITH (DATASOURCE="demo", TYPE="memory")"#;
    instance.sql(demo).await.is(201, "Stream demo is created.");
    instance
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_is_created_read_stopped_started_and_deleted() {
    let instance = with_stream().await;
    instance.post("/rules", RULE).await.is(201, "Rule r1 was created successfully.");
    let again = instance.post("/rules", RULE).await;
    again.fails(400, 1000, "rule r1 already exists");
    instance
        .get("/rules")
        .await
        .is(200, r#"[{"id":"r1","name":"r1","status":"running","tags":null,"trace":false,"version":""}]"#);
    instance.get("/rules/r1").await.is(200, RULE);
    instance.get("/rules/r1/topo").await.is(
        200,
        r#"{"sources":["source_demo"],"edges":{"op_2_filter":["op_3_project"],"op_3_project":["op_log_0_0_transform"],"op_log_0_0_transform":["op_log_0_1_encode"],"op_log_0_1_encode":["sink_log_0"],"source_demo":["op_2_filter"]}}"#,
    );
    instance.get("/rules/r1/schema").await.is(200, r#"{"a":{"hasIndex":true,"index":0}}"#);
    instance.delete("/streams/demo").await.fails(400, 1000, "stream demo has been referenced by other rules");
    instance.post("/rules/r1/stop", "").await.is(200, "Rule r1 was stopped.");
    let status = instance.get("/rules/r1/status").await.json();
    assert_eq!((&status["status"], &status["message"]), (&json!("stopped"), &json!("canceled manually")));
    instance.get("/rules/r1").await.is(
        200,
        r#"{"actions":[{"log":{}}],"id":"r1","sql":"SELECT a FROM demo WHERE a > 1","triggered":false}"#,
    );
    instance.post("/rules/r1/start", "").await.is(200, "Rule r1 was started");
    instance.post("/rules/r1/restart", "").await.is(200, "Rule r1 was restarted");
    assert_eq!(instance.get("/rules/r1/status").await.json()["status"], "running");
    instance.delete("/rules/r1").await.is(200, "Rule r1 is dropped.");
    instance.get("/rules/r1/status").await.fails(404, 1002, "get rule status error: Rule r1 is not found");
    instance.delete("/rules/r1").await.fails(400, 1000, "Delete rule error: rule r1 not found");
    instance.delete("/streams/demo").await.is(200, "Stream demo is dropped.");
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_has_upstreams_keys_in_order_and_ours_behind() {
    let instance = with_stream().await;
    instance.post("/rules", RULE).await.is(201, "Rule r1 was created successfully.");
    let status = instance.get("/rules/r1/status").await;
    assert_eq!(status.content_type, "application/json");
    let keys: Vec<&str> =
        status.body.lines().filter_map(|line| line.strip_prefix("  \"")?.split('"').next()).collect();
    let at =
        |key: &str| keys.iter().position(|other| *other == key).unwrap_or_else(|| panic!("{key}: {keys:?}"));
    let in_order = [
        "status",
        "message",
        "lastStartTimestamp",
        "lastStopTimestamp",
        "nextStartTimestamp",
        "source_demo_0_records_in_total",
        "source_demo_0_connection_last_try_time",
        "op_2_filter_0_records_in_total",
        "op_3_project_0_last_exception_time",
        "sink_log_0_0_records_out_total",
        "sink_log_0_0_connection_status",
        "source_demo_0_dropped_total",
        "sink_log_0_0_queue_fill_pct",
        "health",
        "health_reasons",
    ];
    assert!(in_order.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{keys:?}");
    let all = instance.get("/rules/status/all").await;
    all.is(200, r#"{"r1":{"status":"running","last_exception":"","exceptions_total":0}}"#);
    assert!(instance.get("/v2/rules/r1/status").await.body.starts_with(r#"{"health":"#));
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_rules_are_refused_and_leave_nothing_behind() {
    let instance = with_stream().await;
    let rule = |sql: &str, action: &str| format!(r#"{{"id":"r","sql":"{sql}","actions":[{action}]}}"#);
    for (body, code, message) in [
        ("{", 1000, "invalid rule json: Parse rule { error : "),
        (r#"{"sql":"SELECT a FROM demo"}"#, 1000, "invalid rule json: Missing rule id."),
        (
            &rule("SELECT a FRM demo", r#"{"log":{}}"#),
            1000,
            "invalid rule json: Parse SQL SELECT a FRM demo error: found \"FRM\", expected FROM.",
        ),
        (
            &rule("SELECT nosuch(a) FROM demo", r#"{"log":{}}"#),
            1000,
            "invalid rule json: Parse SQL SELECT nosuch(a) FROM demo error: ",
        ),
        (
            &rule("SELECT a FROM dmo", r#"{"log":{}}"#),
            1000,
            "fail to get stream dmo, please check if stream is created (line 1, column 15; did you mean demo?)",
        ),
        (&rule("SELECT a, a FROM demo", r#"{"log":{}}"#), 1000, "duplicate field definition a"),
        (&rule("SELECT a FROM demo", r#"{"foo":{}}"#), 2201, "sink foo is not defined"),
        (&rule("SELECT a FROM demo", r#"{"log":{"sendSingle":"yes"}}"#), 2201, ""),
        (
            &rule("SELECT a FROM demo", r#"{"log":{"connectionSelector":"none"}}"#),
            2201,
            "connection none not existed",
        ),
    ] {
        instance.post("/rules", body).await.fails(400, code, message);
    }
    instance.get("/rules").await.is(200, "[]");
    instance.post("/rules/validate", r#"{"id":"r","sql":"SELECT a FROM demo"}"#).await.is(
        422,
        "invalid rule json: Missing rule actions. (they say where results go: \"actions\": [{\"log\": {}}])",
    );
    instance
        .post("/rules/validate", &rule("SELECT a FROM gone", r#"{"log":{}}"#))
        .await
        .is(422, "gone is not found");
    instance.post("/rules/validate", RULE).await.is(200, r#"{"sources":["demo"],"valid":true}"#);
    for (path, prefix) in [("start", "start"), ("stop", "stop"), ("restart", "restart")] {
        let text =
            format!("{prefix} rule error: Rule x is not found in registry, please check if it is created");
        instance.post(&format!("/rules/x/{path}"), "").await.fails(404, 1002, &text);
    }
    instance.get("/rules/x").await.fails(404, 1002, "Describe rule error: Rule x is not found.");
    instance.get("/rules/x/explain").await.fails(404, 1002, "explain rules error: Rule x is not found.");
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_builds_the_new_rule_first_and_obeys_versions() {
    let instance = with_stream().await;
    let body = |version: &str, sql: &str| {
        json!({"version": version, "sql": sql, "actions": [{"log": {}}]}).to_string()
    };
    instance
        .put("/rules/r", &body("1", "SELECT a FROM demo"))
        .await
        .is(200, "Rule r was updated successfully.");
    let lower = instance.put("/rules/r", &body("1", "SELECT b FROM demo")).await;
    lower.fails(
        400,
        1000,
        "Update rule error: rule r already exists with version (1), new version (1) is lower",
    );
    instance.put("/rules/r", &body("2", "SELECT b FROM none")).await.fails(
        400,
        1000,
        "Update rule error: fail to get stream none",
    );
    assert_eq!(instance.get("/rules/r/status").await.json()["status"], "running");
    instance
        .put("/rules/r", &body("2", "SELECT b FROM demo"))
        .await
        .is(200, "Rule r was updated successfully.");
    instance.get("/rules/r/schema").await.is(200, r#"{"b":{"hasIndex":true,"index":0}}"#);
    let other = r#"{"id":"s","sql":"SELECT a FROM demo","actions":[{"log":{}}]}"#;
    instance.put("/rules/r", other).await.fails(
        400,
        1000,
        "Update rule error: Invalid rule json: RuleId is not consistent with rule id.",
    );
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_come_back_after_a_restart_in_the_state_they_were_left_in() {
    let instance = with_stream().await;
    instance.post("/rules", RULE).await.is(201, "Rule r1 was created successfully.");
    let idle =
        r#"{"id":"r2","sql":"SELECT a FROM demo","actions":[{"nop":{}}],"triggered":false,"tags":["t"]}"#;
    instance.post("/rules", idle).await.is(201, "Rule r2 was created successfully.");
    let temp = r#"{"id":"r3","sql":"SELECT a FROM demo","actions":[{"nop":{}}],"temp":true}"#;
    instance.post("/rules", temp).await.is(201, "Rule r3 was created successfully.");
    let instance = instance.restart().await;
    instance.get("/rules/r1").await.is(200, RULE);
    let rules = instance.get("/rules").await.json();
    let ids: Vec<_> =
        rules.as_array().expect("a list").iter().map(|rule| (&rule["id"], &rule["tags"])).collect();
    assert_eq!(ids, [(&json!("r1"), &json!(null)), (&json!("r2"), &json!(["t"]))]);
    instance.get("/rules/r2/topo").await.fails(
        400,
        1001,
        "get rule topo error: Fail to get rule r2's topo, make sure",
    );
    instance.get("/rules/tags/match?tags=t").await.is(200, r#"{"rules":["r2"]}"#);
    instance
        .post("/rules/bulkstart", r#"{"tags":["t"]}"#)
        .await
        .is(200, r#"[{"ruleId":"r2","success":true}]"#);
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_flow_and_are_counted_on_every_node() {
    let instance = Instance::start().await;
    let sim = r#"CREATE STREAM sim () WITH (TYPE="simulator", EXTRA="{\"data\":[{\"a\":1},{\"a\":2},{\"a\":3}],\"interval\":1,\"loop\":false}")"#;
    instance.sql(sim).await.is(201, "Stream sim is created.");
    let rule = r#"{"id":"r","sql":"SELECT a FROM sim WHERE a > 1","actions":[{"nop":{}}]}"#;
    instance.post("/rules", rule).await.is(201, "Rule r was created successfully.");
    let status = instance.status_when("r", |status| status["sink_nop_0_0_records_out_total"] == 2).await;
    assert_eq!(status["op_2_filter_0_records_in_total"], 3, "{status:#}");
    assert_eq!(status["op_2_filter_0_records_out_total"], 2, "{status:#}");
    assert_eq!(status["health"], "ok", "{status:#}");
    instance.stop().await;
}

/// The infos of the lines with this op.
fn infos(body: &str, op: &str) -> Vec<String> {
    let lines = body.lines().map(str::trim_start).filter(|line| !line.is_empty());
    let lines = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).expect("one object a line"));
    let own = lines.filter(|line| line["op"] == op);
    own.map(|line| line["info"].as_str().expect("a text").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_keeps_upstreams_lines_and_adds_what_is_decoded_and_shared() {
    let instance = with_stream().await;
    let stream = r#"{"sql":"CREATE STREAM s () WITH (DATASOURCE=\"s\", TYPE=\"memory\", SHARED=\"true\")"}"#;
    instance.post("/streams", stream).await.is(201, "Stream s is created.");
    for (id, sql) in [
        ("r1", "SELECT a FROM s WHERE a > 1 AND o->p = 2"),
        ("r2", "SELECT b FROM s WHERE a > 1"),
        ("r3", "SELECT b FROM s"),
        ("r4", "SELECT b FROM demo WHERE a > 1"),
    ] {
        let body = serde_json::json!({"id": id, "sql": sql, "actions": [{"nop": {}}]}).to_string();
        instance.post("/rules", &body).await.is(201, &format!("Rule {id} was created successfully."));
    }
    let answer = instance.get("/rules/r1/explain").await;
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "text/plain; charset=utf-8"));
    let upstream = concat!(
        "{\"op\":\"ProjectPlan_0\",\"info\":\"Fields:[ a ]\"}\n",
        "\t{\"op\":\"FilterPlan_1\",\"info\":\"Condition:{ ((a > 1) AND (o->p = 2)) }\"}\n",
        "\t\t\t{\"op\":\"DataSourcePlan_2\",\"info\":\"StreamName: s, StreamFields:[ a, o ]\"}\n\n",
    );
    assert!(answer.body.starts_with(upstream), "X-7: {}", answer.body);
    assert_eq!(infos(&answer.body, "Decoder"), ["s: a, o->p"]);
    assert_eq!(infos(&answer.body, "SharedStream"), ["s: r2, r3"]);
    assert_eq!(infos(&answer.body, "SharedCondition"), ["s: (a > 1): r2"]);
    let window = "SELECT count(*) AS c FROM s GROUP BY TUMBLINGWINDOW(ss, 1)";
    let body = serde_json::json!({"id": "r5", "sql": window, "actions": [{"nop": {}}]}).to_string();
    instance.post("/rules", &body).await.is(201, "Rule r5 was created successfully.");
    let answer = instance.post("/rules/explain", &format!("{window} HAVING count(*) > 1")).await;
    let shared = infos(&answer.body, "SharedWindow");
    assert!(shared.len() == 1 && shared[0].ends_with(": r5"), "contracts 7: {shared:?}");
    let stream = r#"{"sql":"CREATE STREAM e () WITH (DATASOURCE=\"e\", TYPE=\"memory\", SHARED=\"true\", TIMESTAMP=\"t\")"}"#;
    instance.post("/streams", stream).await.is(201, "Stream e is created.");
    for (id, qos) in [("r6", 0), ("r7", 1)] {
        let options = serde_json::json!({"isEventTime": true, "lateTolerance": 3, "qos": qos});
        let body = serde_json::json!({"id": id, "sql": "SELECT a FROM e", "actions": [{"nop": {}}], "options": options});
        instance
            .post("/rules", &body.to_string())
            .await
            .is(201, &format!("Rule {id} was created successfully."));
    }
    let sql = r#"{"sql":"SELECT a + 1 AS b FROM e","options":{"isEventTime":true,"lateTolerance":3}}"#;
    let answer = instance.post("/rules/explain", sql).await;
    assert_eq!(infos(&answer.body, "EventTimeGroup"), ["e: t, LateTolerance: 3: r6"], "contracts 6");
    // A statement that is no rule yet; a rule may have the call's name.
    let answer = instance.post("/rules/explain", "EXPLAIN SELECT c FROM s WHERE a > 1").await;
    assert_eq!(infos(&answer.body, "SharedCondition"), ["s: (a > 1): r1, r2"]);
    let options = r#"{"sql":"SELECT o->p FROM demo","options":{"planOptimizeStrategy":{"optimizeControl":{"disableOptimizeRules":["pathPruner","colunmPruner"]}}}}"#;
    let answer = instance.post("/rules/explain", options).await;
    assert_eq!(infos(&answer.body, "Decoder"), ["demo: o"]);
    let warning =
        "disableOptimizeRules names colunmPruner, which is no optimizer rule (did you mean columnPruner?)";
    assert_eq!(infos(&answer.body, "Warning"), [warning]);
    let wrong = "explain rules error: Parse SQL SELEC a FROM s error: ";
    instance.post("/rules/explain", "SELEC a FROM s").await.fails(400, 1000, wrong);
    instance.get("/rules/explain").await.fails(404, 1002, "Describe rule error: Rule explain is not found.");
    instance.stop().await;
}
