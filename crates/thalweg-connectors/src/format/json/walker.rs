//! JSON text of any form straight into columns: only the wanted slots are written, the rest is walked over.
//!
//! Keys of the event are looked up by bytes, beginning behind the column that matched last, since devices send the
//! same keys in the same order. What is wanted below a column is picked in the same walk (`below.rs`). A payload that
//! fails leaves one fault and no row (T-4, T-10).

use std::borrow::Cow;
use std::sync::Arc;

use chrono_tz::Tz;
use thalweg_core::format::RawBatch;
use thalweg_core::json::{self, Number, Numbers, Scanner, Text, Token};
use thalweg_core::{
    BatchBuilder, Column, DataType, FormatError, PathStep, Projection, Timestamp, Value, Want,
};

use super::below::Below;
use super::typed;

/// A top-level column that somebody wants.
#[derive(Debug, Default)]
pub(super) struct Wants {
    pub name: String,
    /// The slots that take the whole value, each with its declared type.
    pub whole: Vec<(usize, Option<DataType>)>,
    /// What is wanted below it, for each declared type that rules see it with.
    pub below: Vec<(Option<DataType>, Below)>,
}

impl Wants {
    fn below(&mut self, data_type: &Option<DataType>) -> &mut Below {
        let at = self.below.iter().position(|(known, _)| known == data_type);
        let at = at.unwrap_or_else(|| {
            self.below.push((data_type.clone(), Below::default()));
            self.below.len() - 1
        });
        &mut self.below[at].1
    }

    /// Paths of a column that the event did not have end in nothing.
    fn fill_paths(&self, into: &mut BatchBuilder) {
        for (_, below) in &self.below {
            if !below.is_filled(into) {
                below.fill_null(into);
            }
        }
    }

    /// The last of equal keys wins (T-10).
    fn forget(&self, into: &mut BatchBuilder) {
        self.whole.iter().for_each(|(slot, _)| into.reset_slot(*slot));
        self.below.iter().flat_map(|(_, below)| below.all()).for_each(|slot| into.reset_slot(*slot));
    }
}

/// Walks over payloads for one projection.
pub(super) struct Walker {
    pub want: Arc<Projection>,
    pub columns: Vec<Wants>,
    pub everything: Vec<usize>,
    pub meta: Vec<usize>,
    zone: Tz,
}

/// How values become cells. `base` is where the scanner's text begins in the arena.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub base: usize,
    pub whole_numbers: bool,
}

impl Reading {
    pub(super) fn numbers(self) -> Numbers {
        if self.whole_numbers { Numbers::Whole } else { Numbers::Float }
    }

    /// A schemaless scalar (T-2, T-3).
    #[inline]
    pub(super) fn scalar(self, token: Token, bytes: &[u8], column: &mut Column) {
        match token {
            Token::Null => column.push_null(),
            Token::Bool(value) => column.push_bool(value),
            Token::Number(Number::Int(value)) if self.whole_numbers => column.push_int(value),
            Token::Number(number) => column.push_float(number.as_f64()),
            Token::Text(text) => push_text(column, text, bytes, self.base),
            Token::OpenArray | Token::OpenObject => {}
        }
    }

    /// The schemaless scalar at the scanner's place; false when none stands there.
    #[inline(always)]
    pub(super) fn plain(self, scanner: &mut Scanner<'_>, column: &mut Column) -> bool {
        if let Some(text) = scanner.quick_text() {
            column.push_text_span(self.base + text.start, text.len);
            return true;
        }
        if !self.whole_numbers
            && let Some(value) = scanner.quick_float()
        {
            column.push_float(value);
            return true;
        }
        self.other(scanner, column)
    }

    /// As [`Reading::plain`], for everything but common numbers and texts.
    fn other(self, scanner: &mut Scanner<'_>, column: &mut Column) -> bool {
        match scanner.token() {
            Ok(Token::OpenArray | Token::OpenObject) | Err(_) => false,
            Ok(token) => {
                self.scalar(token, scanner.bytes(), column);
                true
            }
        }
    }

    /// A schemaless object or array that was passed over: it stays raw where the numbers in it are floats anyway.
    #[inline]
    pub(super) fn nested(
        self,
        bytes: &[u8],
        (start, end): (usize, usize),
        column: &mut Column,
    ) -> Result<(), FormatError> {
        if self.whole_numbers {
            column.push_value(&json::parse(&bytes[start..end], Numbers::Whole)?);
        } else {
            column.push_json_span(self.base + start, end - start);
        }
        Ok(())
    }

