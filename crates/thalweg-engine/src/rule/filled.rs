//! A rule as it is understood: every option with the value that holds, in the order of upstream's own document
//! (`cli.md` 4, describe).

use serde_json::{Value as Json, json};
use thalweg_core::Props;
use thalweg_core::time::{format_duration, parse_duration};

use super::options;
use crate::document::Document;
use crate::error::EngineError;

/// Options that are printed in any case, with what is built in, and those that are printed where they say something.
const OPTIONS: &[(&str, Option<&str>)] = &[
    ("debug", Some("false")),
    ("logFilename", None),
    ("isEventTime", Some("false")),
    ("lateTolerance", Some("\"1s\"")),
    ("concurrency", Some("1")),
    ("bufferLength", Some("1024")),
    ("sendMetaToSink", Some("false")),
    ("sendNilField", Some("false")),
    ("sendError", Some("false")),
    ("qos", None),
    ("checkpointInterval", Some("\"5m0s\"")),
    ("restartStrategy", Some("{}")),
    ("cron", None),
    ("duration", None),
    ("cronDatetimeRange", None),
    ("planOptimizeStrategy", None),
    ("notifySub", None),
    ("disableBufferFullDiscard", None),
    ("enableSaveStateBeforeStop", None),
    ("forceExitTimeout", None),
    ("experiment", None),
];

/// Options that are lengths of time.
const DURATIONS: &[&str] = &["lateTolerance", "checkpointInterval", "forceExitTimeout"];

/// The document of a rule, of which this is the text, over what the instance says.
///
/// # Errors
/// It was read before, so that there is none.
pub(super) fn filled(text: &str, instance: &Props) -> Result<Document, EngineError> {
    let written: Json = serde_json::from_str(text).map_err(|why| EngineError::plain(why.to_string()))?;
    let written = Props::from(written.as_object().cloned().unwrap_or_default());
    let own = |name: &str| written.get(name).cloned().unwrap_or_default();
    let mut all = instance.to_json();
    if let written @ Json::Object(_) = own("options") {
        options::overlay(&mut all, &written);
    }
    let triggered = written.get("triggered").and_then(Json::as_bool).unwrap_or(true);
    let mut document = Document::object().with("triggered", triggered);
    for name in ["id", "name", "version", "temp", "sql", "graph", "actions"] {
        document = document.with_some(name, own(name));
    }
    Ok(document.with("options", filled_options(&all)).with_some("tags", own("tags")))
}

fn filled_options(all: &Json) -> Document {
    let mut document = Document::object();
    let all = Props::from(all.as_object().cloned().unwrap_or_default());
    for (name, built_in) in OPTIONS {
        let value = all.get(name).filter(|value| !value.is_null()).map(|value| plain(name, value));
        let is_said = value.is_some();
        let value = value.or_else(|| built_in.and_then(|text| serde_json::from_str(text).ok()));
        document = match (value, built_in) {
            (Some(value), Some(_)) => document.with(*name, value),
            (Some(value), None) if is_said => document.with_some(name, value),
            _ => document,
        };
    }
    let is_ours = |name: &&str| !OPTIONS.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    for (name, value) in all.iter().filter(|(name, _)| is_ours(name)) {
        document = document.with_some(name, value.clone());
    }
    document
}

/// Lengths of time are printed as Go does.
fn plain(name: &str, value: &Json) -> Json {
    let millis = match value {
        Json::String(text) => parse_duration(text),
        other => other.as_i64(),
    };
    match millis.filter(|_| DURATIONS.contains(&name)) {
        Some(millis) => json!(format_duration(millis)),
        None => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_there_and_the_rules_own_win() {
        let text = r#"{"options":{"QOS":1,"lateTolerance":1500,"latencyBudgetUs":5},"actions":[{"log":{}}],"sql":"SELECT a FROM s","id":"r"}"#;
        let mut instance = Props::new();
        instance.set("checkpointInterval", "300s");
        instance.set("bufferLength", 7);
        let expected = concat!(
            r#"{"triggered":true,"id":"r","sql":"SELECT a FROM s","actions":[{"log":{}}],"options":{"debug":false,"#,
            r#""isEventTime":false,"lateTolerance":"1.5s","concurrency":1,"bufferLength":7,"sendMetaToSink":false,"#,
            r#""sendNilField":false,"sendError":false,"qos":1,"checkpointInterval":"5m0s","restartStrategy":{},"#,
            r#""latencyBudgetUs":5}}"#
        );
        assert_eq!(filled(text, &instance).map(|document| document.compact()), Ok(expected.to_owned()));
    }
}
