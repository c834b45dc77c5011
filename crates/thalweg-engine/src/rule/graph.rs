//! Graph rules: their sinks as actions, and their own sources as streams that only they see (R6.1, R6.2).

use std::sync::Arc;

use serde_json::Value as Json;
use thalweg_core::registry::Registry;
use thalweg_core::{Diagnostic, Props, Span};
use thalweg_plan::graph::{Graph, Source};
use thalweg_sql::ast::{CreateSource, Name, SourceKind};

use super::definition::Action;
use crate::catalog::Catalog;
use crate::error::EngineError;
use crate::stream::{self, StreamEntry};

/// The graph of a rule, or what is wrong with it, which is told when the rule is planned.
pub(crate) type Drawing = Result<Graph, Vec<Diagnostic>>;

/// The sinks of a graph as actions.
pub(super) fn actions(graph: &Graph) -> Vec<Action> {
    let action = |(index, (name, kind, props)): (usize, (&Arc<str>, &str, &Props))| Action {
        kind: kind.to_owned(),
        index,
        props: props.clone(),
        node: Some(Arc::clone(name)),
    };
    graph.sinks().enumerate().map(action).collect()
}

/// What the source nodes read, in the order of the topology, each under the name by which expressions know it.
///
/// # Errors
/// A stream that does not exist, is of another kind or type, or options that are wrong.
pub(super) fn sources(
    graph: &Graph,
    catalog: &Catalog,
    registry: &Registry,
) -> Result<Vec<Arc<StreamEntry>>, EngineError> {
    let all = graph.source_nodes();
    all.map(|(node, source)| match source {
        Source::Inline { kind, props } => {
            let entry = inline(node, kind, props, registry);
            let refuse = |mut why: EngineError| {
                // There is no statement in which it could have a place.
                why.message =
                    why.message.replace("line 1, column 1; ", "").replace(" (line 1, column 1)", "");
                why.prefixed(&format!("parse source {node} error: "))
            };
            entry.map(Arc::new).map_err(refuse)
        }
        Source::Named { kind, name, is_table } => named(kind, name, *is_table, catalog)
            .map_err(|why| why.prefixed(&format!("parse source {node} error: "))),
    })
    .collect()
}

fn named(kind: &str, name: &str, is_table: bool, catalog: &Catalog) -> Result<Arc<StreamEntry>, EngineError> {
    let entry = catalog.get(name).ok_or_else(|| {
        EngineError::plain(format!("fail to get stream {name}, please check if stream is created"))
    })?;
    match (entry.def.kind, is_table) {
        (SourceKind::Stream, true) => Err(EngineError::plain(format!(
            "stream {name} is not a table (write \"sourceType\": \"stream\")"
        ))),
        (SourceKind::Table, false) => {
            Err(EngineError::plain(format!("table {name} is not a stream (write \"sourceType\": \"table\")")))
        }
        _ if *entry.def.source_type != *kind => Err(EngineError::plain(format!(
            "source type {kind} does not match the stream type {0} (write \"nodeType\": \"{0}\")",
            entry.def.source_type
        ))),
        _ => Ok(entry),
    }
}

/// A stream of the graph's own: properties by their names in JSON are options of CREATE STREAM.
fn inline(
    node: &Arc<str>,
    kind: &str,
    props: &Props,
    registry: &Registry,
) -> Result<StreamEntry, EngineError> {
    let name = |text: &str| Name { text: Arc::from(text), span: Span::default() };
    let mut options: Vec<(Name, Arc<str>)> =
        vec![(name("TYPE"), Arc::from(if kind.is_empty() { "mqtt" } else { kind }))];
    for (property, value) in props.iter() {
        let Some(option) = stream::option_of(property) else { continue };
        // It is the node's type; and what only this rule reads is not shared.
        if ["TYPE", "SHARED"].contains(&option) {
            continue;
        }
        let text = match value {
            Json::Null => continue,
            Json::String(text) => text.clone(),
            other => other.to_string(),
        };
        options.push((name(option), Arc::from(text)));
    }
    let text = |name| props.text(name).map(|text| text.unwrap_or_default().to_owned());
    let (schema, message) = (text("schemaName")?, text("schemaMessage")?);
    let has_schema = options.iter().any(|(option, text)| &*option.text == "SCHEMAID" && !text.is_empty());
    if !has_schema && !schema.is_empty() && !message.is_empty() {
        options.push((name("SCHEMAID"), Arc::from(format!("{schema}.{message}"))));
    }
    let create = CreateSource { kind: SourceKind::Stream, name: name(node), columns: Vec::new(), options };
    StreamEntry::new("", create, registry)
}

/// What has no effect at the sources of a graph.
pub(super) fn notes(graph: &Graph) -> Vec<String> {
    let shared = graph.source_nodes().filter_map(|(node, source)| match source {
        Source::Inline { props, .. } if matches!(props.bool("shared"), Ok(Some(true))) => {
            Some(format!("source {node}: shared has no effect, because the stream is the graph's own; create a stream to share it"))
        }
        _ => None,
    });
    shared.collect()
}
