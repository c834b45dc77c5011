//! From a definition to a rule that can be launched: names resolved, planned, sources and sinks built (R1.4).
//!
//! Building may wait for a plugin, so it is called where blocking is allowed.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::registry::{ConnectorRef, Registry};
use thalweg_core::spec::Roles;
use thalweg_core::{Diagnostic, ErrorCode, Props};
use thalweg_expr::{FunctionRef, FunctionRegistry, Instance};
use thalweg_plan::{Kind, Node, Plan, PlanOptions, Resolver, StreamDef};
use thalweg_runtime::{ActionSpec, DrawnSink, RuleSpec, SourceSpec, Topology};
use tracing::warn;

use super::definition::{Action, RuleDefinition, located};
use super::explain;
use super::graph;
use super::inert;
use super::record::{Asks, Needs, Shape, Shapes};
use super::run::{Ready, Runner};
use super::zone::Zone;
use crate::catalog::Catalog;
use crate::connection::Connections;
use crate::error::EngineError;
use crate::profile::StoredProfiles;
use crate::props::{self, Resolved, Resource};
use crate::stream::StreamEntry;

/// Everything that building a rule looks at.
pub struct Builder {
    /// Streams and tables.
    pub catalog: Arc<Catalog>,
    /// Named connections.
    pub connections: Arc<Connections>,
    /// Connectors.
    pub registry: Arc<Registry>,
    /// Named property sections.
    pub profiles: Arc<StoredProfiles>,
    /// Functions.
    pub functions: FunctionRegistry,
    /// Builds runs.
    pub runner: Arc<dyn Runner>,
    /// The instance's `sink:` section, under every action.
    pub sink_defaults: Props,
    /// The configured zone.
    pub zone: Zone,
    /// `basic.ignoreCase`.
    pub ignore_case: bool,
    /// What functions may ask of the instance.
    pub instance: Arc<Instance>,
    /// What rules have in common.
    pub shapes: Shapes,
}

/// A rule that is ready, and what is known about it before it runs.
pub struct Built {
    /// Launches it.
    pub ready: Box<dyn Ready>,
    /// What it needs.
    pub needs: Needs,
}

impl Builder {
    /// Reads a rule document; in a SELECT that does not parse the streams here show more mistakes. `path_id` is the id
    /// of the REST path, when there is one.
    ///
    /// # Errors
    /// The first mistake in the order of R1.3, with upstream's text.
    pub fn read(
        &self,
        text: &str,
        path_id: Option<&str>,
        instance: &Props,
    ) -> Result<RuleDefinition, EngineError> {
        RuleDefinition::read(text, path_id, instance, &|query, mistakes, options| {
            let options = options.map(|options| options.for_plan(self.ignore_case)).unwrap_or_default();
            thalweg_plan::search(query, mistakes, &options, &Defined(self))
        })
    }

    /// Plans a rule without building anything.
    ///
    /// # Errors
    /// Unknown streams, columns, functions, or a SELECT that cannot be planned.
    pub fn plan(
        &self,
        definition: &RuleDefinition,
    ) -> Result<(Plan, BTreeMap<Arc<str>, SourceSpec>), EngineError> {
        let mut sources = BTreeMap::new();
        let mut entries = self.entries(definition)?;
        for entry in entries.iter_mut().filter(|entry| definition.mocks.contains_key(&entry.def.name)) {
            *entry = Arc::new(entry.simulated());
        }
        for entry in &entries {
            sources.insert(Arc::clone(&entry.def.name), self.source(definition, entry)?);
        }
        let world = World { sources: &sources, builder: self };
        let mut plan = plan(definition, &definition.options.for_plan(self.ignore_case), &world)?;
        let notes = definition.options.notes.iter().cloned();
        plan.warnings.extend(notes.chain(self.source_notes(&entries, &sources)).map(Diagnostic::plain));
        if let Some(Ok(graph)) = definition.graph.as_deref() {
            plan.warnings.extend(graph::notes(graph).into_iter().map(Diagnostic::plain));
        }
        Ok((plan, sources))
    }

