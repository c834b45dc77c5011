//! Rows of one column added to another, column by column instead of cell by cell: words and tags as blocks, text by
//! its bytes, without looking at what a cell is where all are alike.

use std::ops::Range;

use super::{Column, OWN};
use crate::cell::{Tag, TagSet};

/// Tags whose word stands for itself.
const PLAIN: TagSet =
    TagSet::of(Tag::Missing).with(Tag::Null).with(Tag::Bool).with(Tag::Int).with(Tag::Float).with(Tag::Time);

/// Tags whose word is a span.
const SPANS: TagSet = TagSet::of(Tag::Str).with(Tag::Json).with(Tag::Bytes);

/// In a list of rows: no row, whose cell is missing.
pub const NO_ROW: u32 = u32::MAX;

/// Spans up to this long are copied at one go, with what stands behind them.
const CHUNK: usize = 16;

impl Column {
    /// As [`Column::append_rows`] for adjacent rows, which are copied as blocks.
    pub fn append_range(&mut self, other: &Column, rows: Range<usize>) {
        self.memo.0 = None;
        if rows.len() == 1 {
            return self.push_cell(other.cell(rows.start));
        }
        let seen = other.seen_in(rows.clone());
        if !seen.within(PLAIN) {
            return self.append_seen(other, rows, seen);
        }
        self.words.extend_from_slice(&other.words[rows.clone()]);
        self.tags.extend_from_slice(&other.tags[rows]);
        self.seen.extend(seen);
    }

    /// Adds rows of another column, copying what they point to, so that the other's arena is not kept alive.
    pub fn append_rows(&mut self, other: &Column, rows: impl Iterator<Item = usize> + Clone) {
        let seen = if other.seen.is_single() {
            if rows.clone().next().is_some() { other.seen } else { TagSet::default() }
        } else {
            let mut seen = TagSet::default();
            rows.clone().for_each(|row| seen.insert(other.tag(row)));
            seen
        };
        self.append_seen(other, rows, seen);
    }

    /// Adds one row of another column so many times; what it points to is copied once.
    pub fn append_repeated(&mut self, other: &Column, row: usize, times: usize) {
        if times == 0 {
            return;
        }
        self.memo.0 = None;
        self.push_cell(other.cell(row));
        let last = self.words.len() - 1;
        let (word, tag) = (self.words[last], self.tags[last]);
        self.words.resize(last + times, word);
        self.tags.resize(last + times, tag);
    }

    /// A column of these rows, for the batch that follows: it shares the arena of this one. [`NO_ROW`] gives a missing
    /// cell.
    pub fn gather(&self, rows: &[u32]) -> Column {
        let mut out = Column::default();
        self.gather_into(rows, &mut out);
        out
    }

    /// The same in a column that is written again for each batch.
    pub fn gather_into(&self, rows: &[u32], out: &mut Column) {
        out.clear(None);
        let has_gaps = rows.contains(&NO_ROW);
        let is_small = self.heap.own.len() <= 64 * rows.len();
        if self.seen.within(PLAIN) || (self.seen.within(PLAIN.with_all(SPANS)) && is_small) {
            if !self.seen.within(PLAIN) {
                out.heap.arena.clone_from(&self.heap.arena);
                out.heap.own.extend_from_slice(&self.heap.own);
            }
            out.gather_words(self, rows, has_gaps);
        } else if has_gaps {
            for row in rows {
                match *row {
                    NO_ROW => out.push_missing(),
                    row => out.push_cell(self.cell(row as usize)),
                }
            }
        } else {
            out.append_rows(self, rows.iter().map(|row| *row as usize));
        }
    }

    /// The words and tags of these rows, where the heaps are alike.
    fn gather_words(&mut self, other: &Column, rows: &[u32], has_gaps: bool) {
        if has_gaps {
            let word = |row: &u32| other.words.get(*row as usize).copied().unwrap_or(0);
            let tag = |row: &u32| other.tags.get(*row as usize).copied().unwrap_or(Tag::Missing as u8);
            self.words.extend(rows.iter().map(word));
            self.tags.extend(rows.iter().map(tag));
            self.seen = other.seen.with(Tag::Missing);
            return;
        }
        self.words.extend(rows.iter().map(|row| other.words[*row as usize]));
        match other.tags.first() {
            Some(tag) if other.seen.is_single() => {
                self.tags.resize(rows.len(), *tag);
                self.seen = if rows.is_empty() { TagSet::default() } else { other.seen };
            }
            _ => {
                self.tags.extend(rows.iter().map(|row| other.tags[*row as usize]));
                rows.iter().for_each(|row| self.seen.insert(other.tag(*row as usize)));
            }
        }
    }

