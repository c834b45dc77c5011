//! Answers with an Arrow stream as body: one column in one batch. Nothing in them is believed; a slot that lies outside of
//! the message is as if it were not there.

use super::super::decode::{Data, Values, offsets};
use super::{
    BATCH, BINARY, BOOL, CONTINUATION, DOUBLE, FLOAT, INT, JSON_MARK, MILLIS, NULL, SCHEMA, TIMESTAMP, UTF8,
};

/// A table of a FlatBuffer.
#[derive(Clone, Copy)]
struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn uint(bytes: &[u8], at: usize) -> Option<usize> {
    array(bytes, at).and_then(|word| usize::try_from(u32::from_le_bytes(word)).ok())
}

/// What a place refers to.
fn referred(bytes: &[u8], at: usize) -> Option<usize> {
    at.checked_add(uint(bytes, at)?)
}

impl<'a> Table<'a> {
    fn slot(self, id: usize) -> Option<usize> {
        let back = i64::from(i32::from_le_bytes(array(self.bytes, self.at)?));
        let layout = usize::try_from(i64::try_from(self.at).ok()?.checked_sub(back)?).ok()?;
        let half = |at: usize| array(self.bytes, at).map(|word| usize::from(u16::from_le_bytes(word)));
        let entry = 4 + 2 * id;
        if entry + 2 > half(layout)? {
            return None;
        }
        let place = half(layout.checked_add(entry)?)?;
        if place == 0 { None } else { self.at.checked_add(place) }
    }

    fn number<const N: usize>(self, id: usize) -> Option<[u8; N]> {
        array(self.bytes, self.slot(id)?)
    }

    fn long(self, id: usize) -> i64 {
        self.number(id).map_or(0, i64::from_le_bytes)
    }

    fn table(self, id: usize) -> Option<Self> {
        Some(Self { at: referred(self.bytes, self.slot(id)?)?, ..self })
    }

    /// Where a list's things begin, and how many there are.
    fn list(self, id: usize) -> Option<(usize, usize)> {
        let at = referred(self.bytes, self.slot(id)?)?;
        Some((at.checked_add(4)?, uint(self.bytes, at)?))
    }

    fn item(self, first: usize) -> Option<Self> {
        Some(Self { at: referred(self.bytes, first)?, ..self })
    }

    fn text(self, id: usize) -> Option<&'a [u8]> {
        let (at, length) = self.list(id)?;
        self.bytes.get(at..at.checked_add(length)?)
    }

    /// Two numbers of a list of such pairs.
    fn pair(self, id: usize, index: usize) -> Option<[i64; 2]> {
        let (first, n) = self.list(id)?;
        let at = first.checked_add(index.checked_mul(16)?).filter(|_| index < n)?;
        let number = |at| array(self.bytes, at).map(i64::from_le_bytes);
        Some([number(at)?, number(at.checked_add(8)?)?])
    }
}

/// A message of a stream.
struct Message<'a> {
    header: Table<'a>,
    body: &'a [u8],
    rest: &'a [u8],
}

/// The message that a stream begins with, if it is of this kind.
fn message(stream: &[u8], kind: u8) -> Option<Message<'_>> {
    let length = uint(stream, 4).filter(|_| stream.starts_with(&CONTINUATION))?;
    let (metadata, behind) = stream.get(8..)?.split_at_checked(length)?;
    let table = Table { bytes: metadata, at: referred(metadata, 0)? };
    let header = table.table(2).filter(|_| table.number(1) == Some([kind]))?;
    let (body, rest) = behind.split_at_checked(usize::try_from(table.long(3)).ok()?)?;
    Some(Message { header, body, rest })
}

