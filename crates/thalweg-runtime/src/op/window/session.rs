//! Session windows: end after a pause, or at a tick once they are long enough (W-12).
//!
//! Ticks are aligned like windows of the maximal duration and close a session only if its first row is at least that
//! old, so a session lasts up to nearly twice as long. After a tick the session goes on with the tick as its start.

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Timestamp, WindowRange};
use thalweg_plan::TimeUnit;

use super::align::boundary_after;
use super::{Assigner, Held, Incoming, load_time, save_time};
use crate::operator::{Emit, OpCx};

pub(super) struct Session {
    unit: TimeUnit,
    max_duration: i64,
    timeout: i64,
    /// `window_start()` and the time of the first row, while rows are held.
    open: Option<(Timestamp, Timestamp)>,
    last: Timestamp,
    /// The tick that closed a part of the session, until it ends by a pause.
    resume: Option<Timestamp>,
    tick: Option<Timestamp>,
}

impl Session {
    pub(super) fn new(unit: TimeUnit, max_duration: i64, timeout: i64) -> Self {
        Self {
            unit,
            max_duration: max_duration.max(1),
            timeout: timeout.max(1),
            open: None,
            last: Timestamp(i64::MIN),
            resume: None,
            tick: None,
        }
    }

    fn align(&mut self, at: Timestamp, cx: &OpCx<'_>) {
        if self.tick.is_none() {
            self.tick = Some(boundary_after(at, self.unit, self.max_duration, cx.rule.zone));
        }
    }

    /// When something may close. In event time a gap, and the age at a tick, must be exceeded (W-12, E-7).
    fn next(&self, event_time: bool) -> Option<Timestamp> {
        self.open?;
        let pause = self.last.plus(self.timeout + i64::from(event_time));
        Some(self.tick.map_or(pause, |tick| tick.min(pause)))
    }

    fn close_due(&mut self, to: Timestamp, held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let slack = i64::from(held.event_time);
        while let Some(due) = self.next(held.event_time).filter(|due| *due <= to) {
            if due >= self.last.plus(self.timeout + slack) {
                self.emit(self.last.plus(self.timeout), held, out, cx);
                self.resume = None;
                continue;
            }
            let oldest = due.plus(-self.max_duration - slack);
            if self.open.is_some_and(|(_, first)| first <= oldest) {
                self.emit(due, held, out, cx);
                self.resume = Some(due);
            }
            self.tick = Some(due.plus(self.max_duration));
        }
        self.skip_ticks(to);
    }

    /// Ticks that pass while nothing is held do nothing.
    fn skip_ticks(&mut self, to: Timestamp) {
        if let (Some(tick), None) = (self.tick, self.open)
            && tick <= to
        {
            // Wide, because two timestamps may lie further apart than an i64 can hold.
            let max = i128::from(self.max_duration);
            let passed = (i128::from(to.0) - i128::from(tick.0)) / max + 1;
            let next = i128::from(tick.0) + passed * max;
            self.tick = Some(Timestamp(i64::try_from(next).unwrap_or(i64::MAX)));
        }
    }

    fn emit(&mut self, end: Timestamp, held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>) {
        if let Some((start, _)) = self.open.take() {
            held.emit_all(WindowRange { start, end, trigger: end }, out, cx);
        }
    }

    /// Takes rows as long as the session is open and nothing is due; gives their number.
    fn go_on(&mut self, incoming: Incoming<'_>, held: &Held) -> usize {
        if self.open.is_none() {
            return 0;
        }
        let pause = self.timeout.saturating_add(i64::from(held.event_time));
        let tick = self.tick.unwrap_or(Timestamp(i64::MAX));
        let mut last = self.last;
        // What comes before the pause of the first is over can end nothing, whatever comes before it.
        let bound = tick.min(last.plus(pause));
        if last.max(held.latest) < bound
            && let (n_before @ 1.., latest) = incoming.before(bound)
        {
            self.last = last.max(held.latest).max(latest);
            return n_before;
        }
        let ends = |row: &u32| {
            let time = held.time_of(incoming.batch, *row).max(last);
            let ends = time >= tick || time >= last.plus(pause);
            last = if ends { last } else { time };
            ends
        };
        let taken = incoming.rows.iter().position(ends).unwrap_or(incoming.rows.len());
        self.last = last;
        taken
    }

    fn add(&mut self, time: Timestamp, event_time: bool) {
        if self.open.is_none() {
            let within = time < self.last.plus(self.timeout + i64::from(event_time));
            let start = self.resume.take().filter(|_| within).unwrap_or(time);
            self.open = Some((start, time));
        }
        self.last = time;
    }
}

impl Assigner for Session {
    fn start(&mut self, cx: &OpCx<'_>) {
        self.align(cx.now, cx);
    }

    fn rows(&mut self, incoming: Incoming<'_>, held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let Incoming { batch, rows, .. } = incoming;
        self.align(held.time_of(batch, rows[0]), cx);
        let (mut run, mut at) = (0, 0);
        loop {
            at += self.go_on(Incoming { rows: &rows[at..], ..incoming }, held);
            let Some(row) = rows.get(at) else { break };
            let time = held.time_of(batch, *row).max(self.last);
            let due = self.next(held.event_time).is_some_and(|due| due <= time);
            if due && run < at {
                held.push(Incoming { rows: &rows[run..at], ..incoming }, None, cx);
                run = at;
            }
            if due || self.open.is_none() {
                self.close_due(time, held, out, cx);
            }
            self.add(time, held.event_time);
            at += 1;
        }
        held.push(Incoming { rows: &rows[run..], ..incoming }, None, cx);
    }

    fn advance(&mut self, to: Timestamp, held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>) {
        held.latest = held.latest.max(to);
        self.close_due(to, held, out, cx);
    }

    fn due(&self) -> Option<Timestamp> {
        self.next(false)
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("session", 1);
        save_time(self.open.map(|(start, _)| start), out);
        out.time(self.open.map_or(Timestamp(0), |(_, first)| first));
        out.time(self.last);
        save_time(self.resume, out);
        save_time(self.tick, out);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("session", 1)?;
        let start = load_time(from)?;
        let first = from.time()?;
        self.open = start.map(|start| (start, first));
        self.last = from.time()?;
        self.resume = load_time(from)?;
        self.tick = load_time(from)?;
        Ok(())
    }
}
