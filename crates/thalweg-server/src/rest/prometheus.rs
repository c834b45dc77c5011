//! `/metrics` (`rest-api.md` 17): what Prometheus scrapes, under eKuiper's names, and drops by cause under ours.
//!
//! Every rule tells of all its nodes, also of those of a stream that it shares: what has come through them since the rule
//! began to read, so that the series of one rule add up like those of one without sharing.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use thalweg_core::connector::ConnectionStatus;
use thalweg_core::metrics::N_LATENCIES;
use thalweg_engine::EngineError;
use thalweg_engine::rule::{Observed, Phase};
use thalweg_runtime::NodeSnapshot;

use super::body::Query;
use super::routes::{Routes, get};
use super::{Answer, Failure};
use crate::machine;
use crate::server::App;

/// The content type of the text format, version 0.0.4.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One number of a node.
struct Family {
    metric: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&NodeSnapshot) -> u64,
}

const FAMILIES: [Family; 6] = [
    Family {
        metric: "records_in_total",
        kind: "counter",
        help: "Messages or rows that came in.",
        value: |node| node.records_in,
    },
    Family {
        metric: "records_out_total",
        kind: "counter",
        help: "Messages or rows that went out.",
        value: |node| node.records_out,
    },
    Family {
        metric: "messages_processed_total",
        kind: "counter",
        help: "Messages or rows that were processed.",
        value: |node| node.processed,
    },
    Family { metric: "exceptions_total", kind: "counter", help: "Errors.", value: |node| node.exceptions },
    Family {
        metric: "process_latency_us",
        kind: "gauge",
        help: "How long the last batch took, in microseconds.",
        value: |node| node.latency_us,
    },
    Family {
        metric: "buffer_length",
        kind: "gauge",
        help: "What waits in front of the node.",
        value: |node| node.buffer,
    },
];

/// Nodes by what they are: the first word of their names.
const TYPES: [&str; 3] = ["source", "op", "sink"];

/// The route, with the series of nodes or without.
pub(crate) fn routes(with_nodes: bool) -> Routes {
    Routes::new().route("/metrics", get(move |State(app): State<Arc<App>>| scrape(app, with_nodes)))
}

/// What is kept of earlier metrics: always on the management interface.
pub(super) fn dump_routes() -> Routes {
    Routes::new().route("/metrics/dump", get(dump)).route("/metrics/dump/check", get(check))
}

async fn scrape(app: Arc<App>, with_nodes: bool) -> Response {
    ([(header::CONTENT_TYPE, FORMAT)], text(&app, with_nodes)).into_response()
}

/// Everything that is to be scraped now.
pub(crate) fn text(app: &App, with_nodes: bool) -> String {
    let mut out = exposition(&app.engine.rules().observe(), with_nodes);
    named_connections(&mut out, &app.engine.connections().statuses());
    of_process(&mut out);
    out
}

async fn check(State(app): State<Arc<App>>) -> Answer {
    Answer::ok(if app.metrics_dump.is_on() { "enabled" } else { "disabled" })
}

/// Seconds since 1970.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Time {
    start_time: Option<i64>,
    end_time: Option<i64>,
}

async fn dump(State(app): State<Arc<App>>, Query(time): Query<Time>) -> Result<Response, Failure> {
    if !app.metrics_dump.is_on() {
        return Err(Failure::plain("metrics dump not enabled"));
    }
    let to = time.end_time.unwrap_or_else(|| app.seconds());
    let from = time.start_time.unwrap_or(to.saturating_sub(3_600));
    let zip = super::blocking(move || {
        let unreadable = |why: &dyn std::fmt::Display| EngineError::plain(format!("read metrics: {why}"));
        let text = app.metrics_dump.text(from, to).map_err(|why| unreadable(&why))?;
        if text.is_empty() {
            return Err(EngineError::plain("not metrics are selected"));
        }
        zipped(&text).map_err(|why| unreadable(&why))
    });
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream"), (header::CONTENT_DISPOSITION, "Attachment")];
    Ok((headers, zip.await?).into_response())
}

fn zipped(text: &str) -> std::io::Result<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("metrics.txt", zip::write::SimpleFileOptions::default())?;
    zip.write_all(text.as_bytes())?;
    Ok(zip.finish()?.into_inner())
}

/// The whole text.
fn exposition(rules: &[Observed], with_nodes: bool) -> String {
    let mut out = String::new();
    of_rules(&mut out, rules);
    if with_nodes {
        of_nodes(&mut out, rules);
        latencies(&mut out, rules);
        connections(&mut out, rules);
        drops(&mut out, rules);
    }
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A label's value: backslashes, quotes and line breaks are escaped.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn of_rules(out: &mut String, rules: &[Observed]) {
    head(out, "kuiper_rule_status", "gauge", "1 running, 0 not, -1 stopped by an error.");
    for rule in rules {
        let status = match rule.phase {
            Phase::Running => 1,
            Phase::StoppedByError => -1,
            _ => 0,
        };
        let _ = writeln!(out, "kuiper_rule_status{{rule=\"{}\"}} {status}", label(&rule.id));
    }
    head(out, "kuiper_rule_count", "gauge", "How many rules run, and how many do not.");
    let running = rules.iter().filter(|rule| rule.phase == Phase::Running).count();
    let _ = writeln!(out, "kuiper_rule_count{{status=\"running\"}} {running}");
    let _ = writeln!(out, "kuiper_rule_count{{status=\"stop\"}} {}", rules.len() - running);
    head(out, "kuiper_rule_cpu_time_seconds_total", "counter", "CPU time of a rule since its run began.");
    for (rule, cpu) in rules.iter().filter_map(|rule| Some((rule, rule.cpu?))) {
        let (id, seconds) = (label(&rule.id), cpu.as_secs_f64());
        let _ = writeln!(out, "kuiper_rule_cpu_time_seconds_total{{rule=\"{id}\"}} {seconds}");
    }
}

