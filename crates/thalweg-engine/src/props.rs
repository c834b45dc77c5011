//! Which property value wins: files, named sections, connections, EXTRA, WITH options, actions (P1.1, P1.3).

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use thalweg_core::connector::{Connection, Connector};
use thalweg_core::registry::{ConnectorRef, Registry};
use thalweg_core::spec::Roles;
use thalweg_core::{ErrorCode, Props};
use thalweg_sql::ast::CreateSource;
use tracing::warn;

use crate::connection::Connections;
use crate::error::EngineError;
use crate::profile::{ProfileKind, StoredProfiles};

/// A named connection and its id.
pub(crate) type NamedConnection = (Arc<str>, Arc<dyn Connection>);

/// Properties with the connection they ask for.
#[derive(Clone)]
pub(crate) struct Resolved {
    /// The properties.
    pub props: Props,
    /// The connection of `connectionSelector`.
    pub connection: Option<NamedConnection>,
}

/// Built-in sources whose events are rows already (C2.1); those of plugins are too.
const ROW_SOURCES: [&str; 7] = ["memory", "simulator", "httppull", "sql", "random", "nexmark", "edgex"];

/// What the steps behind a source depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceShape {
    /// It gives bytes that a decoder turns into rows (C2.1).
    pub gives_bytes: bool,
    /// `interval` is its own business: it pulls, or is a plugin.
    pub minds_interval: bool,
}

/// The shape of a source.
pub(crate) fn shape(registry: &Registry, source_type: &str, props: &Props) -> SourceShape {
    let own = |connector: &'static Connector| {
        connector.props.iter().any(|spec| spec.name == "interval" && spec.roles.contains(Roles::SOURCE))
    };
    let minds_interval = match registry.source(source_type) {
        Some(ConnectorRef::Builtin(connector)) => own(connector),
        Some(ConnectorRef::Plugin(_)) | None => true,
    };
    SourceShape { gives_bytes: gives_bytes(registry, source_type, props), minds_interval }
}

/// Whether a source gives bytes that a decoder turns into rows.
fn gives_bytes(registry: &Registry, source_type: &str, props: &Props) -> bool {
    let rows_in_file = || {
        let file_type = props.get("fileType").and_then(Json::as_str).unwrap_or("json");
        ["csv", "parquet"].iter().any(|rows| file_type.eq_ignore_ascii_case(rows))
    };
    let is_plugin = matches!(registry.source(source_type), Some(ConnectorRef::Plugin(_)));
    let gives_rows = ROW_SOURCES.iter().any(|name| name.eq_ignore_ascii_case(source_type));
    let is_row_file = source_type.eq_ignore_ascii_case("file") && rows_in_file();
    !(is_plugin || gives_rows || is_row_file)
}

/// The value of an option of a definition.
pub(crate) fn option<'a>(create: &'a CreateSource, name: &str) -> Option<&'a str> {
    let found = create.options.iter().rev().find(|(option, _)| option.text.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_ref())
}

/// The properties of a source before its connection (P1.1 steps 1, 2, 4, 5).
pub(crate) fn source_props(
    profiles: &StoredProfiles,
    source_type: &str,
    create: &CreateSource,
) -> Result<Props, EngineError> {
    let profile = |key: &str| profiles.get(ProfileKind::Source, source_type, key);
    let mut props = profile("default").unwrap_or_default();
    if let Some(key) = option(create, "CONF_KEY").filter(|key| !key.is_empty()) {
        // An exact match is preferred when both exist (configuration.md 11.3).
        match profile(key).or_else(|| profile(&key.to_lowercase())) {
            Some(section) => props.merge(&section),
            None => {
                warn!(stream = %create.name.text, key, "no section of this CONF_KEY; the defaults are used")
            }
        }
    }
    if let Some(extra) = option(create, "EXTRA").filter(|extra| !extra.is_empty()) {
        props.merge(&extra_props(extra)?);
    }
    set_options(&mut props, create);
    Ok(props)
}

/// EXTRA as properties.
pub(crate) fn extra_props(extra: &str) -> Result<Props, EngineError> {
    serde_json::from_str::<Map<String, Json>>(extra).map(Props::from).map_err(|why| {
        EngineError::stream(format!("option 'extra={extra}' is invalid: it must be a JSON object: {why}"))
    })
}

