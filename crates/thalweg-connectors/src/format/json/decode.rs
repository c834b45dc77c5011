//! JSON text straight into columns: only the wanted slots are written, the rest is walked over.
//!
//! The wanted paths form a trie. Keys of an object are looked up in its node by bytes, beginning behind the child
//! that matched last, since devices send the same keys in the same order. A payload that fails leaves one fault and
//! no row (T-4, T-10).

use std::borrow::Cow;
use std::sync::Arc;

use chrono_tz::Tz;
use thalweg_core::format::{Decoder, RawBatch};
use thalweg_core::json::{self, Number, Numbers, Scanner, Text, Token};
use thalweg_core::{BatchBuilder, Column, DataType, FormatError, Projection, Timestamp, Value, Want};

use super::typed;

/// One key that somebody wants, below its parent.
#[derive(Debug, Default)]
struct Node {
    name: Vec<u8>,
    children: Vec<Node>,
    /// The slots that take this value, each with its declared type.
    slots: Vec<(usize, Option<DataType>)>,
}

impl Node {
    fn child(&mut self, name: &str) -> &mut Node {
        let at = self.children.iter().position(|child| child.name == name.as_bytes());
        let at = at.unwrap_or_else(|| {
            self.children.push(Node { name: name.as_bytes().to_vec(), ..Node::default() });
            self.children.len() - 1
        });
        &mut self.children[at]
    }

    /// The child of this name; `hint` is where the search begins, and stands behind the match afterwards.
    #[inline]
    fn find(&self, name: &[u8], ignore_case: bool, hint: &mut usize) -> Option<&Node> {
        let same = |child: &Node| {
            if ignore_case { child.name.eq_ignore_ascii_case(name) } else { child.name == name }
        };
        let n = self.children.len();
        for step in 0..n {
            let at = if *hint + step < n { *hint + step } else { *hint + step - n };
            if same(&self.children[at]) {
                *hint = if at + 1 == n { 0 } else { at + 1 };
                return Some(&self.children[at]);
            }
        }
        None
    }
}

/// Decodes JSON for one projection.
pub(crate) struct JsonDecoder {
    want: Arc<Projection>,
    root: Node,
    everything: Vec<usize>,
    meta: Vec<usize>,
    zone: Tz,
}

impl JsonDecoder {
    pub(crate) fn new(want: &Arc<Projection>, zone: Tz) -> Self {
        let mut decoder = Self {
            want: Arc::clone(want),
            root: Node::default(),
            everything: Vec::new(),
            meta: Vec::new(),
            zone,
        };
        for (slot, wanted) in want.slots.iter().enumerate() {
            match &wanted.want {
                Want::Everything => decoder.everything.push(slot),
                Want::Meta => decoder.meta.push(slot),
                Want::Column { path, data_type } => {
                    let node = path.iter().fold(&mut decoder.root, |node, name| node.child(name));
                    node.slots.push((slot, data_type.clone()));
                }
            }
        }
        decoder
    }

    fn payload(&self, raw: &RawBatch, index: usize, into: &mut BatchBuilder) -> Result<(), FormatError> {
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
    fn end_row(
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
        self.members(&self.root, scanner, base, into)?;
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

    /// The members of an object whose brace has been taken.
    fn members(
        &self,
        node: &Node,
        scanner: &mut Scanner<'_>,
        base: usize,
        into: &mut BatchBuilder,
    ) -> Result<(), FormatError> {
        let (mut first, mut hint) = (true, 0);
        while let Some(key) = scanner.next_key(first)? {
            first = false;
            let name = key_bytes(key, scanner.bytes());
            match node.find(&name, self.want.ignore_case, &mut hint) {
                None => drop(scanner.skip()?),
                Some(child) => self.value(child, scanner, base, into)?,
            }
        }
        Ok(())
    }

    /// A value that some slot, or a path below it, wants.
    fn value(
        &self,
        node: &Node,
        scanner: &mut Scanner<'_>,
        base: usize,
        into: &mut BatchBuilder,
    ) -> Result<(), FormatError> {
        let kind = scanner.peek();
        let start = scanner.position();
        if !node.children.is_empty() {
            // T-10: of an object that came before under the same key nothing remains.
            forget(node, into);
        }
        if !node.children.is_empty() && kind == b'{' {
            scanner.token()?;
            self.members(node, scanner, base, into)?;
        } else if let [(slot, None)] = node.slots.as_slice() {
            into.reset_slot(*slot);
            return self.dynamic(scanner, base, into.column(*slot));
        } else {
            scanner.skip()?;
        }
        let bytes = &scanner.bytes()[start..scanner.position()];
        for (slot, data_type) in &node.slots {
            into.reset_slot(*slot);
            let mut again = Scanner::new(bytes);
            let column = into.column(*slot);
            match data_type {
                None => self.dynamic(&mut again, base + start, column)?,
                Some(data_type) => {
                    let name = String::from_utf8_lossy(&node.name);
                    typed::push(&mut again, &name, data_type, (base + start, column))?;
                }
            }
        }
        Ok(())
    }

    /// A schemaless value: scalars become words, objects and arrays stay raw (T-2, T-3).
    #[inline]
    fn dynamic(
        &self,
        scanner: &mut Scanner<'_>,
        base: usize,
        column: &mut Column,
    ) -> Result<(), FormatError> {
        if matches!(scanner.peek(), b'{' | b'[') {
            let (start, end) = scanner.skip()?;
            if self.want.whole_numbers {
                column.push_value(&json::parse(&scanner.bytes()[start..end], Numbers::Whole)?);
            } else {
                column.push_json_span(base + start, end - start);
            }
            return Ok(());
        }
        match scanner.token()? {
            Token::Null => column.push_null(),
            Token::Bool(value) => column.push_bool(value),
            Token::Number(Number::Int(value)) if self.want.whole_numbers => column.push_int(value),
            Token::Number(number) => column.push_float(number.as_f64()),
            Token::Text(text) => push_text(column, text, scanner.bytes(), base),
            Token::OpenArray | Token::OpenObject => {}
        }
        Ok(())
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

/// Takes back what the current row has below a node.
fn forget(node: &Node, into: &mut BatchBuilder) {
    for child in &node.children {
        child.slots.iter().for_each(|(slot, _)| into.reset_slot(*slot));
        forget(child, into);
    }
}

#[inline]
fn key_bytes(key: Text, bytes: &[u8]) -> Cow<'_, [u8]> {
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

impl Decoder for JsonDecoder {
    fn decode(&mut self, raw: &RawBatch, into: &mut BatchBuilder) {
        for index in 0..raw.spans.len() {
            let rows = into.n_rows();
            if let Err(error) = self.payload(raw, index, into) {
                into.fail(rows, &error);
            }
        }
    }
}

#[cfg(test)]
mod tests;