    /// The definitions of what a rule reads. The planner tells where a stream is named that does not exist.
    fn entries(&self, definition: &RuleDefinition) -> Result<Vec<Arc<StreamEntry>>, EngineError> {
        match definition.graph.as_deref() {
            None => Ok(definition.sources().iter().filter_map(|name| self.catalog.get(name)).collect()),
            Some(Ok(graph)) => graph::sources(graph, &self.catalog, &self.registry),
            Some(Err(mistakes)) => Err(EngineError::from_text("", mistakes)),
        }
    }

    /// Builds a rule.
    ///
    /// # Errors
    /// As [`Builder::plan`], and sources or sinks whose properties are wrong.
    pub fn build(&self, definition: &RuleDefinition) -> Result<Built, EngineError> {
        let (plan, sources) = self.plan(definition)?;
        let results = definition.actions.iter().map(|action| self.action(action, false));
        let late = definition
            .options
            .late_data
            .iter()
            .map(|action| self.action(action, true).map_err(|why| why.prefixed("lateData: ")));
        let mut actions = results.chain(late).collect::<Result<Vec<_>, EngineError>>()?;
        if let Some(drawn) = &plan.drawn {
            for sink in actions.iter_mut().filter_map(|action| action.drawn.as_mut()) {
                sink.results = drawn.sinks.get(&sink.name).cloned().unwrap_or_default().into();
            }
        }
        let mut shape = shape(definition, &plan, &sources);
        shape.notes.extend(self.sink_notes(definition));
        for note in &shape.notes {
            warn!(rule = %definition.id, "{note}");
        }
        let connections = connections(definition, &sources, &actions);
        let mut asks = thalweg_plan::explain::shared_streams(&plan);
        if let Some(state) = explain::common_state(definition, &plan) {
            asks.iter_mut().for_each(|(_, parts)| parts.push(state.key.clone()));
        }
        let asks = asks.iter().map(|(stream, parts)| Asks::new(stream, parts)).collect();
        let mut options = definition.options.for_run(self.zone.get().name());
        options.instance = Arc::clone(&self.instance);
        let spec = RuleSpec { id: Arc::clone(&definition.id), plan, sources, actions, options };
        let ready = self
            .runner
            .compile(spec)
            .map_err(|why| EngineError::new(ErrorCode::Executor, why.to_string()))?;
        shape.topology = ready.topology();
        Ok(Built { needs: Needs { shape: self.shapes.same(shape), connections, asks }, ready })
    }

    fn action(&self, action: &Action, is_late: bool) -> Result<ActionSpec, EngineError> {
        self.check_sink(action, is_late)?;
        let Action { kind, props, .. } = action;
        let resolved = props::sink(&self.profiles, &self.connections, &self.sink_defaults, kind, props)?;
        // What comes from stored properties or a connection has no place in the document.
        self.registry.check_common(&format!("{kind} sink"), Roles::SINK, &resolved.props)?;
        Ok(ActionSpec {
            kind: Arc::from(action.kind.as_str()),
            index: action.index,
            is_late,
            props: resolved.props,
            connection: resolved.connection,
            drawn: action.node.clone().map(|name| DrawnSink { name, results: Box::default() }),
        })
    }

    /// The sink exists, and the values of its common properties fit.
    fn check_sink(&self, action: &Action, is_late: bool) -> Result<(), EngineError> {
        let Action { kind, props, .. } = action;
        let at = action.place(is_late);
        if self.registry.sink(kind).is_none() {
            let names = self.registry.names(|connector| connector.has_sink());
            let place = format!("at {at}; ");
            return Err(unknown(format!("sink {kind} is not defined"), kind, &names, &place));
        }
        let checked = self.registry.check_common(&format!("{kind} sink"), Roles::SINK, props);
        Ok(checked.map_err(|why| located(why, &props.to_json(), &at))?)
    }

