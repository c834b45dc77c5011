//! Evaluation over batches: one column per expression, failed rows as error cells, never a failure of the whole.

use std::borrow::Cow;
use std::sync::Arc;

use thalweg_core::{
    Batch, BinaryOp, Cell, Column, ColumnRef, Live, RowError, Selection, Slot, Tag, UnaryOp, Value,
};

use crate::expr::{Context, EvalCx, Expr, Once};
use crate::function::{
    Arg, ArgKind, CallCx, Family, Frame, Function, FunctionKind, FunctionRef, Nulls, RemoteFunction, RowFn,
};
use crate::logic::Case;
use crate::{arith, compare, kernel, like, logic, numbers, path, texts};

impl Expr {
    /// The value of every selected row, aligned with the batch; cells of other rows mean nothing. A row that fails
    /// is an error cell.
    pub fn eval<'a>(&'a self, batch: &'a Batch, rows: &Selection, cx: &mut EvalCx<'_>) -> ColumnRef<'a> {
        let at = (rows, batch.n_rows);
        match self {
            Self::Column(slot) => match batch.columns.get(slot.index()) {
                Some(column) => ColumnRef::borrowed(column),
                None => kernel::constant(Cell::Missing),
            },
            Self::Literal(literal) => ColumnRef::Constant(Cow::Borrowed(literal.column())),
            Self::Unary(UnaryOp::Minus, value) => {
                arith::negate(&value.eval(batch, rows, cx), rows, batch.n_rows)
            }
            Self::Unary(UnaryOp::Not, value) => logic::not(&value.eval(batch, rows, cx), rows, batch.n_rows),
            Self::Binary(op @ (BinaryOp::And | BinaryOp::Or), left, right) => {
                logic::and_or(*op, (left, right), batch, rows, cx)
            }
            Self::Binary(op, left, right) => {
                let (left, right) = (left.eval(batch, rows, cx), right.eval(batch, rows, cx));
                binary(*op, &left, &right, at, cx)
            }
            Self::Between { negated, parts } => {
                let [value, low, high] = parts.each_ref().map(|part| part.eval(batch, rows, cx));
                compare::between(*negated, [&value, &low, &high], at, cx)
            }
            Self::InList { negated, value, list } => {
                let value = value.eval(batch, rows, cx);
                let list: Vec<_> = list.iter().map(|member| member.eval(batch, rows, cx)).collect();
                compare::in_list(*negated, &value, &list, at, cx)
            }
            Self::InArray { negated, value, array } => {
                let (value, array) = (value.eval(batch, rows, cx), array.eval(batch, rows, cx));
                compare::in_array(*negated, &value, &array, at, cx)
            }
            Self::IsNull { negated, value } => is_null(*negated, &value.eval(batch, rows, cx), at),
            Self::First(values) => {
                let values: Vec<_> = values.iter().map(|value| value.eval(batch, rows, cx)).collect();
                first(&values, at)
            }
            Self::Path(base, steps) => path::path(&base.eval(batch, rows, cx), steps, batch, rows, cx),
            Self::Case { value, arms, otherwise } => {
                let case = Case { value: value.as_deref(), arms, otherwise: otherwise.as_deref() };
                logic::case(&case, batch, rows, cx)
            }
            Self::Call { function, args, call_id } => {
                eval_all(args, batch, rows, cx, |args, cx| match function {
                    FunctionRef::Builtin(function) => builtin(function, args, at, cx),
                    FunctionRef::Remote(function) => remote(&**function, args, *call_id, at, cx),
                })
            }
            Self::Context(context) => surroundings(*context, batch, cx),
            Self::Object(slots) => object(slots, batch, rows),
            Self::Once(one) => once(one, batch, rows, cx),
        }
    }

    /// The same in a column that is written again for each batch: with one row, making a column is what evaluating
    /// costs.
    pub fn eval_into(&self, batch: &Batch, rows: &Selection, cx: &mut EvalCx<'_>, out: &mut Column) {
        if numbers::compute(self, batch, rows, out).is_some() || self.call_into(batch, rows, cx, out) {
            return;
        }
        match self.eval(batch, rows, cx) {
            ColumnRef::Rows(Cow::Owned(column)) => *out = column,
            ColumnRef::Rows(Cow::Borrowed(column))
                if column.ints().is_some() || column.floats().is_some() =>
            {
                out.copy_numbers(column);
            }
            ColumnRef::Rows(Cow::Borrowed(column)) => *out = column.clone(),
            ColumnRef::Constant(constant) => out.copy_constant(&constant, batch.n_rows),
        }
    }

    /// The same for row functions of all rows.
    fn call_into(&self, batch: &Batch, rows: &Selection, cx: &mut EvalCx<'_>, out: &mut Column) -> bool {
        let Self::Call { function: FunctionRef::Builtin(function), args, .. } = self else { return false };
        let (FunctionKind::Row(call), Live::All(_)) = (&function.kind, &rows.live) else { return false };
        eval_all(args, batch, rows, cx, |args, cx| {
            if function.is_pure() && args.iter().all(ColumnRef::is_constant) {
                let one = lifted(function, *call, args, (rows, batch.n_rows), cx);
                return out.copy_constant(one.column(), batch.n_rows);
            }
            out.clear(None);
            call_rows(function, *call, args, rows, (cx, out));
        });
        true
    }

    /// The column that an operator appends which computes this expression for others. Of an [`Expr::Once`] there are
    /// no values yet.
    pub fn append(&self, batch: &Batch, rows: &Selection, cx: &mut EvalCx<'_>) -> Column {
        let mut out = Column::new();
        self.append_into(batch, rows, cx, &mut out);
        out
    }

    /// The same in a column that is written again for each batch.
    pub fn append_into(&self, batch: &Batch, rows: &Selection, cx: &mut EvalCx<'_>, out: &mut Column) {
        match self {
            Self::Once(_) => *out = Column::with_memo(batch.n_rows),
            _ => self.eval_into(batch, rows, cx, out),
        }
    }
}

