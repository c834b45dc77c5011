//! What comes while the engine is down: the broker keeps it for rules of `qos` 1 and 2.

use serde_json::json;
use thalweg_tests::mqtt::Mqtt;
use thalweg_tests::processes::{Engine, Mosquitto};

/// Two rules on streams with these source properties; nothing that is published at any time is missing in the end.
fn nothing_is_missing(props: &str, more: &str, is_named: bool) {
    let Some(broker) = Mosquitto::start() else { return };
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    if is_named {
        let props = json!({"server": broker.url(), "clientid": "kept", "enableClientSession": true});
        let body = json!({"id": "c", "typ": "mqtt", "props": props});
        assert_eq!(engine.api().post("/connections", &body).status, 201);
    }
    let props = props.replace("$SERVER", &broker.url()).replace('"', "\\\"");
    for (name, topic) in [("one", "in/1"), ("two", "in/2")] {
        let with = format!(r#"DATASOURCE="{topic}", TYPE="mqtt"{more}, EXTRA="{{{props}}}""#);
        engine.api().sql(&format!("CREATE STREAM {name} () WITH ({with})"));
        for rule in ["a", "b"] {
            let (id, options) = (format!("{name}_{rule}"), json!({"qos": 2}));
            let action = broker.action(&format!("out/{id}"));
            engine.api().rule_with(
                &id,
                &format!("SELECT n, acc_count(n) AS count FROM {name}"),
                action,
                options,
            );
            engine.api().connected(&id);
        }
    }
    let mqtt = Mqtt::connect(broker.port(), "test");
    mqtt.subscribe("out/#");
    let publish = |range: std::ops::RangeInclusive<i64>| {
        let messages: Vec<String> = range.map(|n| json!({ "n": n }).to_string()).collect();
        ["in/1", "in/2"].iter().for_each(|topic| mqtt.publish(topic, &messages));
    };
    publish(1..=30);
    mqtt.expect("out/two_b", 10);
    engine.kill();
    publish(31..=60);
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    for id in ["one_a", "one_b", "two_a", "two_b"] {
        engine.api().status_when(id, |_| {
            let rows = mqtt.messages(&format!("out/{id}"));
            (1..=60).all(|n| rows.contains(&json!({"n": n, "count": n})))
        });
        let rows = mqtt.messages(&format!("out/{id}"));
        assert!(rows.iter().all(|row| row["n"] == row["count"]), "{id}: {rows:?}");
    }
}

#[test]
fn r7_11_an_own_session_brings_what_came_while_the_engine_was_down() {
    nothing_is_missing(r#""server":"$SERVER","qos":1"#, "", false);
}

#[test]
fn r7_11_the_session_of_a_shared_stream_brings_it_to_all_its_rules() {
    nothing_is_missing(r#""server":"$SERVER","qos":1"#, r#", SHARED="true""#, false);
}

#[test]
fn r7_11_the_session_of_a_named_connection_waits_for_all_rules() {
    nothing_is_missing(r#""connectionSelector":"c","qos":1"#, "", true);
}
