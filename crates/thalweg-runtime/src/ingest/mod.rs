//! From what a source offered to batches: the queue, decoding, arrival and event times.
//!
//! A [`Decode`] turns one hand-over into one batch. Each payload is decoded once, whoever reads the stream.

pub(crate) mod beginning;
pub(crate) mod event_time;
pub(crate) mod inner;
pub(crate) mod ledger;
pub(crate) mod options;
pub(crate) mod port;
pub(crate) mod raw;
pub(crate) mod rows;
mod strict;
pub(crate) mod supervise;
pub(crate) mod thin;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use chrono_tz::Tz;
use thalweg_core::format::{Decoder, RawBatch};
use thalweg_core::metrics::{NodeMetrics, ShapeMetrics};
use thalweg_core::{Batch, BatchBuilder, Clock, FormatError, Projection, Selection};
use thalweg_expr::codec::Codec;

use inner::InnerDecoder;
use rows::RowDecoder;

/// Decodes for a fixed projection.
pub(crate) struct Decode {
    bytes: Box<dyn Decoder>,
    rows: RowDecoder,
    /// How payloads are unpacked before.
    codec: Option<Codec>,
    /// Decodes what is inside the messages, instead of `bytes`.
    inner: Option<InnerDecoder>,
    builder: BatchBuilder,
    metrics: Arc<NodeMetrics>,
    clock: Arc<dyn Clock>,
}

impl Decode {
    /// A decoder that fills the slots of `want`: payloads by `bytes`, rows by our own.
    pub(crate) fn new(
        bytes: Box<dyn Decoder>,
        (want, zone): (&Arc<Projection>, Tz),
        metrics: Arc<NodeMetrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let builder = BatchBuilder::new(Arc::new(want.schema()));
        let rows = RowDecoder::new(Arc::clone(want), zone);
        Self { bytes, rows, codec: None, inner: None, builder, metrics, clock }
    }

    /// The same for messages that are packed, or hold a payload of their own.
    pub(crate) fn opening(self, codec: Option<Codec>, inner: Option<InnerDecoder>) -> Self {
        Self { codec, inner, ..self }
    }

    /// The rows of one hand-over, and between them the faults of the payloads that are none.
    pub(crate) fn decode(&mut self, raw: &RawBatch) -> (Batch, Selection) {
        let began = self.clock.monotonic_micros();
        let now = self.clock.now();
        match self.codec {
            Some(codec) if !raw.spans.is_empty() => self.unpack(codec, raw),
            _ => {
                self.begin(raw);
                self.fill(raw);
            }
        }
        let (batch, rows) = self.builder.finish();
        let metrics = &self.metrics;
        NodeMetrics::add(&metrics.records_in, raw.len() as u64);
        NodeMetrics::add(&metrics.processed, raw.len() as u64);
        NodeMetrics::add(&metrics.records_out, batch.n_rows as u64);
        for fault in &rows.faults {
            metrics.exception(&fault.message, now);
            metrics.dropped("decode", 1);
        }
        if let Some(shapes) = self.bytes.shapes().filter(ShapeMetrics::has_counted) {
            metrics.shapes(shapes);
        }
        metrics.last_invocation.store(now.0, Relaxed);
        metrics.took(self.clock.monotonic_micros().saturating_sub(began));
        if batch.n_rows > 0 {
            metrics.last_row.store(now.0, Relaxed);
        }
        (batch, rows)
    }

    /// Unpacks every payload into an arena of their own; one that cannot be is a fault in its place.
    fn unpack(&mut self, codec: Codec, raw: &RawBatch) {
        let mut arena: Vec<u8> = Vec::new();
        // Messages between faults.
        let mut runs: Vec<(RawBatch, Option<FormatError>)> = vec![(RawBatch::default(), None)];
        for index in 0..raw.len() {
            if runs.last().is_some_and(|(_, fault)| fault.is_some()) {
                runs.push((RawBatch::default(), None));
            }
            let Some((run, fault)) = runs.last_mut() else { continue };
            let unpacked = codec.decompress(raw.payload(index)).map_err(|error| error.to_string());
            let span = unpacked.and_then(|bytes| {
                let span = u32::try_from(arena.len()).ok().zip(u32::try_from(bytes.len()).ok());
                let span = span.filter(|(start, length)| start.checked_add(*length).is_some());
                arena.extend_from_slice(if span.is_some() { &bytes } else { b"" });
                span.ok_or_else(|| "too many bytes at once".to_owned())
            });
            match span {
                Ok(span) => {
                    run.spans.push(span);
                    run.times.push(raw.times[index]);
                    run.meta.extend(raw.meta.get(index).cloned());
                }
                Err(why) => *fault = Some(FormatError::new(format!("cannot decompress: {why}"))),
            }
        }
        let arena = Arc::new(arena);
        runs.iter_mut().for_each(|(run, _)| run.arena = Arc::clone(&arena));
        self.begin(&runs[0].0);
        for (run, fault) in &runs {
            self.fill(run);
            if let Some(error) = fault {
                self.builder.fail(self.builder.n_rows(), error);
            }
        }
    }