/// What is kept, and for the rows that nobody has asked for what the expression gives.
fn once<'a>(once: &'a Once, batch: &'a Batch, rows: &Selection, cx: &mut EvalCx<'_>) -> ColumnRef<'a> {
    let memo = batch.columns.get(once.slot.index()).and_then(|column| column.memo());
    let Some(memo) = memo.filter(|_| !rows.is_empty()) else { return once.expr.eval(batch, rows, cx) };
    let compute = |new: &Selection| once.expr.eval(batch, new, cx).into_column(batch.n_rows);
    ColumnRef::Rows(memo.values(rows, batch.n_rows, compute))
}

/// Evaluates several expressions and lends their columns. Up to two, which is nearly always, need no list on the heap:
/// with a batch of one row that list is what evaluating a column costs.
pub fn eval_all<R>(
    exprs: &[Expr],
    batch: &Batch,
    rows: &Selection,
    cx: &mut EvalCx<'_>,
    then: impl FnOnce(&[ColumnRef<'_>], &mut EvalCx<'_>) -> R,
) -> R {
    match exprs {
        [] => then(&[], cx),
        [one] => {
            let one = one.eval(batch, rows, cx);
            then(std::slice::from_ref(&one), cx)
        }
        [one, two] => {
            let both = [one.eval(batch, rows, cx), two.eval(batch, rows, cx)];
            then(&both, cx)
        }
        many => {
            let many: Vec<_> = many.iter().map(|expr| expr.eval(batch, rows, cx)).collect();
            then(&many, cx)
        }
    }
}

/// A binary operator that looks at both sides.
pub(crate) fn binary(
    op: BinaryOp,
    left: &ColumnRef<'_>,
    right: &ColumnRef<'_>,
    (rows, n_rows): (&Selection, usize),
    cx: &EvalCx<'_>,
) -> ColumnRef<'static> {
    match op {
        BinaryOp::Eq | BinaryOp::NotEq | BinaryOp::Lt | BinaryOp::LtEq | BinaryOp::Gt | BinaryOp::GtEq => {
            compare::compare(op, left, right, (rows, n_rows), cx)
        }
        BinaryOp::Like | BinaryOp::NotLike => like::like(op == BinaryOp::NotLike, left, right, rows, n_rows),
        _ => arith::binary(op, left, right, (rows, n_rows), cx),
    }
}

