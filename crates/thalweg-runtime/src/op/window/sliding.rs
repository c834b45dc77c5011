//! Sliding windows: one for each triggering row, looking back (W-11).
//!
//! Without delay the members are `[t - length, t]` as far as they have arrived; the trigger is the last of its own
//! input. With a delay the window closes that much later, with `[t - length, t + delay)`; on demand it is sent in two
//! parts instead, `(t - length, t]` at once and `(t, t + delay]` after the delay.

use std::collections::VecDeque;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Timestamp, WindowRange};
use thalweg_expr::Expr;

use super::{Assigner, Held, Incoming};
use crate::op::condition::{Nulls, Picked};
use crate::op::hits::Condition;
use crate::operator::{Emit, OpCx};

/// A row that triggers a window which is not yet closed.
#[derive(Clone, Copy)]
struct Trigger {
    time: Timestamp,
    input: usize,
    position: u64,
}

pub(super) struct Sliding {
    length: i64,
    delay: i64,
    /// One an input, or none: every row triggers.
    conditions: Vec<Condition>,
    /// Each window is sent in two parts, before and after the delay.
    twice: bool,
    /// Sent in two parts: triggers whose first part is not yet sent.
    fresh: VecDeque<Trigger>,
    pending: VecDeque<Trigger>,
    picked: Picked,
}

impl Sliding {
    pub(super) fn new(length: i64, delay: i64, twice: bool, conditions: Vec<Expr>) -> Self {
        let conditions = conditions.iter().map(Condition::new).collect();
        Self {
            length,
            delay: delay.max(0),
            conditions,
            twice,
            fresh: VecDeque::new(),
            pending: VecDeque::new(),
            picked: Picked::default(),
        }
    }

    /// Judges which rows trigger. A condition that fails or is no boolean is false and counted (S50).
    fn pick(&mut self, incoming: Incoming<'_>, cx: &OpCx<'_>) {
        let Some(condition) = self.conditions.get_mut(incoming.input) else { return };
        let rows = incoming.selection();
        let mut eval = cx.eval(None);
        match condition.plain() {
            Some(condition) => self.picked.ask(condition, (incoming.batch, &rows), Nulls::False, &mut eval),
            None => {
                let column = condition.eval_rows(incoming.batch, &rows, &mut eval);
                self.picked.pick(&column, &rows, incoming.batch.n_rows, Nulls::False);
            }
        }
        for (_, message) in &self.picked.bad {
            cx.metrics.exception(&format!("run window trigger error: {message}"), cx.now);
        }
        // A hit is a hit, whichever stream the row came from.
        let hits = condition.hits();
        self.conditions.iter_mut().for_each(|condition| condition.set_hits(hits));
    }

    fn emit(&self, trigger: Trigger, held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let start = trigger.time.plus(-self.length);
        let end = trigger.time.plus(self.delay);
        let delayed = self.delay > 0;
        held.emit(WindowRange { start, end, trigger: end }, out, cx, |input, buffer| {
            let to = match (delayed, input == trigger.input) {
                (true, _) => buffer.at(end),
                (false, true) => trigger.position + 1,
                (false, false) => buffer.at(end.plus(1)),
            };
            (buffer.at(start), to)
        });
    }

    /// The first part, `(t - length, t]`, or the second, `(t, t + delay]`.
    fn emit_part(
        &self,
        trigger: Trigger,
        is_first: bool,
        held: &mut Held,
        out: &mut dyn Emit,
        cx: &OpCx<'_>,
    ) {
        let (before, after) = (trigger.time.plus(-self.length), trigger.time.plus(self.delay));
        let (start, end) = if is_first { (before, trigger.time) } else { (trigger.time, after) };
        held.emit(WindowRange { start, end, trigger: trigger.time }, out, cx, |input, buffer| {
            let middle = match input == trigger.input {
                true => trigger.position + 1,
                false => buffer.at(trigger.time.plus(1)),
            };
            if is_first { (buffer.at(start.plus(1)), middle) } else { (middle, buffer.at(end.plus(1))) }
        });
    }

    /// Sends what is due up to a time, in the order of the moments.
    fn emit_due(&mut self, to: Timestamp, held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>) {
        loop {
            let first = self.fresh.front().map(|trigger| trigger.time);
            let second = self.pending.front().map(|trigger| trigger.time.plus(self.delay));
            if let Some(first) = first
                && first <= to
                && second.is_none_or(|second| first <= second)
                && let Some(trigger) = self.fresh.pop_front()
            {
                self.emit_part(trigger, true, held, out, cx);
            } else if second.is_some_and(|second| second <= to)
                && let Some(trigger) = self.pending.pop_front()
            {
                if self.twice {
                    self.emit_part(trigger, false, held, out, cx);
                } else {
                    self.emit(trigger, held, out, cx);
                }
            } else {
                return;
            }
        }
    }

    /// Drops what no pending or later trigger can see.
    fn prune(&self, held: &mut Held) {
        let oldest = self.pending.front().map_or(held.latest, |trigger| trigger.time);
        held.drop_before(oldest.plus(-self.length));
    }
}

impl Assigner for Sliding {
    fn rows(&mut self, incoming: Incoming<'_>, held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>) {
        self.pick(incoming, cx);
        let input = incoming.input;
        let first = held.stores[input].end();
        let mut time = held.latest;
        let last = held.push(incoming, None, cx);
        for (position, row) in (first..).zip(incoming.rows) {
            time = time.max(incoming.batch.times[*row as usize]);
            if !self.conditions.is_empty() && !self.picked.has(*row as usize) {
                continue;
            }
            let trigger = Trigger { time, input, position };
            if self.delay == 0 && !held.event_time {
                self.emit(trigger, held, out, cx);
            } else {
                self.pending.push_back(trigger);
                if self.twice && held.event_time {
                    self.fresh.push_back(trigger);
                } else if self.twice {
                    self.emit_part(trigger, true, held, out, cx);
                }
            }
        }
        if held.event_time {
            return;
        }
        self.advance(last, held, out, cx);
        self.prune(held);
    }

    fn advance(&mut self, to: Timestamp, held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>) {
        self.emit_due(to, held, out, cx);
        if !held.event_time {
            held.latest = held.latest.max(to);
        }
        self.prune(held);
    }

    fn due(&self) -> Option<Timestamp> {
        self.pending.front().map(|trigger| trigger.time.plus(self.delay))
    }

    fn memory(&self) -> usize {
        (self.fresh.capacity() + self.pending.capacity()) * size_of::<Trigger>()
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("sliding", 1);
        self.conditions.iter().for_each(|condition| condition.save(out));
        for triggers in [&self.pending, &self.fresh] {
            out.u64(triggers.len() as u64);
            for trigger in triggers {
                out.time(trigger.time);
                out.u64(trigger.input as u64);
                out.u64(trigger.position);
            }
        }
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("sliding", 1)?;
        self.conditions.iter_mut().try_for_each(|condition| condition.load(from))?;
        for triggers in [&mut self.pending, &mut self.fresh] {
            triggers.clear();
            for _ in 0..from.read_len()? {
                let (time, input, position) = (from.time()?, from.u64()? as usize, from.u64()?);
                triggers.push_back(Trigger { time, input, position });
            }
        }
        Ok(())
    }
}
