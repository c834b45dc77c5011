//! Values as msgpack and back.

use std::sync::Arc;

use thalweg_core::{Fields, Value};

/// Deeper nesting is refused.
const DEEPEST: usize = 64;

/// Appends a value.
pub(super) fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Int(value) => write_int(out, *value),
        Value::Float(value) => {
            out.push(0xcb);
            out.extend_from_slice(&value.to_be_bytes());
        }
        Value::Str(text) => write_text(out, text),
        Value::Bytes(bytes) => {
            sized(out, bytes.len(), [None, Some(0xc4), Some(0xc5)], 0xc6);
            out.extend_from_slice(bytes);
        }
        Value::Time(time) => write_int(out, time.0),
        Value::List(items) => {
            write_list_head(out, items.len());
            items.iter().for_each(|item| write(out, item));
        }
        Value::Map(members) => {
            sized(out, members.len(), [Some(0x80), None, Some(0xde)], 0xdf);
            for (name, member) in members.iter() {
                write_text(out, name);
                write(out, member);
            }
        }
    }
}

pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    sized(out, text.len(), [Some(0xa0), Some(0xd9), Some(0xda)], 0xdb);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn write_list_head(out: &mut Vec<u8>, len: usize) {
    sized(out, len, [Some(0x90), None, Some(0xdc)], 0xdd);
}

