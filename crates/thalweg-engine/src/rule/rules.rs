//! All rules of an engine: what REST asks of them. States are the business of the control task.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value as Json;
use thalweg_core::registry::Gate;
use thalweg_core::{Clock, ErrorCode, Props};
use thalweg_runtime::NodeSnapshot;
use tokio::sync::{Notify, OwnedMutexGuard};
use tracing::error;

use super::actor::{Control, Means, blocking};
use super::build::Builder;
use super::definition::RuleDefinition;
use super::entry::RuleEntry;
use super::explain;
use super::filled::filled;
use super::record::{Record, Shape};
use super::state::{Phase, Signal};
use super::status;
use crate::document::Document;
use crate::error::EngineError;
use crate::id::may_replace;
use crate::store::{Change, Snapshots, Store, Table};

mod drawn;
mod own_connections;
mod traces;
mod transfer;

/// How long an answer waits for a rule to have started or stopped. It goes on without anybody waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long shared streams wait at the start for all rules that read them.
const BOOT_PATIENCE: Duration = Duration::from_secs(10);

/// The rules.
pub struct Rules {
    builder: Arc<Builder>,
    store: Arc<dyn Store>,
    snapshots: Snapshots,
    clock: Arc<dyn Clock>,
    /// The instance's `rule:` section.
    defaults: Arc<Props>,
    gate: Arc<Gate>,
    control: Control,
    entries: DashMap<Arc<str>, Arc<RuleEntry>>,
    /// Stored rules whose document cannot be read.
    broken: Mutex<BTreeSet<String>>,
    /// One turn a rule, so that changes of one rule come one after the other.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Told whenever a rule comes to rest.
    settling: Arc<Notify>,
}

/// What monitoring is told of a rule.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The rule.
    pub id: Arc<str>,
    /// Its state.
    pub phase: Phase,
    /// Its nodes, of the last run if it does not run now.
    pub nodes: Vec<NodeSnapshot>,
    /// The time that threads have spent for it since its run began, if it runs.
    pub cpu: Option<Duration>,
}

/// What [`Rules`] is made of.
pub(crate) struct RulesConfig {
    pub(crate) builder: Arc<Builder>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) defaults: Arc<Props>,
    /// Opened when the stored rules are there.
    pub(crate) gate: Arc<Gate>,
    pub(crate) patrol: Duration,
}

impl Rules {
    /// Starts the control task, without rules.
    pub(crate) fn start(config: RulesConfig) -> Self {
        let RulesConfig { builder, store, clock, defaults, gate, patrol } = config;
        let snapshots = Snapshots::new(Arc::clone(&store));
        let control = Control::start(Means {
            builder: Arc::clone(&builder),
            snapshots: snapshots.clone(),
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            defaults: Arc::clone(&defaults),
            patrol,
        });
        Self {
            builder,
            store,
            snapshots,
            clock,
            defaults,
            gate,
            control,
            entries: DashMap::new(),
            broken: Mutex::default(),
            turns: Mutex::default(),
            settling: Arc::default(),
        }
    }

