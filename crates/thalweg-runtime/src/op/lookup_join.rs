//! Lookup joins: rows of a table elsewhere, found by key (J-12 to J-16).
//!
//! A batch asks once for each distinct key among its rows. The answers become columns, which the matches of all rows
//! are gathered from. The question blocks, so rules with a lookup join run where blocking is allowed. Extra conditions
//! of ON decide what matches, so a LEFT join keeps its rows (J-14).

use std::sync::Arc;

use thalweg_core::{
    Batch, Column, ColumnRef, Fields, IoError, Schema, Selection, Tag, Timestamp, Unit, Value, Want,
};
use thalweg_plan::logical::Lookup;
use thalweg_plan::{JoinKind, Node};

use crate::op::condition::{Nulls, Picked};
use crate::op::keys::{Keys, error_at};
use crate::op::{faults, reshape};
use crate::operator::{Emit, OpCx, Operator};

/// Finds rows by key, waiting for the answer.
pub trait LookupRows: Send {
    /// The rows whose `keys` equal `values`; `fields` names the columns wanted (empty: all, J-15). No value is null.
    ///
    /// # Errors
    /// The other side cannot be asked.
    fn rows(
        &mut self,
        fields: &[Arc<str>],
        keys: &[Arc<str>],
        values: &[Value],
    ) -> Result<Vec<Arc<Fields>>, IoError>;

    /// One answer of [`LookupRows::rows`] for each of `questions`, in their order.
    fn answers(
        &mut self,
        fields: &[Arc<str>],
        keys: &[Arc<str>],
        questions: &[Vec<Value>],
    ) -> Vec<Result<Vec<Arc<Fields>>, IoError>> {
        questions.iter().map(|values| self.rows(fields, keys, values)).collect()
    }
}

/// Asks for each batch.
pub(crate) struct LookupJoin {
    plan: Lookup,
    table: Box<dyn LookupRows>,
    /// Of the table's columns wanted; empty: all.
    fields: Vec<Arc<str>>,
    names: Vec<Arc<str>>,
    schema: Arc<Schema>,
    /// The distinct keys of the batch at hand, and what the table has for each.
    keys: Keys,
    answers: Vec<Answer>,
    matches: Matches,
    /// The message of one event, with room that is used again.
    message: Batch,
}

/// Rows of the answer columns.
#[derive(Debug, Default)]
struct Answer {
    first: u32,
    count: u32,
    /// Why the table could not be asked.
    error: Option<String>,
}

/// Input rows beside rows of the answer columns, in the order of the input.
#[derive(Debug, Default)]
struct Matches {
    inputs: Vec<u32>,
    /// [`NOTHING`] where the table has none.
    rows: Vec<u32>,
    /// Where the matches of each input row end.
    events: Vec<Event>,
}

#[derive(Debug)]
struct Event {
    row: u32,
    end: usize,
    /// The key asked for; `None` where there is none to ask for (J-12).
    key: Option<u32>,
    failed: Option<String>,
}

/// The row of the answer columns whose cells are missing.
const NOTHING: u32 = 0;

impl LookupJoin {
    pub(crate) fn new(node: &Node, plan: &Lookup, table: Box<dyn LookupRows>) -> Self {
        let mut fields = Vec::new();
        for wanted in &plan.projection.slots {
            match &wanted.want {
                Want::Column { path, .. } if !fields.contains(&path[0]) => fields.push(Arc::clone(&path[0])),
                _ => {}
            }
        }
        if plan.projection.slots.iter().any(|wanted| wanted.want == Want::Everything) {
            fields.clear();
        }
        let names = plan.keys.iter().map(|(name, _)| Arc::clone(name)).collect();
        let schema = Arc::clone(&node.schema);
        Self {
            plan: plan.clone(),
            table,
            fields,
            names,
            message: Batch::empty(Arc::clone(&schema), Unit::Collection),
            schema,
            keys: Keys::default(),
            answers: Vec::new(),
            matches: Matches::default(),
        }
    }