    /// What has no effect at the actions.
    fn sink_notes(&self, definition: &RuleDefinition) -> Vec<String> {
        let mut notes = Vec::new();
        for action in definition.actions.iter().chain(&definition.options.late_data) {
            let Action { kind, index, props, node } = action;
            let Some(connector) = self.registry.sink(kind) else { continue };
            let name =
                node.as_ref().map_or_else(|| format!("action {kind}_{index}"), |node| format!("sink {node}"));
            let mut note = |text: String| notes.push(format!("{name}: {text}"));
            let mut all = Props::new();
            match props::resource(&self.profiles, kind, props) {
                Ok(Resource::Found(stored)) => all = stored,
                Ok(Resource::Missing(id)) => note(format!(
                    "resourceId has no effect: no properties {id} are stored for sinks of type {kind}"
                )),
                Ok(Resource::NotAsked) | Err(_) => {}
            }
            all.merge(props);
            let props = &all;
            thalweg_runtime::without_effect(props).into_iter().for_each(|text| note(text.to_owned()));
            self.registry.inert(&connector, Roles::SINK, props).into_iter().for_each(&mut note);
            // R1.1: an unknown name is no error.
            self.registry.unknown(&connector, Roles::SINK, props).iter().map(without_meaning).for_each(note);
        }
        notes
    }

    /// What has no effect at the sources.
    fn source_notes(
        &self,
        entries: &[Arc<StreamEntry>],
        sources: &BTreeMap<Arc<str>, SourceSpec>,
    ) -> Vec<String> {
        let mut notes = Vec::new();
        for (name, source) in sources {
            let Some(entry) = entries.iter().find(|entry| entry.def.name == *name) else { continue };
            notes.extend(inert::definition(entry));
            if !source.stream.has_decoder && !entry.def.is_lookup && &*entry.def.format != "json" {
                let kind = &entry.def.source_type;
                notes.push(format!("stream {name}: option FORMAT has no effect: {kind} gives rows"));
            }
            let Some((connector, role)) = self.connector(entry) else { continue };
            let kind = &entry.def.source_type;
            let mut note = |text: String| notes.push(format!("stream {name}, {kind} source: {text}"));
            self.registry.inert(&connector, role, &source.props).into_iter().for_each(&mut note);
            self.registry.unknown(&connector, role, &source.props).iter().map(without_meaning).for_each(note);
        }
        notes
    }

    /// The connector of a definition, and what it is used as.
    fn connector(&self, entry: &StreamEntry) -> Option<(ConnectorRef, Roles)> {
        let kind = &entry.def.source_type;
        match entry.def.is_lookup {
            true => Some((self.registry.lookup(kind)?, Roles::LOOKUP)),
            false => Some((self.registry.source(kind)?, Roles::SOURCE)),
        }
    }

    fn check_source(&self, kind: &str, is_lookup: bool) -> Result<(), EngineError> {
        let (found, names) = if is_lookup {
            (self.registry.lookup(kind), self.registry.names(|connector| connector.has_lookup()))
        } else {
            (self.registry.source(kind), self.registry.names(|connector| connector.has_source()))
        };
        let what = if is_lookup { "lookup source type" } else { "source type" };
        found.map(drop).ok_or_else(|| unknown(format!("{what} {kind} not found"), kind, &names, ""))
    }

    fn source(&self, definition: &RuleDefinition, entry: &StreamEntry) -> Result<SourceSpec, EngineError> {
        let name = &entry.def.name;
        if entry.def.temp && !definition.temp {
            return Err(EngineError::plain(format!("temp stream {name} can only be used by temp rules")));
        }
        if entry.def.shared && definition.options.disable_discard == Some(true) {
            // Upstream refuses this; `decisions.md` accepts it and pauses the whole stream.
            warn!(rule = %definition.id, stream = %name, "disableBufferFullDiscard on a shared stream pauses all its rules");
        }
        let kind = &entry.def.source_type;
        self.check_source(kind, entry.def.is_lookup)?;
        let Resolved { props, connection } = match definition.mocks.get(name) {
            Some(props) => Resolved { props: props.clone(), connection: None },
            None => props::source(&self.profiles, &self.connections, kind, &entry.create)?,
        };
        self.check_source_props(entry, &props)?;
        if connection.is_some() && props.int("split")?.unwrap_or(1) > 1 {
            return Err(EngineError::plain(format!(
                "stream {name}: property \"split\" asks for several connections, connectionSelector for a certain one; leave one of them out"
            )));
        }
        let shape = props::shape(&self.registry, kind, &props);
        Ok(SourceSpec { stream: Arc::new(entry.resolved(&props, shape)?), props, connection })
    }

