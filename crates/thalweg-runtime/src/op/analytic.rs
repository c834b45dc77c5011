//! Analytic calls: state per call and partition, one value per row, before everything else.

use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Cell, Column, ColumnRef, Schema, Selection, Tag, Unit, Value};
use thalweg_expr::{Analytic as Function, EvalCx, FunctionKind, FunctionRef, eval_all};
use thalweg_plan::logical::AnalyticCall;

use crate::op::faults;
use crate::op::keys::{Keys, error_at};
use crate::op::reshape::Room;
use crate::operator::{Emit, OpCx, Operator};

/// Appends one column a call.
pub(crate) struct Analytic {
    calls: Vec<Call>,
    schema: Arc<Schema>,
    room: Room,
    /// Rows of the current batch that failed in an earlier call, and why.
    bad: Vec<(usize, String)>,
}

struct Call {
    plan: Arc<AnalyticCall>,
    /// typed partition keys; without PARTITION BY there is one, the empty key.
    keys: Keys,
    partitions: Vec<Box<dyn Function>>,
    args: Vec<Value>,
}

impl Analytic {
    pub(crate) fn new(calls: &[AnalyticCall], schema: &Arc<Schema>) -> Self {
        let call = |plan: &AnalyticCall| Call {
            plan: Arc::new(plan.clone()),
            keys: Keys::default(),
            partitions: Vec::new(),
            args: Vec::new(),
        };
        Self {
            calls: calls.iter().map(call).collect(),
            schema: Arc::clone(schema),
            room: Room::new(schema),
            bad: Vec::new(),
        }
    }
}

impl Analytic {
    /// Hands the result on: all rows, or the good ones and the faults of the others.
    fn hand_on(&mut self, good: Option<Selection>, rows: &Selection, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let wider = &*self.room.batch();
        let Some(mut good) = good else { return out.batch(0, wider, rows) };
        if wider.unit == Unit::Collection {
            return faults::fail_all(&self.bad[0].1, (faults::time_of(wider), rows), &self.schema, out, cx);
        }
        self.bad.sort_by_key(|(row, _)| *row);
        good.faults = faults::fail_rows(&self.bad, (wider, rows), cx);
        if !good.is_void() {
            out.batch(0, wider, &good);
        }
    }
}

impl Operator for Analytic {
    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        self.bad.clear();
        self.room.begin_wider(batch);
        // Those that no call failed for, once one has failed.
        let mut good: Option<Selection> = None;
        for call in &mut self.calls {
            let before = self.bad.len();
            let rows = good.as_ref().unwrap_or(rows);
            let bad = &mut self.bad;
            self.room.push_with(|wider, column| call.compute(wider, rows, column, bad, cx));
            if self.bad.len() > before {
                let bad = &self.bad[before..];
                let lives = |row: &usize| !bad.iter().any(|(failed, _)| failed == row);
                good = Some(Selection::rows(rows.iter().filter(lives).map(|row| row as u32).collect()));
            }
        }
        self.hand_on(good, rows, out, cx);
        self.room.clear();
    }

    fn memory(&self) -> usize {
        let call = |call: &Call| {
            let state = |state: &dyn Function| size_of_val(state) + state.memory();
            call.keys.memory()
                + call.partitions.capacity() * size_of::<Box<dyn Function>>()
                + call.partitions.iter().map(|own| state(&**own)).sum::<usize>()
                + call.args.capacity() * size_of::<Value>()
        };
        self.calls.capacity() * size_of::<Call>() + self.calls.iter().map(call).sum::<usize>()
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("analytic", 1);
        for call in &self.calls {
            call.keys.save(out);
            call.partitions.iter().for_each(|partition| partition.save(out));
        }
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("analytic", 1)?;
        for call in &mut self.calls {
            call.keys.load(from)?;
            call.partitions.clear();
            for _ in 0..call.keys.len() {
                let mut partition =
                    call.fresh().ok_or_else(|| StateError("no analytic function".to_owned()))?;
                partition.load(from)?;
                call.partitions.push(partition);
            }
        }
        Ok(())
    }
}

