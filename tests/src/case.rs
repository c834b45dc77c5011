//! One case: streams, a rule, events, and the messages that must come out. The recorded corpus in
//! `tests/conformance/cases` and the hand-written cases in `tests/golden` become the same type.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value as Json};

/// A case.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// Unique over all files.
    pub id: String,
    /// The file it came from.
    pub area: String,
    /// Name and CREATE statement of each stream or table, in order.
    pub streams: Vec<(String, String)>,
    /// The rule's SQL, or what `form` says.
    pub sql: String,
    /// What `sql` is.
    pub form: Form,
    /// Rule options.
    pub options: Map<String, Json>,
    /// Extra properties of the action.
    pub action: Map<String, Json>,
    /// The type of the sink; empty: mqtt.
    pub sink: String,
    /// What the instance is told: `ignoreCase`, and the properties that `props(name)` answers.
    pub instance: Map<String, Json>,
    /// What happens, in order.
    pub events: Vec<Event>,
    /// Rows inside a message are a multiset.
    pub unordered: bool,
    /// Epoch ms at which the rule starts.
    pub start: i64,
    /// Epoch ms up to which the clock runs; `None`: it stands still.
    pub end: Option<i64>,
    /// What must come out.
    pub expect: Expect,
}

/// What the text of a case is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// A rule's SQL.
    #[default]
    Sql,
    /// A statement about streams, executed behind those of the case.
    Statement,
    /// A whole rule document.
    Document,
    /// The `graph` of a rule document. Messages stand under the names of their sinks, by time and by name.
    Graph,
}

/// One message on its way in.
#[derive(Debug, Clone)]
pub struct Event {
    /// The stream.
    pub stream: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// When it arrives, epoch ms; `None`: at once.
    pub at: Option<i64>,
}

/// What must come out.
#[derive(Debug, Clone)]
pub enum Expect {
    /// The stream or the rule is refused; the text that the message must hold, if any.
    Refused(Option<String>),
    /// These messages in order.
    Messages(Vec<Json>),
    /// These messages at these times (epoch ms).
    Timed(Vec<(i64, Json)>),
}

impl Default for Expect {
    fn default() -> Self {
        Self::Messages(Vec::new())
    }
}

/// The time at which cases without a clock of their own run: 2024-02-29 13:14:15 UTC.
pub const DEFAULT_START: i64 = 1_709_212_455_000;

/// Every recorded case below a folder.
///
/// # Errors
/// A file that cannot be read or is no case.
pub fn recorded(folder: &Path) -> Result<Vec<Case>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "jsonl")) {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        for line in text.split('\n').filter(|line| !line.trim().is_empty()) {
            let json: Json =
                serde_json::from_str(line).map_err(|error| format!("{}: {error}", file.display()))?;
            cases.push(from_json(&json));
        }
    }
    Ok(cases)
}

fn text(json: &Json, key: &str) -> String {
    json[key].as_str().unwrap_or_default().to_owned()
}

fn from_json(json: &Json) -> Case {
    let list = |key: &str| json[key].as_array().cloned().unwrap_or_default();
    let object = |key: &str| json[key].as_object().cloned().unwrap_or_default();
    Case {
        id: text(json, "id"),
        area: text(json, "area"),
        streams: list("streams").iter().map(|stream| (text(stream, "name"), definition(stream))).collect(),
        sql: text(json, "sql"),
        form: Form::Sql,
        options: object("options"),
        action: object("action"),
        sink: String::new(),
        instance: Map::new(),
        events: list("events").iter().filter_map(event).collect(),
        unordered: json["unordered"] == true,
        start: json["start"].as_i64().unwrap_or(DEFAULT_START),
        end: json["end"].as_i64(),
        expect: expectation(&json["expect"]),
    }
}

/// The CREATE statement, as `run.py` makes it.
fn definition(stream: &Json) -> String {
    let name = text(stream, "name");
    if let Some(ddl) = stream["ddl"].as_str() {
        return ddl.replace("{name}", &name).replace("{source}", &name);
    }
    let mut options: Map<String, Json> = Map::new();
    options.insert("DATASOURCE".to_owned(), Json::from(name.as_str()));
    options.insert("FORMAT".to_owned(), Json::from("JSON"));
    options.insert("TYPE".to_owned(), Json::from("mqtt"));
    options.extend(stream["with"].as_object().cloned().unwrap_or_default());
    let option = |(key, value): (&String, &Json)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{key}=\"{}\"", value.replace('"', "\\\""))
    };
    let options: Vec<String> = options.iter().map(option).collect();
    let kind = stream["kind"].as_str().unwrap_or("STREAM");
    format!("CREATE {kind} {name} ({}) WITH ({})", text(stream, "columns"), options.join(", "))
}

fn event(json: &Json) -> Option<Event> {
    let stream = json[0].as_str()?.to_owned();
    if stream == "sleep" {
        return None;
    }
    let payload = json[1].as_str().map_or_else(|| json[1].to_string(), str::to_owned).into_bytes();
    Some(Event { stream, payload, at: json[2].as_i64() })
}

fn expectation(json: &Json) -> Expect {
    if json["create"].as_i64().unwrap_or(201) / 100 != 2 {
        return Expect::Refused(json["error"].as_str().map(str::to_owned));
    }
    match json["timed_messages"].as_array() {
        Some(timed) => {
            Expect::Timed(timed.iter().map(|m| (m[0].as_i64().unwrap_or(0), m[1].clone())).collect())
        }
        None => Expect::Messages(json["messages"].as_array().cloned().unwrap_or_default()),
    }
}
