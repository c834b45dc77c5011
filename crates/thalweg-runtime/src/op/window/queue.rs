//! Groups of a range of rows that only moves forward: rows enter at its end and leave at its front (sliding windows).
//!
//! Two halves meet at a position, `flip`. Behind it rows are folded into the states of their groups as they enter.
//! Before it each row has a state of its own: that of its group from this row to the flip, so that a row leaves by being
//! forgotten. When the front half is used up, all rows that are left become the new front half, computed from back to
//! front. A group is the front state of its first row merged with its back state: a window costs its groups and, on
//! average, two visits of each row, however long it is.
//!
//! The rows themselves are kept, because they come back: where the flip lies depends on them alone, so that a restored
//! queue computes what it had.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Column, Live, Schema, Selection, Tag, Unit, WindowRange};
use thalweg_expr::{GroupId, eval_all};

use super::buffer::RowBuffer;
use super::panes::{Failure, Folding};
use crate::op::calls::{Calls, Grouped};
use crate::op::keys::{Keys, error_at};
use crate::op::{faults, reshape};
use crate::operator::{Emit, OpCx};

/// No position.
const NONE: u64 = u64::MAX;

/// A row of the range.
#[derive(Debug, Clone, Copy)]
struct Member {
    /// Absent for rows that no group holds.
    group: Option<GroupId>,
    /// The position of its group's next row.
    next: u64,
}

/// Lists that are used again.
#[derive(Default)]
struct Room {
    rows: Vec<u32>,
    groups: Vec<GroupId>,
    fresh: Vec<u32>,
    front: Vec<(GroupId, GroupId)>,
    back: Vec<(GroupId, GroupId)>,
}

pub(super) struct Queue {
    folding: Arc<Folding>,
    buffer: RowBuffer,
    /// The range, and the flip within.
    from: u64,
    flip: u64,
    to: u64,
    members: VecDeque<Member>,
    keys: Keys,
    /// The group of each first row.
    live: BTreeMap<u64, GroupId>,
    /// The position of each group's last row.
    lasts: Vec<u64>,
    /// One state a row of the front half, from `base` on.
    front: Calls,
    base: u64,
    /// One state a group.
    back: Calls,
    failures: VecDeque<(u64, Failure)>,
    /// Only the range is known, after a restore.
    is_stale: bool,
    /// For one result at a time.
    whole: Calls,
    /// The last result, for its room, and a column of it that nobody reads.
    result: Batch,
    missing: Arc<Column>,
    room: Room,
    /// For rows that are visited again: what fails was counted the first time.
    silent: Arc<NodeMetrics>,
}

impl Queue {
    pub(super) fn new(schema: &Arc<Schema>, folding: &Arc<Folding>) -> Self {
        let calls = || folding.grouping.new_calls();
        Self {
            folding: Arc::clone(folding),
            buffer: RowBuffer::new(schema),
            from: 0,
            flip: 0,
            to: 0,
            members: VecDeque::new(),
            keys: Keys::default(),
            live: BTreeMap::new(),
            lasts: Vec::new(),
            front: calls(),
            base: 0,
            back: calls(),
            failures: VecDeque::new(),
            is_stale: false,
            whole: calls(),
            result: Batch::empty(Arc::clone(&folding.grouping.schema), Unit::Collection),
            missing: Arc::default(),
            room: Room::default(),
            silent: Arc::default(),
        }
    }

    /// All rows that may still be asked for.
    pub(super) fn buffer(&self) -> &RowBuffer {
        &self.buffer
    }

    /// The same, to add and drop.
    pub(super) fn buffer_mut(&mut self) -> &mut RowBuffer {
        &mut self.buffer
    }

    /// Moves the range and emits its groups.
    pub(super) fn emit(
        &mut self,
        (from, to): (u64, u64),
        window: WindowRange,
        out: &mut dyn Emit,
        cx: &OpCx<'_>,
    ) {
        self.move_to(from, to.max(from), cx);
        let failure = self.failures.iter().map(|(_, failure)| failure).min_by_key(|failure| failure.step);
        if let Some(Failure { step, message }) = failure {
            self.folding.count_lost(Some(*step), cx);
            let failed = (Some(window.end), &Selection::all(0));
            return faults::fail_all(
                message,
                failed,
                &self.folding.grouping.schema,
                out,
                &cx.of_behind(*step),
            );
        }
        let is_empty = self.live.is_empty();
        if is_empty && self.folding.filters() {
            // a collection of which WHERE leaves nothing is dropped.
            return self.folding.count_lost(None, cx);
        }
        if is_empty && !self.folding.grouping.by.is_empty() {
            return self.folding.count_lost(Some(self.folding.n_steps()), cx);
        }
        let cx = cx.of_behind(self.folding.n_steps());
        let n_groups = self.live.len().max(1);
        self.finish(n_groups, &cx);
        self.result.times.clear();
        if is_empty {
            self.result.times.push(window.trigger);
        } else {
            self.firsts(&cx);
        }
        self.result.n_rows = n_groups;
        self.result.window = Some(window);
        out.batch(0, &self.result, &Selection::all(n_groups));
    }

