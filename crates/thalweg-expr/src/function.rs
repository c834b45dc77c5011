//! Functions: a row of the table each, or somebody else's behind [`RemoteFunction`].

mod check;
mod literal_args;

use std::fmt;
use std::sync::Arc;

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Column, ColumnRef, Diagnostic, RowError, Selection, Timestamp, Value};

use crate::aggregate::{Accumulator, GroupId};
use crate::analytic::Analytic;
use crate::expr::EvalCx;
use crate::manual::{Entry, MANUAL};

/// A row of the function table: everything anybody needs to know about one function.
#[derive(Debug)]
pub struct Function {
    /// The name in lower case.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// The arguments.
    pub args: &'static [Arg],
    /// What it computes and how.
    pub kind: FunctionKind,
    /// What happens when an argument is null.
    pub nulls: Nulls,
    /// For people.
    pub doc: Doc,
}

/// The answer of a row function when an argument is null, `[]` or `{}` (functions.md 1.3, S5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// Null.
    Null,
    /// False.
    False,
    /// 0.
    Zero,
    /// -1.
    MinusOne,
    /// The function sees them itself.
    Own,
}

impl Function {
    /// The fewest arguments.
    pub fn min_args(&self) -> usize {
        self.args.iter().filter(|arg| !arg.optional).count()
    }

    /// The most arguments, if there is a limit.
    pub fn max_args(&self) -> Option<usize> {
        let repeats = self.args.last().is_some_and(|arg| arg.repeated);
        (!repeats).then_some(self.args.len())
    }

    /// What the manual says of it.
    pub fn manual(&self) -> &'static Entry {
        const NOTHING: &Entry = &Entry { name: "", returns: "any", remark: "", statements: &[] };
        MANUAL.iter().find(|entry| entry.name == self.name).unwrap_or(NOTHING)
    }

    /// Whether it makes one value of the rows of a group.
    pub fn is_aggregate(&self) -> bool {
        matches!(self.kind, FunctionKind::Aggregate(_)) || self.name.starts_with("last_agg_hit")
    }

    /// Whether some of its nulls are counted as errors (S7, S45).
    pub fn counts_nulls(&self) -> bool {
        self.nulls == Nulls::Null && matches!(self.doc.family, Family::Math | Family::DateTime)
    }

    /// Whether equal arguments always give equal results.
    pub fn is_pure(&self) -> bool {
        const IMPURE: &[&str] = &[
            "rand",
            "newuuid",
            "tstamp",
            "now",
            "cur_date",
            "cur_time",
            "delay",
            "array_shuffle",
            "props",
            "get_keyed_state",
        ];
        matches!(self.kind, FunctionKind::Row(_) | FunctionKind::Columns(_)) && !IMPURE.contains(&self.name)
    }

    /// The cargo feature that this build lacks and the function needs.
    pub fn missing_feature(&self) -> Option<&'static str> {
        let needs_image = matches!(self.name, "resize" | "thumbnail");
        (needs_image && !cfg!(feature = "image")).then_some("image")
    }

    /// Whether it is scalar although it has state: it sees the rows that are projected, not all events, and takes no
    /// OVER.
    pub fn is_scalar_with_state(&self) -> bool {
        matches!(self.kind, FunctionKind::Analytic(_))
            && (self.name.starts_with("inc_") || self.doc.family == Family::External)
    }

    /// Where its calls belong if they may block, as [`RemoteFunction::host`]: a shard never waits (`contracts.md` 4).
    pub fn host(&self) -> Option<&'static str> {
        match self.name {
            "delay" => Some("delay"),
            "get_keyed_state" => Some("state"),
            "resize" | "thumbnail" => Some("image"),
            _ => None,
        }
    }
}

/// One argument.
#[derive(Debug)]
pub struct Arg {
    /// Its name in the documentation.
    pub name: &'static str,
    /// What may stand there.
    pub kind: ArgKind,
    /// Whether it may be left out (only optional ones may follow).
    pub optional: bool,
    /// Whether it may be repeated (the last one only).
    pub repeated: bool,
}

/// What an argument may be. Checked when a literal is given; other values are checked at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ArgKind {
    Any,
    Number,
    Int,
    Text,
    Bool,
    Array,
    Object,
    Time,
    /// A literal integer.
    LiteralInt,
    /// A literal text.
    LiteralText,
    /// A literal boolean.
    LiteralBool,
}

impl Arg {
    /// A required argument.
    pub const fn new(name: &'static str, kind: ArgKind) -> Self {
        Self { name, kind, optional: false, repeated: false }
    }