    /// The values of common properties fit.
    fn check_source_props(&self, entry: &StreamEntry, props: &Props) -> Result<(), EngineError> {
        let (name, kind) = (&entry.def.name, &entry.def.source_type);
        let connector = self.connector(entry).map(|(connector, _)| connector);
        self.registry.check_common(&format!("stream {name}"), Roles::SOURCE, props)?;
        let knows = |connector: &ConnectorRef, name: &str| match connector {
            ConnectorRef::Builtin(known) => known.props.iter().any(|spec| spec.name == name),
            ConnectorRef::Plugin(_) => name == "sendInterval",
        };
        let pauses = |connector: &ConnectorRef| knows(connector, "sendInterval");
        let splits = |connector: &ConnectorRef| knows(connector, "split");
        if props.int("split")?.unwrap_or(1) > 1 && !connector.iter().any(splits) {
            let text = format!(
                "stream {name}: split is not supported by {kind}; only mqtt and mqttlisten can have several connections"
            );
            return Err(EngineError::new(ErrorCode::Executor, text));
        }
        if props.millis("sendInterval")?.unwrap_or(0) > 0 && !connector.iter().any(pauses) {
            let text = format!(
                "stream {name}: sendInterval is not supported by {kind}; only file pauses between rows"
            );
            return Err(EngineError::new(ErrorCode::Executor, text));
        }
        Ok(props.text("schemaId").map(drop)?)
    }
}

/// A connection that a node opens for itself.
pub(super) struct OwnConnection {
    /// The node as metrics name it.
    pub node: String,
    /// Its name among connections.
    pub id: String,
    pub kind: String,
    /// Of the connection alone.
    pub props: Props,
}

impl Builder {
    /// The connections that the nodes of a rule open for themselves. What cannot be read any more has none.
    pub(super) fn own_connections(&self, definition: &RuleDefinition) -> Vec<OwnConnection> {
        let rule = &definition.id;
        let mut all = Vec::new();
        for entry in self.entries(definition).unwrap_or_default() {
            let (kind, name) = (&entry.def.source_type, &entry.def.name);
            let resolved = props::source(&self.profiles, &self.connections, kind, &entry.create);
            let connector = self.connector(&entry).map(|(connector, _)| connector);
            if let (Ok(Resolved { props, connection: None }), Some(connector)) = (resolved, connector) {
                let names = (format!("source_{name}"), format!("{rule}_{name}_0"));
                all.extend(own_connection(&connector, kind, &props, names));
            }
        }
        for action in &definition.actions {
            let Action { kind, index, props, node } = action;
            let resolved = props::sink(&self.profiles, &self.connections, &self.sink_defaults, kind, props);
            let Some(connector) = self.registry.sink(kind) else { continue };
            if let Ok(Resolved { props, connection: None }) = resolved {
                let node = node.as_ref().map_or_else(|| format!("{kind}_{index}"), |node| node.to_string());
                let names = (format!("sink_{node}"), format!("{rule}_{node}"));
                all.extend(own_connection(&connector, kind, &props, names));
            }
        }
        all
    }
}

fn own_connection(
    connector: &ConnectorRef,
    kind: &str,
    props: &Props,
    (node, id): (String, String),
) -> Option<OwnConnection> {
    let names = connector.props().iter().filter(|spec| spec.of_connection).map(|spec| spec.name);
    let mut own = Props::new();
    for name in names {
        if let Some(value) = props.get(name) {
            own.set(name, value.clone());
        }
    }
    connector.has_connection().then(|| OwnConnection { node, id, kind: kind.to_lowercase(), props: own })
}

/// A property that nobody reads, with the name that may be meant.
pub(crate) fn without_meaning((name, hint): &(&str, Option<&str>)) -> String {
    let hint = hint.map_or_else(String::new, |hint| format!(" (did you mean {hint}?)"));
    format!("unknown property {name} has no effect{hint}")
}

