//! Where inputs come from: a stream of small numbers, random or given.
//!
//! Everything random about an input is a choice below some bound, and 0 is always the simplest one. So an input is
//! its list of choices, and a shorter or smaller list is a simpler input: shrinking knows nothing of SQL or JSON.

/// Gives choices and remembers them.
#[derive(Debug, Clone)]
pub struct Choices {
    state: u64,
    /// Choices to give before anything else.
    script: Vec<u64>,
    /// Choices given.
    made: Vec<u64>,
    /// From where to where one part of the input was chosen: what shrinking leaves out as a whole.
    parts: Vec<(usize, usize)>,
    /// Whether choices behind the script are 0 instead of random.
    is_replay: bool,
}

impl Choices {
    /// Random ones; equal seeds give equal choices.
    pub fn random(seed: u64) -> Self {
        Self { state: seed, script: Vec::new(), made: Vec::new(), parts: Vec::new(), is_replay: false }
    }

    /// These, and then zeros.
    pub fn replay(script: Vec<u64>) -> Self {
        Self { state: 0, script, made: Vec::new(), parts: Vec::new(), is_replay: true }
    }

    /// What was given, and which parts of it belong together.
    pub(crate) fn trail(&self) -> Trail {
        let mut parts = self.parts.clone();
        // Large parts first.
        parts.sort_by_key(|(start, end)| (start.wrapping_sub(*end), *start));
        Trail { made: self.made.clone(), parts }
    }

    /// Marks what `draw` chooses as one part.
    pub fn part<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> T {
        let start = self.made.len();
        let drawn = draw(self);
        self.parts.push((start, self.made.len()));
        drawn
    }

    /// Between `low` and `high` items, each a part that can be left out.
    pub fn many<T>(&mut self, low: u64, high: u64, mut draw: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut items: Vec<T> = (0..low).map(|_| self.part(&mut draw)).collect();
        let more = 100 - 200 / (high - low + 2).max(2);
        while (items.len() as u64) < high {
            let item = self.part(|c| c.chance(more).then(|| draw(c)));
            match item {
                Some(item) => items.push(item),
                None => break,
            }
        }
        items
    }

    /// A number below `bound` (0 if that is 0).
    pub fn below(&mut self, bound: u64) -> u64 {
        let bound = bound.max(1);
        let choice = match self.script.get(self.made.len()) {
            Some(given) => (*given).min(bound - 1),
            None if self.is_replay => 0,
            None => mix(&mut self.state) % bound,
        };
        self.made.push(choice);
        choice
    }

    /// The same for lengths and places.
    pub fn index(&mut self, bound: usize) -> usize {
        self.below(bound as u64) as usize
    }

    /// A number from `low` to `high`, both included; `low` is the simplest.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low.wrapping_add(self.below(high.wrapping_sub(low) as u64 + 1) as i64)
    }

    /// True so many times out of 100; false is simpler.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) >= 100 - percent
    }

    /// One of these; the first is the simplest.
    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.index(items.len())]
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        let high = self.below(1 << 32);
        high << 32 | self.below(1 << 32)
    }
}

/// SplitMix64.
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The seed of one input of a run.
pub(crate) fn seed_of(seed: u64, target: &str, number: u64) -> u64 {
    let mut state =
        target.bytes().fold(seed, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    state ^= number.wrapping_mul(0xd6e8_feb8_6659_fd93);
    mix(&mut state)
}

/// The choices of one input, and its parts as ranges of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Trail {
    made: Vec<u64>,
    parts: Vec<(usize, usize)>,
}

/// Makes a failing input simpler, step by step.
pub(crate) struct Shrink<F> {
    best: Trail,
    left: usize,
    fails: F,
}

impl<F: FnMut(Vec<u64>) -> Option<Trail>> Shrink<F> {
    /// Begins with a failing input. `fails` gives the choices that were really made, or nothing when the input is
    /// fine; it is asked at most `tries` times.
    pub(crate) fn new(trail: Trail, tries: usize, fails: F) -> Self {
        Self { best: trail, left: tries, fails }
    }

    /// Until nothing simpler fails.
    pub(crate) fn run(mut self) -> Vec<u64> {
        loop {
            let before = self.best.made.clone();
            self.leave_out_parts();
            self.leave_out_runs();
            self.lower();
            if self.left == 0 || self.best.made == before {
                return self.best.made;
            }
        }
    }

    /// Whether this fails too and is simpler.
    fn attempt(&mut self, candidate: Vec<u64>) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let is_simpler = |found: &Trail| simpler(&found.made, &self.best.made);
        match (self.fails)(candidate).filter(is_simpler) {
            Some(found) => self.best = found,
            None => return false,
        }
        true
    }

    fn leave_out_parts(&mut self) {
        let mut at = 0;
        while let Some(&(start, end)) = self.best.parts.get(at).filter(|_| self.left > 0) {
            let mut shorter = self.best.made.clone();
            shorter.drain(start..end);
            // The list of parts is another one after a success; what was tried in vain is passed quickly.
            if start == end || !self.attempt(shorter) {
                at += 1;
            }
        }
    }

    fn leave_out_runs(&mut self) {
        for width in [8, 4, 2, 1] {
            let mut at = 0;
            while at < self.best.made.len() && self.left > 0 {
                let mut shorter = self.best.made.clone();
                shorter.drain(at..(at + width).min(shorter.len()));
                if !self.attempt(shorter) {
                    at += width;
                }
            }
        }
    }

    fn lower(&mut self) {
        for at in 0..self.best.made.len() {
            for lower in [|_| 0, |old| old / 16, |old| old / 2, |old: u64| old - 1] {
                let Some(&old) = self.best.made.get(at).filter(|old| **old > 0) else { break };
                let mut smaller = self.best.made.clone();
                smaller[at] = lower(old);
                self.attempt(smaller);
            }
        }
    }
}

/// Shorter, or as long and earlier in the order of lists.
fn simpler(new: &[u64], old: &[u64]) -> bool {
    (new.len(), new) < (old.len(), old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_input_shrinks_to_the_choices_that_matter() {
        let draw = |c: &mut Choices| c.many(0, 20, |c| (c.below(5), c.below(1_000)));
        let fails = |c: &mut Choices| draw(c).iter().filter(|(_, number)| *number >= 10).count() >= 2;
        let mut choices = (0..).map(Choices::random).find_map(|mut c| fails(&mut c).then_some(c));
        let trail = choices.take().expect("some seed fails").trail();
        let found = Shrink::new(trail, 2_000, |script| {
            let mut c = Choices::replay(script);
            fails(&mut c).then(|| c.trail())
        });
        let items = draw(&mut Choices::replay(found.run()));
        assert_eq!(items, [(0, 10), (0, 10)]);
    }
}
