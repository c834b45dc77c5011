//! Traces: what became of the batches of a rule while somebody wants to know (`rest-api.md` 16).
//!
//! A rule has a trace for each batch of a source, and one for each timer that let something out. Spans are noted where
//! the chain counts, so no operator knows of them; a rule that is not traced looks at an empty place once a call.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use chrono_tz::Tz;
use thalweg_core::{Batch, Clock, Selection, Timestamp};

use crate::egress::row::RowWriter;

/// Spans of one call that are kept: a join may hand on each row by itself.
const MAX_SPANS: usize = 256;

/// The longest data that a span shows, in bytes.
const MAX_DATA: usize = 4_096;

/// One step of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The node's name without prefix.
    pub name: Arc<str>,
    /// The span that it is part of; none of the first one.
    pub parent: Option<usize>,
    /// Microseconds since the Unix epoch.
    pub start: i64,
    /// The same of its end.
    pub end: i64,
    /// The first row, as JSON; of sources only, and empty elsewhere.
    pub data: String,
}

/// What became of one batch.
#[derive(Debug)]
pub struct Trace {
    /// The rule.
    pub rule: Arc<str>,
    /// The first is the root, and every other stands behind its parent.
    pub spans: Vec<Span>,
    keys: RandomState,
}

impl Trace {
    fn new(rule: &Arc<str>, spans: Vec<Span>) -> Self {
        Self { rule: Arc::clone(rule), spans, keys: RandomState::new() }
    }

    /// Its id: 32 hexadecimal digits.
    pub fn id(&self) -> String {
        format!("{:016x}{:016x}", self.keys.hash_one("first half"), self.keys.hash_one("second half"))
    }

    /// The id of a span: 16 hexadecimal digits.
    pub fn span_id(&self, span: usize) -> String {
        format!("{:016x}", self.keys.hash_one(span))
    }
}

/// The last traces of all rules.
#[derive(Debug)]
pub struct Traces {
    capacity: usize,
    /// The oldest first.
    kept: Mutex<VecDeque<Arc<Trace>>>,
}

impl Traces {
    /// Room for so many.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, kept: Mutex::default() }
    }

    /// The ids of those of a rule, the newest first, `limit` at most.
    pub fn of_rule(&self, rule: &str, limit: usize) -> Vec<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let own = kept.iter().rev().filter(|trace| &*trace.rule == rule);
        own.take(limit).map(|trace| trace.id()).collect()
    }

    /// One of them.
    pub fn find(&self, id: &str) -> Option<Arc<Trace>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|trace| trace.id() == id).cloned()
    }

    fn keep(&self, trace: Trace) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(Arc::new(trace));
        while kept.len() > self.capacity {
            kept.pop_front();
        }
    }
}

/// A rule that is traced.
pub(crate) struct Tracing {
    pub traces: Arc<Traces>,
    /// The names of its scans, in order.
    pub sources: Box<[Arc<str>]>,
}

impl Tracing {
    /// Begins to note what a call does.
    pub(crate) fn recording(&self, now: Timestamp, clock: &dyn Clock) -> RefCell<Recording> {
        let since = now.0.saturating_mul(1_000).saturating_sub_unsigned(clock.monotonic_micros());
        RefCell::new(Recording { since, sources: self.sources.clone(), spans: Vec::new(), within: None })
    }

    /// Keeps what was noted: a trace for each span that is part of no other.
    pub(crate) fn keep(&self, rule: &Arc<str>, recording: Recording) {
        let (mut rest, mut first) = (recording.spans, 0);
        while !rest.is_empty() {
            let next = rest.iter().skip(1).position(|span| span.parent.is_none());
            let n_spans = next.map_or(rest.len(), |next| next + 1);
            let later = rest.split_off(n_spans);
            for span in &mut rest {
                span.parent = span.parent.map(|parent| parent - first);
            }
            self.traces.keep(Trace::new(rule, std::mem::replace(&mut rest, later)));
            first += n_spans;
        }
    }
}

/// The spans of one call into a rule.
pub(crate) struct Recording {
    /// The moment, in microseconds since the epoch, at which the clock's other microseconds were 0.
    since: i64,
    sources: Box<[Arc<str>]>,
    spans: Vec<Span>,
    /// The span under way.
    within: Option<usize>,
}

impl Recording {
    fn moment(&self, clock: &dyn Clock) -> i64 {
        self.since.saturating_add_unsigned(clock.monotonic_micros())
    }

