//! max and min: over numbers by value, over text by bytes. The kinds may not mix, numbers may (O-16).

use std::cmp::Ordering;

use thalweg_core::cast::described;
use thalweg_core::compare::for_sorting;
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Cell, Column, RowError, Value};

use super::fold::Fold;
use crate::expr::EvalCx;

/// The best value so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extreme<const MAX: bool> {
    /// The first value; null: none. Its kind is that of all.
    first: Value,
    /// The best value that is not NaN; null: none.
    best: Value,
    /// A NaN that came first stays, a later one is ignored (functions.md 3).
    nan_first: bool,
    /// Whether a float was among the numbers: the result is a float then.
    floats: bool,
    failure: Option<Box<Clash>>,
}

/// The first value that does not go with the others, and what was best before it: the text names what was expected.
#[derive(Debug, Clone)]
struct Clash {
    found: String,
    best: Value,
    after_nan: bool,
}

impl Clash {
    fn error(&self) -> RowError {
        let wanted = match self.best {
            _ if self.after_nan => "float64",
            Value::Null => "int64/float64/string",
            Value::Str(_) => "string",
            Value::Int(_) => "int64",
            _ => "float64",
        };
        RowError::text(format!("requires {wanted} but found {}", self.found))
    }

    fn save(&self, out: &mut StateWriter) {
        out.text(&self.found);
        out.value(&self.best);
        out.bool(self.after_nan);
    }

    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
        Ok(Self { found: from.text()?.to_owned(), best: from.value()?, after_nan: from.bool()? })
    }
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
        if self.first.is_null() {
            self.first = cell.to_value();
            self.nan_first = is_nan(&cell);
        } else if for_sorting(&cell, &Cell::of(&self.first), false).is_err() {
            return self.fail(&cell);
        }
        if !is_nan(&cell) && Self::is_better(&cell, &self.best) {
            self.best = cell.to_value();
        }
    }

    fn is_better(cell: &Cell<'_>, best: &Value) -> bool {
        best.is_null() || for_sorting(cell, &Cell::of(best), false) == Ok(Self::WANTED)
    }

    fn fail(&mut self, cell: &Cell<'_>) {
        if self.failure.is_none() {
            let (found, best) = (described(cell), self.best.clone());
            self.failure = Some(Box::new(Clash { found, best, after_nan: self.nan_first }));
        }
    }

    /// What a later failure is, coming after what is here.
    fn fail_later(&mut self, later: &Self) {
        let begins_with_failure =
            later.failure.as_ref().filter(|clash| clash.best.is_null() && !clash.after_nan);
        let first = Cell::of(&later.first);
        let both = !self.first.is_null() && !later.first.is_null();
        if let Some(clash) = begins_with_failure {
            let (best, after_nan) = (self.best.clone(), self.nan_first);
            self.failure = Some(Box::new(Clash { found: clash.found.clone(), best, after_nan }));
        } else if both && for_sorting(&first, &Cell::of(&self.first), false).is_err() {
            self.fail(&first);
        } else if let Some(clash) = &later.failure {
            let mut clash = clash.clone();
            if !self.first.is_null() {
                clash.after_nan = self.nan_first;
                let is_behind = || !Self::is_better(&Cell::of(&clash.best), &self.best);
                if clash.best.is_null() || !self.best.is_null() && is_behind() {
                    clash.best = self.best.clone();
                }
            }
            self.failure = Some(clash);
        }
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
        if self.failure.is_none() {
            self.fail_later(later);
        }
        if self.first.is_null() {
            self.first = later.first.clone();
            self.nan_first = later.nan_first;
        }
        if !later.best.is_null() && Self::is_better(&Cell::of(&later.best), &self.best) {
            self.best = later.best.clone();
        }
        self.floats |= later.floats;
    }

    fn finish(&self, out: &mut Column, _cx: &EvalCx<'_>) {
        match (&self.failure, &self.best) {
            (Some(clash), _) => out.push_error(super::named(Self::NAME, &clash.error())),
            (None, _) if self.nan_first => out.push_float(f64::NAN),
            (None, Value::Int(best)) if self.floats => out.push_float(*best as f64),
            (None, best) => out.push_value(best),
        }
    }

    fn save(&self, out: &mut StateWriter) {
        out.value(&self.first);
        out.value(&self.best);
        out.bool(self.nan_first);
        out.bool(self.floats);
        out.bool(self.failure.is_some());
        if let Some(clash) = &self.failure {
            clash.save(out);
        }
    }

    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
        let (first, best) = (from.value()?, from.value()?);
        let (nan_first, floats) = (from.bool()?, from.bool()?);
        let failure = if from.bool()? { Some(Box::new(Clash::load(from)?)) } else { None };
        Ok(Self { first, best, nan_first, floats, failure })
    }
}
