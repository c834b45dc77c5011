//! Signals of several inputs become one: watermarks by minimum, the end when all have ended, a barrier once.

use thalweg_core::Timestamp;
use thalweg_core::state::{StateError, StateReader, StateWriter};

use crate::operator::Signal;

/// What each input has said.
#[derive(Debug)]
pub(crate) struct Merge {
    /// An input without a watermark holds all back (E-2).
    marks: Vec<Option<Timestamp>>,
    ended: Vec<bool>,
    sent: Option<Timestamp>,
    barrier: Option<i64>,
}

impl Merge {
    pub(crate) fn new(inputs: usize) -> Self {
        Self { marks: vec![None; inputs], ended: vec![false; inputs], sent: None, barrier: None }
    }

    /// Takes a signal; what is to be handed on.
    pub(crate) fn take(&mut self, input: usize, signal: Signal) -> Option<Signal> {
        match signal {
            Signal::Watermark(mark) => self.watermark(input, mark).map(Signal::Watermark),
            Signal::Barrier(epoch) => (self.barrier.replace(epoch) != Some(epoch)).then_some(signal),
            Signal::End => {
                if let Some(ended) = self.ended.get_mut(input) {
                    *ended = true;
                }
                self.ended.iter().all(|ended| *ended).then_some(signal)
            }
        }
    }

    /// The common watermark, when it has advanced.
    pub(crate) fn watermark(&mut self, input: usize, mark: Timestamp) -> Option<Timestamp> {
        let slot = self.marks.get_mut(input)?;
        if *slot >= Some(mark) {
            return None;
        }
        *slot = (*slot).max(Some(mark));
        let common = self.marks.iter().copied().min().flatten()?;
        if self.sent.is_some_and(|sent| sent >= common) {
            return None;
        }
        self.sent = Some(common);
        self.sent
    }

    /// The common watermark last handed on.
    pub(crate) fn sent(&self) -> Option<Timestamp> {
        self.sent
    }

    pub(crate) fn save(&self, out: &mut StateWriter) {
        out.u64(self.marks.len() as u64);
        for mark in self.marks.iter().chain([&self.sent]) {
            out.bool(mark.is_some());
            out.time(mark.unwrap_or_default());
        }
    }

    pub(crate) fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        if from.u64()? != self.marks.len() as u64 {
            return Err(StateError("another number of inputs".to_owned()));
        }
        for mark in self.marks.iter_mut().chain([&mut self.sent]) {
            let there = from.bool()?;
            let time = from.time()?;
            *mark = there.then_some(time);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e2_the_watermark_is_the_minimum_and_needs_every_input() {
        let mut merge = Merge::new(2);
        assert_eq!(merge.watermark(0, Timestamp(50)), None);
        assert_eq!(merge.watermark(1, Timestamp(10)), Some(Timestamp(10)));
        assert_eq!(merge.watermark(0, Timestamp(60)), None);
        assert_eq!(merge.watermark(1, Timestamp(70)), Some(Timestamp(60)));
    }

    #[test]
    fn the_end_comes_when_all_inputs_have_ended_and_a_barrier_once() {
        let mut merge = Merge::new(2);
        assert_eq!(merge.take(0, Signal::End), None);
        assert_eq!(merge.take(1, Signal::End), Some(Signal::End));
        assert_eq!(merge.take(0, Signal::Barrier(7)), Some(Signal::Barrier(7)));
        assert_eq!(merge.take(1, Signal::Barrier(7)), None);
    }
}
