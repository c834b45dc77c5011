//! The walker over JSON text: tokens in place, values skipped without building anything.
//!
//! It checks all that it passes: structure, literals, numbers, escapes, control characters. UTF-8 is checked where
//! text is taken over ([`crate::Column::push_text_span`]), since most text never is.

use std::borrow::Cow;

use super::number::{self, Number, Refused};
use crate::error::FormatError;

/// Deeper nesting than this is refused, so that hostile input cannot exhaust the stack.
const MAX_DEPTH: u32 = 256;

/// A string token: the bytes between the quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// First byte after the quote.
    pub start: usize,
    /// Bytes up to the closing quote.
    pub len: usize,
    /// Whether there is a backslash in it.
    pub escaped: bool,
}

impl Text {
    /// The raw bytes.
    #[inline]
    pub fn raw<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start..self.start + self.len]
    }

    /// The text itself; bad UTF-8 becomes U+FFFD (F1.2).
    pub fn decode<'a>(&self, bytes: &'a [u8]) -> Cow<'a, str> {
        let raw = self.raw(bytes);
        if self.escaped { Cow::Owned(unescape(raw)) } else { String::from_utf8_lossy(raw) }
    }
}

/// What stands at the scanner's place. Opening brackets are consumed, their contents are not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Token {
    /// null
    Null,
    /// true, false
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(Text),
    /// `[`: go on with [`Scanner::next_item`].
    OpenArray,
    /// `{`: go on with [`Scanner::next_key`].
    OpenObject,
}

