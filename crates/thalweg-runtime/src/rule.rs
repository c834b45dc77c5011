//! What the engine hands over to have a rule run, and what it gets back.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::connector::Connection;
use thalweg_core::metrics::{Latencies, Rare};
use thalweg_core::{Props, Timestamp};
use thalweg_expr::Instance;
use thalweg_plan::{Plan, StreamDef};

/// A rule to be compiled.
#[derive(Clone)]
pub struct RuleSpec {
    /// The rule's id.
    pub id: Arc<str>,
    /// The plan of its SQL.
    pub plan: Plan,
    /// One entry for each stream and table that the plan reads, by stream name.
    pub sources: BTreeMap<Arc<str>, SourceSpec>,
    /// The actions in order; a document with several keys in one object gives several (R1.2). Those of `lateData`
    /// follow the others.
    pub actions: Vec<ActionSpec>,
    /// The options.
    pub options: RunOptions,
}

/// A stream or table with its resolved source properties.
#[derive(Clone)]
pub struct SourceSpec {
    /// The definition.
    pub stream: Arc<StreamDef>,
    /// Properties by P1.1.
    pub props: Props,
    /// The named connection and its id, when `connectionSelector` asks for one.
    pub connection: Option<(Arc<str>, Arc<dyn Connection>)>,
}

/// One sink of a rule.
#[derive(Clone)]
pub struct ActionSpec {
    /// The sink type as written.
    pub kind: Arc<str>,
    /// The position of its object in `actions` or `lateData`; the node is `<kind>_<index>`.
    pub index: usize,
    /// An action of `lateData`: it takes late rows and nothing else, and its node is `late_<kind>_<index>`.
    pub is_late: bool,
    /// Properties by P1.3.
    pub props: Props,
    /// The named connection and its id.
    pub connection: Option<(Arc<str>, Arc<dyn Connection>)>,
    /// Of a graph rule: the sink's node.
    pub drawn: Option<DrawnSink>,
}

/// A sink as a graph rule has it.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnSink {
    /// The name of its node.
    pub name: Arc<str>,
    /// The results that it takes ([`thalweg_plan::graph::Drawn::results`]).
    pub results: Box<[usize]>,
}

impl ActionSpec {
    /// The name of its node, without prefix.
    pub fn node(&self) -> String {
        if let Some(drawn) = &self.drawn {
            return drawn.name.to_string();
        }
        let late = if self.is_late { "late_" } else { "" };
        format!("{late}{}_{}", self.kind, self.index)
    }
}

/// Rule options that matter at run time, resolved (rules.md 2).
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// bufferLength.
    pub buffer_length: usize,
    /// sendError.
    pub send_error: bool,
    /// qos.
    pub qos: u8,
    /// checkpointInterval, milliseconds.
    pub checkpoint_interval: i64,
    /// disableBufferFullDiscard, when written.
    pub disable_discard: Option<bool>,
    /// isEventTime.
    pub event_time: bool,
    /// lateTolerance, milliseconds.
    pub late_tolerance: i64,
    /// sendMetaToSink.
    pub send_meta: bool,
    /// enableSaveStateBeforeStop.
    pub save_before_stop: bool,
    /// latencyBudgetUs: so many microseconds may its shard rest after a read.
    pub latency_budget: u64,
    /// The configured time zone, IANA name.
    pub zone: Arc<str>,
    /// What functions may ask of the instance.
    pub instance: Arc<Instance>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            buffer_length: 1_024,
            send_error: false,
            qos: 0,
            checkpoint_interval: 300_000,
            disable_discard: None,
            event_time: false,
            late_tolerance: 1_000,
            send_meta: false,
            save_before_stop: false,
            latency_budget: 300,
            zone: Arc::from("UTC"),
            instance: Arc::default(),
        }
    }
}

/// How a rule's run ended, or that it has not.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It runs.
    Running,
    /// It was stopped.
    Stopped,
    /// All bounded sources have ended (R4.6).
    Done,
    /// It cannot go on (R5.12), and why.
    Failed(Arc<str>),
}

/// The memory of a rule in bytes, at one moment between two batches. What several rules share (a shared stream, the
/// conditions and messages of its rules, a connection) is nobody's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// What its operators hold: rows and groups of windows, sides of joins, states of functions, and the room for the
    /// results at hand. Room that is kept for the next rows counts.
    pub state: u64,
    /// What waits in front of it and in front of its sinks.
    pub queues: u64,
    /// The rule itself.
    pub record: u64,
}

impl Memory {
    /// Adds that of another part.
    pub(crate) fn add(&mut self, other: Self) {
        self.state += other.state;
        self.queues += other.queues;
        self.record += other.record;
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.state + self.queues + self.record
    }
}

/// How the checkpoints of a rule fare.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CheckpointStatus {
    /// Checkpoints that are durable, of this run.
    pub completed: u64,
    /// Tries that failed, of this run.
    pub failed: u64,
    /// Tries that failed since the last one that did not.
    pub failing: u64,
    /// When the first of those failed; 0: none.
    pub failing_since: Timestamp,
    /// Why the last one failed.
    pub last_error: Arc<str>,
    /// When the last one became durable; 0: none yet.
    pub last_time: Timestamp,
    /// Milliseconds from asking the rule to the disk's answer.
    pub duration_ms: u64,
    /// The size of the last one.
    pub bytes: u64,
    /// The barrier that the run began from; 0: it began fresh.
    pub restored: Timestamp,
    /// Why the run did not begin from a checkpoint that there was.
    pub note: Arc<str>,
}

/// The metrics of one node at one moment.
#[derive(Debug, Clone)]
pub struct NodeSnapshot {
    /// With its prefix, as in status keys: `source_demo`, `op_2_filter`, `sink_mqtt_0`.
    pub name: Arc<str>,
    /// `records_in_total`.
    pub records_in: u64,
    /// `records_out_total`.
    pub records_out: u64,
    /// `messages_processed_total`.
    pub processed: u64,
    /// `process_latency_us`.
    pub latency_us: u64,
    /// `buffer_length`.
    pub buffer: u64,
    /// The room of that buffer; 0: none.
    pub buffer_capacity: u64,
    /// `last_invocation`, epoch ms; 0: never.
    pub last_invocation: Timestamp,
    /// `exceptions_total`.
    pub exceptions: u64,
    /// Epoch ms of the last row that left; 0: none.
    pub last_row: Timestamp,
    /// How long its batches took, if it was called for any. Of a node that rules share: since it is there. What a stream
    /// evaluates for many rules at once calls no node of a single one.
    pub latencies: Option<Box<Latencies>>,
    /// Exceptions, drops by cause, connection.
    pub rare: Rare,
}

/// The printable graph (R3.5), node names with prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Topology {
    /// The sources.
    pub sources: Vec<Arc<str>>,
    /// From a node to the next ones.
    pub edges: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}