    /// Numbers the keys of the rows, so that each is asked for once. No lookup and no match where one is null (J-12).
    fn number(&mut self, keys: &[ColumnRef<'_>], rows: &Selection) -> Vec<Vec<Value>> {
        let mut questions = Vec::new();
        self.keys.clear();
        self.matches.events.clear();
        let may = |tag| keys.iter().any(|key| key.column().seen().contains(tag));
        let (may_fail, may_be_nothing) = (may(Tag::Error), may(Tag::Missing) || may(Tag::Null));
        for row in rows {
            let error = if may_fail { error_at(keys, row) } else { None };
            let failed = error.map(|error| format!("run Join error: {error}"));
            let mut event = Event { row: row as u32, end: 0, key: None, failed };
            let is_nothing = may_be_nothing && keys.iter().any(|key| key.cell(row).is_nothing());
            if event.failed.is_none() && !is_nothing {
                let key = self.keys.number(keys, row);
                if key as usize == questions.len() {
                    questions.push(keys.iter().map(|key| key.cell(row).to_value()).collect());
                }
                event.key = Some(key);
            }
            self.matches.events.push(event);
        }
        questions
    }

    /// Asks, and makes columns of all answers: their first row is [`NOTHING`].
    fn ask(&mut self, questions: &[Vec<Value>]) -> Vec<Column> {
        let mut columns = vec![Column::missing(1); self.plan.projection.slots.len()];
        self.answers.clear();
        if questions.is_empty() {
            return columns;
        }
        let mut first = NOTHING + 1;
        for answer in self.table.answers(&self.fields, &self.names, questions) {
            let (rows, error) = match answer {
                Ok(rows) => (rows, None),
                Err(error) => (Vec::new(), Some(error.to_string())),
            };
            for (wanted, column) in self.plan.projection.slots.iter().zip(&mut columns) {
                rows.iter().for_each(|row| push_wanted(&wanted.want, row, column));
            }
            let count = rows.len() as u32;
            self.answers.push(Answer { first, count, error });
            first += count;
        }
        columns
    }

    /// Puts the rows and their answers side by side.
    fn pair(&mut self) {
        let Matches { inputs, rows, events } = &mut self.matches;
        inputs.clear();
        rows.clear();
        for event in events {
            if let Some(answer) = event.key.and_then(|key| self.answers.get(key as usize)) {
                rows.extend(answer.first..answer.first + answer.count);
                inputs.resize(rows.len(), event.row);
            }
            event.end = rows.len();
        }
    }

    /// Keeps the matches that the rest of ON accepts; one that fails is the failure of its event.
    fn judge(&mut self, batch: &Batch, answers: &[Column], cx: &OpCx<'_>) {
        let Some(on) = self.plan.on.as_ref().filter(|_| !self.matches.inputs.is_empty()) else { return };
        let joined = self.joined(batch, answers);
        let all = Selection::all(joined.n_rows);
        let column = on.eval(&joined, &all, &mut cx.eval(batch.window));
        let mut picked = Picked::default();
        picked.pick(&column, &all, joined.n_rows, Nulls::Error);
        let mut bad = picked.bad.iter().peekable();
        let Matches { inputs, rows, events } = &mut self.matches;
        let (mut at, mut kept) = (0, 0);
        for event in events {
            if let Some((_, error)) = bad.next_if(|(pair, _)| *pair < event.end) {
                event.failed = Some(format!("run Join error: {error}"));
                while bad.next_if(|(pair, _)| *pair < event.end).is_some() {}
            }
            for pair in at..event.end {
                if picked.has(pair) {
                    (inputs[kept], rows[kept]) = (inputs[pair], rows[pair]);
                    kept += 1;
                }
            }
            at = event.end;
            event.end = kept;
        }
        inputs.truncate(kept);
        rows.truncate(kept);
    }

    /// A LEFT join keeps the rows that nothing matches.
    fn keep_unmatched(&mut self) {
        if self.plan.kind != JoinKind::Left {
            return;
        }
        let old = std::mem::take(&mut self.matches);
        let mut at = 0;
        for mut event in old.events {
            self.matches.inputs.extend_from_slice(&old.inputs[at..event.end]);
            self.matches.rows.extend_from_slice(&old.rows[at..event.end]);
            if at == event.end {
                self.matches.inputs.push(event.row);
                self.matches.rows.push(NOTHING);
            }
            at = event.end;
            event.end = self.matches.rows.len();
            self.matches.events.push(event);
        }
    }

    /// All matches as one collection.
    fn joined(&self, batch: &Batch, answers: &[Column]) -> Batch {
        let Matches { inputs, rows, .. } = &self.matches;
        let left = batch.columns.iter().map(|column| Arc::new(reshape::gather(column, inputs)));
        let right = answers.iter().map(|column| Arc::new(reshape::gather(column, rows)));
        let times: Vec<Timestamp> = inputs.iter().map(|row| batch.times[*row as usize]).collect();
        reshape::collection(&self.schema, left.chain(right).collect(), times, batch.window)
    }

    /// The matches of one event as a message of their own.
    fn emit_event(&mut self, batch: &Batch, answers: &[Column], from: usize, to: usize, out: &mut dyn Emit) {
        if from == to {
            return;
        }
        let (inputs, rows) = (&self.matches.inputs[from..to], &self.matches.rows[from..to]);
        let message = &mut self.message;
        message.columns.resize_with(batch.columns.len() + answers.len(), Arc::default);
        let (left, right) = message.columns.split_at_mut(batch.columns.len());
        left.iter_mut().zip(&batch.columns).for_each(|(column, all)| refill(column, all, inputs));
        right.iter_mut().zip(answers).for_each(|(column, all)| refill(column, all, rows));
        message.times.clear();
        message.times.extend(inputs.iter().map(|row| batch.times[*row as usize]));
        message.n_rows = inputs.len();
        message.window = batch.window;
        out.batch(0, message, &Selection::all(inputs.len()));
    }
}

/// Fills a column with rows of another, in place unless a message that was handed on still shares it.
fn refill(column: &mut Arc<Column>, all: &Column, rows: &[u32]) {
    let column = reshape::emptied(column);
    match rows {
        [row] => column.push_cell(all.cell(*row as usize)),
        rows => column.append_rows(all, rows.iter().map(|row| *row as usize)),
    }
}

/// Adds what is wanted of one table row.
fn push_wanted(want: &Want, fields: &Arc<Fields>, column: &mut Column) {
    match want {
        Want::Column { path, .. } => match member(fields, path) {
            Some(value) => column.push_value(value),
            None => column.push_missing(),
        },
        Want::Everything => column.push_value(&Value::Map(Arc::clone(fields))),
        _ => column.push_missing(),
    }
}

fn member<'a>(fields: &'a Fields, path: &[Arc<str>]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(fields.get(first)?, |value, name| match value {
        Value::Map(fields) => fields.get(name),
        _ => None,
    })
}