/// Walks over JSON text.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Scanner<'a> {
    /// Stands at the beginning.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// Stands at a place where a value begins.
    #[inline]
    pub fn resume(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, depth: 0 }
    }

    /// The whole text.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The place, counted in bytes.
    #[inline]
    pub fn position(&self) -> usize {
        self.at
    }

    #[cold]
    fn fail<T>(&self, what: &str) -> Result<T, FormatError> {
        let found = match self.bytes.get(self.at) {
            Some(byte) if byte.is_ascii_graphic() => format!("'{}'", *byte as char),
            Some(byte) => format!("byte 0x{byte:02x}"),
            None => "the end".to_owned(),
        };
        Err(FormatError::new(format!("invalid JSON: {what}, found {found} at byte {}", self.at)))
    }

    #[inline]
    fn skip_blanks(&mut self) -> u8 {
        while let Some(&byte) = self.bytes.get(self.at) {
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return byte;
            }
            self.at += 1;
        }
        0
    }

    /// The first byte of the next value, blanks skipped; 0 at the end.
    #[inline]
    pub fn peek(&mut self) -> u8 {
        self.skip_blanks()
    }

    /// Takes the next token.
    ///
    /// # Errors
    /// No value stands here.
    #[inline]
    pub fn token(&mut self) -> Result<Token, FormatError> {
        match self.skip_blanks() {
            b'"' => self.text().map(Token::Text),
            b'-' | b'0'..=b'9' => self.number().map(Token::Number),
            b'{' => self.open().map(|()| Token::OpenObject),
            b'[' => self.open().map(|()| Token::OpenArray),
            b't' => self.literal(b"true").map(|()| Token::Bool(true)),
            b'f' => self.literal(b"false").map(|()| Token::Bool(false)),
            b'n' => self.literal(b"null").map(|()| Token::Null),
            _ => self.fail("expected a value"),
        }
    }

    fn open(&mut self) -> Result<(), FormatError> {
        if self.depth == MAX_DEPTH {
            return self.fail("nested too deep");
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), FormatError> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        self.fail("expected true, false or null")
    }

    /// Passes over `word`, if that is what stands here.
    #[inline(always)]
    pub fn take(&mut self, word: &[u8]) -> bool {
        let is_it = self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        self.at += if is_it { word.len() } else { 0 };
        is_it
    }

    /// Inside an array: moves to the next item; false when the array was closed.
    ///
    /// # Errors
    /// Neither an item nor the end.
    #[inline]
    pub fn next_item(&mut self, first: bool) -> Result<bool, FormatError> {
        match self.skip_blanks() {
            b']' => {
                self.close();
                Ok(false)
            }
            b',' if !first => {
                self.at += 1;
                if self.skip_blanks() == b']' { self.fail("expected a value") } else { Ok(true) }
            }
            _ if first => Ok(true),
            _ => self.fail("expected ',' or ']'"),
        }
    }

    /// Inside an object: takes the next key and its colon; `None` when the object was closed.
    ///
    /// # Errors
    /// Neither a key nor the end.
    #[inline]
    pub fn next_key(&mut self, first: bool) -> Result<Option<Text>, FormatError> {
        match self.skip_blanks() {
            b'}' => {
                self.close();
                return Ok(None);
            }
            b',' if !first => {
                self.at += 1;
                self.skip_blanks();
            }
            _ if first => {}
            _ => return self.fail("expected ',' or '}'"),
        }
        if self.bytes.get(self.at) != Some(&b'"') {
            return self.fail("expected a key");
        }
        let key = self.text()?;
        if self.skip_blanks() != b':' {
            return self.fail("expected ':'");
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// Takes the string whose quote stands here.
    #[inline]
    fn text(&mut self) -> Result<Text, FormatError> {
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            at = plain_run(self.bytes, at);
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(Text { start, len: at - start, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    let len = escape_len(&self.bytes[at..]);
                    if len == 0 {
                        self.at = at;
                        return self.fail("unknown escape");
                    }
                    at += len;
                }
                _ => {
                    self.at = at;
                    return self.fail("unfinished string");
                }
            }
        }
    }

    /// Takes the number that begins here.
    #[inline]
    fn number(&mut self) -> Result<Number, FormatError> {
        match number::read(self.bytes, self.at) {
            Ok((value, end)) => {
                self.at = end;
                Ok(value)
            }
            Err(refused) => self.refuse(refused),
        }
    }

    #[cold]
    fn refuse<T>(&mut self, refused: Refused) -> Result<T, FormatError> {
        match refused {
            Refused::Expected(what, at) => {
                self.at = at;
                self.fail(what)
            }
            Refused::OutOfRange(end) => {
                let text = String::from_utf8_lossy(&self.bytes[self.at..end]);
                Err(FormatError::new(format!(
                    "invalid JSON: number {text} is out of range at byte {}",
                    self.at
                )))
            }
        }
    }

    /// Passes over the next value, checking it, and gives its first byte and the place behind it.
    ///
    /// # Errors
    /// No value stands here.
    #[inline]
    pub fn skip(&mut self) -> Result<(usize, usize), FormatError> {
        self.skip_blanks();
        let start = self.at;
        if matches!(self.bytes.get(start), Some(b'{' | b'[')) {
            self.open()?;
            self.skip_nested(start)?;
        } else {
            self.skip_scalar()?;
        }
        Ok((start, self.at))
    }

    /// Takes the number at the scanner's place if it is a common one. `None` says nothing, and leaves the place.
    #[inline(always)]
    pub fn quick_float(&mut self) -> Option<f64> {
        let (number, end) = number::quick_float(self.bytes, self.at)?;
        self.at = end;
        Some(number)
    }

    /// Passes over the number or text at the scanner's place if it stands there as it is printed, and is a common
    /// one. `false` says nothing, and leaves the place.
    #[inline(always)]
    pub(super) fn skip_printed(&mut self) -> bool {
        let end = match self.bytes.get(self.at) {
            Some(b'"') => printed_text_end(self.bytes, self.at + 1),
            _ => number::printed_end(self.bytes, self.at),
        };
        self.at = end.unwrap_or(self.at);
        end.is_some()
    }

    /// Passes over the number that ends at `to` if it is a common one. `false` says nothing, and leaves the place.
    #[inline(always)]
    pub fn skip_short_number(&mut self, to: usize) -> bool {
        let is_short = number::is_short(self.bytes, self.at, to);
        if is_short {
            self.at = to;
        }
        is_short
    }

    /// Takes the string at the scanner's place if it has no escape and does not stand at the very end. `None` says
    /// nothing, and leaves the place.
    #[inline(always)]
    pub fn quick_text(&mut self) -> Option<Text> {
        if *self.bytes.get(self.at)? != b'"' {
            return None;
        }
        let start = self.at + 1;
        let mut at = start;
        loop {
            let word = u64::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?);
            let hits = special(word);
            if hits != 0 {
                let found = hits.trailing_zeros() & !7;
                at += found as usize / 8;
                if (word >> found) as u8 != b'"' {
                    return None;
                }
                self.at = at + 1;
                return Some(Text { start, len: at - start, escaped: false });
            }
            at += 8;
        }
    }

    /// Passes over the next value, checking it, when it is a scalar.
    ///
    /// # Errors
    /// No scalar stands here.
    #[inline]
    pub fn skip_scalar(&mut self) -> Result<(), FormatError> {
        match self.skip_blanks() {
            b'-' | b'0'..=b'9' => self.skip_number(),
            b'"' => self.text().map(drop),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.fail("expected a value"),
        }
    }

    #[inline]
    fn skip_number(&mut self) -> Result<(), FormatError> {
        match number::skip(self.bytes, self.at) {
            Ok(end) => {
                self.at = end;
                Ok(())
            }
            Err(refused) => self.refuse(refused),
        }
    }

    /// Passes over the rest of the array or object that was opened at `start`.
    ///
    /// # Errors
    /// It is not well-formed.
    pub fn skip_nested(&mut self, start: usize) -> Result<(), FormatError> {
        let mut first = true;
        if self.bytes[start] == b'[' {
            while self.next_item(first)? {
                first = false;
                self.skip()?;
            }
        } else {
            while self.next_key(first)?.is_some() {
                first = false;
                self.skip()?;
            }
        }
        Ok(())
    }

    /// Expects nothing but blanks.
    ///
    /// # Errors
    /// Something follows.
    #[inline]
    pub fn end(&mut self) -> Result<(), FormatError> {
        self.skip_blanks();
        if self.at == self.bytes.len() { Ok(()) } else { self.fail("expected the end") }
    }
}

