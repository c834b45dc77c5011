//! `rest-api.md` 7: named connections, to a broker of this process.

use std::net::Ipv4Addr;

use serde_json::json;

use super::client::Instance;
use crate::broker::Broker;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_made_used_protected_and_brought_back() {
    let broker = Broker::start((Ipv4Addr::LOCALHOST, 0).into()).expect("a broker");
    let instance = Instance::start().await;
    let body = |typ: &str| {
        let server = format!("tcp://127.0.0.1:{}", broker.port());
        json!({"id": "c1", "typ": typ, "props": {"server": server}}).to_string()
    };
    let unknown = "create connection failed: unknown connection type nosuch";
    instance.post("/connections", &body("nosuch")).await.fails(400, 1000, unknown);
    instance.post("/connections", &body("MQTT")).await.is(201, "success");
    let again = "create connection failed: connection c1 already been created";
    instance.post("/connections", &body("mqtt")).await.fails(400, 1000, again);
    instance.get("/connections/c2").await.fails(400, 1000, "connection c2 not existed");
    let demo =
        r#"CREATE STREAM demo () WITH (DATASOURCE="in/demo", EXTRA="{\"connectionSelector\":\"c1\"}")"#;
    instance.sql(demo).await.is(201, "Stream demo is created.");
    let rule = r#"{"id":"r","sql":"SELECT * FROM demo","actions":[{"mqtt":{"connectionSelector":"c1","topic":"out"}}]}"#;
    instance.post("/rules", rule).await.is(201, "Rule r was created successfully.");
    let connected = |status: &serde_json::Value| status["sink_mqtt_0_0_connection_status"] == 1;
    instance.status_when("r", connected).await;
    let shown = instance.get("/connections/c1").await;
    assert!(shown.body.starts_with(r#"{"id":"c1","typ":"mqtt","props":{"server":"#), "{shown:?}");
    assert_eq!(shown.json()["refCount"], 2, "{shown:?}");
    let in_use =
        "drop connection failed: connection c1 can't be dropped due to rule references [r_demo_0 r_mqtt_0]";
    instance.delete("/connections/c1").await.fails(400, 1000, in_use);
    let in_use =
        "update connection failed: connection c1 can't be dropped due to rule references [r_demo_0 r_mqtt_0]";
    instance.put("/connections/c1", &body("mqtt")).await.fails(400, 1000, in_use);
    let missing = "update connection failed: connection c2 not existed";
    instance.put("/connections/c2", &body("mqtt")).await.fails(400, 1000, missing);
    let instance = instance.restart().await;
    instance.status_when("r", connected).await;
    instance.delete("/rules/r").await.is(200, "Rule r is dropped.");
    instance.put("/connections/c1", &body("mqtt")).await.is(200, "success");
    instance.delete("/connections/c1").await.is(200, "success");
    instance.delete("/connections/c1").await.is(200, "success");
    assert_eq!(instance.get("/connections").await.body, "[]");
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_reaches_a_broker_and_disturbs_no_client_of_the_same_name() {
    let broker = Broker::start((Ipv4Addr::LOCALHOST, 0).into()).expect("a broker");
    let instance = Instance::start().await;
    let server = format!("tcp://127.0.0.1:{}", broker.port());
    let props = json!({"server": server, "clientid": "mine"});
    let body = json!({"id": "c1", "typ": "mqtt", "props": props}).to_string();
    instance.post("/connections", &body).await.is(201, "success");
    let connected = |answer: &super::client::Answer| answer.json()["status"] == "connected";
    instance.until("/connections/c1", connected).await;
    for version in ["3.1.1", "5"] {
        for kind in ["sources", "sinks"] {
            let props = json!({"server": server, "clientid": "mine", "protocolVersion": version}).to_string();
            instance.post(&format!("/metadata/{kind}/connection/mqtt"), &props).await.is(200, "");
        }
    }
    let selected = r#"{"connectionSelector":"c1"}"#;
    instance.post("/metadata/sinks/connection/mqtt", selected).await.is(200, "");
    let shown = instance.get("/connections/c1").await.json();
    assert_eq!((&shown["status"], shown.get("err")), (&json!("connected"), None), "{shown}");
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_there_leaves_the_rule_running_and_unwell() {
    let port = {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        taken.local_addr().expect("its address").port()
    };
    let instance = Instance::start().await;
    let demo = format!(
        r#"CREATE STREAM demo () WITH (DATASOURCE="in", EXTRA="{{\"server\":\"tcp://127.0.0.1:{port}\"}}")"#
    );
    instance.sql(&demo).await.is(201, "Stream demo is created.");
    let rule = r#"{"id":"r","sql":"SELECT * FROM demo","actions":[{"nop":{}}]}"#;
    instance.post("/rules", rule).await.is(201, "Rule r was created successfully.");
    let status = instance.status_when("r", |status| status["source_demo_0_connection_status"] == -1).await;
    assert_eq!((&status["status"], &status["health"]), (&json!("running"), &json!("failing")), "{status:#}");
    assert_eq!(status["health_reasons"][0]["node"], "source_demo", "{status:#}");
    assert_eq!(status["health_reasons"][0]["cause"], "disconnected", "{status:#}");
    // rest-api.md 7: the connection is the rule's own, and shown when it is asked for.
    assert_eq!(instance.get("/connections").await.body, "[]");
    let all = instance.get("/connections?forceAll=true").await;
    assert_eq!((all.status, all.content_type.as_str()), (200, "text/plain; charset=utf-8"));
    let server = format!("tcp://127.0.0.1:{port}");
    let own = &all.json()[0];
    assert_eq!(
        (&own["id"], &own["typ"], &own["isNamed"]),
        (&json!("r_demo_0"), &json!("mqtt"), &json!(false))
    );
    assert_eq!((&own["props"]["server"], &own["status"]), (&json!(server), &json!("disconnected")), "{own}");
    assert!(own["err"].as_str().is_some_and(|why| why.contains("refused")) && own["refCount"] == 1, "{own}");
    assert_eq!(instance.get("/connections/r_demo_0").await.json()["isNamed"], false);
    let refused = "drop connection failed: internal connection r_demo_0 can't be edit";
    instance.delete("/connections/r_demo_0").await.fails(400, 1000, refused);
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_connection_says_why_it_is_not_there_and_many_at_once_make_one() {
    let port = {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        taken.local_addr().expect("its address").port()
    };
    let instance = Instance::start().await;
    let server = format!("tcp://127.0.0.1:{port}");
    let body = json!({"id": "c1", "typ": "mqtt", "props": {"server": server}}).to_string();
    let (a, b, c) = tokio::join!(
        instance.post("/connections", &body),
        instance.post("/connections", &body),
        instance.post("/connections", &body),
    );
    assert_eq!([&a, &b, &c].iter().filter(|answer| answer.status == 201).count(), 1, "{a:?} {b:?} {c:?}");
    let down = |answer: &super::client::Answer| answer.json()["status"] == "disconnected";
    let shown = instance.until("/connections/c1", down).await;
    assert!(shown.json()["err"].as_str().is_some_and(|why| why.contains("refused")), "{shown:?}");
    assert_eq!(shown.json().get("refCount"), None, "{shown:?}");
    for (body, why) in [
        ("", "invalid connection document: "),
        ("{", "invalid connection document: "),
        ("[]", "invalid connection document: "),
        (r#"{"id":5,"typ":"mqtt"}"#, "invalid connection document: "),
        (r#"{"id":"c2","typ":"mqtt","props":[]}"#, "invalid connection document: "),
        (r#"{"typ":"mqtt"}"#, "id cannot be empty"),
        (r#"{"id":"../c","typ":"mqtt"}"#, "id '../c' contains invalid characters"),
        (r#"{"id":"c2"}"#, "create connection failed: connection id and type should be defined"),
        (r#"{"id":"c2","typ":"mqtt"}"#, "create connection failed: "),
    ] {
        instance.post("/connections", body).await.fails(400, 1000, why);
    }
    for _ in 0..5 {
        let (deleted, made) =
            tokio::join!(instance.delete("/connections/c1"), instance.post("/connections", &body));
        assert_eq!(deleted.status, 200);
        let is_there = instance.get("/connections/c1").await.status == 200;
        assert!(is_there || made.status == 201 || made.status == 400, "{made:?}");
        drop(instance.post("/connections", &body).await);
    }
    instance.stop().await;
}
