//! The aggregate calls of an operator: rows and their groups in, one column a call out.

use std::sync::Arc;

use thalweg_core::{Batch, Cell, Column, ColumnRef, RowError, Selection};
use thalweg_expr::{Accumulator, CallCx, Expr, Frame, FunctionKind, FunctionRef, GroupId, RemoteFunction};
use thalweg_plan::logical::AggregateCall;

use crate::op::keys::error_at;
use crate::operator::OpCx;

/// All calls of one operator.
pub(crate) struct Calls {
    calls: Vec<Call>,
    ids: Vec<GroupId>,
}

struct Call {
    name: String,
    args: Vec<Expr>,
    filter: Option<Expr>,
    call_id: u32,
    state: State,
    /// Rows left after FILTER and failed arguments, with their groups.
    rows: Vec<u32>,
    groups: Vec<GroupId>,
}

enum State {
    Builtin(Box<dyn Accumulator>),
    Remote(Arc<dyn RemoteFunction>),
    /// Not an aggregate; the planner lets none through.
    None,
}

/// Rows and the group of each.
#[derive(Clone, Copy)]
pub(crate) struct Grouped<'a> {
    pub(crate) batch: &'a Batch,
    pub(crate) rows: &'a Selection,
    /// One entry a selected row.
    pub(crate) groups: &'a [GroupId],
    pub(crate) n_groups: usize,
}

impl Calls {
    pub(crate) fn new(calls: &[AggregateCall]) -> Self {
        Self { calls: calls.iter().map(Call::new).collect(), ids: Vec::new() }
    }

    /// One column a call, one cell a group. Keeps no state.
    pub(crate) fn compute(&mut self, input: Grouped<'_>, cx: &OpCx<'_>) -> Vec<Column> {
        self.ids.clear();
        self.ids.extend(0..input.n_groups as u32);
        let ids = &self.ids;
        self.calls.iter_mut().map(|call| call.compute(input, ids, cx)).collect()
    }
}

impl Call {
    fn new(plan: &AggregateCall) -> Self {
        let state = match &plan.function {
            FunctionRef::Builtin(function) => match function.kind {
                FunctionKind::Aggregate(make) => State::Builtin(make()),
                _ => State::None,
            },
            FunctionRef::Remote(remote) => State::Remote(Arc::clone(remote)),
        };
        Self {
            name: plan.function.name().to_owned(),
            args: plan.args.clone(),
            filter: plan.filter.clone(),
            call_id: plan.call_id,
            state,
            rows: Vec::new(),
            groups: Vec::new(),
        }
    }

    fn compute(&mut self, input: Grouped<'_>, ids: &[GroupId], cx: &OpCx<'_>) -> Column {
        let mut eval = cx.eval(input.batch.window);
        let exprs = std::mem::take(&mut self.args);
        let args: Vec<_> = exprs.iter().map(|arg| arg.eval(input.batch, input.rows, &mut eval)).collect();
        let narrowed = self.narrow(&args, input, cx);
        let (rows, groups) = match &narrowed {
            Some(rows) => (rows, &self.groups[..]),
            None => (input.rows, input.groups),
        };
        let mut out = Column::new();
        match &mut self.state {
            State::Builtin(accumulator) => {
                accumulator.update(groups, &args, rows, &mut eval);
                accumulator.finish(ids, &mut out, &mut eval);
                accumulator.reset();
            }
            State::Remote(remote) => {
                let frame = Frame { args: &args, rows, groups: Some((groups, input.n_groups)) };
                let call = CallCx {
                    rule: &cx.rule.id,
                    node: cx.node,
                    call_id: self.call_id,
                    now: cx.now,
                    metrics: cx.metrics,
                };
                remote.call(&frame, &mut out, &call);
            }
            State::None => {}
        }
        drop(args);
        self.args = exprs;
        // A misbehaving function must not shift the columns.
        let error = || RowError::text(format!("{} gave no result", self.name));
        (out.len()..input.n_groups).for_each(|_| out.push_error(error()));
        out.truncate(input.n_groups);
        out
    }

    /// The rows that FILTER lets through and whose arguments did not fail (S9), if those are not all.
    fn narrow(&mut self, args: &[ColumnRef<'_>], input: Grouped<'_>, cx: &OpCx<'_>) -> Option<Selection> {
        let fails = |column: &ColumnRef<'_>| column.column().seen().contains(thalweg_core::Tag::Error);
        if self.filter.is_none() && !args.iter().any(fails) {
            return None;
        }
        let mut eval = cx.eval(input.batch.window);
        let condition = self.filter.as_ref().map(|filter| filter.eval(input.batch, input.rows, &mut eval));
        self.rows.clear();
        self.groups.clear();
        for (row, group) in input.rows.iter().zip(input.groups) {
            let passes = condition.as_ref().is_none_or(|column| column.cell(row) == Cell::Bool(true));
            match error_at(args, row).filter(|_| passes) {
                Some(error) => {
                    cx.metrics.exception(&format!("run Select error: {}: {error}", self.name), cx.now)
                }
                None if passes => {
                    self.rows.push(row as u32);
                    self.groups.push(*group);
                }
                None => {}
            }
        }
        Some(Selection::rows(self.rows.clone()))
    }
}
