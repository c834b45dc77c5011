//! Frames of arguments, written from the columns of a batch.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use thalweg_core::{Cell, Column, ColumnRef, Tag};

pub(crate) use super::survey::Numbers;

use super::rows::{Part, Rows};
use super::survey::{Kind, Survey, is_whole, kind_of_floats};
use super::{ALIGN, GROUPS, HEAD, IN_REGION, MAGIC, Place, ROWS, SINK, VERSION, aligned};
use crate::wire;

/// One argument of a call.
pub(crate) struct Arg<'a> {
    pub(crate) values: &'a ColumnRef<'a>,
    pub(crate) numbers: Numbers,
    /// The JSON of an argument that is the same for every row.
    constant: Option<String>,
    /// How all of its floats travel, if they travel alike; found out when somebody asks.
    kind: OnceLock<Option<Kind>>,
}

impl<'a> Arg<'a> {
    pub(crate) fn new(values: &'a ColumnRef<'a>, numbers: Numbers) -> Self {
        let constant = values.is_constant().then(|| {
            let mut text = String::new();
            wire::write_cell_as(&mut text, values.cell(0), numbers);
            text
        });
        Self { values, numbers, constant, kind: OnceLock::new() }
    }

    /// The same for all rows of the batch, where they are floats of one kind.
    fn kind_of_floats(&self) -> Option<Kind> {
        let look = || kind_of_floats(self.values.column().floats()?, |value| value, self.numbers);
        *self.kind.get_or_init(look)
    }

    /// Whether a cell is a number that JSON lacks, which reaches the plugin as null.
    pub(crate) fn is_lost(&self, row: usize) -> bool {
        matches!(self.values.cell(row), Cell::Float(value) if !value.is_finite())
    }

    /// About how many bytes a row of it takes; `None` when that depends on the row.
    pub(crate) fn weight(&self) -> Option<usize> {
        let small = [Tag::Missing, Tag::Null, Tag::Bool, Tag::Int, Tag::Float, Tag::Time];
        let seen = small.into_iter().fold(self.values.column().seen(), thalweg_core::TagSet::without);
        if self.constant.is_some() {
            return Some(0);
        }
        (seen == thalweg_core::TagSet::default()).then_some(8)
    }

    /// The same for one row.
    pub(crate) fn weight_at(&self, row: usize) -> usize {
        match self.values.cell(row) {
            _ if self.constant.is_some() => 0,
            Cell::Str(text) => 4 + text.len(),
            Cell::Json(bytes) | Cell::Bytes(bytes) => 4 + bytes.len(),
            Cell::Value(value) => value.memory(),
            _ => 8,
        }
    }
}

/// What stands in a frame beside its columns.
pub(crate) struct Opening<'a> {
    pub(crate) function: &'a str,
    pub(crate) context: u32,
    pub(crate) seq: u64,
    /// Where the buffers go instead of into the message; the answer may use the same place.
    pub(crate) place: Option<Place>,
    /// What accumulators are to do, as JSON; empty for whole groups.
    pub(crate) accumulate: &'a str,
}

/// Some text or bytes are too long for offsets of 32 bits, or for the place in shared memory.
#[derive(Debug, PartialEq)]
pub(crate) struct TooLarge;

/// Writes one frame after the other into the same memory.
#[derive(Default)]
pub(crate) struct FrameWriter {
    message: Vec<u8>,
    columns: String,
    text: String,
    /// Where the buffers begin in `message`, and what stands for that in the header.
    start: usize,
    base: usize,
    is_outside: bool,
    /// Whether some argument of the last frame was a number that JSON lacks.
    pub(crate) lost_number: bool,
}

impl FrameWriter {
    /// The frame that was written last, without what lies elsewhere.
    pub(crate) fn message(&self) -> &[u8] {
        if self.is_outside { &self.message[..self.start] } else { &self.message }
    }

    /// What of it belongs into the shared memory, at the place that was given.
    pub(crate) fn outside(&self) -> &[u8] {
        if self.is_outside { &self.message[self.start..] } else { &[] }
    }

