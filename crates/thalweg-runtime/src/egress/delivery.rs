//! Between a rule and its sink: the bounded queue, and the task that writes until everything is out.
//!
//! While the sink is down the queue is its cache: the oldest messages go when it is full, counted (`cache_full`).
//! While it is merely slow, a full queue pushes back to the source, or drops the oldest of a rule that reads a shared
//! stream, counted (`queue_full`; `contracts.md` 4).
//!
//! Of a rule with checkpoints it also keeps what has not left yet, so that a snapshot can hold it.

use std::collections::VecDeque;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use thalweg_core::connector::{ConnectionStatus, Sink, SinkPayload, SinkPort};
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::polled::{DirectSink, Poller};
use thalweg_core::{Clock, IoError, Retry, Timestamp};
use tokio::sync::Notify;

use super::frames::{Frames, Parcel, Slice};
use super::options::SinkOptions;
use crate::queue::{Bounds, Bucket, Entries, Entry, Queue, Taken, Wake};

impl Entry for SinkPayload {
    fn weight(&self) -> usize {
        1
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Bytes { payload, .. } => payload.len(),
            Self::Rows { rows, .. } => rows.iter().map(|row| 64 * row.len().max(1)).sum(),
        }
    }
}

/// The queue of one sink.
pub(crate) struct Delivery {
    /// Not there for a sink that swallows everything.
    line: Option<Box<Line>>,
    metrics: Arc<NodeMetrics>,
    /// Drop the oldest instead of pushing back.
    may_drop: bool,
    /// The sink swallows everything: messages are counted and go nowhere.
    swallows: bool,
    is_down: AtomicBool,
    cache_length: usize,
    retry: bool,
    resend_interval: i64,
    /// Messages handed in and messages settled: out, or given up.
    pushed: AtomicU64,
    settled: AtomicU64,
    keeping: Option<Box<Keeping>>,
    /// The way round the queue, while it is empty.
    direct: OnceLock<Arc<dyn DirectSink>>,
}

/// Where messages wait, and who is told of them.
struct Line {
    queue: Queue<Entries<Parcel>>,
    ready: Arc<Notify>,
}

impl Line {
    fn new(bounds: Bounds) -> Box<Self> {
        let ready = Arc::new(Notify::new());
        Box::new(Self { queue: Queue::new(bounds, Arc::clone(&ready) as Arc<dyn Wake>), ready })
    }
}

/// What has not left yet, for checkpoints.
struct Keeping {
    list: Mutex<Unsettled>,
    /// Told when something has left.
    settled: Arc<Notify>,
}

#[derive(Default)]
struct Unsettled {
    /// The number of the last message handed in; the first is 1.
    last: u64,
    /// Ascending. What the sink has in its hands stands before what is in the queue.
    list: VecDeque<(u64, SinkPayload)>,
}

impl Keeping {
    fn lock(&self) -> MutexGuard<'_, Unsettled> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delivery {
    /// `settled`, given for rules with checkpoints, is told when messages have left.
    pub(crate) fn new(
        options: &SinkOptions,
        (may_drop, swallows): (bool, bool),
        settled: Option<&Arc<Notify>>,
    ) -> Arc<Self> {
        let metrics = Arc::new(NodeMetrics::default());
        let line = (!swallows).then(|| {
            let bounds = Bounds::messages(options.buffer_length);
            metrics.buffer_capacity.store(bounds.messages as u64, Relaxed);
            Line::new(bounds)
        });
        Arc::new(Self {
            line,
            metrics,
            may_drop,
            swallows,
            is_down: AtomicBool::new(false),
            cache_length: options.cache_length.max(1),
            retry: options.retry,
            resend_interval: options.resend_interval,
            pushed: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            keeping: settled
                .map(|settled| Box::new(Keeping { list: Mutex::default(), settled: Arc::clone(settled) })),
            direct: OnceLock::new(),
        })
    }

    /// Lets messages go round the queue.
    pub(crate) fn direct(&self, sink: Arc<dyn DirectSink>) {
        self.direct.get_or_init(|| sink);
    }

