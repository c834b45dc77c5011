//! JavaScript functions in running rules, and the scripts of `docs/guide/javascript.md`.

use serde_json::{Value as Json, json};

use super::client::Instance;

/// The script of the guide that begins with this comment.
fn of_the_guide(file: &str) -> String {
    let guide = include_str!("../../../../docs/guide/javascript.md");
    let (_, found) = guide.split_once(&format!("```javascript\n// {file}")).expect("the guide has it");
    let (_, found) = found.split_once('\n').expect("a line behind the comment");
    found.split_once("```").expect("it ends").0.to_owned()
}

async fn post(instance: &Instance, id: &str, script: &str, is_agg: bool) {
    let body = json!({"id": id, "script": script, "isAgg": is_agg}).to_string();
    instance.post("/udf/javascript", &body).await.is(201, &format!("javascript function {id} is created"));
}

/// Makes a stream of these rows, once each.
async fn stream(instance: &Instance, name: &str, rows: &Json) {
    let extra = json!({"data": rows, "interval": 1, "loop": false}).to_string().replace('"', "\\\"");
    let sql = format!("CREATE STREAM {name} () WITH (TYPE=\"simulator\", EXTRA=\"{extra}\")");
    instance.sql(&sql).await.is(201, &format!("Stream {name} is created."));
}

/// Runs a rule to the end of its stream: the lines that it has written.
async fn results(instance: &Instance, rule: &str, sql: &str, n: u64) -> Vec<Json> {
    let file = instance.home().join(format!("{rule}.jsonl"));
    let body = json!({"id": rule, "sql": sql, "options": {"sendError": true},
        "actions": [{"file": {"path": file, "fileType": "lines", "format": "json", "interval": 1, "sendSingle": true}}]});
    let made = instance.post("/rules", &body.to_string()).await;
    assert_eq!(made.status, 201, "{made:?}");
    instance.status_when(rule, |status| status["sink_file_0_0_records_out_total"].as_u64() >= Some(n)).await;
    instance.delete(&format!("/rules/{rule}")).await.is(200, &format!("Rule {rule} is dropped."));
    written(&file)
}

/// What a rule that has ended has written.
fn written(file: &std::path::Path) -> Vec<Json> {
    let text = std::fs::read_to_string(file).expect("the rule has written");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scripts_of_the_guide_do_what_it_says() {
    let instance = Instance::start().await;
    post(&instance, "heatIndex", &of_the_guide("heatIndex.js"), false).await;
    post(&instance, "rising", &of_the_guide("rising.js"), false).await;
    post(&instance, "spread", &of_the_guide("spread.js"), true).await;
    stream(&instance, "rooms", &json!([{"t": 30, "h": 70}, {"t": 20, "h": 50}, {"t": 25.5, "h": 60}])).await;
    let sql = "SELECT heatIndex(t, h) AS feels, rising(t) AS up, rising(h) AS h FROM rooms";
    let expected = [
        json!({"feels": 88, "up": false, "h": false}),
        json!({"feels": 67, "up": false, "h": false}),
        json!({"feels": 78, "up": true, "h": true}),
    ];
    assert_eq!(results(&instance, "guide1", sql, 3).await, expected);
    let sql = "SELECT spread(t) AS s, count(*) AS n FROM rooms GROUP BY COUNTWINDOW(3)";
    assert_eq!(results(&instance, "guide2", sql, 1).await, [json!({"s": 10, "n": 3})]);
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_is_a_function_after_a_restart_and_its_errors_are_of_their_rows() {
    let instance = Instance::start().await;
    let text = "let n = 0;\nfunction fragile(x) {\n  n++;\n  return x.a.b + n;\n}";
    post(&instance, "fragile", text, false).await;
    let instance = instance.restart().await;
    instance.get("/udf/javascript").await.is(200, r#"["fragile"]"#);
    stream(&instance, "s", &json!([{"x": {"a": {"b": 1}}}, {"x": {}}, {"x": {"a": {"b": 3}}}])).await;
    let told = results(&instance, "r", "SELECT fragile(x) AS y FROM s", 3).await;
    assert_eq!((&told[0], &told[2]), (&json!({"y": 2}), &json!({"y": 6})));
    let error = told[1]["error"].as_str().expect("an error");
    assert!(
        error.contains("call func fragile error: TypeError: ") && error.contains("(line 4, column "),
        "{error}"
    );
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_is_started_again_has_a_new_interpreter_and_an_update_reaches_one_that_runs() {
    let instance = Instance::start().await;
    post(&instance, "counted", "let n = 0; function counted() { return ++n; }", false).await;
    let demo = "CREATE STREAM ticks () WITH (DATASOURCE=\"ticks\", TYPE=\"memory\")";
    instance.sql(demo).await.is(201, "Stream ticks is created.");
    stream(&instance, "three", &json!([{"a": 1}, {"a": 2}, {"a": 3}])).await;
    let feed = |id: &str| json!({"id": id, "sql": "SELECT a FROM three", "actions": [{"memory": {"topic": "ticks"}}]});
    let file = instance.home().join("counts.jsonl");
    let rule = json!({"id": "counts", "sql": "SELECT counted() AS n FROM ticks",
        "actions": [{"file": {"path": file, "fileType": "lines", "format": "json", "interval": 1, "sendSingle": true}}]});
    instance.post("/rules", &rule.to_string()).await.is(201, "Rule counts was created successfully.");
    let fed = async |id: &str, out: u64| {
        let made = instance.post("/rules", &feed(id).to_string()).await;
        assert_eq!(made.status, 201, "{made:?}");
        instance
            .status_when("counts", |status| status["sink_file_0_0_records_out_total"].as_u64() >= Some(out))
            .await;
    };
    fed("first", 3).await;
    let script = "let n = 100; function counted() { return ++n; }";
    let body = json!({"id": "counted", "script": script}).to_string();
    instance.put("/udf/javascript/counted", &body).await.is(200, "javascript function counted is updated");
    fed("second", 6).await;
    instance.post("/rules/counts/stop", "").await.is(200, "Rule counts was stopped.");
    assert_eq!(written(&file), [1, 2, 3, 101, 102, 103].map(|n| json!({"n": n})));
    // The sink begins its file again.
    instance.post("/rules/counts/start", "").await.is(200, "Rule counts was started");
    fed("third", 3).await;
    instance.delete("/rules/counts").await.is(200, "Rule counts is dropped.");
    assert_eq!(written(&file), [101, 102, 103].map(|n| json!({"n": n})));
    instance.stop().await;
}

/// `contracts.md` 4 and 5: a shard never waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_loop_holds_up_no_other_rule() {
    let instance = Instance::start().await;
    post(&instance, "forever", "function forever(x) { for (;;) {} }", false).await;
    post(&instance, "twice", "function twice(x) { return 2 * x; }", false).await;
    let rows: Vec<Json> = (0..50).map(|a| json!({"a": a})).collect();
    stream(&instance, "s", &rows.into()).await;
    let body = r#"{"id":"hangs","sql":"SELECT forever(a) AS b FROM s WHERE a = 1","actions":[{"nop":{}}]}"#;
    instance.post("/rules", body).await.is(201, "Rule hangs was created successfully.");
    let told = results(&instance, "runs", "SELECT twice(a) AS b FROM s WHERE a < 3", 3).await;
    assert_eq!(told, [json!({"b": 0}), json!({"b": 2}), json!({"b": 4})]);
    instance.delete("/rules/hangs").await.is(200, "Rule hangs is dropped.");
    instance.stop().await;
}
