//! collect, last_value, merge_agg, deduplicate: aggregates that keep values themselves.

use std::collections::HashSet;
use std::sync::Arc;

use thalweg_core::cast::go_text;
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Cell, Column, Fields, Value};

use super::fold::Fold;
use crate::expr::EvalCx;

fn first(args: &[Cell<'_>]) -> Value {
    args.first().map_or(Value::Null, Cell::to_value)
}

/// `collect(x)`: all values in order of arrival, nulls too.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collect(Vec<Value>);

impl Fold for Collect {
    const NAME: &'static str = "collect";
    const IS_ORDERED: bool = true;
    const IS_SMALL: bool = false;

    fn add(&mut self, args: &[Cell<'_>], _cx: &EvalCx<'_>) {
        self.0.push(first(args));
    }

    fn merge(&mut self, later: &Self) {
        self.0.extend_from_slice(&later.0);
    }

    fn finish(&self, out: &mut Column, _cx: &EvalCx<'_>) {
        if self.0.is_empty() {
            out.push_null();
        } else {
            out.push_value(&Value::list(self.0.clone()));
        }
    }

    fn memory(&self) -> usize {
        self.0.capacity() * size_of::<Value>() + self.0.iter().map(Value::memory).sum::<usize>()
    }

    fn save(&self, out: &mut StateWriter) {
        save_values(&self.0, out);
    }

    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
        load_values(from).map(Self)
    }
}

fn save_values(values: &[Value], out: &mut StateWriter) {
    out.u64(values.len() as u64);
    values.iter().for_each(|value| out.value(value));
}

fn load_values(from: &mut StateReader<'_>) -> Result<Vec<Value>, StateError> {
    (0..from.read_len()?).map(|_| from.value()).collect()
}

/// `last_value(x, ignoreNull)`.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastValue {
    /// Whether there was a row at all.
    seen: bool,
    last: Value,
    last_present: Value,
    ignore_null: Option<bool>,
}

impl Fold for LastValue {
    const NAME: &'static str = "last_value";
    const IS_ORDERED: bool = true;

    fn add(&mut self, args: &[Cell<'_>], _cx: &EvalCx<'_>) {
        if let (None, Some(Cell::Bool(flag))) = (self.ignore_null, args.get(1)) {
            self.ignore_null = Some(*flag);
        }
        self.seen = true;
        self.last = first(args);
        if !self.last.is_null() {
            self.last_present = self.last.clone();
        }
    }

    fn merge(&mut self, later: &Self) {
        if !later.seen {
            return;
        }
        self.seen = true;
        self.ignore_null = self.ignore_null.or(later.ignore_null);
        self.last = later.last.clone();
        if !later.last_present.is_null() {
            self.last_present = later.last_present.clone();
        }
    }

    fn finish(&self, out: &mut Column, _cx: &EvalCx<'_>) {
        out.push_value(if self.ignore_null == Some(true) { &self.last_present } else { &self.last });
    }

    fn memory(&self) -> usize {
        self.last.memory() + self.last_present.memory()
    }

    fn save(&self, out: &mut StateWriter) {
        out.bool(self.seen);
        out.value(&self.last);
        out.value(&self.last_present);
        out.value(&self.ignore_null.map_or(Value::Null, Value::Bool));
    }

    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
        let (seen, last, last_present) = (from.bool()?, from.value()?, from.value()?);
        let ignore_null = match from.value()? {
            Value::Bool(flag) => Some(flag),
            _ => None,
        };
        Ok(Self { seen, last, last_present, ignore_null })
    }
}

/// `merge_agg(x)`: one object of all objects, later members win.
#[derive(Debug, Clone, Default)]
pub(crate) struct MergeAgg(Fields);

impl Fold for MergeAgg {
    const NAME: &'static str = "merge_agg";
    const IS_ORDERED: bool = true;
    const IS_SMALL: bool = false;

