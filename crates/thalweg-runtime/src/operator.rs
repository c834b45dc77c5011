//! The contract of operators: plain synchronous code that is handed batches, signals and timers.
//!
//! Operators of a rule are chained: handing a batch on is a function call. They never wait, lock, log per row or ask
//! the system for the time. `records_in_total`, `records_out_total` and latency are counted by whoever drives them;
//! an operator counts only errors and drops, through [`OpCx`].

use std::sync::Arc;

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Clock, Fault, Live, Schema, Selection, Timestamp, WindowRange};
use thalweg_expr::filter::Filtered;
use thalweg_expr::{EvalCx, Expr, Instance};
use thalweg_plan::logical::OutputColumn;

use crate::names::Alike;

/// In band and in order, so an operator never has to guess what is before or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// No row with an earlier time follows (event time).
    Watermark(Timestamp),
    /// A checkpoint's barrier.
    Barrier(i64),
    /// This input has ended (R4.6).
    End,
}

/// The groups of a window as one part of a split stream has them (`contracts.md` 8).
#[derive(Debug, Clone)]
pub struct Partial {
    /// Which window.
    pub window: WindowRange,
    /// Its groups, as a snapshot would hold them.
    pub groups: Vec<u8>,
}

/// Where an operator hands its results.
pub trait Emit {
    /// Hands rows on. `port` is 0 except for a window with several inputs: there it is the input that the rows came
    /// from, and a closing window emits one batch for **every** port in ascending order, empty ones included; the
    /// join behind it works when it has the last.
    fn batch(&mut self, port: usize, batch: &Batch, rows: &Selection);

    /// Hands a signal on.
    fn signal(&mut self, signal: Signal);

    /// Hands late rows to the actions that take them (`lateData`), past everything that follows.
    fn late(&mut self, batch: &Batch, rows: &Selection) {
        let _ = (batch, rows);
    }

    /// Hands the groups of a window to where those of all parts of a split stream are merged.
    fn partial(&mut self, partial: Partial) {
        let _ = partial;
    }
}

/// What an operator may know about its surroundings.
pub struct OpCx<'a> {
    /// Now.
    pub now: Timestamp,
    /// The rule it belongs to.
    pub rule: &'a RuleInfo,
    /// Its own metrics.
    pub metrics: &'a NodeMetrics,
    /// Its name as plugins see it (`2_project`).
    pub node: &'a str,
    /// The nodes behind it whose work it does as well, nearest first (a window that folds rows).
    pub behind: &'a [Behind],
}

/// A node whose work is done by one before it.
#[derive(Debug, Clone)]
pub struct Behind {
    /// Its name.
    pub name: Arc<str>,
    /// Its metrics.
    pub metrics: Arc<NodeMetrics>,
}

/// What is the same for all operators of a rule.
#[derive(Debug, Clone)]
pub struct RuleInfo {
    /// The rule's id.
    pub id: Arc<str>,
    /// When this run of the rule was started.
    pub started: Timestamp,
    /// The configured time zone (T-12).
    pub zone: chrono_tz::Tz,
    /// sendError: faults travel on to the sinks.
    pub send_error: bool,
    /// latencyBudgetUs: so many microseconds may its shard rest after a read.
    pub latency_budget: u64,
    /// What functions may ask of the instance.
    pub instance: Arc<Instance>,
    /// What calls that block wait by; everything else is told the time.
    pub clock: Arc<dyn Clock>,
}

impl<'a> OpCx<'a> {
    /// The same, with the nodes whose work is done here.
    pub fn with_behind<'b>(&'b self, behind: &'b [Behind]) -> OpCx<'b> {
        OpCx { now: self.now, rule: self.rule, metrics: self.metrics, node: self.node, behind }
    }

