//! Rows that wait for their time to be passed by the watermark, sorted by time, arrival order among equals (E-4).
//!
//! The errors of rows wait among them, so an error stands where its row would, however far the watermark goes at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Fault, Live, Schema, Selection, Timestamp, Unit};

use crate::op::reshape;
use crate::op::window::buffer::RowBuffer;

#[derive(Debug, Clone, Copy)]
struct Waiting {
    time: Timestamp,
    input: u32,
    /// Of the input's rows, or with [`FAULT`] the number of the error.
    row: u32,
}

/// The bit that tells errors from rows.
const FAULT: u32 = 1 << 31;

/// So many rows are put in place by counting; fewer are merged with the last ones that wait.
const MANY: usize = 64;

/// Puts rows in place among those that wait, of which few are later than any of them.
fn merge(sorted: &mut VecDeque<Waiting>, rows: &mut [Waiting]) {
    if let [row] = rows {
        return insert(sorted, *row);
    }
    let is_sorted = rows.is_sorted_by_key(|row| row.time);
    if !is_sorted {
        rows.sort_by_key(|row| row.time);
    }
    let Some(first) = rows.first() else { return };
    let mut n_old = sorted.len();
    let is_behind = sorted.back().is_none_or(|last| last.time <= first.time);
    sorted.extend(rows.iter().copied());
    if is_behind {
        return;
    }
    let mut place = sorted.len();
    for row in rows.iter().rev() {
        while n_old > 0 && sorted[n_old - 1].time > row.time {
            n_old -= 1;
            place -= 1;
            sorted[place] = sorted[n_old];
        }
        place -= 1;
        sorted[place] = *row;
    }
}

fn insert(sorted: &mut VecDeque<Waiting>, waiting: Waiting) {
    if sorted.back().is_none_or(|last| last.time <= waiting.time) {
        sorted.push_back(waiting);
    } else {
        let at = sorted.partition_point(|have| have.time <= waiting.time);
        sorted.insert(at, waiting);
    }
}

/// Stable. Times that lie close to each other are counted instead of compared.
fn sort_by_time(rows: &mut [Waiting], room: &mut Room) {
    let times = rows.iter().map(|row| row.time.0);
    let (Some(first), Some(last)) = (times.clone().min(), times.max()) else { return };
    let span = usize::try_from(last.saturating_sub(first)).unwrap_or(usize::MAX);
    if span > 8 * rows.len() {
        return rows.sort_by_key(|row| row.time);
    }
    room.ends.clear();
    room.ends.resize(span + 1, 0);
    let at = |row: &Waiting| row.time.0.saturating_sub(first) as usize;
    rows.iter().for_each(|row| room.ends[at(row)] += 1);
    let mut end = 0;
    for count in &mut room.ends {
        end += std::mem::replace(count, end);
    }
    room.rows.clear();
    room.rows.extend_from_slice(rows);
    for row in &room.rows {
        let place = &mut room.ends[at(row)];
        rows[*place as usize] = *row;
        *place += 1;
    }
}

/// Room for sorting.
#[derive(Debug, Default)]
struct Room {
    ends: Vec<u32>,
    rows: Vec<Waiting>,
}

/// The waiting rows of all inputs.
#[derive(Debug)]
pub(crate) struct Reorder {
    inputs: Vec<RowBuffer>,
    /// Sorted.
    waiting: VecDeque<Waiting>,
    /// Rows of each input that still wait.
    live: Vec<usize>,
    /// Errors that wait, by number.
    faults: BTreeMap<u32, Fault>,
    next_fault: u32,
    room: Room,
    /// Rows that are due, in order; one an input.
    due: Vec<reshape::Room>,
    run: Vec<u32>,
}

