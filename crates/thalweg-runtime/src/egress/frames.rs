//! Messages that many rules send: encoded once for a batch, each rule's sink gets those of its own rows.

use std::sync::Arc;

use bytes::Bytes;
use chrono_tz::Tz;
use thalweg_core::connector::SinkPayload;
use thalweg_core::{Batch, Fields, Selection};

use super::row::{self, RowWriter};
use crate::queue::Entry;

/// How an action makes a message of a row, when nothing else of the action matters for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// JSON, a list of one unless alone.
    Json { is_list: bool, omit_empty: bool },
    /// Rows for structured sinks.
    Rows { is_list: bool, omit_empty: bool },
}

/// One message for each of some rows of a batch.
pub(crate) struct Frames {
    content: Content,
    is_list: bool,
    /// The length of a message, roughly.
    typical: usize,
}

enum Content {
    /// The span of each row's message.
    Bytes(Bytes, Vec<(u32, u32)>),
    Rows(Vec<Option<Arc<Fields>>>),
}

impl Frames {
    /// Makes the messages of these rows. Rows without a message go to `refuse`: what cannot be encoded, and what is
    /// left out because it is empty.
    pub(crate) fn new(
        shape: Shape,
        writer: &mut RowWriter,
        (batch, rows): (&Batch, &Selection),
        zone: Tz,
        refuse: &mut dyn FnMut(usize),
    ) -> Self {
        match shape {
            Shape::Json { is_list, omit_empty } => {
                let (mut out, mut spans) = (Vec::new(), vec![(0, 0); batch.n_rows]);
                for row in rows {
                    let start = out.len();
                    out.extend_from_slice(if is_list { b"[" } else { b"" });
                    match writer.write(&mut out, batch, row, zone) {
                        Ok(is_empty) if !(is_empty && omit_empty) => {
                            out.extend_from_slice(if is_list { b"]" } else { b"" });
                            spans[row] = (start as u32, out.len() as u32);
                        }
                        _ => {
                            out.truncate(start);
                            refuse(row);
                        }
                    }
                }
                let typical = out.len() / rows.len().max(1);
                Self { content: Content::Bytes(Bytes::from(out), spans), is_list, typical }
            }
            Shape::Rows { is_list, omit_empty } => {
                let mut list = vec![None; batch.n_rows];
                for row in rows {
                    let fields = row::fields(batch, row);
                    if omit_empty && fields.is_empty() {
                        refuse(row);
                    } else {
                        list[row] = Some(Arc::new(fields));
                    }
                }
                Self { content: Content::Rows(list), is_list, typical: 64 * batch.columns.len().max(1) }
            }
        }
    }

    /// Copies the messages of some rows; false when they are no bytes.
    pub(crate) fn gather(&self, rows: &[u64], into: &mut Gathered) -> bool {
        into.bytes.clear();
        into.ends.clear();
        let Content::Bytes(bytes, spans) = &self.content else { return false };
        for (at, word) in rows.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let (start, end) = spans[at * 64 + rest.trailing_zeros() as usize];
                into.bytes.extend_from_slice(&bytes[start as usize..end as usize]);
                into.ends.push(into.bytes.len());
                rest &= rest - 1;
            }
        }
        true
    }

    fn payload(&self, row: usize) -> Option<SinkPayload> {
        match &self.content {
            Content::Bytes(bytes, spans) => {
                let (start, end) = spans[row];
                let payload = bytes.slice(start as usize..end as usize);
                Some(SinkPayload::Bytes { payload, props: None })
            }
            Content::Rows(list) => {
                let rows = vec![Arc::clone(list[row].as_ref()?)];
                Some(SinkPayload::Rows { rows, is_list: self.is_list, props: None })
            }
        }
    }
}

/// Messages back to back, with room that is used again.
#[derive(Default)]
pub(crate) struct Gathered {
    pub bytes: Vec<u8>,
    /// Where each ends.
    pub ends: Vec<usize>,
}

/// What stands in the queue of a sink.
pub(crate) enum Parcel {
    /// One message.
    One(SinkPayload),
    /// Those of some rows.
    Slice(Slice),
}

/// The messages of some rows of a batch.
pub(crate) struct Slice {
    frames: Arc<Frames>,
    rows: Box<[u64]>,
    count: usize,
}

impl Slice {
    /// The messages of the rows whose bits are set.
    pub(crate) fn new(frames: &Arc<Frames>, rows: &[u64], count: usize) -> Self {
        Self { frames: Arc::clone(frames), rows: rows.into(), count }
    }

    /// The same without the first `skipped`.
    pub(crate) fn behind(mut self, skipped: usize) -> Self {
        for _ in 0..skipped.min(self.count) {
            if let Some(word) = self.rows.iter_mut().find(|word| **word != 0) {
                *word &= *word - 1;
            }
            self.count -= 1;
        }
        self
    }
}

impl Parcel {
    /// Takes the messages out.
    pub(crate) fn unpack(self, into: &mut Vec<SinkPayload>) {
        match self {
            Self::One(payload) => into.push(payload),
            Self::Slice(Slice { frames, rows, .. }) => {
                for (at, word) in rows.iter().enumerate() {
                    let mut rest = *word;
                    while rest != 0 {
                        into.extend(frames.payload(at * 64 + rest.trailing_zeros() as usize));
                        rest &= rest - 1;
                    }
                }
            }
        }
    }
}

impl Entry for Parcel {
    fn weight(&self) -> usize {
        match self {
            Self::One(payload) => payload.weight(),
            Self::Slice(slice) => slice.count,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::One(payload) => payload.bytes(),
            Self::Slice(slice) => slice.count * slice.frames.typical,
        }
    }

    fn drop_first(&mut self) -> bool {
        let Self::Slice(slice) = self else { return false };
        let Some(word) = slice.rows.iter_mut().find(|word| **word != 0).filter(|_| slice.count > 1) else {
            return false;
        };
        *word &= *word - 1;
        slice.count -= 1;
        true
    }
}
