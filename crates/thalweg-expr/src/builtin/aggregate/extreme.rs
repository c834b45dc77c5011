//! max and min: over numbers by value, over text by bytes. The kinds may not mix, numbers may (O-16).

use std::cmp::Ordering;

use thalweg_core::cast::described;
use thalweg_core::compare::for_sorting;
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Cell, Column, RowError, Value};

use super::fold::Fold;
use super::moments::{load_failure, save_failure};
use crate::expr::EvalCx;

/// The best value so far; null: none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extreme<const MAX: bool> {
    best: Value,
    /// Whether a float was among the numbers: the result is a float then.
    floats: bool,
    failure: Option<Box<RowError>>,
}

impl<const MAX: bool> Extreme<MAX> {
    const WANTED: Ordering = if MAX { Ordering::Greater } else { Ordering::Less };

    fn offer(&mut self, cell: Cell<'_>) {
        match cell {
            Cell::Missing | Cell::Null => return,
            Cell::Float(_) => self.floats = true,
            Cell::Int(_) | Cell::Str(_) | Cell::Time(_) => {}
            other => return self.fail(&other),
        }
        if self.best.is_null() {
            self.best = cell.to_value();
            return;
        }
        if let (Value::Float(best), Cell::Float(value)) = (&self.best, cell) {
            // A NaN that came first stays, a later one is ignored (functions.md 3).
            if value.partial_cmp(best) == Some(Self::WANTED) {
                self.best = Value::Float(value);
            }
            return;
        }
        match for_sorting(&cell, &Cell::of(&self.best), false) {
            Ok(ordering) if ordering == Self::WANTED && !is_nan(&cell) && !is_nan(&Cell::of(&self.best)) => {
                self.best = cell.to_value();
            }
            Ok(_) => {}
            Err(_) => self.fail(&cell),
        }
    }

    fn fail(&mut self, cell: &Cell<'_>) {
        let wanted = match self.best {
            Value::Null => "int64/float64/string",
            Value::Str(_) => "string",
            Value::Int(_) => "int64",
            _ => "float64",
        };
        let text = format!("requires {wanted} but found {}", described(cell));
        self.failure.get_or_insert_with(|| Box::new(RowError::text(text)));
    }
}

/// The best of some values.
pub(super) fn of<const MAX: bool>(items: &[Value], cx: &EvalCx<'_>) -> Result<Value, RowError> {
    let mut best = Extreme::<MAX>::default();
    items.iter().for_each(|item| best.offer(Cell::of(item)));
    let mut out = Column::new();
    best.finish(&mut out, cx);
    match out.cell(0) {
        Cell::Error(error) => Err(error.clone()),
        cell => Ok(cell.to_value()),
    }
}

fn is_nan(cell: &Cell<'_>) -> bool {
    matches!(cell, Cell::Float(value) if value.is_nan())
}

impl<const MAX: bool> Fold for Extreme<MAX> {
    const NAME: &'static str = if MAX { "max" } else { "min" };

    fn add(&mut self, args: &[Cell<'_>], _cx: &EvalCx<'_>) {
        self.offer(args.first().copied().unwrap_or(Cell::Missing));
    }

    #[inline]
    fn add_float(&mut self, value: f64, _cx: &EvalCx<'_>) {
        match &mut self.best {
            Value::Float(best) => {
                let better = if MAX { value > *best } else { value < *best };
                *best = if better { value } else { *best };
            }
            _ => self.offer(Cell::Float(value)),
        }
    }

    #[inline]
    fn add_int(&mut self, value: i64, _cx: &EvalCx<'_>) {
        match &mut self.best {
            Value::Int(best) => *best = if MAX { value.max(*best) } else { value.min(*best) },
            _ => self.offer(Cell::Int(value)),
        }
    }

    fn merge(&mut self, later: &Self) {
        self.failure = self.failure.take().or_else(|| later.failure.clone());
        self.offer(Cell::of(&later.best));
        self.floats |= later.floats;
    }

    fn finish(&self, out: &mut Column, _cx: &EvalCx<'_>) {
        match (&self.failure, &self.best) {
            (Some(error), _) => out.push_error(super::named(Self::NAME, error)),
            (None, Value::Int(best)) if self.floats => out.push_float(*best as f64),
            (None, best) => out.push_value(best),
        }
    }

    fn save(&self, out: &mut StateWriter) {
        out.value(&self.best);
        out.bool(self.floats);
        save_failure(self.failure.as_deref(), out);
    }

    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
        Ok(Self { best: from.value()?, floats: from.bool()?, failure: load_failure(from)? })
    }
}
