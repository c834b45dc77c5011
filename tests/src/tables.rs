//! Memory lookup tables of cases: their events are rows that a memory sink publishes (J-12 to J-16).

use std::path::PathBuf;
use std::sync::Arc;

use thalweg_core::connector::{BuildCx, SinkPayload, Spawner};
use thalweg_core::json::{self, Numbers};
use thalweg_core::registry::Registry;
use thalweg_core::{Clock, Props, Value};
use thalweg_runtime::Rig;
use tokio::runtime;

use crate::case::Case;

/// The rows that the lookup tables of one case have got.
#[derive(Default)]
pub(crate) struct Tables {
    names: Vec<String>,
    rows: Vec<(String, Vec<u8>)>,
}

impl Tables {
    /// The lookup tables of a case.
    pub(crate) fn of(case: &Case) -> Self {
        let is_lookup = |ddl: &str| ddl.to_uppercase().replace(' ', "").contains("KIND=\"LOOKUP\"");
        let names = case.streams.iter().filter(|(_, ddl)| is_lookup(ddl)).map(|(name, _)| name.clone());
        Self { names: names.collect(), rows: Vec::new() }
    }

    /// Whether the event is a row of a lookup table.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|table| table == name)
    }

    /// A row for a table, behind everything that was fed before.
    pub(crate) fn add(
        &mut self,
        (name, payload): (&str, &[u8]),
        rig: &mut Rig,
        registry: &Registry,
        spawner: Arc<dyn Spawner>,
    ) -> Result<(), String> {
        self.rows.push((name.to_owned(), payload.to_vec()));
        publish((name, payload), rig, registry, spawner)
    }

    /// All rows once more: a memory table begins empty when its rule starts.
    pub(crate) fn again(
        &self,
        rig: &mut Rig,
        registry: &Registry,
        spawner: &Arc<dyn Spawner>,
    ) -> Result<(), String> {
        self.rows
            .iter()
            .try_for_each(|(name, payload)| publish((name, payload), rig, registry, Arc::clone(spawner)))
    }
}

fn publish(
    (name, payload): (&str, &[u8]),
    rig: &mut Rig,
    registry: &Registry,
    spawner: Arc<dyn Spawner>,
) -> Result<(), String> {
    rig.flush();
    let Value::Map(row) = json::parse(payload, Numbers::Float).map_err(|why| why.to_string())? else {
        return Err(format!("a row of table {name} is an object"));
    };
    let mut props = Props::new();
    props.set("topic", name);
    let cx = BuildCx {
        props,
        rule: Arc::from("rows"),
        node: Arc::from("rows"),
        connection: None,
        shared: Arc::clone(rig.shared()),
        clock: Arc::clone(rig.clock()) as Arc<dyn Clock>,
        home: PathBuf::from("."),
        session: None,
        part: None,
        spawner,
    };
    let sink = registry.sink("memory").and_then(|memory| memory.sink(&cx));
    let mut sink = sink.ok_or("there is no memory sink")?.map_err(|why| why.to_string())?;
    let here = runtime::Builder::new_current_thread().build().map_err(|why| why.to_string())?;
    let payload = SinkPayload::Rows { rows: vec![row], is_list: false, props: None };
    here.block_on(sink.write(&[payload])).error.map_or(Ok(()), |why| Err(why.to_string()))
}