fn first(values: &[ColumnRef<'_>], (rows, n_rows): (&Selection, usize)) -> ColumnRef<'static> {
    let is_constant = values.iter().all(ColumnRef::is_constant);
    kernel::per_row(is_constant, rows, n_rows, |row, out| {
        let there = values.iter().map(|value| value.cell(row)).find(|cell| *cell != Cell::Missing);
        out.push_cell(there.unwrap_or(Cell::Missing));
    })
}

fn is_null(negated: bool, value: &ColumnRef<'_>, (rows, n_rows): (&Selection, usize)) -> ColumnRef<'static> {
    kernel::per_row(value.is_constant(), rows, n_rows, |row, out| match value.cell(row) {
        Cell::Error(error) => out.push_error(error.clone()),
        cell => out.push_bool(cell.is_nothing() != negated),
    })
}

fn builtin(
    function: &Function,
    args: &[ColumnRef<'_>],
    (rows, n_rows): (&Selection, usize),
    cx: &mut EvalCx<'_>,
) -> ColumnRef<'static> {
    match function.kind {
        FunctionKind::Row(call) => lifted(function, call, args, (rows, n_rows), cx),
        FunctionKind::Columns(call) => ColumnRef::owned(call(args, rows, n_rows, cx)),
        _ => {
            // The planner turns these into operators; one that is left over is a fault of the plan.
            let text = format!("function {} cannot be called here", function.name);
            let error = RowError::text(text);
            kernel::constant(Cell::Error(&error))
        }
    }
}

/// So many arguments of a row function need no list on the heap.
const FEW: usize = 4;

/// A row function over columns.
fn lifted(
    function: &Function,
    call: RowFn,
    args: &[ColumnRef<'_>],
    (rows, n_rows): (&Selection, usize),
    cx: &mut EvalCx<'_>,
) -> ColumnRef<'static> {
    let mut column = Column::new();
    if function.is_pure() && args.iter().all(ColumnRef::is_constant) {
        call_rows(function, call, args, &Selection::all(1), (cx, &mut column));
        return ColumnRef::Constant(Cow::Owned(column));
    }
    call_rows(function, call, args, rows, (cx, &mut column));
    ColumnRef::owned(column.spread(rows, n_rows))
}

/// Adds a cell for each selected row. The first failed argument is the row's error.
fn call_rows(
    function: &Function,
    call: RowFn,
    args: &[ColumnRef<'_>],
    rows: &Selection,
    (cx, out): (&mut EvalCx<'_>, &mut Column),
) {
    if texts::over_texts(function.name, args, rows, out) {
        return;
    }
    let mut few = [const { Value::Null }; FEW];
    let mut many = Vec::new();
    let values = match few.get_mut(..args.len()) {
        Some(few) => few,
        None => {
            many.resize(args.len(), Value::Null);
            &mut many[..]
        }
    };
    // What is the same for every row is made a value once.
    for (value, arg) in values.iter_mut().zip(args).filter(|(_, arg)| arg.is_constant()) {
        *value = arg.cell(0).to_value();
    }
    for row in rows {
        if let Some(error) = take_args(args, row, values) {
            out.push_error(error);
            continue;
        }
        match call_row(function.nulls, call, values, cx) {
            Ok(value) => {
                if value.is_null()
                    && let Some(why) = unwanted_null(function, values)
                {
                    cx.warn(&format!("call func {} error: {why}; the result is null", function.name));
                }
                out.push_value(&value);
            }
            Err(error) => out.push_error(named(function.name, &error)),
        }
    }
}

/// The arguments of a row, but for constants, or the error of the first that failed.
fn take_args(args: &[ColumnRef<'_>], row: usize, values: &mut [Value]) -> Option<RowError> {
    for (value, arg) in values.iter_mut().zip(args) {
        match arg.cell(row) {
            Cell::Error(error) => return Some(error.clone()),
            _ if arg.is_constant() => {}
            cell => *value = cell.to_value(),
        }
    }
    None
}

/// Why a null result is counted as an error (S7, S45), if it is.
fn unwanted_null(function: &Function, args: &[Value]) -> Option<&'static str> {
    let is_null_time = |(arg, value): (&Arg, &Value)| arg.kind == ArgKind::Time && value.is_null();
    match (function.nulls, function.doc.family) {
        (Nulls::Null, Family::Math) if !args.iter().any(Value::is_null) => Some("outside of its domain"),
        (Nulls::Null, Family::DateTime) if function.args.iter().zip(args).any(is_null_time) => {
            Some("null where a time is wanted")
        }
        _ => None,
    }
}

/// A function's error as upstream words it.
pub(crate) fn named(function: &str, error: &RowError) -> RowError {
    RowError::text(format!("call func {function} error: {error}"))
}

/// Calls a row function behind its null rule (functions.md 1.3).
pub(crate) fn call_row(
    nulls: Nulls,
    call: RowFn,
    args: &[Value],
    cx: &mut EvalCx<'_>,
) -> Result<Value, RowError> {
    let answer = match nulls {
        Nulls::Own => return call(args, cx),
        Nulls::Null => Value::Null,
        Nulls::False => Value::Bool(false),
        Nulls::Zero => Value::Int(0),
        Nulls::MinusOne => Value::Int(-1),
    };
    if args.iter().any(is_empty) { Ok(answer) } else { call(args, cx) }
}

/// Null, `[]` and `{}` (S5).
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::List(items) => items.is_empty(),
        Value::Map(fields) => fields.is_empty(),
        _ => false,
    }
}

fn remote(
    function: &dyn RemoteFunction,
    args: &[ColumnRef<'_>],
    call_id: u32,
    (rows, n_rows): (&Selection, usize),
    cx: &mut EvalCx<'_>,
) -> ColumnRef<'static> {
    // Rows with a failed argument are not sent.
    let sound = |row: &usize| args.iter().all(|arg| !matches!(arg.cell(*row), Cell::Error(_)));
    let failing = args.iter().any(|arg| arg.column().seen().contains(Tag::Error));
    let kept;
    let called = if failing {
        kept = Selection::rows(rows.iter().filter(sound).map(|row| row as u32).collect());
        &kept
    } else {
        rows
    };
    let mut results = Column::new();
    if !called.is_empty() {
        let call_cx = CallCx { rule: cx.rule, node: cx.node, call_id, now: cx.now, metrics: cx.metrics };
        function.call(&Frame { args, rows: called, groups: None }, &mut results, &call_cx);
    }
    if !failing && results.len() == called.len() {
        return ColumnRef::owned(results.spread(called, n_rows));
    }
    let mut answers = 0..results.len();
    kernel::per_row(false, rows, n_rows, |row, out| {
        let failed = args.iter().find_map(|arg| match arg.cell(row) {
            Cell::Error(error) => Some(error.clone()),
            _ => None,
        });
        match failed {
            Some(error) => out.push_error(error),
            None => match answers.next() {
                Some(answer) => out.push_cell(results.cell(answer)),
                None => {
                    out.push_error(RowError::text(format!("function {} gave no result", function.name())))
                }
            },
        }
    })
}

/// What the row's surroundings know (W-7).
fn surroundings(context: Context, batch: &Batch, cx: &EvalCx<'_>) -> ColumnRef<'static> {
    let window = batch.window.or(cx.window);
    let instant = |time: Option<thalweg_core::Timestamp>| match time {
        Some(time) => kernel::constant(Cell::Int(time.0)),
        None => kernel::constant(Cell::Null),
    };
    match context {
        Context::WindowStart => instant(window.map(|window| window.start)),
        Context::WindowEnd => instant(window.map(|window| window.end)),
        Context::WindowTrigger => instant(window.map(|window| window.trigger)),
        Context::EventTime { of_window: true } if window.is_some() => {
            instant(window.map(|window| window.trigger))
        }
        Context::EventTime { .. } => {
            ColumnRef::owned(Column::from_ints(batch.times.iter().map(|time| time.0)))
        }
        Context::HitCount => kernel::constant(Cell::Int(cx.hits.count)),
        Context::HitTime => kernel::constant(Cell::Int(cx.hits.time.0)),
        Context::RuleId => kernel::constant(Cell::Str(cx.rule)),
        Context::RuleStart => kernel::constant(Cell::Int(cx.rule_start.0)),
    }
}

/// One object a row; a slot called `*` spreads its members, earlier slots win (J-6).
fn object(slots: &[(Arc<str>, Slot)], batch: &Batch, rows: &Selection) -> ColumnRef<'static> {
    kernel::per_row(false, rows, batch.n_rows, |row, out| {
        let mut fields = thalweg_core::Fields::new();
        for (name, slot) in slots {
            let Some(column) = batch.columns.get(slot.index()) else {
                continue;
            };
            match column.cell(row) {
                Cell::Missing => {}
                Cell::Error(error) => return out.push_error(error.clone()),
                cell if **name == *"*" => {
                    if let Value::Map(members) = cell.to_value() {
                        for (name, value) in members.iter() {
                            fields.entry(Arc::clone(name)).or_insert_with(|| value.clone());
                        }
                    }
                }
                cell => _ = fields.entry(Arc::clone(name)).or_insert_with(|| cell.to_value()),
            }
        }
        out.push_value(&Value::map(fields));
    })
}

#[cfg(test)]
mod tests;
