//! The columns that indexed conditions look at, and what they calculate from columns, as they look at it: numbers in one
//! order, or texts.

use thalweg_core::{Batch, Cell, Column, Selection, Slot, Tag, TagSet};
use thalweg_expr::EvalCx;

use super::conjunct::Subject;
use super::hash_index::{Numbers, Texts};
use super::threshold::Ramp;
use super::{conjunct, mask};

/// A column or value whose cells are compared with numbers.
pub(super) struct NumberLane {
    pub subject: Subject,
    /// Terms that look at it.
    pub users: usize,
    /// The batch's numbers; NaN where there is none.
    pub values: Vec<f64>,
    pub odd: Odd,
    /// Lower bounds.
    pub above: Ramp,
    /// Upper bounds, with values and bounds negated.
    pub below: Ramp,
    pub equal: Numbers,
}

/// A column whose cells are compared with texts.
pub(super) struct TextLane {
    pub slot: Slot,
    pub users: usize,
    pub odd: Odd,
    pub equal: Texts,
}

/// Rows whose cell is of another kind, so that a comparison may fail.
#[derive(Default)]
pub(super) struct Odd {
    rows: Vec<u64>,
    any: bool,
}

impl Odd {
    fn clear(&mut self, n_rows: usize) {
        self.any = false;
        self.rows.clear();
        self.rows.resize(mask::words_for(n_rows), 0);
    }

    fn set(&mut self, row: usize) {
        self.any = true;
        self.rows[row / 64] |= 1 << (row % 64);
    }

    /// These rows, if there are any.
    pub(super) fn rows(&self) -> Option<&[u64]> {
        self.any.then_some(&self.rows)
    }
}

impl NumberLane {
    /// The lane of a subject among others, where one that nobody uses any more makes room.
    pub(super) fn place(lanes: &mut Vec<Self>, subject: &Subject) -> usize {
        if let Some(at) = lanes.iter().position(|lane| lane.subject == *subject) {
            return at;
        }
        let new = Self::new(subject.clone());
        match lanes.iter().position(|lane| lane.users == 0) {
            Some(at) => {
                lanes[at] = new;
                at
            }
            None => {
                lanes.push(new);
                lanes.len() - 1
            }
        }
    }

    fn new(subject: Subject) -> Self {
        Self {
            subject,
            users: 0,
            values: Vec::new(),
            odd: Odd::default(),
            above: Ramp::default(),
            below: Ramp::default(),
            equal: Numbers::default(),
        }
    }

    /// Looks at the next batch.
    pub(super) fn read(&mut self, batch: &Batch, cx: &mut EvalCx<'_>) {
        let computed;
        let column = match &self.subject {
            Subject::Column(slot) => batch.column(*slot),
            Subject::Value(value) => {
                computed = value.expr.append(batch, &Selection::all(batch.n_rows), cx);
                &computed
            }
        };
        self.values.clear();
        self.odd.clear(batch.n_rows);
        match column.floats() {
            Some(floats) => self.values.extend_from_slice(&floats[..batch.n_rows]),
            None => self.read_mixed(column, batch.n_rows),
        }
        if column.seen().contains(Tag::Float) {
            self.set_nans_apart(column);
        }
    }

    fn read_mixed(&mut self, column: &Column, n_rows: usize) {
        for row in 0..n_rows {
            let number = match column.cell(row) {
                Cell::Float(value) => Some(value),
                Cell::Int(value) => conjunct::exact(value),
                Cell::Null | Cell::Missing => {
                    self.values.push(f64::NAN);
                    continue;
                }
                _ => None,
            };
            if number.is_none() {
                self.odd.set(row);
            }
            self.values.push(number.unwrap_or(f64::NAN));
        }
    }

    /// A number that is none compares unlike null (`!=`).
    fn set_nans_apart(&mut self, column: &Column) {
        for row in 0..self.values.len() {
            if self.values[row].is_nan() && column.tag(row) == Tag::Float {
                self.odd.set(row);
            }
        }
    }
}

impl TextLane {
    pub(super) fn new(slot: Slot) -> Self {
        Self { slot, users: 0, odd: Odd::default(), equal: Texts::default() }
    }

    /// Looks at the next batch.
    pub(super) fn read(&mut self, batch: &Batch) {
        const REGULAR: TagSet = TagSet::of(Tag::Str).with(Tag::Null).with(Tag::Missing);
        let column = batch.column(self.slot);
        self.odd.clear(batch.n_rows);
        if !column.seen().within(REGULAR) {
            let is_odd = |row: &usize| !matches!(column.tag(*row), Tag::Str | Tag::Null | Tag::Missing);
            (0..batch.n_rows).filter(is_odd).for_each(|row| self.odd.set(row));
        }
    }
}
