//! The messages of the protocol as JSON (`portable-plugins.md` 5 to 8): what is written, and how answers are read.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use thalweg_core::{Cell, Fields, Timestamp, Value};
use thalweg_expr::function::{ArgShape, CallCx, CallSite};

use crate::frame::encode::Numbers;
use crate::manifest::Kind;

/// Integers beyond this cannot be floats without loss.
const EXACT: i64 = 1 << 53;

/// Trap 15: `handshake` is a keepalive, what merely begins with `h` is not. Section 12 adds JSON behind a blank.
pub(crate) fn is_keepalive(message: &[u8]) -> bool {
    message == b"handshake" || message.starts_with(b"handshake {")
}

/// A command on the control channel.
pub(crate) fn command(name: &str, control: &str) -> Vec<u8> {
    json!({"cmd": name, "arg": control}).to_string().into_bytes()
}

/// The control object of a function.
pub(crate) fn function_control(symbol: &str, address: &str) -> String {
    let mut control = json!({
        "symbolName": symbol,
        "meta": {"ruleId": "", "opId": "", "instanceId": 0},
        "pluginType": Kind::Function.wire_name(),
    });
    if address != symbol {
        control["channel"] = address.into();
    }
    control.to_string()
}

/// The control object of a source or sink. DATASOURCE goes out under both spellings (section 5).
pub(crate) fn control(kind: Kind, symbol: &str, rule: &str, op: &str, config: &Json) -> String {
    let mut control = json!({
        "symbolName": symbol,
        "meta": {"ruleId": rule, "opId": op, "instanceId": 0},
        "pluginType": kind.wire_name(),
        "config": config,
    });
    if let (Kind::Source, Some(datasource)) = (kind, config.get("datasource")) {
        control["dataSource"] = datasource.clone();
        control["datasource"] = datasource.clone();
    }
    control.to_string()
}

/// `IsAggregate`.
pub(crate) const IS_AGGREGATE: &[u8] = br#"{"func":"IsAggregate","arg":null}"#;

/// `Validate`, with the shapes that plugins may look at; what the planner does not know is `{}`.
pub(crate) fn validate(args: &[ArgShape]) -> Vec<u8> {
    let shape = |arg: &ArgShape| match arg {
        ArgShape::Literal(value) => {
            let mut text = String::new();
            write_value(&mut text, value);
            json!({"Val": serde_json::from_str::<Json>(&text).unwrap_or_default()})
        }
        ArgShape::Column { source, name } => json!({
            "StreamName": source.as_deref().unwrap_or("$$default"),
            "Name": &**name,
            "HasIndex": false,
            "SourceIndex": 0,
            "Index": 0,
        }),
        ArgShape::Other => json!({}),
    };
    json!({"func": "Validate", "arg": args.iter().map(shape).collect::<Vec<_>>()}).to_string().into_bytes()
}

/// The caller.
pub(crate) fn meta(site: &CallSite<'_>) -> Json {
    json!({"ruleId": site.rule, "opId": site.node, "instanceId": 0, "funcId": site.call_id})
}

/// The caller, as the last argument of every call: JSON inside a string.
pub(crate) fn context(cx: &CallCx<'_>) -> String {
    let context = meta(&cx.site());
    let mut out = String::new();
    write_text(&mut out, &context.to_string());
    out
}

/// Writes one `Exec` after the other into the same buffer.
pub(crate) struct ExecWriter {
    text: String,
    context: String,
    n_args: usize,
    /// Whether the call in hand has an argument that JSON has no number for, sent as null.
    pub(crate) lost_number: bool,
}

impl ExecWriter {
    pub(crate) fn new(cx: &CallCx<'_>) -> Self {
        Self { text: String::new(), context: context(cx), n_args: 0, lost_number: false }
    }

    pub(crate) fn begin(&mut self) {
        self.text.clear();
        self.text.push_str(r#"{"func":"Exec","arg":["#);
        self.n_args = 0;
        self.lost_number = false;
    }

    fn separate(&mut self) {
        if self.n_args > 0 {
            self.text.push(',');
        }
        self.n_args += 1;
    }

    /// An argument of a row function.
    pub(crate) fn value(&mut self, cell: Cell<'_>) {
        self.separate();
        self.cell(cell);
    }

    /// An argument of an aggregate.
    pub(crate) fn list<'a>(&mut self, cells: impl Iterator<Item = Cell<'a>>) {
        self.separate();
        self.text.push('[');
        for (index, cell) in cells.enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            self.cell(cell);
        }
        self.text.push(']');
    }

    fn cell(&mut self, cell: Cell<'_>) {
        self.lost_number |= matches!(cell, Cell::Float(value) if !value.is_finite());
        write_cell(&mut self.text, cell);
    }

    /// The whole message.
    pub(crate) fn finish(&mut self) -> &[u8] {
        self.separate();
        self.text.push_str(&self.context);
        self.text.push_str("]}");
        self.text.as_bytes()
    }
}

