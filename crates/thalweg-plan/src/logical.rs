//! The plan: what the runtime compiles.
//!
//! Slots. A [`Kind::Scan`]'s output is its projection. Every other node says what its output is; most keep their
//! input's slots and append, so that a bound expression stays valid upstream to downstream:
//!
//! | node | output slots |
//! |---|---|
//! | Scan | the projection's slots |
//! | Watermark, WindowFilter, Window, Filter, Having, Sort, Limit | the input's |
//! | Analytic, AggFunc, RowNumber, DedupTrigger, Compute | the input's, then one per call or expression |
//! | Aggregate | the input's (each group's first row, Q-7), then one per call |
//! | Join | the sides' in the order in which they are joined: FROM's, then one for each step (the unmatched side missing, J-7) |
//! | LookupJoin | the input's, then the lookup projection's |
//! | Union, Outlets | the inputs' columns by name; a batch has those of the input that it came from |
//! | SubQuery | its projection's slots |
//! | Project | its columns |
//! | ProjectSet | its input's, with the set column taken apart |
//!
//! Rows and collections. Without window and join every row is a collection of its own ([`thalweg_core::Unit::Rows`]):
//! Aggregate and AggFunc then work on each row alone, Having is an error for each row (`invalid input`, Q-11),
//! Limit occurs only with 0, Sort not at all, RowNumber not at all. A LookupJoin gives collections, but may hand on an
//! event with one match as a single row where nothing above tells the two apart ([`Lookup::gives_rows`]).
//!
//! Window inputs. The conditions of a window exist once for each of its inputs, as an event of that input sees them
//! (columns of other streams are null). All are bound to the slots of all inputs, one after the other, and read only
//! their own input's.

use std::sync::Arc;

use thalweg_core::{DataType, Diagnostic, Projection, Schema, Slot, Value};
use thalweg_expr::{Expr, FunctionRef};
use thalweg_sql::ast;

/// A planned SELECT.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The operator nearest to the sinks.
    pub root: Node,
    /// Guards checkpoints: equal for equal plans (R7.6).
    pub fingerprint: u64,
    /// Whether results are single rows ([`thalweg_core::Unit::Rows`]) or collections.
    pub is_collection: bool,
    /// Hosts of the functions that may block (plugins', `delay` …); non-empty: the rule's suffix runs on the blocking pool.
    pub hosts: Vec<Arc<str>>,
    /// Worth telling the user although the plan is valid.
    pub warnings: Vec<Diagnostic>,
    /// Of a graph rule: how it was drawn.
    pub drawn: Option<Arc<crate::graph::Drawn>>,
}

/// One operator.
#[derive(Debug, Clone)]
pub struct Node {
    /// Upstream's name: `2_filter` … given by `naming.rs`; the operator's metrics carry it (R3.2, R3.4). A Scan is
    /// named after its stream (after its alias if the stream is read twice). Empty: upstream has no such node (Compute, Limit, Union), show no metrics.
    pub name: Arc<str>,
    /// What it does.
    pub kind: Kind,
    /// Its inputs: none for Scan, several for Window (J-1), Union, otherwise one.
    pub inputs: Vec<Node>,
    /// Its output columns.
    pub schema: Arc<Schema>,
}

impl Node {
    /// When a window below folds rows and so does this node's work: how many nodes stand between the two.
    pub fn folded_by(&self) -> Option<usize> {
        if !matches!(self.kind, Kind::Aggregate { .. } | Kind::Filter(_) | Kind::Compute(_)) {
            return None;
        }
        let (mut below, mut n_between) = (self.inputs.first()?, 0);
        while matches!(below.kind, Kind::Filter(_) | Kind::Compute(_)) {
            (below, n_between) = (below.inputs.first()?, n_between + 1);
        }
        matches!(&below.kind, Kind::Window(window) if window.fold.is_some()).then_some(n_between)
    }

    /// For a Window whose inputs are lanes of one Watermark: that operator's node, with the inputs of all lanes.
    pub fn common_watermark(&self) -> Option<Node> {
        let is_joined = self.inputs.len() > 1 && matches!(self.kind, Kind::Window(_));
        let lanes = self.inputs.iter().filter(|_| is_joined).map(lane).collect::<Option<Vec<&Node>>>()?;
        let last = lanes.last()?;
        let inputs = lanes.iter().flat_map(|lane| lane.inputs.iter().cloned()).collect();
        Some(Node { inputs, ..Node::clone(last) })
    }
}