/// A bit at the top of the first byte that is a quote, a backslash or a control character; those of later bytes mean
/// nothing.
#[inline(always)]
fn special(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = zero_in(word ^ (ONES * b'"' as u64));
    let backslash = zero_in(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGH
}

/// The place behind the text from `at` on, if there is nothing in it but ASCII that is printed as it is.
#[inline(always)]
fn printed_text_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word;
    loop {
        let word = u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
        // `"` and `&` differ in one bit, as do `<` and `>`.
        let quote = zero_in((word | (ONES * 0x04)) ^ (ONES * b'&' as u64));
        let angle = zero_in((word | (ONES * 0x02)) ^ (ONES * b'>' as u64));
        let backslash = zero_in(word ^ (ONES * b'\\' as u64));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let hits = (quote | angle | backslash | control | word) & HIGH;
        if hits != 0 {
            let found = hits.trailing_zeros() & !7;
            return ((word >> found) as u8 == b'"').then_some(at + found as usize / 8 + 1);
        }
        at += 8;
    }
}

/// The first place from `at` on that holds a quote, a backslash or a control character; eight bytes at a time.
#[inline]
fn plain_run(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(|bytes| bytes.first_chunk()) {
        let hits = special(u64::from_le_bytes(*chunk));
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            break;
        }
        at += 1;
    }
    at
}

