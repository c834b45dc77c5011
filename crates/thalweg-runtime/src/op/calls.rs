//! The aggregate calls of an operator: rows and their groups in, at once or in pieces; one column a call out.

use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Cell, Column, ColumnRef, Live, RowError, Selection};
use thalweg_expr::{
    Accumulator, CallCx, EvalCx, Expr, Frame, FunctionKind, FunctionRef, GroupId, RemoteFunction, eval_all,
};
use thalweg_plan::logical::AggregateCall;

use crate::op::accumulated::{Accumulated, Names};
use crate::op::keys::error_at;
use crate::op::reshape;
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
    /// Takes all rows at once and keeps no state but the result of the last call.
    Remote {
        function: Arc<dyn RemoteFunction>,
        result: Column,
    },
    /// Takes rows as they come, in accumulators elsewhere.
    Accumulated(Box<Accumulated>),
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
        Self { calls: calls.iter().map(|call| Call::new(call, None)).collect(), ids: Vec::new() }
    }

    /// The same for rows that come in pieces: calls that others answer use accumulators, which have these names.
    pub(crate) fn in_pieces(calls: &[AggregateCall], names: &Arc<Names>) -> Self {
        Self { calls: calls.iter().map(|call| Call::new(call, Some(names))).collect(), ids: Vec::new() }
    }

    /// Hands over what waits for accumulators elsewhere. Before [`Calls::merge`] into others.
    pub(crate) fn settle(&mut self, cx: &OpCx<'_>) {
        for call in &mut self.calls {
            if let State::Accumulated(groups) = &mut call.state {
                groups.settle(&call_cx(call.call_id, cx));
            }
        }
    }

    /// Folds rows into the states of their groups.
    pub(crate) fn update(&mut self, input: Grouped<'_>, cx: &OpCx<'_>) {
        self.calls.iter_mut().for_each(|call| call.update(input, cx));
    }

    /// Folds in what other calls of the same kind hold: their group `g` goes to `map[g]`, behind what is there.
    pub(crate) fn merge(&mut self, later: &Self, map: &[GroupId], cx: &OpCx<'_>) {
        let mut eval = cx.eval(None);
        for (call, later) in self.calls.iter_mut().zip(&later.calls) {
            match (&mut call.state, &later.state) {
                (State::Builtin(call), State::Builtin(later)) => call.merge(later.as_ref(), map, &mut eval),
                (State::Accumulated(call), State::Accumulated(later)) => call.merge(later, map),
                _ => {}
            }
        }
    }

    /// Folds in some groups of other calls of the same kind: of each pair the first, there, into the second, here.
    pub(crate) fn merge_some(&mut self, later: &Self, pairs: &[(GroupId, GroupId)]) {
        for (call, later) in self.calls.iter_mut().zip(&later.calls) {
            if let (State::Builtin(call), State::Builtin(later)) = (&mut call.state, &later.state) {
                call.merge_some(later.as_ref(), pairs);
            }
        }
    }

    /// Folds groups into each other, pair by pair: the first behind what the second has.
    pub(crate) fn merge_within(&mut self, pairs: &[(GroupId, GroupId)]) {
        for call in &mut self.calls {
            if let State::Builtin(call) = &mut call.state {
                call.merge_within(pairs);
            }
        }
    }

    /// One column a call, one cell a group. The states stay.
    pub(crate) fn finish(&mut self, n_groups: usize, cx: &OpCx<'_>) -> Vec<Column> {
        self.ids.clear();
        self.ids.extend(0..n_groups as u32);
        let ids = &self.ids;
        let finish = |call: &mut Call| {
            let mut column = Column::new();
            call.finish(ids, &mut column, cx);
            column
        };
        self.calls.iter_mut().map(finish).collect()
    }

    /// The same into columns that were made before.
    pub(crate) fn finish_into(&mut self, n_groups: usize, columns: &mut [Arc<Column>], cx: &OpCx<'_>) {
        self.ids.clear();
        self.ids.extend(0..n_groups as u32);
        for (call, column) in self.calls.iter_mut().zip(columns) {
            call.finish(&self.ids, reshape::emptied(column), cx);
        }
    }

    /// Forgets all groups.
    pub(crate) fn reset(&mut self) {
        for call in &mut self.calls {
            match &mut call.state {
                State::Builtin(accumulator) => accumulator.reset(),
                State::Accumulated(groups) => groups.reset(),
                State::Remote { .. } | State::None => {}
            }
        }
    }

    /// One column a call, one cell a group. Keeps no state.
    pub(crate) fn compute(&mut self, input: Grouped<'_>, cx: &OpCx<'_>) -> Vec<Column> {
        self.update(input, cx);
        let columns = self.finish(input.n_groups, cx);
        self.reset();
        columns
    }

    /// The bytes that it has on the heap.
    pub(crate) fn memory(&self) -> usize {
        let call = |call: &Call| {
            let state = match &call.state {
                State::Builtin(states) => size_of_val(&**states) + states.memory(),
                State::Remote { result, .. } => result.memory(),
                State::Accumulated(groups) => size_of::<Accumulated>() + groups.memory(),
                State::None => 0,
            };
            state + (call.rows.capacity() + call.groups.capacity()) * 4
        };
        self.calls.capacity() * size_of::<Call>()
            + self.ids.capacity() * 4
            + self.calls.iter().map(call).sum::<usize>()
    }

    /// Writes the states.
    pub(crate) fn save(&self, out: &mut StateWriter) {
        for call in &self.calls {
            match &call.state {
                State::Builtin(accumulator) => accumulator.save(out),
                State::Accumulated(groups) => groups.save(out),
                State::Remote { .. } | State::None => {}
            }
        }
    }

    /// Reads what [`Calls::save`] wrote.
    pub(crate) fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        self.calls.iter_mut().try_for_each(|call| match &mut call.state {
            State::Builtin(accumulator) => accumulator.load(from),
            State::Accumulated(groups) => groups.load(from),
            State::Remote { .. } | State::None => Ok(()),
        })
    }
}