    /// The same, optional.
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// The same, any number of times (at least once unless optional).
    pub const fn repeated(mut self) -> Self {
        self.repeated = true;
        self
    }
}

/// For people: reference pages, `/metadata/functions`, tests.
#[derive(Debug)]
pub struct Doc {
    /// The family, which is also the file.
    pub family: Family,
    /// One sentence.
    pub summary: &'static str,
    /// Expression and result as JSON text (`-` for "no result"); each is a test.
    pub examples: &'static [(&'static str, &'static str)],
}

/// Families of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Family {
    Aggregate,
    Analytic,
    Array,
    Convert,
    DateTime,
    External,
    Hash,
    Json,
    Math,
    Meta,
    Multi,
    Object,
    Other,
    Text,
    Window,
}

impl Family {
    /// The heading of its page.
    pub fn title(self) -> &'static str {
        match self {
            Self::Aggregate => "Aggregate functions",
            Self::Analytic => "Analytic functions",
            Self::Array => "Functions of arrays",
            Self::Convert => "Conversions",
            Self::DateTime => "Date and time",
            Self::External => "Functions that eKuiper ships as plugins",
            Self::Hash => "Digests",
            Self::Json => "JSON",
            Self::Math => "Mathematics",
            Self::Meta => "Window, rule and message",
            Self::Multi => "Several rows or columns",
            Self::Object => "Functions of objects",
            Self::Other => "Other functions",
            Self::Text => "Text",
            Self::Window => "Windows",
        }
    }
}

/// A row function: values in, value out. Missing arguments arrive as null.
pub type RowFn = fn(&[Value], &mut EvalCx<'_>) -> Result<Value, RowError>;
/// A column function: the rows of `sel` matter, the result has one cell for each of the batch's `rows`.
pub type ColumnsFn = fn(&[ColumnRef<'_>], &Selection, usize, &mut EvalCx<'_>) -> Column;

/// What a function computes and how.
#[derive(Debug, Clone, Copy)]
pub enum FunctionKind {
    /// Simple: lifted over columns for you.
    Row(RowFn),
    /// Hot: works on columns.
    Columns(ColumnsFn),
    /// An aggregate.
    Aggregate(fn() -> Box<dyn Accumulator>),
    /// State per call site and partition, one value per row: lag, changed_col, acc_*.
    Analytic(fn() -> Box<dyn Analytic>),
    /// Several rows from one: unnest, extract.
    Multi(fn(&Value) -> Result<Vec<Value>, RowError>),
    /// The planner knows what to do: window_start, meta, row_number, changed_cols, last_hit_count …
    Planned,
}

/// What the accumulators of a function can do beyond taking rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accumulators {
    /// Several can be joined into one.
    pub merge: bool,
    /// Rows can be taken back.
    pub retract: bool,
}

/// One step of accumulators that outlive a call, one for each group of a frame. Those that are named for the first
/// time are made.
#[derive(Debug, Clone, Copy)]
pub struct AccumulatorStep<'a> {
    /// The accumulator of each group.
    pub ids: &'a [u64],
    /// What happens to them.
    pub what: Accumulate<'a>,
    /// Whether results are wanted.
    pub finish: bool,
    /// Whether they are forgotten when all is done.
    pub forget: bool,
    /// What else is.
    pub drop: &'a [u64],
}

/// What happens to accumulators.
#[derive(Debug, Clone, Copy)]
pub enum Accumulate<'a> {
    /// They take the rows of the frame.
    Add,
    /// They take rows back that they have taken.
    Retract,
    /// For each group others are joined into its own, in this order; they stay as they are.
    Merge(&'a [Vec<u64>]),
}

/// A function that lives elsewhere: portable plugin, script, service.
pub trait RemoteFunction: Send + Sync + fmt::Debug {
    /// Its name, case-sensitive.
    fn name(&self) -> &str;

    /// The host that runs it; rules are placed on workers by it (`contracts.md` 5).
    fn host(&self) -> &str;

    /// Whether it is an aggregate.
    ///
    /// # Errors
    /// The host cannot be asked.
    fn is_aggregate(&self) -> Result<bool, Diagnostic>;

    /// Whether these arguments are acceptable. `args` holds the literal arguments' values, `None` for others.
    ///
    /// # Errors
    /// The function's own text.
    fn validate(&self, args: &[ArgShape]) -> Result<(), Diagnostic>;

