//! Traces of rules (`rest-api.md` 16).

use chrono::{DateTime, SecondsFormat};
use thalweg_runtime::trace::{Span, Trace};

use super::Rules;
use crate::document::Document;
use crate::error::EngineError;
use crate::rule::state::Phase;

/// The parent of a root.
const NOBODY: &str = "0000000000000000";

impl Rules {
    /// Traces a rule from now on, or no longer. A run that is started anew is not traced.
    ///
    /// # Errors
    /// There is none, or it does not run.
    pub fn trace(&self, id: &str, on: bool) -> Result<(), EngineError> {
        let missing = || EngineError::plain(format!("rule {id} isn't existed"));
        let entry = self.find(id).ok_or_else(missing)?;
        let run = entry.run().filter(|_| entry.view().phase == Phase::Running);
        let idle = || {
            let name = entry.record().display_name().to_owned();
            EngineError::plain(format!("rule {name} set trace failed due to rule didn't started"))
        };
        run.ok_or_else(idle)?.trace(on);
        Ok(())
    }

    /// The ids of a rule's traces, the newest first, `limit` at most.
    pub fn traces(&self, rule: &str, limit: usize) -> Vec<String> {
        self.builder.runner.traces().of_rule(rule, limit)
    }

    /// A trace as a tree of spans.
    pub fn shown_trace(&self, id: &str) -> Option<Document> {
        let trace = self.builder.runner.traces().find(id)?;
        Some(tree(&trace, &trace.id(), 0))
    }
}

fn tree(trace: &Trace, id: &str, at: usize) -> Document {
    let Span { name, parent, start, end, data } = &trace.spans[at];
    let attribute = match data.is_empty() {
        true => Document::object(),
        false => Document::object().with("data", data.as_str()),
    };
    let below = trace.spans.iter().enumerate().filter(|(_, span)| span.parent == Some(at));
    Document::object()
        .with("name", name.as_ref())
        .with("traceID", id)
        .with("spanID", trace.span_id(at))
        .with("parentSpanID", parent.map_or_else(|| NOBODY.to_owned(), |parent| trace.span_id(parent)))
        .with("attribute", attribute.with("rule", trace.rule.as_ref()))
        .with("startTime", moment(*start))
        .with("endTime", moment(*end))
        .with("ruleID", trace.rule.as_ref())
        .with("ChildSpan", Document::List(below.map(|(below, _)| tree(trace, id, below)).collect()))
}

fn moment(micros: i64) -> String {
    let moment = DateTime::from_timestamp_micros(micros).unwrap_or_default();
    moment.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