    /// Writes the messages that stand at `spans` (start and end) straight to the sink, unless others are still before
    /// them, and tells how many are out. The thread that pushes is the only one that may call this.
    pub(crate) fn write_direct(&self, bytes: &[u8], spans: &[(u32, u32)], now: Timestamp) -> usize {
        let Some(sink) = self.direct.get() else { return 0 };
        // The sink's task has nothing in its hands, so its counters are ours.
        let is_stopped = self.line.as_ref().is_none_or(|line| line.queue.is_stopped());
        if self.settled.load(Acquire) != self.pushed.load(Relaxed) || is_stopped {
            return 0;
        }
        let count = sink.write(bytes, spans, self.is_keeping()) as u64;
        if count > 0 {
            if let Some(keeping) = &self.keeping {
                keeping.lock().last += count;
            }
            self.pushed.fetch_add(count, Relaxed);
            self.taken(count, now);
            self.settle(count, count, now);
        }
        count as usize
    }

    pub(crate) fn metrics(&self) -> &Arc<NodeMetrics> {
        &self.metrics
    }

    /// The bytes that wait for the sink.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.line.as_ref().map_or(0, |line| line.queue.bytes())
    }

    /// Its own bytes.
    pub(crate) fn memory(&self) -> usize {
        let line = self.line.as_ref().map_or(0, |_| size_of::<Line>() + size_of::<Notify>());
        size_of::<Self>() + line + self.metrics.memory()
    }

    /// Whether what has not left yet is kept for checkpoints.
    pub(crate) fn is_keeping(&self) -> bool {
        self.keeping.is_some()
    }

    /// Whether messages go nowhere.
    pub(crate) fn swallows(&self) -> bool {
        self.swallows
    }

    fn swallow(&self, count: u64, now: Timestamp) {
        self.pushed.fetch_add(count, Relaxed);
        self.taken(count, now);
        self.settle(count, count, now);
    }

    /// Hands the messages of some rows over, which the rule has counted. Never waits.
    pub(crate) fn push_slice(
        &self,
        frames: &Arc<Frames>,
        (rows, count): (&[u64], usize),
        spans: &mut Vec<(u32, u32)>,
        now: Timestamp,
    ) {
        if self.swallows {
            return;
        }
        let mut written = 0;
        if self.direct.get().is_some()
            && let Some(bytes) = frames.find(rows, spans)
        {
            written = self.write_direct(bytes, spans, now);
        }
        if written < count {
            let rest = Slice::new(frames, rows, count).behind(written);
            self.push_parcels(std::iter::once(Parcel::Slice(rest)), now);
        }
    }

    /// Hands messages over. Never waits.
    pub(crate) fn push(&self, payloads: impl Iterator<Item = SinkPayload>, now: Timestamp) {
        if self.swallows {
            return self.swallow(payloads.count() as u64, now);
        }
        self.push_parcels(payloads.map(Parcel::One), now);
    }

    fn push_parcels(&self, parcels: impl Iterator<Item = Parcel>, now: Timestamp) {
        let Some(Line { queue, .. }) = self.line.as_deref() else { return };
        let (bound, cause) = match (self.is_down.load(Relaxed), self.may_drop) {
            (true, _) => (self.cache_length, "cache_full"),
            (false, true) => (queue.bounds().messages, "queue_full"),
            (false, false) => (usize::MAX, ""),
        };
        let (mut pushed, mut dropped) = (0, 0);
        queue.force(|bucket| {
            let mut kept = self.keeping.as_deref().map(Keeping::lock);
            for parcel in parcels {
                if let (Some(kept), Parcel::One(payload)) = (&mut kept, &parcel) {
                    kept.last += 1;
                    let number = kept.last;
                    kept.list.push_back((number, payload.clone()));
                }
                pushed += parcel.weight() as u64;
                bucket.push(parcel);
            }
            while bucket.n_messages() > bound {
                if let Some(kept) = &mut kept {
                    let in_hand = kept.list.len().saturating_sub(bucket.n_messages());
                    kept.list.remove(in_hand);
                }
                dropped += bucket.drop_oldest() as u64;
            }
        });
        self.pushed.fetch_add(pushed, Relaxed);
        self.metrics.buffer.store(queue.waiting() as u64, Relaxed);
        if dropped > 0 {
            self.settled.fetch_add(dropped, Relaxed);
            self.metrics.dropped(cause, dropped);
            self.metrics.exception(&format!("buffer full, {dropped} oldest messages dropped"), now);
        }
    }

    /// Whether the rule's streams have to pause; `producer` is woken when they need no longer.
    pub(crate) fn pushes_back(&self, producer: &Arc<dyn Wake>) -> bool {
        let is_full = || self.line.as_ref().is_some_and(|line| line.queue.is_full_for(producer));
        !self.may_drop && !self.is_down.load(Relaxed) && is_full()
    }

    /// No more messages will come; the task ends when all are out.
    pub(crate) fn close(&self) {
        if let Some(line) = &self.line {
            line.queue.close();
        }
    }

    /// The rule has ended and nobody writes any more: what has not left is lost, and counted.
    pub(crate) fn give_up(&self, now: Timestamp) -> u64 {
        let left = self.pushed.load(Relaxed).saturating_sub(self.settled.load(Relaxed));
        if left > 0 {
            self.settled.fetch_add(left, Relaxed);
            self.metrics.dropped("send", left);
            self.metrics.exception(&format!("rule stopped, {left} messages were not sent"), now);
        }
        left
    }

    /// The number of the last message handed in, and what has not left, oldest first.
    pub(crate) fn unsettled(&self) -> (u64, Vec<(u64, SinkPayload)>) {
        let kept = self.keeping.as_deref().map(Keeping::lock);
        kept.map_or((0, Vec::new()), |kept| (kept.last, kept.list.iter().cloned().collect()))
    }

    /// The number of the oldest message that has not left, or of the next one.
    pub(crate) fn first_unsettled(&self) -> u64 {
        let kept = self.keeping.as_deref().map(Keeping::lock);
        kept.map_or(u64::MAX, |kept| kept.list.front().map_or(kept.last + 1, |(number, _)| *number))
    }

    /// Whether the sink cannot be reached, so that waiting for it is vain.
    pub(crate) fn is_down(&self) -> bool {
        self.is_down.load(Relaxed)
    }

    /// Takes everything, as a sink that is never slow would.
    pub(crate) fn drain(&self, now: Timestamp) -> Vec<SinkPayload> {
        let taken = self.line.as_ref().map(|line| line.queue.take());
        let Some(Taken::Bucket(entries)) = taken else { return Vec::new() };
        let list = unpack(entries);
        self.taken(list.len() as u64, now);
        self.settle(list.len() as u64, list.len() as u64, now);
        list
    }

    fn taken(&self, count: u64, now: Timestamp) {
        NodeMetrics::add(&self.metrics.records_in, count);
        if let Some(line) = &self.line {
            self.metrics.buffer.store(line.queue.waiting() as u64, Relaxed);
        }
        self.metrics.last_invocation.store(now.0, Relaxed);
    }

    fn settle(&self, count: u64, sent: u64, now: Timestamp) {
        NodeMetrics::add(&self.metrics.processed, count);
        if let Some(keeping) = &self.keeping {
            let mut kept = keeping.lock();
            let count = kept.list.len().min(count as usize);
            kept.list.drain(..count);
            drop(kept);
            keeping.settled.notify_one();
        }
        if sent > 0 {
            NodeMetrics::add(&self.metrics.records_out, sent);
            self.metrics.last_row.store(now.0, Relaxed);
        }
        // Last, because from here on messages may go round the queue.
        self.settled.fetch_add(count, Release);
    }

    /// Runs a sink until the queue is closed and empty.
    ///
    /// # Errors
    /// The sink cannot be opened and never will be (R5.12).
    pub(crate) async fn run(
        self: Arc<Self>,
        mut sink: Box<dyn Sink>,
        clock: Arc<dyn Clock>,
        poller: Option<Arc<dyn Poller>>,
    ) -> Result<(), IoError> {
        let Some(line) = &self.line else { return Ok(()) };
        let port = Arc::new(Port { metrics: Arc::clone(&self.metrics), clock: Arc::clone(&clock), poller });
        let mut pause = Backoff::new(self.resend_interval);
        while let Err(error) = sink.open(Arc::clone(&port) as Arc<dyn SinkPort>).await {
            self.metrics.exception(&error.message, clock.now());
            if error.retry == Retry::Permanent {
                line.queue.stop();
                return Err(error);
            }
            self.is_down.store(self.retry, Relaxed);
            pause.sleep().await;
        }
        self.is_down.store(false, Relaxed);
        if let Some(direct) = sink.direct() {
            self.direct(direct);
        }
        loop {
            match line.queue.take() {
                Taken::Bucket(entries) => {
                    let list = unpack(entries);
                    self.taken(list.len() as u64, clock.now());
                    self.write_all(sink.as_mut(), &list, clock.as_ref()).await;
                }
                Taken::Empty => line.ready.notified().await,
                Taken::Closed => break,
            }
        }
        if let Err(error) = sink.close().await {
            tracing::warn!(error = %error, "sink did not close");
        }
        Ok(())
    }

    async fn write_all(&self, sink: &mut dyn Sink, list: &[SinkPayload], clock: &dyn Clock) {
        let mut pause = Backoff::new(self.resend_interval);
        let mut at = 0;
        while at < list.len() {
            let began = clock.monotonic_micros();
            let written = sink.write(&list[at..]).await;
            self.metrics.took(clock.monotonic_micros().saturating_sub(began));
            let accepted = written.accepted.min(list.len() - at);
            at += accepted;
            self.settle(accepted as u64, accepted as u64, clock.now());
            let Some(error) = written.error else {
                self.is_down.store(false, Relaxed);
                if accepted == 0 {
                    // A sink that neither takes nor fails must not spin.
                    pause.sleep().await;
                }
                continue;
            };
            self.metrics.exception(&error.message, clock.now());
            if error.retry == Retry::Transient && self.retry {
                self.is_down.store(true, Relaxed);
                if let Some(line) = &self.line {
                    line.queue.release();
                }
                if accepted > 0 {
                    pause = Backoff::new(self.resend_interval);
                }
                pause.sleep().await;
            } else if at < list.len() {
                at += 1;
                self.metrics.dropped("send", 1);
                self.settle(1, 0, clock.now());
            }
        }
    }
}

