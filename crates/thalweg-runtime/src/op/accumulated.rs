//! What accumulators of another process hold of a pane's groups (`portable-plugins.md` 12.8).
//!
//! Rows wait here until there are enough for a message. A window with few rows costs one message with whole groups when
//! it closes, and nothing of it is kept elsewhere; of a larger one only the last rows are here, whatever its length.
//! Windows that overlap hand over each pane once, and join its accumulators anew for every window.
//!
//! A group whose step failed stays failed for its window, and so does one whose accumulator went with its process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Cell, Column, ColumnRef, RowError, Selection};
use thalweg_expr::{Accumulate, AccumulatorStep, CallCx, Frame, GroupId, RemoteFunction};

/// So many rows wait at most, or so many bytes. Few in tests, so that a short one sees messages.
const MOST_ROWS: usize = if cfg!(test) { 3 } else { 4_096 };
const MOST_BYTES: usize = 1 << 20;

/// The names of the accumulators of one operator: no two panes have the same.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// A pane may be part of several windows.
    pub(crate) overlaps: bool,
    state: Mutex<NameState>,
}

#[derive(Debug, Default)]
struct NameState {
    last: u64,
    /// Accumulators that nobody needs any more, each with its call. The other side hears of it with the next message.
    gone: Vec<(u32, u64)>,
}

