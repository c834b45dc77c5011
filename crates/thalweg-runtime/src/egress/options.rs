//! The common properties of sinks (connectors.md chapter 3), as meant.

use std::sync::Arc;

use serde_json::Value as Json;
use thalweg_core::{Diagnostic, ErrorCode, Props};

/// What an action wants done to results before they leave.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SinkOptions {
    /// One message per row.
    pub send_single: bool,
    /// Drop empty results.
    pub omit_if_empty: bool,
    /// Keep only these columns.
    pub fields: Vec<Arc<str>>,
    /// Drop these columns.
    pub exclude: Vec<Arc<str>>,
    /// Send the value of this column instead of the row.
    pub data_field: Option<Arc<str>>,
    /// The text of `dataTemplate`.
    pub template: Option<Arc<str>>,
    /// The format, lower case.
    pub format: Arc<str>,
    /// Items to collect; 0: none.
    pub batch_size: usize,
    /// Milliseconds between flushes; 0: none.
    pub linger: i64,
    /// Messages that may wait in front of the sink.
    pub buffer_length: usize,
    /// Messages that may wait while the sink is down.
    pub cache_length: usize,
    /// Whether failed messages are tried again (on unless `enableCache` is written as false).
    pub retry: bool,
    /// Milliseconds between tries; 0: a back-off.
    pub resend_interval: i64,
}

impl SinkOptions {
    /// Reads the properties of an action.
    ///
    /// # Errors
    /// A value of the wrong type, or properties that exclude each other.
    pub(crate) fn read(props: &Props) -> Result<Self, Diagnostic> {
        let fields = names(props, "fields")?;
        let exclude = names(props, "excludeFields")?;
        if !fields.is_empty() && !exclude.is_empty() {
            return Err(Diagnostic::new(ErrorCode::Executor, "field and excludeFields cannot both be set"));
        }
        let data_field = text(props, "dataField")?.or(text(props, "tableDataField")?);
        let count = |name: &str, default: i64| match props.int(name)? {
            Some(value) if value < 0 => Err(negative(name, value)),
            value => Ok(value.unwrap_or(default) as usize),
        };
        let linger = props.millis("lingerInterval")?.unwrap_or(0);
        if linger < 0 {
            return Err(negative("lingerInterval", linger));
        }
        Ok(Self {
            send_single: props.bool("sendSingle")?.unwrap_or(false),
            omit_if_empty: props.bool("omitIfEmpty")?.unwrap_or(false),
            fields,
            exclude,
            data_field,
            template: text(props, "dataTemplate")?,
            format: Arc::from(
                props.text("format")?.filter(|f| !f.is_empty()).unwrap_or("json").to_ascii_lowercase(),
            ),
            batch_size: count("batchSize", 0)?,
            linger,
            buffer_length: count("bufferLength", 1_024)?,
            cache_length: count("memoryCacheThreshold", 1_024)?,
            retry: props.bool("enableCache")?.unwrap_or(true),
            resend_interval: props.millis("resendInterval")?.unwrap_or(0),
        })
    }

    /// Whether rows can be written as they are.
    pub(crate) fn is_plain(&self) -> bool {
        self.fields.is_empty() && self.exclude.is_empty() && self.data_field.is_none()
    }
}

fn negative(name: &str, value: i64) -> Diagnostic {
    Diagnostic::new(ErrorCode::Executor, format!("property \"{name}\" must not be negative, not {value}"))
}

fn text(props: &Props, name: &str) -> Result<Option<Arc<str>>, Diagnostic> {
    Ok(props.text(name)?.filter(|text| !text.is_empty()).map(Arc::from))
}

fn names(props: &Props, name: &str) -> Result<Vec<Arc<str>>, Diagnostic> {
    let wrong = |got: &Json| {
        Diagnostic::new(
            ErrorCode::Executor,
            format!("property \"{name}\" must be a list of strings, not {got}"),
        )
    };
    match props.get(name) {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::Array(items)) => {
            items.iter().map(|item| item.as_str().map(Arc::from).ok_or_else(|| wrong(item))).collect()
        }
        Some(other) => Err(wrong(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Json) -> Result<SinkOptions, Diagnostic> {
        let Json::Object(entries) = json else { panic!("an object") };
        SinkOptions::read(&Props::from(entries))
    }

    #[test]
    fn defaults_are_upstreams_and_names_match_in_any_case() {
        let options = read(serde_json::json!({"SendSingle": true, "excludefields": ["a"]})).unwrap();
        assert!(options.send_single && !options.omit_if_empty && !options.is_plain());
        assert_eq!((options.buffer_length, &*options.format), (1_024, "json"));
    }

    #[test]
    fn contradictions_and_wrong_types_name_the_property() {
        let both = read(serde_json::json!({"fields": ["a"], "excludeFields": ["b"]})).unwrap_err();
        assert_eq!(both.message, "field and excludeFields cannot both be set");
        let wrong = read(serde_json::json!({"fields": "a"})).unwrap_err();
        assert_eq!(wrong.message, "property \"fields\" must be a list of strings, not \"a\"");
        let negative = read(serde_json::json!({"batchSize": -1})).unwrap_err();
        assert_eq!(negative.message, "property \"batchSize\" must not be negative, not -1");
    }
}