fn unpack(entries: Entries<Parcel>) -> Vec<SinkPayload> {
    let mut list = Vec::with_capacity(entries.n_messages());
    entries.list.into_iter().for_each(|parcel| parcel.unpack(&mut list));
    list
}

/// Growing pauses between tries.
pub(crate) struct Backoff {
    next: Duration,
    is_fixed: bool,
}

impl Backoff {
    const LONGEST: Duration = Duration::from_secs(10);

    /// Pauses of `fixed` milliseconds, or growing ones from 100 ms (K5.1) when that is 0.
    pub(crate) fn new(fixed: i64) -> Self {
        let millis = if fixed > 0 { fixed as u64 } else { 100 };
        Self { next: Duration::from_millis(millis), is_fixed: fixed > 0 }
    }

    /// The next pause.
    pub(crate) fn step(&mut self) -> Duration {
        let pause = self.next;
        if !self.is_fixed {
            self.next = (pause * 2).min(Self::LONGEST);
        }
        pause
    }

    pub(crate) async fn sleep(&mut self) {
        tokio::time::sleep(self.step()).await;
    }
}

struct Port {
    metrics: Arc<NodeMetrics>,
    clock: Arc<dyn Clock>,
    poller: Option<Arc<dyn Poller>>,
}

impl SinkPort for Port {
    fn status(&self, status: ConnectionStatus) {
        self.metrics.connection(status, self.clock.now());
    }

    fn poller(&self) -> Option<Arc<dyn Poller>> {
        self.poller.clone()
    }
}
