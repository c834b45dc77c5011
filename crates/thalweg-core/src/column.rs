//! Columns: a word and a tag per row, and a heap for what does not fit into a word (`hot-path.md` 7.1).
//!
//! `seen` says which tags occur. When it names exactly one, `words` *is* a slice of that type and a kernel can run
//! over it without looking at tags. Strings and raw JSON are spans, either of the batch's shared arena or of the
//! column's own bytes; every `Str` span was checked to be UTF-8 when it was pushed, which is the invariant behind
//! [`Column::cell`].

mod append;
mod numbers;

use std::borrow::Cow;
use std::sync::Arc;

pub use self::append::NO_ROW;
pub use crate::cell::{Cell, Tag, TagSet};
use crate::error::RowError;
use crate::memo::Memo;
use crate::selection::{Live, Selection};
use crate::time::Timestamp;
use crate::value::Value;

/// The bytes that the spans of one batch point into: what a socket read or a queue hand-over returned.
pub type Arena = Arc<Vec<u8>>;

/// Marks a span's offset as one of the column's own bytes.
const OWN: u64 = 1 << 63;

/// Where cells keep what does not fit into a word.
#[derive(Debug, Clone, Default)]
struct Heap {
    /// Shared with the whole batch.
    arena: Option<Arena>,
    own: Vec<u8>,
    values: Vec<Value>,
    errors: Vec<RowError>,
}

/// A column of dynamically typed cells.
#[derive(Debug, Clone, Default)]
pub struct Column {
    words: Vec<u64>,
    tags: Vec<u8>,
    seen: TagSet,
    heap: Heap,
    memo: Kept,
}

/// A memo belongs to the rows as they are: a copy, which may go on to have others, has none.
#[derive(Debug, Default)]
struct Kept(Option<Box<Memo>>);

impl Clone for Kept {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Column {
    /// An empty column.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty column whose spans may point into `arena`.
    pub fn with_arena(arena: Option<Arena>) -> Self {
        Self { heap: Heap { arena, ..Heap::default() }, ..Self::default() }
    }

    /// A column of floats without gaps.
    pub fn from_floats(values: impl IntoIterator<Item = f64>) -> Self {
        Self::from_words(Tag::Float, values.into_iter().map(f64::to_bits).collect())
    }

    /// A column of integers without gaps.
    pub fn from_ints(values: impl IntoIterator<Item = i64>) -> Self {
        Self::from_words(Tag::Int, values.into_iter().map(|value| value as u64).collect())
    }

    /// A column of booleans without gaps.
    pub fn from_bools(values: impl IntoIterator<Item = bool>) -> Self {
        Self::from_words(Tag::Bool, values.into_iter().map(u64::from).collect())
    }

    /// A column of `rows` missing cells.
    pub fn missing(rows: usize) -> Self {
        Self::from_words(Tag::Missing, vec![0; rows])
    }

    /// A column of `rows` missing cells whose values are kept in a [`Memo`] as readers compute them.
    pub fn with_memo(rows: usize) -> Self {
        Self { memo: Kept(Some(Box::default())), ..Self::missing(rows) }
    }

    /// The memo of such a column, until its rows change.
    pub fn memo(&self) -> Option<&Memo> {
        self.memo.0.as_deref()
    }

    /// A column of values.
    pub fn from_values<'a>(values: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut column = Self::new();
        values.into_iter().for_each(|value| column.push_value(value));
        column
    }

    fn from_words(tag: Tag, words: Vec<u64>) -> Self {
        debug_assert!(!matches!(tag, Tag::Str | Tag::Json | Tag::Bytes | Tag::Value | Tag::Error));
        let tags = vec![tag as u8; words.len()];
        let seen = if words.is_empty() { TagSet::default() } else { TagSet::of(tag) };
        Self { words, tags, seen, ..Self::default() }
    }