/// The one column of a stream, which must have `n` results.
pub(in super::super) fn column(stream: &[u8], n: usize) -> Result<Values<'_>, String> {
    let Some(schema) = message(stream, SCHEMA) else {
        return Err("invalid answer: there is no Arrow schema in its body".to_owned());
    };
    let Some(batch) = message(schema.rest, BATCH) else {
        return Err("invalid answer: there is no Arrow batch behind the schema".to_owned());
    };
    if !batch.rest.is_empty() && array(batch.rest, 4) != Some([0; 4]) {
        return Err("invalid answer: its Arrow stream has more than one batch".to_owned());
    }
    let (first, n_fields) = schema.header.list(1).unwrap_or_default();
    let field = schema.header.item(first).filter(|_| n_fields == 1);
    let Some(field) = field else {
        return Err(format!("invalid answer: its Arrow batch has {n_fields} columns, not 1"));
    };
    let node = batch.header.pair(1, 0);
    let length = batch.header.long(0);
    if length != n as i64 || node.is_none_or(|[length, _]| length != n as i64) {
        return Err(format!("invalid answer: an Arrow batch of {length} results for {n}"));
    }
    let is_big_endian = schema.header.number(0).is_some_and(|order: [u8; 2]| order != [0; 2]);
    if is_big_endian || batch.header.slot(3).is_some() || field.slot(4).is_some() {
        return Err(
            "invalid answer: its Arrow batch is compressed, big-endian or has a dictionary".to_owned()
        );
    }
    let has_nulls = node.is_some_and(|[_, n_nulls]| n_nulls != 0);
    values(field, Buffers { batch: batch.header, body: batch.body }, has_nulls, n)
}

#[derive(Clone, Copy)]
struct Buffers<'a> {
    batch: Table<'a>,
    body: &'a [u8],
}

impl<'a> Buffers<'a> {
    /// A buffer of at least so many bytes.
    fn at_least(self, index: usize, needed: usize) -> Result<&'a [u8], String> {
        let Some([offset, size]) = self.batch.pair(2, index) else {
            return Err(format!("invalid answer: its Arrow batch has no buffer {index}"));
        };
        let start = usize::try_from(offset).ok();
        let end = start.and_then(|start| start.checked_add(usize::try_from(size).ok()?));
        let bytes = start.zip(end).and_then(|(start, end)| self.body.get(start..end));
        let Some(bytes) = bytes else {
            let length = self.body.len();
            return Err(format!(
                "invalid answer: Arrow buffer [{offset},{size}] is not within {length} bytes"
            ));
        };
        match bytes.len() < needed {
            true => Err(format!("invalid answer: Arrow buffer {index} has {size} bytes, not {needed}")),
            false => Ok(bytes),
        }
    }
}

fn values<'a>(
    field: Table<'a>,
    buffers: Buffers<'a>,
    has_nulls: bool,
    n: usize,
) -> Result<Values<'a>, String> {
    let kind = field.number(2).map_or(0, |[kind]: [u8; 1]| kind);
    let of_type = field.table(3);
    let first = |id| of_type.and_then(|table| table.number(id)).map_or(0, |[byte]: [u8; 1]| byte);
    let words = || buffers.at_least(1, n * 8).map(|bytes| &bytes[..n * 8]);
    let data = match kind {
        NULL => return Ok(Values::new(Data::Constant(thalweg_core::Value::Null), None, n)),
        INT if (first(0), first(1)) == (64, 1) => Data::Ints(words()?),
        FLOAT if first(0) == DOUBLE => Data::Floats(words()?),
        TIMESTAMP if first(0) == MILLIS => Data::Times(words()?),
        BOOL => Data::Bits(buffers.at_least(1, n.div_ceil(8))?),
        UTF8 | BINARY => {
            let bytes = buffers.at_least(2, 0)?;
            let offsets = offsets(buffers.at_least(1, (n + 1) * 4)?, n, bytes.len())?;
            if kind == BINARY {
                Data::Bytes { bytes, offsets }
            } else {
                let text = std::str::from_utf8(bytes)
                    .map_err(|error| format!("invalid answer: text is no UTF-8: {error}"))?;
                Data::Texts { text, offsets, is_json: is_json(field) }
            }
        }
        INT | FLOAT | TIMESTAMP => {
            return Err(format!(
                "invalid answer: a column of Arrow type {kind} that is not int64, float64 or timestamp[ms]"
            ));
        }
        other => {
            return Err(format!("invalid answer: a column of Arrow type {other}, which has no place here"));
        }
    };
    let nulls = if has_nulls { Some(buffers.at_least(0, n.div_ceil(8))?) } else { None };
    Ok(Values::new(data, nulls, n))
}

/// Whether the texts of a column are JSON.
fn is_json(field: Table<'_>) -> bool {
    let Some((first, n)) = field.list(6) else { return false };
    // Nobody marks a column more often.
    (0..n.min(16))
        .filter_map(|index| field.item(first.checked_add(4 * index)?))
        .any(|pair| [pair.text(0), pair.text(1)] == JSON_MARK.map(|text| Some(text.as_bytes())))
}