    /// The schemaless value at the scanner's place.
    #[inline]
    fn value(self, scanner: &mut Scanner<'_>, column: &mut Column) -> Result<(), FormatError> {
        if matches!(scanner.peek(), b'{' | b'[') {
            let span = scanner.skip()?;
            return self.nested(scanner.bytes(), span, column);
        }
        let token = scanner.token()?;
        self.scalar(token, scanner.bytes(), column);
        Ok(())
    }
}

impl Walker {
    pub(super) fn new(want: &Arc<Projection>, zone: Tz) -> Self {
        let mut decoder = Self {
            want: Arc::clone(want),
            columns: Vec::new(),
            everything: Vec::new(),
            meta: Vec::new(),
            zone,
        };
        for (slot, wanted) in want.slots.iter().enumerate() {
            match &wanted.want {
                Want::Everything => decoder.everything.push(slot),
                Want::Meta => decoder.meta.push(slot),
                Want::Column { path, data_type } => match path.split_first() {
                    None => {}
                    Some((name, [])) => decoder.column(name).whole.push((slot, data_type.clone())),
                    Some((name, rest)) => {
                        let steps: Vec<_> = rest.iter().cloned().map(PathStep::Member).collect();
                        decoder.column(name).below(data_type).add(&steps, slot);
                    }
                },
                Want::Path { column, steps, data_type } => {
                    decoder.column(column).below(data_type).add(steps, slot);
                }
            }
        }
        decoder
    }

    fn column(&mut self, name: &str) -> &mut Wants {
        let at = self.columns.iter().position(|column| column.name == name);
        let at = at.unwrap_or_else(|| {
            self.columns.push(Wants { name: name.to_owned(), ..Wants::default() });
            self.columns.len() - 1
        });
        &mut self.columns[at]
    }

    /// The column of this name; `hint` is where the search begins, and stands behind the match afterwards.
    #[inline]
    pub(super) fn find(&self, name: &[u8], hint: &mut usize) -> Option<&Wants> {
        let ignore_case = self.want.ignore_case;
        let same = |column: &Wants| {
            let own = column.name.as_bytes();
            if ignore_case { own.eq_ignore_ascii_case(name) } else { own == name }
        };
        let n = self.columns.len();
        for step in 0..n {
            let at = if *hint + step < n { *hint + step } else { *hint + step - n };
            if same(&self.columns[at]) {
                *hint = if at + 1 == n { 0 } else { at + 1 };
                return Some(&self.columns[at]);
            }
        }
        None
    }

    /// Decodes a payload of any form.
    pub(super) fn payload(
        &self,
        raw: &RawBatch,
        index: usize,
        into: &mut BatchBuilder,
    ) -> Result<(), FormatError> {
        let (start, len) = (raw.spans[index].0 as usize, raw.spans[index].1 as usize);
        let mut scanner = Scanner::new(&raw.arena[start..start + len]);
        let time = raw.times[index];
        match scanner.peek() {
            b'{' => self.row(&mut scanner, start, into)?,
            b'[' => {
                scanner.token()?;
                let mut first = true;
                while scanner.next_item(first)? {
                    if !first {
                        self.end_row(raw, index, time, into)?;
                    }
                    first = false;
                    self.row(&mut scanner, start, into)?;
                }
                if first {
                    return scanner.end();
                }
            }
            _ => {
                scanner.skip()?;
                scanner.end()?;
                return Err(not_an_object());
            }
        }
        scanner.end()?;
        self.end_row(raw, index, time, into)
    }

    /// Strict checks, metadata, and the end of the row.
    pub(super) fn end_row(
        &self,
        raw: &RawBatch,
        index: usize,
        time: Timestamp,
        into: &mut BatchBuilder,
    ) -> Result<(), FormatError> {
        for &slot in &self.meta {
            if let Some(Some(meta)) = raw.meta.get(index) {
                into.column(slot).push_value(&Value::Map(Arc::clone(meta)));
            }
        }
        for (slot, wanted) in self.want.slots.iter().enumerate() {
            if wanted.strict.is_some() {
                typed::check_strict(wanted, slot, (time, self.zone), into)?;
            }
        }
        self.columns.iter().for_each(|column| column.fill_paths(into));
        into.end_row(time);
        Ok(())
    }

