//! URL-encoded forms: `k=v` pairs, values are strings or lists of strings (F3.5).

use std::sync::Arc;

use chrono_tz::Tz;
use thalweg_core::cast::plain_text;
use thalweg_core::format::{Decoder, Encoder, Format, Message, RawBatch};
use thalweg_core::value::Fields;
use thalweg_core::{BatchBuilder, Diagnostic, FormatError, Projection, Props, Value};

use super::row::push_row;

/// The format's row.
pub static FORMAT: UrlEncoded = UrlEncoded;

/// FORMAT="urlencoded".
#[derive(Debug)]
pub struct UrlEncoded;

impl Format for UrlEncoded {
    fn name(&self) -> &'static str {
        "urlencoded"
    }

    fn decoder(&self, want: &Arc<Projection>, props: &Props) -> Result<Box<dyn Decoder>, Diagnostic> {
        Ok(Box::new(FormDecoder { want: Arc::clone(want), zone: super::zone(props)? }))
    }

    fn encoder(&self, props: &Props) -> Result<Box<dyn Encoder>, Diagnostic> {
        Ok(Box::new(FormEncoder { zone: super::zone(props)? }))
    }
}

struct FormDecoder {
    want: Arc<Projection>,
    zone: Tz,
}

impl Decoder for FormDecoder {
    fn decode(&mut self, raw: &RawBatch, into: &mut BatchBuilder) {
        for index in 0..raw.spans.len() {
            match parse(raw.payload(index)) {
                Ok(fields) => push_row(&self.want, &fields, (raw, index, self.zone), into),
                Err(error) => into.fail(into.n_rows(), &error),
            }
        }
    }
}

fn parse(payload: &[u8]) -> Result<Fields, FormatError> {
    let mut fields = Fields::new();
    for pair in payload.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let split = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let name: Arc<str> = Arc::from(unescape(&pair[..split])?);
        let value = Value::text(unescape(pair.get(split + 1..).unwrap_or_default())?);
        let merged = match fields.remove(&name) {
            None => value,
            Some(Value::List(items)) => Value::list(items.iter().cloned().chain([value]).collect()),
            Some(first) => Value::list(vec![first, value]),
        };
        fields.insert(name, merged);
    }
    Ok(fields)
}

fn unescape(text: &[u8]) -> Result<String, FormatError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = text.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                let wrong = || FormatError::new(format!("invalid URL escape at byte {at}"));
                bytes.push(byte.ok_or_else(wrong)?);
                at += 2;
            }
            byte => bytes.push(byte),
        }
        at += 1;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct FormEncoder {
    zone: Tz,
}

impl FormEncoder {
    fn pair(&self, name: &str, value: &Value, out: &mut Vec<u8>) {
        if !out.is_empty() {
            out.push(b'&');
        }
        escape(name, out);
        out.push(b'=');
        escape(&plain_text(value, self.zone), out);
    }
}

impl Encoder for FormEncoder {
    fn encode(&mut self, message: Message<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let Message::Row(row) = message else {
            return Err(FormatError::new("a list cannot be encoded as urlencoded, set sendSingle"));
        };
        let mut form = Vec::new();
        for (name, value) in row {
            match value {
                Value::List(items) => items.iter().for_each(|item| self.pair(name, item, &mut form)),
                value => self.pair(name, value, &mut form),
            }
        }
        out.append(&mut form);
        Ok(())
    }
}

/// As Go's `url.QueryEscape`.
fn escape(text: &str, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b' ' => out.push(b'+'),
            b'-' | b'_' | b'.' | b'~' => out.push(byte),
            byte if byte.is_ascii_alphanumeric() => out.push(byte),
            byte => out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::testing::{decode, encode, projection, props, row};
    use super::*;

    #[test]
    fn repeated_keys_become_a_list_and_bad_escapes_a_fault() {
        let payloads: [&[u8]; 3] = [b"a=1&b=x%20y+z&a=2", b"a=%zz", b"a"];
        let (rows, faults) = decode(&FORMAT, projection(&["a", "b"]), "{}", &payloads);
        let list = Value::list(vec![Value::text("1"), Value::text("2")]);
        assert_eq!(rows, [[list, Value::text("x y z")], [Value::text(""), Value::Null]]);
        assert_eq!((faults.len(), faults[0].row), (1, 1));
        assert_eq!(&*faults[0].message, "invalid URL escape at byte 0");
    }

    #[test]
    fn keys_are_sorted_and_lists_repeat_their_key() {
        let mut encoder = FORMAT.encoder(&props("{}")).unwrap();
        let fields = row(r#"{"b":[1,"x y"],"a":"ä&="}"#);
        let expected = "a=%C3%A4%26%3D&b=1&b=x+y".to_owned();
        assert_eq!(encode(encoder.as_mut(), Message::Row(&fields)), Ok(expected));
        assert!(encode(encoder.as_mut(), Message::List(&[])).is_err());
    }
}