    /// The results of the groups in the order of their first rows; all other columns are missing.
    fn finish(&mut self, n_groups: usize, cx: &OpCx<'_>) {
        let Room { front, back, .. } = &mut self.room;
        front.clear();
        back.clear();
        for (id, (first, group)) in (0..).zip(&self.live) {
            if *first < self.flip {
                front.push(((first - self.base) as GroupId, id));
            }
            if self.lasts[*group as usize] >= self.flip {
                back.push((*group, id));
            }
        }
        self.whole.reset();
        self.whole.merge_some(&self.front, front);
        self.whole.merge_some(&self.back, back);
        if self.missing.len() != n_groups {
            self.missing = Arc::new(Column::missing(n_groups));
        }
        let grouping = &self.folding.grouping;
        let n_slots = grouping.schema.len() - grouping.calls.len();
        let (slots, results) = self.result.columns.split_at_mut(n_slots);
        let is_first = |slot: usize| grouping.firsts.iter().any(|first| first.index() == slot);
        for (slot, column) in slots.iter_mut().enumerate() {
            if self.live.is_empty() || !is_first(slot) {
                column.clone_from(&self.missing);
            }
        }
        self.whole.finish_into(n_groups, results, cx);
    }

    /// The columns of the groups' first rows, and their times.
    fn firsts(&mut self, cx: &OpCx<'_>) {
        let Self { folding, buffer, live, result, room, .. } = self;
        room.rows.clear();
        room.rows.extend(live.keys().map(|first| buffer.row(*first) as u32));
        let rows = || room.rows.iter().map(|row| *row as usize);
        let batch = folding.compute(buffer.lend(), &room.rows, cx);
        for slot in &folding.grouping.firsts {
            reshape::emptied(&mut result.columns[slot.index()]).append_rows(batch.column(*slot), rows());
        }
        result.times.extend(rows().map(|row| batch.times[row]));
    }

    fn move_to(&mut self, from: u64, to: u64, cx: &OpCx<'_>) {
        let metrics = Arc::clone(&self.silent);
        let silent = OpCx { metrics: &metrics, ..cx.with_behind(&[]) };
        if std::mem::take(&mut self.is_stale) {
            // What was dropped since then no window can hold.
            let (first, flip, to) = (self.from.max(self.buffer.first()), self.flip, self.to);
            self.rebuild(first, flip.max(first), &silent);
            self.add(to, &silent);
            self.flip = flip;
        }
        if from >= self.to || from < self.from || to < self.to {
            // Nothing that is there is of use.
            self.rebuild(from, from, cx);
        } else if from > self.flip {
            self.rebuild(from, self.to, &silent);
        } else {
            self.leave(from);
        }
        self.add(to, cx);
    }

    /// Forgets the rows before a position of the front half.
    fn leave(&mut self, from: u64) {
        for position in self.from..from {
            let Some(Member { group: Some(group), next }) = self.members.pop_front() else { continue };
            if next == NONE {
                self.lasts[group as usize] = NONE;
            } else {
                self.live.insert(next, group);
            }
            // Last, so that the map keeps its room.
            self.live.remove(&position);
        }
        while self.failures.front().is_some_and(|(position, _)| *position < from) {
            self.failures.pop_front();
        }
        self.from = from;
    }

    /// Begins again with a front half of these rows and no back half.
    fn rebuild(&mut self, from: u64, flip: u64, cx: &OpCx<'_>) {
        self.members.clear();
        self.keys.clear();
        self.live.clear();
        self.lasts.clear();
        self.front.reset();
        self.back.reset();
        self.failures.clear();
        (self.from, self.to, self.flip, self.base) = (from, from, flip, from);
        if from < flip {
            self.enter(flip, true, cx);
            let pair = |at: &usize| {
                let next = self.members[*at].next;
                (next != NONE).then(|| ((next - from) as GroupId, *at as GroupId))
            };
            let pairs: Vec<_> = (0..self.members.len()).rev().filter_map(|at| pair(&at)).collect();
            self.front.merge_within(&pairs);
        }
    }

    /// Adds the rows up to a position to the back half.
    fn add(&mut self, to: u64, cx: &OpCx<'_>) {
        if self.to < to {
            self.enter(to, false, cx);
        }
    }