impl Kind {
    /// A lane of a Watermark that has more lanes; the last one numbers the node.
    pub fn is_early_lane(&self) -> bool {
        matches!(self, Self::Watermark { lane, n_lanes, .. } if lane + 1 < *n_lanes)
    }
}

/// The lane that the rows of a window's input come through.
fn lane(input: &Node) -> Option<&Node> {
    match input.kind {
        Kind::Watermark { n_lanes, .. } => (n_lanes > 1).then_some(input),
        Kind::Analytic(_) | Kind::WindowFilter(_) | Kind::Filter(_) | Kind::Compute(_) => {
            input.inputs.first().and_then(lane)
        }
        _ => None,
    }
}

/// What a node does.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Reads a stream or a scan table.
    Scan(Scan),
    /// Event time: orders rows, drops late ones, makes watermarks (chapter 10).
    ///
    /// A row is late only against the watermark that all streams of a SELECT have in common (E-2), so the Watermark
    /// nodes below a Window over several inputs are one operator of several lanes: [`Node::common_watermark`]. They
    /// have one name. A lane whose input is no Scan takes the watermarks that come from below.
    Watermark {
        /// Milliseconds.
        late_tolerance: i64,
        /// Which of the lanes this node is, in the order of the window's inputs.
        lane: usize,
        /// The number of lanes; 1: an operator of its own.
        n_lanes: usize,
    },
    /// Analytic calls, in evaluation order; later ones may read earlier ones' slots.
    Analytic(Vec<AnalyticCall>),
    /// `FILTER(WHERE …)` of the window (W-10).
    WindowFilter(Expr),
    /// Collects rows. With several inputs all feed one window (J-1); each collection then has one batch per input.
    Window(Window),
    /// Joins the collections of a window, or an event with scan tables (J-10).
    ///
    /// The sides are numbered from 0. When the first input is a Window, sides `0..n` are the window's n inputs;
    /// otherwise side 0 is the first input. The other inputs (scan tables) are the sides that follow. Each step names
    /// the side it adds; the side that no step names is FROM's, which comes first.
    Join(Vec<JoinStep>),
    /// Joins with a lookup table, row by row (J-12).
    LookupJoin(Lookup),
    /// WHERE.
    Filter(Expr),
    /// Appends the values of expressions that must be evaluated once per row although several clauses use them:
    /// aliases with remote or non-deterministic calls (P-7), common sub-expressions. Of an [`Expr::Once`], whose slot
    /// is the one appended, nothing is evaluated yet: its readers do so, each row once.
    Compute(Vec<Expr>),
    /// Aggregates over the whole collection, broadcast to every row: aggregates in WHERE.
    AggFunc(Vec<AggregateCall>),
    /// One row per group; without keys the whole collection is one group, also when it is empty (W-6).
    Aggregate {
        /// Group keys: typed, null and missing are one.
        keys: Vec<Expr>,
        /// The calls.
        calls: Vec<AggregateCall>,
    },
    /// HAVING. On an ungrouped collection it decides about the whole.
    Having {
        /// The condition.
        condition: Expr,
        /// Whether each row is a group.
        grouped: bool,
    },
    /// `row_number()`: one appended column of 1.. in each collection, or within partitions (F-4).
    RowNumber {
        /// PARTITION BY.
        partition_by: Vec<Expr>,
        /// ORDER BY.
        order_by: Vec<SortKey>,
    },
    /// `dedup_trigger(…)`: rows wait for their end; one appended column of parts not given out before (F-5).
    DedupTrigger(Dedup),
    /// ORDER BY (Q-13: stable, nulls last in both directions).
    Sort(Vec<SortKey>),
    /// LIMIT n of each collection.
    Limit(u64),
    /// The SELECT list.
    Project(Vec<OutputColumn>),
    /// unnest, extract (F-1). The output column of the call is replaced.
    ProjectSet {
        /// The column of the input that holds the argument.
        set: Slot,
        /// `unnest` or `extract`.
        function: FunctionRef,
        /// Cut after so many rows (LIMIT cuts here, Q-15).
        limit: Option<u64>,
    },
    /// UNION ALL, by column name.
    Union,
    /// Hands the rows of each input to those sinks that take them: the results of a graph rule. Always the root.
    Outlets,
    /// Makes events of the results below: each row is one, without metadata.
    SubQuery(SubQuery),
}

