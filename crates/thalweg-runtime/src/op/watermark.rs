//! Event time: puts rows in order, drops late ones and makes watermarks (E-1 to E-4).
//!
//! Errors of payloads pass at once. Those of a sub-query's rows have a time, and wait as the rows do.
//!
//! A row's time is already its TIMESTAMP. Rows are judged one by one, so a batch border never decides what is late,
//! nor what an advance of the watermark releases: a row that arrives behind the advance and equals it waits for the
//! next one.

use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Column, Schema, Selection, Slot, Timestamp, Unit};
use thalweg_plan::{Kind, Node};

use crate::op::reorder::Reorder;
use crate::op::signals::Merge;
use crate::op::{faults, reshape};
use crate::operator::{Emit, OpCx, Operator, Signal};

/// Orders rows. With several inputs the rows of input `i` leave by port `i` and the slowest input decides (E-2).
pub(crate) struct Watermark {
    tolerance: i64,
    lanes: Vec<Lane>,
    /// Watermarks by input; their minimum is the rule's.
    merge: Merge,
    reorder: Reorder,
    /// Rows of the batch at hand that are not late.
    kept: Vec<u32>,
    /// Rows of the batch at hand that are late, and the watermark each of them missed.
    late: Vec<(u32, Timestamp)>,
    late_schema: Arc<Schema>,
}

/// One input.
struct Lane {
    schema: Arc<Schema>,
    /// Results of a sub-query: their watermarks come with them.
    has_marks: bool,
    /// lateData: the slot with the whole row.
    whole: Option<Slot>,
}

/// What the rows of a batch did.
struct Judged {
    /// The new watermark, if it advanced.
    mark: Option<Timestamp>,
    /// So many of the kept rows were there when it did.
    n_ready: usize,
}

impl Watermark {
    pub(crate) fn new(node: &Node, late_tolerance: i64) -> Self {
        let lanes: Vec<Lane> = node.inputs.iter().map(Lane::new).collect();
        Self {
            tolerance: late_tolerance,
            merge: Merge::new(lanes.len()),
            reorder: Reorder::new(lanes.iter().map(|lane| &lane.schema)),
            lanes,
            kept: Vec::new(),
            late: Vec::new(),
            late_schema: Arc::new(Schema::computed(["*", "__late_ms"])),
        }
    }

    /// Judges each row.
    fn judge(&mut self, input: usize, batch: &Batch, rows: &Selection) -> Judged {
        self.kept.clear();
        self.late.clear();
        let makes_marks = !self.lanes[input].has_marks;
        let mut judged = Judged { mark: None, n_ready: 0 };
        for row in rows {
            let time = batch.times[row];
            if let Some(mark) = self.merge.sent().filter(|mark| time < *mark) {
                self.late.push((row as u32, mark));
                continue;
            }
            self.kept.push(row as u32);
            if makes_marks && let Some(mark) = self.merge.watermark(input, time.plus(-self.tolerance)) {
                judged = Judged { mark: Some(mark), n_ready: self.kept.len() };
            }
        }
        judged
    }

    /// Late rows go to the actions that want them, and are counted as dropped where there are none.
    fn send_late(&self, input: usize, batch: &Batch, out: &mut dyn Emit, cx: &OpCx<'_>) {
        if self.late.is_empty() {
            return;
        }
        let Some(whole) = self.lanes[input].whole else {
            return cx.metrics.dropped("late", self.late.len() as u64);
        };
        let rows: Vec<u32> = self.late.iter().map(|(row, _)| *row).collect();
        let times: Vec<Timestamp> = rows.iter().map(|row| batch.times[*row as usize]).collect();
        let mut by = Column::new();
        for ((_, mark), time) in self.late.iter().zip(&times) {
            by.push_int(mark.0.saturating_sub(time.0));
        }
        let columns = vec![Arc::new(reshape::gather(batch.column(whole), &rows)), Arc::new(by)];
        let n_rows = rows.len();
        let schema = Arc::clone(&self.late_schema);
        let late = Batch { schema, columns, n_rows, times, unit: Unit::Rows, window: None };
        out.late(&late, &Selection::all(n_rows));
    }

    /// Rows that arrive behind each other without tolerance are released without having waited.
    fn pass(&mut self, batch: &Batch, Judged { mark, n_ready }: &Judged, out: &mut dyn Emit) {
        let Some(mark) = *mark else { return };
        self.reorder.release(mark, |port, batch, rows| out.batch(port, batch, rows));
        out.batch(0, batch, &Selection::rows(self.kept[..*n_ready].to_vec()));
    }
}

impl Lane {
    fn new(input: &Node) -> Self {
        let whole = match &input.kind {
            Kind::Scan(scan) => scan.late,
            _ => None,
        };
        let has_marks = !matches!(input.kind, Kind::Scan(_));
        Self { schema: Arc::clone(&input.schema), has_marks, whole }
    }
}

impl Operator for Watermark {
    fn on_batch(
        &mut self,
        input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        if let Some(runs) = faults::runs(batch, rows) {
            return runs.iter().for_each(|run| self.on_batch(input, batch, run, out, cx));
        }
        for fault in &rows.faults {
            match fault.time.filter(|_| self.lanes[input].has_marks) {
                Some(time) => self.reorder.push_fault(input, time, fault),
                None => faults::send(vec![fault.clone()], input, &self.lanes[input].schema, out),
            }
        }
        let judged = self.judge(input, batch, rows);
        self.send_late(input, batch, out, cx);
        let (ready, waiting) = self.kept.split_at(judged.n_ready);
        if self.lanes.len() == 1 && self.tolerance == 0 {
            let waiting = waiting.to_vec();
            self.pass(batch, &judged, out);
            self.reorder.push(input, batch, &waiting);
        } else {
            let first = self.reorder.take(input, batch, &self.kept);
            self.reorder.wait(input, batch, ready, first);
            if let Some(mark) = judged.mark {
                self.reorder.give_due(mark, |port, batch, rows| out.batch(port, batch, rows));
            }
            self.reorder.wait(input, batch, waiting, first + ready.len() as u32);
            self.reorder.tidy();
        }
        if let Some(mark) = judged.mark {
            out.signal(Signal::Watermark(mark));
        }
    }

    /// Nothing is flushed at the end (E-4). A lane that makes its own watermarks takes none from further up.
    fn on_signal(&mut self, input: usize, signal: Signal, out: &mut dyn Emit, _cx: &mut OpCx<'_>) {
        let is_mark = matches!(signal, Signal::Watermark(_));
        if is_mark && !self.lanes[input].has_marks {
            return;
        }
        let Some(signal) = self.merge.take(input, signal) else { return };
        if let Signal::Watermark(mark) = signal {
            self.reorder.release(mark, |port, batch, rows| out.batch(port, batch, rows));
        }
        out.signal(signal);
    }

    fn progress(&self) -> Option<(Timestamp, Timestamp)> {
        self.merge.sent().map(|mark| (mark, mark.plus(self.tolerance)))
    }

    fn let_go(&mut self) {
        self.reorder = Reorder::new(self.lanes.iter().map(|lane| &lane.schema));
        (self.kept, self.late) = (Vec::new(), Vec::new());
    }

    fn memory(&self) -> usize {
        self.reorder.memory()
            + self.kept.capacity() * 4
            + self.late.capacity() * size_of::<(u32, Timestamp)>()
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("watermark", 2);
        self.merge.save(out);
        self.reorder.save(out);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("watermark", 2)?;
        self.merge.load(from)?;
        self.reorder.load(from)
    }
}
