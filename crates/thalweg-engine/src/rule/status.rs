//! The status document: upstream's keys in upstream's order, then ours (`rest-api.md` 5.6, `decisions.md` "status").

use std::sync::Arc;

use serde_json::Value as Json;
use thalweg_core::Timestamp;
use thalweg_core::connector::ConnectionStatus;
use thalweg_core::metrics::ConnectionMetrics;
use thalweg_expr::registry::HostTrouble;
use thalweg_runtime::{CheckpointStatus, Memory, NodeSnapshot};

use super::entry::{Figures, View};
use super::state::Phase;
use crate::document::Document;

/// A loss or error that is older than this no longer makes a rule unhealthy.
const MEMORY: i64 = 300_000;

/// A node still connecting after this long is worth a reason.
const PATIENCE: i64 = 5_000;

/// The status of a rule.
/// `next_start`: when its schedule starts it again; 0: not known.
/// `notes`: what was written without effect. `hosts`: what is wrong with the plugins that it uses.
pub(super) fn status(
    view: &View,
    (figures, memory): (&Figures, Option<&Memory>),
    (notes, hosts): (&[String], &[HostTrouble]),
    (now, next_start): (Timestamp, Timestamp),
) -> Document {
    let nodes = &figures.nodes[..];
    let mut document = Document::object()
        .with("status", view.phase.text())
        .with("message", view.message.as_ref())
        .with("lastStartTimestamp", view.last_start.0)
        .with("lastStopTimestamp", view.last_stop.0)
        .with("nextStartTimestamp", next_start.0);
    for node in nodes {
        upstream_keys(&mut document, node);
    }
    for node in nodes {
        our_keys(&mut document, node);
    }
    if let Some(checkpoints) = &figures.checkpoints {
        checkpoint_keys(&mut document, checkpoints);
    }
    if let Some(memory) = memory {
        memory_keys(&mut document, memory);
    }
    let mut reasons = reasons(view, nodes, now);
    reasons.extend(figures.checkpoints.as_ref().and_then(|checkpoints| checkpoint_reason(view, checkpoints)));
    if view.phase == Phase::Running {
        reasons.extend(hosts.iter().map(|trouble| host_reason(trouble, now)));
    }
    document.push("health", health(view, &reasons));
    document.push("health_reasons", Document::List(reasons.iter().map(Reason::document).collect()));
    let hints = super::hints::hints(view, nodes);
    if !hints.is_empty() {
        document.push("hints", Document::List(hints));
    }
    if !notes.is_empty() {
        document.push("warnings", notes.to_vec());
    }
    document
}

/// One line of `/rules/status/all`: the state and the newest exception, which is shown only while it runs.
pub(super) fn brief(view: &View, nodes: &[NodeSnapshot]) -> Document {
    let newest =
        nodes.iter().filter(|node| node.exceptions > 0).max_by_key(|node| node.rare.last_exception_time);
    let newest = newest.filter(|_| view.phase == Phase::Running);
    Document::object()
        .with("status", view.phase.text())
        .with("last_exception", newest.map_or("", |node| node.rare.last_exception.as_ref()))
        .with("exceptions_total", newest.map_or(0, |node| node.exceptions))
}

fn upstream_keys(document: &mut Document, node: &NodeSnapshot) {
    let mut put = |metric: &str, value: Json| document.push(format!("{}_0_{metric}", node.name), value);
    put("records_in_total", node.records_in.into());
    put("records_out_total", node.records_out.into());
    put("messages_processed_total", node.processed.into());
    put("process_latency_us", node.latency_us.into());
    put("buffer_length", node.buffer.into());
    put("last_invocation", node.last_invocation.0.into());
    put("exceptions_total", node.exceptions.into());
    put("last_exception", node.rare.last_exception.as_ref().into());
    put("last_exception_time", node.rare.last_exception_time.into());
    if !has_connection(node) {
        return;
    }
    let none = ConnectionMetrics::default();
    let connection = node.rare.connection.as_ref().unwrap_or(&none);
    let number = match connection.status {
        ConnectionStatus::Connected => 1,
        ConnectionStatus::Connecting => 0,
        ConnectionStatus::Disconnected(_) => -1,
    };
    put("connection_status", number.into());
    put("connection_last_connected_time", connection.last_connected.into());
    put("connection_last_disconnected_time", connection.last_disconnected.into());
    put("connection_last_disconnected_message", connection.last_message.as_ref().into());
    put("connection_last_try_time", connection.last_try.into());
}

