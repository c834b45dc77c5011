//! What GROUP BY knows of the rows it has seen: the groups in the order in which they first appeared, the states of
//! their aggregates, the columns of their first rows.
//!
//! The one aggregation of all forms: a collection that comes as a whole is folded in at once and forgotten
//! (`op/aggregate.rs`), a window folds rows in as they arrive and merges its panes (`op/window/panes.rs`).

use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Column, ColumnRef, Schema, Selection, Slot, Tag, Timestamp, Unit, WindowRange};
use thalweg_expr::{Expr, GroupId, eval_all};
use thalweg_plan::logical::AggregateCall;

use crate::op::accumulated::Names;
use crate::op::calls::{Calls, Grouped};
use crate::op::keys::{Keys, error_at};
use crate::operator::{Emit, OpCx};

/// What is grouped and what comes out.
#[derive(Debug)]
pub(crate) struct Grouping {
    /// Without keys all rows are one group, also when there are none (W-6).
    pub(crate) by: Vec<Expr>,
    pub(crate) calls: Vec<AggregateCall>,
    /// The input's slots that are read of each group's first row.
    pub(crate) firsts: Vec<Slot>,
    /// The input's slots, then one for each call.
    pub(crate) schema: Arc<Schema>,
    /// Of rows that come in pieces, for calls that others answer.
    pub(crate) names: Option<Arc<Names>>,
}

impl Grouping {
    /// With all columns of the first rows.
    pub(crate) fn new(by: &[Expr], calls: &[AggregateCall], schema: &Arc<Schema>) -> Self {
        let n_slots = schema.len() - calls.len();
        Self {
            by: by.to_vec(),
            calls: calls.to_vec(),
            firsts: (0..n_slots as u32).map(Slot).collect(),
            schema: Arc::clone(schema),
            names: None,
        }
    }
}

impl Grouping {
    /// Calls without any rows.
    pub(crate) fn new_calls(&self) -> Calls {
        match &self.names {
            Some(names) => Calls::in_pieces(&self.calls, names),
            None => Calls::new(&self.calls),
        }
    }
}

/// Room for so many groups is kept whether or not they come.
const MUCH: usize = 1_024;

/// The groups so far.
pub(crate) struct Groups {
    keys: Keys,
    calls: Calls,
    /// One a slot of [`Grouping::firsts`], one row a group.
    firsts: Vec<Arc<Column>>,
    /// The times of the first rows.
    times: Vec<Timestamp>,
    /// The group of each row of the current batch.
    groups: Vec<GroupId>,
    /// The rows of the current batch that are the first of their group.
    fresh: Vec<u32>,
    /// The last result, for its room; what is no result of a call is missing.
    result: Batch,
    /// For columns that nobody reads.
    missing: Arc<Column>,
}

impl Groups {
    pub(crate) fn new(grouping: &Grouping) -> Self {
        Self {
            keys: Keys::default(),
            calls: grouping.new_calls(),
            firsts: grouping.firsts.iter().map(|_| Arc::default()).collect(),
            times: Vec::new(),
            groups: Vec::new(),
            fresh: Vec::new(),
            result: Batch { columns: Vec::new(), ..Batch::empty(Arc::default(), Unit::Collection) },
            missing: Arc::default(),
        }
    }

    /// Folds rows in.
    ///
    /// # Errors
    /// A key that fails; then no row was taken.
    pub(crate) fn take(
        &mut self,
        grouping: &Grouping,
        batch: &Batch,
        rows: &Selection,
        cx: &OpCx<'_>,
    ) -> Result<(), String> {
        self.number(grouping, batch, rows, cx)?;
        if !self.fresh.is_empty() {
            for (column, slot) in self.firsts.iter_mut().zip(&grouping.firsts) {
                let fresh = self.fresh.iter().map(|row| *row as usize);
                Arc::make_mut(column).append_rows(batch.column(*slot), fresh);
            }
        }
        self.times.extend(self.fresh.iter().map(|row| batch.times[*row as usize]));
        let n_groups = self.n_groups(grouping);
        self.calls.update(Grouped { batch, rows, groups: &self.groups, n_groups }, cx);
        Ok(())
    }