    /// The number of rows.
    #[inline]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The tags that occur (after a truncation: may have occurred).
    pub fn seen(&self) -> TagSet {
        self.seen
    }

    /// The raw words, one a row. Their meaning is given by [`Column::tag`].
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The raw tags, one a row ([`Tag`] as `u8`).
    pub fn tags(&self) -> &[u8] {
        &self.tags
    }

    /// All cells as floats, when every one is a float.
    pub fn floats(&self) -> Option<&[f64]> {
        self.seen.only(Tag::Float).then(|| bytemuck::cast_slice(&self.words))
    }

    /// All cells as integers, when every one is an integer.
    pub fn ints(&self) -> Option<&[i64]> {
        self.seen.only(Tag::Int).then(|| bytemuck::cast_slice(&self.words))
    }

    /// The tag of a row.
    #[inline]
    pub fn tag(&self, row: usize) -> Tag {
        Tag::ALL[self.tags[row] as usize]
    }

    /// The cell of a row.
    #[inline]
    pub fn cell(&self, row: usize) -> Cell<'_> {
        let word = self.words[row];
        match self.tag(row) {
            Tag::Missing => Cell::Missing,
            Tag::Null => Cell::Null,
            Tag::Bool => Cell::Bool(word != 0),
            Tag::Int => Cell::Int(word as i64),
            Tag::Float => Cell::Float(f64::from_bits(word)),
            Tag::Str => Cell::Str(self.text(word)),
            Tag::Json => Cell::Json(self.span(word)),
            Tag::Bytes => Cell::Bytes(self.span(word)),
            Tag::Time => Cell::Time(Timestamp(word as i64)),
            Tag::Value => Cell::Value(&self.heap.values[word as usize]),
            Tag::Error => Cell::Error(&self.heap.errors[word as usize]),
        }
    }

    /// The value of a row; see [`Cell::to_value`].
    pub fn value(&self, row: usize) -> Value {
        self.cell(row).to_value()
    }

    /// The unparsed JSON of a row and whatever stands behind it, and its own length.
    #[inline]
    pub fn json_ahead(&self, row: usize) -> Option<(&[u8], usize)> {
        if self.tag(row) != Tag::Json {
            return None;
        }
        let word = self.words[row];
        let (start, len) = (((word & !OWN) >> 32) as usize, word as u32 as usize);
        let bytes = match &self.heap.arena {
            Some(arena) if word & OWN == 0 => &arena[start..],
            _ => &self.heap.own[start..],
        };
        Some((bytes, len))
    }

    /// The bytes of a span word of this column.
    #[inline]
    fn span(&self, word: u64) -> &[u8] {
        let (start, len) = (((word & !OWN) >> 32) as usize, word as u32 as usize);
        match &self.heap.arena {
            Some(arena) if word & OWN == 0 => &arena[start..start + len],
            _ => &self.heap.own[start..start + len],
        }
    }

    #[inline]
    #[allow(unsafe_code)]
    fn text(&self, word: u64) -> &str {
        let bytes = self.span(word);
        debug_assert!(std::str::from_utf8(bytes).is_ok());
        // SAFETY: a `Str` word is made only by `push_str` (from a `&str`), by `push_text_span` (after a UTF-8
        // check) and in `append.rs` (from a cell of another column, whose bytes it copies whole or shares); neither
        // the arena, which is immutable behind its `Arc`, nor bytes of `own` that a word points to are ever changed.
        unsafe { std::str::from_utf8_unchecked(bytes) }
    }

    #[inline]
    fn push_word(&mut self, tag: Tag, word: u64) {
        self.words.push(word);
        self.tags.push(tag as u8);
        self.seen.insert(tag);
    }

    /// Adds a missing cell.
    #[inline]
    pub fn push_missing(&mut self) {
        self.push_word(Tag::Missing, 0);
    }

    /// Adds a null.
    #[inline]
    pub fn push_null(&mut self) {
        self.push_word(Tag::Null, 0);
    }

    /// Adds a boolean.
    #[inline]
    pub fn push_bool(&mut self, value: bool) {
        self.push_word(Tag::Bool, u64::from(value));
    }

    /// Adds an integer.
    #[inline]
    pub fn push_int(&mut self, value: i64) {
        self.push_word(Tag::Int, value as u64);
    }

    /// Adds a float.
    #[inline]
    pub fn push_float(&mut self, value: f64) {
        self.push_word(Tag::Float, value.to_bits());
    }

    /// Adds an instant.
    #[inline]
    pub fn push_time(&mut self, value: Timestamp) {
        self.push_word(Tag::Time, value.0 as u64);
    }

    /// Adds text, copied into the column.
    pub fn push_str(&mut self, value: &str) {
        let word = self.own_span(value.as_bytes());
        self.push_word(Tag::Str, word);
    }

    /// Adds bytes, copied into the column.
    pub fn push_bytes(&mut self, value: &[u8]) {
        let word = self.own_span(value);
        self.push_word(Tag::Bytes, word);
    }

    /// Adds unparsed JSON (a checked object or array), copied into the column.
    pub fn push_json(&mut self, raw: &[u8]) {
        let word = self.own_span(raw);
        self.push_word(Tag::Json, word);
    }

    /// Adds text that stands in the arena. Invalid UTF-8 is copied with U+FFFD in place of bad bytes (F1.2).
    #[inline]
    pub fn push_text_span(&mut self, start: usize, len: usize) {
        let word = (start as u64) << 32 | len as u64;
        let bytes = self.span(word);
        if bytes.is_ascii() || std::str::from_utf8(bytes).is_ok() {
            self.push_word(Tag::Str, word);
        } else {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.push_str(&text);
        }
    }

    /// Adds a checked JSON object or array that stands in the arena.
    #[inline]
    pub fn push_json_span(&mut self, start: usize, len: usize) {
        self.push_word(Tag::Json, (start as u64) << 32 | len as u64);
    }

    /// Adds bytes that stand in the arena.
    #[inline]
    pub fn push_bytes_span(&mut self, start: usize, len: usize) {
        self.push_word(Tag::Bytes, (start as u64) << 32 | len as u64);
    }

    /// Adds a value; scalars become words, lists and maps go to the heap.
    pub fn push_value(&mut self, value: &Value) {
        match value {
            Value::Null => self.push_null(),
            Value::Bool(value) => self.push_bool(*value),
            Value::Int(value) => self.push_int(*value),
            Value::Float(value) => self.push_float(*value),
            Value::Str(value) => self.push_str(value),
            Value::Bytes(value) => self.push_bytes(value),
            Value::Time(value) => self.push_time(*value),
            Value::List(_) | Value::Map(_) => {
                let index = self.heap.values.len() as u64;
                self.heap.values.push(value.clone());
                self.push_word(Tag::Value, index);
            }
        }
    }

    /// Adds a failed row.
    pub fn push_error(&mut self, error: RowError) {
        let index = self.heap.errors.len() as u64;
        self.heap.errors.push(error);
        self.push_word(Tag::Error, index);
    }

    /// Adds a cell of another column, copying what it points to.
    pub fn push_cell(&mut self, cell: Cell<'_>) {
        match cell {
            Cell::Missing => self.push_missing(),
            Cell::Null => self.push_null(),
            Cell::Bool(value) => self.push_bool(value),
            Cell::Int(value) => self.push_int(value),
            Cell::Float(value) => self.push_float(value),
            Cell::Str(value) => self.push_str(value),
            Cell::Json(raw) => self.push_json(raw),
            Cell::Bytes(value) => self.push_bytes(value),
            Cell::Time(value) => self.push_time(value),
            Cell::Value(value) => self.push_value(value),
            Cell::Error(error) => self.push_error(error.clone()),
        }
    }

    /// Turns a column with one cell per selected row into one with a cell for each of `rows` rows. Rows that are not
    /// selected get a cell without meaning, of the one kind that occurs if it needs no heap, so that a uniform
    /// column stays uniform.
    pub fn spread(mut self, selected: &Selection, rows: usize) -> Self {
        if matches!(selected.live, Live::All(_)) {
            return self;
        }
        let uniform = [Tag::Null, Tag::Bool, Tag::Int, Tag::Float, Tag::Time];
        let filler = uniform.into_iter().find(|tag| self.seen.only(*tag)).unwrap_or(Tag::Missing);
        let (mut words, mut tags) = (vec![0; rows], vec![filler as u8; rows]);
        for (i, row) in selected.iter().enumerate().take(self.words.len()) {
            words[row] = self.words[i];
            tags[row] = self.tags[i];
        }
        self.seen.insert(filler);
        self.memo.0 = None;
        (self.words, self.tags) = (words, tags);
        self
    }

    /// Makes every null missing: what is left out of results (P-3).
    pub fn nulls_to_missing(&mut self) {
        self.retag(Tag::Null, Tag::Missing);
    }

    /// Makes every missing cell null (`sendNilField`, R-6).
    pub fn missing_to_null(&mut self) {
        self.retag(Tag::Missing, Tag::Null);
    }

    /// Only for tags whose word means nothing.
    fn retag(&mut self, from: Tag, to: Tag) {
        if self.seen.contains(from) {
            self.tags.iter_mut().filter(|tag| **tag == from as u8).for_each(|tag| *tag = to as u8);
            self.seen = self.seen.without(from).with(to);
        }
    }

    /// Shortens the column to `rows`. Heap space of the rows cut off stays in use until [`Column::clear`].
    #[inline]
    pub fn truncate(&mut self, rows: usize) {
        self.memo.0 = None;
        self.words.truncate(rows);
        self.tags.truncate(rows);
    }

    /// Empties the column for another batch, keeping its allocations.
    pub fn clear(&mut self, arena: Option<Arena>) {
        self.memo.0 = None;
        self.words.clear();
        self.tags.clear();
        self.seen = TagSet::default();
        self.heap.arena = arena;
        self.heap.own.clear();
        self.heap.values.clear();
        self.heap.errors.clear();
    }

    /// The bytes that it has on the heap, without the arena that a whole batch shares.
    pub fn memory(&self) -> usize {
        self.words.capacity() * 8
            + self.tags.capacity()
            + self.heap.own.capacity()
            + self.heap.values.capacity() * size_of::<Value>()
            + self.heap.values.iter().map(Value::memory).sum::<usize>()
            + self.heap.errors.capacity() * size_of::<RowError>()
    }

    fn own_span(&mut self, bytes: &[u8]) -> u64 {
        let start = self.heap.own.len() as u64;
        self.heap.own.extend_from_slice(bytes);
        OWN | start << 32 | bytes.len() as u64
    }
}