/// Writes a cell as upstream would: whole floats without `.0`, NaN as null, bytes as base64, times as RFC 3339.
pub(crate) fn write_cell(out: &mut String, cell: Cell<'_>) {
    match cell {
        Cell::Missing | Cell::Null | Cell::Error(_) => out.push_str("null"),
        Cell::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Cell::Int(value) => push_display(out, value),
        Cell::Float(value) => write_float(out, value),
        Cell::Str(value) => write_text(out, value),
        Cell::Bytes(value) => write_text(out, &STANDARD.encode(value)),
        Cell::Time(value) => write_time(out, value),
        Cell::Value(value) => write_value(out, value),
        Cell::Json(_) => write_value(out, &cell.to_value()),
    }
}

/// The same, for arguments whose whole floats stay floats.
pub(crate) fn write_cell_as(out: &mut String, cell: Cell<'_>, numbers: Numbers) {
    let from = out.len();
    let is_float = match (numbers, cell) {
        (Numbers::Json, _) => false,
        (Numbers::Typed, cell) => matches!(cell, Cell::Float(_)),
        (Numbers::Float, cell) => matches!(cell, Cell::Float(_) | Cell::Int(_)),
    };
    write_cell(out, cell);
    if is_float && out[from..].bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        out.push_str(".0");
    }
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => push_display(out, value),
        Value::Float(value) => write_float(out, *value),
        Value::Str(value) => write_text(out, value),
        Value::Bytes(value) => write_text(out, &STANDARD.encode(value)),
        Value::Time(value) => write_time(out, *value),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Map(fields) => {
            out.push('{');
            for (index, (name, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_text(out, name);
                out.push(':');
                write_value(out, value);
            }
            out.push('}');
        }
    }
}

/// A value as JSON text.
pub(crate) fn text_of(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value);
    out
}

/// A row as JSON.
pub(crate) fn row(row: &Arc<Fields>) -> String {
    text_of(&Value::Map(Arc::clone(row)))
}

/// Rows as one JSON list.
pub(crate) fn rows(rows: &[Arc<Fields>]) -> String {
    let mut out = String::new();
    write_value(&mut out, &Value::list(rows.iter().map(|row| Value::Map(Arc::clone(row))).collect()));
    out
}

fn push_display(out: &mut String, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{value}");
}

fn write_float(out: &mut String, value: f64) {
    let size = value.abs();
    if !value.is_finite() {
        out.push_str("null");
    } else if size == 0.0 || (1e-6..1e21).contains(&size) {
        push_display(out, value);
    } else {
        let text = format!("{value:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                push_display(out, format_args!("{digits}e+{exponent}"))
            }
            _ => out.push_str(&text),
        }
    }
}

pub(crate) fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

pub(crate) fn write_time(out: &mut String, time: Timestamp) {
    match chrono::DateTime::from_timestamp_millis(time.0) {
        None => out.push_str("null"),
        Some(time) => {
            let millis = time.timestamp_subsec_millis();
            let fraction = if millis == 0 { String::new() } else { format!(".{millis:03}") };
            let fraction = fraction.trim_end_matches('0');
            let _ = write!(out, "\"{}{fraction}Z\"", time.format("%Y-%m-%dT%H:%M:%S"));
        }
    }
}

/// A plugin's answer to a call.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) state: bool,
    pub(crate) result: Json,
    /// Some number was no JSON (`NaN`) and became null.
    pub(crate) had_nan: bool,
}

/// Reads an answer.
pub(crate) fn answer(message: &[u8]) -> Result<Answer, String> {
    let (document, had_nan) = parse(message)?;
    match document {
        Json::Object(mut fields) => {
            let Some(state) = fields.get("state").and_then(Json::as_bool) else {
                return Err(format!("invalid answer {}: no state", excerpt(message)));
            };
            Ok(Answer { state, result: fields.remove("result").unwrap_or_default(), had_nan })
        }
        _ => Err(format!("invalid answer {}: no object", excerpt(message))),
    }
}

/// JSON, in which Python's three words for numbers that JSON lacks are read as null (trap 8).
pub(crate) fn parse(message: &[u8]) -> Result<(Json, bool), String> {
    match serde_json::from_slice(message) {
        Ok(document) => Ok((document, false)),
        Err(error) => match without_nan(message).and_then(|text| serde_json::from_slice(&text).ok()) {
            Some(document) => Ok((document, true)),
            None => Err(format!("invalid answer {}: {error}", excerpt(message))),
        },
    }
}

