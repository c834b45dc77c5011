//! Whether the clauses fit together, before any expression is looked at.

use thalweg_core::Diagnostic;
use thalweg_core::diagnostic::nearest;
use thalweg_sql::ast::{FromSource, JoinKind, Select};

use crate::logical::StreamDef;

/// How many sources of each kind a SELECT reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceCounts {
    /// Streams.
    pub n_streams: usize,
    /// Whether FROM itself names a lookup table.
    pub is_from_lookup: bool,
}

/// The mistakes in the shape of a SELECT.
pub(crate) fn shape(select: &Select, counts: SourceCounts) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    let has_window = select.window.is_some();
    if counts.n_streams > 1 && !has_window {
        let message = "a time window or count window is required to join multiple streams";
        let place = select.joins.first().map_or(select.span, |join| join.span);
        mistakes.push(
            Diagnostic::plain(message).at(place).help("add one to GROUP BY, such as TUMBLINGWINDOW(ss, 10)"),
        );
    }
    if counts.n_streams == 0
        && let Some(window) = &select.window
    {
        let mistake = Diagnostic::plain("cannot run window for TABLE sources").at(window.span);
        mistakes.push(mistake.help("a table brings no events; join it to a stream"));
    }
    if let (Some(first), false) = (select.group_by.first(), has_window) {
        let message = "select stmt group by should be used with window";
        mistakes
            .push(Diagnostic::plain(message).at(first.span).help("add one, such as TUMBLINGWINDOW(ss, 10)"));
    }
    if counts.is_from_lookup {
        let message = "a lookup table can only be joined, it cannot stand in FROM";
        let place = match &select.from.source {
            FromSource::Named(name) => name.span,
            FromSource::Query(_) | FromSource::Broken => select.span,
        };
        let help = "put the stream into FROM and join the table to it";
        mistakes.push(Diagnostic::plain(message).at(place).help(help));
    }
    for join in select.joins.iter().filter(|join| join.kind == JoinKind::Cross && join.on.is_some()) {
        let message = "On expression is not required for cross join type.\n";
        mistakes.push(Diagnostic::new(thalweg_core::ErrorCode::SqlParse, message).at(join.span));
    }
    mistakes
}

/// E-1: what event time needs of each stream and scan table.
pub(crate) fn event_time(stream: &StreamDef) -> Result<(), Diagnostic> {
    let Some(timestamp) = &stream.timestamp else {
        let message = "preprocessor is set to be event time but stream option TIMESTAMP not found";
        let help = format!("give {} an option TIMESTAMP=\"column\", or leave isEventTime out", stream.name);
        return Err(Diagnostic::plain(message).help(help));
    };
    match &stream.columns {
        Some(columns) if !columns.iter().any(|column| column.name == *timestamp) => {
            let names = columns.iter().map(|column| &*column.name);
            let help = match nearest(timestamp, names) {
                Some(near) => format!("the option TIMESTAMP names a declared column; did you mean {near}?"),
                None => format!("declare it: CREATE STREAM {} ({timestamp} BIGINT, …)", stream.name),
            };
            Err(Diagnostic::plain(format!("timestamp field {timestamp} not found")).help(help))
        }
        _ => Ok(()),
    }
}