/// The result of an expression: a column of the batch, a new one, or one cell for every row.
#[derive(Debug, Clone)]
pub enum ColumnRef<'a> {
    /// One cell a row of the batch.
    Rows(Cow<'a, Column>),
    /// The same cell for every row; the column has exactly one row.
    Constant(Cow<'a, Column>),
}

impl<'a> ColumnRef<'a> {
    /// A column of the batch.
    pub fn borrowed(column: &'a Column) -> Self {
        Self::Rows(Cow::Borrowed(column))
    }

    /// A new column.
    pub fn owned(column: Column) -> Self {
        Self::Rows(Cow::Owned(column))
    }

    /// The cell of a row of the batch.
    #[inline]
    pub fn cell(&self, row: usize) -> Cell<'_> {
        match self {
            Self::Rows(column) => column.cell(row),
            Self::Constant(column) => column.cell(0),
        }
    }

    /// The column behind it.
    pub fn column(&self) -> &Column {
        match self {
            Self::Rows(column) | Self::Constant(column) => column,
        }
    }

    /// Whether every row has the same cell.
    pub fn is_constant(&self) -> bool {
        matches!(self, Self::Constant(_))
    }

    /// A column of its own with `rows` rows.
    pub fn into_column(self, rows: usize) -> Column {
        match self {
            Self::Rows(column) => column.into_owned(),
            Self::Constant(column) => {
                let mut out = Column::new();
                out.append_repeated(&column, 0, rows);
                out
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uniform_column_is_a_slice_and_a_mixed_one_is_not() {
        let mut column = Column::from_floats([1.5, 2.5]);
        assert_eq!(column.floats(), Some(&[1.5, 2.5][..]));
        column.push_str("x");
        assert_eq!(column.floats(), None);
        assert_eq!(column.cell(2), Cell::Str("x"));
        assert_eq!(column.cell(0), Cell::Float(1.5));
    }

    #[test]
    fn spans_of_the_arena_and_own_bytes_live_side_by_side() {
        let mut column = Column::with_arena(Some(Arc::new(b"hello \xffworld".to_vec())));
        column.push_text_span(0, 5);
        column.push_text_span(6, 3);
        column.push_str("own");
        assert_eq!(column.cell(0), Cell::Str("hello"));
        assert_eq!(column.cell(1), Cell::Str("\u{fffd}wo"));
        assert_eq!(column.cell(2), Cell::Str("own"));
        let mut copy = Column::new();
        copy.append_rows(&column, [2, 0].into_iter());
        assert_eq!((copy.cell(0), copy.cell(1)), (Cell::Str("own"), Cell::Str("hello")));
    }

    #[test]
    fn a_spread_column_has_its_cells_at_the_selected_rows_and_stays_uniform() {
        let column = Column::from_floats([1.5, 2.5]).spread(&Selection::rows(vec![1, 3]), 4);
        assert_eq!((column.len(), column.cell(1), column.cell(3)), (4, Cell::Float(1.5), Cell::Float(2.5)));
        assert!(column.floats().is_some());
    }

    #[test]
    fn a_range_is_appended_as_its_rows_are() {
        let mut mixed = Column::from_ints([1, 2]);
        mixed.push_null();
        let text = Column::from_values([&Value::text("a"), &Value::text("b"), &Value::Int(3)]);
        for from in [&mixed, &text] {
            for range in [0..3, 1..2, 2..3, 1..1] {
                let (mut one, mut other) = (Column::from_floats([0.5]), Column::from_floats([0.5]));
                one.append_range(from, range.clone());
                other.append_rows(from, range);
                assert_eq!(one.seen(), other.seen());
                assert!(
                    (0..one.len()).all(|row| one.cell(row) == other.cell(row)) && one.len() == other.len()
                );
            }
        }
    }

    #[test]
    fn a_memo_goes_when_the_rows_change() {
        let column = Column::with_memo(2);
        assert!(column.memo().is_some() && column.clone().memo().is_none());
        for change in [
            |column: &mut Column| column.append_range(&Column::from_ints([1]), 0..1),
            |column: &mut Column| column.append_rows(&Column::from_ints([1]), 0..1),
            |column: &mut Column| column.truncate(1),
            |column: &mut Column| column.clear(None),
        ] {
            let mut column = Column::with_memo(2);
            change(&mut column);
            assert!(column.memo().is_none());
        }
        assert!(Column::with_memo(1).spread(&Selection::rows(vec![1]), 2).memo().is_none());
    }

    #[test]
    fn values_round_trip_and_a_cleared_column_is_empty() {
        let list = Value::list(vec![Value::Int(1), Value::Null]);
        let mut column = Column::from_values([&list, &Value::text("a"), &Value::Null]);
        assert_eq!(column.value(0), list);
        assert_eq!(column.value(1), Value::text("a"));
        column.clear(None);
        assert!(column.is_empty() && column.seen() == TagSet::default());
    }
}
