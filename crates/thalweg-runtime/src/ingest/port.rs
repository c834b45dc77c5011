//! The runtime's side of a source.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use thalweg_core::connector::{ConnectionStatus, Offer, RawMessage, SourcePort, WhenFull};
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::time::BoxFuture;
use thalweg_core::{Clock, Value};

use super::raw::{RawBucket, size_of};
use crate::queue::{Bounds, Queue, Wake};

/// The inlet of a stream: its queue and what the source and the shard tell each other.
pub(crate) struct Inlet {
    pub queue: Queue<RawBucket>,
    pub metrics: Arc<NodeMetrics>,
    clock: Arc<dyn Clock>,
    wants_meta: bool,
    resume: Option<Value>,
    committed: Mutex<Option<Value>>,
}

impl Inlet {
    pub(crate) fn new(
        capacity: usize,
        consumer: Arc<dyn Wake>,
        clock: Arc<dyn Clock>,
        wants_meta: bool,
        resume: Option<Value>,
    ) -> Arc<Self> {
        let metrics = Arc::new(NodeMetrics::default());
        let bounds = Bounds::messages(capacity);
        metrics.buffer_capacity.store(bounds.messages as u64, Relaxed);
        let queue = Queue::new(bounds, consumer);
        Arc::new(Self { queue, metrics, clock, wants_meta, resume, committed: Mutex::default() })
    }

    /// What is older than this offset is durable.
    pub(crate) fn commit(&self, offset: Value) {
        *self.committed.lock().unwrap_or_else(PoisonError::into_inner) = Some(offset);
    }
}

impl SourcePort for Inlet {
    fn offer(&self, message: RawMessage<'_>, when_full: WhenFull) -> Offer {
        let size = size_of(&message.payload);
        if size as u64 >= 1 << 31 {
            self.dropped("too_large", 1);
            return Offer::Accepted;
        }
        let (offer, dropped) = self.queue.offer(size, when_full, |bucket| bucket.push(message));
        self.metrics.buffer.store(self.queue.waiting() as u64, Relaxed);
        if dropped > 0 {
            self.metrics.dropped("queue_full", dropped as u64);
            self.metrics.exception("buffer full, oldest message dropped", self.clock.now());
        }
        offer
    }

    fn room(&self) -> BoxFuture<'_, bool> {
        Box::pin(self.queue.room())
    }

    fn stopped(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.queue.stopped())
    }

    fn wants_meta(&self) -> bool {
        self.wants_meta
    }

    fn status(&self, status: ConnectionStatus) {
        if let ConnectionStatus::Disconnected(why) = &status {
            // R5.13: a lost connection is an error that is counted, once.
            let was = self.metrics.rare().connection.map(|connection| connection.status);
            if was.as_ref() != Some(&status) {
                self.metrics.exception(&format!("disconnected: {why}"), self.clock.now());
            }
        }
        self.metrics.connection(status, self.clock.now());
    }

    fn fault(&self, message: &str) {
        self.metrics.exception(message, self.clock.now());
    }

    fn dropped(&self, cause: &'static str, count: u64) {
        self.metrics.dropped(cause, count);
    }

    fn resume_from(&self) -> Option<Value> {
        self.resume.clone()
    }

    fn committed(&self) -> Option<Value> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