pub(super) fn write_int(out: &mut Vec<u8>, value: i64) {
    match value {
        -32..=127 => out.push(value as u8),
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

/// A head with a length: within the byte itself, in one byte, two, or four.
fn sized(out: &mut Vec<u8>, len: usize, [fixed, one, two]: [Option<u8>; 3], four: u8) {
    let fixed_limit = if fixed == Some(0xa0) { 32 } else { 16 };
    match (fixed, one, two) {
        (Some(head), _, _) if len < fixed_limit => out.push(head | len as u8),
        (_, Some(head), _) if len <= 0xff => out.extend_from_slice(&[head, len as u8]),
        (_, _, Some(head)) if len <= 0xffff => {
            out.push(head);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(four);
            // Nothing is that large: messages are held in memory.
            out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}

/// Why bytes are no value.
#[derive(Debug, PartialEq)]
pub(super) enum ReadError {
    /// More bytes are needed.
    Short,
    /// No bytes will help.
    Wrong(&'static str),
}

/// Reads one value from the front of `bytes`, which it shortens.
pub(super) fn read(bytes: &mut &[u8]) -> Result<Value, ReadError> {
    read_at(bytes, 0)
}

fn read_at(bytes: &mut &[u8], depth: usize) -> Result<Value, ReadError> {
    if depth > DEEPEST {
        return Err(ReadError::Wrong("its answer is nested too deeply"));
    }
    let head = number(bytes, 1)? as u8;
    let unsigned = |bytes: &mut &[u8], width| {
        let value = number(bytes, width)?;
        i64::try_from(value).map(Value::Int).map_err(|_| ReadError::Wrong("an integer is out of int64 range"))
    };
    Ok(match head {
        0x00..=0x7f => Value::Int(i64::from(head)),
        0x80..=0x8f => map(bytes, u64::from(head & 0x0f), depth)?,
        0x90..=0x9f => list(bytes, u64::from(head & 0x0f), depth)?,
        0xa0..=0xbf => text(bytes, u64::from(head & 0x1f))?,
        0xc0 => Value::Null,
        0xc2 | 0xc3 => Value::Bool(head == 0xc3),
        0xc4..=0xc6 => {
            let len = number(bytes, 1 << (head - 0xc4))?;
            Value::Bytes(bytes::Bytes::copy_from_slice(take(bytes, len)?))
        }
        0xca => Value::Float(f64::from(f32::from_bits(number(bytes, 4)? as u32))),
        0xcb => Value::Float(f64::from_bits(number(bytes, 8)?)),
        0xcc..=0xcf => unsigned(bytes, 1 << (head - 0xcc))?,
        0xd0 => Value::Int(i64::from(number(bytes, 1)? as u8 as i8)),
        0xd1 => Value::Int(i64::from(number(bytes, 2)? as u16 as i16)),
        0xd2 => Value::Int(i64::from(number(bytes, 4)? as u32 as i32)),
        0xd3 => Value::Int(number(bytes, 8)? as i64),
        0xd9..=0xdb => {
            let len = number(bytes, 1 << (head - 0xd9))?;
            text(bytes, len)?
        }
        0xdc | 0xdd => {
            let len = number(bytes, if head == 0xdc { 2 } else { 4 })?;
            list(bytes, len, depth)?
        }
        0xde | 0xdf => {
            let len = number(bytes, if head == 0xde { 2 } else { 4 })?;
            map(bytes, len, depth)?
        }
        0xe0..=0xff => Value::Int(i64::from(head as i8)),
        _ => {
            return Err(ReadError::Wrong(
                "its answer has an extension type of msgpack, which is not supported",
            ));
        }
    })
}

fn take<'a>(bytes: &mut &'a [u8], len: u64) -> Result<&'a [u8], ReadError> {
    let len = usize::try_from(len).map_err(|_| ReadError::Short)?;
    let (taken, rest) = bytes.split_at_checked(len).ok_or(ReadError::Short)?;
    *bytes = rest;
    Ok(taken)
}

fn number(bytes: &mut &[u8], width: u64) -> Result<u64, ReadError> {
    Ok(take(bytes, width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Old servers send bytes as text.
fn text(bytes: &mut &[u8], len: u64) -> Result<Value, ReadError> {
    let raw = take(bytes, len)?;
    Ok(match std::str::from_utf8(raw) {
        Ok(text) => Value::text(text),
        Err(_) => Value::Bytes(bytes::Bytes::copy_from_slice(raw)),
    })
}

fn list(bytes: &mut &[u8], len: u64, depth: usize) -> Result<Value, ReadError> {
    // The length is not believed: what is not there ends it.
    let mut items = Vec::new();
    for _ in 0..len {
        items.push(read_at(bytes, depth + 1)?);
    }
    Ok(Value::list(items))
}

fn map(bytes: &mut &[u8], len: u64, depth: usize) -> Result<Value, ReadError> {
    let mut members = Fields::new();
    for _ in 0..len {
        let name: Arc<str> = match read_at(bytes, depth + 1)? {
            Value::Str(name) => name,
            Value::Bytes(name) => Arc::from(String::from_utf8_lossy(&name)),
            other => Arc::from(thalweg_core::cast::plain_text(&other, chrono_tz::UTC)),
        };
        members.insert(name, read_at(bytes, depth + 1)?);
    }
    Ok(Value::map(members))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Value {
        let long = "x".repeat(40_000);
        let mut members = Fields::new();
        for (at, value) in [
            Value::Null,
            Value::Bool(true),
            Value::Int(-32),
            Value::Int(127),
            Value::Int(i64::MIN),
            Value::Int(70_000),
            Value::Float(-2.5),
            Value::text("ü"),
            Value::text(&long[..300]),
            Value::text(&long),
            Value::text("x".repeat(70_000)),
            Value::Bytes(vec![0xff; 300].into()),
            Value::list((0..20).map(Value::Int).collect()),
            Value::list(vec![Value::Null; 70_000]),
        ]
        .into_iter()
        .enumerate()
        {
            members.insert(Arc::from(format!("m{at}")), value);
        }
        Value::map(members)
    }

    #[test]
    fn what_is_written_is_read_again_and_a_beginning_wants_more() {
        let (value, mut bytes) = (sample(), Vec::new());
        write(&mut bytes, &value);
        let mut rest = &bytes[..];
        assert_eq!(read(&mut rest), Ok(value));
        assert!(rest.is_empty());
        for end in (0..bytes.len()).step_by(9_973) {
            assert_eq!(read(&mut &bytes[..end]), Err(ReadError::Short));
        }
    }

    #[test]
    fn all_widths_are_read_and_nonsense_is_refused() {
        for (bytes, value) in [
            (&[0xca, 0x40, 0x20, 0, 0][..], Value::Float(2.5)),
            (&[0xcc, 200], Value::Int(200)),
            (&[0xcd, 1, 0], Value::Int(256)),
            (&[0xce, 0, 1, 0, 0], Value::Int(65_536)),
            (&[0xd0, 0x80], Value::Int(-128)),
            (&[0xd1, 0xff, 0], Value::Int(-256)),
            (&[0xd2, 0xff, 0xff, 0xff, 0], Value::Int(-256)),
            (&[0xa2, 0xff, 0xfe], Value::Bytes(vec![0xff, 0xfe].into())),
            (&[0x81, 0xc4, 1, b'a', 1], Value::map(Fields::from([(Arc::from("a"), Value::Int(1))]))),
        ] {
            assert_eq!(read(&mut &bytes[..]), Ok(value), "{bytes:x?}");
        }
        assert!(matches!(read(&mut &[0xc1][..]), Err(ReadError::Wrong(_))));
        assert!(matches!(read(&mut &[0xcf, 255, 0, 0, 0, 0, 0, 0, 0][..]), Err(ReadError::Wrong(_))));
        assert!(matches!(read(&mut &[0x91; 100][..]), Err(ReadError::Wrong(_))));
        assert_eq!(read(&mut &[0xdd, 255, 255, 255, 255][..]), Err(ReadError::Short));
    }
}