/// A sub-query in FROM, or a name of WITH, seen as a stream without schema. Its rows have their own time, or their
/// window's end.
#[derive(Debug, Clone)]
pub struct SubQuery {
    /// The name under which the statement knows it.
    pub alias: Arc<str>,
    /// What is read of its results, by column name.
    pub projection: Projection,
    /// Watermarks move back by so many milliseconds: the length of the window below.
    pub back: i64,
}

/// Reads a stream or table.
#[derive(Debug, Clone)]
pub struct Scan {
    /// What is read.
    pub stream: Arc<StreamDef>,
    /// The name under which the statement knows it (the alias, if any); names the emitter.
    pub alias: Arc<str>,
    /// The slots to decode.
    pub projection: Projection,
    /// Event time: the slot of the TIMESTAMP column and its format (E-1).
    pub event_time: Option<(Slot, Option<Arc<str>>)>,
    /// A scan table: keeps its last rows and never triggers (J-10).
    pub retain: Option<u64>,
    /// lateData: the slot with the whole row, for the actions that take late rows.
    pub late: Option<Slot>,
}

/// A call of an analytic function.
#[derive(Debug, Clone)]
pub struct AnalyticCall {
    /// The function ([`thalweg_expr::FunctionKind::Analytic`]).
    pub function: FunctionRef,
    /// Its arguments.
    pub args: Vec<Expr>,
    /// `PARTITION BY`: typed keys.
    pub partition_by: Vec<Expr>,
    /// `WHEN`.
    pub when: Option<Expr>,
}

/// A call of an aggregate function.
#[derive(Debug, Clone)]
pub struct AggregateCall {
    /// The function ([`thalweg_expr::FunctionKind::Aggregate`], or a remote aggregate).
    pub function: FunctionRef,
    /// Its arguments; literals are constant columns.
    pub args: Vec<Expr>,
    /// FILTER of the call (beyond upstream).
    pub filter: Option<Expr>,
    /// Numbers the calls of one statement, as [`Expr::Call`] does.
    pub call_id: u32,
}

/// A window.
#[derive(Debug, Clone)]
pub struct Window {
    /// Which window; conditions are bound.
    pub kind: WindowKind,
    /// `OVER(WHEN …)`: which events trigger (sliding, W-11); one an input, or none.
    pub trigger: Vec<Expr>,
    /// `OVER(PARTITION BY …)` (state windows, W-18), for each input.
    pub partition_by: Vec<Vec<Expr>>,
    /// Event time instead of processing time.
    pub event_time: bool,
    /// The aggregate above, into which rows are folded as they arrive instead of being kept. Then the window's output
    /// is that of the aggregate, and the nodes from here to there ([`Node::folded_by`]) hand on what they get.
    pub fold: Option<Arc<Fold>>,
}

/// What a window does with rows that it does not keep. Its expressions are bound as those of the nodes are that they
/// were copied from.
#[derive(Debug, Clone)]
pub struct Fold {
    /// What stands between window and aggregate, from below.
    pub steps: Vec<FoldStep>,
    /// Those of the aggregate.
    pub keys: Vec<Expr>,
    /// Those of the aggregate; of those that others answer each has accumulators.
    pub calls: Vec<AggregateCall>,
    /// The slots of the aggregate's input that are read of each group's first row.
    pub firsts: Vec<Slot>,
    /// The aggregate's.
    pub schema: Arc<Schema>,
}

/// A node between window and aggregate.
#[derive(Debug, Clone)]
pub enum FoldStep {
    /// WHERE.
    Filter(Expr),
    /// Appends values.
    Compute {
        /// The values; later ones may read earlier ones.
        values: Vec<Expr>,
        /// With them.
        schema: Arc<Schema>,
    },
}