/// R8.6: sources and sinks have these keys, connected or not.
fn has_connection(node: &NodeSnapshot) -> bool {
    node.name.starts_with("source_") || node.name.starts_with("sink_")
}

fn our_keys(document: &mut Document, node: &NodeSnapshot) {
    let mut put = |metric: String, value: Json| document.push(format!("{}_0_{metric}", node.name), value);
    put("dropped_total".to_owned(), node.rare.dropped.values().sum::<u64>().into());
    for (cause, count) in &node.rare.dropped {
        put(format!("dropped_{cause}_total"), (*count).into());
    }
    if let Some(shapes) = node.rare.shapes {
        put("decoded_by_shape_total".to_owned(), shapes.by_shape.into());
        put("decoded_by_walker_total".to_owned(), shapes.by_walker.into());
        put("learned_shapes".to_owned(), shapes.kept.into());
        put("learning_paused".to_owned(), u64::from(shapes.is_paused).into());
    }
    put("last_row_time".to_owned(), node.last_row.0.into());
    put("queue_fill_pct".to_owned(), fill(node).into());
}

/// Rules with `qos` 1 or 2 only.
fn checkpoint_keys(document: &mut Document, checkpoints: &CheckpointStatus) {
    document.push("checkpoint_total", checkpoints.completed);
    document.push("checkpoint_failures_total", checkpoints.failed);
    document.push("checkpoint_last_time", checkpoints.last_time.0);
    document.push("checkpoint_last_duration_ms", checkpoints.duration_ms);
    document.push("checkpoint_last_bytes", checkpoints.bytes);
    document.push("checkpoint_last_error", checkpoints.last_error.as_ref());
    document.push("checkpoint_restored_time", checkpoints.restored.0);
    document.push("checkpoint_note", checkpoints.note.as_ref());
}

fn memory_keys(document: &mut Document, memory: &Memory) {
    document.push("memory_bytes", memory.total());
    document.push("memory_state_bytes", memory.state);
    document.push("memory_queue_bytes", memory.queues);
    document.push("memory_record_bytes", memory.record);
}

fn checkpoint_reason(view: &View, checkpoints: &CheckpointStatus) -> Option<Reason> {
    let fails = view.phase == Phase::Running && checkpoints.failing > 0;
    fails.then(|| Reason {
        node: Arc::default(),
        cause: "checkpoint_failed",
        since: checkpoints.failing_since.0,
        count: checkpoints.failing,
        hint: format!(
            "a crash now would lose state; it is tried again by itself: {}",
            checkpoints.last_error
        ),
        is_failing: false,
    })
}

fn fill(node: &NodeSnapshot) -> u64 {
    node.buffer.saturating_mul(100).checked_div(node.buffer_capacity).unwrap_or_default()
}

/// Why a rule is not well.
struct Reason {
    node: Arc<str>,
    cause: &'static str,
    since: i64,
    count: u64,
    hint: String,
    /// Nothing gets through, rather than not everything.
    is_failing: bool,
}

impl Reason {
    fn document(&self) -> Document {
        Document::object()
            .with("node", self.node.as_ref())
            .with("cause", self.cause)
            .with("since", self.since)
            .with("count", self.count)
            .with("hint", self.hint.as_str())
    }
}

fn host_reason(trouble: &HostTrouble, now: Timestamp) -> Reason {
    let lasting = i64::try_from(trouble.lasting.as_millis()).unwrap_or(i64::MAX);
    Reason {
        node: Arc::from(trouble.node.as_str()),
        cause: trouble.cause,
        since: now.0.saturating_sub(lasting),
        count: 1,
        hint: trouble.hint.clone(),
        is_failing: trouble.is_failing,
    }
}