    /// Drops the first rows. What they point to is dropped too when it is most of what is kept.
    pub fn drop_front(&mut self, rows: usize) {
        self.memo.0 = None;
        let rest = rows.min(self.len())..self.len();
        if !self.seen.within(PLAIN.with_all(SPANS)) || self.heap.arena.is_some() {
            let mut kept = Column::default();
            kept.append_range(self, rest);
            *self = kept;
            return;
        }
        self.seen = self.seen_in(rest.clone());
        self.words.drain(..rest.start);
        self.tags.drain(..rest.start);
        if self.seen.within(PLAIN) {
            return self.heap.own.clear();
        }
        let spans = self.words.iter().zip(&self.tags).filter(|(_, tag)| is_span(**tag));
        let first = spans.map(|(word, _)| start_of(*word)).min().unwrap_or(0);
        if first * 2 > self.heap.own.len() {
            self.heap.own.drain(..first);
            let spans = self.words.iter_mut().zip(&self.tags).filter(|(_, tag)| is_span(**tag));
            spans.for_each(|(word, _)| *word -= (first as u64) << 32);
        }
    }

    /// The tags that occur in these rows.
    fn seen_in(&self, rows: Range<usize>) -> TagSet {
        if rows.is_empty() {
            return TagSet::default();
        }
        if self.seen.is_single() || rows.len() == self.len() {
            return self.seen;
        }
        let mut seen = TagSet::default();
        rows.for_each(|row| seen.insert(self.tag(row)));
        seen
    }

    /// Adds rows whose tags are known.
    fn append_seen(&mut self, other: &Column, rows: impl Iterator<Item = usize> + Clone, seen: TagSet) {
        self.memo.0 = None;
        if seen.within(PLAIN.with_all(SPANS)) {
            if let (true, Some(first)) = (seen.is_single(), rows.clone().next()) {
                let n_rows = self.tags.len() + rows.clone().count();
                self.tags.resize(n_rows, other.tags[first]);
            } else {
                self.tags.extend(rows.clone().map(|row| other.tags[row]));
            }
            self.seen.extend(seen);
            if seen.within(PLAIN) {
                self.words.extend(rows.map(|row| other.words[row]));
            } else {
                self.append_spans(other, rows, seen.within(SPANS));
            }
        } else {
            rows.for_each(|row| self.push_cell(other.cell(row)));
        }
    }

    /// Adds the words of rows that have spans, and what those hold.
    fn append_spans(&mut self, other: &Column, rows: impl Iterator<Item = usize> + Clone, all_spans: bool) {
        let arena = other.heap.arena.as_ref().map_or(&[][..], |arena| arena.as_slice());
        let own = other.heap.own.as_slice();
        let mut at = self.heap.own.len();
        let is_span = |row: usize| all_spans || is_span(other.tags[row]);
        let bytes = |row| if is_span(row) { len_of(other.words[row]) } else { 0 };
        let needed: usize = rows.clone().map(bytes).sum();
        let end = at + needed;
        // Room for the last chunk, which is longer than what it holds.
        self.heap.own.resize(end + CHUNK, 0);
        let into = self.heap.own.as_mut_slice();
        let word = |row: usize| {
            let word = other.words[row];
            if !is_span(row) {
                return word;
            }
            let (start, len) = (start_of(word), len_of(word));
            let from = if word & OWN == 0 && !arena.is_empty() { arena } else { own };
            let chunks = (from[start..].first_chunk::<CHUNK>(), into[at..].first_chunk_mut::<CHUNK>());
            match chunks {
                (Some(from), Some(into)) if len <= CHUNK => *into = *from,
                _ => into[at..at + len].copy_from_slice(&from[start..start + len]),
            }
            let word = OWN | (at as u64) << 32 | len as u64;
            at += len;
            word
        };
        self.words.extend(rows.map(word));
        self.heap.own.truncate(end);
    }
}

fn is_span(tag: u8) -> bool {
    Tag::ALL.get(usize::from(tag)).is_some_and(|tag| SPANS.contains(*tag))
}

