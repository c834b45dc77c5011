//! Arrow IPC streams as bodies of frames (`portable-plugins.md` 12.5): a schema, one batch, the end; for functions that
//! ask for Arrow arrays. Only what these streams need of Arrow's FlatBuffers is here.

pub(super) mod read;
mod write;

/// Every message of a stream begins so; the length of its metadata follows.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Arrow's `MessageHeader`.
const SCHEMA: u8 = 1;
const BATCH: u8 = 3;
/// Arrow's `Type`.
const NULL: u8 = 1;
const INT: u8 = 2;
const FLOAT: u8 = 3;
const BINARY: u8 = 4;
const UTF8: u8 = 5;
const BOOL: u8 = 6;
const TIMESTAMP: u8 = 10;
const LIST: u8 = 12;
/// `Precision` of floats of 64 bits, and `TimeUnit` of milliseconds.
const DOUBLE: u8 = 2;
const MILLIS: u8 = 1;
/// What a column of JSON texts has among its metadata.
const JSON_MARK: [&str; 2] = ["thalweg", "json"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thalweg_core::{Column, ColumnRef, RowError, Timestamp, Value};

    use crate::frame::decode::{Expected, answer};
    use crate::frame::encode::{Arg, FrameWriter, Numbers, Opening};
    use crate::frame::rows::{Part, Rows};
    use crate::frame::{ANSWER, ARROW, MAGIC, VERSION, aligned};

    /// A request of one column; what is behind its header is what an answer would have there.
    fn request(values: &[Value], groups: Option<&[u32]>) -> Vec<u8> {
        let column = Column::from_values(values);
        let values = ColumnRef::borrowed(&column);
        let mut frames = FrameWriter::default();
        let opening = Opening { function: "f", context: 1, seq: 7, place: None, accumulate: "" };
        let part = Part { first: 0, rows: Rows::Span(0, column.len()), groups };
        frames.write_arrow(&opening, &[Arg::new(&values, Numbers::Typed)], &part).unwrap();
        frames.message().to_vec()
    }

    /// The request of one column as the answer to it.
    fn echoed(values: &[Value]) -> Vec<u8> {
        let message = request(values, None);
        let length = u32::from_le_bytes([message[4], message[5], message[6], message[7]]) as usize;
        let header = format!("{{\"n\":{},\"cols\":[]}}", values.len());
        let mut back = vec![MAGIC, VERSION, ANSWER | 1, ARROW];
        back.extend_from_slice(&(header.len() as u32).to_le_bytes());
        back.extend_from_slice(&7u64.to_le_bytes());
        back.extend_from_slice(header.as_bytes());
        back.resize(aligned(back.len()), 0);
        back.extend_from_slice(&message[aligned(16 + length)..]);
        back
    }

    fn read(message: &[u8], n: usize) -> Result<Vec<Value>, String> {
        let expected = Expected { groups: false, seq: 7, n, place: None };
        let mut out = Column::new();
        let failed = |text: &str| RowError::text(text);
        match answer(message, expected, &|_| Err("no region".to_owned()), &failed, &mut out) {
            Ok(_) => {
                assert_eq!(out.len(), n);
                Ok((0..n).map(|row| out.cell(row).to_value()).collect())
            }
            Err(error) => {
                assert_eq!(out.len(), 0, "nothing is left of a wrong answer");
                Err(error)
            }
        }
    }

    fn samples() -> Vec<Vec<Value>> {
        let bytes = |bytes: &'static [u8]| Value::Bytes(bytes::Bytes::from_static(bytes));
        vec![
            vec![Value::Float(0.5), Value::Null, Value::Float(-2.0)],
            vec![Value::Int(i64::MAX), Value::Null, Value::Int(i64::MIN)],
            vec![Value::Bool(true), Value::Null, Value::Bool(false)],
            vec![Value::text("a\u{20ac}"), Value::Null, Value::text("")],
            vec![bytes(b"\xff\0"), Value::Null, bytes(b"")],
            vec![Value::list(vec![Value::Float(1.0), Value::text("x")]), Value::Null, Value::text("y")],
            vec![Value::Null, Value::Null, Value::Null],
            vec![Value::Float(0.25); 3],
        ]
    }

    #[test]
    fn what_is_written_is_read_with_its_nulls() {
        for values in samples() {
            assert_eq!(read(&echoed(&values), 3), Ok(values));
        }
        let times = [Value::Time(Timestamp(3_120)), Value::Null];
        let expected = vec![Value::text("1970-01-01T00:00:03.12Z"), Value::Null];
        assert_eq!(read(&echoed(&times), 2), Ok(expected), "as in JSON");
        let many: Vec<Value> = (0..1_000).map(|row| Value::Bool(row % 3 == 0)).collect();
        assert_eq!(read(&echoed(&many), 1_000), Ok(many));
    }

    #[test]
    fn a_stream_that_does_not_fit_is_refused_with_its_reason() {
        let sound = echoed(&samples()[0]);
        let refusal = |message: &[u8], reason: &str| {
            let error = read(message, 3).unwrap_err();
            assert!(error.starts_with("invalid answer") && error.contains(reason), "{error}");
        };
        refusal(&sound[..64], "no Arrow schema");
        refusal(&sound[..sound.len() - 16], "no Arrow batch");
        let mut twice = sound.clone();
        twice.truncate(sound.len() - 8);
        twice.extend_from_slice(&sound[64..]);
        refusal(&twice, "more than one batch");
        let mut four = sound.clone();
        four[21] = b'4';
        let error = read(&four, 4).unwrap_err();
        assert!(error.contains("an Arrow batch of 3 results for 4"), "{error}");
        let mut list = request(&samples()[0], Some(&[0, 1, 3]));
        list[2] = ANSWER | 1;
        let error = read(&list, 2).unwrap_err();
        assert!(error.contains("Arrow type 12"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            sample in 0usize..8,
            cut in 0usize..2_000,
            flips in prop::collection::vec((64usize..2_000, any::<u8>()), 0..6),
        ) {
            let mut message = echoed(&samples()[sample]);
            message.truncate(cut.max(64));
            for (at, byte) in flips {
                if let Some(place) = message.get_mut(at) {
                    *place = byte;
                }
            }
            let _ = read(&message, 3);
        }

        #[test]
        fn no_single_byte_makes_it_panic(sample in 0usize..8, byte in any::<u8>()) {
            let sound = echoed(&samples()[sample]);
            for at in 64..sound.len() {
                let mut message = sound.clone();
                message[at] = byte;
                let _ = read(&message, 3);
            }
        }
    }
}
