//! Count windows: the last `length` rows, every `step` rows (W-14). Time plays no part, so they work in event time too
//! (W-16). Rows of all inputs count.

use std::collections::VecDeque;

use thalweg_core::WindowRange;
use thalweg_core::state::{StateError, StateReader, StateWriter};

use super::{Assigner, Held, Incoming};
use crate::operator::{Emit, OpCx};

pub(super) struct Count {
    length: usize,
    step: usize,
    /// Rows since the last step.
    since: usize,
    /// With several inputs: which one each held row came from, oldest first.
    origins: VecDeque<u32>,
}

impl Count {
    pub(super) fn new(length: u64, step: u64) -> Self {
        let length = length.max(1) as usize;
        let step = if step == 0 { length } else { step as usize };
        Self { length, step, since: 0, origins: VecDeque::new() }
    }

    /// How many rows after a step a window begins.
    fn begins(&self) -> usize {
        (self.step - self.length % self.step) % self.step
    }

    /// How many more rows come before a window begins or ends.
    fn until_cut(&self) -> usize {
        let begins = self.begins();
        if self.since < begins { begins - self.since } else { self.step - self.since }
    }

    /// Drops the oldest rows until `keep` are left.
    fn trim(&mut self, keep: usize, held: &mut Held) {
        let excess = held.len().saturating_sub(keep);
        if let [store] = &mut held.stores[..] {
            return store.drop_before(store.first() + excess as u64);
        }
        for origin in self.origins.drain(..excess.min(self.origins.len())) {
            if let Some(store) = held.stores.get_mut(origin as usize) {
                store.drop_before(store.first() + 1);
            }
        }
    }
}

impl Assigner for Count {
    fn rows(&mut self, incoming: Incoming<'_>, held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let mut rest = incoming.rows;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.until_cut()));
            rest = later;
            let time = held.push(Incoming { rows: now, ..incoming }, None, cx);
            if held.stores.len() > 1 {
                self.origins.extend(now.iter().map(|_| incoming.input as u32));
            }
            self.since += now.len();
            if self.since == self.step || self.since == self.begins() {
                held.cut();
            }
            if self.since < self.step {
                continue;
            }
            self.since = 0;
            if held.len() >= self.length {
                self.trim(self.length, held);
                let window = WindowRange { start: time, end: time, trigger: time };
                held.emit(window, out, cx, |_, store| (store.first(), store.end()));
            }
            // What a later window cannot hold: it has `step` newer rows.
            self.trim(self.length.saturating_sub(self.step), held);
        }
    }

    fn memory(&self) -> usize {
        self.origins.capacity() * 4
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("count", 1);
        out.u64(self.since as u64);
        out.u64(self.origins.len() as u64);
        self.origins.iter().for_each(|origin| out.u64(u64::from(*origin)));
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("count", 1)?;
        self.since = from.u64()? as usize;
        let len = from.read_len()?;
        self.origins = (0..len).map(|_| from.u64().map(|origin| origin as u32)).collect::<Result<_, _>>()?;
        Ok(())
    }
}