    /// Numbers the groups of rows, and notes which are new.
    fn number(
        &mut self,
        grouping: &Grouping,
        batch: &Batch,
        rows: &Selection,
        cx: &OpCx<'_>,
    ) -> Result<(), String> {
        self.groups.clear();
        self.fresh.clear();
        if grouping.by.is_empty() {
            self.groups.resize(rows.len(), 0);
            self.fresh.extend(rows.iter().next().filter(|_| self.times.is_empty()).map(|row| row as u32));
            return Ok(());
        }
        let mut eval = cx.eval(batch.window);
        eval_all(&grouping.by, batch, rows, &mut eval, |columns, _| self.number_by(columns, rows))
    }

    fn number_by(&mut self, columns: &[ColumnRef<'_>], rows: &Selection) -> Result<(), String> {
        if columns.iter().any(|column| column.column().seen().contains(Tag::Error))
            && let Some(error) = rows.iter().find_map(|row| error_at(columns, row))
        {
            return Err(format!("run Group By error: {error}"));
        }
        self.keys.number_all(columns, rows, &mut self.groups, &mut self.fresh);
        Ok(())
    }

    /// Hands over what waits for accumulators elsewhere. Before [`Groups::merge`] into others.
    pub(crate) fn settle(&mut self, cx: &OpCx<'_>) {
        self.calls.settle(cx);
    }

    /// Folds in the groups of rows that came later.
    pub(crate) fn merge(&mut self, grouping: &Grouping, later: &Self, cx: &OpCx<'_>) {
        self.groups.clear();
        self.fresh.clear();
        for group in 0..later.times.len() as u32 {
            let own = if grouping.by.is_empty() { 0 } else { self.keys.number_of(&later.keys, group) };
            if own as usize == self.times.len() + self.fresh.len() {
                self.fresh.push(group);
            }
            self.groups.push(own);
        }
        for (column, from) in self.firsts.iter_mut().zip(&later.firsts) {
            Arc::make_mut(column).append_rows(from, self.fresh.iter().map(|group| *group as usize));
        }
        self.times.extend(self.fresh.iter().map(|group| later.times[*group as usize]));
        self.calls.merge(&later.calls, &self.groups, cx);
    }

    /// Folds in what several have who have seen different rows of the same time. Groups come in the order of their first
    /// rows, and at one time in the order of the parts.
    pub(crate) fn merge_parts(&mut self, grouping: &Grouping, parts: &[&Self], cx: &OpCx<'_>) {
        let mut maps: Vec<Vec<GroupId>> = parts.iter().map(|part| vec![0; part.times.len()]).collect();
        let of_part = |(number, part): (usize, &&Self)| -> Vec<(Timestamp, usize, usize)> {
            part.times.iter().enumerate().map(|(group, time)| (*time, number, group)).collect()
        };
        let mut order: Vec<_> = parts.iter().enumerate().flat_map(of_part).collect();
        order.sort_unstable();
        for (time, number, group) in order {
            let part = parts[number];
            let has_keys = !grouping.by.is_empty();
            let own = if has_keys { self.keys.number_of(&part.keys, group as u32) } else { 0 };
            if own as usize == self.times.len() {
                for (column, from) in self.firsts.iter_mut().zip(&part.firsts) {
                    Arc::make_mut(column).append_rows(from, std::iter::once(group));
                }
                self.times.push(time);
            }
            maps[number][group] = own;
        }
        for (part, map) in parts.iter().zip(&maps) {
            self.calls.merge(&part.calls, map, cx);
        }
    }

    fn n_groups(&self, grouping: &Grouping) -> usize {
        if grouping.by.is_empty() { 1 } else { self.times.len() }
    }

    /// Hands on one row a group, unless there is none. The states stay.
    pub(crate) fn emit(
        &mut self,
        grouping: &Grouping,
        window: Option<WindowRange>,
        out: &mut dyn Emit,
        cx: &OpCx<'_>,
    ) {
        let n_groups = self.n_groups(grouping);
        if n_groups == 0 {
            return;
        }
        let Self { calls, firsts, times, result, missing, .. } = self;
        if result.columns.is_empty() {
            result.schema = Arc::clone(&grouping.schema);
            result.columns.resize(grouping.schema.len(), Arc::clone(missing));
        }
        let n_slots = result.columns.len() - grouping.calls.len();
        let (slots, results) = result.columns.split_at_mut(n_slots);
        if missing.len() != n_groups {
            *missing = Arc::new(Column::missing(n_groups));
            slots.iter_mut().for_each(|slot| slot.clone_from(missing));
        }
        calls.finish_into(n_groups, results, cx);
        result.times.clear();
        if times.is_empty() {
            result.times.push(window.map_or(cx.now, |window| window.trigger));
        } else {
            result.times.extend_from_slice(times);
            Self::swap(grouping, firsts, result);
        }
        (result.n_rows, result.window) = (n_groups, window);
        out.batch(0, result, &Selection::all(n_groups));
        if !times.is_empty() {
            Self::swap(grouping, firsts, result);
        }
    }

    /// Puts the columns of the first rows into the result, or takes them back.
    fn swap(grouping: &Grouping, firsts: &mut [Arc<Column>], result: &mut Batch) {
        for (first, slot) in firsts.iter_mut().zip(&grouping.firsts) {
            std::mem::swap(first, &mut result.columns[slot.index()]);
        }
    }

    /// Forgets all groups, keeping room.
    pub(crate) fn reset(&mut self) {
        self.keys.clear();
        self.calls.reset();
        for column in &mut self.firsts {
            match Arc::get_mut(column) {
                Some(column) => column.clear(None),
                None => *column = Arc::default(),
            }
        }
        self.times.clear();
    }

    /// Whether there is room for many more groups than there are.
    pub(crate) fn is_too_roomy(&self) -> bool {
        self.times.capacity() > MUCH.max(8 * self.times.len())
    }

    /// The bytes that it has on the heap.
    pub(crate) fn memory(&self) -> usize {
        let column = |column: &Arc<Column>| size_of::<Column>() + column.memory();
        self.keys.memory()
            + self.calls.memory()
            + self.firsts.iter().map(column).sum::<usize>()
            + self.times.capacity() * 8
            + (self.groups.capacity() + self.fresh.capacity()) * 4
    }

    /// Writes the groups.
    pub(crate) fn save(&self, out: &mut StateWriter) {
        self.keys.save(out);
        out.u64(self.times.len() as u64);
        self.times.iter().for_each(|time| out.time(*time));
        self.firsts.iter().for_each(|column| out.column(column));
        self.calls.save(out);
    }

    /// Reads what [`Groups::save`] wrote.
    pub(crate) fn load(&mut self, grouping: &Grouping, from: &mut StateReader<'_>) -> Result<(), StateError> {
        self.keys.load(from)?;
        let n_groups = from.read_len()?;
        let n_keys = if grouping.by.is_empty() { n_groups.min(1) } else { self.keys.len() };
        if n_groups != n_keys {
            return Err(StateError(format!("{n_groups} groups have {n_keys} keys")));
        }
        self.times = (0..n_groups).map(|_| from.time()).collect::<Result<_, _>>()?;
        for column in &mut self.firsts {
            let read = from.column()?;
            if read.len() != n_groups {
                return Err(StateError(format!("a column has {} of {n_groups} groups", read.len())));
            }
            *column = Arc::new(read);
        }
        self.calls.load(from)
    }
}