    fn add(&mut self, args: &[Cell<'_>], _cx: &EvalCx<'_>) {
        if let Value::Map(fields) = first(args) {
            self.0.extend(fields.iter().map(|(name, value)| (Arc::clone(name), value.clone())));
        }
    }

    fn accepts(args: &[Cell<'_>]) -> bool {
        matches!(first(args), Value::Map(_))
    }

    fn merge(&mut self, later: &Self) {
        self.0.extend(later.0.iter().map(|(name, value)| (Arc::clone(name), value.clone())));
    }

    fn finish(&self, out: &mut Column, _cx: &EvalCx<'_>) {
        if self.0.is_empty() {
            out.push_null();
        } else {
            out.push_value(&Value::map(self.0.clone()));
        }
    }

    fn memory(&self) -> usize {
        Value::memory_of(&self.0)
    }

    fn save(&self, out: &mut StateWriter) {
        out.value(&Value::map(self.0.clone()));
    }

    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
        match from.value()? {
            Value::Map(fields) => Ok(Self(Arc::unwrap_or_clone(fields))),
            _ => Err(StateError("merge_agg holds an object".to_owned())),
        }
    }
}

/// `deduplicate(key, all)` behind a hidden first argument, the whole row (F-6). Keys are compared as text (S18).
#[derive(Debug, Clone, Default)]
pub(crate) struct Deduplicate {
    keys: HashSet<String>,
    /// The first row of each key.
    rows: Vec<(String, Value)>,
    /// Whether the last row brought a new key.
    last_is_new: bool,
    all: Option<bool>,
}

impl Deduplicate {
    fn offer(&mut self, key: &str, row: &Value) {
        self.last_is_new = self.keys.insert(key.to_owned());
        if self.last_is_new {
            self.rows.push((key.to_owned(), row.clone()));
        }
    }
}

impl Fold for Deduplicate {
    const NAME: &'static str = "deduplicate";
    const IS_ORDERED: bool = true;
    const IS_SMALL: bool = false;

    fn add(&mut self, args: &[Cell<'_>], _cx: &EvalCx<'_>) {
        let [row, key, all] = args else { return };
        if let (None, Cell::Bool(all)) = (self.all, all) {
            self.all = Some(*all);
        }
        self.offer(&go_text(&key.to_value()), &row.to_value());
    }

    fn merge(&mut self, later: &Self) {
        if later.rows.is_empty() {
            return;
        }
        self.all = self.all.or(later.all);
        later.rows.iter().for_each(|(key, row)| self.offer(key, row));
        self.last_is_new &= later.last_is_new;
    }

    fn finish(&self, out: &mut Column, _cx: &EvalCx<'_>) {
        match (self.all, self.rows.last()) {
            (_, None) => out.push_null(),
            (Some(true), _) => {
                out.push_value(&Value::list(self.rows.iter().map(|(_, row)| row.clone()).collect()))
            }
            (_, Some((_, row))) if self.last_is_new => out.push_value(row),
            _ => out.push_null(),
        }
    }

    fn memory(&self) -> usize {
        let row = |(key, row): &(String, Value)| 2 * key.len() + row.memory();
        (self.keys.capacity() + 1) * size_of::<String>()
            + self.rows.capacity() * size_of::<(String, Value)>()
            + self.rows.iter().map(row).sum::<usize>()
    }

    fn save(&self, out: &mut StateWriter) {
        out.u64(self.rows.len() as u64);
        for (key, row) in &self.rows {
            out.text(key);
            out.value(row);
        }
        out.bool(self.last_is_new);
        out.value(&self.all.map_or(Value::Null, Value::Bool));
    }

    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
        let mut state = Self::default();
        for _ in 0..from.read_len()? {
            let key = from.text()?.to_owned();
            let row = from.value()?;
            state.offer(&key, &row);
        }
        state.last_is_new = from.bool()?;
        if let Value::Bool(all) = from.value()? {
            state.all = Some(all);
        }
        Ok(state)
    }
}