/// The bytes of the escape at the front, 0 when it is none.
fn escape_len(bytes: &[u8]) -> usize {
    match bytes.get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
        Some(b'u') if hex4(bytes, 2).is_some() => 6,
        _ => 0,
    }
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | (*digit as char).to_digit(16)?))
}

/// The text of a checked raw string with escapes. Lone surrogates become U+FFFD.
pub fn unescape(raw: &[u8]) -> String {
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        if raw[at] != b'\\' {
            out.push(raw[at]);
            at += 1;
            continue;
        }
        let (character, len) = escape(&raw[at..]);
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        at += len;
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn escape(bytes: &[u8]) -> (char, usize) {
    let character = match bytes.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(bytes),
        Some(other) => *other as char,
        None => '\u{fffd}',
    };
    (character, 2)
}

fn unicode_escape(bytes: &[u8]) -> (char, usize) {
    let high = hex4(bytes, 2).unwrap_or(0xfffd);
    if (0xd800..0xdc00).contains(&high)
        && bytes.get(6..8) == Some(b"\\u")
        && let Some(low) = hex4(bytes, 8).filter(|low| (0xdc00..0xe000).contains(low))
    {
        let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return (char::from_u32(code).unwrap_or('\u{fffd}'), 12);
    }
    (char::from_u32(high).unwrap_or('\u{fffd}'), 6)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Numbers, from_json, parse};
    use super::*;

    #[test]
    fn what_serde_accepts_is_read_alike_and_the_rest_is_refused() {
        for text in [
            "1",
            "-1",
            "0",
            "-0",
            "1.5",
            "-0.25e-3",
            "1E+2",
            "123456789012345678",
            "9223372036854775807",
            "9223372036854775808",
            "12345678901234567890",
            "0.1",
            "1e22",
            "5e-324",
            "\"a\\u00e9\\n\\\"\"",
            "\"\\ud83d\\ude00\"",
            "[1, [2,{}],[]]",
            "{\"a\" : {\"b\":[null,true,false]}, \"a\":2}",
            " 1 ",
            "[]",
            "{}",
            "\"\u{e9}\"",
            "[1.0,2.50]",
        ] {
            let expected: serde_json::Value = serde_json::from_str(text).expect(text);
            for numbers in [Numbers::Float, Numbers::Whole] {
                let read = parse(text.as_bytes(), numbers).expect(text);
                assert_eq!(read, from_json(&expected, numbers), "{text}");
            }
        }
        for text in [
            "",
            "tru",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "1e+",
            "\"",
            "\"\\q\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "[1,]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1,}",
            "nul",
            "1 2",
            "{} {}",
            "[",
            "{",
            "]",
            "+1",
            "NaN",
            "1e999",
            "\u{0}",
        ] {
            assert!(parse(text.as_bytes(), Numbers::Float).is_err(), "{text}");
        }
        assert!(parse("[".repeat(100_000).as_bytes(), Numbers::Float).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer_and_skipping_agrees_with_reading(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut scanner = Scanner::new(&bytes);
            let skipped = scanner.skip().and_then(|_| scanner.end()).is_ok();
            prop_assert_eq!(skipped, parse(&bytes, Numbers::Float).is_ok());
        }

        #[test]
        fn json_like_bytes_agree_with_serde(text in "[ \\[\\]{}:,\"a0-9.eE+\\\\u-]{0,24}") {
            let ours = parse(text.as_bytes(), Numbers::Float);
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, from_json(&theirs, Numbers::Float)),
                (Err(_), Err(_)) => {}
                // serde_json refuses lone surrogates; Go replaces them.
                (Ok(_), Err(_)) if text.contains("\\u") => {}
                (ours, theirs) => prop_assert!(false, "{} {:?} {:?}", text, ours, theirs),
            }
        }

        #[test]
        fn floats_are_read_exactly(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
            let text = format!("{value}");
            prop_assert_eq!(parse(text.as_bytes(), Numbers::Float), Ok(crate::Value::Float(value)));
        }
    }
}
