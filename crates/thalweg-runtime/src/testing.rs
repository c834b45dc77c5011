//! What the tests of this crate share: a small JSON format, plans built by hand, and rule specs around them.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::connector::Connector;
use thalweg_core::format::{Decoder, Encoder, Format, Message, RawBatch};
use thalweg_core::json::{self, Numbers};
use thalweg_core::registry::Registry;
use thalweg_core::{
    BatchBuilder, BinaryOp, Diagnostic, FormatError, Projection, Props, Schema, Slot, Value, Want,
};
use thalweg_expr::Expr;
use thalweg_plan::logical::{Empty, Kind, Node, OutputColumn, Plan, Scan, StreamDef};

use crate::rule::{ActionSpec, RuleSpec, RunOptions, SourceSpec};

/// JSON objects, decoded without haste.
struct TestJson;

struct TestDecoder(Arc<Projection>);

impl Format for TestJson {
    fn name(&self) -> &'static str {
        "json"
    }

    fn decoder(&self, want: &Arc<Projection>, _props: &Props) -> Result<Box<dyn Decoder>, Diagnostic> {
        Ok(Box::new(TestDecoder(Arc::clone(want))))
    }

    fn encoder(&self, _props: &Props) -> Result<Box<dyn Encoder>, Diagnostic> {
        Ok(Box::new(TestEncoder))
    }
}

struct TestEncoder;

impl Encoder for TestEncoder {
    fn encode(&mut self, _message: Message<'_>, _out: &mut Vec<u8>) -> Result<(), FormatError> {
        Err(FormatError::new("not for tests"))
    }
}

impl Decoder for TestDecoder {
    fn decode(&mut self, raw: &RawBatch, into: &mut BatchBuilder) {
        for index in 0..raw.len() {
            let rows = into.n_rows();
            let row = match json::parse(raw.payload(index), Numbers::Float) {
                Ok(Value::Map(row)) => row,
                Ok(_) => {
                    into.fail(rows, &FormatError::new("not an object"));
                    continue;
                }
                Err(error) => {
                    into.fail(rows, &error);
                    continue;
                }
            };
            for (slot, wanted) in self.0.slots.iter().enumerate() {
                match &wanted.want {
                    Want::Column { path, .. } => {
                        if let Some(value) = row.get(&path[0]) {
                            into.column(slot).push_value(value);
                        }
                    }
                    Want::Path { column, steps, .. } => {
                        let found = row.get(column).cloned().unwrap_or_default();
                        match thalweg_core::path::follow(&found, steps) {
                            Ok(value) => into.column(slot).push_value(&value),
                            Err(error) => into.column(slot).push_error(error),
                        }
                    }
                    Want::Everything => into.column(slot).push_value(&Value::Map(Arc::clone(&row))),
                    Want::Meta => {
                        if let Some(Some(meta)) = raw.meta.get(index) {
                            into.column(slot).push_value(&Value::Map(Arc::clone(meta)));
                        }
                    }
                }
            }
            into.end_row(raw.times[index]);
        }
    }
}

static FORMATS: &[&'static dyn Format] = &[&TestJson];

/// A registry with JSON and these connectors.
pub(crate) fn registry(connectors: &'static [Connector]) -> Arc<Registry> {
    Arc::new(Registry::new(connectors, FORMATS))
}

/// A schemaless stream with a decoder.
pub(crate) fn stream(name: &str, source_type: &str, shared: bool) -> Arc<StreamDef> {
    Arc::new(StreamDef {
        source_type: Arc::from(source_type),
        datasource: Arc::from(name),
        format: Arc::from("json"),
        shared,
        has_decoder: true,
        ..StreamDef::schemaless(&Arc::from(name))
    })
}

/// A scan of these columns.
pub(crate) fn scan(stream: &Arc<StreamDef>, columns: &[&str]) -> Node {
    let mut projection = Projection { source: Arc::clone(&stream.name), ..Projection::default() };
    for name in columns {
        let want = match *name {
            "*" => Want::Everything,
            _ => Want::Column { path: vec![Arc::from(*name)], data_type: None },
        };
        projection.slot(want, None);
    }
    let schema = Arc::new(projection.schema());
    let scan = Scan {
        stream: Arc::clone(stream),
        alias: Arc::clone(&stream.name),
        projection,
        event_time: None,
        retain: None,
        late: None,
    };
    Node { name: Arc::clone(&stream.name), kind: Kind::Scan(scan), inputs: Vec::new(), schema }
}

/// A column.
pub(crate) fn column(slot: u32) -> Expr {
    Expr::Column(Slot(slot))
}

/// A constant.
pub(crate) fn literal(value: Value) -> Expr {
    Expr::literal(value)
}

/// `left op right`.
pub(crate) fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    Expr::Binary(op, Box::new(left), Box::new(right))
}

/// `left AND right`.
pub(crate) fn and(left: Expr, right: Expr) -> Expr {
    binary(BinaryOp::And, left, right)
}

/// `column slot > number`.
pub(crate) fn greater(slot: u32, number: i64) -> Expr {
    binary(BinaryOp::Gt, column(slot), literal(Value::Int(number)))
}

/// `SELECT columns FROM input WHERE condition`, with upstream's numbers for a stream with a decoder.
pub(crate) fn filter_project(input: Node, condition: Expr, columns: &[(&str, u32)]) -> Plan {
    let schema = Arc::clone(&input.schema);
    let filter =
        Node { name: Arc::from("3_filter"), kind: Kind::Filter(condition), inputs: vec![input], schema };
    project(filter, "4_project", columns)
}

/// `SELECT columns FROM input`.
pub(crate) fn project(input: Node, name: &str, columns: &[(&str, u32)]) -> Plan {
    let one = |(name, slot): &(&str, u32)| OutputColumn::One {
        name: Arc::from(*name),
        expr: Expr::Column(Slot(*slot)),
        empty: Empty::KeepNull,
    };
    let schema = Arc::new(Schema::computed(columns.iter().map(|(name, _)| *name)));
    let kind = Kind::Project(columns.iter().map(one).collect());
    let root = Node { name: Arc::from(name), kind, inputs: vec![input], schema };
    Plan { root, fingerprint: 7, is_collection: false, hosts: Vec::new(), warnings: Vec::new(), drawn: None }
}

/// A rule over these streams with one action.
pub(crate) fn spec(id: &str, plan: Plan, streams: &[&Arc<StreamDef>], action: serde_json::Value) -> RuleSpec {
    let source = |stream: &&Arc<StreamDef>| {
        let spec = SourceSpec { stream: Arc::clone(stream), props: Props::new(), connection: None };
        (Arc::clone(&stream.name), spec)
    };
    let serde_json::Value::Object(action) = action else { panic!("an action is an object") };
    let actions = action.into_iter().map(|(kind, props)| {
        let serde_json::Value::Object(props) = props else { panic!("properties are an object") };
        ActionSpec {
            kind: Arc::from(kind),
            index: 0,
            is_late: false,
            props: Props::from(props),
            connection: None,
            drawn: None,
        }
    });
    RuleSpec {
        id: Arc::from(id),
        plan,
        sources: streams.iter().map(source).collect::<BTreeMap<_, _>>(),
        actions: actions.collect(),
        options: RunOptions::default(),
    }
}
