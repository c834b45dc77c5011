//! Keys of groups and partitions: a dictionary from typed key tuples to dense numbers.
//!
//! A key is the canonical bytes of its cells (Q-6: `1` and `"1"` differ, null and missing are one). Numbers are given
//! in the order of first appearance since the dictionary was last cleared. What it has learned it keeps when it is
//! cleared, as the next window mostly has the same keys: then a key costs one look, and no room is taken again. It
//! forgets when it knows many more keys than were in use.
//!
//! Short keys are two words, made from the cell without writing it out; longer ones are their hash and the place of
//! their bytes.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use thalweg_core::compare::push_key;
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Cell, ColumnRef, Live, RowError, Selection, cast};

/// So many keys are kept without asking how many were in use.
const FEW: usize = 4_096;
/// Keys whose hashes are computed before the first of them is looked up, so that the looks overlap.
const BLOCK: usize = 16;

/// The form of a key: what its words mean. Text and bytes up to 16 long have their length added.
mod form {
    pub(super) const NOTHING: u16 = 0;
    pub(super) const BOOL: u16 = 1;
    pub(super) const INT: u16 = 2;
    pub(super) const FLOAT: u16 = 3;
    pub(super) const TIME: u16 = 4;
    /// The words are a hash and the number of the span.
    pub(super) const LONG: u16 = 5;
    pub(super) const TEXT: u16 = 32;
    /// Canonical bytes of anything else.
    pub(super) const BYTES: u16 = 64;
    /// The most that two words hold.
    pub(super) const SHORT: usize = 16;
}

/// A key; equal keys are equal words of one form, but for long ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    words: [u64; 2],
    form: u16,
}

impl Key {
    const fn word(form: u16, word: u64) -> Self {
        Self { words: [word, 0], form }
    }

    /// The key of one cell, when it is short.
    #[inline]
    fn of(cell: &Cell<'_>) -> Option<Self> {
        Some(match *cell {
            Cell::Missing | Cell::Null | Cell::Error(_) => Self::word(form::NOTHING, 0),
            Cell::Bool(value) => Self::word(form::BOOL, u64::from(value)),
            Cell::Int(value) => Self::word(form::INT, value as u64),
            Cell::Float(value) => match cast::whole(value) {
                Some(whole) => Self::word(form::INT, whole as u64),
                None if value.is_nan() => Self::word(form::FLOAT, f64::NAN.to_bits()),
                None => Self::word(form::FLOAT, value.to_bits()),
            },
            Cell::Time(value) => Self::word(form::TIME, value.0 as u64),
            Cell::Str(value) if value.len() <= form::SHORT => Self::short(form::TEXT, value.as_bytes()),
            _ => return None,
        })
    }

    /// The key of canonical bytes, when it is short: the same as of the cell they were written from.
    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        Some(match (bytes.first(), bytes.len()) {
            (Some(b'0'), 1) => Self::word(form::NOTHING, 0),
            (Some(b'b'), 2) => Self::word(form::BOOL, u64::from(bytes[1])),
            (Some(b'i'), 9) => Self::word(form::INT, word(1)?),
            (Some(b'f'), 9) => Self::word(form::FLOAT, word(1)?),
            (Some(b't'), 9) => Self::word(form::TIME, word(1)?),
            (Some(b's'), 9..=25) if word(1) == Some(bytes.len() as u64 - 9) => {
                Self::short(form::TEXT, &bytes[9..])
            }
            (_, 0..=form::SHORT) => Self::short(form::BYTES, bytes),
            _ => return None,
        })
    }

    /// Up to 16 bytes: the first and the last eight, which may overlap.
    #[inline]
    fn short(form: u16, bytes: &[u8]) -> Self {
        let words = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            (Some(first), Some(last)) => [u64::from_le_bytes(*first), u64::from_le_bytes(*last)],
            _ => [bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0],
        };
        Self { words, form: form + bytes.len() as u16 }
    }

    /// What [`Key::short`] was given.
    fn unpack(words: [u64; 2], len: usize) -> ([u8; form::SHORT], usize) {
        let mut bytes = [0; form::SHORT];
        bytes[..8].copy_from_slice(&words[0].to_le_bytes());
        if len >= 8 {
            bytes[len - 8..len].copy_from_slice(&words[1].to_le_bytes());
        }
        (bytes, len)
    }

    #[inline]
    fn hash(self) -> u64 {
        if self.form == form::LONG {
            return self.words[0];
        }
        let (one, other) = (self.words[0] ^ 0x9e37_79b9_7f4a_7c15, self.words[1] ^ 0xc2b2_ae3d_27d4_eb4f);
        let product = u128::from(one) * u128::from(other ^ u64::from(self.form) << 40);
        let folded = product as u64 ^ (product >> 64) as u64;
        // The table reads the highest bits and the lowest; both depend on all of these.
        folded.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ folded >> 32
    }
}

