//! `rest-api.md` 1, 3 and 4.

use serde_json::json;

use super::client::Instance;
use crate::{ServeOptions, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_instance_tells_about_itself() {
    let instance = Instance::start().await;
    instance.get("/ping").await.is(200, "");
    let about = instance.get("/").await;
    assert_eq!((about.status, about.content_type.as_str()), (200, "text/plain; charset=utf-8"));
    assert!(about.body.starts_with(r#"{"version":"2.4.0","os":"#), "{}", about.body);
    assert!(about.body.contains(r#","arch":"#) && about.body.contains(r#""thalweg":"#), "{}", about.body);
    instance.get("/nowhere").await.is(404, "404 page not found\n");
    instance.delete("/streams").await.is(405, "");
    assert_eq!(instance.call("HEAD", "/ping", "").await.status, 405);
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_created_described_replaced_and_dropped() {
    let instance = Instance::start().await;
    let sql = r#"CREATE STREAM demo (id BIGINT, tags ARRAY(STRING), pos STRUCT(x FLOAT)) WITH (DATASOURCE="a/b", FORMAT="JSON", SHARED="true", EXTRA="{\"a\":1}")"#;
    let sql = sql.replace(r#", EXTRA="{\"a\":1}""#, "");
    instance.sql(&sql).await.is(201, "Stream demo is created.");
    instance.sql(&sql).await.fails(
        400,
        3000,
        "Stream command error: Create stream fails: Item demo already exists.",
    );
    instance.get("/streams").await.is(200, r#"["demo"]"#);
    instance.get("/tables").await.is(200, "[]");
    instance.get("/streamdetails").await.is(200, r#"[{"name":"demo","type":"mqtt","format":"json"}]"#);
    instance.get("/streams/demo").await.is(
        200,
        r#"{"Name":"demo","StreamFields":[{"FieldType":"bigint","Name":"id"},{"FieldType":{"Type":"array","ElementType":"string"},"Name":"tags"},{"FieldType":{"Type":"struct","Fields":[{"FieldType":"float","Name":"x"}]},"Name":"pos"}],"Options":{"datasource":"a/b","format":"JSON","shared":true},"StreamType":0,"Statement":null}"#,
    );
    let schema = instance.get("/streams/demo/schema").await.json();
    assert_eq!(schema["id"], json!({"index": 0, "type": "bigint"}));
    let put = |sql: &str| json!({"sql": sql}).to_string();
    let unshared = put(r#"CREATE STREAM demo () WITH (DATASOURCE="x")"#);
    let refused = instance.put("/streams/demo", &unshared).await;
    refused.fails(
        400,
        3000,
        "Stream command error: Replace demo fails: do not support to change stream SHARED option.",
    );
    let shared = put(r#"CREATE STREAM demo () WITH (DATASOURCE="x", SHARED="true")"#);
    instance.put("/streams/demo", &shared).await.is(200, "Stream demo is replaced.");
    instance.put("/streams/other", &shared).await.fails(
        400,
        3000,
        "Stream command error: Replace other fails: the sql statement must update the other source.",
    );
    instance.get("/tables/demo").await.fails(
        400,
        3000,
        "describe table error: Describe table fails, table demo is not found.",
    );
    instance.delete("/tables/demo").await.fails(404, 1002, "delete table error: table demo is not found");
    instance.delete("/streams/demo").await.is(200, "Stream demo is dropped.");
    instance.get("/streams/demo").await.fails(
        400,
        3000,
        "describe stream error: Describe stream fails, demo is not found.",
    );
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_statements_and_bodies_are_refused_in_the_one_shape() {
    let instance = Instance::start().await;
    instance.sql("CREATE STWREAM demo () WITH ()").await.fails(
        400,
        3000,
        "Stream command error: found \"STWREAM\", expected keyword stream or table.",
    );
    instance.sql(r#"CREATE STREAM a () WITH (FORMAT="avro")"#).await.fails(
        400,
        3000,
        "Stream command error: option 'format=avro' is invalid",
    );
    for body in ["", "{", "[1]", r#"{"sql":5}"#, "{}"] {
        instance.post("/streams", body).await.fails(
            400,
            1000,
            "Invalid body: Error decoding the statement descriptor: ",
        );
    }
    instance.get("/streams/a%20b").await.fails(
        400,
        1000,
        "describe stream error: id 'a b' contains invalid characters",
    );
    let large = instance.post("/streams", &" ".repeat((16 << 20) + 1)).await;
    large.fails(413, 1000, "request body is larger than 16 MB");
    instance.get("/ping").await.is(200, "");
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_survive_a_restart_and_temporary_ones_do_not() {
    let instance = Instance::start().await;
    instance.sql(r#"CREATE STREAM kept () WITH (DATASOURCE="a")"#).await.is(201, "Stream kept is created.");
    instance
        .sql(r#"CREATE TABLE t (id BIGINT) WITH (DATASOURCE="a", TYPE="memory", KEY="id", KIND="lookup")"#)
        .await
        .is(201, "Table t is created.");
    instance
        .sql(r#"CREATE STREAM gone () WITH (DATASOURCE="a", TEMP="true")"#)
        .await
        .is(201, "Stream gone is created.");
    instance.sql("SHOW STREAMS").await.is(201, "gone\nkept");
    let instance = instance.restart().await;
    instance.get("/streams").await.is(200, r#"["kept"]"#);
    instance.get("/tables?kind=lookup").await.is(200, r#"["t"]"#);
    instance.get("/tables?kind=scan").await.is(200, "[]");
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_names_the_flag_and_a_home_in_use_too() {
    let instance = Instance::start().await;
    let other = tempfile::tempdir().expect("a folder");
    let environment = [("KUIPER__BASIC__RESTIP".to_owned(), "127.0.0.1".to_owned())].into();
    let options = ServeOptions {
        home: other.path().to_owned(),
        port: Some(instance.port()),
        environment,
        ..ServeOptions::default()
    };
    let refused = start(options.clone()).await.err().expect("the port is in use");
    assert!(refused.contains("--port"), "{refused}");
    let refused = start(ServeOptions { home: instance.home().to_owned(), port: Some(0), ..options.clone() })
        .await
        .err();
    assert!(refused.expect("the home is in use").contains("--home"));
    let second = start(ServeOptions { port: Some(0), ..options })
        .await
        .expect("side by side with other home and port");
    assert_ne!(second.port(), instance.port());
    second.stop().await;
    instance.stop().await;
}
