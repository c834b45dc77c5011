//! Why nothing comes out of a rule that is well: told in its status as long as no sink has been given anything.
//!
//! The counters of the nodes say how far rows have come: a source that nothing came from, and the first node behind it
//! that took rows and gave none. No node does anything for it.

use std::sync::Arc;

use thalweg_core::connector::ConnectionStatus;
use thalweg_runtime::NodeSnapshot;

use super::entry::View;
use super::state::Phase;
use crate::document::Document;

/// The hints as documents of the shape of `health_reasons`; none when there is output, or the rule does not run.
pub(super) fn hints(view: &View, nodes: &[NodeSnapshot]) -> Vec<Document> {
    let sinks = || nodes.iter().filter(|node| node.name.starts_with("sink_"));
    let has_output = sinks().next().is_none() || sinks().any(|sink| sink.records_in > 0);
    if view.phase != Phase::Running || has_output {
        return Vec::new();
    }
    let is_source = |node: &&NodeSnapshot| node.name.starts_with("source_");
    let silent = nodes.iter().filter(is_source).filter(|node| node.records_out == 0 && node.records_in == 0);
    let silent = silent.map(|node| silence(view, node));
    let stuck = nodes.iter().find(|node| !is_source(node) && node.records_in > 0 && node.records_out == 0);
    silent.chain(stuck.map(stop)).collect()
}

fn document(node: &Arc<str>, cause: &str, (since, count): (i64, u64), hint: String) -> Document {
    Document::object()
        .with("node", node.as_ref())
        .with("cause", cause)
        .with("since", since)
        .with("count", count)
        .with("hint", hint)
}

/// A source that nothing came from.
fn silence(view: &View, node: &NodeSnapshot) -> Document {
    let stream = node.name.trim_start_matches("source_");
    let connection = node.rare.connection.as_ref();
    let (cause, since, hint) = match connection.map(|connection| &connection.status) {
        Some(ConnectionStatus::Disconnected(why)) => {
            let since = connection.map_or(view.last_start.0, |connection| connection.last_disconnected);
            ("not_connected", since, format!("stream {stream} has no connection: {why}"))
        }
        Some(ConnectionStatus::Connecting) => {
            ("not_connected", view.last_start.0, format!("stream {stream} is not connected yet"))
        }
        Some(ConnectionStatus::Connected) | None => {
            let hint = format!(
                "nothing has arrived at stream {stream} since the rule was started: compare its DATASOURCE with \
                 what is sent, and see that something is sent"
            );
            ("no_input", view.last_start.0, hint)
        }
    };
    document(&node.name, cause, (since, 0), hint)
}

/// The first node that took rows and gave none.
fn stop(node: &NodeSnapshot) -> Document {
    let (rows, failed) = (node.records_in, node.exceptions);
    let kind = node.name.rsplit('_').next().unwrap_or_default();
    let (cause, hint) = match kind {
        _ if failed >= rows => {
            ("all_failed", format!("all {rows} failed, the last with: {}", node.rare.last_exception))
        }
        "filter" => ("all_filtered", format!("WHERE is true for none of {rows} rows")),
        "having" => ("all_filtered", format!("HAVING is true for none of {rows} groups")),
        "windowFilter" => ("all_filtered", format!("the window's filter is true for none of {rows} rows")),
        "watermark" => (
            "waits_for_time",
            format!(
                "{rows} rows wait: in event time a window ends when a later row comes, on every stream of the rule"
            ),
        ),
        "window" => ("window_open", format!("{rows} rows are in a window that has not ended yet")),
        "join" | "aligner" => ("no_match", format!("ON is true for none of {rows} rows")),
        _ => ("nothing_passed", format!("it took {rows} and gave nothing")),
    };
    document(&node.name, cause, (node.last_invocation.0, rows), hint)
}