fn start_of(word: u64) -> usize {
    ((word & !OWN) >> 32) as usize
}

fn len_of(word: u64) -> usize {
    word as u32 as usize
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::cell::Cell;
    use crate::error::RowError;
    use crate::value::Value;

    /// A column with cells of one kind, or of all; text stands in an arena, in the column, or both.
    fn columns() -> impl Strategy<Value = Column> {
        (0..9u8, prop::collection::vec((0..12u8, 0..40usize), 0..60)).prop_map(|(kind, cells)| {
            let arena: Vec<u8> = (0..120).map(|at| b'a' + at % 26).collect();
            let mut column = Column::with_arena(Some(Arc::new(arena)).filter(|_| kind % 2 == 0));
            for (other, size) in cells {
                let has_arena = kind % 2 == 0;
                match if kind < 6 { kind } else { other } {
                    0 if has_arena => column.push_text_span(size, size),
                    1 => column.push_str(&"x".repeat(size)),
                    2 => column.push_float(size as f64),
                    3 => column.push_int(size as i64),
                    4 if size % 2 == 0 => column.push_str("long enough to be no chunk"),
                    4 if has_arena => column.push_text_span(size, 3),
                    5 => column.push_json(b"[1]"),
                    6 if kind == 8 => column.push_error(RowError::DividedByZero),
                    7 if kind == 8 => column.push_value(&Value::list(vec![Value::Int(size as i64)])),
                    8 => column.push_null(),
                    9 => column.push_missing(),
                    10 => column.push_bytes(b"\xff\x00"),
                    _ => column.push_bool(true),
                }
            }
            column
        })
    }

    /// Cell by cell.
    fn expected(begin: &Column, from: &Column, rows: &[u32]) -> Column {
        let mut out = begin.clone();
        for row in rows {
            match *row {
                NO_ROW => out.push_missing(),
                row => out.push_cell(from.cell(row as usize)),
            }
        }
        out
    }

    fn same(one: &Column, other: &Column) -> Result<(), TestCaseError> {
        let text = |column: &Column| {
            format!(
                "{:?}",
                (0..column.len()).map(|row| format!("{:?}", column.cell(row))).collect::<Vec<_>>()
            )
        };
        prop_assert_eq!(text(one), text(other));
        for row in 0..one.len() {
            prop_assert!(one.seen().contains(one.tag(row)));
            prop_assert!(matches!(one.cell(row), Cell::Missing) == (one.tag(row) == Tag::Missing));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn rows_are_appended_gathered_and_dropped_as_their_cells_are(
            begin in columns(),
            from in columns(),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
            gaps in any::<bool>(),
        ) {
            let n_rows = from.len();
            let rows: Vec<u32> = if n_rows == 0 { Vec::new() } else { picks.iter().map(|pick| pick.index(n_rows) as u32).collect() };
            let usize_rows = || rows.iter().map(|row| *row as usize);
            let mut out = begin.clone();
            out.append_rows(&from, usize_rows());
            same(&out, &expected(&begin, &from, &rows))?;

            let mut wanted = rows.clone();
            if gaps {
                wanted.push(NO_ROW);
            }
            same(&from.gather(&wanted), &expected(&Column::new(), &from, &wanted))?;

            let (a, b) = (rows.first().copied().unwrap_or(0), rows.last().copied().unwrap_or(0));
            let (first, end) = (a.min(b), a.max(b));
            let range: Vec<u32> = (first..end).collect();
            let mut out = begin.clone();
            out.append_range(&from, first as usize..end as usize);
            same(&out, &expected(&begin, &from, &range))?;

            let mut rest = from.clone();
            rest.drop_front(first as usize);
            let kept: Vec<u32> = (first..n_rows as u32).collect();
            same(&rest, &expected(&Column::new(), &from, &kept))?;
            rest.append_range(&from, first as usize..end as usize);
            let kept: Vec<u32> = kept.into_iter().chain(range).collect();
            same(&rest, &expected(&Column::new(), &from, &kept))?;

            if let Some(row) = rows.first() {
                let mut out = begin.clone();
                out.append_repeated(&from, *row as usize, rows.len());
                same(&out, &expected(&begin, &from, &vec![*row; rows.len()]))?;
            }
        }
    }
}
