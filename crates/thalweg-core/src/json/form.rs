//! The form of an object that came before: the text between its scalars, and in which order and between which texts
//! they are printed.

use super::Scanner;
use super::canon::{Printer, write_scalar};

/// Longer texts and texts of more scalars have no form.
const MAX_BYTES: usize = 1 << 16;
const MAX_SCALARS: usize = 1 << 12;

/// In the end of a span: the scalar does not stand as it is printed.
const OTHER: u32 = 1 << 31;

/// Bytes that are compared or copied at once.
const WIDTH: usize = 16;

/// What one form needs.
#[derive(Debug)]
pub(super) struct Form {
    /// The text before each scalar.
    before: Vec<Text>,
    /// The text behind the last one.
    behind: Text,
    /// What is printed: a text, and the number of the scalar behind it.
    parts: Vec<(Text, u32)>,
    /// The last text that is printed.
    last: Text,
    /// Bytes of all texts that are printed, and a little more.
    n_bytes: usize,
}

/// A text, its first bytes at hand.
#[derive(Debug)]
struct Text {
    len: usize,
    head: [u8; WIDTH],
    mask: u128,
    rest: Box<[u8]>,
}

impl Text {
    fn new(text: &[u8]) -> Self {
        let (first, rest) = text.split_at(text.len().min(WIDTH));
        let (mut head, mut mask) = ([0; WIDTH], [0; WIDTH]);
        head[..first.len()].copy_from_slice(first);
        mask[..first.len()].fill(0xff);
        Self { len: text.len(), head, mask: u128::from_le_bytes(mask), rest: rest.into() }
    }

    /// Whether it stands at `at`. The bytes behind it are looked at and mean nothing.
    #[inline(always)]
    fn stands(&self, bytes: &[u8], at: usize) -> bool {
        let Some(ahead) = bytes.get(at..) else { return false };
        let Some(chunk) = ahead.first_chunk::<WIDTH>() else {
            return self.rest.is_empty() && ahead.starts_with(&self.head[..self.len]);
        };
        let differs = (u128::from_le_bytes(*chunk) ^ u128::from_le_bytes(self.head)) & self.mask;
        differs == 0 && (self.rest.is_empty() || ahead[WIDTH..].starts_with(&self.rest))
    }

    #[inline(always)]
    fn write(&self, out: &mut Vec<u8>) {
        let end = out.len() + self.len.min(WIDTH);
        out.extend_from_slice(&self.head);
        out.truncate(end);
        if !self.rest.is_empty() {
            out.extend_from_slice(&self.rest);
        }
    }
}

impl Form {
    /// The form of a JSON text; `None` when it has none.
    pub(super) fn learn(raw: &[u8], printer: &mut Printer) -> Option<Self> {
        if raw.len() > MAX_BYTES || !matches!(raw.first(), Some(b'{' | b'[')) {
            return None;
        }
        let mut printed = Vec::new();
        printer.marks = Some(Vec::new());
        let is_printed = printer.print(raw, &mut printed).is_ok();
        let marks = printer.marks.take()?;
        let mut scalars = Vec::new();
        let mut scanner = Scanner::new(raw);
        find_scalars(&mut scanner, &mut scalars)?;
        if !is_printed || scalars.len() > MAX_SCALARS {
            return None;
        }
        let (mut before, mut behind) = (Vec::with_capacity(scalars.len()), 0);
        for (start, end) in &scalars {
            before.push(Text::new(&raw[behind..*start]));
            behind = *end;
        }
        let (mut parts, mut done) = (Vec::with_capacity(marks.len()), 0);
        for (place, start) in marks {
            let scalar = scalars.binary_search_by_key(&start, |(start, _)| *start).ok()?;
            parts.push((Text::new(&printed[done..place]), scalar as u32));
            done = place;
        }
        let (behind, last) = (Text::new(&raw[behind..]), Text::new(&printed[done..]));
        Some(Self { before, behind, parts, last, n_bytes: printed.len() + 2 * WIDTH })
    }

    /// Appends the text that is the first `len` bytes of `ahead`, if it has this form.
    #[inline]
    pub(super) fn print(
        &self,
        (ahead, len): (&[u8], usize),
        spans: &mut Vec<(u32, u32)>,
        out: &mut Vec<u8>,
    ) -> bool {
        spans.clear();
        let mut at = 0;
        for text in &self.before {
            if !text.stands(ahead, at) {
                return false;
            }
            let start = at + text.len;
            let Some((end, other)) = scalar(ahead, start) else { return false };
            spans.push((start as u32, end as u32 | other));
            at = end;
        }
        // What was read past the end of the text does not stand before the last of its texts.
        if at + self.behind.len != len || !self.behind.stands(ahead, at) {
            return false;
        }
        let begun = out.len();
        out.reserve(self.n_bytes + len);
        for (text, scalar) in &self.parts {
            text.write(out);
            if !copy(ahead, spans[*scalar as usize], out) {
                out.truncate(begun);
                return false;
            }
        }
        self.last.write(out);
        true
    }
}

/// The place behind the scalar at `start`, and [`OTHER`] unless it is printed as it stands.
#[inline(always)]
fn scalar(bytes: &[u8], start: usize) -> Option<(usize, u32)> {
    let mut scanner = Scanner::resume(bytes, start);
    if scanner.skip_printed() {
        return Some((scanner.position(), 0));
    }
    other(scanner)
}

#[cold]
fn other(mut scanner: Scanner<'_>) -> Option<(usize, u32)> {
    let is_word = matches!(scanner.peek(), b't' | b'f' | b'n');
    scanner.skip_scalar().ok()?;
    Some((scanner.position(), if is_word { 0 } else { OTHER }))
}

#[inline(always)]
fn copy(bytes: &[u8], (start, end): (u32, u32), out: &mut Vec<u8>) -> bool {
    if end & OTHER != 0 {
        return write_scalar(&mut Scanner::resume(bytes, start as usize), out).is_ok();
    }
    let (start, len) = (start as usize, (end - start) as usize);
    let ahead = &bytes[start..];
    match ahead.first_chunk::<WIDTH>() {
        Some(chunk) if len <= WIDTH => {
            let end = out.len() + len;
            out.extend_from_slice(chunk);
            out.truncate(end);
        }
        _ => out.extend_from_slice(&ahead[..len]),
    }
    true
}

/// Where the scalars of a value stand.
fn find_scalars(scanner: &mut Scanner<'_>, found: &mut Vec<(usize, usize)>) -> Option<()> {
    match scanner.peek() {
        b'{' => {
            scanner.token().ok()?;
            let mut first = true;
            while scanner.next_key(first).ok()?.is_some() {
                first = false;
                find_scalars(scanner, found)?;
            }
        }
        b'[' => {
            scanner.token().ok()?;
            let mut first = true;
            while scanner.next_item(first).ok()? {
                first = false;
                find_scalars(scanner, found)?;
            }
        }
        _ => {
            let start = scanner.position();
            scanner.skip_scalar().ok()?;
            found.push((start, scanner.position()));
        }
    }
    Some(())
}
