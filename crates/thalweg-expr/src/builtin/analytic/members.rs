//! `had_changed(ignoreNull, *)` and `changed_cols(prefix, ignoreNull, *)` of streams without schema: which members of
//! a row differ from what was last recorded of them. The row comes as one object.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Fields, RowError, Value};

use super::history::{Recorded, ignore_null};
use crate::analytic::Analytic;
use crate::expr::EvalCx;

/// What was last recorded of each member, by name.
#[derive(Debug, Default)]
struct Members(BTreeMap<Arc<str>, Recorded>);

impl Members {
    fn memory(&self) -> usize {
        let member = |(name, recorded): (&Arc<str>, &Recorded)| {
            size_of::<(Arc<str>, Recorded)>() + 16 + name.len() + recorded.0.memory()
        };
        self.0.iter().map(member).sum()
    }

    /// The members that have changed. A member that is gone has changed to null.
    fn changes(&mut self, row: &Value, ignore_null: bool) -> Fields {
        let none = Fields::new();
        let members = if let Value::Map(members) = row { &**members } else { &none };
        let mut changed = Fields::new();
        for (name, recorded) in &mut self.0 {
            if !members.contains_key(name) && recorded.changes(&Value::Null, ignore_null) {
                changed.insert(Arc::clone(name), Value::Null);
            }
        }
        for (name, value) in members {
            let recorded = match self.0.get_mut(name) {
                Some(recorded) => recorded,
                None => self.0.entry(Arc::clone(name)).or_default(),
            };
            if recorded.changes(value, ignore_null) {
                changed.insert(Arc::clone(name), value.clone());
            }
        }
        changed
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("members", 1);
        out.u64(self.0.len() as u64);
        for (name, recorded) in &self.0 {
            out.value(&Value::text(&**name));
            out.value(&recorded.0);
        }
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("members", 1)?;
        self.0.clear();
        for _ in 0..from.read_len()? {
            let Value::Str(name) = from.value()? else {
                return Err(StateError("the name of a member is no text".to_owned()));
            };
            self.0.insert(Arc::from(&*name), Recorded(from.value()?));
        }
        Ok(())
    }
}

/// `had_changed(ignoreNull, x…)` where one of them is the row.
#[derive(Debug, Default)]
pub(super) struct HadChangedMember(Vec<Members>);

impl Analytic for HadChangedMember {
    fn next(&mut self, args: &[Value], valid: bool, _cx: &mut EvalCx<'_>) -> Result<Value, RowError> {
        let ignore_null = ignore_null("had_changed", args)?;
        let values = args.get(1..).filter(|_| valid).unwrap_or_default();
        self.0.resize_with(self.0.len().max(values.len()), Members::default);
        let mut changed = false;
        for (members, value) in self.0.iter_mut().zip(values) {
            changed |= match value {
                Value::Map(_) => !members.changes(value, ignore_null).is_empty(),
                // Anything else counts as a member without name.
                other => {
                    let row = Value::map(Fields::from([(Arc::from(""), other.clone())]));
                    !members.changes(&row, ignore_null).is_empty()
                }
            };
        }
        Ok(Value::Bool(changed))
    }

    fn memory(&self) -> usize {
        self.0.capacity() * size_of::<Members>() + self.0.iter().map(Members::memory).sum::<usize>()
    }

    fn save(&self, out: &mut StateWriter) {
        out.u64(self.0.len() as u64);
        self.0.iter().for_each(|members| members.save(out));
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        self.0.clear();
        for _ in 0..from.read_len()? {
            let mut members = Members::default();
            members.load(from)?;
            self.0.push(members);
        }
        Ok(())
    }
}

/// `changed_cols(ignoreNull, prefix, row)`: the changed members as an object, each name behind the prefix.
#[derive(Debug, Default)]
pub(super) struct ChangedMembers(Members);

impl Analytic for ChangedMembers {
    fn next(&mut self, args: &[Value], valid: bool, _cx: &mut EvalCx<'_>) -> Result<Value, RowError> {
        let ignore_null = ignore_null("changed_cols", args)?;
        let (Some(Value::Str(prefix)), Some(row), true) = (args.get(1), args.get(2), valid) else {
            return Ok(Value::Null);
        };
        let changed = self.0.changes(row, ignore_null).into_iter();
        let named = changed.map(|(name, value)| (Arc::from(format!("{prefix}{name}")), value));
        Ok(Value::map(named.collect::<Fields>()))
    }

    fn memory(&self) -> usize {
        self.0.memory()
    }

    fn save(&self, out: &mut StateWriter) {
        self.0.save(out);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        self.0.load(from)
    }
}
