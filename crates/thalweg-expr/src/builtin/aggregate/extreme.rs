//! max and min: over numbers by value, over text by bytes. The kinds may not mix, numbers may (O-16).

use std::cmp::Ordering;

use thalweg_core::cast::described;
use thalweg_core::compare::for_sorting;
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Cell, Column, RowError, Value};

use super::fold::Fold;
use crate::expr::EvalCx;

/// The best value so far: small while all values are numbers of one kind, as there may be very many groups.
#[derive(Debug, Clone, Default)]
pub(crate) enum Extreme<const MAX: bool> {
    #[default]
    Nothing,
    /// The first value, and the best; neither is NaN.
    Float(f64, f64),
    /// The same of integers.
    Int(i64, i64),
    /// Anything else.
    Other(Box<Best<MAX>>),
}

/// The same of values of any kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Best<const MAX: bool> {
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

impl<const MAX: bool> Best<MAX> {
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
pub(super) fn of<const MAX: bool>(items: &[Value]) -> Result<Value, RowError> {
    let mut best = Best::<MAX>::default();
    items.iter().for_each(|item| best.offer(Cell::of(item)));
    let mut out = Column::new();
    best.finish(&mut out);
    match out.cell(0) {
        Cell::Error(error) => Err(error.clone()),
        cell => Ok(cell.to_value()),
    }
}

fn is_nan(cell: &Cell<'_>) -> bool {
    matches!(cell, Cell::Float(value) if value.is_nan())
}

impl<const MAX: bool> Best<MAX> {
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

    fn finish(&self, out: &mut Column) {
        match (&self.failure, &self.best) {
            (Some(clash), _) => out.push_error(super::named(if MAX { "max" } else { "min" }, &clash.error())),
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

impl<const MAX: bool> Extreme<MAX> {
    /// The same at length.
    fn to_best(&self) -> Best<MAX> {
        let of = |first, best, floats| Best { first, best, floats, ..Best::default() };
        match self {
            Self::Nothing => Best::default(),
            Self::Float(first, best) => of(Value::Float(*first), Value::Float(*best), true),
            Self::Int(first, best) => of(Value::Int(*first), Value::Int(*best), false),
            Self::Other(best) => Best::clone(best),
        }
    }

    fn at_length(&mut self, change: impl FnOnce(&mut Best<MAX>)) {
        let mut best = match std::mem::take(self) {
            Self::Other(best) => best,
            small => Box::new(small.to_best()),
        };
        change(&mut best);
        *self = Self::Other(best);
    }
}

impl<const MAX: bool> Fold for Extreme<MAX> {
    const NAME: &'static str = if MAX { "max" } else { "min" };

    fn add(&mut self, args: &[Cell<'_>], cx: &EvalCx<'_>) {
        match args.first().copied().unwrap_or(Cell::Missing) {
            Cell::Missing | Cell::Null => {}
            Cell::Float(value) => self.add_float(value, cx),
            Cell::Int(value) => self.add_int(value, cx),
            cell => self.at_length(|best| best.offer(cell)),
        }
    }

    #[inline]
    fn add_float(&mut self, value: f64, _cx: &EvalCx<'_>) {
        match self {
            Self::Float(_, best) => {
                let better = if MAX { value > *best } else { value < *best };
                *best = if better { value } else { *best };
            }
            Self::Nothing if !value.is_nan() => *self = Self::Float(value, value),
            _ => self.at_length(|best| best.offer(Cell::Float(value))),
        }
    }

    #[inline]
    fn add_int(&mut self, value: i64, _cx: &EvalCx<'_>) {
        match self {
            Self::Int(_, best) => *best = if MAX { value.max(*best) } else { value.min(*best) },
            Self::Nothing => *self = Self::Int(value, value),
            _ => self.at_length(|best| best.offer(Cell::Int(value))),
        }
    }

    fn merge(&mut self, later: &Self) {
        match (&mut *self, later) {
            (_, Self::Nothing) => {}
            (Self::Nothing, later) => *self = later.clone(),
            (Self::Float(_, best), Self::Float(_, value)) => {
                let better = if MAX { value > best } else { value < best };
                *best = if better { *value } else { *best };
            }
            (Self::Int(_, best), Self::Int(_, value)) => {
                *best = if MAX { *value.max(best) } else { *value.min(best) }
            }
            _ => self.at_length(|best| best.merge(&later.to_best())),
        }
    }

    fn finish(&self, out: &mut Column, _cx: &EvalCx<'_>) {
        match self {
            Self::Nothing => out.push_null(),
            Self::Float(_, best) => out.push_float(*best),
            Self::Int(_, best) => out.push_int(*best),
            Self::Other(best) => best.finish(out),
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Other(best) => size_of::<Best<MAX>>() + best.first.memory() + best.best.memory(),
            _ => 0,
        }
    }

    fn save(&self, out: &mut StateWriter) {
        self.to_best().save(out);
    }

    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
        let best = Best::load(from)?;
        Ok(match best {
            Best {
                best: Value::Float(best),
                first: Value::Float(first),
                nan_first: false,
                failure: None,
                ..
            } => Self::Float(first, best),
            Best { first: Value::Null, failure: None, floats: false, .. } => Self::Nothing,
            other => Self::Other(Box::new(other)),
        })
    }
}
