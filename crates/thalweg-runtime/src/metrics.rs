//! The metrics of a rule's nodes as its status shows them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use thalweg_core::Timestamp;
use thalweg_core::connector::ConnectionStatus;
use thalweg_core::metrics::{ConnectionMetrics, Counters, NodeMetrics, Rare};

use crate::rule::NodeSnapshot;
use crate::ruleset::tally::Tally;

/// A node as one rule sees it.
pub(crate) struct NodeView {
    name: Arc<str>,
    metrics: Arc<NodeMetrics>,
    /// What a shared node had counted when the rule joined.
    base: Option<Box<Base>>,
    /// Its part in what the rule has counted without being called.
    part: Option<Part>,
    /// It is a sink that swallows everything, connected since the rule was started.
    swallows: bool,
}

/// What the nodes of a rule have in common.
#[derive(Default)]
pub(crate) struct Beside {
    /// What the rule has counted without being called.
    pub tally: Option<Arc<Tally>>,
    /// When it was started.
    pub started: Timestamp,
    /// What a common window counts for it.
    pub window: Option<Arc<Borrowed>>,
}

/// Nodes of a common window that count for a rule from some moment on, each with the rule's own.
pub(crate) struct Borrowed {
    pairs: Vec<(Arc<NodeMetrics>, Arc<NodeMetrics>)>,
    /// What they had counted then.
    bases: OnceLock<Vec<Base>>,
}

impl Borrowed {
    /// The rule's own and the common nodes.
    pub(crate) fn new(pairs: Vec<(Arc<NodeMetrics>, Arc<NodeMetrics>)>) -> Self {
        Self { pairs, bases: OnceLock::new() }
    }

    /// The rule counts no rows by itself any more.
    pub(crate) fn begin(&self) {
        let name = Arc::from("");
        self.bases.get_or_init(|| self.pairs.iter().map(|(_, common)| Base::of(of(&name, common))).collect());
    }

    /// Adds what a node's common one has counted since then.
    fn add(&self, own: &Arc<NodeMetrics>, now: &mut NodeSnapshot) {
        let Some(bases) = self.bases.get() else { return };
        let mut pairs = self.pairs.iter().zip(bases);
        if let Some(((_, common), base)) = pairs.find(|((node, _), _)| Arc::ptr_eq(node, own)) {
            let mut common = of(&now.name, common);
            since(&mut common, base);
            sum(now, common);
        }
    }
}

/// What a node of a quiet rule has to do with the rule's tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The rows that the stream has shown the rule come in, those that passed go out.
    Filter,
    /// The rows that passed come in and go out; how long they took is known.
    Project,
    /// The same for the steps of its actions.
    Action,
}

/// The counters of a shared node at one moment, and further nodes that are the same one to the rule.
#[derive(Default)]
struct Base {
    /// Its counterparts beside the connections of a split stream.
    others: Vec<Arc<NodeMetrics>>,
    records_in: u64,
    records_out: u64,
    processed: u64,
    exceptions: u64,
    dropped: BTreeMap<&'static str, u64>,
    /// Messages that shapes and the walker had decoded.
    decoded: (u64, u64),
}

impl PartialEq for Base {
    fn eq(&self, other: &Self) -> bool {
        let counts = |base: &Self| {
            let Self { records_in, records_out, processed, exceptions, decoded, .. } = *base;
            (records_in, records_out, processed, exceptions, decoded)
        };
        let is_same = |(one, other): (&Arc<NodeMetrics>, &Arc<NodeMetrics>)| Arc::ptr_eq(one, other);
        counts(self) == counts(other)
            && self.dropped == other.dropped
            && self.others.len() == other.others.len()
            && self.others.iter().zip(&other.others).all(is_same)
    }
}

impl Base {
    fn of(now: NodeSnapshot) -> Self {
        let NodeSnapshot { records_in, records_out, processed, exceptions, rare, .. } = now;
        let (others, dropped) = (Vec::new(), rare.dropped);
        let decoded = rare.shapes.map_or((0, 0), |shapes| (shapes.by_shape, shapes.by_walker));
        Self { others, records_in, records_out, processed, exceptions, dropped, decoded }
    }
}

impl NodeView {
    /// A node with its prefixed name; a shared one counts from now on.
    pub(crate) fn new(name: Arc<str>, metrics: Arc<NodeMetrics>, is_shared: bool) -> Self {
        let mut view = Self { name, metrics, base: None, part: None, swallows: false };
        if is_shared {
            view.begin();
        }
        view
    }

    /// A sink that swallows everything.
    pub(crate) fn swallowing(name: Arc<str>, metrics: Arc<NodeMetrics>) -> Self {
        Self { swallows: true, ..Self::new(name, metrics, false) }
    }

    /// From now on it counts from now on.
    fn begin(&mut self) {
        let now = Base::of(self.snapshot(&Beside::default()));
        let others = self.base.take().map(|base| base.others).unwrap_or_default();
        // The rules of a stream that has not counted anything yet need no base.
        self.base = Some(Base { others, ..now }).filter(|base| *base != Base::default()).map(Box::new);
    }

    /// Further nodes that are this one to the rule, which count from now on when they are shared.
    pub(crate) fn with(mut self, others: Vec<Arc<NodeMetrics>>, is_shared: bool) -> Self {
        if others.is_empty() {
            return self;
        }
        self.base = Some(Box::new(Base { others, ..Base::default() }));
        if is_shared {
            self.begin();
        }
        self
    }

    /// Rows may pass it without the rule being called.
    pub(crate) fn tally(&mut self, part: Part) {
        self.part = Some(part);
    }

