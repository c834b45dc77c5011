//! A small world for planner tests: streams from CREATE statements, functions from the table or, where the table
//! does not have them yet, from `functions.json` without a body.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value as Json;
use thalweg_core::Diagnostic;
use thalweg_expr::function::{Arg, ArgKind, Doc, Family, Function, FunctionKind, Nulls};
use thalweg_expr::{FunctionRef, FunctionRegistry};
use thalweg_plan::logical::ColumnDef;
use thalweg_plan::{Resolver, StreamDef};
use thalweg_sql::ast::{CreateSource, SourceKind};
use thalweg_sql::{Statement, parse};

/// Streams and functions.
pub(crate) struct World {
    streams: BTreeMap<String, Arc<StreamDef>>,
    functions: BTreeMap<String, FunctionRef>,
}

impl World {
    /// A world without streams.
    pub(crate) fn new() -> Self {
        Self { streams: BTreeMap::new(), functions: functions() }
    }

    /// Adds what a CREATE statement defines.
    pub(crate) fn create(&mut self, text: &str) -> Result<(), Vec<Diagnostic>> {
        let Statement::Create(create) = parse(text)? else { panic!("{text} is no CREATE statement") };
        let def = define(&create);
        self.streams.insert(def.name.to_string(), Arc::new(def));
        Ok(())
    }
}

impl Resolver for World {
    fn stream(&self, name: &str) -> Option<Arc<StreamDef>> {
        self.streams.get(name).cloned()
    }

    fn stream_names(&self) -> Vec<String> {
        self.streams.keys().cloned().collect()
    }

    fn function(&self, name: &str) -> Result<Option<FunctionRef>, Diagnostic> {
        let known = FunctionRegistry::default().resolve(name)?;
        let fallback =
            || self.functions.get(name).or_else(|| self.functions.get(&name.to_lowercase())).cloned();
        Ok(known.or_else(fallback))
    }

    fn function_names(&self) -> Vec<String> {
        self.functions.keys().cloned().collect()
    }
}

fn define(create: &CreateSource) -> StreamDef {
    let text = |name: &str| create.option(name).unwrap_or_default();
    let some = |name: &str| Some(text(name)).filter(|text| !text.is_empty()).map(Arc::from);
    let flag = |name: &str| text(name).eq_ignore_ascii_case("true");
    let source_type: Arc<str> = some("TYPE").unwrap_or_else(|| Arc::from("mqtt"));
    let column = |column: &thalweg_sql::ast::ColumnDef| ColumnDef {
        name: Arc::clone(&column.name.text),
        data_type: column.data_type.clone(),
        default: column.default.clone(),
    };
    StreamDef {
        name: Arc::clone(&create.name.text),
        kind: create.kind,
        columns: (!create.columns.is_empty()).then(|| create.columns.iter().map(column).collect()),
        has_decoder: !matches!(&*source_type, "memory" | "simulator"),
        steps: thalweg_plan::SourceSteps::default(),
        source_type,
        datasource: Arc::from(text("DATASOURCE")),
        format: Arc::from("json"),
        shared: flag("SHARED"),
        strict: flag("STRICT_VALIDATION"),
        timestamp: some("TIMESTAMP"),
        timestamp_format: some("TIMESTAMP_FORMAT"),
        is_lookup: create.kind == SourceKind::Table && text("KIND").eq_ignore_ascii_case("lookup"),
        retain: text("RETAIN_SIZE").parse().unwrap_or(1),
        temp: false,
        version: Arc::from(""),
        options: Vec::new(),
        whole_numbers: false,
        strict_json: false,
        split: 0,
    }
}

const DOC: Doc = Doc { family: Family::Other, summary: "", examples: &[] };

fn functions() -> BTreeMap<String, FunctionRef> {
    static FUNCTIONS: OnceLock<BTreeMap<String, FunctionRef>> = OnceLock::new();
    FUNCTIONS.get_or_init(read_functions).clone()
}

fn read_functions() -> BTreeMap<String, FunctionRef> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compat/functions.json");
    let text = std::fs::read_to_string(path).expect("the function list is part of the repository");
    let list: Vec<Json> = serde_json::from_str(&text).expect("the function list is JSON");
    let mut functions = BTreeMap::new();
    for row in list.iter().filter(|row| row["category"] != "external") {
        for name in std::iter::once(&row["name"]).chain(row["aliases"].as_array().into_iter().flatten()) {
            let function = function(name.as_str().unwrap_or_default(), row);
            functions.insert(function.name.to_owned(), FunctionRef::Builtin(function));
        }
    }
    functions
}

fn function(name: &str, row: &Json) -> &'static Function {
    let required = row["min_args"].as_u64().unwrap_or(0);
    let most = row["max_args"].as_u64();
    let mut args: Vec<Arg> = (0..most.unwrap_or(required + 1))
        .map(|index| {
            let arg = Arg::new("x", ArgKind::Any);
            if index >= required { arg.optional() } else { arg }
        })
        .collect();
    if most.is_none() {
        args = args.into_iter().map(Arg::repeated).collect();
    }
    let kind = match row["category"].as_str().unwrap_or_default() {
        _ if row["aggregate"] == true && !name.starts_with("last_agg") => {
            FunctionKind::Aggregate(|| unreachable!())
        }
        "analytic" | "accumulate" => FunctionKind::Analytic(|| unreachable!()),
        "set_returning" => FunctionKind::Multi(|_| unreachable!()),
        "window" | "multi_column" => FunctionKind::Planned,
        _ if name.contains("_hit_") => FunctionKind::Planned,
        _ if ["meta", "mqtt", "rule_id", "rule_start"].contains(&name) => FunctionKind::Planned,
        _ => FunctionKind::Row(|_, _| unreachable!()),
    };
    let name = Box::leak(name.to_owned().into_boxed_str());
    let function = Function {
        name,
        aliases: &[],
        args: Box::leak(args.into_boxed_slice()),
        kind,
        nulls: Nulls::Own,
        doc: DOC,
    };
    Box::leak(Box::new(function))
}
