//! The SELECT list: one output column each, or one column named `*` whose members the encoder spreads.
//!
//! Columns that are passed on untouched are shared, not copied. What `*` brings yields to named columns (P-15); that
//! is the reader's rule, so raw JSON can be passed on without being looked at.

use std::sync::Arc;

use thalweg_core::{Batch, Cell, Column, Fields, Schema, Selection, Slot, Tag, Unit, Value};
use thalweg_expr::{EvalCx, Expr, FunctionRef};
use thalweg_plan::explain::sql;
use thalweg_plan::logical::{Empty, OutputColumn};
use thalweg_plan::{Kind, Node};

use crate::names::Alike;
use crate::op::faults;
use crate::op::reshape::Room;
use crate::operator::{Emit, List, OpCx, Operator};

/// Computes the output columns.
pub(crate) struct Project {
    list: Arc<List>,
    /// S6: in an aggregate query a scalar function that fails gives nothing.
    is_aggregate: bool,
    /// Made for the first rows: most rules of a shared stream never see any.
    work: Option<Box<Work>>,
}

/// What is written again for each batch.
struct Work {
    bad: Vec<(usize, String)>,
    room: Room,
}

impl Project {
    pub(crate) fn new(node: &Node, columns: &[OutputColumn]) -> Self {
        let input = &node.inputs[0];
        Self {
            list: Arc::new(List::new(columns, &input.schema, &node.schema)),
            is_aggregate: is_aggregate(input),
            work: None,
        }
    }
}

impl Work {
    /// Hands the result on, or fails where columns have failed.
    fn hand_on(&mut self, rows: &Selection, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let batch = &*self.room.batch();
        if self.bad.is_empty() {
            return out.batch(0, batch, rows);
        }
        if batch.unit == Unit::Collection {
            let schema = Arc::clone(&batch.schema);
            return faults::fail_all(&self.bad[0].1, (faults::time_of(batch), rows), &schema, out, cx);
        }
        // A row fails once, with the first column's error.
        self.bad.sort_by_key(|(row, _)| *row);
        self.bad.dedup_by_key(|(row, _)| *row);
        let good = rows.iter().filter(|row| self.bad.binary_search_by_key(row, |(bad, _)| *bad).is_err());
        let mut kept = Selection::rows(good.map(|row| row as u32).collect());
        kept.faults = faults::fail_rows(&self.bad, (batch, rows), cx);
        if !kept.is_void() {
            out.batch(0, batch, &kept);
        }
    }
}

impl Operator for Project {
    fn share(&mut self, lists: &Alike<List>) {
        if let Some(known) = self.list.known(lists) {
            self.list = known;
        }
    }

    fn memory(&self) -> usize {
        self.work.as_ref().map_or(0, |work| size_of::<Work>() + work.room.memory())
    }

    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        let schema = &self.list.schema;
        let work =
            self.work.get_or_insert_with(|| Box::new(Work { bad: Vec::new(), room: Room::new(schema) }));
        work.bad.clear();
        let mut eval = cx.eval(batch.window);
        work.room.begin(batch);
        for output in &self.list.columns {
            compute(output, batch, rows, &mut eval, &mut work.room);
            let Some(column) = work.room.batch().columns.last_mut() else { continue };
            if !column.seen().contains(Tag::Error) {
                continue;
            }
            if self.is_aggregate {
                without_failed_calls(output, batch, column);
            }
            note_errors(column, &label(output, &self.list.input), rows, &mut work.bad);
        }
        work.hand_on(rows, out, cx);
        work.room.clear();
    }
}

/// Whether rows are groups, up to what only reorders or selects them.
fn is_aggregate(node: &Node) -> bool {
    match node.kind {
        Kind::Aggregate { .. } => true,
        Kind::Having { .. } | Kind::Sort(_) | Kind::Limit(_) | Kind::RowNumber { .. } | Kind::Compute(_) => {
            node.inputs.first().is_some_and(is_aggregate)
        }
        _ => false,
    }
}

/// S6: the call of a scalar function that fails by itself, not by its argument, is missing.
fn without_failed_calls(output: &OutputColumn, batch: &Batch, column: &mut Arc<Column>) {
    let OutputColumn::One { expr, .. } = output else { return };
    if !matches!(expr, Expr::Call { function: FunctionRef::Builtin(_), .. }) {
        return;
    }
    let mut slots = Vec::new();
    expr.slots(&mut |slot| slots.push(slot));
    let mut out = Column::new();
    for row in 0..column.len() {
        let fails_before = || slots.iter().any(|slot| batch.column(*slot).tag(row) == Tag::Error);
        match column.cell(row) {
            Cell::Error(_) if !fails_before() => out.push_missing(),
            cell => out.push_cell(cell),
        }
    }
    *column = Arc::new(out);
}

