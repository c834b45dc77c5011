//! Sliding windows: one for each triggering row, looking back (W-11).
//!
//! Without delay the members are `[t - length, t]` as far as they have arrived; the trigger is the last of its own
//! input. With a delay the window closes that much later, with `[t - length, t + delay)`.

use std::collections::VecDeque;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Selection, Timestamp, WindowRange};
use thalweg_expr::Expr;

use super::{Assigner, Held, Incoming};
use crate::op::condition::{Nulls, Picked};
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
    condition: Option<Expr>,
    pending: VecDeque<Trigger>,
    picked: Picked,
}

impl Sliding {
    pub(super) fn new(length: i64, delay: i64, condition: Option<Expr>) -> Self {
        Self { length, delay: delay.max(0), condition, pending: VecDeque::new(), picked: Picked::default() }
    }

    /// Judges which rows trigger. A condition that fails or is no boolean is false and counted (S50).
    fn pick(&mut self, incoming: Incoming<'_>, cx: &OpCx<'_>) {
        let Some(condition) = &self.condition else { return };
        let rows = Selection::rows(incoming.rows.to_vec());
        let column = condition.eval(incoming.batch, &rows, &mut cx.eval(None));
        self.picked.pick(&column, &rows, incoming.batch.n_rows, Nulls::False);
        for (_, message) in &self.picked.bad {
            cx.metrics.exception(&format!("run window trigger error: {message}"), cx.now);
        }
    }

    fn emit(&self, trigger: Trigger, held: &mut Held, out: &mut dyn Emit) {
        let start = trigger.time.plus(-self.length);
        let end = trigger.time.plus(self.delay);
        let delayed = self.delay > 0;
        held.emit(WindowRange { start, end, trigger: end }, out, |input, buffer| {
            let to = match (delayed, input == trigger.input) {
                (true, _) => buffer.at(end),
                (false, true) => trigger.position + 1,
                (false, false) => buffer.at(end.plus(1)),
            };
            (buffer.at(start), to)
        });
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
        let first = held.buffers[input].end();
        let last = held.push(incoming);
        for (position, row) in (first..).zip(incoming.rows) {
            if self.condition.is_some() && !self.picked.has(*row as usize) {
                continue;
            }
            let buffer = &held.buffers[input];
            let time = buffer.batch().times[buffer.row(position)];
            let trigger = Trigger { time, input, position };
            if self.delay == 0 && !held.event_time {
                self.emit(trigger, held, out);
            } else {
                self.pending.push_back(trigger);
            }
        }
        if held.event_time {
            return;
        }
        self.advance(last, held, out, cx);
        self.prune(held);
    }

    fn advance(&mut self, to: Timestamp, held: &mut Held, out: &mut dyn Emit, _cx: &OpCx<'_>) {
        while let Some(trigger) =
            self.pending.front().copied().filter(|next| next.time.plus(self.delay) <= to)
        {
            self.pending.pop_front();
            self.emit(trigger, held, out);
        }
        if !held.event_time {
            held.latest = held.latest.max(to);
        }
        self.prune(held);
    }

    fn due(&self) -> Option<Timestamp> {
        self.pending.front().map(|trigger| trigger.time.plus(self.delay))
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("sliding", 1);
        out.u64(self.pending.len() as u64);
        for trigger in &self.pending {
            out.time(trigger.time);
            out.u64(trigger.input as u64);
            out.u64(trigger.position);
        }
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("sliding", 1)?;
        self.pending.clear();
        for _ in 0..from.read_len()? {
            let (time, input, position) = (from.time()?, from.u64()? as usize, from.u64()?);
            self.pending.push_back(Trigger { time, input, position });
        }
        Ok(())
    }
}