impl Call {
    fn fresh(&self) -> Option<Box<dyn Function>> {
        match &self.plan.function {
            FunctionRef::Builtin(function) => match function.kind {
                FunctionKind::Analytic(make) => Some(make()),
                _ => None,
            },
            FunctionRef::Remote(_) => None,
        }
    }

    fn compute(
        &mut self,
        batch: &Batch,
        rows: &Selection,
        out: &mut Column,
        bad: &mut Vec<(usize, String)>,
        cx: &OpCx<'_>,
    ) {
        out.clear(None);
        let plan = Arc::clone(&self.plan);
        let is_plain = plan.partition_by.is_empty() && plan.when.is_none();
        let mut eval = cx.eval(batch.window);
        eval_all(&plan.args, batch, rows, &mut eval, |args, eval| {
            if !is_plain || !self.all_at_once(args, rows, out) {
                self.one_by_one(args, (batch, rows), (out, bad), eval, cx);
            }
        });
        (out.len()..batch.n_rows).for_each(|_| out.push_missing());
    }

    /// The values of all rows, which are in one partition. False: the function takes them one by one.
    fn all_at_once(&mut self, args: &[ColumnRef<'_>], rows: &Selection, out: &mut Column) -> bool {
        if rows.is_empty() || args.iter().any(|arg| arg.column().seen().contains(Tag::Error)) {
            return false;
        }
        if self.partitions.is_empty() {
            self.keys.number(&[], 0);
            self.partitions.extend(self.fresh());
        }
        self.partitions.first_mut().is_some_and(|state| state.next_rows(args, rows, out))
    }

    fn one_by_one(
        &mut self,
        args: &[ColumnRef<'_>],
        (batch, rows): (&Batch, &Selection),
        (out, bad): (&mut Column, &mut Vec<(usize, String)>),
        eval: &mut EvalCx<'_>,
        cx: &OpCx<'_>,
    ) {
        let plan = Arc::clone(&self.plan);
        let keys: Vec<_> = plan.partition_by.iter().map(|key| key.eval(batch, rows, eval)).collect();
        let when = plan.when.as_ref().map(|when| when.eval(batch, rows, eval));
        for row in rows {
            (out.len()..row).for_each(|_| out.push_missing());
            if let Some(error) = error_at(args, row).or_else(|| error_at(&keys, row)) {
                bad.push((row, error.to_string()));
                out.push_missing();
                continue;
            }
            let valid = when.as_ref().is_none_or(|when| is_valid(&when.cell(row), cx));
            let is_known = keys.is_empty() && !self.partitions.is_empty();
            let partition = if is_known { 0 } else { self.keys.number(&keys, row) as usize };
            if partition == self.partitions.len() {
                self.partitions.extend(self.fresh());
            }
            self.args.clear();
            self.args.extend(args.iter().map(|arg| arg.cell(row).to_value()));
            match self.partitions.get_mut(partition).map(|state| state.next(&self.args, valid, eval)) {
                Some(Ok(value)) => out.push_value(&value),
                Some(Err(error)) => {
                    bad.push((row, error.to_string()));
                    out.push_missing();
                }
                None => out.push_missing(),
            }
        }
    }
}

/// A-5, S50: only true is valid; what is neither a boolean nor nothing is counted.
fn is_valid(when: &Cell<'_>, cx: &OpCx<'_>) -> bool {
    match when {
        Cell::Bool(valid) => *valid,
        Cell::Missing | Cell::Null => false,
        Cell::Error(error) => {
            cx.metrics.exception(&error.to_string(), cx.now);
            false
        }
        other => {
            cx.metrics
                .exception(&format!("WHEN is no boolean: {}", thalweg_core::cast::described(other)), cx.now);
            false
        }
    }
}