    fn begin(&mut self, raw: &RawBatch) {
        let is_rows = raw.spans.is_empty() && !raw.times.is_empty();
        let has_arena = !is_rows && self.inner.is_none();
        self.builder.begin(has_arena.then(|| Arc::clone(&raw.arena)));
    }

    fn fill(&mut self, raw: &RawBatch) {
        let Some(inner) = &mut self.inner else {
            return match raw.spans.is_empty() {
                true => self.rows.decode(raw, &mut self.builder),
                false => self.bytes.decode(raw, &mut self.builder),
            };
        };
        for (index, time) in raw.times.iter().enumerate() {
            let opened = match raw.rows.get(index) {
                Some(rows) => inner.rows(rows, *time),
                None => inner.bytes(raw.payload(index), *time),
            };
            if opened.skipped > 0 {
                self.metrics.dropped("decode", opened.skipped);
            }
            let meta = raw.meta.get(index).and_then(Option::as_ref);
            self.rows.message(&opened.rows, (meta, *time), &mut self.builder);
            opened.faults.iter().for_each(|error| self.builder.fail(self.builder.n_rows(), error));
        }
    }

    /// Takes the allocations of a batch back.
    pub(crate) fn recycle(&mut self, batch: Batch) {
        self.builder.recycle(batch);
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::{Fields, ManualClock, Timestamp, Value, Want};

    use super::*;
    use crate::testing;

    #[test]
    fn f5_1_payloads_are_unpacked_one_by_one_and_one_that_cannot_be_is_a_fault_in_its_place() {
        for codec in [Codec::Zlib, Codec::Gzip, Codec::Flate, Codec::Zstd] {
            let mut want = Projection::default();
            want.slot(Want::Column { path: vec![Arc::from("a")], data_type: None }, None);
            let want = Arc::new(want);
            let format = testing::registry(&[]).format("json").unwrap();
            let decoder = format.decoder(&want, &thalweg_core::Props::new()).unwrap();
            let clock = ManualClock::at(Timestamp(0));
            let mut decode =
                Decode::new(decoder, (&want, Tz::UTC), Arc::default(), clock).opening(Some(codec), None);
            let mut raw = RawBatch::default();
            let mut arena = Vec::new();
            for text in [r#"{"a":1}"#, "plain", r#"{"a":2}"#] {
                let packed =
                    if text == "plain" { text.into() } else { codec.compress(text.as_bytes()).unwrap() };
                raw.spans.push((arena.len() as u32, packed.len() as u32));
                raw.times.push(Timestamp(7));
                arena.extend_from_slice(&packed);
            }
            raw.arena = Arc::new(arena);
            let (batch, rows) = decode.decode(&raw);
            assert_eq!((batch.n_rows, rows.faults.len()), (2, 1), "{codec:?}");
            assert_eq!(rows.faults[0].row, 1, "{codec:?}");
            assert!(rows.faults[0].message.starts_with("cannot decompress: "), "{}", rows.faults[0].message);
        }
    }

    #[test]
    fn c2_4_rows_of_structured_sources_may_hold_payloads_too() {
        let mut want = Projection::default();
        for name in ["id", "a"] {
            want.slot(Want::Column { path: vec![Arc::from(name)], data_type: None }, None);
        }
        let (want, props) = (Arc::new(want), thalweg_core::Props::new());
        let format = testing::registry(&[]).format("json").unwrap();
        let options =
            options::InnerPayload { format: "json".into(), field: "data".into(), batch_field: None };
        let inner = InnerDecoder::new(&options, (format, &props), (format, &props), &want).unwrap();
        let decoder = format.decoder(&want, &props).unwrap();
        let metrics = Arc::new(NodeMetrics::default());
        let clock = ManualClock::at(Timestamp(0));
        let mut decode =
            Decode::new(decoder, (&want, Tz::UTC), Arc::clone(&metrics), clock).opening(None, Some(inner));
        let row = |data: Option<Value>| {
            let data = data.map(|data| (Arc::from("data"), data));
            vec![Arc::new([(Arc::from("id"), Value::Int(7))].into_iter().chain(data).collect::<Fields>())]
        };
        let bytes = Value::Bytes(b"{\"a\":1}".to_vec().into());
        let rows = vec![row(Some(bytes)), row(None), row(Some(Value::Int(1)))];
        let (batch, rows) =
            decode.decode(&RawBatch { rows, times: vec![Timestamp(1); 3], ..RawBatch::default() });
        assert_eq!((batch.n_rows, batch.columns[0].value(0)), (1, Value::Int(7)));
        assert_eq!(batch.columns[1].value(0), Value::Float(1.0));
        assert_eq!(&*rows.faults[0].message, "payload is not bytes: cannot convert int64 to bytes");
        assert_eq!(
            metrics.rare().dropped.get("decode"),
            Some(&2),
            "the row without payload is counted as well"
        );
    }
}
