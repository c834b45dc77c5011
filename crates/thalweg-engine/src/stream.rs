//! A stream or table: its statement checked, its defaults applied, its documents.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use thalweg_core::diagnostic::nearest;
use thalweg_core::registry::Registry;
use thalweg_core::{DataType, Diagnostic, ErrorCode, Props, Value};
use thalweg_plan::logical::ColumnDef;
use thalweg_plan::{SourceSteps, StreamDef};
use thalweg_sql::ast::{CreateSource, SourceKind};

use crate::document::Document;
use crate::error::EngineError;
use crate::id::check_id;
use crate::props::{SourceShape, extra_props, option};

/// The options of D-4 in the order of the describe document, with their names there.
const OPTIONS: [(&str, &str); 16] = [
    ("DATASOURCE", "datasource"),
    ("KEY", "key"),
    ("FORMAT", "format"),
    ("CONF_KEY", "confKey"),
    ("TYPE", "type"),
    ("STRICT_VALIDATION", "strictValidation"),
    ("TIMESTAMP", "timestamp"),
    ("TIMESTAMP_FORMAT", "timestampFormat"),
    ("SHARED", "shared"),
    ("SCHEMAID", "schemaid"),
    ("VERSION", "version"),
    ("EXTRA", "extra"),
    ("TEMP", "temp"),
    ("RETAIN_SIZE", "retainSize"),
    ("KIND", "kind"),
    ("DELIMITER", "delimiter"),
];

/// More connections no stream is split over.
const MOST_PARTS: u32 = 64;

/// The option of CREATE STREAM that a name in JSON stands for.
pub(crate) fn option_of(json_name: &str) -> Option<&'static str> {
    let found = OPTIONS.iter().find(|(_, name)| name.eq_ignore_ascii_case(json_name));
    let written = || OPTIONS.iter().find(|(option, _)| option.eq_ignore_ascii_case(json_name));
    found.or_else(written).map(|(option, _)| *option)
}

/// A defined stream or table.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamEntry {
    /// The statement as written.
    pub statement: String,
    /// Its tree.
    pub create: CreateSource,
    /// What the planner sees, without the flags that come from source properties.
    pub def: Arc<StreamDef>,
}

impl StreamEntry {
    /// Checks a definition (D-1 to D-5).
    ///
    /// # Errors
    /// What is wrong with its name, options or columns.
    pub fn new(statement: &str, create: CreateSource, registry: &Registry) -> Result<Self, EngineError> {
        check_id(&create.name.text).map_err(|error| EngineError::stream(error.message))?;
        let wrong: Vec<Diagnostic> = create
            .options
            .iter()
            .filter_map(|(name, value)| Some(check_option(&name.text, value, registry)?.at(name.span)))
            .collect();
        if !wrong.is_empty() {
            return Err(EngineError::from_text(statement, &wrong));
        }
        let def = Arc::new(define(&create)?);
        check_binary(&def)?;
        if def.is_lookup && def.source_type.eq_ignore_ascii_case("memory") && text(&create, "KEY").is_empty()
        {
            return Err(EngineError::stream("option 'key' is required for lookup tables of type memory"));
        }
        Ok(Self { statement: statement.to_owned(), create, def })
    }

    /// An option as written, if it is not empty. Names match in any case.
    pub fn option(&self, name: &str) -> Option<&str> {
        option(&self.create, name).filter(|value| !value.is_empty())
    }

    /// The definition with what the resolved source properties add. Its source gives bytes or rows (C2.1), and minds
    /// the property `interval` by itself or not (2.2).
    ///
    /// # Errors
    /// A property of the wrong type.
    pub fn resolved(&self, props: &Props, shape: SourceShape) -> Result<StreamDef, EngineError> {
        let is_set = |name| props.text(name).map(|text| text.is_some_and(|text| !text.is_empty()));
        let interval = if shape.minds_interval { None } else { props.millis("interval")? };
        let flag = |name| props.bool(name).map(Option::unwrap_or_default).map_err(EngineError::from);
        let mut def = StreamDef::clone(&self.def);
        def.whole_numbers = flag("useInt64ForWholeNumber")?;
        def.strict_json = flag("strictJson")?;
        def.split = self.connections(props)?;
        def.has_decoder = shape.gives_bytes;
        def.steps = SourceSteps {
            ratelimit: interval.is_some_and(|interval| interval > 0),
            decompress: is_set("decompression")?,
            payload: is_set("payloadFormat")?,
        };
        Ok(def)
    }

    /// The same with a simulator for its source.
    pub(crate) fn simulated(&self) -> Self {
        let mut def = StreamDef::clone(&self.def);
        def.source_type = Arc::from("simulator");
        def.format = Arc::from("json");
        def.shared = false;
        Self { def: Arc::new(def), ..self.clone() }
    }

