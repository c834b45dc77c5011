//! Frames of answers, read into a column. Nothing in them is believed: every place, length and number is checked
//! against the message, and what makes no sense is an error of the message, never a panic.

use serde::Deserialize;
use serde_json::Value as Json;
use thalweg_core::{Column, RowError, Timestamp};

use super::{ANSWER, ARROW, HEAD, IN_REGION, MAGIC, MAX_ROWS, Place, VERSION, aligned, arrow};
use crate::wire;

/// Integers up to this count as floats (`portable-plugins.md` 6).
const EXACT: i64 = 1 << 53;

/// What an answer must fit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    /// Whether the request was one of groups.
    pub(crate) groups: bool,
    pub(crate) seq: u64,
    /// The number of results.
    pub(crate) n: usize,
    /// Where in shared memory its buffers may lie.
    pub(crate) place: Option<Place>,
}

/// What an answer says beside its values.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Said {
    /// Microseconds inside of the function.
    pub(crate) micros: u64,
    /// Results that are numbers which JSON lacks, and became null.
    pub(crate) n_lost: usize,
    /// Totals of what the function counts.
    pub(crate) metrics: Option<Json>,
}

#[derive(Deserialize)]
struct Header {
    n: u64,
    cols: Vec<Spec>,
    #[serde(default)]
    errors: Vec<(u64, String)>,
    #[serde(default)]
    us: u64,
    #[serde(default)]
    metrics: Option<Json>,
}

#[derive(Deserialize)]
pub(super) struct Spec {
    t: String,
    #[serde(default)]
    null: Option<[u64; 2]>,
    #[serde(default)]
    off: Option<[u64; 2]>,
    #[serde(default)]
    data: Option<[u64; 2]>,
    #[serde(default)]
    v: Json,
}

/// Reads part of the shared memory.
pub(crate) type ReadRegion<'a> = &'a dyn Fn(Place) -> Result<Vec<u8>, String>;

/// Whether a message is a frame rather than text.
pub(crate) fn is_frame(message: &[u8]) -> bool {
    message.first() == Some(&MAGIC)
}

/// Reads an answer: exactly `expected.n` cells are added to `out`, unless it is an error. `failed` makes the error
/// of a row out of the plugin's text.
pub(crate) fn answer(
    message: &[u8],
    expected: Expected,
    region: ReadRegion<'_>,
    failed: &dyn Fn(&str) -> RowError,
    out: &mut Column,
) -> Result<Said, String> {
    let header = header(message, expected)?;
    if header.n != expected.n as u64 || expected.n > MAX_ROWS {
        return Err(format!("invalid answer: {} results for {}", header.n, expected.n));
    }
    let kept;
    let column = if message[3] & ARROW != 0 {
        arrow::read::column(body(message), expected.n)?
    } else {
        let [spec] = &header.cols[..] else {
            return Err(format!("invalid answer: it has {} columns, not 1", header.cols.len()));
        };
        let is_outside = message[3] & IN_REGION != 0;
        let memory = match (is_outside, expected.place) {
            (false, _) => Memory { bytes: message, from: 0 },
            (true, Some(place)) => {
                kept = region(used_of(spec, place)?)?;
                Memory { bytes: &kept, from: place.offset as u64 }
            }
            (true, None) => {
                return Err("invalid answer: it names shared memory that it was not given".to_owned());
            }
        };
        Values::of(spec, memory, expected.n)?
    };
    let errors = Errors::of(header.errors, expected.n)?;
    let before = out.len();
    let mut said = Said { micros: header.us, n_lost: 0, metrics: header.metrics };
    match column.push_all(errors, failed, out, &mut said) {
        Ok(()) => {
            debug_assert_eq!(out.len(), before + expected.n);
            Ok(said)
        }
        Err(error) => {
            out.truncate(before);
            Err(error)
        }
    }
}

