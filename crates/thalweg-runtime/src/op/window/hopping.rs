//! Hopping windows: fixed length, one at each multiple of the hop, `[end - length, end)` (W-2, W-8).
//!
//! With a hop longer than the length there are gaps, whose rows no window holds (W-9).

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Timestamp, WindowRange};
use thalweg_plan::TimeUnit;

use super::align::boundary_after;
use super::panes::Grid;
use super::{Assigner, Held, Incoming, load_time, save_time};
use crate::operator::{Emit, OpCx};

pub(super) struct Hopping {
    unit: TimeUnit,
    length: i64,
    hop: i64,
    /// Absent until the first window is known.
    end: Option<Timestamp>,
    /// With gaps between windows, the first one reaches back only as far as if the rule had started a hop before its
    /// end: rows before this are in none. Upstream does so in processing time.
    from: Timestamp,
}

impl Hopping {
    pub(super) fn new(unit: TimeUnit, length: i64, hop: i64) -> Self {
        Self { unit, length: length.max(1), hop: hop.max(1), end: None, from: Timestamp(i64::MIN) }
    }

    fn open(&mut self, at: Timestamp, cx: &OpCx<'_>) {
        let first = || boundary_after(at, self.unit, self.hop, cx.rule.zone);
        self.end = Some(self.end.unwrap_or_else(first));
    }
}

impl Hopping {
    /// Windows begin and end there.
    fn grid(&self) -> Option<Grid> {
        let phases = |end: Timestamp| [end, end.plus(-self.length)];
        self.end.map(|end| Grid { phases: phases(end), step: self.hop, also: self.from })
    }
}

impl Assigner for Hopping {
    fn start(&mut self, cx: &OpCx<'_>) {
        if self.end.is_none() && self.hop > self.length {
            self.from = cx.now.plus(self.hop - self.length);
        }
        self.open(cx.now, cx);
    }

    fn rows(&mut self, rows: Incoming<'_>, held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>) {
        self.open(held.time_of(rows.batch, rows.rows[0]), cx);
        let last = held.push(rows, self.grid(), cx);
        if !held.event_time {
            self.advance(last, held, out, cx);
        }
    }

    fn advance(&mut self, to: Timestamp, held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let Some(mut end) = self.end else { return };
        // At the end of time boundaries no longer advance.
        while end <= to && end < Timestamp(i64::MAX) {
            let start = end.plus(-self.length);
            held.emit(WindowRange { start, end, trigger: end }, out, cx, |_, store| {
                (store.at(start.max(self.from)), store.at(end))
            });
            held.latest = held.latest.max(end);
            end = end.plus(self.hop);
            // E-8: only what no later window can hold.
            held.drop_before(end.plus(-self.length));
            end = held.skip_to(end, to, self.hop, cx);
        }
        self.end = Some(end);
    }

    fn due(&self) -> Option<Timestamp> {
        self.end
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("hopping", 1);
        save_time(self.end, out);
        out.time(self.from);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("hopping", 1)?;
        self.end = load_time(from)?;
        self.from = from.time()?;
        Ok(())
    }
}