impl Names {
    pub(crate) fn new(overlaps: bool) -> Self {
        Self { overlaps, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, NameState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> u64 {
        let mut state = self.lock();
        state.last += 1;
        state.last
    }

    /// Writes which were given, so that none is given twice.
    pub(crate) fn save(&self, out: &mut StateWriter) {
        let state = self.lock();
        out.u64(state.last);
        out.u64(state.gone.len() as u64);
        for (call, id) in &state.gone {
            out.u64(u64::from(*call));
            out.u64(*id);
        }
    }

    /// Reads what [`Names::save`] wrote.
    pub(crate) fn load(&self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        let last = from.u64()?;
        let gone = (0..from.read_len()?).map(|_| Ok((from.u64()? as u32, from.u64()?)));
        let gone: Vec<(u32, u64)> = gone.collect::<Result<_, StateError>>()?;
        let mut state = self.lock();
        state.last = state.last.max(last);
        state.gone.extend(gone);
        Ok(())
    }

    /// What a call need not keep any more; told once.
    fn take_gone(&self, call_id: u32) -> Vec<u64> {
        let mut state = self.lock();
        let gone = state.gone.extract_if(.., |(call, _)| *call == call_id);
        gone.map(|(_, id)| id).collect()
    }
}

/// Where the rows of a group are.
#[derive(Debug, Clone)]
enum Place {
    /// Waiting, if there are any.
    Here,
    /// In this accumulator, but for those that wait.
    There(u64),
    /// It has no result any more.
    Failed(RowError),
}

/// The groups of one pane, for one call.
pub(crate) struct Accumulated {
    function: Arc<dyn RemoteFunction>,
    call_id: u32,
    names: Arc<Names>,
    /// The arguments of the rows that wait, and the group of each.
    args: Vec<Column>,
    groups: Vec<GroupId>,
    places: Vec<Place>,
    /// For each group the accumulators of panes that are joined into its result.
    parts: Vec<Vec<u64>>,
    /// Which memory the accumulators are in.
    memory: Option<u64>,
}

/// A message: its groups, their accumulators, and their rows among those that wait.
#[derive(Default)]
struct Message {
    groups: Vec<GroupId>,
    ids: Vec<u64>,
    rows: Vec<u32>,
    /// The place in `groups` of each row's group.
    of_rows: Vec<GroupId>,
}

impl Accumulated {
    pub(crate) fn new(function: &Arc<dyn RemoteFunction>, call_id: u32, names: &Arc<Names>) -> Self {
        Self {
            function: Arc::clone(function),
            call_id,
            names: Arc::clone(names),
            args: Vec::new(),
            groups: Vec::new(),
            places: Vec::new(),
            parts: Vec::new(),
            memory: None,
        }
    }

    /// Takes rows in.
    pub(crate) fn update(&mut self, frame: &Frame<'_>, cx: &CallCx<'_>) {
        let Some((groups, n_groups)) = frame.groups else { return };
        self.make_room(n_groups);
        self.args.resize_with(frame.args.len(), Column::new);
        for (column, arg) in self.args.iter_mut().zip(frame.args) {
            match arg {
                ColumnRef::Rows(values) => column.append_rows(values, frame.rows.iter()),
                ColumnRef::Constant(value) => column.append_repeated(value, 0, frame.rows.len()),
            }
        }
        self.groups.extend_from_slice(groups);
        if self.groups.len() >= MOST_ROWS || self.args.iter().map(Column::memory).sum::<usize>() >= MOST_BYTES
        {
            self.settle(cx);
        }
    }

    fn make_room(&mut self, n_groups: usize) {
        let n_groups = n_groups.max(self.places.len());
        self.places.resize(n_groups, Place::Here);
    }

    /// Hands over what waits.
    pub(crate) fn settle(&mut self, cx: &CallCx<'_>) {
        if self.groups.is_empty() {
            return;
        }
        let mut is_touched = vec![false; self.places.len()];
        self.groups.iter().for_each(|group| is_touched[*group as usize] = true);
        let touched = (0..).zip(is_touched).filter(|(_, is_touched)| *is_touched).map(|(group, _)| group);
        self.step(touched.collect(), false, cx);
    }

    /// The results of all groups, one cell each. The states stay, unless the pane is part of one window only.
    pub(crate) fn finish(&mut self, n_groups: usize, out: &mut Column, cx: &CallCx<'_>) {
        self.make_room(n_groups);
        if self.names.overlaps {
            self.settle(cx);
        }
        if self.parts.is_empty() && self.places.iter().all(|place| matches!(place, Place::Here)) {
            let args: Vec<ColumnRef<'_>> = self.args.iter().map(ColumnRef::borrowed).collect();
            let rows = Selection::all(self.groups.len());
            let frame = Frame { args: &args, rows: &rows, groups: Some((&self.groups, n_groups)) };
            return self.function.call(&frame, out, cx);
        }
        let (asked, results) = self.step((0..n_groups as GroupId).collect(), true, cx);
        let mut next = 0;
        for group in 0..n_groups {
            if asked.get(next) == Some(&(group as GroupId)) && next < results.len() {
                out.push_cell(results.cell(next));
                next += 1;
            } else if let Place::Failed(error) = &self.places[group] {
                out.push_error(error.clone());
            } else {
                out.push_error(RowError::text("the function gave no result"));
            }
        }
    }

    /// One message about some groups: the groups that it was about in the end, and what came back for each.
    fn step(&mut self, mut groups: Vec<GroupId>, finish: bool, cx: &CallCx<'_>) -> (Vec<GroupId>, Column) {
        loop {
            groups.retain(|group| !matches!(self.places[*group as usize], Place::Failed(_)));
            let message = self.message(groups);
            let mut out = Column::new();
            if message.groups.is_empty() {
                self.forget_rows();
                return (message.groups, out);
            }
            if self.send(&message, finish, &mut out, cx) {
                self.note(&message, finish, &out);
                return (message.groups, out);
            }
            // What was there is lost; rows that wait and groups that were never there are not.
            self.fail_lost();
            groups = message.groups;
        }
    }

    fn message(&self, groups: Vec<GroupId>) -> Message {
        let mut numbers = vec![GroupId::MAX; self.places.len()];
        let mut message = Message::default();
        for (number, group) in (0..).zip(&groups) {
            numbers[*group as usize] = number;
            message.ids.push(match &self.places[*group as usize] {
                Place::There(id) => *id,
                _ => self.names.next(),
            });
        }
        for (row, group) in (0..).zip(&self.groups) {
            let number = numbers[*group as usize];
            if number != GroupId::MAX {
                message.rows.push(row);
                message.of_rows.push(number);
            }
        }
        Message { groups, ..message }
    }

    /// Sends a message; false, and nothing done, if the accumulators of before are lost.
    fn send(&mut self, message: &Message, finish: bool, out: &mut Column, cx: &CallCx<'_>) -> bool {
        let args: Vec<ColumnRef<'_>> = self.args.iter().map(ColumnRef::borrowed).collect();
        let rows = Selection::rows(message.rows.clone());
        let n_groups = message.groups.len();
        let frame = Frame { args: &args, rows: &rows, groups: Some((&message.of_rows, n_groups)) };
        let gone = self.names.take_gone(self.call_id);
        let parts: Vec<Vec<u64>>;
        let what = if self.parts.is_empty() {
            Accumulate::Add
        } else {
            let of_group = |group: &GroupId| self.parts.get(*group as usize).cloned().unwrap_or_default();
            parts = message.groups.iter().map(of_group).collect();
            Accumulate::Merge(&parts)
        };
        let forget = finish && self.is_last();
        let step = AccumulatorStep { ids: &message.ids, what, finish, forget, drop: &gone };
        let memory = self.function.accumulate(&step, &frame, self.memory, out, cx);
        if self.memory.is_some() && memory != self.memory {
            let gone = gone.into_iter().map(|id| (self.call_id, id));
            self.names.lock().gone.extend(gone);
            return false;
        }
        self.memory = memory;
        let error = || RowError::text(format!("{} gave no result", self.function.name()));
        (out.len()..n_groups).for_each(|_| out.push_error(error()));
        true
    }

    /// Whether nobody will ask after a result.
    fn is_last(&self) -> bool {
        !self.names.overlaps || !self.parts.is_empty()
    }

    /// Where the groups of a message are now.
    fn note(&mut self, message: &Message, finish: bool, out: &Column) {
        let is_over = finish && self.is_last();
        for (at, (group, id)) in message.groups.iter().zip(&message.ids).enumerate() {
            let place = &mut self.places[*group as usize];
            *place = match out.cell(at) {
                Cell::Error(error) if !finish || is_over => {
                    self.names.lock().gone.push((self.call_id, *id));
                    Place::Failed(error.clone())
                }
                _ if is_over => Place::Failed(RowError::text("its window has closed")),
                _ => Place::There(*id),
            };
        }
        self.forget_rows();
    }

    fn fail_lost(&mut self) {
        let text = format!(
            "call func {} error: its process ended, and what it had of this group is lost",
            self.function.name()
        );
        let error = RowError::text(text);
        for (group, place) in self.places.iter_mut().enumerate() {
            let has_part = self.parts.get(group).is_some_and(|parts| !parts.is_empty());
            if has_part || matches!(place, Place::There(_)) {
                *place = Place::Failed(error.clone());
            }
        }
        self.memory = None;
    }

    fn forget_rows(&mut self) {
        self.args.iter_mut().for_each(|column| column.clear(None));
        self.groups.clear();
    }

    /// Joins the groups of a later pane into those here, which are of no pane: its group `g` into `map[g]`. It has been
    /// settled.
    pub(crate) fn merge(&mut self, later: &Self, map: &[GroupId]) {
        let n_groups = map.iter().max().map_or(0, |most| *most as usize + 1);
        self.make_room(n_groups);
        self.parts.resize(self.places.len(), Vec::new());
        for (place, group) in later.places.iter().zip(map) {
            match place {
                Place::There(id) => self.parts[*group as usize].push(*id),
                Place::Failed(error) => self.places[*group as usize] = Place::Failed(error.clone()),
                Place::Here => {}
            }
        }
        // Memories are numbered in their order: with an older one among them something is lost.
        self.memory = match (self.memory, later.memory) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    /// Forgets all groups.
    pub(crate) fn reset(&mut self) {
        let mut names = self.names.lock();
        for place in self.places.drain(..) {
            if let Place::There(id) = place {
                names.gone.push((self.call_id, id));
            }
        }
        drop(names);
        self.parts.clear();
        self.memory = None;
        self.forget_rows();
    }

    /// The bytes that it has on the heap.
    pub(crate) fn memory(&self) -> usize {
        self.args.iter().map(|column| size_of::<Column>() + column.memory()).sum::<usize>()
            + self.groups.capacity() * 4
            + self.places.capacity() * size_of::<Place>()
            + self.parts.iter().map(|parts| size_of::<Vec<u64>>() + parts.capacity() * 8).sum::<usize>()
    }

    /// Writes where the groups are, and the rows that wait.
    pub(crate) fn save(&self, out: &mut StateWriter) {
        out.u64(self.places.len() as u64);
        for place in &self.places {
            match place {
                Place::Here => out.u64(0),
                Place::There(id) => {
                    out.u64(1);
                    out.u64(*id);
                }
                Place::Failed(error) => {
                    out.u64(2);
                    out.text(&error.to_string());
                }
            }
        }
        out.u64(self.groups.len() as u64);
        self.groups.iter().for_each(|group| out.u64(u64::from(*group)));
        out.u64(self.args.len() as u64);
        self.args.iter().for_each(|column| out.column(column));
    }

    /// Reads what [`Accumulated::save`] wrote. The accumulators are those that the function was restored to.
    pub(crate) fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        let place = |from: &mut StateReader<'_>| match from.u64()? {
            0 => Ok(Place::Here),
            1 => from.u64().map(Place::There),
            2 => from.text().map(|text| Place::Failed(RowError::text(text))),
            other => Err(StateError(format!("a group is at place {other}"))),
        };
        self.places = (0..from.read_len()?).map(|_| place(from)).collect::<Result<_, _>>()?;
        let n_groups = self.places.len() as u64;
        let group = |from: &mut StateReader<'_>| match from.u64()? {
            group if group < n_groups => Ok(group as GroupId),
            other => Err(StateError(format!("a row of group {other} of {n_groups}"))),
        };
        self.groups = (0..from.read_len()?).map(|_| group(from)).collect::<Result<_, _>>()?;
        self.args = (0..from.read_len()?).map(|_| from.column()).collect::<Result<_, _>>()?;
        if self.args.iter().any(|column| column.len() != self.groups.len()) {
            return Err(StateError("rows of different numbers wait".to_owned()));
        }
        (self.memory, self.parts) = (None, Vec::new());
        Ok(())
    }
}