    /// The property `split`: over how many connections the stream comes.
    fn connections(&self, props: &Props) -> Result<u32, EngineError> {
        let n = props.int("split")?.unwrap_or(1);
        let fits = u32::try_from(n).ok().filter(|n| (1..=MOST_PARTS).contains(n));
        fits.ok_or_else(|| {
            let name = &self.def.name;
            EngineError::plain(format!(
                "stream {name}: property \"split\" must be 1 to {MOST_PARTS}, not {n}"
            ))
        })
    }

    /// `scan` or `lookup`; only for tables.
    pub fn table_kind(&self) -> &'static str {
        if self.def.is_lookup { "lookup" } else { "scan" }
    }
}

/// The word for a kind in messages.
pub(crate) fn word(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Stream => "stream",
        SourceKind::Table => "table",
    }
}

/// The word for a kind at the start of a message.
pub(crate) fn capital(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Stream => "Stream",
        SourceKind::Table => "Table",
    }
}

fn text<'a>(create: &'a CreateSource, name: &str) -> &'a str {
    option(create, name).unwrap_or_default()
}

/// What is wrong with an option, in upstream's words, and what may stand there.
fn check_option(name: &str, value: &str, registry: &Registry) -> Option<Diagnostic> {
    let stream = |message: String| Diagnostic::new(ErrorCode::Stream, message);
    let invalid = |help: String| {
        Some(stream(format!("option '{}={value}' is invalid", name.to_lowercase())).help(help))
    };
    let one_of = |names: &[&str]| match nearest(value, names.iter().copied()) {
        Some(near) => invalid(format!("did you mean {near}?")),
        None => invalid(format!("it is one of {}", names.join(", "))),
    };
    match name.to_uppercase().as_str() {
        "SHARED" | "STRICT_VALIDATION" | "TEMP" if !is_bool(value) => one_of(&["true", "false"]),
        "RETAIN_SIZE" if value.parse::<u64>().is_err() => invalid("a whole number, 0 or more".to_owned()),
        "KIND" if !["scan", "lookup"].contains(&value.to_lowercase().as_str()) => one_of(&["scan", "lookup"]),
        "FORMAT" if !value.is_empty() && registry.format(value).is_none() => {
            let names = registry.format_names();
            one_of(&names.iter().map(String::as_str).collect::<Vec<_>>())
        }
        "EXTRA" if !value.is_empty() => extra_props(value).err().map(|error| stream(error.message)),
        known if OPTIONS.iter().any(|(option, _)| *option == known) => None,
        unknown => {
            let mistake = stream(format!("unknown option {name}"));
            let near = nearest(unknown, OPTIONS.iter().map(|(option, _)| *option));
            Some(near.map_or(mistake.clone(), |near| mistake.help(format!("did you mean {near}?"))))
        }
    }
}

fn is_bool(value: &str) -> bool {
    value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
}

fn define(create: &CreateSource) -> Result<StreamDef, EngineError> {
    let flag = |name: &str| text(create, name).eq_ignore_ascii_case("true");
    let some = |name: &str| Some(text(create, name)).filter(|value| !value.is_empty()).map(Arc::from);
    let is_table = create.kind == SourceKind::Table;
    // P1.2.
    let source_type: Arc<str> =
        some("TYPE").unwrap_or_else(|| Arc::from(if is_table { "file" } else { "mqtt" }));
    let default_retain = if source_type.eq_ignore_ascii_case("file") { 9_999 } else { 1 };
    let columns = create.columns.iter().map(|column| ColumnDef {
        name: Arc::clone(&column.name.text),
        data_type: column.data_type.clone(),
        default: column.default.clone(),
    });
    Ok(StreamDef {
        name: Arc::clone(&create.name.text),
        kind: create.kind,
        columns: (!create.columns.is_empty()).then(|| columns.collect()),
        source_type,
        datasource: Arc::from(text(create, "DATASOURCE")),
        format: Arc::from(some("FORMAT").unwrap_or_else(|| Arc::from("json")).to_lowercase()),
        shared: flag("SHARED"),
        strict: flag("STRICT_VALIDATION"),
        timestamp: some("TIMESTAMP"),
        timestamp_format: some("TIMESTAMP_FORMAT"),
        is_lookup: is_table && text(create, "KIND").eq_ignore_ascii_case("lookup"),
        retain: text(create, "RETAIN_SIZE").parse().unwrap_or(default_retain),
        temp: flag("TEMP"),
        version: Arc::from(text(create, "VERSION").to_lowercase()),
        options: create
            .options
            .iter()
            .map(|(name, value)| (Arc::clone(&name.text), Arc::clone(value)))
            .collect(),
        whole_numbers: false,
        strict_json: false,
        split: 0,
        has_decoder: true,
        steps: SourceSteps::default(),
    })
}

/// D-5.
fn check_binary(def: &StreamDef) -> Result<(), EngineError> {
    if def.format.as_ref() != "binary" {
        return Ok(());
    }
    if def.kind == SourceKind::Table {
        return Err(EngineError::stream("'binary' format is not supported for table"));
    }
    match def.columns.as_deref() {
        None | Some([ColumnDef { data_type: DataType::Bytea, .. }]) => Ok(()),
        Some([column]) => Err(EngineError::stream(format!(
            "'binary' format stream can have only 'bytea' type field, but field '{}' is of another type",
            column.name
        ))),
        Some(_) => Err(EngineError::stream("'binary' format stream can have only one field")),
    }
}