pub(crate) fn without_nan(message: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let (mut out, mut rest, mut is_text, mut replaced) =
        (Vec::with_capacity(message.len()), message, false, false);
    while let Some((&byte, tail)) = rest.split_first() {
        if is_text && byte == b'\\' {
            let len = rest.len().min(2);
            out.extend_from_slice(&rest[..len]);
            rest = &rest[len..];
            continue;
        }
        if byte == b'"' {
            is_text = !is_text;
        }
        match WORDS.iter().find(|word| !is_text && rest.starts_with(word)) {
            Some(word) => {
                out.extend_from_slice(b"null");
                rest = &rest[word.len()..];
                replaced = true;
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    replaced.then_some(out)
}

/// The beginning of a message, for errors.
pub(crate) fn excerpt(message: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(message).chars().take(100).collect();
    format!("{text:?}")
}

/// A value out of an answer: numbers are floats, but integers that a float cannot hold keep their digits.
pub(crate) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(whole) if !(-EXACT..=EXACT).contains(&whole) => Value::Int(whole),
            _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::text(text),
        Json::Array(items) => Value::list(items.iter().map(value).collect()),
        Json::Object(members) => Value::map(fields(members)),
    }
}

fn fields(members: &serde_json::Map<String, Json>) -> Fields {
    members.iter().map(|(name, member)| (Arc::from(name.as_str()), value(member))).collect()
}

/// The part of an error that says what is wrong: the last line of a Python traceback, else the whole.
pub(crate) fn last_line(text: &str) -> &str {
    if text.starts_with("Traceback (most recent call last)") {
        return text.trim_end().lines().next_back().unwrap_or(text).trim();
    }
    text.trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell_text(value: &Value) -> String {
        let mut out = String::new();
        let column = thalweg_core::Column::from_values([value]);
        write_cell(&mut out, column.cell(0));
        out
    }

    #[test]
    fn values_go_in_as_upstream_writes_them() {
        for (value, text) in [
            (Value::Float(2.0), "2"),
            (Value::Float(0.1), "0.1"),
            (Value::Float(1e21), "1e+21"),
            (Value::Float(1e20), "100000000000000000000"),
            (Value::Float(1e-7), "1e-7"),
            (Value::Float(0.000001), "0.000001"),
            (Value::Float(f64::NAN), "null"),
            (Value::Float(f64::INFINITY), "null"),
            (Value::Int(i64::MIN), "-9223372036854775808"),
            (Value::text("a\"b\\\n\u{1}ü"), "\"a\\\"b\\\\\\n\\u0001ü\""),
            (Value::Bytes(bytes::Bytes::from_static(b"\xff\x00")), "\"/wA=\""),
            (Value::Time(Timestamp(3_120)), "\"1970-01-01T00:00:03.12Z\""),
            (Value::list(vec![Value::Float(1.0), Value::Null]), "[1,null]"),
        ] {
            assert_eq!(cell_text(&value), text);
        }
    }

    #[test]
    fn an_exec_message_ends_with_the_context_as_text() {
        let metrics = thalweg_core::metrics::NodeMetrics::default();
        let cx = CallCx { rule: "r\"1", node: "2_project", call_id: 3, now: Timestamp(0), metrics: &metrics };
        let mut writer = ExecWriter::new(&cx);
        for _ in 0..2 {
            writer.begin();
            writer.value(Cell::Int(1));
            writer.list([Cell::Float(0.5), Cell::Missing].into_iter());
            let message: Json = serde_json::from_slice(writer.finish()).unwrap();
            assert_eq!(message["arg"][1], json!([0.5, null]));
            let context: Json = serde_json::from_str(message["arg"][2].as_str().unwrap()).unwrap();
            assert_eq!(context, json!({"ruleId": "r\"1", "opId": "2_project", "instanceId": 0, "funcId": 3}));
        }
    }

    #[test]
    fn nan_in_an_answer_is_null_but_not_inside_of_text() {
        let answer =
            answer(br#"{"state": true, "result": [NaN, -Infinity, Infinity, "NaN \" NaN", 1]}"#).unwrap();
        assert!(answer.had_nan);
        assert_eq!(answer.result, json!([null, null, null, "NaN \" NaN", 1]));
    }

    #[test]
    fn whatever_is_no_answer_is_an_error_that_shows_it() {
        for wrong in ["", "hello", "[1]", "{}", "{\"state\":1}", "{\"state\":true", "NaN", "\"\\"] {
            let error = answer(wrong.as_bytes()).unwrap_err();
            assert!(error.starts_with("invalid answer"), "{error}");
        }
    }

    #[test]
    fn numbers_come_back_as_floats_and_large_integers_whole() {
        assert_eq!(value(&json!(2)), Value::Float(2.0));
        assert_eq!(value(&json!(9_007_199_254_740_993i64)), Value::Int(9_007_199_254_740_993));
    }

    #[test]
    fn only_the_word_itself_is_a_keepalive() {
        assert!(is_keepalive(b"handshake") && is_keepalive(b"handshake {\"thalweg\":1}"));
        assert!(!is_keepalive(b"hello") && !is_keepalive(b"handshakes"));
    }

    #[test]
    fn a_traceback_is_shown_by_its_last_line() {
        let text = "Traceback (most recent call last):\n  File \"x\"\nKeyError: 'x'\n";
        assert_eq!(last_line(text), "KeyError: 'x'");
        assert_eq!(last_line("symbol not found"), "symbol not found");
    }
}