/// The six windows. All lengths in milliseconds; `unit` aligns (W-3).
#[derive(Debug, Clone)]
pub enum WindowKind {
    /// Fixed length, no overlap.
    Tumbling {
        /// Aligns.
        unit: ast::TimeUnit,
        /// Milliseconds.
        length: i64,
    },
    /// Fixed length, one every `hop`.
    Hopping {
        /// Aligns.
        unit: ast::TimeUnit,
        /// Milliseconds.
        length: i64,
        /// Milliseconds.
        hop: i64,
    },
    /// One per triggering event, looking back.
    Sliding {
        /// Milliseconds.
        length: i64,
        /// Milliseconds; 0: none.
        delay: i64,
        /// With a delay: one collection at the trigger and one after the delay, `(t-L, t]` and `(t, t+D]` (W-11).
        twice: bool,
    },
    /// Ends after a pause.
    Session {
        /// Aligns.
        unit: ast::TimeUnit,
        /// Milliseconds.
        max_duration: i64,
        /// Milliseconds.
        timeout: i64,
    },
    /// The last `length` events, every `step` events.
    Count {
        /// Rows.
        length: u64,
        /// Rows.
        step: u64,
    },
    /// From one condition to another (W-17).
    State {
        /// Opens; one an input.
        begin: Vec<Expr>,
        /// Closes; one an input, or none in the one-condition form.
        emit: Vec<Expr>,
    },
}

/// One join of a [`Kind::Join`]: what is there so far (left) with side number `side` (right).
#[derive(Debug, Clone)]
pub struct JoinStep {
    /// The side, numbered as [`Kind::Join`] says.
    pub side: usize,
    /// The kind.
    pub kind: ast::JoinKind,
    /// ON, bound to the slots so far followed by the right side's.
    pub on: Option<Expr>,
    /// Equalities taken out of `on`, as (left, right) where right is bound to the right input alone: a hash join
    /// may use them. `on` still holds them.
    pub equi: Vec<(Expr, Expr)>,
}

/// A lookup join.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The table.
    pub table: Arc<StreamDef>,
    /// Its alias.
    pub alias: Arc<str>,
    /// INNER or LEFT; RIGHT and FULL behave as INNER (J-13).
    pub kind: ast::JoinKind,
    /// Column of the table and the expression over the input that must equal it.
    pub keys: Vec<(Arc<str>, Expr)>,
    /// The rest of ON, bound to the input's slots followed by the table's (J-14).
    pub on: Option<Expr>,
    /// The table's columns.
    pub projection: Projection,
    /// An event with one match may be handed on as a single row: nothing above tells it from a collection of one.
    pub gives_rows: bool,
}

/// A call of `dedup_trigger`.
#[derive(Debug, Clone)]
pub struct Dedup {
    /// Where the row's range begins, epoch ms.
    pub start: Expr,
    /// Where it ends.
    pub end: Expr,
    /// The time at which the row was made.
    pub now: Expr,
    /// Milliseconds after which a range is forgotten.
    pub expire: i64,
}

/// A sort key.
#[derive(Debug, Clone)]
pub struct SortKey {
    /// The key.
    pub expr: Expr,
    /// DESC.
    pub descending: bool,
}

/// A column of the SELECT list.
#[derive(Debug, Clone)]
pub enum OutputColumn {
    /// One column.
    One {
        /// The key in the result.
        name: Arc<str>,
        /// Its value.
        expr: Expr,
        /// What a null or missing value becomes (P-3, R-6).
        empty: Empty,
    },
    /// `*`: the members of these slots (a slot named `*` spreads), minus `except`. What comes from here yields to
    /// any [`OutputColumn::One`] of the same name (P-15).
    Spread {
        /// Name and slot; a name that occurs twice is taken from the first that has it (J-6).
        slots: Vec<(Arc<str>, Slot)>,
        /// EXCEPT.
        except: Vec<Arc<str>>,
    },
    /// A call that yields several keyed columns at projection: changed_cols.
    Keyed {
        /// Its value: a map whose members are spread.
        expr: Expr,
    },
}

/// What becomes of a result column without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// A plain column: null stays null, missing is left out.
    KeepNull,
    /// Any other expression or an alias: null and missing are left out.
    Omit,
    /// `sendNilField`: null and missing are null.
    Null,
}