    /// Rows of a scan come in.
    pub(crate) fn enter(
        &mut self,
        scan: usize,
        (batch, rows): (&Batch, &Selection),
        zone: Tz,
        clock: &dyn Clock,
    ) -> Option<usize> {
        let name = self.sources.get(scan).cloned()?;
        let span = self.open(&name, clock)?;
        let mut data = Vec::new();
        if let Some(row) = rows.iter().next()
            && RowWriter::default().write(&mut data, batch, row, zone).is_ok()
        {
            let mut text = String::from_utf8_lossy(&data).into_owned();
            if text.len() > MAX_DATA {
                let end = (0..=MAX_DATA).rev().find(|end| text.is_char_boundary(*end));
                text.truncate(end.unwrap_or_default());
                text.push('…');
            }
            self.spans[span].data = text;
        }
        Some(span)
    }

    /// A node begins. Nodes that upstream does not have are left out.
    pub(crate) fn open(&mut self, name: &Arc<str>, clock: &dyn Clock) -> Option<usize> {
        if name.is_empty() || self.spans.len() >= MAX_SPANS {
            return None;
        }
        let start = self.moment(clock);
        let (name, parent) = (Arc::clone(name), self.within);
        self.spans.push(Span { name, parent, start, end: start, data: String::new() });
        self.within = Some(self.spans.len() - 1);
        self.within
    }

    /// A node has ended.
    pub(crate) fn close(&mut self, span: Option<usize>, clock: &dyn Clock) {
        if let Some(span) = span {
            self.spans[span].end = self.moment(clock);
            self.within = self.spans[span].parent;
        }
    }

    /// A node has ended that may have done nothing: then nothing was.
    pub(crate) fn close_unless_idle(&mut self, span: Option<usize>, emitted: u64, clock: &dyn Clock) {
        self.close(span, clock);
        if emitted == 0 && span.is_some_and(|span| span + 1 == self.spans.len()) {
            self.spans.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_core::time::ManualClock;

    #[test]
    fn the_oldest_trace_makes_room_and_the_newest_is_told_first() {
        let traces = Traces::new(2);
        let rules: [Arc<str>; 2] = [Arc::from("a"), Arc::from("b")];
        for at in [0, 1, 0] {
            traces.keep(Trace::new(&rules[at], Vec::new()));
        }
        assert_eq!((traces.of_rule("a", 9).len(), traces.of_rule("b", 9).len()), (1, 1), "one went");
        traces.keep(Trace::new(&rules[0], Vec::new()));
        let ids = traces.of_rule("a", 9);
        assert_eq!((ids.len(), ids[0].len()), (2, 32));
        assert_ne!(ids[0], ids[1]);
        assert_eq!(traces.of_rule("a", 1), ids[..1]);
        assert_eq!(traces.find(&ids[1]).map(|trace| trace.id()), Some(ids[1].clone()));
        assert!(traces.find("0").is_none());
    }

    #[test]
    fn each_span_that_is_part_of_no_other_begins_a_trace_and_idle_ones_are_forgotten() {
        let clock = ManualClock::at(Timestamp(7));
        let traces = Arc::new(Traces::new(9));
        let tracing = Tracing { traces: Arc::clone(&traces), sources: Box::default() };
        let mut recording = tracing.recording(clock.now(), clock.as_ref()).into_inner();
        let name = |name: &str| Arc::<str>::from(name);
        for root in ["2_window", "3_window"] {
            let outer = recording.open(&name(root), clock.as_ref());
            let unnamed = recording.open(&name(""), clock.as_ref());
            let inner = recording.open(&name("4_project"), clock.as_ref());
            recording.close(inner, clock.as_ref());
            recording.close(unnamed, clock.as_ref());
            recording.close_unless_idle(outer, 0, clock.as_ref());
        }
        let idle = recording.open(&name("5_window"), clock.as_ref());
        recording.close_unless_idle(idle, 0, clock.as_ref());
        tracing.keep(&name("r"), recording);
        let ids = traces.of_rule("r", 9);
        assert_eq!(ids.len(), 2);
        for (id, root) in ids.iter().zip(["3_window", "2_window"]) {
            let trace = traces.find(id).unwrap();
            let shape: Vec<_> =
                trace.spans.iter().map(|span| (&*span.name, span.parent, span.start)).collect();
            assert_eq!(shape, [(root, None, 7_000), ("4_project", Some(0), 7_000)]);
        }
    }
}