/// The properties that always come from the WITH options, by the option (P1.1 (5)).
pub(crate) const OF_OPTIONS: &[(&str, &str)] = &[
    ("format", "FORMAT"),
    ("key", "KEY"),
    ("datasource", "DATASOURCE"),
    ("schemaId", "SCHEMAID"),
    ("delimiter", "DELIMITER"),
    ("timestamp", "TIMESTAMP"),
    ("timestampFormat", "TIMESTAMP_FORMAT"),
    ("strictValidation", "STRICT_VALIDATION"),
    ("retainSize", "RETAIN_SIZE"),
];

/// P1.1 (5): [`OF_OPTIONS`] are what the options say, so that they have no effect in a section.
fn set_options(props: &mut Props, create: &CreateSource) {
    let written = |option_name| option(create, option_name).filter(|value| !value.is_empty());
    for (name, option_name) in OF_OPTIONS {
        let text = written(option_name);
        let value = match *name {
            "format" => Json::from(text.unwrap_or("json").to_lowercase()),
            "strictValidation" => Json::from(text.is_some_and(|value| value.eq_ignore_ascii_case("true"))),
            "retainSize" => text.and_then(|value| value.parse::<i64>().ok()).map_or(Json::Null, Json::from),
            _ => text.map_or(Json::Null, Json::from),
        };
        props.set(name, value);
    }
}

/// A source's properties with its connection (P1.1, all steps). The options stay on top.
pub(crate) fn source(
    profiles: &StoredProfiles,
    connections: &Connections,
    source_type: &str,
    create: &CreateSource,
) -> Result<Resolved, EngineError> {
    let mut props = source_props(profiles, source_type, create)?;
    let Some((id, connection, from_connection)) = select(connections, &props, source_type)? else {
        return Ok(Resolved { props, connection: None });
    };
    props.merge(&from_connection);
    if let Some(extra) = option(create, "EXTRA").filter(|extra| !extra.is_empty()) {
        props.merge(&extra_props(extra)?);
    }
    set_options(&mut props, create);
    Ok(Resolved { props, connection: Some((id, connection)) })
}

/// The properties that `resourceId` names, if they are there (P1.4).
pub(crate) fn resource(
    profiles: &StoredProfiles,
    kind: &str,
    action: &Props,
) -> Result<Resource, EngineError> {
    let id = action.text("resourceId").map_err(EngineError::from)?;
    let Some(id) = id.filter(|id| !id.is_empty()) else { return Ok(Resource::NotAsked) };
    let found = profiles.get(ProfileKind::Sink, kind, id);
    Ok(found.map_or_else(|| Resource::Missing(id.to_owned()), Resource::Found))
}

/// What an action's `resourceId` leads to.
pub(crate) enum Resource {
    NotAsked,
    /// There is none of this name.
    Missing(String),
    Found(Props),
}

/// A sink's properties: the instance's cache defaults, the stored ones of `resourceId`, the action, then its connection
/// on top (P1.3, P1.4).
pub(crate) fn sink(
    profiles: &StoredProfiles,
    connections: &Connections,
    defaults: &Props,
    kind: &str,
    action: &Props,
) -> Result<Resolved, EngineError> {
    let mut props = defaults.clone();
    if let Resource::Found(stored) = resource(profiles, kind, action)? {
        props.merge(&stored);
    }
    props.merge(action);
    props.remove("resourceId");
    let Some((id, connection, from_connection)) = select(connections, &props, kind)? else {
        return Ok(Resolved { props, connection: None });
    };
    props.merge(&from_connection);
    Ok(Resolved { props, connection: Some((id, connection)) })
}

type Selected = (Arc<str>, Arc<dyn Connection>, Props);

fn select(connections: &Connections, props: &Props, kind: &str) -> Result<Option<Selected>, EngineError> {
    let id = props.text("connectionSelector").map_err(EngineError::from)?;
    let Some(id) = id.filter(|id| !id.is_empty()) else { return Ok(None) };
    let (connection, found) = connections
        .open(id)
        .ok_or_else(|| EngineError::new(ErrorCode::Executor, format!("connection {id} not existed")))?;
    if !found.kind.eq_ignore_ascii_case(kind) {
        let text = format!("connection {id} is of type {}, which {kind} cannot use", found.kind);
        return Err(EngineError::new(ErrorCode::Executor, text));
    }
    Ok(Some((Arc::from(id), connection, found.props)))
}
