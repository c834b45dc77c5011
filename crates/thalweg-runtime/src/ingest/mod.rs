//! From what a source offered to batches: the queue, decoding, arrival and event times.
//!
//! A [`Decode`] turns one hand-over into one batch. Each payload is decoded once, whoever reads the stream.

pub(crate) mod event_time;
pub(crate) mod port;
pub(crate) mod raw;
pub(crate) mod rows;
pub(crate) mod supervise;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use thalweg_core::format::{Decoder, RawBatch};
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Batch, BatchBuilder, Clock, Projection, Selection};

use rows::RowDecoder;

/// Decodes for a fixed projection.
pub(crate) struct Decode {
    bytes: Box<dyn Decoder>,
    rows: RowDecoder,
    builder: BatchBuilder,
    metrics: Arc<NodeMetrics>,
    clock: Arc<dyn Clock>,
}

impl Decode {
    /// A decoder that fills the slots of `want`: payloads by `bytes`, rows by our own.
    pub(crate) fn new(
        bytes: Box<dyn Decoder>,
        want: &Arc<Projection>,
        metrics: Arc<NodeMetrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let builder = BatchBuilder::new(Arc::new(want.schema()));
        Self { bytes, rows: RowDecoder::new(Arc::clone(want)), builder, metrics, clock }
    }

    /// The rows of one hand-over, and between them the faults of the payloads that are none.
    pub(crate) fn decode(&mut self, raw: &RawBatch) -> (Batch, Selection) {
        let began = self.clock.monotonic_micros();
        let now = self.clock.now();
        if raw.spans.is_empty() {
            self.builder.begin(None);
            self.rows.decode(raw, &mut self.builder);
        } else {
            self.builder.begin(Some(Arc::clone(&raw.arena)));
            self.bytes.decode(raw, &mut self.builder);
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
        metrics.last_invocation.store(now.0, Relaxed);
        metrics.latency_us.store(self.clock.monotonic_micros().saturating_sub(began), Relaxed);
        if batch.n_rows > 0 {
            metrics.last_row.store(now.0, Relaxed);
        }
        (batch, rows)
    }

    /// Takes the allocations of a batch back.
    pub(crate) fn recycle(&mut self, batch: Batch) {
        self.builder.recycle(batch);
    }
}
