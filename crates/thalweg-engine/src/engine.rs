//! The façade: what the server asks for goes through here or through one of the parts it shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thalweg_core::Props;
use thalweg_core::registry::{Gate, Registry};
use thalweg_expr::{FunctionRegistry, Instance};
use thalweg_sql::ast::SourceKind;

use crate::catalog::Catalog;
use crate::connection::{Connections, Shown, Surroundings};
use crate::document::Document;
use crate::error::EngineError;
use crate::profile::{Profiles, StoredProfiles};
use crate::rule::{Builder, Rules, Runner, Trials, Zone};
use crate::store::{KeyedStates, Store};
use crate::stream::word;

/// What an engine is made of.
pub struct EngineConfig {
    /// Definitions and checkpoints.
    pub store: Arc<dyn Store>,
    /// Connectors, time, home.
    pub around: Surroundings,
    /// Functions: built-ins and plugins'.
    pub functions: FunctionRegistry,
    /// Named property sections of source types in files.
    pub profiles: Arc<dyn Profiles>,
    /// Builds runs.
    pub runner: Arc<dyn Runner>,
    /// The `rule:` section.
    pub rule_defaults: Props,
    /// The `sink:` section.
    pub sink_defaults: Props,
    /// The configured zone, IANA name.
    pub zone: String,
    /// `basic.ignoreCase`.
    pub ignore_case: bool,
    /// What `props(name)` answers, by name in lower case.
    pub props: BTreeMap<String, String>,
    /// `basic.rulePatrolInterval`.
    pub patrol: Duration,
}

/// Streams, tables, connections and rules.
pub struct Engine {
    catalog: Arc<Catalog>,
    connections: Arc<Connections>,
    profiles: Arc<StoredProfiles>,
    rules: Rules,
    trials: Trials,
    zone: Zone,
    runner: Arc<dyn Runner>,
    keyed_states: Arc<KeyedStates>,
    store: Arc<dyn Store>,
}