fn header(message: &[u8], expected: Expected) -> Result<Header, String> {
    let Some((head, rest)) = message.split_first_chunk::<HEAD>() else {
        return Err(format!("invalid answer: a frame of {} bytes", message.len()));
    };
    let [magic, version, op, _, length @ .., _, _, _, _, _, _, _, _] = head;
    let seq =
        u64::from_le_bytes([head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15]]);
    let op_wanted = ANSWER | if expected.groups { super::GROUPS } else { super::ROWS };
    if (*magic, *version, *op) != (MAGIC, VERSION, op_wanted) {
        return Err(format!("invalid answer: a frame of version {version} and kind {op}, not {op_wanted}"));
    }
    if seq != expected.seq {
        return Err(format!("invalid answer: it answers message {seq}, not {}", expected.seq));
    }
    let length = u32::from_le_bytes(*length) as usize;
    let Some(text) = rest.get(..length) else {
        return Err(format!("invalid answer: a header of {length} bytes in {}", message.len()));
    };
    // Zeros or blanks may follow.
    let mut reader = serde_json::Deserializer::from_slice(text);
    Header::deserialize(&mut reader).map_err(|error| format!("invalid answer: its header: {error}"))
}

/// What is behind the header, whose length was checked.
fn body(message: &[u8]) -> &[u8] {
    let length = u32::from_le_bytes([message[4], message[5], message[6], message[7]]) as usize;
    message.get(aligned(HEAD + length)..).unwrap_or_default()
}

/// The part of the region that an answer's buffers take, from the place's start to the end of the last.
fn used_of(spec: &Spec, place: Place) -> Result<Place, String> {
    let (start, end) = (place.offset as u64, (place.offset + place.size) as u64);
    let mut used = start;
    for [offset, size] in [spec.null, spec.off, spec.data].into_iter().flatten() {
        let last = offset.checked_add(size).filter(|last| offset >= start && *last <= end);
        let Some(last) = last else {
            return Err(format!("invalid answer: [{offset},{size}] is not within [{start},{}]", place.size));
        };
        used = used.max(last);
    }
    Ok(Place { offset: place.offset, size: (used - start) as usize })
}

/// The bytes that places of a header lie in.
#[derive(Clone, Copy)]
pub(super) struct Memory<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) from: u64,
}

impl<'a> Memory<'a> {
    fn slice(self, place: Option<[u64; 2]>, what: &str) -> Result<&'a [u8], String> {
        let Some([offset, size]) = place else {
            return Err(format!("invalid answer: {what} is missing"));
        };
        let start = offset.checked_sub(self.from).and_then(|start| usize::try_from(start).ok());
        let end = start.and_then(|start| start.checked_add(usize::try_from(size).ok()?));
        let bytes = start.zip(end).and_then(|(start, end)| self.bytes.get(start..end));
        bytes.ok_or_else(|| {
            format!("invalid answer: {what} [{offset},{size}] is not within {} bytes", self.bytes.len())
        })
    }
}

/// Errors of rows, in order.
pub(super) struct Errors {
    /// Backwards.
    rest: Vec<(u64, String)>,
}

impl Errors {
    pub(super) fn none() -> Self {
        Self { rest: Vec::new() }
    }

    fn of(mut errors: Vec<(u64, String)>, n: usize) -> Result<Self, String> {
        errors.sort_by_key(|error| std::cmp::Reverse(error.0));
        match errors.first() {
            Some((row, _)) if *row >= n as u64 => {
                Err(format!("invalid answer: an error of result {row} among {n}"))
            }
            _ => Ok(Self { rest: errors }),
        }
    }

    /// The error of a row; rows are asked in order.
    fn take(&mut self, row: usize) -> Option<String> {
        let mut found = None;
        while let Some((_, text)) = self.rest.pop_if(|error| error.0 <= row as u64) {
            found.get_or_insert(text);
        }
        found
    }
}

