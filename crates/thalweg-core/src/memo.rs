//! Values that are computed when a reader needs them first, and kept for the readers after it.

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::column::Column;
use crate::selection::{Live, Selection};

/// So many parts are kept; later readers compute what they lack for themselves.
const MOST_PARTS: usize = 16;

/// What readers of a column of a batch have computed so far: parts, each of the rows that one reader asked for. It
/// only grows, so that what was handed out stays.
#[derive(Debug, Default)]
pub struct Memo {
    first: OnceLock<Box<Part>>,
}

#[derive(Debug)]
struct Part {
    /// One cell a row of the batch; those of other rows mean nothing.
    column: Column,
    /// The rows, a bit each.
    rows: Vec<u64>,
    next: Memo,
}

impl Memo {
    /// The values of these rows of a batch of `n_rows`: `compute` is asked for those that nobody has asked for yet,
    /// once, and not at all when there are none.
    pub fn values<'m>(
        &'m self,
        rows: &Selection,
        n_rows: usize,
        compute: impl FnOnce(&Selection) -> Column,
    ) -> Cow<'m, Column> {
        let wanted = bits(rows, n_rows);
        let (mut end, mut n_parts) = (self, 0);
        let mut new: Option<Vec<u64>> = None;
        while let Some(part) = end.first.get() {
            let new = new.get_or_insert_with(|| wanted.clone());
            let mut is_whole = true;
            for ((new, wanted), has) in new.iter_mut().zip(&wanted).zip(&part.rows) {
                *new &= !has;
                is_whole &= wanted & !has == 0;
            }
            if is_whole {
                return Cow::Borrowed(&part.column);
            }
            (end, n_parts) = (&part.next, n_parts + 1);
        }
        let column = match new.filter(|new| *new != wanted) {
            None => compute(rows),
            Some(new) if new.iter().all(|word| *word == 0) => self.gather(&wanted, n_rows, &Column::new()),
            Some(new) => self.gather(&wanted, n_rows, &compute(&Selection::mask(new, n_rows))),
        };
        if n_parts == MOST_PARTS {
            return Cow::Owned(column);
        }
        match end.first.set(Box::new(Part { column, rows: wanted, next: Self::default() })) {
            Ok(()) => end.first.get().map_or_else(Cow::default, |part| Cow::Borrowed(&part.column)),
            // Somebody else was faster.
            Err(part) => Cow::Owned(part.column),
        }
    }

    /// These rows of the parts; of `computed` those that no part has.
    fn gather(&self, wanted: &[u64], n_rows: usize, computed: &Column) -> Column {
        let wanted = Selection::mask(wanted.to_vec(), n_rows);
        let mut out = Column::new();
        for row in &wanted {
            out.push_cell(self.part_with(row).unwrap_or(computed).cell(row));
        }
        out.spread(&wanted, n_rows)
    }

    fn part_with(&self, row: usize) -> Option<&Column> {
        let mut at = self;
        while let Some(part) = at.first.get() {
            if part.rows[row / 64] >> (row % 64) & 1 == 1 {
                return Some(&part.column);
            }
            at = &part.next;
        }
        None
    }
}

fn bits(rows: &Selection, n_rows: usize) -> Vec<u64> {
    if let Live::Mask { bits, .. } = &rows.live {
        return bits.clone();
    }
    let mut bits = vec![0; n_rows.div_ceil(64)];
    rows.iter().for_each(|row| bits[row / 64] |= 1 << (row % 64));
    bits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whoever_asks_gets_the_values_of_its_rows_and_each_row_is_computed_once(
            n_rows in 1usize..150,
            asks in prop::collection::vec((any::<[u64; 3]>(), any::<[u64; 3]>(), 0usize..3), 1..12),
        ) {
            let memo = Memo::default();
            let mut computed = vec![0; n_rows];
            for (one, other, form) in asks {
                let is_in = |row: &u32| {
                    let (word, bit) = (*row as usize / 64, row % 64);
                    (one[word] & other[word]) >> bit & 1 == 1
                };
                let chosen: Vec<u32> = (0..n_rows as u32).filter(is_in).collect();
                let rows = match form {
                    0 => Selection::all(n_rows),
                    1 => Selection::rows(chosen),
                    _ => {
                        let mut bits = vec![0; n_rows.div_ceil(64)];
                        chosen.iter().for_each(|row| bits[*row as usize / 64] |= 1u64 << (row % 64));
                        Selection::mask(bits, n_rows)
                    }
                };
                let values = memo.values(&rows, n_rows, |new| {
                    new.iter().for_each(|row| computed[row] += 1);
                    Column::from_ints(new.iter().map(|row| row as i64 * 7)).spread(new, n_rows)
                });
                prop_assert_eq!(values.len(), n_rows);
                for row in &rows {
                    prop_assert_eq!(values.cell(row), crate::Cell::Int(row as i64 * 7));
                }
            }
            prop_assert!(computed.iter().all(|times| *times <= 1));
        }
    }
}