/// A key that is known, and its number in the round in which it was last seen.
#[derive(Debug, Clone, Copy)]
struct Entry {
    words: [u64; 2],
    number: u32,
    round: u16,
    form: u16,
}

impl Entry {
    fn key(&self) -> Key {
        Key { words: self.words, form: self.form }
    }
}

/// The dictionary.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    table: HashTable<Entry>,
    /// The key of each number.
    order: Vec<Key>,
    /// The bytes of long keys, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    scratch: Vec<u8>,
    state: FixedState,
    /// Counts how often the numbers began anew.
    round: u16,
}

impl Keys {
    /// The number of keys.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Forgets all numbers.
    pub(crate) fn clear(&mut self) {
        let is_too_much = self.table.len() > FEW.max(4 * self.order.len());
        if is_too_much || self.round == u16::MAX {
            self.table.clear();
            self.bytes.clear();
            self.ends.clear();
            self.round = 0;
        } else {
            self.round += 1;
        }
        self.order.clear();
    }

    /// The number of the key that these columns have in a row; one past the largest when it is new.
    pub(crate) fn number(&mut self, columns: &[ColumnRef<'_>], row: usize) -> u32 {
        match self.key(columns, row) {
            Some(key) => self.intern(key, key.hash()),
            None => self.intern_long(),
        }
    }

    /// The numbers of all these rows, and the rows that are the first with theirs.
    pub(crate) fn number_all(
        &mut self,
        columns: &[ColumnRef<'_>],
        rows: &Selection,
        numbers: &mut Vec<u32>,
        fresh: &mut Vec<u32>,
    ) {
        if let (Live::All(1), Some(row)) = (&rows.live, rows.iter().next()) {
            let before = self.order.len();
            let number = self.number(columns, row);
            fresh.extend((number as usize == before).then_some(row as u32));
            return numbers.push(number);
        }
        let mut block = [(0, None); BLOCK];
        let mut rows = rows.iter();
        loop {
            let mut taken = 0;
            for (place, row) in block.iter_mut().zip(&mut rows) {
                *place = (row, short(columns, row).map(|key| (key, key.hash())));
                taken += 1;
            }
            for (row, key) in &block[..taken] {
                let before = self.order.len();
                let number = match key {
                    Some((key, hash)) => self.intern(*key, *hash),
                    None => self.number(columns, *row),
                };
                if number as usize == before {
                    fresh.push(*row as u32);
                }
                numbers.push(number);
            }
            if taken < BLOCK {
                return;
            }
        }
    }

    /// The number here of a key of another dictionary.
    pub(crate) fn number_of(&mut self, other: &Self, id: u32) -> u32 {
        let key = other.order[id as usize];
        if key.form != form::LONG {
            return self.intern(key, key.hash());
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(span(&other.bytes, &other.ends, key));
        self.intern_long()
    }

    /// The number of the key, if it is known. `None` also when a part is null or missing, which equals nothing (O-4).
    pub(crate) fn find(&mut self, columns: &[ColumnRef<'_>], row: usize) -> Option<u32> {
        if columns.iter().any(|column| column.cell(row).is_nothing()) {
            return None;
        }
        let key = self.key(columns, row);
        let entry = match key {
            Some(key) => self.table.find(key.hash(), |entry| entry.key() == key),
            None => self.table.find(self.state.hash_one(&self.scratch[..]), |entry| self.is_scratch(entry)),
        };
        entry.filter(|entry| entry.round == self.round).map(|entry| entry.number)
    }

    /// The key of a row, when it is short; else its bytes are in `scratch`.
    #[inline]
    fn key(&mut self, columns: &[ColumnRef<'_>], row: usize) -> Option<Key> {
        let key = short(columns, row);
        if key.is_some() {
            return key;
        }
        self.scratch.clear();
        for column in columns {
            push_key(&column.cell(row), &mut self.scratch);
        }
        Key::of_bytes(&self.scratch)
    }

    #[inline]
    fn intern(&mut self, key: Key, hash: u64) -> u32 {
        let number = self.order.len() as u32;
        match self.table.find_mut(hash, |entry| entry.key() == key) {
            Some(entry) if entry.round == self.round => return entry.number,
            Some(entry) => (entry.number, entry.round) = (number, self.round),
            None => self.insert(key, hash, number),
        }
        self.order.push(key);
        number
    }

    fn insert(&mut self, Key { words, form }: Key, hash: u64, number: u32) {
        let entry = Entry { words, number, round: self.round, form };
        self.table.insert_unique(hash, entry, |entry| entry.key().hash());
    }

    /// The number of the key whose bytes are in `scratch`, too long for words.
    fn intern_long(&mut self) -> u32 {
        if let Some(key) = Key::of_bytes(&self.scratch) {
            return self.intern(key, key.hash());
        }
        let hash = self.state.hash_one(&self.scratch[..]);
        let known = self.table.find(hash, |entry| self.is_scratch(entry)).map(Entry::key);
        let key = known.unwrap_or(Key { words: [hash, self.ends.len() as u64], form: form::LONG });
        if known.is_none() {
            self.bytes.extend_from_slice(&self.scratch);
            self.ends.push(self.bytes.len());
        }
        self.intern(key, hash)
    }

    fn is_scratch(&self, entry: &Entry) -> bool {
        entry.form == form::LONG && span(&self.bytes, &self.ends, entry.key()) == self.scratch
    }

    /// The bytes that it has on the heap.
    pub(crate) fn memory(&self) -> usize {
        self.table.allocation_size()
            + self.order.capacity() * size_of::<Key>()
            + self.bytes.capacity()
            + self.ends.capacity() * 8
            + self.scratch.capacity()
    }

    /// Writes the keys in order.
    pub(crate) fn save(&self, out: &mut StateWriter) {
        out.u64(self.len() as u64);
        let mut bytes = Vec::new();
        for key in &self.order {
            bytes.clear();
            self.write(*key, &mut bytes);
            out.bytes(&bytes);
        }
    }

    /// The canonical bytes of a key.
    fn write(&self, key: Key, out: &mut Vec<u8>) {
        match key.form {
            form::NOTHING => out.push(b'0'),
            form::BOOL => out.extend_from_slice(&[b'b', key.words[0] as u8]),
            form::INT => push_word(b'i', key.words[0], out),
            form::FLOAT => push_word(b'f', key.words[0], out),
            form::TIME => push_word(b't', key.words[0], out),
            form::LONG => out.extend_from_slice(span(&self.bytes, &self.ends, key)),
            text if text < form::BYTES => {
                let (bytes, len) = Key::unpack(key.words, usize::from(text - form::TEXT));
                push_word(b's', len as u64, out);
                out.extend_from_slice(&bytes[..len]);
            }
            other => {
                let (bytes, len) = Key::unpack(key.words, usize::from(other - form::BYTES));
                out.extend_from_slice(&bytes[..len]);
            }
        }
    }

    /// Reads what [`Keys::save`] wrote.
    pub(crate) fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        self.clear();
        for expected in 0..from.read_len()? {
            self.scratch.clear();
            self.scratch.extend_from_slice(from.bytes()?);
            if self.intern_long() as usize != expected {
                return Err(StateError("a key occurs twice".to_owned()));
            }
        }
        Ok(())
    }
}

/// The key of a row, when it is known to be short without writing it out.
#[inline]
fn short(columns: &[ColumnRef<'_>], row: usize) -> Option<Key> {
    match columns {
        [column] => Key::of(&column.cell(row)),
        _ => None,
    }
}

fn push_word(kind: u8, word: u64, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&word.to_le_bytes());
}

/// The bytes of a long key.
fn span<'a>(bytes: &'a [u8], ends: &[usize], key: Key) -> &'a [u8] {
    let at = key.words[1] as usize;
    let start = if at == 0 { 0 } else { ends[at - 1] };
    &bytes[start..ends[at]]
}

/// The first error among the cells of a row.
pub(crate) fn error_at<'a>(columns: &'a [ColumnRef<'_>], row: usize) -> Option<&'a RowError> {
    columns.iter().find_map(|column| match column.cell(row) {
        Cell::Error(error) => Some(error),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use thalweg_core::{Column, Timestamp, Value};

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-3i64..3).prop_map(Value::Int),
            (-3i64..3).prop_map(|value| Value::Float(value as f64 / 2.0)),
            Just(Value::Float(f64::NAN)),
            (0i64..3).prop_map(|value| Value::Time(Timestamp(value))),
            "[ab]{0,3}|a{6,10}|[ab]{14,18}".prop_map(Value::text),
            (0..3u8, 0..20usize).prop_map(|(byte, len)| Value::Bytes(vec![byte; len].into())),
            (0i64..3).prop_map(|value| Value::list(vec![Value::Int(value)])),
        ]
    }

    /// Numbers by canonical bytes in a plain map.
    fn expected(
        columns: &[ColumnRef<'_>],
        rows: std::ops::Range<usize>,
        known: &mut HashMap<Vec<u8>, u32>,
    ) -> Vec<u32> {
        let number = |row| {
            let mut bytes = Vec::new();
            columns.iter().for_each(|column| push_key(&column.cell(row), &mut bytes));
            let next = known.len() as u32;
            *known.entry(bytes).or_insert(next)
        };
        rows.map(number).collect()
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_the_canonical_bytes_in_every_round_and_after_a_restore(
            cells in prop::collection::vec((values(), values()), 1..80),
            n_columns in 0..3usize,
        ) {
            let first = Column::from_values(cells.iter().map(|(value, _)| value));
            let second = Column::from_values(cells.iter().map(|(_, value)| value));
            let columns: Vec<_> = [&first, &second][..n_columns].iter().map(|column| ColumnRef::borrowed(column)).collect();
            let mut keys = Keys::default();
            for begin in [0, cells.len() / 2, 0] {
                keys.clear();
                let rows = begin..cells.len();
                let mut known = HashMap::new();
                let wanted = expected(&columns, rows.clone(), &mut known);
                let selection = Selection::rows(rows.clone().map(|row| row as u32).collect());
                let (mut numbers, mut fresh) = (Vec::new(), Vec::new());
                keys.number_all(&columns, &selection, &mut numbers, &mut fresh);
                prop_assert_eq!(&numbers, &wanted);
                if rows.start == 0 {
                    let (mut first, mut known) = (Vec::new(), Vec::new());
                    keys.number_all(&columns, &Selection::all(1), &mut first, &mut known);
                    prop_assert_eq!((first, known), (vec![0], Vec::new()));
                }
                prop_assert_eq!((fresh.len(), keys.len()), (known.len(), known.len()));

                let mut writer = StateWriter::new();
                keys.save(&mut writer);
                let saved = writer.finish();
                let mut restored = Keys::default();
                prop_assert!(restored.load(&mut StateReader::new(&saved)).is_ok());
                let mut copied = Keys::default();
                for (row, number) in rows.zip(&wanted) {
                    prop_assert_eq!(restored.number(&columns, row), *number);
                    let is_nothing = columns.iter().any(|column| column.cell(row).is_nothing());
                    prop_assert_eq!(keys.find(&columns, row), Some(*number).filter(|_| !is_nothing));
                    prop_assert_eq!(copied.number_of(&restored, *number), *number);
                }
                let mut writer = StateWriter::new();
                copied.save(&mut writer);
                prop_assert_eq!(writer.finish(), saved);
            }
        }
    }

    #[test]
    fn keys_that_are_no_longer_in_use_are_forgotten() {
        let mut keys = Keys::default();
        for round in 0..5 {
            let column = Column::from_ints((0..FEW as i64 + 1).map(|value| value + round * 100_000));
            let columns = [ColumnRef::owned(column)];
            (0..=FEW).for_each(|row| assert_eq!(keys.number(&columns, row) as usize, row));
            keys.clear();
        }
        assert!(keys.table.len() <= 5 * (FEW + 1), "{} keys", keys.table.len());
        keys.clear();
        assert_eq!(keys.table.len(), 0, "none was in use");
    }
}
