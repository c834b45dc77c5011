//! Columns that are written again and again: what is computed for one batch takes the room of the batch before.

use super::{Column, Tag, TagSet};

impl Column {
    /// Becomes a copy of a column of numbers only, in the room it has.
    pub fn copy_numbers(&mut self, from: &Column) {
        debug_assert!(from.floats().is_some() || from.ints().is_some());
        self.clear(None);
        self.words.extend_from_slice(&from.words);
        self.tags.extend_from_slice(&from.tags);
        self.seen = from.seen;
    }

    /// Adds floats, which are many at a time cheaper than one by one.
    pub fn extend_floats(&mut self, values: impl IntoIterator<Item = f64>) {
        self.words.extend(values.into_iter().map(f64::to_bits));
        if self.words.len() > self.tags.len() {
            self.tags.resize(self.words.len(), Tag::Float as u8);
            self.seen.insert(Tag::Float);
            self.memo.0 = None;
        }
    }

    /// Whether it keeps nothing of its batch alive: neither the arena nor what readers have computed.
    pub fn is_own(&self) -> bool {
        self.heap.arena.is_none() && self.memo.0.is_none()
    }

    /// Becomes so many rows of the one cell of `constant`, in the room it has.
    pub fn copy_constant(&mut self, constant: &Column, rows: usize) {
        self.clear(None);
        self.append_repeated(constant, 0, rows);
    }

    /// All cells as floats that can be changed, when every one is a float.
    pub fn floats_mut(&mut self) -> Option<&mut [f64]> {
        self.seen.only(Tag::Float).then(|| bytemuck::cast_slice_mut(&mut self.words))
    }

    /// All cells as integers that can be changed, when every one is an integer.
    pub fn ints_mut(&mut self) -> Option<&mut [i64]> {
        self.seen.only(Tag::Int).then(|| bytemuck::cast_slice_mut(&mut self.words))
    }

    /// Makes floats of a column of integers only.
    pub fn ints_to_floats(&mut self) {
        debug_assert!(self.ints().is_some());
        self.words.iter_mut().for_each(|word| *word = (*word as i64 as f64).to_bits());
        self.tags.fill(Tag::Float as u8);
        if !self.words.is_empty() {
            self.seen = TagSet::of(Tag::Float);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::column::{Cell, Column, TagSet};

    #[test]
    fn a_column_is_written_again_in_the_room_it_has() {
        let mut column = Column::from_ints([1, 2, 3]);
        column.ints_to_floats();
        let memory = column.memory();
        assert_eq!(column.floats(), Some(&[1.0, 2.0, 3.0][..]));
        column.copy_numbers(&Column::from_ints([7, 8]));
        assert_eq!(column.ints_mut(), Some(&mut [7, 8][..]));
        assert_eq!(column.floats_mut(), None);
        let mut text = Column::new();
        text.push_str("x");
        column.copy_constant(&text, 2);
        assert_eq!((column.len(), column.cell(1)), (2, Cell::Str("x")));
        column.copy_numbers(&Column::from_floats([0.5]));
        assert_eq!(column.floats_mut(), Some(&mut [0.5][..]));
        assert!(column.memory() >= memory);
        column.extend_floats([1.5, 2.5]);
        assert_eq!(column.floats(), Some(&[0.5, 1.5, 2.5][..]));
        column.extend_floats([]);
        assert_eq!((column.len(), Column::new().seen()), (3, TagSet::default()));
    }
}