    /// Whether it shows these metrics.
    pub(crate) fn shows(&self, metrics: &Arc<NodeMetrics>) -> bool {
        Arc::ptr_eq(&self.metrics, metrics)
    }

    /// Its metrics now.
    pub(crate) fn snapshot(&self, beside: &Beside) -> NodeSnapshot {
        let mut now = of(&self.name, &self.metrics);
        if let Some(base) = &self.base {
            base.others.iter().for_each(|other| sum(&mut now, of(&self.name, other)));
            since(&mut now, base);
        }
        if let Some(window) = &beside.window {
            window.add(&self.metrics, &mut now);
        }
        if let (Some(tally), Some(part)) = (&beside.tally, self.part) {
            add(&mut now, tally, part);
        }
        if self.swallows {
            let (status, last_connected) = (ConnectionStatus::Connected, beside.started.0);
            now.rare.connection = Some(ConnectionMetrics { status, last_connected, ..Default::default() });
        }
        now
    }
}

/// The metrics of one node now.
fn of(name: &Arc<str>, metrics: &NodeMetrics) -> NodeSnapshot {
    let counters = metrics.counters();
    let count = |of: fn(&Counters) -> &AtomicU64| counters.map_or(0, |all| of(all).load(Relaxed));
    let time = |of: fn(&Counters) -> &AtomicI64| counters.map_or(0, |all| of(all).load(Relaxed));
    NodeSnapshot {
        name: Arc::clone(name),
        records_in: count(|all| &all.records_in),
        records_out: count(|all| &all.records_out),
        processed: count(|all| &all.processed),
        latency_us: count(|all| &all.latency_us),
        buffer: count(|all| &all.buffer),
        buffer_capacity: count(|all| &all.buffer_capacity),
        last_invocation: Timestamp(time(|all| &all.last_invocation)),
        exceptions: count(|all| &all.exceptions),
        last_row: Timestamp(time(|all| &all.last_row)),
        latencies: counters.and_then(Counters::latencies),
        rare: counters.map(Counters::rare).unwrap_or_default(),
    }
}

/// Two nodes that are one: what they count together, and of the rest the latest. A connection is as bad as the worst.
fn sum(now: &mut NodeSnapshot, other: NodeSnapshot) {
    now.records_in += other.records_in;
    now.records_out += other.records_out;
    now.processed += other.processed;
    now.exceptions += other.exceptions;
    now.buffer += other.buffer;
    now.buffer_capacity += other.buffer_capacity;
    if other.last_invocation > now.last_invocation {
        (now.last_invocation, now.latency_us) = (other.last_invocation, other.latency_us);
    }
    if let Some(latencies) = &other.latencies {
        now.latencies.get_or_insert_default().add(latencies);
    }
    now.last_row = now.last_row.max(other.last_row);
    if other.rare.last_exception_time > now.rare.last_exception_time {
        now.rare.last_exception_time = other.rare.last_exception_time;
        now.rare.last_exception = other.rare.last_exception;
    }
    for (cause, count) in other.rare.dropped {
        *now.rare.dropped.entry(cause).or_default() += count;
    }
    if let Some(other) = other.rare.shapes {
        now.rare.shapes.get_or_insert_default().add(other);
    }
    let badness = |connection: &Option<ConnectionMetrics>| match connection.as_ref().map(|it| &it.status) {
        None => 0,
        Some(ConnectionStatus::Connected) => 1,
        Some(ConnectionStatus::Connecting) => 2,
        Some(ConnectionStatus::Disconnected(_)) => 3,
    };
    if badness(&other.rare.connection) > badness(&now.rare.connection) {
        now.rare.connection = other.rare.connection;
    }
}

/// What a shared node has counted since a rule joined (`contracts.md` 10).
fn since(now: &mut NodeSnapshot, base: &Base) {
    let fresh = |count: &mut u64, base: u64| {
        *count = count.wrapping_sub(base);
        *count > 0
    };
    let has_worked = fresh(&mut now.processed, base.processed);
    if !fresh(&mut now.records_in, base.records_in) && !has_worked {
        (now.last_invocation, now.latency_us) = (Timestamp(0), 0);
    }
    if !fresh(&mut now.records_out, base.records_out) {
        now.last_row = Timestamp(0);
    }
    let Rare { last_exception, last_exception_time, dropped, shapes, .. } = &mut now.rare;
    if let Some(shapes) = shapes {
        fresh(&mut shapes.by_shape, base.decoded.0);
        fresh(&mut shapes.by_walker, base.decoded.1);
    }
    if !fresh(&mut now.exceptions, base.exceptions) {
        (*last_exception, *last_exception_time) = (Arc::from(""), 0);
    }
    dropped.retain(|cause, count| fresh(count, base.dropped.get(cause).copied().unwrap_or_default()));
}

fn add(now: &mut NodeSnapshot, tally: &Tally, part: Part) {
    let (shown, passed) = (tally.shown(), tally.passed());
    match part {
        Part::Filter => {
            now.records_in += shown.rows;
            now.processed += shown.rows;
            if shown.rows > 0 && shown.last >= now.last_invocation {
                (now.last_invocation, now.latency_us) = (shown.last, shown.micros);
            }
        }
        Part::Project | Part::Action => {
            now.records_in += passed.rows;
            now.processed += passed.rows;
            if passed.rows > 0 && passed.last >= now.last_invocation {
                now.last_invocation = passed.last;
                if part == Part::Project {
                    now.latency_us = passed.micros;
                }
            }
        }
    }
    now.records_out += passed.rows;
    now.last_row = now.last_row.max(passed.last);
}