impl Engine {
    /// Brings back what is stored. Rules do not run before [`Engine::boot`]. Needs a Tokio runtime around it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open(config: EngineConfig) -> Result<Self, EngineError> {
        let catalog = Catalog::load(Arc::clone(&config.around.registry), Arc::clone(&config.store))?;
        let catalog = Arc::new(catalog);
        let clock = Arc::clone(&config.around.clock);
        let registry = Arc::clone(&config.around.registry);
        let gate = config.around.shared.get::<Gate>();
        gate.close();
        let connections = Arc::new(Connections::load(config.around, Arc::clone(&config.store))?);
        let profiles =
            StoredProfiles::load(config.profiles, Arc::clone(&registry), Arc::clone(&config.store))?;
        let profiles = Arc::new(profiles);
        let keyed_states = Arc::new(KeyedStates::new(Arc::clone(&config.store)));
        let instance =
            Instance { props: config.props, keyed_state: Some(keyed_states.clone()), ..Instance::default() };
        let zone = Zone::new(&config.zone);
        let builder = Arc::new(Builder {
            catalog: Arc::clone(&catalog),
            connections: Arc::clone(&connections),
            registry,
            profiles: Arc::clone(&profiles),
            functions: config.functions,
            runner: Arc::clone(&config.runner),
            sink_defaults: config.sink_defaults,
            zone: zone.clone(),
            ignore_case: config.ignore_case,
            instance: Arc::new(instance),
            shapes: crate::rule::Shapes::default(),
        });
        let store = Arc::clone(&config.store);
        let defaults = Arc::new(config.rule_defaults);
        let trials = Trials::new(Arc::clone(&builder), Arc::clone(&clock), Arc::clone(&defaults));
        let rules = Rules::start(crate::rule::RulesConfig {
            builder,
            store: config.store,
            clock,
            defaults,
            gate,
            patrol: config.patrol,
        });
        Ok(Self {
            catalog,
            connections,
            profiles,
            rules,
            trials,
            zone,
            runner: config.runner,
            keyed_states,
            store,
        })
    }

    /// Starts the stored rules that are to run.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn boot(&self) -> Result<(), EngineError> {
        self.rules.boot().await
    }

    /// Streams and tables.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The connectors and formats that there are.
    pub fn registry(&self) -> &Registry {
        &self.connections.around.registry
    }

    /// Named connections. What asks who uses them goes through the engine.
    pub fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// Rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The configured zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Rules that are tried out.
    pub fn trials(&self) -> &Trials {
        &self.trials
    }

    /// Named sets of properties of sources and sinks.
    pub fn profiles(&self) -> &Arc<StoredProfiles> {
        &self.profiles
    }

    /// Where definitions are kept: tables of what has no part of its own here.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What `get_keyed_state` reads.
    pub fn keyed_states(&self) -> &Arc<KeyedStates> {
        &self.keyed_states
    }

    /// Drops a stream or table, unless live rules read it; `force` looks away, but not for lookup tables
    /// (`rest-api.md` 4).
    ///
    /// # Errors
    /// There is none of this kind, or it is in use.
    pub fn drop_stream(&self, kind: SourceKind, name: &str, force: bool) -> Result<(), EngineError> {
        let (in_use, as_lookup) = self.rules.uses_stream(name);
        if as_lookup {
            let text =
                format!("lookup table {name} is still in use, stop all using rules before dropping it");
            return Err(EngineError::stream(text));
        }
        if in_use && !force && self.catalog.get(name).is_some_and(|entry| entry.def.kind == kind) {
            return Err(EngineError::plain(format!(
                "{} {name} has been referenced by other rules",
                word(kind)
            )));
        }
        self.catalog.remove(kind, name)
    }

    /// Makes a named connection.
    ///
    /// # Errors
    /// See [`Connections::create`].
    pub async fn create_connection(&self, body: &[u8]) -> Result<(), EngineError> {
        self.connections.create(body).await
    }

    /// All named connections; with `all` those that nodes of rules have opened for themselves, too.
    pub fn list_connections(&self, all: bool) -> Document {
        let mut shown = self.connections.list(|id| self.rules.uses_connection(id).len());
        if all {
            shown.extend(self.rules.own_connections());
        }
        Document::List(shown.iter().map(Shown::document).collect())
    }

    /// One connection, named or of a node.
    ///
    /// # Errors
    /// There is none.
    pub fn describe_connection(&self, id: &str) -> Result<Document, EngineError> {
        let named = self.connections.describe(id, self.rules.uses_connection(id).len());
        let found = named.or_else(|| self.own_connection(id));
        let missing = || EngineError::plain(format!("connection {id} not existed"));
        Ok(found.ok_or_else(missing)?.document())
    }

    fn own_connection(&self, id: &str) -> Option<Shown> {
        self.rules.own_connections().into_iter().find(|shown| shown.id == id)
    }

    /// Replaces a named connection.
    ///
    /// # Errors
    /// See [`Connections::update`].
    pub async fn update_connection(&self, id: &str, body: &[u8]) -> Result<(), EngineError> {
        self.connections.update(id, body, &self.rules.uses_connection(id)).await
    }

    /// Drops a named connection.
    ///
    /// # Errors
    /// It is in use, or belongs to a node of a rule.
    pub async fn delete_connection(&self, id: &str) -> Result<(), EngineError> {
        if self.connections.open(id).is_none() && self.own_connection(id).is_some() {
            let text = format!("drop connection failed: internal connection {id} can't be edit");
            return Err(EngineError::plain(text));
        }
        self.connections.delete(id, &self.rules.uses_connection(id)).await
    }

    /// Stops all rules, then what they shared. Their desired states stay stored.
    pub async fn shutdown(&self) {
        self.trials.shutdown().await;
        self.rules.shutdown().await;
        self.runner.shutdown().await;
        self.connections.close().await;
    }

    /// Closes the store after [`Engine::shutdown`], also when something is left behind that still holds it: another
    /// engine may open it as soon as this returns. Waits for the write under way.
    pub fn close_store(&self) {
        self.store.close();
    }
}