    fn enter(&mut self, to: u64, is_front: bool, cx: &OpCx<'_>) {
        let from = self.to;
        let (first, end) = (self.buffer.row(from) as u32, self.buffer.row(to) as u32);
        let place = |row: usize| from + (row as u64 - u64::from(first));
        let Self { folding, buffer, members, keys, live, lasts, room, .. } = self;
        let mut failed = Vec::new();
        let mut fail = |row, failure| failed.push((place(row), failure));
        room.rows.clear();
        room.rows.extend(first..end);
        let rows = Selection::rows(std::mem::take(&mut room.rows));
        let (batch, rows) = folding.prepare(buffer.lend(), rows, &mut fail, cx);
        let cx = cx.of_behind(folding.n_steps());
        let rows = group(folding, keys, (&batch, rows), room, &mut fail, &cx);
        let groups = &mut room.groups;
        failed.sort_by_key(|(position, _)| *position);
        self.failures.extend(failed);
        members.extend((from..to).map(|_| Member { group: None, next: NONE }));
        self.to = to;
        for (row, group) in rows.iter().zip(groups.iter()) {
            let position = place(row);
            members[(position - self.from) as usize].group = Some(*group);
            if lasts.len() <= *group as usize {
                lasts.resize(*group as usize + 1, NONE);
            }
            match std::mem::replace(&mut lasts[*group as usize], position) {
                NONE => _ = live.insert(position, *group),
                last => members[(last - self.from) as usize].next = position,
            }
        }
        let (mut calls, mut n_groups) = (&mut self.back, lasts.len());
        if is_front {
            groups.clear();
            groups.extend(rows.iter().map(|row| (place(row) - self.base) as GroupId));
            (calls, n_groups) = (&mut self.front, members.len());
        }
        calls.update(Grouped { batch: &batch, rows: &rows, groups, n_groups }, &cx);
        if let Live::Rows(rows) = rows.live {
            room.rows = rows;
        }
    }

    /// The bytes that it has on the heap.
    pub(super) fn memory(&self) -> usize {
        let Room { rows, groups, fresh, front, back } = &self.room;
        self.buffer.memory()
            + self.members.capacity() * size_of::<Member>()
            + self.keys.memory()
            + self.live.len() * size_of::<(u64, GroupId)>()
            + self.lasts.capacity() * 8
            + self.failures.capacity() * size_of::<(u64, Failure)>()
            + [&self.front, &self.back, &self.whole].map(Calls::memory).iter().sum::<usize>()
            + self.result.memory()
            + (rows.capacity() + groups.capacity() + fresh.capacity()) * 4
            + (front.capacity() + back.capacity()) * 8
    }

    /// Writes rows and range.
    pub(super) fn save(&self, out: &mut StateWriter) {
        self.buffer.save(out);
        [self.from, self.flip, self.to].iter().for_each(|position| out.u64(*position));
    }

    /// Reads what [`Queue::save`] wrote.
    pub(super) fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        self.buffer.load(from)?;
        (self.from, self.flip, self.to) = (from.u64()?, from.u64()?, from.u64()?);
        if !(self.from <= self.flip && self.flip <= self.to && self.to <= self.buffer.end()) {
            return Err(StateError("a range of rows that are not there".to_owned()));
        }
        self.is_stale = true;
        Ok(())
    }
}

/// The rows that have a group; those whose key fails have none. Their groups are left in the room.
fn group(
    folding: &Folding,
    keys: &mut Keys,
    (batch, rows): (&Batch, Selection),
    room: &mut Room,
    fail: &mut dyn FnMut(usize, Failure),
    cx: &OpCx<'_>,
) -> Selection {
    let Room { groups, fresh, .. } = room;
    groups.clear();
    fresh.clear();
    if folding.grouping.by.is_empty() {
        groups.resize(rows.len(), 0);
        return rows;
    }
    let mut eval = cx.eval(None);
    let failed = eval_all(&folding.grouping.by, batch, &rows, &mut eval, |columns, _| {
        if !columns.iter().any(|column| column.column().seen().contains(Tag::Error)) {
            keys.number_all(columns, &rows, groups, fresh);
            return None;
        }
        let mut grouped = Vec::with_capacity(rows.len());
        for row in &rows {
            match error_at(columns, row) {
                Some(error) => {
                    let message = format!("run Group By error: {error}");
                    fail(row, Failure { step: folding.n_steps(), message });
                }
                None => {
                    grouped.push(row as u32);
                    groups.push(keys.number(columns, row));
                }
            }
        }
        Some(Selection::rows(grouped))
    });
    failed.unwrap_or(rows)
}