/// An unknown connector, with the nearest known one.
fn unknown(text: String, name: &str, known: &[String], place: &str) -> EngineError {
    let hint = thalweg_core::diagnostic::nearest(name, known.iter().map(String::as_str));
    let help = hint
        .map_or_else(|| format!("known are {}", known.join(", ")), |hint| format!("did you mean {hint}?"));
    EngineError::new(ErrorCode::Executor, format!("{text} ({place}{help})"))
}

/// The planner's view of the world: the streams as this rule's properties make them, and all functions.
struct World<'a> {
    sources: &'a BTreeMap<Arc<str>, SourceSpec>,
    builder: &'a Builder,
}

impl Resolver for World<'_> {
    fn stream(&self, name: &str) -> Option<Arc<StreamDef>> {
        self.sources.get(name).map(|source| Arc::clone(&source.stream))
    }

    fn stream_names(&self) -> Vec<String> {
        self.builder.catalog.all_names()
    }

    fn function(&self, name: &str) -> Result<Option<FunctionRef>, Diagnostic> {
        self.builder.functions.resolve(name)
    }

    fn function_names(&self) -> Vec<String> {
        self.builder.functions.names()
    }
}

/// The same with streams as they were defined: enough to know names and types.
struct Defined<'a>(&'a Builder);

impl Resolver for Defined<'_> {
    fn stream(&self, name: &str) -> Option<Arc<StreamDef>> {
        self.0.catalog.get(name).map(|entry| Arc::clone(&entry.def))
    }

    fn stream_names(&self) -> Vec<String> {
        self.0.catalog.all_names()
    }

    fn function(&self, name: &str) -> Result<Option<FunctionRef>, Diagnostic> {
        self.0.functions.resolve(name)
    }

    fn function_names(&self) -> Vec<String> {
        self.0.functions.names()
    }
}

fn plan(
    definition: &RuleDefinition,
    options: &PlanOptions,
    world: &dyn Resolver,
) -> Result<Plan, EngineError> {
    if let Some(Ok(graph)) = definition.graph.as_deref() {
        return thalweg_plan::graph::plan(graph, options, world)
            .map_err(|mistakes| EngineError::from_text("", &mistakes));
    }
    thalweg_plan::plan(&definition.query, options, world).map_err(|mistakes| {
        let code = mistakes.first().map_or(ErrorCode::Undefined, |first| first.code);
        EngineError::new(code, thalweg_sql::parse_error(&definition.sql, &mistakes))
    })
}

/// All but the graph, which is known when the rule is compiled.
fn shape(definition: &RuleDefinition, plan: &Plan, sources: &BTreeMap<Arc<str>, SourceSpec>) -> Shape {
    let lookups = sources.iter().filter(|(_, source)| source.stream.is_lookup);
    Shape {
        topology: Topology::default(),
        sources: sources.keys().cloned().collect(),
        lookups: lookups.map(|(name, _)| Arc::clone(name)).collect(),
        columns: output_columns(&plan.root),
        notes: plan.warnings.iter().map(|warning| warning.render(&definition.sql)).collect(),
    }
}

/// The connections in use, with the node that uses each.
fn connections(
    definition: &RuleDefinition,
    sources: &BTreeMap<Arc<str>, SourceSpec>,
    actions: &[ActionSpec],
) -> Box<[(Arc<str>, String)]> {
    let id = &definition.id;
    let from_sources = sources.values().filter_map(|source| {
        let (connection, _) = source.connection.as_ref()?;
        Some((Arc::clone(connection), format!("{id}_{}_0", source.stream.name)))
    });
    let from_actions = actions.iter().filter_map(|action| {
        let (connection, _) = action.connection.as_ref()?;
        Some((Arc::clone(connection), format!("{id}_{}", action.node())))
    });
    from_sources.chain(from_actions).collect()
}

/// The named columns of the SELECT list; those of `*` are not known before rows arrive.
fn output_columns(node: &Node) -> Vec<Arc<str>> {
    match &node.kind {
        Kind::Project(columns) => {
            let named = columns.iter().filter_map(|column| match column {
                thalweg_plan::logical::OutputColumn::One { name, .. } => Some(Arc::clone(name)),
                _ => None,
            });
            named.collect()
        }
        _ => node.inputs.first().map(output_columns).unwrap_or_default(),
    }
}