/// The describe document of `rest-api.md` 4.
pub(crate) fn describe(entry: &StreamEntry) -> Document {
    let fields = entry.def.columns.as_ref().map_or(Document::Plain(Json::Null), |columns| {
        Document::List(columns.iter().map(describe_column).collect())
    });
    let mut options = Document::object();
    for (option, name) in OPTIONS {
        let value = text(&entry.create, option);
        options = match option {
            "SHARED" | "STRICT_VALIDATION" | "TEMP" => {
                options.with_some(name, value.eq_ignore_ascii_case("true"))
            }
            "RETAIN_SIZE" => options.with_some(name, value.parse::<u64>().unwrap_or_default()),
            "KIND" | "VERSION" => options.with_some(name, value.to_lowercase()),
            _ => options.with_some(name, value),
        };
    }
    Document::object()
        .with("Name", entry.def.name.as_ref())
        .with("StreamFields", fields)
        .with("Options", options)
        .with("StreamType", u8::from(entry.def.kind == SourceKind::Table))
        .with("Statement", Json::Null)
}

fn describe_column(column: &ColumnDef) -> Document {
    let document = Document::object()
        .with("FieldType", describe_type(&column.data_type))
        .with("Name", column.name.as_ref());
    match &column.default {
        Some(default) => document.with("DefaultClause", json_of(default)),
        None => document,
    }
}

fn describe_type(data_type: &DataType) -> Document {
    match data_type {
        DataType::Array(element) => {
            Document::object().with("Type", "array").with("ElementType", describe_type(element))
        }
        DataType::Struct(members) => {
            let member = |(name, inner): &(Arc<str>, DataType)| {
                Document::object().with("FieldType", describe_type(inner)).with("Name", name.as_ref())
            };
            Document::object()
                .with("Type", "struct")
                .with("Fields", Document::List(members.iter().map(member).collect()))
        }
        simple => Document::Plain(Json::from(simple.name())),
    }
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::Str(value) => json!(value.as_ref()),
        Value::Time(value) => json!(value.0),
        _ => Json::Null,
    }
}

/// The declared columns as a JSON schema; null for a schemaless stream.
pub(crate) fn schema(entry: &StreamEntry) -> Json {
    let Some(columns) = &entry.def.columns else { return Json::Null };
    let mut schema = Map::new();
    for column in columns {
        let mut field = schema_of(&column.data_type);
        if let Some(default) = &column.default {
            field.insert("default".to_owned(), Json::from(plain_text(default)));
        }
        schema.insert(column.name.to_string(), Json::Object(field));
    }
    Json::Object(schema)
}

fn schema_of(data_type: &DataType) -> Map<String, Json> {
    let mut field =
        Map::from_iter([("index".to_owned(), json!(0)), ("type".to_owned(), json!(data_type.name()))]);
    match data_type {
        DataType::Array(element) => {
            field.insert("items".to_owned(), Json::Object(schema_of(element)));
        }
        DataType::Struct(members) => {
            let members =
                members.iter().map(|(name, inner)| (name.to_string(), Json::Object(schema_of(inner))));
            field.insert("properties".to_owned(), Json::Object(members.collect()));
        }
        _ => {}
    }
    field
}

fn plain_text(value: &Value) -> String {
    match json_of(value) {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

/// The text of a DESCRIBE statement (D-7).
pub(crate) fn describe_text(entry: &StreamEntry) -> String {
    let mut lines = vec!["Fields".to_owned(), "-".repeat(80)];
    for column in entry.def.columns.iter().flatten() {
        let default = column
            .default
            .as_ref()
            .map_or_else(String::new, |value| format!("\tDEFAULT\t{}", plain_text(value)));
        lines.push(format!("{}\t{}{default}", column.name, type_text(&column.data_type)));
    }
    lines.push(String::new());
    for name in [
        "CONF_KEY",
        "DATASOURCE",
        "FORMAT",
        "SCHEMAID",
        "KEY",
        "RETAIN_SIZE",
        "SHARED",
        "STRICT_VALIDATION",
        "TIMESTAMP",
        "TIMESTAMP_FORMAT",
        "TYPE",
        "EXTRA",
        "VERSION",
    ] {
        let value = text(&entry.create, name);
        if !value.is_empty() && !value.eq_ignore_ascii_case("false") {
            lines.push(format!("{name}: {value}"));
        }
    }
    lines.join("\n")
}

fn type_text(data_type: &DataType) -> String {
    match data_type {
        DataType::Array(element) => format!("array({})", type_text(element)),
        DataType::Struct(members) => {
            let members: Vec<String> =
                members.iter().map(|(name, inner)| format!("{name} {}", type_text(inner))).collect();
            format!("struct({})", members.join(", "))
        }
        simple => simple.name().to_owned(),
    }
}
