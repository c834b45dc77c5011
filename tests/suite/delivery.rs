//! What actions do to results and sources to messages, through the binary and a broker.

use serde_json::{Value as Json, json};
use thalweg_tests::wait;

use crate::pipeline::{Plant, count, readings};

impl Plant {
    /// A rule on `demo` whose action has these properties; returns when it is connected.
    fn deliver(&self, id: &str, sql: &str, topic: &str, more: &Json) {
        let mut action = self.broker.action(topic);
        let properties = action["mqtt"].as_object_mut().expect("an action is an object");
        properties.extend(more.as_object().cloned().unwrap_or_default());
        self.api().rule(id, sql, action);
        self.api().connected(id);
    }

    /// A stream whose source has these properties too.
    fn stream(&self, name: &str, topic: &str, extra: &str) {
        let sql = self.broker.stream(name, topic, "");
        self.api().sql(&sql.replace(r#"\"qos\":1"#, &format!(r#"\"qos\":1,{}"#, extra.replace('"', "\\\""))));
    }
}

#[test]
fn c3_9_topics_and_messages_are_made_from_templates_for_each_row() {
    let Some(plant) = Plant::with_demo(&[("KUIPER_PROPS_SITE", "north")]) else { return };
    let template = r#"{"a":{{.a}},"site":"{{prop "site"}}"}"#;
    plant.deliver(
        "r",
        "SELECT a, text FROM demo",
        "out/{{.text}}/{{.a}}",
        &json!({"dataTemplate": template}),
    );
    plant.mqtt.publish("in", &readings(1..3));
    assert_eq!(plant.mqtt.expect("out/x/1", 1), [json!({"a": 1, "site": "north"})]);
    assert_eq!(plant.mqtt.expect("out/x/2", 1), [json!({"a": 2, "site": "north"})]);
}

#[test]
fn c3_9_without_send_single_a_topic_is_made_from_the_list() {
    let Some(plant) = Plant::with_demo(&[]) else { return };
    let more = json!({"sendSingle": false});
    plant.deliver(
        "r",
        "SELECT a FROM demo GROUP BY COUNTWINDOW(2)",
        "out/{{(index . 0).a}}/{{len .}}",
        &more,
    );
    plant.mqtt.publish("in", &readings(5..7));
    assert_eq!(plant.mqtt.expect("out/5/2", 1), [json!([{"a": 5}, {"a": 6}])]);
}

#[test]
fn c3_8_a_template_that_fails_costs_one_row_and_is_counted_where_it_failed() {
    let Some(plant) = Plant::with_demo(&[]) else { return };
    plant.deliver("r", "SELECT l FROM demo", "out/r", &json!({"dataTemplate": r#"{"x":{{index .l 1}}}"#}));
    plant.mqtt.publish("in", &[r#"{"l":[1,2]}"#, r#"{"l":[]}"#, r#"{"l":[3,4]}"#]);
    assert_eq!(plant.mqtt.expect("out/r", 2), [json!({"x": 2}), json!({"x": 4})]);
    let status = plant
        .api()
        .status_when("r", |status| count(status, "op_mqtt_0_0_transform", "_exceptions_total") == 1);
    assert_eq!(count(&status, "op_mqtt_0_0_transform", "_dropped_encode_total"), 1, "{status:#}");
    assert_eq!(status["status"], "running", "{status:#}");
    let error = status["op_mqtt_0_0_transform_0_last_exception"].as_str().unwrap_or_default();
    assert!(error.contains("at <index>: error calling index: slice index out of range"), "{status:#}");
}

#[test]
fn f5_1_what_one_rule_packs_another_unpacks() {
    let Some(plant) = Plant::with_demo(&[]) else { return };
    for codec in ["gzip", "zstd", "zlib", "flate"] {
        let (packed, name) = (format!("packed/{codec}"), format!("s{codec}"));
        plant.stream(&name, &packed, &format!(r#""decompression":"{codec}""#));
        plant.deliver(
            &format!("to_{codec}"),
            &format!("SELECT a FROM {name}"),
            &format!("out/{codec}"),
            &json!({}),
        );
        let more = json!({"compression": codec});
        plant.deliver(&format!("from_{codec}"), "SELECT a FROM demo", &packed, &more);
    }
    plant.mqtt.publish("in", &readings(0..3));
    for codec in ["gzip", "zstd", "zlib", "flate"] {
        let want = [json!({"a": 0}), json!({"a": 1}), json!({"a": 2})];
        assert_eq!(plant.mqtt.expect(&format!("out/{codec}"), 3), want, "{codec}");
    }
    plant.mqtt.publish("packed/gzip", &["not packed"]);
    let status = plant
        .api()
        .status_when("to_gzip", |status| count(status, "op_3_decoder", "_dropped_decode_total") == 1);
    assert_eq!(status["status"], "running", "{status:#}");
}

#[test]
fn c3_12_batches_are_sent_when_full_or_when_the_ticker_ticks() {
    let Some(plant) = Plant::with_demo(&[]) else { return };
    plant.deliver("full", "SELECT a FROM demo", "out/full", &json!({"batchSize": 2}));
    plant.deliver("linger", "SELECT a FROM demo", "out/linger", &json!({"lingerInterval": "100ms"}));
    let csv = json!({"batchSize": 2, "format": "delimited", "delimiter": ";"});
    plant.deliver("csv", "SELECT a, text FROM demo", "out/csv", &csv);
    plant.mqtt.publish("in", &readings(0..5));
    let want = [json!([{"a": 0}, {"a": 1}]), json!([{"a": 2}, {"a": 3}])];
    assert_eq!(plant.mqtt.expect("out/full", 2), want);
    assert_eq!(plant.mqtt.expect("out/csv", 2)[0], "a;text\n0;x\n1;x");
    // How the ticks cut them depends on the machine's speed, that nothing is missing does not.
    let rows = wait::until("all five rows", || {
        let batches = plant.mqtt.messages("out/linger");
        let rows: Vec<Json> = batches.iter().filter_map(Json::as_array).flatten().cloned().collect();
        (rows.len() >= 5).then_some(rows)
    });
    assert_eq!(rows, (0..5).map(|a| json!({"a": a})).collect::<Vec<_>>());
}

#[test]
fn c2_6_a_stream_with_an_interval_sends_the_last_message_of_each() {
    let Some(plant) = Plant::start(&[]) else { return };
    plant.stream("demo", "in", r#""interval":"300ms""#);
    plant.deliver("r", "SELECT a FROM demo", "out/r", &json!({}));
    plant.mqtt.publish("in", &readings(0..500));
    let rows = wait::until("the last reading", || {
        let rows = plant.mqtt.messages("out/r");
        rows.last().is_some_and(|row| row["a"] == 499).then_some(rows)
    });
    assert!(rows.len() < 250, "most are left out: {}", rows.len());
    let status = plant.api().status("r");
    assert_eq!(count(&status, "op_2_ratelimit", "_dropped_queue_full_total"), 0, "{status:#}");
}

#[test]
fn z1_errors_reach_the_sink_in_their_place_when_the_rule_wants_them() {
    let Some(plant) = Plant::with_demo(&[]) else { return };
    let options = json!({"sendError": true});
    plant.api().rule_with("r", "SELECT a + 1 AS b FROM demo", plant.broker.action("out/r"), options);
    plant.api().connected("r");
    plant.mqtt.publish("in", &[r#"{"a":1}"#, r#"{"a":"x"}"#, "no json", r#"{"a":2}"#]);
    let rows = plant.mqtt.expect("out/r", 4);
    assert_eq!((&rows[0], &rows[3]), (&json!({"b": 2}), &json!({"b": 3})));
    let error = |row: &Json| row["error"].as_str().unwrap_or_default().to_owned();
    assert!(error(&rows[1]).starts_with("run Select error: alias: b"), "{rows:?}");
    assert!(!error(&rows[2]).is_empty(), "{rows:?}");
}

#[test]
fn c3_10_rows_go_from_rule_to_rule_through_topics_made_from_them() {
    let Some(plant) = Plant::with_demo(&[]) else { return };
    plant.api().sql(r#"CREATE STREAM relay () WITH (TYPE="memory", DATASOURCE="even/+")"#);
    plant.deliver("second", "SELECT a, meta(topic) AS t FROM relay", "out/second", &json!({}));
    let action = json!({"memory": {"topic": "even/{{.text}}", "sendSingle": true}});
    plant.api().rule("first", "SELECT a, text FROM demo WHERE a % 2 = 0", action);
    plant.api().connected("first");
    plant.mqtt.publish("in", &readings(0..4));
    let want = [json!({"a": 0, "t": "even/x"}), json!({"a": 2, "t": "even/x"})];
    assert_eq!(plant.mqtt.expect("out/second", 2), want);
}
