//! Lookup joins: rows of a table elsewhere, found by key (J-12 to J-16).
//!
//! A batch asks once for each distinct key among its rows. The answers become columns, which the matches of all rows
//! are gathered from; keys and columns stay, so that an answer which is still the same rows is not taken apart again. The question blocks, so rules with a lookup join run where blocking is allowed. Extra conditions
//! of ON decide what matches, so a LEFT join keeps its rows (J-14).

use std::sync::Arc;

use thalweg_core::{
    Batch, Column, ColumnRef, Fields, IoError, Schema, Selection, Tag, TagSet, Timestamp, Unit, Value, Want,
};
use thalweg_expr::{Expr, eval_all};
use thalweg_plan::logical::Lookup;
use thalweg_plan::{JoinKind, Node};

use crate::op::condition::{Nulls, Picked};
use crate::op::keys::error_at;
use crate::op::known::{Known, NOTHING};
use crate::op::reshape::Room;
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

    /// Tells `take` the answer to each question that is asked, with its number. Whoever has the rows lends them.
    fn tell(&mut self, ask: &Ask<'_>, take: &mut Take<'_>) {
        let question = |number: &u32| ask.questions[*number as usize].clone();
        let questions: Vec<Vec<Value>> = ask.numbers.iter().map(question).collect();
        let answers = self.answers(ask.fields, ask.keys, &questions);
        for (number, answer) in ask.numbers.iter().zip(&answers) {
            take(*number, answer.as_deref());
        }
    }
}

/// Takes the number of a question and its answer.
pub type Take<'t> = dyn FnMut(u32, Result<&[Arc<Fields>], &IoError>) + 't;

/// What a lookup table is asked at a time.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// As in [`LookupRows::rows`].
    pub fields: &'a [Arc<str>],
    /// The names of the key columns.
    pub keys: &'a [Arc<str>],
    /// The values of keys, of which only some are asked for.
    pub questions: &'a [Vec<Value>],
    /// Which of them.
    pub numbers: &'a [u32],
}