impl Operator for LookupJoin {
    /// Each event gives a collection of its matches; a collection gives one of all its rows' matches.
    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        if let Some(runs) = faults::runs(batch, rows) {
            return runs.iter().for_each(|run| self.on_batch(0, batch, run, out, cx));
        }
        faults::send(rows.faults.clone(), 0, &self.schema, out);
        let mut eval = cx.eval(batch.window);
        let keys: Vec<_> = self.plan.keys.iter().map(|(_, key)| key.clone()).collect();
        let keys: Vec<_> = keys.iter().map(|key| key.eval(batch, rows, &mut eval)).collect();
        let questions = self.number(&keys, rows);
        let answers = self.ask(&questions);
        self.pair();
        self.judge(batch, &answers, cx);
        self.keep_unmatched();
        let nothing = Selection::all(0);
        let mut at = 0;
        for index in 0..self.matches.events.len() {
            let event = &self.matches.events[index];
            let (from, to) = (std::mem::replace(&mut at, event.end), event.end);
            let answer = event.key.and_then(|key| self.answers.get(key as usize));
            if let Some(error) = answer.and_then(|answer| answer.error.as_ref()) {
                let message = format!("run Join error: lookup {}: {error}", self.plan.alias);
                cx.metrics.exception(&message, cx.now);
            }
            if let Some(message) = &event.failed {
                let time = batch.window.map_or(batch.times[event.row as usize], |window| window.end);
                faults::fail_all(message, (Some(time), &nothing), &self.schema, out, cx);
                if batch.unit == Unit::Collection {
                    return;
                }
            } else if batch.unit == Unit::Rows {
                self.emit_event(batch, &answers, from, to, out);
            }
        }
        if batch.unit == Unit::Collection && !self.matches.inputs.is_empty() {
            let joined = self.joined(batch, &answers);
            out.batch(0, &joined, &Selection::all(joined.n_rows));
        }
    }
}
