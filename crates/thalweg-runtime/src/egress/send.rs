//! The last step of an action: the messages of a batch leave, straight to the sink where that is possible.

use std::ops::Range;

use bytes::Bytes;
use thalweg_core::connector::SinkPayload;
use thalweg_core::{FormatError, Timestamp};

use super::batching::{self, Glue};
use super::{Egress, Output, Pending, Step, count_in, count_out};

impl Egress {
    /// Hands the messages of the batch at hand to the sink, or to the batch that is being collected.
    pub(super) fn send(&mut self, now: Timestamp) {
        let out = self.send_direct(now);
        let Some(work) = &self.room.0 else { return };
        if out < work.plain.len() || !work.pending.is_empty() {
            self.send_rest(out, now);
        }
        let work = self.room.made();
        work.plain.clear();
        work.buffer.clear();
    }

    /// The same for all but the first `out`.
    fn send_rest(&mut self, out: usize, now: Timestamp) {
        let work = self.room.made();
        let begin = out.checked_sub(1).map_or(0, |last| work.plain[last].1 as usize);
        let bytes = Bytes::copy_from_slice(&work.buffer[begin..]);
        let message = |place: Range<usize>, props| {
            let payload = bytes.slice(place.start - begin..place.end - begin);
            SinkPayload::Bytes { payload, props }
        };
        let plain =
            work.plain[out..].iter().map(|(start, end)| message(*start as usize..*end as usize, None));
        let payloads = plain.chain(work.pending.drain(..).map(|pending| match pending {
            Pending::Bytes(place, props) => message(place, props),
            Pending::Rows { rows, is_list, props } => SinkPayload::Rows { rows, is_list, props },
        }));
        if let Some(batching) = &mut self.batching {
            batching.push(payloads);
            while let Some(part) = self.batching.as_mut().and_then(|batching| batching.full()) {
                self.send_batch(part, now);
            }
        } else if self.options.compression.is_some() {
            let payloads = payloads.collect();
            self.send_packed(payloads, now);
        } else {
            self.delivery.push(payloads, now);
        }
    }

    /// Writes what can be written without waiting; how many messages are out.
    fn send_direct(&mut self, now: Timestamp) -> usize {
        let Some(work) = &self.room.0 else { return 0 };
        if work.plain.is_empty() || self.options.is_batching() || self.options.compression.is_some() {
            return 0;
        }
        self.delivery.write_direct(&work.buffer, &work.plain, now)
    }

    pub(super) fn send_batch(&mut self, part: Vec<SinkPayload>, now: Timestamp) {
        let glue = match (&mut self.output, &*self.options.format) {
            (Output::Rows, _) => Glue::Rows,
            (_, "json") => Glue::Json,
            (Output::Encoder(encoder), "delimited") => Glue::Lines(encoder.as_mut()),
            _ => Glue::Plain,
        };
        let mut joined = Vec::new();
        for message in batching::join(part, glue) {
            match message {
                Ok(message) => joined.push(message),
                Err(error) => self.count_lost(Step::Encode, &error, now),
            }
        }
        self.send_packed(joined, now);
    }

    /// Compresses, if the action wants that, and hands over.
    fn send_packed(&mut self, mut payloads: Vec<SinkPayload>, now: Timestamp) {
        if let Some(codec) = self.options.compression {
            payloads.retain_mut(|message| {
                let SinkPayload::Bytes { payload, .. } = message else { return true };
                count_in(&self.compress, 1, now);
                match codec.compress(payload) {
                    Ok(packed) => *payload = Bytes::from(packed),
                    Err(error) => {
                        self.count_lost(Step::Compress, &FormatError::new(error.to_string()), now);
                        return false;
                    }
                }
                count_out(&self.compress, 1, now);
                true
            });
        }
        self.delivery.push(payloads.into_iter(), now);
    }
}
