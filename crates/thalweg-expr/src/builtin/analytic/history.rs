//! lag, latest, changed_col, had_changed: what was there before.

use std::collections::VecDeque;

use thalweg_core::compare::values_equal;
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Cell, Column, ColumnRef, RowError, Selection, Value};

use crate::analytic::Analytic;
use crate::expr::EvalCx;

/// `lag(x [, n [, default [, ignoreNull]]])`: n values, the oldest first. n and default are those of the first row.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// `None` before the first row.
    ring: Option<VecDeque<Value>>,
}

impl Analytic for Lag {
    fn next(&mut self, args: &[Value], valid: bool, _cx: &mut EvalCx<'_>) -> Result<Value, RowError> {
        let value = args.first().cloned().unwrap_or_default();
        let ring = match &mut self.ring {
            Some(ring) => ring,
            None => self.ring.insert(filled(args.get(1), args.get(2))?),
        };
        let ignores_null = args.get(3) != Some(&Value::Bool(false));
        if !valid || value.is_null() && ignores_null {
            return Ok(ring.front().cloned().unwrap_or_default());
        }
        if ring.is_empty() {
            return Ok(Value::Null);
        }
        ring.push_back(value);
        Ok(ring.pop_front().unwrap_or_default())
    }

    /// Only the values that are still in the ring behind the last row are copied out of their column.
    fn next_rows(&mut self, args: &[ColumnRef<'_>], rows: &Selection, out: &mut Column) -> bool {
        let (Some(first), [x, more @ ..]) = (rows.iter().next(), args) else { return false };
        let given = |arg: usize| more.get(arg).map(|arg| arg.cell(first).to_value());
        let ring = match &self.ring {
            Some(ring) => ring.len(),
            None => {
                let Ok(ring) = filled(given(0).as_ref(), given(1).as_ref()) else { return false };
                self.ring.insert(ring).len()
            }
        };
        // A long ring is not moved for few rows.
        if ring > rows.len() {
            return false;
        }
        let mut ring: VecDeque<Before> = self.ring.take().into_iter().flatten().map(Before::Kept).collect();
        for row in rows {
            (out.len()..row).for_each(|_| out.push_missing());
            match ring.front() {
                None => out.push_null(),
                Some(Before::Kept(value)) => out.push_value(value),
                Some(Before::Row(row)) => push_as_value(x.cell(*row), out),
            }
            let ignores_null = more.get(2).is_none_or(|flag| flag.cell(row) != Cell::Bool(false));
            if !(ring.is_empty() || ignores_null && x.cell(row).is_nothing()) {
                ring.pop_front();
                ring.push_back(Before::Row(row));
            }
        }
        let kept = |before| match before {
            Before::Kept(value) => value,
            Before::Row(row) => x.cell(row).to_value(),
        };
        self.ring = Some(ring.into_iter().map(kept).collect());
        true
    }

    fn memory(&self) -> usize {
        let ring = |ring: &VecDeque<Value>| {
            ring.capacity() * size_of::<Value>() + ring.iter().map(Value::memory).sum::<usize>()
        };
        self.ring.as_ref().map_or(0, ring)
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("lag", 1);
        out.bool(self.ring.is_some());
        let ring = self.ring.iter().flatten();
        out.u64(ring.clone().count() as u64);
        ring.for_each(|value| out.value(value));
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("lag", 1)?;
        let started = from.bool()?;
        let ring = (0..from.read_len()?).map(|_| from.value()).collect::<Result<_, _>>()?;
        self.ring = started.then_some(ring);
        Ok(())
    }
}

/// A value of a row before.
enum Before {
    /// Of an earlier batch.
    Kept(Value),
    /// In this row of the batch at hand.
    Row(usize),
}

/// As the cell's value would be added: missing is null, and raw JSON is parsed.
fn push_as_value(cell: Cell<'_>, out: &mut Column) {
    match cell {
        Cell::Missing => out.push_null(),
        Cell::Json(_) => out.push_value(&cell.to_value()),
        cell => out.push_cell(cell),
    }
}

/// More rows back than this is a mistake, and would be a lot of memory.
const MAX_LAG: i64 = 1_000_000;

fn filled(n: Option<&Value>, default: Option<&Value>) -> Result<VecDeque<Value>, RowError> {
    let n = match n {
        None | Some(Value::Null) => 1,
        Some(Value::Int(n)) if (0..=MAX_LAG).contains(n) => *n as usize,
        Some(other) => {
            let text = thalweg_core::cast::go_text(other);
            return Err(RowError::text(format!("lag: n must be an integer from 0 to {MAX_LAG}, not {text}")));
        }
    };
    Ok(std::iter::repeat_n(default.cloned().unwrap_or_default(), n).collect())
}

/// `latest(x [, default])`.
#[derive(Debug, Default)]
pub(super) struct Latest(Value);

impl Analytic for Latest {
    fn next(&mut self, args: &[Value], valid: bool, _cx: &mut EvalCx<'_>) -> Result<Value, RowError> {
        if let Some(value) = args.first().filter(|value| valid && !value.is_null()) {
            self.0 = value.clone();
        }
        Ok(if self.0.is_null() { args.get(1).cloned().unwrap_or_default() } else { self.0.clone() })
    }

