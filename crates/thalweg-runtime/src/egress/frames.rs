//! Messages that many rules send: encoded once for a batch, each rule's sink gets those of its own rows.

use std::sync::{Arc, OnceLock};

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

/// One message for each of some rows of a batch. Used again for the next batch, unless a queue still holds them.
#[derive(Default)]
pub(crate) struct Frames {
    /// Messages back to back, and the start and end of each row's.
    bytes: Vec<u8>,
    spans: Vec<(u32, u32)>,
    /// The same bytes, once a queue has asked for one.
    shared: OnceLock<Bytes>,
    /// Each row's message, when messages are no bytes.
    rows: Option<Vec<Option<Arc<Fields>>>>,
    is_list: bool,
    /// The length of a message, roughly.
    typical: usize,
}

/// Room that grew beyond this is given back.
const KEPT: usize = 1 << 20;

impl Frames {
    /// Makes the messages of these rows. Rows without a message go to `refuse`: what cannot be encoded, and what is
    /// left out because it is empty.
    pub(crate) fn make(
        &mut self,
        shape: Shape,
        writer: &mut RowWriter,
        (batch, rows): (&Batch, &Selection),
        zone: Tz,
        refuse: &mut dyn FnMut(usize),
    ) {
        match shape {
            Shape::Json { is_list, omit_empty } => {
                self.is_list = is_list;
                self.spans.resize(batch.n_rows, (0, 0));
                let out = &mut self.bytes;
                for row in rows {
                    let start = out.len();
                    if is_list {
                        out.push(b'[');
                    }
                    match writer.write(out, batch, row, zone) {
                        Ok(is_empty) if !(is_empty && omit_empty) => {
                            if is_list {
                                out.push(b']');
                            }
                            self.spans[row] = (start as u32, out.len() as u32);
                        }
                        _ => {
                            out.truncate(start);
                            refuse(row);
                        }
                    }
                }
                self.typical = out.len() / rows.len().max(1);
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
                (self.is_list, self.typical) = (is_list, 64 * batch.columns.len().max(1));
                self.rows = Some(list);
            }
        }
    }

    /// Forgets the messages and keeps the room.
    pub(crate) fn clear(&mut self) {
        if self.bytes.capacity() + 8 * self.spans.capacity() > KEPT {
            *self = Self::default();
        }
        self.bytes.clear();
        self.spans.clear();
        self.shared.take();
        self.rows = None;
    }

    /// The bytes in which the messages of some rows stand, and where; `None` when they are no bytes.
    pub(crate) fn find(&self, rows: &[u64], spans: &mut Vec<(u32, u32)>) -> Option<&[u8]> {
        spans.clear();
        if self.rows.is_some() {
            return None;
        }
        for (at, word) in rows.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                spans.push(self.spans[at * 64 + rest.trailing_zeros() as usize]);
                rest &= rest - 1;
            }
        }
        Some(&self.bytes)
    }

    fn payload(&self, row: usize) -> Option<SinkPayload> {
        match &self.rows {
            None => {
                let (start, end) = self.spans[row];
                let bytes = self.shared.get_or_init(|| Bytes::copy_from_slice(&self.bytes));
                let payload = bytes.slice(start as usize..end as usize);
                Some(SinkPayload::Bytes { payload, props: None })
            }
            Some(list) => {
                let rows = vec![Arc::clone(list[row].as_ref()?)];
                Some(SinkPayload::Rows { rows, is_list: self.is_list, props: None })
            }
        }
    }
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