fn health(view: &View, reasons: &[Reason]) -> &'static str {
    if view.phase == Phase::StoppedByError || reasons.iter().any(|reason| reason.is_failing) {
        "failing"
    } else if reasons.is_empty() {
        "ok"
    } else {
        "degraded"
    }
}

fn reasons(view: &View, nodes: &[NodeSnapshot], now: Timestamp) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if view.phase == Phase::StoppedByError {
        reasons.push(Reason {
            node: Arc::default(),
            cause: "stopped_by_error",
            since: view.last_stop.0,
            count: 1,
            hint: format!("correct the cause and start the rule again: {}", view.message),
            is_failing: true,
        });
    }
    if view.phase == Phase::Running {
        for node in nodes {
            let connection = connection_reason(node, view, now);
            // What a broken connection counts as errors is said by the connection's own reason.
            let is_broken = connection.is_some();
            reasons.extend(connection);
            reasons.extend(queue_reason(node));
            reasons.extend(
                loss_reasons(node, now).into_iter().filter(|why| !(is_broken && why.cause == "exception")),
            );
        }
    }
    reasons
}

fn connection_reason(node: &NodeSnapshot, view: &View, now: Timestamp) -> Option<Reason> {
    let connection = node.rare.connection.as_ref()?;
    let reason = |cause, since, hint| Reason {
        node: Arc::clone(&node.name),
        cause,
        since,
        count: 1,
        hint,
        is_failing: true,
    };
    match &connection.status {
        ConnectionStatus::Connected => None,
        ConnectionStatus::Disconnected(why) => Some(reason(
            "disconnected",
            connection.last_disconnected,
            format!("it is tried again by itself: {why}"),
        )),
        ConnectionStatus::Connecting => {
            let since = view.last_start.0.max(connection.last_disconnected);
            let hint = "no connection yet: check the address and that the other side runs".to_owned();
            (now.0 - since > PATIENCE).then(|| reason("connecting", since, hint))
        }
    }
}

fn queue_reason(node: &NodeSnapshot) -> Option<Reason> {
    let fill = fill(node);
    (fill >= 80).then(|| Reason {
        node: Arc::clone(&node.name),
        cause: "queue_filling",
        since: node.last_invocation.0,
        count: node.buffer,
        hint: format!("its queue is {fill} % full: what follows it is slower than what comes in"),
        is_failing: false,
    })
}

fn loss_reasons(node: &NodeSnapshot, now: Timestamp) -> Vec<Reason> {
    let last = node.rare.last_exception_time;
    let is_old = last > 0 && now.0 - last > MEMORY;
    if is_old {
        return Vec::new();
    }
    let reason = |cause, count, hint: String| Reason {
        node: Arc::clone(&node.name),
        cause,
        since: last,
        count,
        hint,
        is_failing: false,
    };
    let dropped = node.rare.dropped.iter().filter(|(_, count)| **count > 0);
    let mut reasons: Vec<Reason> =
        dropped.map(|(cause, count)| reason(cause, *count, hint(cause, node))).collect();
    if reasons.is_empty() && node.exceptions > 0 {
        reasons.push(reason("exception", node.exceptions, node.rare.last_exception.to_string()));
    }
    reasons
}

fn hint(cause: &str, node: &NodeSnapshot) -> String {
    match cause {
        "queue_full" => {
            "the rule is slower than its input: raise bufferLength, filter earlier, or use a faster sink"
                .to_owned()
        }
        "late" => "rows came later than lateTolerance allows: raise it".to_owned(),
        "too_large" => "messages were larger than allowed".to_owned(),
        "cache_full" => {
            "the sink's cache is full: raise maxDiskCache, or bring the other side back".to_owned()
        }
        _ => node.rare.last_exception.to_string(),
    }
}
