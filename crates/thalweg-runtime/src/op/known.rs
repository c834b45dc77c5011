//! What a lookup join knows of its table: the keys it has asked for, and the answers as columns.
//!
//! Every batch asks anew (J-15 leaves caching to the table's own cache), but rows that are still the same ones are in
//! the columns already.

use std::sync::Arc;

use thalweg_core::{Column, ColumnRef, Fields, IoError, Projection, Selection, Value, Want};

use crate::op::keys::Keys;
use crate::op::lookup_join::{Ask, LookupRows};

/// So many keys or rows are kept at most from one batch to the next; then all are forgotten.
const MOST: usize = 4_096;

/// The row of the answer columns whose cells are missing.
pub(crate) const NOTHING: u32 = 0;

/// Keys by number, and what the table has for each.
#[derive(Default)]
pub(crate) struct Known {
    keys: Keys,
    questions: Vec<Vec<Value>>,
    pub(crate) answers: Vec<Answer>,
    /// One for each column that is wanted of the table; their first row is [`NOTHING`].
    pub(crate) columns: Vec<Column>,
    n_rows: u32,
    /// The number of the batch at hand.
    pub(crate) turn: u64,
    /// The keys that it asks for.
    pub(crate) asked: Vec<u32>,
    /// The key of each of its rows, and the rows that brought a key which was not known.
    pub(crate) numbers: Vec<u32>,
    fresh: Vec<u32>,
}

/// Rows of the answer columns.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    rows: Vec<Arc<Fields>>,
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// Why the table could not be asked.
    pub(crate) error: Option<String>,
    /// The batches that last asked for it, and last were told.
    asked: u64,
    told: u64,
}

impl Answer {
    /// Whether the table has said in this turn that there is one row at most.
    pub(crate) fn is_single(&self, turn: u64) -> bool {
        self.told == turn && self.count <= 1 && self.error.is_none()
    }
}

impl Known {
    /// The bytes that it has on the heap.
    pub(crate) fn memory(&self) -> usize {
        let question = |values: &Vec<Value>| {
            values.capacity() * size_of::<Value>() + values.iter().map(Value::memory).sum::<usize>()
        };
        let rows = self.answers.iter().flat_map(|answer| &answer.rows);
        self.keys.memory()
            + self.questions.capacity() * size_of::<Vec<Value>>()
            + self.questions.iter().map(question).sum::<usize>()
            + self.answers.capacity() * size_of::<Answer>()
            + rows.map(|row| size_of::<Arc<Fields>>() + Value::memory_of(row)).sum::<usize>()
            + self.columns.iter().map(|column| size_of::<Column>() + column.memory()).sum::<usize>()
            + (self.asked.capacity() + self.numbers.capacity() + self.fresh.capacity()) * 4
    }

    /// Begins a batch; `n_columns` are wanted of the table.
    pub(crate) fn begin(&mut self, n_columns: usize) {
        if self.columns.is_empty() || self.questions.len() > MOST || self.n_rows as usize > MOST {
            // Dictionaries keep what was forgotten; a new one does not.
            self.keys = Keys::default();
            self.questions.clear();
            self.answers.clear();
            self.columns.clear();
            self.columns.resize_with(n_columns, || Column::missing(1));
            self.n_rows = 1;
        }
        self.turn += 1;
        self.asked.clear();
    }

    /// The number of a row's key, which will be asked for.
    pub(crate) fn number(&mut self, keys: &[ColumnRef<'_>], row: usize) -> u32 {
        let number = self.keys.number(keys, row);
        if number as usize == self.questions.len() {
            self.add(keys, row);
        }
        self.want(number);
        number
    }

    /// The same for all rows, into `numbers`.
    pub(crate) fn number_all(&mut self, keys: &[ColumnRef<'_>], rows: &Selection) {
        self.numbers.clear();
        self.fresh.clear();
        self.keys.number_all(keys, rows, &mut self.numbers, &mut self.fresh);
        for at in 0..self.fresh.len() {
            self.add(keys, self.fresh[at] as usize);
        }
        for at in 0..self.numbers.len() {
            self.want(self.numbers[at]);
        }
    }

    fn add(&mut self, keys: &[ColumnRef<'_>], row: usize) {
        self.questions.push(keys.iter().map(|key| key.cell(row).to_value()).collect());
        self.answers.push(Answer::default());
    }

    #[inline]
    fn want(&mut self, number: u32) {
        let answer = &mut self.answers[number as usize];
        if answer.asked != self.turn {
            answer.asked = self.turn;
            self.asked.push(number);
        }
    }

    /// Asks for what is wanted and has not been told.
    pub(crate) fn ask(
        &mut self,
        table: &mut dyn LookupRows,
        (fields, keys): (&[Arc<str>], &[Arc<str>]),
        wanted: &Projection,
    ) {
        let Self { questions, answers, columns, n_rows, turn, asked, .. } = self;
        if asked.iter().all(|number| answers[*number as usize].told == *turn) {
            return;
        }
        let ask = Ask { fields, keys, questions, numbers: asked };
        table.tell(&ask, &mut |number, said| {
            let Some(answer) = answers.get_mut(number as usize) else { return };
            answer.told = *turn;
            let said = answer.take(said);
            if !said.is_empty() {
                answer.first = *n_rows;
                *n_rows += answer.count;
            }
            for (wanted, column) in wanted.slots.iter().zip(&mut *columns) {
                said.iter().for_each(|row| push_wanted(&wanted.want, row, column));
            }
        });
    }

    /// What the table has said of a key in this batch.
    pub(crate) fn answer(&self, key: u32) -> Option<&Answer> {
        self.answers.get(key as usize).filter(|answer| answer.told == self.turn)
    }
}

impl Answer {
    /// Takes what was said; the rows that are not in the columns yet.
    fn take<'r>(&mut self, said: Result<&'r [Arc<Fields>], &IoError>) -> &'r [Arc<Fields>] {
        let rows = match said {
            Ok(rows) => {
                self.error = None;
                rows
            }
            Err(error) => {
                self.error = Some(error.to_string());
                &[]
            }
        };
        let is_same = rows.len() == self.rows.len()
            && rows.iter().zip(&self.rows).all(|(one, other)| Arc::ptr_eq(one, other));
        if is_same {
            return &[];
        }
        self.rows.clear();
        self.rows.extend_from_slice(rows);
        self.count = rows.len() as u32;
        rows
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