impl Reorder {
    pub(crate) fn new<'a>(schemas: impl Iterator<Item = &'a Arc<Schema>>) -> Self {
        let inputs: Vec<RowBuffer> = schemas.map(RowBuffer::of_rows).collect();
        Self {
            live: vec![0; inputs.len()],
            due: inputs.iter().map(|buffer| reshape::Room::new(buffer.schema())).collect(),
            run: Vec::new(),
            inputs,
            waiting: VecDeque::new(),
            faults: BTreeMap::new(),
            next_fault: 0,
            room: Room::default(),
        }
    }

    /// Takes rows. They may have any times that are not before what was released.
    pub(crate) fn push(&mut self, input: usize, batch: &Batch, rows: &[u32]) {
        let first = self.take(input, batch, rows);
        self.wait(input, batch, rows, first);
    }

    /// Copies rows in, which [`Reorder::wait`] must be told of before [`Reorder::tidy`]; gives the number of the first.
    pub(crate) fn take(&mut self, input: usize, batch: &Batch, rows: &[u32]) -> u32 {
        let first = self.inputs[input].n_rows() as u32;
        if !rows.is_empty() {
            self.inputs[input].push_unordered(batch, rows);
        }
        first
    }

    /// Puts rows that were taken in place among those that wait; `first` is the number of the first of them.
    pub(crate) fn wait(&mut self, input: usize, batch: &Batch, rows: &[u32], first: u32) {
        self.live[input] += rows.len();
        let waiting = (first..).zip(rows).map(|(row, from)| {
            let time = batch.times[*from as usize];
            Waiting { time, input: input as u32, row }
        });
        if rows.len() < MANY {
            self.room.rows.clear();
            self.room.rows.extend(waiting);
            return merge(&mut self.waiting, &mut self.room.rows);
        }
        let mut latest = self.waiting.back().map_or(Timestamp(i64::MIN), |last| last.time);
        // Rows from here on may stand behind a later one.
        let mut earliest = None;
        for waiting in waiting {
            if waiting.time < latest {
                earliest = Some(earliest.map_or(waiting.time, |time: Timestamp| time.min(waiting.time)));
            } else {
                latest = waiting.time;
            }
            self.waiting.push_back(waiting);
        }
        if let Some(earliest) = earliest {
            self.sort(earliest, rows.len());
        }
    }

    /// Sorts the new rows in; none is before `earliest`.
    fn sort(&mut self, earliest: Timestamp, n_new: usize) {
        let n_old = self.waiting.len() - n_new;
        let all = self.waiting.make_contiguous();
        let from = all[..n_old].partition_point(|have| have.time <= earliest);
        sort_by_time(&mut all[from..], &mut self.room);
    }

    /// Takes a row of the first input that waits for another time than its own.
    pub(crate) fn push_at(&mut self, batch: &Batch, row: usize, time: Timestamp) {
        let at = self.inputs[0].n_rows() as u32;
        self.inputs[0].push_unordered(batch, &[row as u32]);
        self.live[0] += 1;
        insert(&mut self.waiting, Waiting { time, input: 0, row: at });
    }

    /// Takes the error of a row of this time.
    pub(crate) fn push_fault(&mut self, input: usize, time: Timestamp, fault: &Fault) {
        let row = FAULT | self.next_fault;
        self.faults.insert(row, Fault { row: 0, ..fault.clone() });
        self.next_fault = self.next_fault.wrapping_add(1) & !FAULT;
        insert(&mut self.waiting, Waiting { time, input: input as u32, row });
    }

    /// What the first row waits for.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.waiting.front().map(|first| first.time)
    }

    /// Hands on all rows up to and including `to`, in order, in runs of one input; each error alone, without rows.
    pub(crate) fn release(&mut self, to: Timestamp, give: impl FnMut(usize, &Batch, &Selection)) {
        self.give_due(to, give);
        self.tidy();
    }

    /// The same, but what was handed on keeps its room until [`Reorder::tidy`].
    pub(crate) fn give_due(&mut self, to: Timestamp, mut give: impl FnMut(usize, &Batch, &Selection)) {
        let due = self.waiting.partition_point(|have| have.time <= to);
        if due == 0 {
            return;
        }
        let mut run = std::mem::take(&mut self.run);
        let mut input = 0;
        for at in 0..due {
            let waiting = self.waiting[at];
            if waiting.row & FAULT != 0 {
                self.give_run(input as usize, &mut run, &mut give);
                self.give_fault(waiting, &mut give);
                continue;
            }
            if waiting.input != input {
                self.give_run(input as usize, &mut run, &mut give);
                input = waiting.input;
            }
            run.push(waiting.row);
        }
        self.give_run(input as usize, &mut run, &mut give);
        self.run = run;
        self.waiting.drain(..due);
    }

    /// Removes what nobody waits for any more, when it is most of what is kept.
    pub(crate) fn tidy(&mut self) {
        (0..self.inputs.len()).for_each(|input| self.compact(input));
    }

    fn give_fault(&mut self, waiting: Waiting, give: &mut impl FnMut(usize, &Batch, &Selection)) {
        let input = waiting.input as usize;
        let nothing = Batch::empty(Arc::clone(self.inputs[input].schema()), Unit::Rows);
        let faults = self.faults.remove(&waiting.row).into_iter().collect();
        give(input, &nothing, &Selection { live: Live::All(0), faults });
    }

    fn give_run(
        &mut self,
        input: usize,
        run: &mut Vec<u32>,
        give: &mut impl FnMut(usize, &Batch, &Selection),
    ) {
        if run.is_empty() {
            return;
        }
        self.live[input] -= run.len();
        let batch = self.inputs[input].lend();
        if run.is_sorted() {
            let rows = Selection::rows(std::mem::take(run));
            give(input, batch, &rows);
            if let Live::Rows(rows) = rows.live {
                *run = rows;
            }
        } else {
            let due = &mut self.due[input];
            give(input, due.gather(batch, run), &Selection::all(run.len()));
            due.clear();
        }
        run.clear();
    }

    /// Removes released rows when they are most of what is kept.
    fn compact(&mut self, input: usize) {
        let buffer = &mut self.inputs[input];
        if self.live[input] > 0 && buffer.n_rows() < 2 * self.live[input] + 1_024 {
            return;
        }
        let mine = |waiting: &&mut Waiting| waiting.input as usize == input && waiting.row & FAULT == 0;
        let mut kept = Vec::with_capacity(self.live[input]);
        for (row, waiting) in self.waiting.iter_mut().filter(mine).enumerate() {
            kept.push(std::mem::replace(&mut waiting.row, row as u32));
        }
        buffer.keep(&kept);
    }

    /// The bytes that it has on the heap.
    pub(crate) fn memory(&self) -> usize {
        self.inputs.iter().map(|rows| size_of::<RowBuffer>() + rows.memory()).sum::<usize>()
            + (self.waiting.capacity() + self.room.rows.capacity()) * size_of::<Waiting>()
            + (self.live.capacity() * 8 + self.room.ends.capacity() * 4)
            + self.faults.values().map(|fault| size_of::<(u32, Fault)>() + fault.message.len()).sum::<usize>()
    }

    /// Writes the waiting rows.
    pub(crate) fn save(&self, out: &mut StateWriter) {
        out.u64(self.waiting.len() as u64);
        for waiting in &self.waiting {
            out.time(waiting.time);
            out.u64(u64::from(waiting.input));
            out.u64(u64::from(waiting.row));
        }
        self.inputs.iter().for_each(|buffer| buffer.save(out));
        out.u64(self.faults.len() as u64);
        for (number, fault) in &self.faults {
            out.u64(u64::from(*number));
            out.text(&fault.message);
            out.time(fault.time.unwrap_or_default());
        }
    }

    /// Reads what [`Reorder::save`] wrote.
    pub(crate) fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        self.waiting.clear();
        self.live.fill(0);
        for _ in 0..from.read_len()? {
            let waiting = Waiting { time: from.time()?, input: from.u64()? as u32, row: from.u64()? as u32 };
            let live = self.live.get_mut(waiting.input as usize);
            let live = live.ok_or_else(|| StateError("a row of an unknown input".to_owned()))?;
            *live += usize::from(waiting.row & FAULT == 0);
            self.waiting.push_back(waiting);
        }
        self.inputs.iter_mut().try_for_each(|buffer| buffer.load(from))?;
        self.faults.clear();
        for _ in 0..from.read_len()? {
            let (number, message) = (from.u64()? as u32, Arc::from(from.text()?));
            self.faults.insert(number, Fault { row: 0, message, time: Some(from.time()?) });
            self.next_fault = (number & !FAULT).wrapping_add(1) & !FAULT;
        }
        let there = |waiting: &Waiting| match waiting.row & FAULT {
            0 => (waiting.row as usize) < self.inputs[waiting.input as usize].n_rows(),
            _ => self.faults.contains_key(&waiting.row),
        };
        if self.waiting.iter().all(there) {
            Ok(())
        } else {
            Err(StateError("a waiting row is lost".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_wait_by_time_and_those_of_one_time_in_order_of_arrival(
            times in prop::collection::vec(prop_oneof![-40i64..40, Just(i64::MIN), Just(i64::MAX)], 0..200),
            is_close in any::<bool>(),
        ) {
            let close = |time: &i64| if is_close { *time.clamp(&-40, &40) } else { *time };
            let row = |(row, time): (usize, &i64)| Waiting { time: Timestamp(close(time)), input: 0, row: row as u32 };
            let mut rows: Vec<Waiting> = times.iter().enumerate().map(row).collect();
            let (mut one_by_one, mut merged) = (VecDeque::new(), VecDeque::new());
            rows.iter().for_each(|row| insert(&mut one_by_one, *row));
            rows.clone().chunks_mut(7).for_each(|rows| merge(&mut merged, rows));
            sort_by_time(&mut rows, &mut Room::default());
            let number = |row: &Waiting| row.row;
            prop_assert!(rows.iter().map(number).eq(one_by_one.iter().map(number)));
            prop_assert!(merged.iter().map(number).eq(one_by_one.iter().map(number)));
        }
    }
}
