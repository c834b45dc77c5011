//! The common properties of sinks (connectors.md chapter 3), as meant.

use std::sync::Arc;

use serde_json::Value as Json;
use thalweg_core::{Diagnostic, ErrorCode, Props};
use thalweg_expr::codec::Codec;

/// What an action wants done to results before they leave.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SinkOptions {
    /// One message per row.
    pub send_single: bool,
    /// Errors of `sendError` are bare text in every format that is text, as eKuiper has them (R5.10).
    pub error_as_text: bool,
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
    /// How each message is packed (F5.1).
    pub compression: Option<Codec>,
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
        if let Some(name) = text(props, "encryption")? {
            return Err(refused(format!(
                "encryption \"{name}\" is not supported yet; send over TLS instead"
            )));
        }
        check_cache(props)?;
        Ok(Self {
            send_single: props.bool("sendSingle")?.unwrap_or(false),
            error_as_text: props.bool("errorAsText")?.unwrap_or(false),
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
            cache_length: props.int("memoryCacheThreshold")?.unwrap_or(1_024).max(0) as usize,
            retry: props.bool("enableCache")?.unwrap_or(true),
            resend_interval: props.millis("resendInterval")?.unwrap_or(0),
            compression: text(props, "compression")?.map(|name| codec("compression", &name)).transpose()?,
        })
    }

    /// Whether results are collected into larger messages (C3.12).
    pub(crate) fn is_batching(&self) -> bool {
        self.batch_size > 0 || self.linger > 0
    }

    /// Whether rows can be written as they are.
    pub(crate) fn is_plain(&self) -> bool {
        self.fields.is_empty() && self.exclude.is_empty() && self.data_field.is_none()
    }
}

/// The codec that a property names.
pub(crate) fn codec(property: &str, name: &str) -> Result<Codec, Diagnostic> {
    Codec::named(name).map_err(|why| refused(format!("property \"{property}\": {why}")))
}

fn refused(message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(ErrorCode::Executor, message)
}

fn negative(name: &str, value: i64) -> Diagnostic {
    refused(format!("property \"{name}\" must not be negative, not {value}"))
}

/// K5.1: checked for every sink, cache on or not.
fn check_cache(props: &Props) -> Result<(), Diagnostic> {
    let int = |name: &str, default: i64| Ok::<i64, Diagnostic>(props.int(name)?.unwrap_or(default));
    let memory = int("memoryCacheThreshold", 1_024)?;
    let (disk, page) = (int("maxDiskCache", 1_024_000)?, int("bufferPageSize", 256)?);
    let is_whole = |length: i64| page <= 0 || length.rem_euclid(page) == 0;
    let rules = [
        (memory >= 0, "memoryCacheThreshold:memoryCacheThreshold must be positive"),
        (disk >= 0, "maxDiskCache:maxDiskCache must be positive"),
        (page >= 1, "bufferPageSize:bufferPageSize must be positive"),
        (props.millis("resendInterval")?.unwrap_or(0) >= 0, "resendInterval:resendInterval must be positive"),
        (
            memory >= page,
            "memoryCacheThresholdTooSmall:memoryCacheThreshold must be greater than or equal to bufferPageSize",
        ),
        (
            is_whole(memory),
            "memoryCacheThresholdNotMultiple:memoryCacheThreshold must be a multiple of bufferPageSize",
        ),
        (disk >= page, "maxDiskCacheTooSmall:maxDiskCache must be greater than bufferPageSize"),
        (is_whole(disk), "maxDiskCacheNotMultiple:maxDiskCache must be a multiple of bufferPageSize"),
        ((-1..=1).contains(&int("resendPriority", 0)?), "resendPriority:resendPriority must be -1, 0 or 1"),
    ];
    let broken: Vec<&str> = rules.iter().filter(|(holds, _)| !holds).map(|(_, text)| *text).collect();
    match broken.is_empty() {
        true => Ok(()),
        false => Err(refused(format!("invalid cache properties: {}", broken.join("\n")))),
    }
}

/// Properties that are written but change nothing here; worth a warning, so that nobody relies on them.
pub fn without_effect(props: &Props) -> Vec<&'static str> {
    let says = |name: &str| match props.get(name) {
        None | Some(Json::Null | Json::Bool(false)) => false,
        Some(Json::String(text)) => !text.is_empty(),
        Some(_) => true,
    };
    let notes = [
        (
            "enableCache",
            "enableCache: the cache is in memory; with qos 0 what waits when the rule stops is lost, and counted",
        ),
        (
            "cleanCacheAtStop",
            "cleanCacheAtStop: there is no cache on disk to clean; with qos 0 nothing is kept over a stop",
        ),
        ("schemaId", "schemaId: no format here has schemas yet"),
        ("encProps", "encProps: messages are not encrypted"),
        ("maxDiskCache", "maxDiskCache: there is no cache on disk yet; memoryCacheThreshold is the limit"),
        ("bufferPageSize", "bufferPageSize: there is no cache on disk yet"),
        ("resendAlterQueue", "resendAlterQueue: failed messages are resent in order, before new ones"),
        ("resendDestination", "resendDestination: failed messages are resent to where they were meant for"),
        ("resendIndicatorField", "resendIndicatorField: resent messages are as they were"),
        ("compressionProps", "compressionProps: the compression has no options here"),
    ];
    let format = props.get("format").and_then(Json::as_str).unwrap_or("json");
    let is_text = format.eq_ignore_ascii_case("delimited");
    let of_text = [
        ("delimiter", "delimiter: it is for the format delimited"),
        ("hasHeader", "hasHeader: it is for the format delimited"),
    ];
    let of_text = of_text.into_iter().filter(|_| !is_text);
    notes.into_iter().chain(of_text).filter(|(name, _)| says(name)).map(|(_, note)| note).collect()
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
    fn k5_1_cache_properties_are_checked_even_without_a_cache() {
        let wrong = read(serde_json::json!({"memoryCacheThreshold": 100, "maxDiskCache": 1000})).unwrap_err();
        let texts: Vec<&str> = wrong.message.lines().collect();
        assert_eq!(
            texts,
            [
                "invalid cache properties: memoryCacheThresholdTooSmall:memoryCacheThreshold must be greater than \
                 or equal to bufferPageSize",
                "memoryCacheThresholdNotMultiple:memoryCacheThreshold must be a multiple of bufferPageSize",
                "maxDiskCacheNotMultiple:maxDiskCache must be a multiple of bufferPageSize",
            ]
        );
        assert!(read(serde_json::json!({"memoryCacheThreshold": 256, "bufferPageSize": 256})).is_ok());
        let page = read(serde_json::json!({"bufferPageSize": 0})).unwrap_err();
        assert_eq!(page.message, "invalid cache properties: bufferPageSize:bufferPageSize must be positive");
    }

    #[test]
    fn what_has_no_effect_is_told_and_what_cannot_be_done_is_refused() {
        let Json::Object(entries) = serde_json::json!({
            "resendAlterQueue": true, "resendIndicatorField": "", "cleanCacheAtStop": true
        }) else {
            panic!("an object")
        };
        let notes = without_effect(&Props::from(entries));
        assert_eq!(notes.len(), 2, "{notes:?}");
        let refused = read(serde_json::json!({"encryption": "aes"})).unwrap_err();
        assert_eq!(refused.message, "encryption \"aes\" is not supported yet; send over TLS instead");
        let unknown = read(serde_json::json!({"compression": "lz4"})).unwrap_err();
        assert!(unknown.message.starts_with("property \"compression\": unsupported compression method lz4"));
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
