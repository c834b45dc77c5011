//! A host in a folder of its own, packages for it, and calls of its functions.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use thalweg_core::column::ColumnRef;
use thalweg_core::json::{self as text, Numbers};
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Cell, Column, Selection, Timestamp, Value};
use thalweg_expr::function::{CallCx, Frame};
use thalweg_expr::registry::RemoteFunctions;
use thalweg_service::{InstallRequest, ServiceConfig, ServiceError, ServiceHost};
use tokio::runtime::Runtime;

pub(crate) const DESK: &str = include_str!("desk.proto");
pub(crate) const LIBRARY: &str = include_str!("library.proto");

pub(crate) struct Desk {
    pub(crate) host: Arc<ServiceHost>,
    pub(crate) home: TempDir,
    pub(crate) io: Runtime,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut ServiceConfig)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let io = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut config = Self::config(&home, &io);
        change(&mut config);
        Self { host: ServiceHost::open(config), home, io }
    }

    fn config(home: &TempDir, io: &Runtime) -> ServiceConfig {
        ServiceConfig {
            data_dir: home.path().join("data"),
            etc_dir: home.path().join("etc"),
            allow_external_files: true,
            allow_private_net: true,
            io: io.handle().clone(),
        }
    }

    /// The same home with another host, as after a restart.
    pub(crate) fn restarted(self) -> Self {
        let host = ServiceHost::open(Self::config(&self.home, &self.io));
        Self { host, ..self }
    }

    /// Writes a zip of these files.
    pub(crate) fn zip(&self, name: &str, files: &[(&str, &str)]) -> InstallRequest {
        let path = self.home.path().join(format!("{name}.zip"));
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        for (path, content) in files {
            zip.start_file(*path, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        InstallRequest { name: name.to_owned(), file: format!("file://{}", path.display()) }
    }

    pub(crate) fn install(&self, name: &str, files: &[(&str, &str)]) -> Result<(), ServiceError> {
        self.host.install(&self.zip(name, files))
    }

    /// Service `s` with interface `i` of this address and protocol, and the schema `desk.proto`.
    pub(crate) fn desk(&self, protocol: &str, address: &str, options: Json) {
        self.of(protocol, address, options, ("desk.proto", DESK));
    }

    pub(crate) fn of(&self, protocol: &str, address: &str, options: Json, (file, schema): (&str, &str)) {
        let definition = definition(protocol, address, options, file).to_string();
        self.install("s", &[("s.json", &definition), (&format!("schemas/{file}"), schema)]).unwrap();
    }

    pub(crate) fn services(&self) -> PathBuf {
        self.home.path().join("data/services")
    }

    /// Calls a function once a row; arguments and results are JSON, results that are errors begin with `!`.
    pub(crate) fn calls(&self, function: &str, rows: &[&str]) -> Vec<String> {
        let function = self.host.resolve(function).unwrap().expect("the function is there");
        let rows: Vec<Vec<Value>> = rows.iter().map(|row| list(row)).collect();
        let n_args = rows.first().map_or(0, Vec::len);
        let columns: Vec<Column> =
            (0..n_args).map(|at| Column::from_values(rows.iter().map(|row| &row[at]))).collect();
        let args: Vec<ColumnRef<'_>> = columns.iter().map(ColumnRef::borrowed).collect();
        let (selected, mut out, metrics) =
            (Selection::all(rows.len()), Column::new(), NodeMetrics::default());
        let cx = CallCx { rule: "r", node: "2_project", call_id: 0, now: Timestamp(0), metrics: &metrics };
        function.call(&Frame { args: &args, rows: &selected, groups: None }, &mut out, &cx);
        assert_eq!(out.len(), rows.len());
        (0..rows.len()).map(|row| shown(out.cell(row))).collect()
    }

    /// One call.
    pub(crate) fn call(&self, function: &str, args: &str) -> String {
        self.calls(function, &[args]).remove(0)
    }
}

/// Nearly all calls were refused without a try: the few others are those that found out, and one after each pause.
pub(crate) fn nearly_all_refused_at_once(shown: &[String]) {
    let refused = shown.iter().filter(|shown| shown.contains("; next try in ")).count();
    assert!(refused * 10 > shown.len() * 9, "{refused} of {}: {}", shown.len(), shown[shown.len() - 1]);
}

/// A definition of interface `i`. Calls may take long where the test is not about that: machines are busy.
pub(crate) fn definition(protocol: &str, address: &str, mut options: Json, schema: &str) -> Json {
    if let Some(options) = options.as_object_mut() {
        options.entry("timeout").or_insert_with(|| json!("30s"));
    }
    json!({"about": {"author": {"name": "we"}}, "interfaces": {"i": {
        "address": address, "protocol": protocol, "schemaType": "protobuf", "schemaFile": schema, "options": options,
    }}})
}

fn list(row: &str) -> Vec<Value> {
    match text::parse(row.as_bytes(), Numbers::Whole).unwrap() {
        Value::List(items) => items.iter().map(with_bytes).collect(),
        other => panic!("{other:?} is no list of arguments"),
    }
}

/// A text that begins with `b:` stands for bytes.
fn with_bytes(value: &Value) -> Value {
    match value {
        Value::Str(text) if text.starts_with("b:") => Value::Bytes(text.as_bytes()[2..].to_vec().into()),
        Value::List(items) => Value::list(items.iter().map(with_bytes).collect()),
        Value::Map(members) => {
            Value::map(members.iter().map(|(name, value)| (Arc::clone(name), with_bytes(value))).collect())
        }
        other => other.clone(),
    }
}

fn shown(cell: Cell<'_>) -> String {
    match cell {
        Cell::Error(error) => format!("!{error}"),
        cell => {
            let mut out = Vec::new();
            text::write_value(&mut out, &cell.to_value(), chrono_tz::UTC).unwrap();
            String::from_utf8(out).unwrap()
        }
    }
}