    /// Writes the arguments of some calls.
    pub(crate) fn write(
        &mut self,
        opening: &Opening<'_>,
        args: &[Arg<'_>],
        part: &Part<'_>,
    ) -> Result<(), TooLarge> {
        self.is_outside = opening.place.is_some();
        self.lost_number = false;
        self.columns.clear();
        self.start = aligned(HEAD + self.room_of_header(opening, args));
        self.base = opening.place.map_or(self.start, |place| place.offset);
        self.message.clear();
        self.message.resize(self.start, 0);
        let mut groups = None;
        if let Some(offsets) = part.groups {
            let at = self.begin();
            self.group_offsets(offsets);
            groups = Some(self.since(at));
        }
        for arg in args {
            self.column(arg, part.rows)?;
        }
        if opening.place.is_some_and(|place| self.message.len() - self.start > place.size) {
            return Err(TooLarge);
        }
        let flags = if opening.place.is_some() { IN_REGION } else { 0 };
        self.finish(opening, part, groups, flags);
        Ok(())
    }

    /// Writes rows for a sink: so many, as columns with these names.
    pub(crate) fn write_rows(
        &mut self,
        seq: u64,
        names: &[Cow<'_, str>],
        args: &[Arg<'_>],
        n: usize,
    ) -> Result<(), TooLarge> {
        self.is_outside = false;
        self.columns.clear();
        let names_room: usize = names.iter().map(|name| 6 * name.len() + 12).sum();
        self.start = aligned(HEAD + 64 + names_room + 200 * args.len());
        self.base = self.start;
        self.message.clear();
        self.message.resize(self.start, 0);
        let mut name_text = String::new();
        for (name, arg) in names.iter().zip(args) {
            let at = self.columns.len() + usize::from(!self.columns.is_empty()) + 1;
            self.column(arg, Rows::Span(0, n))?;
            name_text.clear();
            name_text.push_str("\"name\":");
            wire::write_text(&mut name_text, name);
            name_text.push(',');
            self.columns.insert_str(at, &name_text);
        }
        let header = format!("{{\"n\":{n},\"cols\":[{}]}}", self.columns);
        self.head(SINK, 0, seq, &header);
        Ok(())
    }

    /// Writes the arguments of some calls straight into the shared memory, which is that of the opening's place. False
    /// if not every one is a column of floats of one kind, or if they do not fit: then nothing is written.
    pub(crate) fn place(
        &mut self,
        opening: &Opening<'_>,
        args: &[Arg<'_>],
        part: &Part<'_>,
        memory: &[AtomicU64],
    ) -> bool {
        let Some(place) = opening.place else { return false };
        let n_bytes = part.rows.len() * 8;
        let of_groups = part.groups.map_or(0, |offsets| offsets.len() * 4);
        let is_plain = |arg: &Arg<'_>| arg.constant.is_none() && arg.kind_of_floats().is_some();
        if aligned(of_groups) + args.len() * aligned(n_bytes) > memory.len() * 8 || !args.iter().all(is_plain)
        {
            return false;
        }
        self.is_outside = true;
        self.lost_number = false;
        self.columns.clear();
        self.start = aligned(HEAD + self.room_of_header(opening, args));
        self.message.clear();
        self.message.resize(self.start, 0);
        if let Some(offsets) = part.groups {
            let offset = |at: usize| u64::from(offsets.get(at).map_or(0, |offset| offset - offsets[0]));
            let pairs = (0..offsets.len()).step_by(2).map(|at| offset(at) | offset(at + 1) << 32);
            memory.iter().zip(pairs).for_each(|(room, pair)| room.store(pair, Relaxed));
        }
        let mut at = aligned(of_groups);
        for arg in args {
            let is_int = arg.kind_of_floats() == Some(Kind::Int);
            place_words(arg.values.column().words(), part.rows, &memory[at / 8..], is_int);
            let (comma, name) =
                (if self.columns.is_empty() { "" } else { "," }, if is_int { "i64" } else { "f64" });
            let offset = place.offset + at;
            let _ = write!(self.columns, "{comma}{{\"t\":\"{name}\",\"data\":[{offset},{n_bytes}]}}");
            at += aligned(n_bytes);
        }
        self.finish(opening, part, part.groups.map(|_| [place.offset, of_groups]), IN_REGION);
        true
    }

    /// More than the header will take, whatever the offsets in it are.
    pub(super) fn room_of_header(&self, opening: &Opening<'_>, args: &[Arg<'_>]) -> usize {
        let constants: usize = args.iter().map(|arg| arg.constant.as_ref().map_or(0, String::len)).sum();
        256 + 6 * opening.function.len() + 200 * args.len() + constants + opening.accumulate.len()
    }

    /// Writes the header. `groups`: where their offsets are, unless the body says it.
    pub(super) fn finish(
        &mut self,
        opening: &Opening<'_>,
        part: &Part<'_>,
        groups: Option<[usize; 2]>,
        flags: u8,
    ) {
        let mut header = std::mem::take(&mut self.text);
        header.clear();
        header.push_str("{\"fn\":");
        wire::write_text(&mut header, opening.function);
        // Writing to a string cannot fail.
        let _ = write!(header, ",\"ctx\":{},\"n\":{},\"cols\":[{}]", opening.context, part.n(), self.columns);
        if let Some([offset, size]) = groups {
            let _ = write!(header, ",\"groups\":[{offset},{size}]");
        }
        if !opening.accumulate.is_empty() {
            let _ = write!(header, ",\"acc\":{}", opening.accumulate);
        }
        if let Some(place) = opening.place {
            let _ = write!(header, ",\"answer\":[{},{}]", place.offset, place.size);
        }
        header.push('}');
        let op = if part.groups.is_some() { GROUPS } else { ROWS };
        self.head(op, flags, opening.seq, &header);
        self.text = header;
    }

    /// Writes what stands before the buffers.
    fn head(&mut self, op: u8, flags: u8, seq: u64, header: &str) {
        debug_assert!(HEAD + header.len() <= self.start);
        self.message[..4].copy_from_slice(&[MAGIC, VERSION, op, flags]);
        self.message[4..8].copy_from_slice(&((self.start - HEAD) as u32).to_le_bytes());
        self.message[8..16].copy_from_slice(&seq.to_le_bytes());
        self.message[HEAD..HEAD + header.len()].copy_from_slice(header.as_bytes());
    }

    /// Begins a frame whose header is put before the buffers in the end.
    pub(super) fn clear(&mut self) {
        (self.is_outside, self.lost_number, self.start, self.base) = (false, false, 0, 0);
        self.columns.clear();
        self.message.clear();
    }

    /// Puts something before the buffers, in which the header has this much room.
    pub(super) fn put_before(&mut self, bytes: Vec<u8>, room: usize) {
        self.message.splice(0..0, bytes);
        self.start = room;
    }

    pub(super) fn put_behind(&mut self, bytes: &[u8]) {
        self.message.extend_from_slice(bytes);
    }

    /// Where groups begin, counted from the first.
    pub(super) fn group_offsets(&mut self, offsets: &[u32]) {
        let first = offsets[0];
        for offset in offsets {
            self.message.extend_from_slice(&(offset - first).to_le_bytes());
        }
    }

    /// Where the next buffer begins.
    pub(super) fn begin(&mut self) -> usize {
        let length = aligned(self.message.len());
        self.message.resize(length, 0);
        length
    }

    /// The place of a buffer that ends here, as the header says it.
    pub(super) fn since(&self, at: usize) -> [usize; 2] {
        [at - self.start + self.base, self.message.len() - at]
    }

    fn column(&mut self, arg: &Arg<'_>, rows: Rows<'_>) -> Result<(), TooLarge> {
        if !self.columns.is_empty() {
            self.columns.push(',');
        }
        if let Some(constant) = &arg.constant {
            self.lost_number |= arg.is_lost(0);
            let _ = write!(self.columns, "{{\"t\":\"const\",\"v\":{constant}}}");
            return Ok(());
        }
        let column = arg.values.column();
        if column.floats().is_some() && rows.len() > 0 && self.plain_floats(column, rows, arg.numbers) {
            return Ok(());
        }
        let survey = Survey::of(column, rows);
        self.lost_number |= survey.n_not_finite > 0;
        let kind = survey.kind(arg.numbers);
        if kind == Kind::Nothing {
            self.columns.push_str("{\"t\":\"const\",\"v\":null}");
            return Ok(());
        }
        let nulls = survey.has_nulls().then(|| self.bits(rows, |row| has_value(column, row)));
        let (name, offsets, whole) = match kind {
            Kind::Str | Kind::Bytes | Kind::Json => {
                let name = match kind {
                    Kind::Str => "str",
                    Kind::Bytes => "bin",
                    _ => "json",
                };
                let offsets = self.offsets(arg, kind, rows)?;
                (name, Some(offsets), None)
            }
            Kind::Float { some_whole } => {
                let is_integer = |row| match column.cell(row) {
                    Cell::Int(_) => true,
                    Cell::Float(value) => is_whole(value),
                    _ => false,
                };
                ("f64", None, some_whole.then(|| self.bits(rows, is_integer)))
            }
            Kind::Int => ("i64", None, None),
            Kind::Time => ("ts", None, None),
            Kind::Bool | Kind::Nothing => ("bool", None, None),
        };
        let at = self.begin();
        self.values(column, kind, rows);
        let [offset, size] = self.since(at);
        let _ = write!(self.columns, "{{\"t\":\"{name}\"");
        for (key, place) in [("null", nulls), ("whole", whole), ("off", offsets)] {
            if let Some([offset, size]) = place {
                let _ = write!(self.columns, ",\"{key}\":[{offset},{size}]");
            }
        }
        let _ = write!(self.columns, ",\"data\":[{offset},{size}]}}");
        Ok(())
    }

    /// The values of a column that travels as this.
    pub(super) fn values(&mut self, column: &Column, kind: Kind, rows: Rows<'_>) {
        match kind {
            Kind::Str | Kind::Bytes | Kind::Json => self.texts(column, kind, rows),
            Kind::Bool | Kind::Nothing => {
                let words = column.words();
                rows.each(|row| self.message.push(u8::from(words[row] != 0)));
            }
            Kind::Float { .. } => self.floats(column, rows),
            Kind::Int => self.ints(column, rows),
            Kind::Time => self.words(column, rows, |row| column.words()[row]),
        }
    }

    /// Floats that are all finite and all whole or all not, which is usual; else nothing is written.
    fn plain_floats(&mut self, column: &Column, rows: Rows<'_>, numbers: Numbers) -> bool {
        let (before, at) = (self.message.len(), self.begin());
        let words = column.words();
        self.words(column, rows, |row| words[row]);
        let written = self.message[at..].as_chunks_mut().0;
        let name = match kind_of_floats(written, f64::from_le_bytes, numbers) {
            Some(Kind::Int) => {
                for word in written {
                    *word = (f64::from_le_bytes(*word) as i64).to_le_bytes();
                }
                "i64"
            }
            Some(_) => "f64",
            None => {
                self.message.truncate(before);
                return false;
            }
        };
        let [offset, size] = self.since(at);
        let _ = write!(self.columns, "{{\"t\":\"{name}\",\"data\":[{offset},{size}]}}");
        true
    }

    /// A bit a row, the least significant first.
    pub(super) fn bits(&mut self, rows: Rows<'_>, holds: impl Fn(usize) -> bool) -> [usize; 2] {
        let at = self.begin();
        self.message.resize(at + rows.len().div_ceil(8), 0);
        let bits = &mut self.message[at..];
        let mut place = 0;
        rows.each(|row| {
            bits[place / 8] |= u8::from(holds(row)) << (place % 8);
            place += 1;
        });
        self.since(at)
    }

    fn words(&mut self, column: &Column, rows: Rows<'_>, word: impl Fn(usize) -> u64) {
        let at = self.message.len();
        self.message.resize(at + rows.len() * 8, 0);
        debug_assert!(column.len() >= rows.len());
        let room = self.message[at..].as_chunks_mut().0.iter_mut();
        match rows.listed() {
            // A list has none.
            Rows::Grouped(_) => {}
            Rows::Span(start, end) => {
                room.zip(start..end).for_each(|(room, row)| *room = word(row).to_le_bytes());
            }
            Rows::List(rows) => {
                room.zip(rows).for_each(|(room, row)| *room = word(*row as usize).to_le_bytes());
            }
        }
    }

    fn floats(&mut self, column: &Column, rows: Rows<'_>) {
        let (words, tags) = (column.words(), column.tags());
        match column.floats() {
            // What is not finite is a null, whose value nobody looks at.
            Some(_) => self.words(column, rows, |row| words[row]),
            None => self.words(column, rows, |row| {
                let is_int = tags[row] == Tag::Int as u8;
                if is_int { (words[row] as i64 as f64).to_bits() } else { words[row] }
            }),
        }
    }

    fn ints(&mut self, column: &Column, rows: Rows<'_>) {
        let (words, tags) = (column.words(), column.tags());
        match column.ints() {
            Some(_) => self.words(column, rows, |row| words[row]),
            None => self.words(column, rows, |row| {
                let is_float = tags[row] == Tag::Float as u8;
                if is_float { f64::from_bits(words[row]) as i64 as u64 } else { words[row] }
            }),
        }
    }

    /// The offsets of texts; those of JSON are made here and kept for [`FrameWriter::texts`].
    pub(super) fn offsets(
        &mut self,
        arg: &Arg<'_>,
        kind: Kind,
        rows: Rows<'_>,
    ) -> Result<[usize; 2], TooLarge> {
        let column = arg.values.column();
        let at = self.begin();
        self.message.extend_from_slice(&0i32.to_le_bytes());
        self.text.clear();
        let (mut end, mut fits) = (0, true);
        rows.each(|row| {
            match (kind, column.cell(row)) {
                (Kind::Str, Cell::Str(text)) => end += text.len(),
                (Kind::Bytes, Cell::Bytes(bytes)) => end += bytes.len(),
                (Kind::Json, _) if has_value(column, row) => {
                    wire::write_cell_as(&mut self.text, column.cell(row), arg.numbers);
                    end = self.text.len();
                }
                _ => {}
            }
            let offset = i32::try_from(end);
            fits &= offset.is_ok();
            self.message.extend_from_slice(&offset.unwrap_or(0).to_le_bytes());
        });
        if fits { Ok(self.since(at)) } else { Err(TooLarge) }
    }

    fn texts(&mut self, column: &Column, kind: Kind, rows: Rows<'_>) {
        if kind == Kind::Json {
            self.message.extend_from_slice(self.text.as_bytes());
            return;
        }
        rows.each(|row| match column.cell(row) {
            Cell::Str(text) => self.message.extend_from_slice(text.as_bytes()),
            Cell::Bytes(bytes) => self.message.extend_from_slice(bytes),
            _ => {}
        });
    }
}

/// Copies the words of some rows, floats that are integers as such if asked to.
fn place_words(words: &[u64], rows: Rows<'_>, room: &[AtomicU64], is_int: bool) {
    let put = |word: u64, room: &AtomicU64| {
        let word = if is_int { f64::from_bits(word) as i64 as u64 } else { word };
        room.store(word, Relaxed);
    };
    match rows {
        Rows::Span(start, end) => {
            room.iter().zip(&words[start..end]).for_each(|(room, word)| put(*word, room));
        }
        Rows::List(rows) => room.iter().zip(rows).for_each(|(room, row)| put(words[*row as usize], room)),
        Rows::Grouped(rows) => rows.each_word(words, |word, place| {
            if let Some(room) = room.get(place) {
                put(word, room);
            }
        }),
    }
}

/// Whether a cell is more than nothing to a plugin.
pub(super) fn has_value(column: &Column, row: usize) -> bool {
    match column.cell(row) {
        Cell::Missing | Cell::Null | Cell::Error(_) => false,
        Cell::Float(value) => value.is_finite(),
        _ => true,
    }
}

const _: () = assert!(ALIGN.is_multiple_of(8), "numbers lie at multiples of their size");
