//! Binary: the payload as it is, in one column (F3.1).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono_tz::Tz;
use thalweg_core::format::{Decoder, Encoder, Format, Message, RawBatch};
use thalweg_core::value::Fields;
use thalweg_core::{BatchBuilder, DataType, Diagnostic, FormatError, Projection, Props, Value};

use super::row::push_row;

/// The format's row.
pub static FORMAT: Binary = Binary;

const COLUMN: &str = "self";

/// FORMAT="binary".
#[derive(Debug)]
pub struct Binary;

impl Format for Binary {
    fn name(&self) -> &'static str {
        "binary"
    }

    fn decoder(&self, want: &Arc<Projection>, props: &Props) -> Result<Box<dyn Decoder>, Diagnostic> {
        // A stream declared with exactly one bytea column names it.
        let column = match want.declared.as_deref() {
            Some([(name, DataType::Bytea)]) => Arc::clone(name),
            _ => Arc::from(COLUMN),
        };
        Ok(Box::new(BinaryDecoder { want: Arc::clone(want), column, zone: super::zone(props)? }))
    }

    fn encoder(&self, _props: &Props) -> Result<Box<dyn Encoder>, Diagnostic> {
        Ok(Box::new(BinaryEncoder))
    }
}

struct BinaryDecoder {
    want: Arc<Projection>,
    column: Arc<str>,
    zone: Tz,
}

impl Decoder for BinaryDecoder {
    fn decode(&mut self, raw: &RawBatch, into: &mut BatchBuilder) {
        for index in 0..raw.spans.len() {
            let payload = Value::Bytes(Bytes::copy_from_slice(raw.payload(index)));
            let fields = Fields::from([(Arc::clone(&self.column), payload)]);
            push_row(&self.want, &fields, (raw, index, self.zone), into);
        }
    }
}

struct BinaryEncoder;

impl Encoder for BinaryEncoder {
    fn encode(&mut self, message: Message<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let Message::Row(row) = message else {
            return Err(FormatError::new("a list cannot be encoded as binary, set sendSingle"));
        };
        match row.get(COLUMN) {
            None => Err(FormatError::new("field self not exist")),
            Some(Value::Bytes(bytes)) => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Some(Value::Str(text)) => {
                match STANDARD.decode(text.as_bytes()) {
                    Ok(bytes) => out.extend_from_slice(&bytes),
                    Err(_) => out.extend_from_slice(text.as_bytes()),
                }
                Ok(())
            }
            Some(other) => {
                Err(FormatError::new(format!("field self must be bytes, not {}", other.kind_name())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::testing::{decode, encode, projection, row};
    use super::*;

    #[test]
    fn the_payload_stands_in_self_or_in_the_one_declared_column() {
        let (rows, faults) = decode(&FORMAT, projection(&["self"]), "{}", &[b"\xff\x00a", b""]);
        let bytes = |bytes: &'static [u8]| Value::Bytes(Bytes::from_static(bytes));
        assert_eq!(rows, [[bytes(b"\xff\x00a")], [bytes(b"")]]);
        assert!(faults.is_empty());
        let mut declared = projection(&["img"]);
        declared.declared = Some(Arc::from([(Arc::from("img"), DataType::Bytea)]));
        assert_eq!(decode(&FORMAT, declared, "{}", &[b"x"]).0, [[bytes(b"x")]]);
    }

    #[test]
    fn self_is_sent_decoded_from_base64_if_it_can_be() {
        let mut encoder = FORMAT.encoder(&Props::new()).unwrap();
        for (fields, expected) in [
            (r#"{"self":"aGk="}"#, Ok("hi".to_owned())),
            (r#"{"self":"not base64!"}"#, Ok("not base64!".to_owned())),
            (r#"{"a":1}"#, Err("field self not exist".to_owned())),
            (r#"{"self":1}"#, Err("field self must be bytes, not float64".to_owned())),
        ] {
            assert_eq!(encode(encoder.as_mut(), Message::Row(&row(fields))), expected, "{fields}");
        }
        assert!(encode(encoder.as_mut(), Message::List(&[])).is_err());
    }
}