    /// One event: the object at the scanner's place. `base` is where the payload begins in the arena.
    fn row(
        &self,
        scanner: &mut Scanner<'_>,
        base: usize,
        into: &mut BatchBuilder,
    ) -> Result<(), FormatError> {
        if scanner.peek() != b'{' {
            return Err(not_an_object());
        }
        let start = scanner.position();
        scanner.token()?;
        self.members(scanner, base, into)?;
        for &slot in &self.everything {
            let (end, column) = (scanner.position(), into.column(slot));
            match (&self.want.declared, self.want.whole_numbers) {
                (None, false) => column.push_json_span(base + start, end - start),
                (None, true) => {
                    column.push_value(&json::parse(&scanner.bytes()[start..end], Numbers::Whole)?)
                }
                (Some(declared), _) => {
                    let mut object = Scanner::new(&scanner.bytes()[start..end]);
                    column.push_value(&typed::object(&mut object, declared)?);
                }
            }
        }
        Ok(())
    }

    /// The members of an event whose brace has been taken.
    fn members(
        &self,
        scanner: &mut Scanner<'_>,
        base: usize,
        into: &mut BatchBuilder,
    ) -> Result<(), FormatError> {
        let reading = Reading { base, whole_numbers: self.want.whole_numbers };
        let (mut first, mut hint) = (true, 0);
        while let Some(key) = scanner.next_key(first)? {
            first = false;
            let name = key_bytes(key, scanner.bytes());
            match self.find(&name, &mut hint) {
                None => drop(scanner.skip()?),
                Some(column) => {
                    column.forget(into);
                    value(column, scanner, reading, into)?;
                }
            }
        }
        Ok(())
    }
}

/// A column's value. It is walked over once, unless rules see it with several types, or want it whole and typed.
fn value(
    wants: &Wants,
    scanner: &mut Scanner<'_>,
    reading: Reading,
    into: &mut BatchBuilder,
) -> Result<(), FormatError> {
    match (&wants.whole[..], &wants.below[..]) {
        ([(slot, None)], []) => return reading.value(scanner, into.column(*slot)),
        ([(slot, Some(data_type))], []) => {
            return typed::push(scanner, &wants.name, data_type, (reading.base, into.column(*slot)));
        }
        _ => {}
    }
    scanner.peek();
    let start = scanner.position();
    let mut rest = wants.below.iter();
    match rest.next() {
        Some((data_type, below)) => {
            descend(below, scanner, (&wants.name, data_type.as_ref()), reading, into)?
        }
        None => drop(scanner.skip()?),
    }
    let bytes = &scanner.bytes()[start..scanner.position()];
    let reading = Reading { base: reading.base + start, ..reading };
    for (data_type, below) in rest {
        descend(below, &mut Scanner::new(bytes), (&wants.name, data_type.as_ref()), reading, into)?;
    }
    for (slot, data_type) in &wants.whole {
        let column = into.column(*slot);
        match data_type {
            None if matches!(bytes.first(), Some(b'{' | b'[')) => {
                reading.nested(bytes, (0, bytes.len()), column)?
            }
            None => reading.value(&mut Scanner::new(bytes), column)?,
            Some(data_type) => {
                typed::push(&mut Scanner::new(bytes), &wants.name, data_type, (reading.base, column))?;
            }
        }
    }
    Ok(())
}

fn descend(
    below: &Below,
    scanner: &mut Scanner<'_>,
    (name, data_type): (&str, Option<&DataType>),
    reading: Reading,
    into: &mut BatchBuilder,
) -> Result<(), FormatError> {
    match data_type {
        None => below.dynamic(scanner, reading, into),
        Some(data_type) => below.declared(scanner, (name, data_type), reading, into),
    }
}

/// Text into a column: a span of the arena when it stands there as it is.
#[inline]
pub(super) fn push_text(column: &mut Column, text: Text, bytes: &[u8], base: usize) {
    if text.escaped {
        column.push_str(&text.decode(bytes));
    } else {
        column.push_text_span(base + text.start, text.len);
    }
}

#[inline]
pub(super) fn key_bytes(key: Text, bytes: &[u8]) -> Cow<'_, [u8]> {
    if key.escaped {
        Cow::Owned(key.decode(bytes).into_owned().into_bytes())
    } else {
        Cow::Borrowed(key.raw(bytes))
    }
}

/// F2.1.
fn not_an_object() -> FormatError {
    FormatError::new("only map[string]interface{} and []map[string]interface{} is supported")
}
