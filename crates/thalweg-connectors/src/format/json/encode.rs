//! Result rows as JSON text.

use chrono_tz::Tz;
use thalweg_core::FormatError;
use thalweg_core::format::{Encoder, Message};
use thalweg_core::json::write_fields;

/// Encodes objects and lists of objects.
#[derive(Debug)]
pub(crate) struct JsonEncoder {
    zone: Tz,
}

impl JsonEncoder {
    pub(crate) fn new(zone: Tz) -> Self {
        Self { zone }
    }

    fn write(&self, message: Message<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        match message {
            Message::Row(row) => write_fields(out, row, self.zone),
            Message::List(rows) => {
                out.push(b'[');
                for (index, row) in rows.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_fields(out, row, self.zone)?;
                }
                out.push(b']');
                Ok(())
            }
        }
    }
}

impl Encoder for JsonEncoder {
    fn encode(&mut self, message: Message<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let before = out.len();
        self.write(message, out).inspect_err(|_| out.truncate(before))
    }
}