    fn memory(&self) -> usize {
        self.0.memory()
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("latest", 1);
        out.value(&self.0);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("latest", 1)?;
        self.0 = from.value()?;
        Ok(())
    }
}

/// The last recorded value of one argument; null: none or null. Numbers are equal by value (S52).
#[derive(Debug, Default)]
pub(super) struct Recorded(pub(super) Value);

impl Recorded {
    /// Whether the value differs from the recorded one, which it then replaces.
    pub(super) fn changes(&mut self, value: &Value, ignore_null: bool) -> bool {
        if value.is_null() && ignore_null || values_equal(&self.0, value) {
            return false;
        }
        self.0 = value.clone();
        true
    }
}

/// The flag that comes first.
pub(super) fn ignore_null(function: &str, args: &[Value]) -> Result<bool, RowError> {
    match args.first() {
        Some(Value::Bool(flag)) => Ok(*flag),
        _ => Err(RowError::text(format!("call func {function} error: first arg is not a bool type"))),
    }
}

/// `changed_col(ignoreNull, x)`.
#[derive(Debug, Default)]
pub(super) struct ChangedCol(Recorded);

impl Analytic for ChangedCol {
    fn next(&mut self, args: &[Value], valid: bool, _cx: &mut EvalCx<'_>) -> Result<Value, RowError> {
        let ignore_null = ignore_null("changed_col", args)?;
        let value = args.get(1).cloned().unwrap_or_default();
        Ok(if valid && self.0.changes(&value, ignore_null) { value } else { Value::Null })
    }

    fn memory(&self) -> usize {
        self.0.0.memory()
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("changed_col", 1);
        out.value(&self.0.0);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("changed_col", 1)?;
        self.0 = Recorded(from.value()?);
        Ok(())
    }
}

/// `had_changed(ignoreNull, x…)`: every argument is recorded for itself.
#[derive(Debug, Default)]
pub(super) struct HadChanged(Vec<Recorded>);

impl Analytic for HadChanged {
    fn next(&mut self, args: &[Value], valid: bool, _cx: &mut EvalCx<'_>) -> Result<Value, RowError> {
        let ignore_null = ignore_null("had_changed", args)?;
        let values = args.get(1..).unwrap_or_default();
        if self.0.len() < values.len() {
            self.0.resize_with(values.len(), Recorded::default);
        }
        let mut changed = false;
        if valid {
            for (recorded, value) in self.0.iter_mut().zip(values) {
                changed |= recorded.changes(value, ignore_null);
            }
        }
        Ok(Value::Bool(changed))
    }

    fn memory(&self) -> usize {
        self.0.capacity() * size_of::<Recorded>()
            + self.0.iter().map(|recorded| recorded.0.memory()).sum::<usize>()
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("had_changed", 1);
        out.u64(self.0.len() as u64);
        self.0.iter().for_each(|recorded| out.value(&recorded.0));
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("had_changed", 1)?;
        self.0 = (0..from.read_len()?).map(|_| from.value().map(Recorded)).collect::<Result<_, _>>()?;
        Ok(())
    }
}
