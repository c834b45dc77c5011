//! The streams that random statements know, and all functions.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use thalweg_connectors::{CONNECTORS, FORMATS};
use thalweg_core::Diagnostic;
use thalweg_core::registry::Registry;
use thalweg_engine::StreamEntry;
use thalweg_expr::{Function, FunctionKind, FunctionRef, FunctionRegistry, registry};
use thalweg_plan::{Resolver, StreamDef};
use thalweg_sql::Statement;

/// What every random statement may read: a stream without and one with a schema, another for joins, one with event
/// time, a scan table and a lookup table.
pub(crate) const DEFINITIONS: &[&str] = &[
    "CREATE STREAM s () WITH (DATASOURCE='s', TYPE='mqtt', FORMAT='json')",
    "CREATE STREAM typed (id BIGINT, a BIGINT, f FLOAT, t STRING, b BOOLEAN, l ARRAY(BIGINT), m ARRAY(STRING), \
     o STRUCT(p BIGINT, q STRING), d DATETIME) WITH (DATASOURCE='typed', TYPE='mqtt', FORMAT='json')",
    "CREATE STREAM r () WITH (DATASOURCE='r', TYPE='mqtt', FORMAT='json')",
    "CREATE STREAM e () WITH (DATASOURCE='e', TYPE='mqtt', FORMAT='json', TIMESTAMP='ts')",
    "CREATE STREAM e2 () WITH (DATASOURCE='e2', TYPE='mqtt', FORMAT='json', TIMESTAMP='ts')",
    "CREATE TABLE tab () WITH (DATASOURCE='tab', TYPE='mqtt', FORMAT='json', RETAIN_SIZE='3')",
    "CREATE TABLE look () WITH (DATASOURCE='look', TYPE='memory', KEY='id', KIND='lookup')",
];

/// Streams, tables and functions.
#[derive(Clone)]
pub(crate) struct World {
    streams: BTreeMap<String, Arc<StreamDef>>,
}

impl World {
    /// Everything in [`DEFINITIONS`].
    pub(crate) fn usual() -> Self {
        static USUAL: LazyLock<World> = LazyLock::new(|| {
            let streams = DEFINITIONS.iter().filter_map(|text| define(text).ok());
            World { streams: streams.map(|def| (def.name.to_string(), Arc::new(def))).collect() }
        });
        USUAL.clone()
    }

    /// The same with all streams shared.
    pub(crate) fn shared(mut self) -> Self {
        for def in self.streams.values_mut() {
            let is_stream = def.kind == thalweg_plan::SourceKind::Stream;
            *def = Arc::new(StreamDef { shared: is_stream, ..StreamDef::clone(def) });
        }
        self
    }
}

/// A stream or table as the engine's catalog defines it.
pub(crate) fn define(text: &str) -> Result<StreamDef, String> {
    let registry = Registry::new(CONNECTORS, FORMATS);
    match thalweg_sql::parse(text) {
        Ok(Statement::Create(create)) => {
            let entry = StreamEntry::new(text, *create, &registry).map_err(|why| why.to_string())?;
            let has_decoder = !entry.def.is_lookup;
            Ok(StreamDef { has_decoder, ..StreamDef::clone(&entry.def) })
        }
        Ok(_) => Err("no definition".to_owned()),
        Err(mistakes) => Err(thalweg_sql::parse_error(text, &mistakes)),
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
        FunctionRegistry::default().resolve(name)
    }

    fn function_names(&self) -> Vec<String> {
        FunctionRegistry::default().names()
    }
}

/// Functions of one sort, by name.
pub(crate) struct Functions {
    /// Row by row, the same for the same arguments at the same moment.
    pub(crate) exact: Vec<&'static Function>,
    /// Over a collection.
    pub(crate) aggregate: Vec<&'static Function>,
    /// Over the rows before.
    pub(crate) analytic: Vec<&'static Function>,
    /// Every function there is.
    pub(crate) all: Vec<&'static Function>,
}

/// All functions of the table. Those that wait or roll dice are only in `all`.
pub(crate) fn functions() -> &'static Functions {
    static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
        let mut names = FunctionRegistry::default().names();
        names.sort();
        let mut all: Vec<&Function> = names.iter().filter_map(|name| registry::builtin(name)).collect();
        all.dedup_by_key(|function| function.name);
        let clocks = ["now", "tstamp", "cur_date", "cur_time"];
        let of = |test: &dyn Fn(&Function) -> bool| {
            all.iter().copied().filter(|function| test(function)).collect::<Vec<_>>()
        };
        Functions {
            exact: of(&|function| function.is_pure() || clocks.contains(&function.name)),
            aggregate: of(&|function| matches!(function.kind, FunctionKind::Aggregate(_))),
            analytic: of(&|function| matches!(function.kind, FunctionKind::Analytic(_))),
            all,
        }
    });
    &FUNCTIONS
}
