//! Tumbling windows: fixed length, no overlap, `[end - length, end)` (W-2).
//!
//! Empty ones are emitted too (W-6). The first one starts when the rule does, or in event time with the first row
//! (W-5).

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Timestamp, WindowRange};
use thalweg_plan::TimeUnit;

use super::align::boundary_after;
use super::panes::Grid;
use super::{Assigner, Held, Incoming, load_time, save_time};
use crate::operator::{Emit, OpCx};

pub(super) struct Tumbling {
    unit: TimeUnit,
    length: i64,
    start: Timestamp,
    /// Absent until the first window is known.
    end: Option<Timestamp>,
}

impl Tumbling {
    pub(super) fn new(unit: TimeUnit, length: i64) -> Self {
        Self { unit, length: length.max(1), start: Timestamp(0), end: None }
    }

    fn open(&mut self, at: Timestamp, cx: &OpCx<'_>) {
        if self.end.is_none() {
            self.start = at;
            self.end = Some(boundary_after(at, self.unit, self.length, cx.rule.zone));
        }
    }
}

impl Tumbling {
    fn grid(&self) -> Option<Grid> {
        self.end.map(|end| Grid { phases: [end, end], step: self.length, also: end })
    }
}

impl Assigner for Tumbling {
    fn start(&mut self, cx: &OpCx<'_>) {
        self.open(cx.now, cx);
    }

    fn rows(&mut self, rows: Incoming<'_>, held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>) {
        self.open(held.time_of(rows.batch, rows.rows[0]), cx);
        if held.event_time {
            held.push(rows, self.grid(), cx);
            return;
        }
        // A window closes before the first row of another comes, so that what is kept is handed on whole.
        let mut rest = rows.rows;
        while let Some(row) = rest.first() {
            self.advance(held.time_of(rows.batch, *row), held, out, cx);
            let in_window = match self.end {
                Some(end) => Incoming { rows: rest, ..rows }.before(end).0.max(1),
                None => rest.len(),
            };
            let (now, later) = rest.split_at(in_window);
            held.push(Incoming { rows: now, ..rows }, self.grid(), cx);
            rest = later;
        }
    }

    fn advance(&mut self, to: Timestamp, held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let Some(mut end) = self.end else { return };
        // At the end of time boundaries no longer advance.
        while end <= to && end < Timestamp(i64::MAX) {
            let window = WindowRange { start: self.start, end, trigger: end };
            held.emit(window, out, cx, |_, store| (store.first(), store.at(end)));
            held.drop_before(end);
            held.latest = held.latest.max(end);
            let next = held.skip_to(end.plus(self.length), to, self.length, cx);
            self.start = next.plus(-self.length);
            end = next;
        }
        self.end = Some(end);
    }

    fn due(&self) -> Option<Timestamp> {
        self.end
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("tumbling", 1);
        out.time(self.start);
        save_time(self.end, out);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("tumbling", 1)?;
        self.start = from.time()?;
        self.end = load_time(from)?;
        Ok(())
    }
}