/// Who calls.
fn call_cx<'a>(call_id: u32, cx: &OpCx<'a>) -> CallCx<'a> {
    CallCx { rule: &cx.rule.id, node: cx.node, call_id, now: cx.now, metrics: cx.metrics }
}

impl Call {
    fn new(plan: &AggregateCall, names: Option<&Arc<Names>>) -> Self {
        let state = match &plan.function {
            FunctionRef::Builtin(function) => match function.kind {
                FunctionKind::Aggregate(make) => State::Builtin(make()),
                _ => State::None,
            },
            FunctionRef::Remote(remote) => match names {
                Some(names) => State::Accumulated(Box::new(Accumulated::new(remote, plan.call_id, names))),
                None => State::Remote { function: Arc::clone(remote), result: Column::new() },
            },
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

    fn update(&mut self, input: Grouped<'_>, cx: &OpCx<'_>) {
        let mut eval = cx.eval(input.batch.window);
        let exprs = std::mem::take(&mut self.args);
        eval_all(&exprs, input.batch, input.rows, &mut eval, |args, eval| self.take(args, input, eval, cx));
        self.args = exprs;
    }

    /// Folds in the rows that FILTER and their arguments let through.
    fn take(&mut self, args: &[ColumnRef<'_>], input: Grouped<'_>, eval: &mut EvalCx<'_>, cx: &OpCx<'_>) {
        let narrowed = self.narrow(args, input, cx);
        let (rows, groups) = match &narrowed {
            Some(rows) => (rows, &self.groups[..]),
            None => (input.rows, input.groups),
        };
        match &mut self.state {
            State::Builtin(accumulator) => accumulator.update(groups, args, rows, eval),
            State::Remote { function, result } => {
                let frame = Frame { args, rows, groups: Some((groups, input.n_groups)) };
                *result = Column::new();
                function.call(&frame, result, &call_cx(self.call_id, cx));
            }
            State::Accumulated(states) => {
                let frame = Frame { args, rows, groups: Some((groups, input.n_groups)) };
                states.update(&frame, &call_cx(self.call_id, cx));
            }
            State::None => {}
        }
        if let Some(Selection { live: Live::Rows(rows), .. }) = narrowed {
            self.rows = rows;
        }
    }

    fn finish(&mut self, ids: &[GroupId], out: &mut Column, cx: &OpCx<'_>) {
        match &mut self.state {
            State::Builtin(accumulator) => accumulator.finish(ids, out, &mut cx.eval(None)),
            State::Remote { result, .. } => *out = std::mem::take(result),
            State::Accumulated(states) => states.finish(ids.len(), out, &call_cx(self.call_id, cx)),
            State::None => {}
        }
        // A misbehaving function must not shift the columns.
        let error = || RowError::text(format!("{} gave no result", self.name));
        (out.len()..ids.len()).for_each(|_| out.push_error(error()));
        out.truncate(ids.len());
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
        Some(Selection::rows(std::mem::take(&mut self.rows)))
    }
}
