//! median and the percentiles: aggregates that need all numbers of a group.

use thalweg_core::cast::{described, number};
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Cell, Column, RowError};

use super::fold::Fold;
use super::moments::{load_failure, save_failure};
use crate::expr::EvalCx;

/// The numbers of a group in order of arrival.
#[derive(Debug, Clone, Default)]
struct Numbers {
    values: Vec<f64>,
    /// Whether any of them was a float.
    floats: bool,
    failure: Option<Box<RowError>>,
}

impl Numbers {
    fn add(&mut self, cell: &Cell<'_>) {
        match number(cell) {
            Some(value) => {
                self.values.push(value);
                self.floats |= matches!(cell, Cell::Float(_));
            }
            None if cell.is_nothing() => {}
            None => self.fail(RowError::text(format!("requires float64 but found {}", described(cell)))),
        }
    }

    fn fail(&mut self, error: RowError) {
        self.failure.get_or_insert_with(|| Box::new(error));
    }

    fn merge(&mut self, later: &Self) {
        self.values.extend_from_slice(&later.values);
        self.floats |= later.floats;
        self.failure = self.failure.take().or_else(|| later.failure.clone());
    }

    fn memory(&self) -> usize {
        self.values.capacity() * size_of::<f64>()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut values = self.values.clone();
        values.sort_unstable_by(f64::total_cmp);
        values
    }

    fn save(&self, out: &mut StateWriter) {
        out.u64(self.values.len() as u64);
        self.values.iter().for_each(|value| out.f64(*value));
        out.bool(self.floats);
        save_failure(self.failure.as_deref(), out);
    }

    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
        let values = (0..from.read_len()?).map(|_| from.f64()).collect::<Result<_, _>>()?;
        Ok(Self { values, floats: from.bool()?, failure: load_failure(from)? })
    }
}

/// `median(x)`: nulls are skipped (S14); the mean of two middles is a float.
#[derive(Debug, Clone, Default)]
pub(crate) struct Median(Numbers);

impl Fold for Median {
    const NAME: &'static str = "median";
    const IS_SMALL: bool = false;

    fn add(&mut self, args: &[Cell<'_>], _cx: &EvalCx<'_>) {
        self.0.add(args.first().unwrap_or(&Cell::Missing));
    }

    fn merge(&mut self, later: &Self) {
        self.0.merge(&later.0);
    }

    fn finish(&self, out: &mut Column, _cx: &EvalCx<'_>) {
        if let Some(error) = &self.0.failure {
            return out.push_error(super::named(Self::NAME, error));
        }
        let sorted = self.0.sorted();
        let middle = sorted.len() / 2;
        match sorted.get(middle) {
            None => out.push_null(),
            Some(value) if sorted.len().is_multiple_of(2) => {
                out.push_float((sorted[middle - 1] + value) / 2.0)
            }
            Some(value) if self.0.floats => out.push_float(*value),
            Some(value) => out.push_int(*value as i64),
        }
    }

    fn memory(&self) -> usize {
        self.0.memory()
    }

    fn save(&self, out: &mut StateWriter) {
        self.0.save(out);
    }

    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
        Numbers::load(from).map(Self)
    }
}

/// `percentile_cont(x, p)` interpolates linearly, `percentile_disc(x, p)` takes the nearest rank (S15).
#[derive(Debug, Clone, Default)]
pub(crate) struct Percentile<const CONTINUOUS: bool> {
    numbers: Numbers,
    /// Of the first row that has one.
    p: Option<f64>,
}

impl<const CONTINUOUS: bool> Fold for Percentile<CONTINUOUS> {
    const NAME: &'static str = if CONTINUOUS { "percentile_cont" } else { "percentile_disc" };
    const IS_SMALL: bool = false;

    fn add(&mut self, args: &[Cell<'_>], _cx: &EvalCx<'_>) {
        let p = args.get(1).unwrap_or(&Cell::Missing);
        match number(p) {
            Some(p) => _ = self.p.get_or_insert(p),
            None if p.is_nothing() => {}
            None => self.numbers.fail(RowError::text(format!("requires float64 but found {}", described(p)))),
        }
        self.numbers.add(args.first().unwrap_or(&Cell::Missing));
    }

    fn merge(&mut self, later: &Self) {
        self.p = self.p.or(later.p);
        self.numbers.merge(&later.numbers);
    }

    fn finish(&self, out: &mut Column, _cx: &EvalCx<'_>) {
        if let Some(error) = &self.numbers.failure {
            return out.push_error(super::named(Self::NAME, error));
        }
        let sorted = self.numbers.sorted();
        let (Some(last), Some(p)) = (sorted.len().checked_sub(1), self.p) else { return out.push_null() };
        if !(0.0..=1.0).contains(&p) {
            let error = RowError::text(format!("percentile {p} is not between 0 and 1"));
            return out.push_error(super::named(Self::NAME, &error));
        }
        if CONTINUOUS {
            let place = p * last as f64;
            let below = sorted[place.floor() as usize];
            let above = sorted[(place.ceil() as usize).min(last)];
            out.push_float(below + (above - below) * place.fract());
        } else {
            let rank = (p * sorted.len() as f64).ceil() as usize;
            out.push_float(sorted[rank.saturating_sub(1).min(last)]);
        }
    }

    fn memory(&self) -> usize {
        self.numbers.memory()
    }

    fn save(&self, out: &mut StateWriter) {
        self.numbers.save(out);
        out.bool(self.p.is_some());
        out.f64(self.p.unwrap_or_default());
    }

    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
        let numbers = Numbers::load(from)?;
        let has_p = from.bool()?;
        let p = from.f64()?;
        Ok(Self { numbers, p: has_p.then_some(p) })
    }
}