pub(super) enum Data<'a> {
    Floats(&'a [u8]),
    Ints(&'a [u8]),
    /// A byte each.
    Bools(&'a [u8]),
    /// A bit each, the least significant first.
    Bits(&'a [u8]),
    Times(&'a [u8]),
    Texts {
        text: &'a str,
        offsets: &'a [u8],
        is_json: bool,
    },
    Bytes {
        bytes: &'a [u8],
        offsets: &'a [u8],
    },
    Constant(thalweg_core::Value),
}

pub(super) struct Values<'a> {
    data: Data<'a>,
    nulls: Option<&'a [u8]>,
    n: usize,
}

impl<'a> Values<'a> {
    /// Of data and null bits that were checked to be long enough.
    pub(super) fn new(data: Data<'a>, nulls: Option<&'a [u8]>, n: usize) -> Self {
        Self { data, nulls, n }
    }

    pub(super) fn of(spec: &Spec, memory: Memory<'a>, n: usize) -> Result<Self, String> {
        let fixed = |width: usize| {
            let bytes = memory.slice(spec.data, "data")?;
            let needed = n * width;
            bytes
                .get(..needed)
                .ok_or_else(|| format!("invalid answer: data has {} bytes, not {needed}", bytes.len()))
        };
        let data = match spec.t.as_str() {
            "f64" => Data::Floats(fixed(8)?),
            "i64" => Data::Ints(fixed(8)?),
            "bool" => Data::Bools(fixed(1)?),
            "ts" => Data::Times(fixed(8)?),
            "str" | "json" | "bin" => {
                let bytes = memory.slice(spec.data, "data")?;
                let offsets = offsets(memory.slice(spec.off, "off")?, n, bytes.len())?;
                if spec.t == "bin" {
                    Data::Bytes { bytes, offsets }
                } else {
                    let text = std::str::from_utf8(bytes)
                        .map_err(|error| format!("invalid answer: text is no UTF-8: {error}"))?;
                    Data::Texts { text, offsets, is_json: spec.t == "json" }
                }
            }
            "const" => Data::Constant(wire::value(&spec.v)),
            other => {
                let other: String = other.chars().take(40).collect();
                return Err(format!("invalid answer: a column of the unknown type {other}"));
            }
        };
        let nulls = spec.null.map(|place| memory.slice(Some(place), "null")).transpose()?;
        if nulls.is_some_and(|bits| bits.len() < n.div_ceil(8)) {
            return Err(format!("invalid answer: too few null bits for {n} results"));
        }
        Ok(Self { data, nulls, n })
    }

    pub(super) fn push_all(
        &self,
        mut errors: Errors,
        failed: &dyn Fn(&str) -> RowError,
        out: &mut Column,
        said: &mut Said,
    ) -> Result<(), String> {
        if let (Data::Floats(bytes), None, true) = (&self.data, self.nulls, errors.rest.is_empty()) {
            let floats = || bytes.as_chunks().0.iter().map(|word| f64::from_le_bytes(*word));
            if floats().fold(true, |finite, value| finite & value.is_finite()) {
                out.extend_floats(floats());
                return Ok(());
            }
        }
        if let (Data::Ints(bytes), None, true) = (&self.data, self.nulls, errors.rest.is_empty()) {
            let ints = || bytes.as_chunks().0.iter().map(|word| i64::from_le_bytes(*word));
            if ints().fold(true, |all, value| all & (-EXACT..=EXACT).contains(&value)) {
                out.extend_floats(ints().map(|value| value as f64));
                return Ok(());
            }
        }
        for row in 0..self.n {
            if let Some(text) = errors.take(row) {
                out.push_error(failed(&text));
            } else if self.nulls.is_some_and(|bits| bits[row / 8] >> (row % 8) & 1 == 0) {
                out.push_null();
            } else {
                self.push(row, failed, out, said)?;
            }
        }
        Ok(())
    }

    fn push(
        &self,
        row: usize,
        failed: &dyn Fn(&str) -> RowError,
        out: &mut Column,
        said: &mut Said,
    ) -> Result<(), String> {
        match &self.data {
            Data::Floats(bytes) => match f64::from_le_bytes(word(bytes, row)) {
                value if value.is_finite() => out.push_float(value),
                _ => {
                    said.n_lost += 1;
                    out.push_null();
                }
            },
            Data::Ints(bytes) => match i64::from_le_bytes(word(bytes, row)) {
                value if (-EXACT..=EXACT).contains(&value) => out.push_float(value as f64),
                value => out.push_int(value),
            },
            Data::Bools(bytes) => out.push_bool(bytes[row] != 0),
            Data::Bits(bits) => out.push_bool(bits[row / 8] >> (row % 8) & 1 == 1),
            // As in JSON, where a plugin's times are text.
            Data::Times(bytes) => match time_text(i64::from_le_bytes(word(bytes, row))) {
                Some(text) => out.push_str(&text),
                None => out.push_null(),
            },
            Data::Texts { text, offsets, is_json } => {
                let (start, end) = span(offsets, row);
                let Some(text) = text.get(start..end) else {
                    return Err(format!("invalid answer: offset {start} or {end} is inside of a character"));
                };
                match is_json {
                    false => out.push_str(text),
                    true => match wire::parse(text.as_bytes()) {
                        Ok((value, had_nan)) => {
                            said.n_lost += usize::from(had_nan);
                            out.push_value(&wire::value(&value));
                        }
                        Err(error) => out.push_error(failed(&error)),
                    },
                }
            }
            Data::Bytes { bytes, offsets } => {
                let (start, end) = span(offsets, row);
                out.push_bytes(&bytes[start..end]);
            }
            Data::Constant(value) => out.push_value(value),
        }
        Ok(())
    }
}

fn time_text(millis: i64) -> Option<String> {
    let mut text = String::new();
    wire::write_time(&mut text, Timestamp(millis));
    Some(text.strip_prefix('"')?.strip_suffix('"')?.to_owned())
}

/// Checks offsets: they ascend, from 0 or more to at most `limit`.
pub(super) fn offsets(bytes: &[u8], n: usize, limit: usize) -> Result<&[u8], String> {
    let needed = (n + 1) * 4;
    let Some(bytes) = bytes.get(..needed) else {
        return Err(format!("invalid answer: off has {} bytes, not {needed}", bytes.len()));
    };
    let mut last = 0;
    for word in bytes.as_chunks().0 {
        let offset = i32::from_le_bytes(*word);
        if offset < last {
            return Err(format!("invalid answer: offset {offset} behind {last}"));
        }
        last = offset;
    }
    if last as usize > limit {
        return Err(format!("invalid answer: offset {last} in {limit} bytes"));
    }
    Ok(bytes)
}

/// From checked offsets, where a value begins and ends.
fn span(offsets: &[u8], row: usize) -> (usize, usize) {
    let offset = |at: usize| {
        let at = at * 4;
        i32::from_le_bytes([offsets[at], offsets[at + 1], offsets[at + 2], offsets[at + 3]]) as usize
    };
    (offset(row), offset(row + 1))
}

fn word(bytes: &[u8], row: usize) -> [u8; 8] {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[row * 8..row * 8 + 8]);
    word
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thalweg_core::{Cell, Value};

    use super::*;

    /// A frame of one column with these buffers, as a plugin would answer to message 7.
    fn frame(kind: &str, n: usize, buffers: [Option<&[u8]>; 3], further: &str) -> Vec<u8> {
        let (mut body, mut places) = (Vec::new(), String::new());
        for (name, buffer) in ["null", "off", "data"].iter().zip(buffers) {
            let Some(buffer) = buffer else { continue };
            places += &format!(",\"{name}\":[{},{}]", 512 + body.len(), buffer.len());
            body.extend_from_slice(buffer);
            body.resize(super::super::aligned(body.len()), 0);
        }
        let header = format!("{{{further}\"n\":{n},\"us\":5,\"cols\":[{{\"t\":\"{kind}\"{places}}}]}}");
        let mut message = vec![MAGIC, VERSION, ANSWER | super::super::ROWS, 0];
        message.extend_from_slice(&(512u32 - 16).to_le_bytes());
        message.extend_from_slice(&7u64.to_le_bytes());
        message.extend_from_slice(header.as_bytes());
        message.resize(512, b' ');
        message.extend_from_slice(&body);
        message
    }

    fn read(message: &[u8], n: usize) -> Result<(Vec<Value>, Said), String> {
        let expected = Expected { groups: false, seq: 7, n, place: None };
        let mut out = Column::from_ints([1]);
        let failed = |text: &str| RowError::text(format!("failed: {text}"));
        let said = answer(message, expected, &|_| Err("no region".to_owned()), &failed, &mut out);
        match said {
            Ok(said) => {
                assert_eq!(out.len(), n + 1);
                let value = |row| match out.cell(row) {
                    Cell::Error(error) => Value::text(error.to_string()),
                    cell => cell.to_value(),
                };
                Ok(((1..=n).map(value).collect(), said))
            }
            Err(error) => {
                assert_eq!(out.len(), 1, "nothing is left of a wrong answer");
                Err(error)
            }
        }
    }

    fn words(values: &[u64]) -> Vec<u8> {
        values.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn samples() -> Vec<(Vec<u8>, Vec<Value>)> {
        let floats = words(&[0.5f64.to_bits(), f64::NAN.to_bits(), 2.0f64.to_bits()]);
        let ints = words(&[1, (-1i64) as u64, i64::MAX as u64]);
        let offsets: Vec<u8> = [0i32, 1, 1, 4].iter().flat_map(|offset| offset.to_le_bytes()).collect();
        let float = Value::Float;
        let errors = "\"errors\":[[2,\"bad\"]],";
        vec![
            (frame("f64", 3, [None, None, Some(&floats)], ""), vec![float(0.5), Value::Null, float(2.0)]),
            (
                frame("i64", 3, [Some(&[0b101]), None, Some(&ints)], ""),
                vec![float(1.0), Value::Null, Value::Int(i64::MAX)],
            ),
            (
                frame("bool", 3, [None, None, Some(&[1, 0, 9])], errors),
                vec![Value::Bool(true), Value::Bool(false), Value::text("failed: bad")],
            ),
            (
                frame("ts", 3, [None, None, Some(&words(&[0, 3_120, u64::MAX / 2]))], ""),
                vec![
                    Value::text("1970-01-01T00:00:00Z"),
                    Value::text("1970-01-01T00:00:03.12Z"),
                    Value::Null,
                ],
            ),
            (
                frame("str", 3, [None, Some(&offsets), Some("a\u{20ac}".as_bytes())], ""),
                vec![Value::text("a"), Value::text(""), Value::text("\u{20ac}")],
            ),
            (
                frame("json", 3, [Some(&[0b101]), Some(&offsets), Some(b"2[1]")], ""),
                vec![float(2.0), Value::Null, Value::list(vec![float(1.0)])],
            ),
            (
                frame("bin", 3, [None, Some(&offsets), Some(b"\xff123")], ""),
                [&b"\xff"[..], b"", b"123"]
                    .map(|bytes| Value::Bytes(bytes::Bytes::copy_from_slice(bytes)))
                    .to_vec(),
            ),
        ]
    }

    #[test]
    fn every_type_is_read_with_nulls_and_errors_and_numbers_count_as_floats() {
        for (message, expected) in samples() {
            let (values, said) = read(&message, 3).unwrap();
            assert_eq!((values, said.micros), (expected, 5));
        }
        assert_eq!(read(&samples()[0].0, 3).unwrap().1.n_lost, 1);
    }

    #[test]
    fn what_does_not_fit_the_request_is_refused_with_its_reason() {
        let sound = &samples()[0].0;
        for (change, reason) in [
            (&(|m: &mut Vec<u8>| m.truncate(10)) as &dyn Fn(&mut Vec<u8>), "a frame of 10 bytes"),
            (&|m| m[1] = 2, "version 2"),
            (&|m| m[2] = 2 | ANSWER, "kind 130"),
            (&|m| m[8] = 8, "it answers message 8, not 7"),
            (&|m| m[4..8].copy_from_slice(&u32::MAX.to_le_bytes()), "a header of 4294967295 bytes"),
            (&|m| m[3] = IN_REGION, "shared memory that it was not given"),
            (&|m| m.truncate(520), "data [512,24] is not within 520 bytes"),
            (&|m| m[16] = b'[', "its header"),
        ] {
            let mut message = sound.clone();
            change(&mut message);
            let error = read(&message, 3).unwrap_err();
            assert!(error.starts_with("invalid answer") && error.contains(reason), "{error}");
        }
        assert!(read(sound, 4).unwrap_err().contains("3 results for 4"));
        let odd = frame("str", 2, [None, Some(&words(&[1 << 32, 9])), Some(b"ab")], "");
        assert!(read(&odd, 2).unwrap_err().contains("offset 9 in 2 bytes"));
        let back = frame("str", 2, [None, Some(&words(&[2, 1])), Some(b"ab")], "");
        assert!(read(&back, 2).unwrap_err().contains("offset 0 behind 2"));
        let negative = frame("str", 1, [None, Some(&words(&[u64::from(u32::MAX)])), Some(b"ab")], "");
        assert!(read(&negative, 1).unwrap_err().contains("offset -1"));
        let half =
            frame("str", 2, [None, Some(&[0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]), Some("ü".as_bytes())], "");
        assert!(read(&half, 2).unwrap_err().contains("inside of a character"));
        let late = frame("bool", 1, [None, None, Some(&[1])], "\"errors\":[[1,\"x\"]],");
        assert!(read(&late, 1).unwrap_err().contains("an error of result 1 among 1"));
        let short = frame("f64", 9, [Some(&[1]), None, Some(&words(&[0; 9]))], "");
        assert!(read(&short, 9).unwrap_err().contains("too few null bits"));
        let unknown = frame("decimal", 1, [None, None, Some(&[1])], "");
        assert!(read(&unknown, 1).unwrap_err().contains("unknown type decimal"));
    }

    #[test]
    fn places_in_shared_memory_are_checked_before_it_is_read() {
        let place = Place { offset: 4096, size: 128 };
        let ask = |data: &str, n: usize| {
            let header = format!("{{\"n\":{n},\"cols\":[{{\"t\":\"f64\",\"data\":{data}}}]}}");
            let mut message = vec![MAGIC, VERSION, ANSWER | super::super::ROWS, IN_REGION];
            message.extend_from_slice(&(header.len() as u32).to_le_bytes());
            message.extend_from_slice(&7u64.to_le_bytes());
            message.extend_from_slice(header.as_bytes());
            let expected = Expected { groups: false, seq: 7, n, place: Some(place) };
            let read = |used: Place| {
                assert!(used.offset == 4096 && used.size <= 128, "{used:?}");
                Ok((0..used.size as u8).collect())
            };
            let mut out = Column::new();
            answer(&message, expected, &read, &|text| RowError::text(text), &mut out).map(|_| out.value(0))
        };
        let second = f64::from_le_bytes([64, 65, 66, 67, 68, 69, 70, 71]);
        assert_eq!(ask("[4160,8]", 1), Ok(Value::Float(second)));
        for wrong in
            ["[0,8]", "[4032,64]", "[4216,16]", "[18446744073709551615,8]", "[4160,18446744073709551615]"]
        {
            let error = ask(wrong, 1).unwrap_err();
            assert!(error.contains("is not within"), "{error}");
        }
        assert!(ask("[4160,8]", 2).unwrap_err().contains("data has 8 bytes, not 16"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_hostile_answer_is_an_error_and_never_a_panic(
            sample in 0usize..7,
            end in 0usize..600,
            changes in proptest::collection::vec((0usize..600, any::<u8>()), 0..6),
            n in 0usize..5,
        ) {
            let mut message = samples().swap_remove(sample).0;
            for (at, byte) in changes {
                if let Some(place) = message.get_mut(at) {
                    *place = byte;
                }
            }
            let _ = read(&message, n);
            message.truncate(end);
            let _ = read(&message, n);
        }

        #[test]
        fn a_header_with_other_numbers_is_an_error_and_never_a_panic(
            kind in "f64|i64|bool|ts|str|json|bin|const",
            numbers in proptest::collection::vec(
                prop_oneof![0u64..200, Just(u64::MAX), Just(1 << 63), any::<u64>()], 8),
            n in prop_oneof![0usize..5, Just(1 << 24)],
        ) {
            let [a, b, c, d, e, f, g, h] = numbers[..] else { unreachable!() };
            let header = format!(
                "{{\"n\":{n},\"us\":{g},\"errors\":[[{h},\"x\"]],\"cols\":[{{\"t\":\"{kind}\",\"null\":[{a},{b}],\
                 \"off\":[{c},{d}],\"data\":[{e},{f}],\"v\":[{a}]}}]}}"
            );
            let mut message = vec![MAGIC, VERSION, ANSWER | super::super::ROWS, 0];
            message.extend_from_slice(&(header.len() as u32).to_le_bytes());
            message.extend_from_slice(&7u64.to_le_bytes());
            message.extend_from_slice(header.as_bytes());
            message.extend_from_slice(&[0; 100]);
            let _ = read(&message, n);
        }
    }
}
