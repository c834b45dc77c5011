//! Formats turn payloads into rows and rows into payloads.

use std::sync::Arc;

use crate::builder::BatchBuilder;
use crate::column::Arena;
use crate::diagnostic::Diagnostic;
use crate::error::FormatError;
use crate::metrics::ShapeMetrics;
use crate::projection::Projection;
use crate::props::Props;
use crate::state::{StateError, StateReader, StateWriter};
use crate::time::Timestamp;
use crate::value::{Fields, Value};

/// The payloads that one hand-over brought, back to back in one arena.
#[derive(Debug, Clone, Default)]
pub struct RawBatch {
    /// All payloads.
    pub arena: Arena,
    /// Start and length of each payload.
    pub spans: Vec<(u32, u32)>,
    /// Rows of structured sources instead of spans; one entry a message. Empty for byte sources.
    pub rows: Vec<Vec<Arc<Fields>>>,
    /// Arrival of each message.
    pub times: Vec<Timestamp>,
    /// Metadata of each message; empty when nobody wants it.
    pub meta: Vec<Option<Arc<Fields>>>,
    /// Where the source stands behind the last message.
    pub mark: Mark,
}

/// A place in the sequence of a source's messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mark {
    /// Where a rewindable source would resume behind it.
    pub offset: Option<Value>,
    /// The number of the last message that waits for an answer; 0: none does.
    pub upto: u64,
    /// The identity of a message that was sent before, which then stands alone.
    pub again: Option<u64>,
}

impl RawBatch {
    /// The number of messages.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The bytes of a message.
    pub fn payload(&self, index: usize) -> &[u8] {
        let (start, len) = self.spans[index];
        &self.arena[start as usize..(start + len) as usize]
    }
}

/// A data format.
pub trait Format: Send + Sync {
    /// Its name in FORMAT.
    fn name(&self) -> &'static str;

    /// A decoder that fills the slots of `want`. `props` holds the source properties, and under `timezone` the
    /// configured zone (IANA name, UTC when absent).
    ///
    /// # Errors
    /// Properties that the format refuses.
    fn decoder(&self, want: &Arc<Projection>, props: &Props) -> Result<Box<dyn Decoder>, Diagnostic>;

    /// An encoder; `timezone` as for decoders.
    ///
    /// # Errors
    /// Properties that the format refuses.
    fn encoder(&self, props: &Props) -> Result<Box<dyn Encoder>, Diagnostic>;
}

/// Writes payloads straight into columns.
pub trait Decoder: Send {
    /// Decodes every payload. `into` has been begun with the batch's arena. A payload that fails becomes one fault
    /// and none of its rows stay (T-4). Slots of [`crate::Want::Meta`] are filled here too.
    fn decode(&mut self, raw: &RawBatch, into: &mut BatchBuilder);

    /// How it got on with learned shapes since the last call; `None` for formats that learn none.
    fn shapes(&mut self) -> Option<ShapeMetrics> {
        None
    }
}

/// What an encoder gets: one row, or the rows of one message.
#[derive(Debug, Clone, Copy)]
pub enum Message<'a> {
    /// One object (`sendSingle`).
    Row(&'a Fields),
    /// One list.
    List(&'a [Arc<Fields>]),
}

/// Turns result rows into payloads.
pub trait Encoder: Send {
    /// Appends the payload of one message to `out`.
    ///
    /// # Errors
    /// Values that the format cannot hold (NaN in JSON, say); `out` is then as before.
    fn encode(&mut self, message: Message<'_>, out: &mut Vec<u8>) -> Result<(), FormatError>;

    /// Writes what earlier messages have fixed for later ones; most formats have nothing.
    fn save(&self, _writer: &mut StateWriter) {}

    /// Takes back what [`Encoder::save`] wrote. Only called when it wrote something.
    ///
    /// # Errors
    /// The snapshot is damaged.
    fn load(&mut self, _reader: &mut StateReader<'_>) -> Result<(), StateError> {
        Ok(())
    }
}