    /// The same for the work of one of those nodes, so that it is counted there and bears its name.
    pub fn of_behind(&self, index: usize) -> OpCx<'_> {
        match self.behind.get(index) {
            Some(Behind { name, metrics }) => OpCx { metrics, node: name, ..self.with_behind(&[]) },
            None => self.with_behind(&[]),
        }
    }

    /// What expressions may look at, for a batch of this window.
    pub fn eval(&self, window: Option<WindowRange>) -> EvalCx<'a> {
        EvalCx {
            now: self.now,
            zone: self.rule.zone,
            rule: &self.rule.id,
            node: self.node,
            rule_start: self.rule.started,
            window,
            instance: Some(&self.rule.instance),
            clock: Some(self.rule.clock.as_ref()),
            hits: thalweg_expr::expr::Hits::default(),
            metrics: self.metrics,
        }
    }

    /// Counts an error on this node (R5.8) and gives the fault to forward, if the rule wants it at the sinks.
    /// `message` is the whole text: `run Where error: …` (Z-3); `time` is the row's, or its window's end.
    pub fn fail(&self, row: usize, message: &str, time: Option<Timestamp>) -> Option<Fault> {
        self.metrics.exception(message, self.now);
        self.metrics.dropped("eval", 1);
        self.rule.send_error.then(|| Fault { row: row as u32, message: Arc::from(message), time })
    }
}

/// A SELECT list of pure expressions, by what makes two of them equal.
#[derive(Debug)]
pub struct List {
    key: String,
    /// Its columns.
    pub columns: Box<[OutputColumn]>,
    /// What they look at.
    pub input: Arc<Schema>,
    /// What comes out.
    pub schema: Arc<Schema>,
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        let is_same = self.key == other.key && !self.key.is_empty();
        is_same && self.input == other.input && self.schema == other.schema
    }
}

impl List {
    /// Of these columns; equal to no other.
    pub fn new(columns: &[OutputColumn], input: &Arc<Schema>, schema: &Arc<Schema>) -> Self {
        let (input, schema) = (Arc::clone(input), Arc::clone(schema));
        Self { key: String::new(), columns: columns.into(), input, schema }
    }

    /// What makes it equal to another; `None` for one whose calls do something, or whose values are kept in memos that
    /// stand elsewhere in another plan.
    fn key(&self) -> Option<String> {
        let mut key = String::new();
        for column in &self.columns {
            match column {
                OutputColumn::One { name, expr, empty } => {
                    let mut is_kept = false;
                    expr.walk(&mut |part| is_kept |= matches!(part, Expr::Once(_)));
                    if is_kept || !expr.is_pure() || !expr.is_quiet() {
                        return None;
                    }
                    key += &format!("|{name:?} {empty:?} {:?}", expr.key());
                }
                OutputColumn::Spread { slots, except } => key += &format!("|*{slots:?} {except:?}"),
                OutputColumn::Keyed { .. } => return None,
            }
        }
        Some(key)
    }

    /// The list among those that are known, when it may be another's.
    pub(crate) fn known(&self, lists: &Alike<Self>) -> Option<Arc<Self>> {
        let key = self.key()?;
        Some(lists.same(Self { key, ..Self::new(&self.columns, &self.input, &self.schema) }))
    }
}

/// What a condition says of the selected rows of a batch.
#[derive(Debug)]
pub struct Verdict {
    /// The rows for which it is true, without faults.
    pub passed: Selection,
    /// How many those are.
    pub count: usize,
    /// Failed rows and why.
    pub bad: Vec<(usize, String)>,
    /// How long it took, when it was asked for several rules at once.
    pub micros: u64,
}

impl Verdict {
    /// No row passes, and none fails.
    pub(crate) const NOTHING: Self = Self {
        passed: Selection { live: Live::Rows(Vec::new()), faults: Vec::new() },
        count: 0,
        bad: Vec::new(),
        micros: 0,
    };

    /// Asks a condition: null and missing are false.
    pub fn of(condition: &Expr, batch: &Batch, rows: &Selection, cx: &mut EvalCx<'_>) -> Self {
        let mut verdict = Self::NOTHING;
        verdict.ask(condition, batch, rows, cx);
        verdict
    }

    /// The same in the room of an earlier verdict.
    pub(crate) fn ask(&mut self, condition: &Expr, batch: &Batch, rows: &Selection, cx: &mut EvalCx<'_>) {
        let passed = match std::mem::replace(&mut self.passed.live, Live::All(0)) {
            Live::Rows(passed) => passed,
            _ => Vec::new(),
        };
        let mut said = Filtered { passed, failed: Vec::new() };
        condition.filter_into(batch, rows, cx, &mut said);
        self.bad.clear();
        let bad = said.failed.iter().map(|(row, why)| (*row as usize, format!("run Where error: {why}")));
        self.bad.extend(bad);
        (self.count, self.passed.live) = (said.passed.len(), Live::Rows(said.passed));
    }