    /// Calls it, blocking: for each selected row in order (or each group), pushes exactly one cell to `out`; a
    /// failed call pushes an error cell.
    fn call(&self, frame: &Frame<'_>, out: &mut Column, cx: &CallCx<'_>);

    /// What its accumulators can do, if it has some that outlive a call; `None` when it takes whole groups only.
    fn accumulators(&self) -> Option<Accumulators> {
        None
    }

    /// Works on accumulators, blocking: for each group of the frame pushes exactly one cell to `out`, the result if the
    /// step asks for it, an error cell where the step failed. Gives the number of the memory that holds them, later
    /// memories having greater ones. When there is another than `expected`, the accumulators of before are lost; then
    /// nothing is done and nothing pushed.
    fn accumulate(
        &self,
        step: &AccumulatorStep<'_>,
        frame: &Frame<'_>,
        expected: Option<u64>,
        out: &mut Column,
        cx: &CallCx<'_>,
    ) -> Option<u64> {
        let (_, _, _) = (step, expected, cx);
        let error = RowError::text(format!("function {} has no accumulators", self.name()));
        (0..frame.groups.map_or(0, |(_, n)| n)).for_each(|_| out.push_error(error.clone()));
        None
    }

    /// Whether a call may depend on earlier ones, so that none may be left out although its result does not matter.
    fn may_keep_state(&self) -> bool {
        true
    }

    /// The state of one call, in bytes that mean something to this function alone; `None` when it keeps none. Asked
    /// between two calls of that site, when a checkpoint passes it; blocking.
    ///
    /// # Errors
    /// Why the host does not give it: the checkpoint then fails and is tried again.
    fn save(&self, _site: &CallSite<'_>) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }

    /// Takes a call back to what [`RemoteFunction::save`] gave, before its first row; blocking.
    ///
    /// # Errors
    /// Why the state cannot be taken: the snapshot then does not fit (R5.12).
    fn restore(&self, _site: &CallSite<'_>, _saved: &[u8]) -> Result<(), String> {
        Err(format!("function {} keeps no state", self.name()))
    }

    /// The rule has ended: whatever is kept for this call may go. Must not wait for the host.
    fn forget(&self, _site: &CallSite<'_>) {}
}

/// One call in one statement of one rule: what the state of a function belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallSite<'a> {
    /// The rule.
    pub rule: &'a str,
    /// The operator (`2_project`).
    pub node: &'a str,
    /// The number of the call in the statement.
    pub call_id: u32,
}

/// What the planner knows of an argument.
#[derive(Debug, Clone, PartialEq)]
pub enum ArgShape {
    /// A literal.
    Literal(Value),
    /// A column with its stream, if written.
    Column {
        /// The stream; absent when not written.
        source: Option<Arc<str>>,
        /// The column.
        name: Arc<str>,
    },
    /// Anything else.
    Other,
}

/// The arguments of a remote call: columns in.
#[derive(Debug)]
pub struct Frame<'a> {
    /// One column an argument, aligned with the batch.
    pub args: &'a [ColumnRef<'a>],
    /// The rows to call for.
    pub rows: &'a Selection,
    /// For aggregates: the group of each selected row, and the number of groups.
    pub groups: Option<(&'a [GroupId], usize)>,
}

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub struct CallCx<'a> {
    /// The rule.
    pub rule: &'a str,
    /// The operator (`2_project`).
    pub node: &'a str,
    /// The number of the call in the statement.
    pub call_id: u32,
    /// Now.
    pub now: Timestamp,
    /// The operator's metrics, for [`CallCx::warn`].
    pub metrics: &'a NodeMetrics,
}

impl CallCx<'_> {
    /// What the state of this call belongs to.
    pub fn site(&self) -> CallSite<'_> {
        CallSite { rule: self.rule, node: self.node, call_id: self.call_id }
    }

    /// Counts an error on the operator for a result that is null all the same (S7).
    pub fn warn(&self, message: &str) {
        self.metrics.exception(message, self.now);
    }
}

/// A function that an expression names.
#[derive(Clone)]
pub enum FunctionRef {
    /// A row of the table.
    Builtin(&'static Function),
    /// Somebody else's.
    Remote(Arc<dyn RemoteFunction>),
}

impl FunctionRef {
    /// Where its calls belong if they may block.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Builtin(function) => function.host(),
            Self::Remote(function) => Some(function.host()),
        }
    }

    /// The function's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Builtin(function) => function.name,
            Self::Remote(function) => function.name(),
        }
    }
}

impl fmt::Debug for FunctionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
