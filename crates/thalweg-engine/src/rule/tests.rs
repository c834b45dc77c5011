//! The life of rules over a runner that only remembers.

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use thalweg_core::Props;

use super::*;

fn parse(text: &str) -> Result<RuleDefinition, crate::EngineError> {
    RuleDefinition::parse(text, None, &Props::new())
}

#[test]
fn r1_3_each_mistake_has_upstreams_text() {
    for (text, error) in [
        (r#"{"sql":"SELECT a FROM b"}"#, "Missing rule id."),
        (
            r#"{"id":"rule3/21","sql":"SELECT a FROM b"}"#,
            "id 'rule3/21' contains invalid characters: only alphanumeric, hyphens and underscores are allowed",
        ),
        (r#"{"id":"r","sql":"SELECT a FROM b","graph":{}}"#, "Rule r has both sql and graph."),
        (r#"{"id":"r","actions":[{"log":{}}]}"#, "Rule r has neither sql nor graph."),
        (r#"{"id":"r","sql":"SELECT a FROM b"}"#, "Missing rule actions."),
        (
            r#"{"id":"r","sql":"SHOW STREAMS","actions":[{"log":{}}]}"#,
            "SQL SHOW STREAMS is not a select statement. (a rule is a SELECT; statements about streams and tables are \
             posted to /streams and /tables)",
        ),
        (
            r#"{"id":"r","sql":"SELECT a FROM b","actions":[{"log":{}}],"options":{"lateTolerance":-1}}"#,
            "Rule r has invalid options: invalidLateTol:lateTol must be greater than 0.",
        ),
    ] {
        let message = parse(text).expect_err(text).message;
        assert!(message.starts_with(error), "{text}: {message}");
    }
    for (text, part) in [
        ("{", "Parse rule { error : "),
        ("[]", "Parse rule [] error : "),
        (r#"{"id":5}"#, "property \"id\" must be a string, not 5 (at /id)."),
        (r#"{"id":"r","sql":"SELECT a FROM b","actions":{}}"#, "property \"actions\" must be a list"),
        (r#"{"id":"r","sql":"SELECT a FROM b","actions":[1]}"#, "an action must be an object"),
        (
            r#"{"id":"r","sql":"SELECT a FRM b","actions":[{"log":{}}]}"#,
            "Parse SQL SELECT a FRM b error: found \"FRM\", expected FROM.",
        ),
        (r#"{"id":"r","sql":"SELECT a FRM b","actions":[{"log":{}}]}"#, "line 1, column 10"),
    ] {
        let error = parse(text).expect_err(text).message;
        assert!(error.contains(part), "{text}: {error}");
    }
    let wrong = RuleDefinition::parse(r#"{"id":"a"}"#, Some("b"), &Props::new()).expect_err("other id");
    assert!(wrong.message.starts_with("RuleId is not consistent with rule id. (the path says b"));
}

#[test]
fn r1_1_keys_match_in_any_case_and_unknown_ones_are_ignored() {
    let rule = parse(
        r#"{"ID":"r","SQL":"SELECT a FROM b","Actions":[{"log":null,"mqtt":{"topic":"t"}},{"nop":{}}],"x":1,"TAGS":["t"]}"#,
    );
    let rule = rule.expect("it is right");
    let sinks: Vec<(&str, usize)> =
        rule.actions.iter().map(|action| (action.kind.as_str(), action.index)).collect();
    assert_eq!(sinks, [("log", 0), ("mqtt", 0), ("nop", 1)]);
    assert!(rule.triggered && !rule.temp && rule.tags.as_deref() == Some(&["t".to_owned()]));
}

#[test]
fn start_and_stop_rewrite_the_document_with_sorted_keys() {
    let rule = parse(r#"{ "sql":"SELECT a FROM b", "id":"r", "Triggered":true, "actions":[{"log":{}}]}"#)
        .expect("right");
    let stopped = Record::from(&rule).with_triggered(false);
    assert_eq!(
        &*stopped.text,
        r#"{"actions":[{"log":{}}],"id":"r","sql":"SELECT a FROM b","triggered":false}"#
    );
    let document: Map<String, Json> =
        serde_json::from_str(&stopped.with_tags(vec!["t".to_owned()]).text).expect("JSON");
    assert_eq!(document["tags"], Json::from(vec!["t"]));
}

#[test]
fn the_sources_of_a_select_are_found_in_joins_and_sub_queries() {
    let rule = parse(
        r#"{"id":"r","sql":"SELECT x.a FROM (SELECT a FROM s1) AS x INNER JOIN s2 ON x.a = s2.a INNER JOIN s2 ON s2.b = 1 GROUP BY TUMBLINGWINDOW(ss, 1)","actions":[{"log":{}}]}"#,
    );
    let names: Vec<Arc<str>> = rule.expect("right").sources();
    assert_eq!(names, [Arc::from("s1"), Arc::from("s2")]);
}