    /// These rows pass, ascending, and none fails.
    pub fn passed(rows: Vec<u32>) -> Self {
        Self { count: rows.len(), passed: Selection::rows(rows), bad: Vec::new(), micros: 0 }
    }

    /// Whether no row passes and none fails.
    pub fn is_void(&self) -> bool {
        self.count == 0 && self.bad.is_empty()
    }
}

/// One step of a rule.
pub trait Operator: Send {
    /// Takes rows. `rows.faults` must be handed on with the output (or at once, when the rows are kept: Z-1, W-23).
    /// The batch is only borrowed: what is kept is copied, column by column.
    fn on_batch(
        &mut self,
        input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    );

    /// Takes the next node behind it that [`thalweg_plan::Node::folded_by`] says it works for.
    fn adopt(&mut self, behind: Behind) {
        let _ = behind;
    }

    /// Uses a list that is known already instead of an equal one of its own.
    fn share(&mut self, lists: &Alike<List>) {
        let _ = lists;
    }

    /// From now on it sees one part of a split stream and hands on the groups of its windows instead of results
    /// ([`Emit::partial`]). Only for what [`thalweg_plan::split`] says.
    fn become_part(&mut self) {}

    /// From now on it gets no rows, but what `n` parts hand on ([`Operator::on_partial`]).
    fn merge_parts(&mut self, n: usize) {
        let _ = n;
    }

    /// Takes the groups of a window from one part; each part gives those of every window in order.
    fn on_partial(&mut self, part: usize, partial: &Partial, out: &mut dyn Emit, cx: &mut OpCx<'_>) {
        let _ = (part, partial, out, cx);
    }

    /// Windows like its own are folded for several rules: it closes those that the rule began in by itself, and then gets
    /// the groups of the others by [`Operator::on_partial`] instead of rows (`contracts.md` 7).
    fn share_windows(&mut self) {}

    /// Whether it was told so.
    fn gets_windows_later(&self) -> bool {
        false
    }

    /// Of a reorder buffer: its watermark, and the latest time that it has seen.
    fn progress(&self) -> Option<(Timestamp, Timestamp)> {
        None
    }

    /// Another one orders rows for the rule from now on: what waits here waits there too (`contracts.md` 6).
    fn let_go(&mut self) {}

    /// Whether it needs rows no longer.
    fn gets_windows(&self) -> bool {
        false
    }

    /// The condition by which it judges rows, if that is all it does.
    fn condition(&self) -> Option<&Expr> {
        None
    }

    /// Takes rows that its [`Operator::condition`] has been asked about already, once for several rules. When
    /// nothing passes or fails the columns of `batch` are not its own and must not be looked at.
    fn on_judged(
        &mut self,
        batch: &Batch,
        rows: &Selection,
        verdict: &Verdict,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        let _ = verdict;
        self.on_batch(0, batch, rows, out, cx);
    }

    /// Takes a signal; by default hands it on. An operator with several inputs merges: watermarks by minimum, `End`
    /// once all inputs have ended, barriers as told.
    fn on_signal(&mut self, input: usize, signal: Signal, out: &mut dyn Emit, cx: &mut OpCx<'_>) {
        let _ = (input, cx);
        out.signal(signal);
    }

    /// When it wants [`Operator::on_timer`]; asked after each call.
    fn next_timer(&self) -> Option<Timestamp> {
        None
    }

    /// Its moment has come (`cx.now` is at or after the time asked for; with a manual clock exactly at it).
    fn on_timer(&mut self, out: &mut dyn Emit, cx: &mut OpCx<'_>) {
        let _ = (out, cx);
    }

    /// Called once before the first row, with the time the rule starts at in `cx.now` (W-5).
    fn start(&mut self, cx: &mut OpCx<'_>) {
        let _ = cx;
    }

    /// The bytes that its state and its room have on the heap, beside the operator itself. Called when somebody asks,
    /// between two batches: it looks at lists and columns, not at their rows, as far as these have no heap of their own.
    fn memory(&self) -> usize {
        0
    }

    /// Writes its state, in named sections.
    fn save(&self, out: &mut StateWriter) {
        let _ = out;
    }

    /// Reads what [`Operator::save`] wrote. Called before [`Operator::start`].
    ///
    /// # Errors
    /// Damage, or another version.
    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        let _ = from;
        Ok(())
    }
}
