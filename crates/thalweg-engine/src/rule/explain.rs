//! EXPLAIN of a rule that exists, or of a statement that does not: the plan, and what it would share.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use thalweg_plan::Plan;
use thalweg_plan::explain::{self, CommonState, Sharing, shared_streams};

use super::RuleDefinition;
use super::record::{Asks, Needs};
use crate::error::EngineError;

/// Rules by id, with what they need.
pub(super) type Others = Vec<(Arc<str>, Arc<Needs>)>;

/// Upstream's lines, an empty line, and ours.
pub(super) fn text(definition: &RuleDefinition, plan: &Plan, others: Others) -> String {
    let state = common_state(definition, plan);
    let shared = shared_streams(plan).into_iter();
    let sharing: Vec<Sharing> =
        shared.map(|(stream, asked)| sharing((stream, asked), state.as_ref(), &others)).collect();
    format!("{}\n\n{}", explain::explain(plan), explain::report(plan, &sharing))
}

/// The window or reorder buffer that the rule may have in common with others: not when it keeps state of its own, tells of
/// single rows, or holds up the stream (`contracts.md` 6, 7).
pub(super) fn common_state(definition: &RuleDefinition, plan: &Plan) -> Option<CommonState> {
    let options = &definition.options;
    let is_alone = options.qos > 0 || options.send_error || options.disable_discard == Some(true);
    explain::common_state(plan).filter(|_| !is_alone)
}

/// Which other rules read a stream, and which of them ask the same of it or have the same state.
fn sharing((stream, asked): (String, Vec<String>), state: Option<&CommonState>, others: &Others) -> Sharing {
    let rules_with = |part: Option<&String>| -> Vec<String> {
        let asks = |asks: &Asks| *asks.stream == *stream && part.is_none_or(|part| asks.asks(part));
        let rules = others.iter().filter(|(_, needs)| needs.asks.iter().any(asks));
        rules.map(|(id, _)| id.to_string()).collect()
    };
    let rules = rules_with(None);
    let conditions = asked.iter().map(|part| (part.clone(), rules_with(Some(part)))).collect();
    let states = state.map(|state| (state.clone(), rules_with(Some(&state.key)))).into_iter().collect();
    Sharing { stream, rules, conditions, states }
}

/// The rule document that a text stands for: itself with what EXPLAIN does not need, or one around a SELECT, which may
/// have the word EXPLAIN before it.
pub(super) fn document(text: &str) -> Result<String, EngineError> {
    let text = text.trim();
    let mut document: Map<String, Json> = match text.starts_with('{') {
        true => serde_json::from_str(text)
            .map_err(|why| EngineError::plain(format!("Parse rule {text} error : {why}.")))?,
        false => Map::from_iter([("sql".to_owned(), Json::from(text))]),
    };
    let sql = document.get("sql").and_then(Json::as_str).map(|sql| Json::from(without_explain(sql)));
    document.extend(sql.map(|sql| ("sql".to_owned(), sql)));
    document.entry("id").or_insert_with(|| Json::from("explain"));
    document.entry("actions").or_insert_with(|| json!([{"nop": {}}]));
    Ok(Json::Object(document).to_string())
}

fn without_explain(sql: &str) -> &str {
    let sql = sql.trim();
    match sql.split_once(char::is_whitespace) {
        Some((word, rest)) if word.eq_ignore_ascii_case("EXPLAIN") => rest.trim_start(),
        _ => sql,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_select_or_a_document_with_sql_alone_is_enough() {
        let read = |text: &str| {
            serde_json::from_str::<Json>(&document(text).expect("it can be read")).expect("JSON")
        };
        for text in ["SELECT a FROM s", " explain\n SELECT a FROM s ", r#"{"sql":"SELECT a FROM s"}"#] {
            assert_eq!(read(text)["sql"], "SELECT a FROM s", "{text}");
        }
        let whole = read(r#"{"id":"r","sql":"SELECT a FROM s","actions":[{"log":{}}],"options":{"qos":1}}"#);
        assert_eq!((&whole["id"], &whole["options"]["qos"]), (&json!("r"), &json!(1)));
        assert!(document("{").is_err());
    }

    #[test]
    fn rules_that_read_a_stream_and_ask_the_same_are_named() {
        let asks = |stream: &str, parts: &[&str]| {
            let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            Arc::new(Needs { asks: [Asks::new(stream, &parts)].into(), ..Needs::default() })
        };
        let others = vec![
            (Arc::from("r1"), asks("s", &["(a > 1)", "(b > 1)"])),
            (Arc::from("r2"), asks("s", &[])),
            (Arc::from("r3"), asks("t", &["(a > 1)"])),
        ];
        let found =
            sharing(("s".to_owned(), vec!["(a > 1)".to_owned(), "(c > 1)".to_owned()]), None, &others);
        assert_eq!(found.rules, ["r1", "r2"]);
        let conditions = [("(a > 1)".to_owned(), vec!["r1".to_owned()]), ("(c > 1)".to_owned(), vec![])];
        assert_eq!(found.conditions, conditions);
    }
}