/// Asks for each batch.
pub(crate) struct LookupJoin {
    plan: Lookup,
    table: Box<dyn LookupRows>,
    /// Of the table's columns wanted; empty: all.
    fields: Vec<Arc<str>>,
    names: Vec<Arc<str>>,
    /// What must equal the columns of these names.
    keys: Vec<Expr>,
    schema: Arc<Schema>,
    known: Known,
    matches: Matches,
    /// The message of one event, with room that is used again.
    message: Batch,
    /// Single rows.
    room: Room,
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

/// Whether no key fails or is nothing.
fn are_all_there(keys: &[ColumnRef<'_>]) -> bool {
    const NOT: TagSet = TagSet::of(Tag::Error).with(Tag::Missing).with(Tag::Null);
    keys.iter().all(|key| key.column().seen().without_all(NOT) == key.column().seen())
}

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
            room: Room::new(&schema),
            schema,
            keys: plan.keys.iter().map(|(_, key)| key.clone()).collect(),
            known: Known::default(),
            matches: Matches::default(),
        }
    }

    /// Numbers the keys of the rows, so that each is asked for once. No lookup and no match where one is null (J-12).
    fn number(&mut self, keys: &[ColumnRef<'_>], rows: &Selection) {
        self.matches.events.clear();
        for row in rows {
            let failed = error_at(keys, row).map(|error| format!("run Join error: {error}"));
            let mut event = Event { row: row as u32, end: 0, key: None, failed };
            let is_nothing = keys.iter().any(|key| key.cell(row).is_nothing());
            if event.failed.is_none() && !is_nothing {
                event.key = Some(self.known.number(keys, row));
            }
            self.matches.events.push(event);
        }
    }

    fn ask(&mut self) {
        let Self { table, fields, names, known, plan, .. } = self;
        known.ask(&mut **table, (fields, names), &plan.projection);
    }

    /// Rows that find one row each, or none, as single rows: nothing above tells those from collections of one. False:
    /// what the table says is not of this kind, but it has been asked.
    fn at_once(
        &mut self,
        keys: &[ColumnRef<'_>],
        (batch, rows): (&Batch, &Selection),
        out: &mut dyn Emit,
    ) -> bool {
        self.known.number_all(keys, rows);
        self.ask();
        let Self { known, matches: Matches { inputs, rows: found, .. }, room, plan, .. } = self;
        let answers = &known.answers;
        if known.asked.iter().any(|key| !answers[*key as usize].is_single(known.turn)) {
            return false;
        }
        inputs.clear();
        found.clear();
        for (row, key) in rows.iter().zip(&known.numbers) {
            let answer = &answers[*key as usize];
            if answer.count > 0 || plan.kind == JoinKind::Left {
                inputs.push(row as u32);
                found.push(if answer.count > 0 { answer.first } else { NOTHING });
            }
        }
        if inputs.is_empty() {
            return true;
        }
        room.begin(batch);
        for column in &batch.columns {
            if inputs.len() == batch.n_rows {
                room.push(Arc::clone(column));
            } else {
                room.push_with(|_, own| column.gather_into(inputs, own));
            }
        }
        for column in &known.columns {
            room.push_with(|_, own| column.gather_into(found, own));
        }
        let joined = room.batch();
        if inputs.len() != batch.n_rows {
            joined.n_rows = inputs.len();
            joined.times.clear();
            joined.times.extend(inputs.iter().map(|row| batch.times[*row as usize]));
        }
        out.batch(0, joined, &Selection::all(joined.n_rows));
        room.clear();
        true
    }

    /// Puts the rows and their answers side by side.
    fn pair(&mut self) {
        let Matches { inputs, rows, events } = &mut self.matches;
        inputs.clear();
        rows.clear();
        for event in events {
            if let Some(answer) = event.key.and_then(|key| self.known.answer(key)) {
                rows.extend(answer.first..answer.first + answer.count);
                inputs.resize(rows.len(), event.row);
            }
            event.end = rows.len();
        }
    }

    /// Keeps the matches that the rest of ON accepts; one that fails is the failure of its event.
    fn judge(&mut self, batch: &Batch, cx: &OpCx<'_>) {
        let Some(on) = self.plan.on.as_ref().filter(|_| !self.matches.inputs.is_empty()) else { return };
        let joined = self.joined(batch);
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
    fn joined(&self, batch: &Batch) -> Batch {
        let Matches { inputs, rows, .. } = &self.matches;
        let left = batch.columns.iter().map(|column| Arc::new(reshape::gather(column, inputs)));
        let right = self.known.columns.iter().map(|column| Arc::new(reshape::gather(column, rows)));
        let times: Vec<Timestamp> = inputs.iter().map(|row| batch.times[*row as usize]).collect();
        reshape::collection(&self.schema, left.chain(right).collect(), times, batch.window)
    }

    /// The matches of one event as a message of their own.
    fn emit_event(&mut self, batch: &Batch, from: usize, to: usize, out: &mut dyn Emit) {
        if from == to {
            return;
        }
        let (inputs, rows) = (&self.matches.inputs[from..to], &self.matches.rows[from..to]);
        let (message, answers) = (&mut self.message, &self.known.columns);
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

impl Operator for LookupJoin {
    fn memory(&self) -> usize {
        let Matches { inputs, rows, events } = &self.matches;
        self.known.memory()
            + self.message.memory()
            + self.room.memory()
            + (inputs.capacity() + rows.capacity()) * 4
            + events.capacity() * size_of::<Event>()
    }

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
        self.known.begin(self.plan.projection.slots.len());
        let exprs = std::mem::take(&mut self.keys);
        let is_done = eval_all(&exprs, batch, rows, &mut eval, |keys, _| {
            let is_plain = self.plan.gives_rows && self.plan.on.is_none() && batch.unit == Unit::Rows;
            if is_plain && are_all_there(keys) && self.at_once(keys, (batch, rows), out) {
                return true;
            }
            self.number(keys, rows);
            false
        });
        self.keys = exprs;
        if is_done {
            return;
        }
        self.ask();
        self.pair();
        self.judge(batch, cx);
        self.keep_unmatched();
        let nothing = Selection::all(0);
        let mut at = 0;
        for index in 0..self.matches.events.len() {
            let event = &self.matches.events[index];
            let (from, to) = (std::mem::replace(&mut at, event.end), event.end);
            let answer = event.key.and_then(|key| self.known.answer(key));
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
                self.emit_event(batch, from, to, out);
            }
        }
        if batch.unit == Unit::Collection && !self.matches.inputs.is_empty() {
            let joined = self.joined(batch);
            out.batch(0, &joined, &Selection::all(joined.n_rows));
        }
    }
}
