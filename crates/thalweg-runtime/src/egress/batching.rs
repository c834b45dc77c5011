//! Messages collected for batchSize and lingerInterval, until they leave as larger ones (C3.12 to C3.17).
//!
//! A batch holds messages for one place only: those with other dynamic properties go into a batch of their own, so
//! that nothing is published where it does not belong.

use std::sync::Arc;

use bytes::Bytes;
use thalweg_core::connector::SinkPayload;
use thalweg_core::format::{Encoder, Message};
use thalweg_core::{FormatError, Props, Timestamp};

/// What waits for a full batch or the linger ticker.
#[derive(Debug, Default)]
pub(super) struct Batching {
    /// Items to collect; 0: any number.
    size: usize,
    /// Milliseconds between ticks; 0: none.
    linger: i64,
    pub held: Vec<SinkPayload>,
    /// When the ticker ticks next. It runs from the start of the rule, not from the first item (C3.12).
    pub due: Option<Timestamp>,
}

impl Batching {
    pub(super) fn new(size: usize, linger: i64) -> Self {
        Self { size, linger, ..Self::default() }
    }

    /// The rule starts. A ticker that was restored keeps its time.
    pub(super) fn start(&mut self, now: Timestamp) {
        if self.linger > 0 && self.due.is_none() {
            self.due = Some(now.plus(self.linger));
        }
    }

    pub(super) fn push(&mut self, payloads: impl Iterator<Item = SinkPayload>) {
        self.held.extend(payloads);
    }

    /// A full batch.
    pub(super) fn full(&mut self) -> Option<Vec<SinkPayload>> {
        (self.size > 0 && self.held.len() >= self.size).then(|| self.held.drain(..self.size).collect())
    }

    /// Whatever there is.
    pub(super) fn rest(&mut self) -> Vec<SinkPayload> {
        std::mem::take(&mut self.held)
    }

    /// Whether the ticker ticks now; ticks that were missed count as one.
    pub(super) fn ticks(&mut self, now: Timestamp) -> bool {
        let Some(due) = self.due.filter(|due| *due <= now) else { return false };
        let missed = (now.0 - due.0) / self.linger.max(1);
        self.due = Some(due.plus((missed + 1).saturating_mul(self.linger)));
        true
    }
}

/// How collected messages become one.
pub(super) enum Glue<'a> {
    /// Structured sinks: one list of all rows (C3.17).
    Rows,
    /// `[m1,m2]` (C3.13).
    Json,
    /// Rows are encoded together, under one header (C3.14); texts of a template stand in lines.
    Lines(&'a mut dyn Encoder),
    /// Pieces stand back to back.
    Plain,
}

/// One message for each place that the collected ones are meant for, in the order of their first.
pub(super) fn join(part: Vec<SinkPayload>, mut glue: Glue<'_>) -> Vec<Result<SinkPayload, FormatError>> {
    let mut places: Vec<(Option<Arc<Props>>, Vec<SinkPayload>)> = Vec::new();
    for payload in part {
        let (SinkPayload::Bytes { props, .. } | SinkPayload::Rows { props, .. }) = &payload;
        match places.iter_mut().find(|(known, _)| known == props) {
            Some((_, messages)) => messages.push(payload),
            None => places.push((props.clone(), vec![payload])),
        }
    }
    places.into_iter().map(|(props, messages)| join_one(props, messages, &mut glue)).collect()
}

fn join_one(
    props: Option<Arc<Props>>,
    messages: Vec<SinkPayload>,
    glue: &mut Glue<'_>,
) -> Result<SinkPayload, FormatError> {
    let (mut bytes, mut all, mut n_texts) = (Vec::new(), Vec::new(), 0);
    for message in messages {
        match message {
            SinkPayload::Bytes { payload, .. } => {
                bytes.extend_from_slice(match (&glue, n_texts) {
                    (Glue::Json, 0) => b"[",
                    (Glue::Json, _) => b",",
                    (Glue::Lines(_), 1..) => b"\n",
                    _ => b"",
                });
                n_texts += 1;
                bytes.extend_from_slice(&payload);
            }
            SinkPayload::Rows { rows, .. } => all.extend(rows),
        }
    }
    match glue {
        Glue::Rows => return Ok(SinkPayload::Rows { rows: all, is_list: true, props }),
        Glue::Json => bytes.push(b']'),
        Glue::Lines(encoder) if !all.is_empty() => {
            if n_texts > 0 {
                bytes.push(b'\n');
            }
            encoder.encode(Message::List(&all), &mut bytes)?;
        }
        Glue::Lines(_) | Glue::Plain => {}
    }
    Ok(SinkPayload::Bytes { payload: Bytes::from(bytes), props })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str, topic: &str) -> SinkPayload {
        let mut props = Props::new();
        props.set("topic", topic);
        SinkPayload::Bytes { payload: Bytes::copy_from_slice(text.as_bytes()), props: Some(Arc::new(props)) }
    }

    fn print(joined: Vec<Result<SinkPayload, FormatError>>) -> Vec<String> {
        let one = |payload| match payload {
            Ok(SinkPayload::Bytes { payload, props }) => {
                let topic = props.and_then(|props| props.text("topic").ok().flatten().map(str::to_owned));
                format!("{} {}", topic.unwrap_or_default(), String::from_utf8_lossy(&payload))
            }
            other => format!("{other:?}"),
        };
        joined.into_iter().map(one).collect()
    }

    #[test]
    fn c3_13_messages_for_one_place_become_one_and_those_for_others_do_not() {
        let part = vec![text("1", "a"), text("2", "b"), text("3", "a")];
        assert_eq!(print(join(part.clone(), Glue::Json)), ["a [1,3]", "b [2]"]);
        assert_eq!(print(join(part, Glue::Plain)), ["a 13", "b 2"]);
    }

    #[test]
    fn c3_12_the_ticker_keeps_its_beat() {
        let mut batching = Batching::new(0, 100);
        batching.start(Timestamp(0));
        assert!(!batching.ticks(Timestamp(99)));
        assert!(batching.ticks(Timestamp(350)));
        assert_eq!(batching.due, Some(Timestamp(400)));
    }
}