/// Each node of one type with its rule and its name without the type.
fn nodes<'a>(
    rules: &'a [Observed],
    node_type: &'a str,
) -> impl Iterator<Item = (&'a Observed, &'a NodeSnapshot, &'a str)> {
    let of_rule = move |rule: &'a Observed| {
        rule.nodes.iter().filter_map(move |node| {
            let name = node.name.strip_prefix(node_type)?.strip_prefix('_')?;
            Some((rule, node, name))
        })
    };
    rules.iter().flat_map(of_rule)
}

fn labels(rule: &Observed, name: &str, node_type: &str) -> String {
    let (rule, name) = (label(&rule.id), label(name));
    format!("{{op=\"{name}\",op_instance=\"0\",rule=\"{rule}\",type=\"{node_type}\"}}")
}

fn of_nodes(out: &mut String, rules: &[Observed]) {
    for node_type in TYPES {
        for Family { metric, kind, help, value } in &FAMILIES {
            let family = format!("kuiper_{node_type}_{metric}");
            head(out, &family, kind, help);
            for (rule, node, name) in nodes(rules, node_type) {
                let _ = writeln!(out, "{family}{} {}", labels(rule, name, node_type), value(node));
            }
        }
    }
}

fn latencies(out: &mut String, rules: &[Observed]) {
    for node_type in TYPES {
        let family = format!("kuiper_{node_type}_process_latency_us_hist");
        head(out, &family, "histogram", "How long batches took, in microseconds.");
        for (rule, node, name) in nodes(rules, node_type) {
            let Some(latencies) = &node.latencies else { continue };
            let labels = labels(rule, name, node_type);
            let open = labels.strip_suffix('}').unwrap_or(&labels);
            let mut count = 0;
            for (n, batches) in latencies.batches.iter().enumerate() {
                count += batches;
                let end = if n < N_LATENCIES { (10_u64 << n).to_string() } else { "+Inf".to_owned() };
                let _ = writeln!(out, "{family}_bucket{open},le=\"{end}\"}} {count}");
            }
            let _ = writeln!(out, "{family}_sum{labels} {}\n{family}_count{labels} {count}", latencies.sum);
        }
    }
}

fn number(status: &ConnectionStatus) -> i8 {
    match status {
        ConnectionStatus::Connected => 1,
        ConnectionStatus::Connecting => 0,
        ConnectionStatus::Disconnected(_) => -1,
    }
}

fn named_connections(out: &mut String, connections: &[(String, ConnectionStatus)]) {
    head(out, "kuiper_conn_status_gauge", "gauge", "Named connections: 1 connected, 0 connecting, -1 not.");
    for (name, status) in connections {
        let (name, status) = (label(name), number(status));
        let _ = writeln!(out, "kuiper_conn_status_gauge{{name=\"{name}\"}} {status}");
    }
}

fn of_process(out: &mut String) {
    if let Some(seconds) = machine::cpu_seconds() {
        head(out, "process_cpu_seconds_total", "counter", "CPU time of the process in seconds.");
        let _ = writeln!(out, "process_cpu_seconds_total {seconds}");
    }
    if let Some(bytes) = machine::memory_used() {
        head(out, "process_resident_memory_bytes", "gauge", "Resident memory of the process in bytes.");
        let _ = writeln!(out, "process_resident_memory_bytes {bytes}");
    }
}

fn connections(out: &mut String, rules: &[Observed]) {
    for node_type in ["source", "sink"] {
        let family = format!("kuiper_{node_type}_connection_status");
        head(out, &family, "gauge", "1 connected, 0 connecting, -1 not connected.");
        for (rule, node, name) in nodes(rules, node_type) {
            let Some(connection) = &node.rare.connection else { continue };
            let status = number(&connection.status);
            let _ = writeln!(out, "{family}{} {status}", labels(rule, name, node_type));
        }
    }
}

fn drops(out: &mut String, rules: &[Observed]) {
    head(out, "thalweg_dropped_total", "counter", "Rows or messages that were lost, by cause.");
    for rule in rules {
        for node in &rule.nodes {
            for (cause, count) in &node.rare.dropped {
                let (rule, node) = (label(&rule.id), label(&node.name));
                let _ = writeln!(
                    out,
                    "thalweg_dropped_total{{rule=\"{rule}\",node=\"{node}\",cause=\"{cause}\"}} {count}"
                );
            }
        }
    }
}
