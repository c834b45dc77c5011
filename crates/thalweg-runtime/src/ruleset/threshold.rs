//! The bounds of one number column, sorted, so that a row meets a run of them (`<`, `<=`, `>`, `>=`, BETWEEN).

use super::mask;

/// Bounds in one direction: a value meets those from the first up to the one that is too high for it.
#[derive(Default)]
pub(super) struct Ramp {
    steps: Vec<Step>,
    /// How many bounds each row of the batch at hand meets.
    depths: Vec<u32>,
    /// Room for the rows in the order of their depth.
    order: Vec<u64>,
    /// The rows that meet the bound at hand.
    meeting: Vec<u64>,
}

/// One bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub bound: f64,
    /// `>`, not `>=`.
    pub is_strict: bool,
    pub id: u32,
}

impl Step {
    #[inline]
    fn is_met(&self, value: f64) -> bool {
        value > self.bound || !self.is_strict && value == self.bound
    }

    /// Whether everything that meets the other meets this one.
    fn is_easier(&self, bound: f64, is_strict: bool) -> bool {
        self.bound < bound || self.bound == bound && !self.is_strict && is_strict
    }
}

impl Ramp {
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    fn place(&self, bound: f64, is_strict: bool) -> usize {
        self.steps.partition_point(|step| step.is_easier(bound, is_strict))
    }

    /// The step with this bound.
    pub(super) fn find(&self, bound: f64, is_strict: bool) -> Option<u32> {
        let step = self.steps.get(self.place(bound, is_strict))?;
        (step.bound == bound && step.is_strict == is_strict).then_some(step.id)
    }

    /// Adds a bound that is not there.
    pub(super) fn insert(&mut self, step: Step) {
        let at = self.place(step.bound, step.is_strict);
        self.steps.insert(at, step);
    }

    /// Takes a bound out.
    pub(super) fn remove(&mut self, bound: f64, is_strict: bool) {
        let at = self.place(bound, is_strict);
        if self.steps.get(at).is_some_and(|step| step.bound == bound && step.is_strict == is_strict) {
            self.steps.remove(at);
        }
    }

    /// Finds out how many bounds each value meets (NaN: none), and how many that are in all.
    pub(super) fn measure(&mut self, values: &[f64], sign: f64) -> usize {
        self.depths.clear();
        if self.steps.is_empty() {
            return 0;
        }
        let steps = &self.steps;
        let depth = |value: &f64| steps.partition_point(|step| step.is_met(sign * value)) as u32;
        self.depths.extend(values.iter().map(depth));
        self.depths.iter().map(|depth| *depth as usize).sum()
    }

    /// The steps that a row meets.
    pub(super) fn met(&self, row: usize) -> impl Iterator<Item = u32> {
        let depth = self.depths.get(row).copied().unwrap_or_default();
        self.steps[..depth as usize].iter().map(|step| step.id)
    }

    /// All steps, in the order of their bounds.
    #[cfg(test)]
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.steps.iter().map(|step| step.id)
    }

    /// The steps that any row of the batch meets.
    pub(super) fn reached(&self) -> impl Iterator<Item = u32> {
        let depth = self.depths.iter().max().copied().unwrap_or_default();
        self.steps[..depth as usize].iter().map(|step| step.id)
    }

    /// Writes for every step the set of rows that meet it: each differs from its neighbour's by few rows.
    pub(super) fn spread(&mut self, words: usize, into: &mut [u64]) {
        self.order.clear();
        let depths = self.depths.iter().enumerate().filter(|(_, depth)| **depth > 0);
        self.order.extend(depths.map(|(row, depth)| u64::from(*depth) << 32 | row as u64));
        self.order.sort_unstable();
        let mut rows = self.order.iter().rev().peekable();
        self.meeting.clear();
        self.meeting.resize(words, 0);
        for (at, step) in self.steps.iter().enumerate().rev() {
            while let Some(row) = rows.next_if(|entry| **entry >> 32 > at as u64) {
                let row = *row as u32 as usize;
                self.meeting[row / 64] |= 1 << (row % 64);
            }
            into[step.id as usize * words..][..words].copy_from_slice(&self.meeting);
        }
    }
}

/// What choosing the cheaper way looks at: pairs of rows and bounds met, beside bounds and conditions that would be
/// gone through whole (hot-path.md 3.1).
pub(super) fn prefers_masks(met: usize, n_steps: usize, n_conditions: usize, rows: usize) -> bool {
    // Nanoseconds for one pair, for a set apart from its words, and for a word.
    const PAIR: usize = 6;
    const SET: usize = 8;
    const WORD: usize = 1;
    let words = mask::words_for(rows);
    met * PAIR > (n_steps + n_conditions) * (SET + WORD * words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn depths_and_sets_say_what_comparing_says(
            bounds in prop::collection::btree_set((-4i8..5, any::<bool>()), 0..8),
            values in prop::collection::vec(prop_oneof![Just(f64::NAN), (-4i8..5).prop_map(f64::from)], 1..150),
        ) {
            let mut ramp = Ramp::default();
            for (id, (bound, is_strict)) in bounds.iter().enumerate() {
                ramp.insert(Step { bound: f64::from(*bound), is_strict: *is_strict, id: id as u32 });
            }
            let words = mask::words_for(values.len());
            let mut sets = vec![7; bounds.len() * words];
            let met = ramp.measure(&values, 1.0);
            ramp.spread(words, &mut sets);
            let mut expected = 0;
            for (id, (bound, is_strict)) in bounds.iter().enumerate() {
                let bound = f64::from(*bound);
                prop_assert_eq!(ramp.find(bound, *is_strict), Some(id as u32));
                for (row, value) in values.iter().enumerate() {
                    let holds = if *is_strict { *value > bound } else { *value >= bound };
                    expected += usize::from(holds);
                    prop_assert_eq!(sets[id * words + row / 64] >> (row % 64) & 1 == 1, holds);
                    prop_assert_eq!(ramp.met(row).any(|step| step == id as u32), holds);
                }
            }
            prop_assert_eq!(met, expected);
            for (bound, is_strict) in &bounds {
                ramp.remove(f64::from(*bound), *is_strict);
            }
            prop_assert_eq!(ramp.len(), 0);
        }
    }
}
