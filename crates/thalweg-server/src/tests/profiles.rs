//! `rest-api.md` 8.2 beyond single calls: what is stored outlives the instance, and reaches rows.

use serde_json::json;

use super::client::Instance;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_properties_reach_sources_and_sinks_and_outlive_the_instance() {
    let instance = Instance::start().await;
    let rows = json!({"data": [{"a": 7}, {"a": 8}], "interval": 10, "loop": false}).to_string();
    instance.put("/metadata/sources/simulator/confKeys/Two", &rows).await.is(200, "");
    instance
        .put("/metadata/sinks/nop/confKeys/single", r#"{"sendSingle":true,"log":true}"#)
        .await
        .is(200, "");
    let instance = instance.restart().await;
    let shown = instance.get("/metadata/sources/simulator/confKeys/Two").await;
    assert_eq!((shown.status, shown.content_type.as_str()), (200, "application/json"));
    assert_eq!(shown.body, r#"{"data":[{"a":7},{"a":8}],"interval":"10ms","loop":false}"#);
    let two = r#"CREATE STREAM two () WITH (TYPE="simulator", CONF_KEY="Two")"#;
    instance.sql(two).await.is(201, "Stream two is created.");
    let rule =
        r#"{"id":"r","sql":"SELECT a FROM two WHERE a > 6","actions":[{"nop":{"resourceId":"single"}}]}"#;
    instance.post("/rules", rule).await.is(201, "Rule r was created successfully.");
    instance.status_when("r", |status| status["sink_nop_0_0_records_out_total"] == 2).await;
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_made_and_deleted_by_many_at_once_is_there_or_not() {
    let instance = Instance::start().await;
    let path = "/metadata/sinks/log/confKeys/k";
    for _ in 0..10 {
        let (put, deleted, again) =
            tokio::join!(instance.put(path, "{}"), instance.delete(path), instance.put(path, r#"{"a":1}"#));
        assert_eq!((put.status, again.status), (200, 200));
        assert!([200, 400].contains(&deleted.status), "{deleted:?}");
        let left = instance.get("/metadata/sinks/yaml/log").await.body;
        assert!(["{}", r#"{"k":{}}"#, r#"{"k":{"a":1}}"#].contains(&left.as_str()), "{left}");
    }
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_without_end_is_refused_and_kept_nowhere() {
    let instance = Instance::start().await;
    let huge = format!(r#"{{"a":"{}"}}"#, "x".repeat(16 << 20));
    let answer = instance.put("/metadata/sinks/log/confKeys/k", &huge).await;
    answer.fails(413, 1000, "request body is larger than 16 MB");
    assert_eq!(instance.get("/metadata/sinks/yaml/log").await.body, "{}");
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_stored_as_config_key_is_open_after_the_next_start() {
    let instance = Instance::start().await;
    let body = r#"{"server":"tcp://127.0.0.1:1"}"#;
    instance.put("/metadata/connections/mqtt/confKeys/c1", body).await.is(200, "");
    instance.get("/connections/c1").await.fails(400, 1000, "connection c1 not existed");
    let instance = instance.restart().await;
    assert_eq!(instance.get("/connections/c1").await.json()["props"]["server"], "tcp://127.0.0.1:1");
    instance.stop().await;
}