fn note_errors(column: &Column, label: &str, rows: &Selection, bad: &mut Vec<(usize, String)>) {
    for row in rows {
        if let Cell::Error(error) = column.cell(row) {
            bad.push((row, format!("run Select error: {label} meet error, err:{error}")));
        }
    }
}

/// Appends an output column to the result.
fn compute(column: &OutputColumn, batch: &Batch, rows: &Selection, cx: &mut EvalCx<'_>, result: &mut Room) {
    match column {
        OutputColumn::One { expr, empty, .. } => one(expr, *empty, (batch, rows), cx, result),
        OutputColumn::Spread { slots, except } => result.push(spread(slots, except, batch, rows)),
        OutputColumn::Keyed { expr, .. } => one(expr, Empty::Omit, (batch, rows), cx, result),
    }
}

fn one(
    expr: &Expr,
    empty: Empty,
    (batch, rows): (&Batch, &Selection),
    cx: &mut EvalCx<'_>,
    result: &mut Room,
) {
    let unwanted = match empty {
        Empty::KeepNull => None,
        Empty::Omit => Some(Tag::Null),
        Empty::Null => Some(Tag::Missing),
    };
    if let Expr::Column(slot) = expr {
        let column = &batch.columns[slot.index()];
        if unwanted.is_none_or(|tag| !column.seen().contains(tag)) {
            return result.push(Arc::clone(column));
        }
    }
    result.push_with(|_, column| {
        expr.eval_into(batch, rows, cx, column);
        match empty {
            Empty::KeepNull => {}
            Empty::Omit => column.nulls_to_missing(),
            Empty::Null => column.missing_to_null(),
        }
    });
}

/// `*`: one column of objects. The common case, a single slot that holds everything, is passed on as it is.
fn spread(slots: &[(Arc<str>, Slot)], except: &[Arc<str>], batch: &Batch, rows: &Selection) -> Arc<Column> {
    if let ([(name, slot)], []) = (slots, except)
        && &**name == "*"
    {
        return Arc::clone(&batch.columns[slot.index()]);
    }
    let mut out = Column::new();
    for row in rows {
        (out.len()..row).for_each(|_| out.push_missing());
        let mut fields = Fields::new();
        for (name, slot) in slots {
            add_members(name, batch.column(*slot).cell(row), except, &mut fields);
        }
        out.push_value(&Value::map(fields));
    }
    (out.len()..batch.n_rows).for_each(|_| out.push_missing());
    Arc::new(out)
}

/// What is there already stays: the first slot that has a name wins (J-6).
fn add_members(name: &Arc<str>, cell: Cell<'_>, except: &[Arc<str>], fields: &mut Fields) {
    if &**name != "*" {
        if !except.contains(name) && !matches!(cell, Cell::Missing | Cell::Error(_)) {
            fields.entry(Arc::clone(name)).or_insert_with(|| cell.to_value());
        }
        return;
    }
    if let Value::Map(members) = cell.to_value() {
        for (name, value) in members.iter().filter(|(name, _)| !except.contains(name)) {
            fields.entry(Arc::clone(name)).or_insert_with(|| value.clone());
        }
    }
}

/// Whether the slot's own name is that of the column, or it holds a call (computed once) of the function of that name.
fn is_named_after(name: &str, slot: Slot, input: &Schema) -> bool {
    let own = input.fields.get(slot.index()).map_or("", |field| &field.name);
    own.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('('))
}

/// `alias: x expr: <sql>`, as errors name a column.
fn label(column: &OutputColumn, input: &Schema) -> String {
    match column {
        OutputColumn::One { name, expr, .. } => {
            let unnamed = match expr.as_written() {
                Expr::Call { function, .. } => function.name() == &**name,
                Expr::Column(slot) if is_named_after(name, *slot, input) => true,
                _ => name.starts_with("kuiper_field_"),
            };
            let text = sql(expr, input);
            if unnamed { format!("expr: {text}") } else { format!("alias: {name} expr: {text}") }
        }
        OutputColumn::Spread { .. } => "expr: *".to_owned(),
        OutputColumn::Keyed { expr, .. } => format!("expr: {}", sql(expr, input)),
    }
}
