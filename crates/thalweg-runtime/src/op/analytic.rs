//! Analytic calls: state per call and partition, one value per row, before everything else.

use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Cell, Column, Schema, Selection, Tag, Unit, Value};
use thalweg_expr::{Analytic as Function, FunctionKind, FunctionRef};
use thalweg_plan::logical::AnalyticCall;

use crate::op::keys::{Keys, error_at};
use crate::op::{faults, reshape};
use crate::operator::{Emit, OpCx, Operator};

/// Appends one column a call.
pub(crate) struct Analytic {
    calls: Vec<Call>,
    schema: Arc<Schema>,
    /// Rows of the current batch that failed in an earlier call, and why.
    bad: Vec<(usize, String)>,
}

struct Call {
    plan: AnalyticCall,
    /// typed partition keys; without PARTITION BY there is one, the empty key.
    keys: Keys,
    partitions: Vec<Box<dyn Function>>,
    args: Vec<Value>,
}

impl Analytic {
    pub(crate) fn new(calls: &[AnalyticCall], schema: &Arc<Schema>) -> Self {
        let call = |plan: &AnalyticCall| Call {
            plan: plan.clone(),
            keys: Keys::default(),
            partitions: Vec::new(),
            args: Vec::new(),
        };
        Self { calls: calls.iter().map(call).collect(), schema: Arc::clone(schema), bad: Vec::new() }
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
        let mut wider = reshape::append(batch, &self.schema, []);
        let mut good = Selection { live: rows.live.clone(), faults: Vec::new() };
        for call in &mut self.calls {
            let before = self.bad.len();
            let column = call.compute(&wider, &good, &mut self.bad, cx);
            wider.columns.push(Arc::new(column));
            if self.bad.len() > before {
                let bad = &self.bad[before..];
                let lives = |row: &usize| !bad.iter().any(|(failed, _)| failed == row);
                good = Selection::rows(good.iter().filter(lives).map(|row| row as u32).collect());
            }
        }
        if self.bad.is_empty() {
            return out.batch(0, &wider, rows);
        }
        if batch.unit == Unit::Collection {
            return faults::fail_all(&self.bad[0].1, (faults::time_of(batch), rows), &self.schema, out, cx);
        }
        self.bad.sort_by_key(|(row, _)| *row);
        good.faults = faults::fail_rows(&self.bad, (batch, rows), cx);
        if !good.is_void() {
            out.batch(0, &wider, &good);
        }
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
        bad: &mut Vec<(usize, String)>,
        cx: &OpCx<'_>,
    ) -> Column {
        let mut eval = cx.eval(batch.window);
        let plan = self.plan.clone();
        let args: Vec<_> = plan.args.iter().map(|arg| arg.eval(batch, rows, &mut eval)).collect();
        let keys: Vec<_> = plan.partition_by.iter().map(|key| key.eval(batch, rows, &mut eval)).collect();
        let when = plan.when.as_ref().map(|when| when.eval(batch, rows, &mut eval));
        let mut out = Column::new();
        let is_plain = plan.partition_by.is_empty() && plan.when.is_none();
        let has_errors = args.iter().any(|arg| arg.column().seen().contains(Tag::Error));
        if is_plain && !has_errors && !rows.is_empty() {
            if self.partitions.is_empty() {
                self.keys.number(&keys, 0);
                self.partitions.extend(self.fresh());
            }
            if self.partitions.first_mut().is_some_and(|state| state.next_rows(&args, rows, &mut out)) {
                (out.len()..batch.n_rows).for_each(|_| out.push_missing());
                return out;
            }
        }
        for row in rows {
            (out.len()..row).for_each(|_| out.push_missing());
            if let Some(error) = error_at(&args, row).or_else(|| error_at(&keys, row)) {
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
            match self.partitions.get_mut(partition).map(|state| state.next(&self.args, valid, &mut eval)) {
                Some(Ok(value)) => out.push_value(&value),
                Some(Err(error)) => {
                    bad.push((row, error.to_string()));
                    out.push_missing();
                }
                None => out.push_missing(),
            }
        }
        (out.len()..batch.n_rows).for_each(|_| out.push_missing());
        out
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
