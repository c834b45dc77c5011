//! Keys of groups and partitions: a dictionary from typed key tuples to dense numbers.
//!
//! A key is the canonical bytes of its cells (Q-6: `1` and `"1"` differ, null and missing are one). Numbers are given
//! in the order of first appearance. The dictionary keeps its allocations when it is cleared.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use thalweg_core::compare::push_key;
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Cell, ColumnRef, RowError};

/// The dictionary.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    table: HashTable<u32>,
    /// The bytes of all keys, one after the other.
    bytes: Vec<u8>,
    /// Where each key ends in `bytes`.
    ends: Vec<usize>,
    scratch: Vec<u8>,
    state: FixedState,
}

impl Keys {
    /// The number of keys.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Forgets all keys.
    pub(crate) fn clear(&mut self) {
        self.table.clear();
        self.bytes.clear();
        self.ends.clear();
    }

    /// The number of the key that these columns have in a row; one past the largest when it is new.
    pub(crate) fn number(&mut self, columns: &[ColumnRef<'_>], row: usize) -> u32 {
        self.scratch.clear();
        for column in columns {
            push_key(&column.cell(row), &mut self.scratch);
        }
        self.intern()
    }

    /// The number here of a key of another dictionary.
    pub(crate) fn number_of(&mut self, other: &Self, id: u32) -> u32 {
        self.scratch.clear();
        self.scratch.extend_from_slice(key(&other.bytes, &other.ends, id));
        self.intern()
    }

    /// The number of the key, if it is known. `None` also when a part is null or missing, which equals nothing (O-4).
    pub(crate) fn find(&mut self, columns: &[ColumnRef<'_>], row: usize) -> Option<u32> {
        self.scratch.clear();
        for column in columns {
            let cell = column.cell(row);
            if cell.is_nothing() {
                return None;
            }
            push_key(&cell, &mut self.scratch);
        }
        let hash = self.state.hash_one(&self.scratch[..]);
        self.table.find(hash, |id| key(&self.bytes, &self.ends, *id) == self.scratch).copied()
    }

    fn intern(&mut self) -> u32 {
        let Self { table, bytes, ends, scratch, state } = self;
        let hash = state.hash_one(&scratch[..]);
        if let Some(id) = table.find(hash, |id| key(bytes, ends, *id) == &scratch[..]) {
            return *id;
        }
        let id = ends.len() as u32;
        bytes.extend_from_slice(scratch);
        ends.push(bytes.len());
        table.insert_unique(hash, id, |id| state.hash_one(key(bytes, ends, *id)));
        id
    }

    /// Writes the keys in order.
    pub(crate) fn save(&self, out: &mut StateWriter) {
        out.u64(self.len() as u64);
        (0..self.len() as u32).for_each(|id| out.bytes(key(&self.bytes, &self.ends, id)));
    }

    /// Reads what [`Keys::save`] wrote.
    pub(crate) fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        self.clear();
        for expected in 0..from.read_len()? {
            self.scratch.clear();
            self.scratch.extend_from_slice(from.bytes()?);
            if self.intern() as usize != expected {
                return Err(StateError("a key occurs twice".to_owned()));
            }
        }
        Ok(())
    }
}

fn key<'a>(bytes: &'a [u8], ends: &[usize], id: u32) -> &'a [u8] {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] };
    &bytes[start..ends[id]]
}

/// The first error among the cells of a row.
pub(crate) fn error_at<'a>(columns: &'a [ColumnRef<'_>], row: usize) -> Option<&'a RowError> {
    columns.iter().find_map(|column| match column.cell(row) {
        Cell::Error(error) => Some(error),
        _ => None,
    })
}