    /// Brings back all stored rules and starts those that are to run (R4.5). None of them stops the boot.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn boot(&self) -> Result<(), EngineError> {
        let store = Arc::clone(&self.store);
        let stored = blocking(move || store.scan(Table::Rule, "").map_err(EngineError::from)).await?;
        let mut starting = Vec::new();
        self.builder.runner.hold_shared(true);
        for (id, bytes) in stored {
            let text = String::from_utf8_lossy(&bytes);
            match RuleDefinition::parse(&text, Some(&id), &self.defaults) {
                Ok(definition) => {
                    let triggered = definition.triggered;
                    let entry = self.insert(Record::from(&definition));
                    let waits =
                        entry.record().schedule.as_ref().is_some_and(|schedule| schedule.is_calendar());
                    if triggered {
                        // R4.3: the patrol decides about it.
                        let signal = if waits { Signal::Park } else { Signal::Start };
                        self.control.signal(&entry.id, signal).await;
                        starting.push(entry);
                    }
                }
                Err(why) => {
                    error!(rule = %id, %why, "stored rule cannot be read");
                    self.broken.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
                }
            }
        }
        let (runner, gate) = (Arc::clone(&self.builder.runner), Arc::clone(&self.gate));
        tokio::spawn(async move {
            let all = async {
                for entry in starting {
                    entry.settled().await;
                }
            };
            let _in_time = tokio::time::timeout(BOOT_PATIENCE, all).await;
            runner.hold_shared(false);
            let _in_time = tokio::time::timeout(BOOT_PATIENCE, runner.sources_begun()).await;
            gate.open();
        });
        Ok(())
    }

    /// Creates a rule (R1.4). Its id.
    ///
    /// # Errors
    /// The document, the plan, the sinks or the store; then nothing was stored and nothing started.
    pub async fn create(&self, text: String) -> Result<Arc<str>, EngineError> {
        let definition = self.read(text, None).await.map_err(|why| why.prefixed("invalid rule json: "))?;
        let _turn = self.turn(&definition.id).await;
        if self.find(&definition.id).is_some() {
            return Err(EngineError::plain(format!("rule {} already exists", definition.id)));
        }
        self.create_read(definition).await
    }

    async fn create_read(&self, definition: RuleDefinition) -> Result<Arc<str>, EngineError> {
        let record = Record::from(&definition);
        let built = self.build(definition).await.map_err(|why| of_text(why, "invalid rule json: "))?;
        self.save(&record).await?;
        let triggered = record.triggered;
        let entry = self.insert(record);
        if triggered {
            entry.offer(built);
            self.control.signal(&entry.id, Signal::Start).await;
            settle(&entry).await;
        }
        Ok(Arc::clone(&entry.id))
    }

    /// Replaces a rule, or creates it (R8.4): the new one is built first; if that fails the old one runs on.
    ///
    /// # Errors
    /// As [`Rules::create`], or a version that is not greater (R1.10).
    pub async fn update(&self, id: &str, text: String) -> Result<Arc<str>, EngineError> {
        let read = self.read(text, Some(id.to_owned())).await;
        let definition = read.map_err(|why| why.prefixed("Invalid rule json: "))?;
        let _turn = self.turn(id).await;
        let Some(entry) = self.find(id) else { return self.create_read(definition).await };
        let old = entry.record();
        if !may_replace(&old.version, &definition.version) {
            return Err(transfer::too_old(id, &old.version, &definition.version));
        }
        let record = Record::from(&definition);
        let built = self.build(definition).await.map_err(|why| of_text(why, "Invalid rule json: "))?;
        self.save(&record).await?;
        let triggered = record.triggered;
        entry.set_record(record);
        self.control.signal(&entry.id, Signal::Stop(Arc::from("stopped by update"))).await;
        if triggered {
            entry.offer(built);
            self.control.signal(&entry.id, Signal::Start).await;
        }
        settle(&entry).await;
        Ok(Arc::clone(&entry.id))
    }

    /// Deletes a rule with its checkpoints, once it has stopped.
    ///
    /// # Errors
    /// There is none, or the store.
    pub async fn delete(&self, id: &str) -> Result<(), EngineError> {
        let _turn = self.turn(id).await;
        let was_broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        let entry = self.find(id);
        if entry.is_none() && !was_broken {
            return Err(EngineError::plain(format!("rule {id} not found")));
        }
        if let Some(entry) = entry {
            self.control.remove(&entry.id).await;
            self.entries.remove(id);
        }
        let (store, snapshots, id) = (Arc::clone(&self.store), self.snapshots.clone(), id.to_owned());
        blocking(move || {
            let mut changes = snapshots.removal(&id)?;
            changes.push(Change::Delete(Table::Rule, id));
            Ok(store.write(&changes)?)
        })
        .await
    }

    /// Starts a rule, or restarts it when it runs.
    ///
    /// # Errors
    /// There is none, or it cannot be built; then its state is as before.
    pub async fn launch(&self, id: &str) -> Result<(), EngineError> {
        let _turn = self.turn(id).await;
        let entry = self.registered(id)?;
        let record = entry.record().with_triggered(true);
        let definition = record.definition(&self.defaults)?;
        let built = self.build(definition).await.map_err(|why| of_text(why, ""))?;
        self.save(&record).await?;
        entry.set_record(record);
        self.control.signal(&entry.id, Signal::Stop(Arc::from("canceled manually"))).await;
        entry.offer(built);
        self.control.signal(&entry.id, Signal::Start).await;
        settle(&entry).await;
        Ok(())
    }

    /// Stops a rule. Stopping a stopped one is no error.
    ///
    /// # Errors
    /// There is none, or the store.
    pub async fn halt(&self, id: &str) -> Result<(), EngineError> {
        let _turn = self.turn(id).await;
        let entry = self.registered(id)?;
        let record = entry.record().with_triggered(false);
        self.save(&record).await?;
        entry.set_record(record);
        self.control.signal(&entry.id, Signal::Stop(Arc::from("canceled manually"))).await;
        settle(&entry).await;
        Ok(())
    }

    /// Empties the state of a rule: its checkpoints go, and it begins anew if it runs.
    ///
    /// # Errors
    /// There is none, or the store.
    pub async fn forget_state(&self, id: &str) -> Result<(), EngineError> {
        let _turn = self.turn(id).await;
        let entry = self.registered(id)?;
        let was_live = entry.view().phase.is_live();
        self.control.signal(&entry.id, Signal::Stop(Arc::from("its state is reset"))).await;
        entry.settled().await;
        let (snapshots, name) = (self.snapshots.clone(), id.to_owned());
        blocking(move || Ok(snapshots.remove(&name)?)).await?;
        if was_live {
            self.control.signal(&entry.id, Signal::Start).await;
            settle(&entry).await;
        }
        Ok(())
    }

    /// Moves the offset of a source of a running rule (R7.8).
    ///
    /// # Errors
    /// There is no such rule or stream, the rule does not run, or the source cannot go back to a place it is told.
    pub fn move_offset(&self, id: &str, kind: i64, stream: &str) -> Result<(), EngineError> {
        let unknown = || EngineError::plain(format!("Rule {id} is not found in registry"));
        let entry = self.find(id).ok_or_else(unknown)?;
        if entry.view().phase != Phase::Running {
            return Err(EngineError::plain(format!("rule {id} should be running when modify state")));
        }
        if kind != 1 {
            return Err(EngineError::plain(format!("unknown stateType:{kind}")));
        }
        let needs = entry.needs().unwrap_or_default();
        let holds = |names: &[Arc<str>]| names.iter().any(|name| name.as_ref() == stream);
        if !holds(&needs.shape.sources) || holds(&needs.shape.lookups) {
            return Err(EngineError::plain(format!("stream {stream} not found in topo")));
        }
        let text = format!(
            "the source of stream {stream} cannot be moved to an offset; DELETE /rules/{id}/state makes the rule begin anew"
        );
        Err(EngineError::plain(text))
    }

    /// Stops all rules without touching what is stored.
    pub async fn shutdown(&self) {
        self.control.stop_all().await;
    }

    /// Checks a document without building anything (`/rules/validate`). The streams it reads.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn validate(&self, text: String) -> Result<Vec<Arc<str>>, EngineError> {
        let definition = self.read(text, None).await.map_err(|why| why.prefixed("invalid rule json: "))?;
        let sources = definition.sources();
        if definition.graph.is_some() {
            let builder = Arc::clone(&self.builder);
            let planned = blocking(move || builder.plan(&definition)).await;
            return planned.map(|_| sources).map_err(|why| why.prefixed("invalid ruleDef graph: "));
        }
        match sources.iter().find(|name| self.builder.catalog.get(name).is_none_or(|entry| entry.def.temp)) {
            Some(missing) => Err(EngineError::plain(format!("{missing} is not found"))),
            None => Ok(sources),
        }
    }

    /// The list of all rules.
    pub fn list(&self) -> Document {
        let mut rules: BTreeMap<String, Document> = BTreeMap::new();
        for entry in self.all() {
            let record = entry.record();
            let tags = record.tags.clone().map_or(Json::Null, |tags| Json::from(tags.into_vec()));
            let status = entry.view().phase.text();
            let is_traced = entry.run().is_some_and(|run| run.is_traced());
            rules.insert(
                entry.id.to_string(),
                list_line(
                    (entry.id.as_ref(), record.display_name()),
                    status,
                    tags,
                    is_traced,
                    &record.version,
                ),
            );
        }
        for id in self.broken.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let status = format!("error: Rule {id} is not found in registry");
            rules.insert(id.clone(), list_line((id.as_str(), id.as_str()), &status, Json::Null, false, ""));
        }
        Document::List(rules.into_values().collect())
    }

    /// The document of a rule, byte for byte.
    ///
    /// # Errors
    /// There is none, or it is temporary.
    pub fn describe(&self, id: &str) -> Result<String, EngineError> {
        self.stored(id).map(|entry| entry.record().text.to_string())
    }

    /// The same with all options filled in.
    ///
    /// # Errors
    /// There is none, or it is temporary.
    pub fn filled(&self, id: &str) -> Result<Document, EngineError> {
        filled(&self.stored(id)?.record().text, &self.defaults)
    }

    /// The status of a rule.
    ///
    /// # Errors
    /// There is none.
    pub async fn status(&self, id: &str) -> Result<Document, EngineError> {
        let entry = self.known(id)?;
        let (needs, memory) = (entry.needs().unwrap_or_default(), entry.memory().await);
        let figures = (&entry.figures(), memory.as_ref());
        let hosts = self.builder.functions.troubles(id);
        let (now, record) = (self.clock.now(), entry.record());
        let schedule = record.schedule.as_ref().filter(|_| record.triggered);
        let next = schedule.map(|schedule| schedule.next(now, self.builder.zone.get())).unwrap_or_default();
        Ok(status::status(&entry.view(), figures, (&needs.shape.notes, &hosts), (now, next)))
    }

    /// The short status of all rules.
    pub fn status_all(&self) -> Document {
        let line = |entry: Arc<RuleEntry>| {
            (entry.id.to_string(), status::brief(&entry.view(), &entry.figures().nodes))
        };
        Document::Object(self.all().into_iter().map(line).collect())
    }

    /// The text of each rule, as it was posted, that is to be kept.
    pub fn exported(&self) -> Vec<(String, String)> {
        let text =
            |entry: Arc<RuleEntry>| self.describe(&entry.id).ok().map(|text| (entry.id.to_string(), text));
        self.all().into_iter().filter_map(text).collect()
    }

    /// What monitoring is told of each rule.
    pub fn observe(&self) -> Vec<Observed> {
        let observed = |entry: Arc<RuleEntry>| Observed {
            id: Arc::clone(&entry.id),
            phase: entry.view().phase,
            nodes: entry.figures().nodes,
            cpu: entry.run().map(|run| run.cpu()),
        };
        self.all().into_iter().map(observed).collect()
    }

    /// The time that threads have spent for each rule that runs, since its run began.
    pub fn cpu(&self) -> BTreeMap<Arc<str>, Duration> {
        let time = |entry: Arc<RuleEntry>| Some((Arc::clone(&entry.id), entry.run()?.cpu()));
        self.all().into_iter().filter_map(time).collect()
    }

    /// The bytes of each rule, running or not; without those whose thread does not answer in time.
    pub async fn memory(&self) -> BTreeMap<Arc<str>, u64> {
        let bytes = |entry: Arc<RuleEntry>| async move {
            Some((Arc::clone(&entry.id), entry.memory().await?.total()))
        };
        let all: FuturesUnordered<_> = self.all().into_iter().map(bytes).collect();
        all.filter_map(std::future::ready).collect().await
    }

    /// The plan of a rule as text: upstream's lines (`rest-api.md` 5.8), an empty line, and what we add.
    ///
    /// # Errors
    /// There is none, or it cannot be planned now.
    pub async fn explain(&self, id: &str) -> Result<String, EngineError> {
        let definition = self.stored(id)?.record().definition(&self.defaults)?;
        self.explained(definition).await
    }

    /// The same for a rule that does not exist: a rule document, of which only `sql` is needed, or a SELECT.
    ///
    /// # Errors
    /// It cannot be read or planned.
    pub async fn explain_text(&self, text: &str) -> Result<String, EngineError> {
        let definition = self.read(explain::document(text)?, None).await?;
        self.explained(definition).await
    }

    async fn explained(&self, definition: RuleDefinition) -> Result<String, EngineError> {
        let others: Vec<_> = self.live().into_iter().filter(|entry| entry.id != definition.id).collect();
        let others =
            others.iter().filter_map(|entry| Some((Arc::clone(&entry.id), entry.needs()?))).collect();
        let builder = Arc::clone(&self.builder);
        blocking(move || builder.plan(&definition).map(|(plan, _)| explain::text(&definition, &plan, others)))
            .await
    }

    /// Changes the tags of a rule. It is not restarted (R8.5).
    ///
    /// # Errors
    /// There is none, or the store.
    pub async fn tag(&self, id: &str, change: impl FnOnce(&mut Vec<String>)) -> Result<(), EngineError> {
        let _turn = self.turn(id).await;
        let entry = self.stored(id)?;
        let record = entry.record();
        let mut tags = record.tags.clone().unwrap_or_default().into_vec();
        change(&mut tags);
        let record = record.with_tags(tags);
        self.save(&record).await?;
        entry.set_record(record);
        Ok(())
    }

    /// The ids of the stored rules that have all of these tags.
    pub fn tagged(&self, tags: &[String]) -> Vec<String> {
        let has_all = |entry: &Arc<RuleEntry>| {
            let record = entry.record();
            let own = record.tags.as_deref().unwrap_or_default();
            !record.temp && tags.iter().all(|tag| own.contains(tag))
        };
        self.all().iter().filter(|entry| has_all(entry)).map(|entry| entry.id.to_string()).collect()
    }

    /// Whether a live rule reads this stream or table; the second says whether one does so as a lookup.
    pub fn uses_stream(&self, name: &str) -> (bool, bool) {
        let live: Vec<_> = self.live().iter().filter_map(|entry| entry.needs()).collect();
        let holds = |names: &[Arc<str>]| names.iter().any(|other| other.as_ref() == name);
        let reads = |names: fn(&Shape) -> &[Arc<str>]| live.iter().any(|needs| holds(names(&needs.shape)));
        (reads(|shape| &shape.sources), reads(|shape| &shape.lookups))
    }

    /// The nodes of live rules that use a connection.
    pub fn uses_connection(&self, id: &str) -> Vec<String> {
        let needs = self.live().into_iter().filter_map(|entry| entry.needs());
        let nodes = needs.flat_map(|needs| needs.connections.clone());
        nodes.filter(|(connection, _)| connection.as_ref() == id).map(|(_, node)| node).collect()
    }

    /// The documents of live rules.
    pub fn live_definitions(&self) -> Vec<RuleDefinition> {
        self.live().iter().filter_map(|entry| entry.record().definition(&self.defaults).ok()).collect()
    }

    fn live(&self) -> Vec<Arc<RuleEntry>> {
        self.all().into_iter().filter(|entry| entry.view().phase.is_live()).collect()
    }

    fn all(&self) -> Vec<Arc<RuleEntry>> {
        let mut all: Vec<_> = self.entries.iter().map(|entry| Arc::clone(entry.value())).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    fn find(&self, id: &str) -> Option<Arc<RuleEntry>> {
        self.entries.get(id).map(|entry| Arc::clone(entry.value()))
    }

    fn known(&self, id: &str) -> Result<Arc<RuleEntry>, EngineError> {
        self.find(id).ok_or_else(|| EngineError::not_found(format!("Rule {id} is not found")))
    }

    fn stored(&self, id: &str) -> Result<Arc<RuleEntry>, EngineError> {
        let found = self.find(id).filter(|entry| !entry.record().temp);
        found.ok_or_else(|| EngineError::not_found(format!("Rule {id} is not found.")))
    }

    fn registered(&self, id: &str) -> Result<Arc<RuleEntry>, EngineError> {
        let text = || format!("Rule {id} is not found in registry, please check if it is created");
        self.find(id).ok_or_else(|| EngineError::not_found(text()))
    }

    fn insert(&self, record: Record) -> Arc<RuleEntry> {
        let entry = Arc::new(RuleEntry::new(record, Arc::clone(&self.settling)));
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).remove(entry.id.as_ref());
        self.entries.insert(Arc::clone(&entry.id), Arc::clone(&entry));
        self.control.add(Arc::clone(&entry));
        entry
    }

    async fn read(&self, text: String, path_id: Option<String>) -> Result<RuleDefinition, EngineError> {
        let (builder, defaults) = (Arc::clone(&self.builder), Arc::clone(&self.defaults));
        blocking(move || builder.read(&text, path_id.as_deref(), &defaults)).await
    }

    async fn build(&self, definition: RuleDefinition) -> Result<super::build::Built, EngineError> {
        let builder = Arc::clone(&self.builder);
        blocking(move || builder.build(&definition)).await
    }

    async fn save(&self, record: &Record) -> Result<(), EngineError> {
        if record.temp {
            return Ok(());
        }
        let change = Change::Put(Table::Rule, record.id.to_string(), record.text.as_bytes().to_vec());
        let store = Arc::clone(&self.store);
        blocking(move || Ok(store.write(&[change])?)).await
    }

    /// Waits until it is this caller's turn to change the rule.
    async fn turn(&self, id: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|other, turn| other == id || Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(id.to_owned()).or_default())
        };
        turn.lock_owned().await
    }
}

async fn settle(entry: &RuleEntry) {
    // Too slow is no error: the answer only says that the change was accepted (R4.2).
    let _ = tokio::time::timeout(PATIENCE, entry.settled()).await;
}

/// A mistake of the SQL is one of the document (2001 is shown by explain only, 1.5); any other stays as it is.
fn of_text(why: EngineError, prefix: &str) -> EngineError {
    match why.code {
        ErrorCode::SqlParse => why.with_code(ErrorCode::Undefined).prefixed(prefix),
        _ => why,
    }
}

fn list_line((id, name): (&str, &str), status: &str, tags: Json, is_traced: bool, version: &str) -> Document {
    Document::object()
        .with("id", id)
        .with("name", name)
        .with("status", status)
        .with("tags", tags)
        .with("trace", is_traced)
        .with("version", version)
}
