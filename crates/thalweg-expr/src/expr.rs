//! Bound expressions.

use std::sync::{Arc, OnceLock};

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{BinaryOp, Clock, Column, Slot, Timestamp, UnaryOp, Value, WindowRange};

use crate::function::FunctionRef;
use crate::instance::Instance;

/// An expression without names. Built by the planner, evaluated by the runtime.
#[derive(Debug, Clone)]
pub enum Expr {
    /// A column of the batch.
    Column(Slot),
    /// A constant.
    Literal(Literal),
    /// `-x`, `NOT x`.
    Unary(UnaryOp, Box<Expr>),
    /// `a + b` … AND and OR are lazy (O-5).
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `x [NOT] BETWEEN low AND high` (O-9).
    Between {
        /// NOT.
        negated: bool,
        /// x, low, high.
        parts: Box<[Expr; 3]>,
    },
    /// `x [NOT] IN (…)` (O-8).
    InList {
        /// NOT.
        negated: bool,
        /// x.
        value: Box<Expr>,
        /// The members.
        list: Vec<Expr>,
    },
    /// `x [NOT] IN y` (O-8).
    InArray {
        /// NOT.
        negated: bool,
        /// x.
        value: Box<Expr>,
        /// y.
        array: Box<Expr>,
    },
    /// `x IS [NOT] NULL`: true for null and for missing.
    IsNull {
        /// NOT.
        negated: bool,
        /// x.
        value: Box<Expr>,
    },
    /// The first of several values that is there; null counts as there. An unqualified column of a join (J-6).
    First(Vec<Expr>),
    /// Members, indices and slices, applied from left to right (O-12 to O-14).
    Path(Box<Expr>, Vec<Step>),
    /// CASE; `value` is that of a simple CASE (O-11).
    Case {
        /// The value of a simple CASE.
        value: Option<Box<Expr>>,
        /// WHEN and THEN.
        arms: Vec<(Expr, Expr)>,
        /// ELSE.
        otherwise: Option<Box<Expr>>,
    },
    /// A call of a scalar function. Aggregate and analytic calls never stand here: the planner has turned them into
    /// columns of the operators below.
    Call {
        /// The function.
        function: FunctionRef,
        /// Its arguments.
        args: Vec<Expr>,
        /// Numbers the calls of one statement from 0: state of stateful functions, `funcId` of plugins.
        call_id: u32,
    },
    /// Something that the row's surroundings know.
    Context(Context),
    /// All columns of some slots as one object per row: `*` as an argument (`collect(*)`), `meta(*)`. A slot whose
    /// name is `*` spreads its members; later slots do not override earlier ones (J-6).
    Object(Vec<(Arc<str>, Slot)>),
    /// What several places read and not each row needs: it is computed for the rows that the first of them needs.
    Once(Box<Once>),
}

/// An expression whose values are kept as they are computed. It means what the expression means: where there is no
/// memo (the rows have been moved) it is just evaluated.
#[derive(Debug, Clone)]
pub struct Once {
    /// The column with the memo ([`thalweg_core::memo::Memo`]).
    pub slot: Slot,
    /// Pure.
    pub expr: Expr,
}

/// A constant with the column that it evaluates to, which is made once: a batch of one row costs as much as its columns.
/// Those of most rules among thousands are never evaluated, because an index answers for them.
#[derive(Debug, Clone)]
pub struct Literal {
    value: Value,
    /// One row; made when it is asked for first.
    column: OnceLock<Arc<Column>>,
}

impl Literal {
    /// The constant.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The column.
    pub fn column(&self) -> &Column {
        self.column.get_or_init(|| Arc::new(Column::from_values([&self.value])))
    }
}

impl Expr {
    /// A constant.
    pub fn literal(value: Value) -> Self {
        Self::Literal(Literal { value, column: OnceLock::new() })
    }

    /// The value of a constant.
    pub fn as_literal(&self) -> Option<&Value> {
        match self {
            Self::Literal(literal) => Some(literal.value()),
            _ => None,
        }
    }

    /// The expression as it is written, wherever its values are kept.
    pub fn as_written(&self) -> &Self {
        match self {
            Self::Once(once) => once.expr.as_written(),
            other => other,
        }
    }
}

/// One step of a path.
#[derive(Debug, Clone)]
pub enum Step {
    /// `->name`.
    Member(Arc<str>),
    /// `->name` under `ignoreCase`: that name, else one in another case (C-1). Decoders do not follow it.
    AnyCase(Arc<str>),
    /// `[i]`.
    Index(Expr),
    /// `[i:j]`.
    Slice(Option<Expr>, Option<Expr>),
}

/// What the surroundings of a row know (W-7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Context {
    /// `window_start()`; null outside windows.
    WindowStart,
    /// `window_end()`.
    WindowEnd,
    /// `window_trigger()`.
    WindowTrigger,
    /// `event_time()`: the row's time; in an aggregate query the window's trigger.
    EventTime {
        /// Whether the window's trigger is meant.
        of_window: bool,
    },
    /// `last_hit_count()`, `last_agg_hit_count()`: how often the condition around it was true before.
    HitCount,
    /// `last_hit_time()`, `last_agg_hit_time()`: when it was last true, epoch ms; 0 at first.
    HitTime,
    /// `rule_id()`.
    RuleId,
    /// `rule_start()`: when the rule was started, epoch ms.
    RuleStart,
}

/// What an evaluation may look at besides the batch.
pub struct EvalCx<'a> {
    /// Now, for functions of the current time.
    pub now: Timestamp,
    /// The configured time zone (T-12).
    pub zone: chrono_tz::Tz,
    /// The rule.
    pub rule: &'a str,
    /// The node, as plugins see it (`2_project`).
    pub node: &'a str,
    /// When the rule was started.
    pub rule_start: Timestamp,
    /// The window of the batch, as in [`thalweg_core::Batch::window`].
    pub window: Option<WindowRange>,
    /// The instance's properties and stored state.
    pub instance: Option<&'a Instance>,
    /// What `delay` waits by. Absent where nothing may wait.
    pub clock: Option<&'a dyn Clock>,
    /// What the condition that is being evaluated knows of its past.
    pub hits: Hits,
    /// The node's metrics, for [`EvalCx::warn`].
    pub metrics: &'a NodeMetrics,
}

impl EvalCx<'_> {
    /// Counts an error on the node for a result that is null all the same, where an error cell would end the row
    /// (S7, S45).
    pub fn warn(&self, message: &str) {
        self.metrics.exception(message, self.now);
    }
}

/// How often a condition was true so far, and when it last was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hits {
    /// How often.
    pub count: i64,
    /// Epoch ms; 0: never.
    pub time: Timestamp,
}
