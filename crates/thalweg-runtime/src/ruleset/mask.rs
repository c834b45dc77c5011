//! Sets of rows of the batch at hand, a bit a row: one for every condition of a stream, in one piece of memory.
//!
//! Between batches all bits are zero, so that a batch costs nothing for conditions that it does not touch.

/// The words that hold a bit for each of `rows` rows.
pub(super) fn words_for(rows: usize) -> usize {
    rows.div_ceil(64)
}

/// Sets of rows, by number.
#[derive(Default)]
pub(super) struct Masks {
    words: usize,
    bits: Vec<u64>,
    /// The sets that are not empty, each once.
    touched: Vec<u32>,
}

impl Masks {
    /// Room for sets `0..sets` over a batch of `rows`. All are empty.
    pub(super) fn begin(&mut self, sets: usize, rows: usize) {
        self.words = words_for(rows);
        self.bits.resize(sets * self.words, 0);
    }

    /// Adds a row to a set.
    #[inline]
    pub(super) fn set(&mut self, set: u32, row: usize) {
        let words = &mut self.bits[set as usize * self.words..][..self.words];
        if words.iter().all(|word| *word == 0) {
            self.touched.push(set);
        }
        words[row / 64] |= 1 << (row % 64);
    }

    /// Adds rows to a set.
    pub(super) fn add(&mut self, set: u32, rows: &[u64]) {
        if rows.iter().all(|word| *word == 0) {
            return;
        }
        let words = &mut self.bits[set as usize * self.words..][..self.words];
        if words.iter().all(|word| *word == 0) {
            self.touched.push(set);
        }
        words.iter_mut().zip(rows).for_each(|(word, rows)| *word |= rows);
    }

    /// Empties every set, handing each that was not to `take`.
    pub(super) fn drain(&mut self, mut take: impl FnMut(u32, &[u64])) {
        for set in self.touched.drain(..) {
            let words = &mut self.bits[set as usize * self.words..][..self.words];
            take(set, words);
            words.fill(0);
        }
    }

    /// Forgets everything, whatever state a panic has left it in.
    pub(super) fn reset(&mut self) {
        self.touched.clear();
        self.bits.fill(0);
    }
}

/// The number of rows in a set.
#[inline]
pub(super) fn count(rows: &[u64]) -> usize {
    rows.iter().map(|word| word.count_ones() as usize).sum()
}

/// Whether two sets have a row in common.
#[inline]
pub(super) fn meets(rows: &[u64], others: &[u64]) -> bool {
    rows.iter().zip(others).any(|(rows, others)| rows & others != 0)
}

/// Keeps the rows that are also in another set; whether any is left.
#[inline]
pub(super) fn intersect(rows: &mut [u64], others: &[u64]) -> bool {
    let mut any = 0;
    for (rows, others) in rows.iter_mut().zip(others) {
        *rows &= others;
        any |= *rows;
    }
    any != 0
}

/// Adds the rows of another set.
#[inline]
pub(super) fn unite(rows: &mut [u64], others: &[u64]) {
    rows.iter_mut().zip(others).for_each(|(rows, others)| *rows |= others);
}

/// Keeps the rows for which `holds`.
pub(super) fn retain(rows: &mut [u64], mut holds: impl FnMut(usize) -> bool) {
    for (at, word) in rows.iter_mut().enumerate() {
        let mut rest = *word;
        while rest != 0 {
            let bit = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            if !holds(at * 64 + bit) {
                *word &= !(1 << bit);
            }
        }
    }
}

/// Makes a set of these rows.
pub(super) fn fill(set: &mut Vec<u64>, rows: impl Iterator<Item = usize>, n_rows: usize) {
    set.clear();
    set.resize(words_for(n_rows), 0);
    rows.for_each(|row| set[row / 64] |= 1 << (row % 64));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_empty_again_once_they_were_taken_whatever_the_next_batch_is_like() {
        let mut masks = Masks::default();
        for (sets, rows) in [(3, 70), (5, 10), (2, 200)] {
            masks.begin(sets, rows);
            masks.set(1, rows - 1);
            masks.set(1, 0);
            masks.add(0, &vec![0; words_for(rows)]);
            let mut taken = Vec::new();
            masks.drain(|set, bits| taken.push((set, count(bits))));
            assert_eq!(taken, [(1, 2)]);
            masks.drain(|_, _| panic!("nothing is left"));
        }
    }
}