/// A stream or table as defined.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamDef {
    /// Its name.
    pub name: Arc<str>,
    /// Stream or table.
    pub kind: ast::SourceKind,
    /// The declared columns; `None`: schemaless.
    pub columns: Option<Vec<ColumnDef>>,
    /// TYPE, with its default applied.
    pub source_type: Arc<str>,
    /// DATASOURCE.
    pub datasource: Arc<str>,
    /// FORMAT, lower case, with its default applied.
    pub format: Arc<str>,
    /// SHARED.
    pub shared: bool,
    /// STRICT_VALIDATION.
    pub strict: bool,
    /// TIMESTAMP.
    pub timestamp: Option<Arc<str>>,
    /// TIMESTAMP_FORMAT.
    pub timestamp_format: Option<Arc<str>>,
    /// KIND="lookup".
    pub is_lookup: bool,
    /// RETAIN_SIZE with its default (D-4); tables only.
    pub retain: u64,
    /// TEMP.
    pub temp: bool,
    /// VERSION.
    pub version: Arc<str>,
    /// All options as written: names upper case.
    pub options: Vec<(Arc<str>, Arc<str>)>,
    /// `useInt64ForWholeNumber` of the resolved source properties.
    pub whole_numbers: bool,
    /// `strictJson` of the resolved source properties.
    pub strict_json: bool,
    /// `split` of the resolved source properties: the connections over which it comes; 0 and 1 are one.
    pub split: u32,
    /// Whether its source gives bytes that a decoder turns into rows (mqtt, httppush, file lines …), not rows
    /// (memory, simulator, httppull …; C2.1). Decides whether `2_decoder` counts in node names (R3.4).
    pub has_decoder: bool,
    /// Further steps between its source and the rule.
    pub steps: SourceSteps,
}

/// Steps between a source and a rule beside its decoder (R3.1); they count in node names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceSteps {
    /// Only the last message of each interval goes on (2.2).
    pub ratelimit: bool,
    /// Payloads are unpacked before they are decoded.
    pub decompress: bool,
    /// A payload inside the payload is decoded (C2.4).
    pub payload: bool,
}

impl SourceSteps {
    /// The kinds of nodes before the preprocessor, in order.
    pub fn kinds(self, has_decoder: bool) -> impl Iterator<Item = &'static str> {
        let steps = [
            (self.ratelimit, "ratelimit"),
            (self.decompress, "decompress"),
            (has_decoder, "decoder"),
            (self.payload, "payload_decoder"),
        ];
        steps.into_iter().filter(|(is_there, _)| *is_there).map(|(_, kind)| kind)
    }
}

impl StreamDef {
    /// A schemaless stream without options: neither shared nor decoded, of no source type.
    pub fn schemaless(name: &Arc<str>) -> Self {
        Self {
            name: Arc::clone(name),
            kind: ast::SourceKind::Stream,
            columns: None,
            source_type: Arc::from(""),
            datasource: Arc::from(""),
            format: Arc::from(""),
            shared: false,
            strict: false,
            timestamp: None,
            timestamp_format: None,
            is_lookup: false,
            retain: 0,
            temp: false,
            version: Arc::from(""),
            options: Vec::new(),
            whole_numbers: false,
            strict_json: false,
            split: 0,
            has_decoder: false,
            steps: SourceSteps::default(),
        }
    }
}

/// A declared column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDef {
    /// Its name.
    pub name: Arc<str>,
    /// Its type.
    pub data_type: DataType,
    /// DEFAULT.
    pub default: Option<Value>,
}

/// Rule options that the planner looks at (rules.md 2, scope P).
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// isEventTime.
    pub event_time: bool,
    /// lateTolerance, milliseconds.
    pub late_tolerance: i64,
    /// lateData: late rows are wanted as received.
    pub late_data: bool,
    /// sendMetaToSink.
    pub send_meta: bool,
    /// sendNilField.
    pub send_nil: bool,
    /// planOptimizeStrategy.windowOption.enableSendSlidingWindowTwice (W-11).
    pub sliding_twice: bool,
    /// Names of passes to leave out.
    pub disabled_passes: Vec<String>,
    /// `basic.ignoreCase` (C-1).
    pub ignore_case: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            event_time: false,
            late_tolerance: 1_000,
            late_data: false,
            send_meta: false,
            send_nil: false,
            sliding_twice: false,
            disabled_passes: Vec::new(),
            ignore_case: false,
        }
    }
}

/// All the planner may ask about the world. Implemented by the engine's catalog and by a small map in tests.
pub trait Resolver {
    /// The stream or table of this name.
    fn stream(&self, name: &str) -> Option<Arc<StreamDef>>;

    /// All names, for hints.
    fn stream_names(&self) -> Vec<String>;

    /// The function of this name.
    ///
    /// # Errors
    /// It exists, but cannot be used now (its plugin does not come up).
    fn function(&self, name: &str) -> Result<Option<FunctionRef>, Diagnostic>;

    /// All function names, for hints.
    fn function_names(&self) -> Vec<String>;
}
