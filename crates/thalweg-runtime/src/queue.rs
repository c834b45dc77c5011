//! The one queue between threads: bounded, drained whole, never waited on by a shard.
//!
//! A consumer takes whatever has arrived, so there is no linger: an idle system hands over single messages at once
//! and a busy one whole batches. What a bucket holds is the bucket's business ([`Bucket`]): an arena of payloads for
//! sources, entries for batches between shards and for sinks. Signals are entries that no bound counts and that no
//! policy drops (R5.4).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_core::connector::{Offer, WhenFull};
use tokio::sync::Notify;

/// Somebody who sleeps.
pub trait Wake: Send + Sync {
    /// Ends the sleep. Cheap, and harmless when nobody sleeps.
    fn wake(&self);
}

impl Wake for Notify {
    fn wake(&self) {
        self.notify_one();
    }
}

/// Wakes nobody: for queues that are looked at by hand (the rig).
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWake;

impl Wake for NoWake {
    fn wake(&self) {}
}

/// What a queue collects between two hand-overs.
pub trait Bucket: Default + Send {
    /// Messages that count against the bound.
    fn n_messages(&self) -> usize;

    /// Bytes that count against the bound.
    fn n_bytes(&self) -> usize;

    /// Whether there is neither a message nor a signal.
    fn is_empty(&self) -> bool;

    /// Drops the oldest message, never a signal, and tells how many messages that were (0: there is none).
    fn drop_oldest(&mut self) -> usize;
}

/// The room of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Messages.
    pub messages: usize,
    /// Bytes. A single message may exceed them when the queue is empty.
    pub bytes: usize,
}

impl Bounds {
    /// Bytes that wait at most in one queue, whatever the number of messages.
    pub const BYTES: usize = 64 << 20;

    /// So many messages (at least one) within the usual number of bytes.
    pub fn messages(messages: usize) -> Self {
        Self { messages: messages.max(1), bytes: Self::BYTES }
    }
}

/// A bounded queue with one consumer.
pub struct Queue<B> {
    state: Mutex<State<B>>,
    bounds: Bounds,
    consumer: Arc<dyn Wake>,
    room: Notify,
    /// Told when it is stopped: apart from `room`, so that taking wakes nobody who only waits for the end.
    over: Notify,
    /// Mirrors the bucket's messages, so that metrics and polls take no lock.
    waiting: AtomicUsize,
    stopped: AtomicBool,
}

struct State<B> {
    bucket: B,
    is_closed: bool,
    /// Producers that found it full: they are told when it is taken.
    starved: Vec<Arc<dyn Wake>>,
}

/// What [`Queue::take`] found.
#[derive(Debug)]
pub enum Taken<B> {
    /// Everything that had arrived.
    Bucket(B),
    /// Nothing now.
    Empty,
    /// Nothing ever again: closed and empty.
    Closed,
}

impl<B: Bucket> Queue<B> {
    /// An empty queue that wakes `consumer` when something arrives after it was empty, and when it is closed.
    pub fn new(bounds: Bounds, consumer: Arc<dyn Wake>) -> Self {
        let state = State { bucket: B::default(), is_closed: false, starved: Vec::new() };
        Self {
            state: Mutex::new(state),
            bounds,
            consumer,
            room: Notify::new(),
            over: Notify::new(),
            waiting: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For putting something in, and whether nothing is there; `None` when nobody takes any more.
    fn lock_open(&self) -> Option<(MutexGuard<'_, State<B>>, bool)> {
        if self.stopped.load(Relaxed) {
            return None;
        }
        let state = self.lock();
        let was_empty = state.bucket.is_empty();
        (!state.is_closed).then_some((state, was_empty))
    }

    /// Puts a message of `bytes` bytes in. The second result is the number of older messages dropped for it.
    pub fn offer(&self, bytes: usize, when_full: WhenFull, put: impl FnOnce(&mut B)) -> (Offer, usize) {
        let Some((mut state, was_empty)) = self.lock_open() else { return (Offer::Stopped, 0) };
        let mut dropped = 0;
        while self.lacks_room(&state.bucket, bytes) {
            if when_full == WhenFull::Refuse {
                return (Offer::Full, dropped);
            }
            match state.bucket.drop_oldest() {
                0 => break,
                count => dropped += count,
            }
        }
        self.put(state, was_empty, put);
        (Offer::Accepted, dropped)
    }

    /// Puts `count` messages of `bytes` bytes in that arrived together: whole as soon as there is room for one, so that
    /// a batch is what one read returned. On a full queue as many of the oldest go as come.
    pub fn offer_all(
        &self,
        (count, bytes): (usize, usize),
        when_full: WhenFull,
        put: impl FnOnce(&mut B),
    ) -> (Offer, usize) {
        let Some((mut state, was_empty)) = self.lock_open() else { return (Offer::Stopped, 0) };
        let mut dropped = 0;
        if when_full == WhenFull::Refuse && self.lacks_room(&state.bucket, bytes) {
            return (Offer::Full, 0);
        }
        while (dropped < count && self.lacks_room(&state.bucket, 0))
            || (state.bucket.n_bytes().saturating_add(bytes) > self.bounds.bytes
                && state.bucket.n_messages() > 0)
        {
            match state.bucket.drop_oldest() {
                0 => break,
                more => dropped += more,
            }
        }
        self.put(state, was_empty, put);
        (Offer::Accepted, dropped)
    }

    /// Puts something in whatever the bound says: signals, and results of a batch that was begun while there was
    /// room. False when nobody takes any more.
    pub fn force(&self, put: impl FnOnce(&mut B)) -> bool {
        let Some((state, was_empty)) = self.lock_open() else { return false };
        self.put(state, was_empty, put);
        true
    }

    /// The bytes that wait.
    pub fn bytes(&self) -> usize {
        self.lock().bucket.n_bytes()
    }

    fn put(&self, mut state: MutexGuard<'_, State<B>>, was_empty: bool, put: impl FnOnce(&mut B)) {
        put(&mut state.bucket);
        let is_empty = state.bucket.is_empty();
        self.waiting.store(state.bucket.n_messages(), Relaxed);
        drop(state);
        if was_empty && !is_empty {
            self.consumer.wake();
        }
    }

    fn lacks_room(&self, bucket: &B, bytes: usize) -> bool {
        let messages = bucket.n_messages();
        messages >= self.bounds.messages || (messages > 0 && bucket.n_bytes() + bytes > self.bounds.bytes)
    }

    /// Takes everything that has arrived and makes room for the producers.
    pub fn take(&self) -> Taken<B> {
        let mut state = self.lock();
        if state.bucket.is_empty() {
            return if state.is_closed { Taken::Closed } else { Taken::Empty };
        }
        let bucket = std::mem::take(&mut state.bucket);
        let starved = std::mem::take(&mut state.starved);
        self.waiting.store(0, Relaxed);
        drop(state);
        self.room.notify_waiters();
        starved.iter().for_each(|producer| producer.wake());
        Taken::Bucket(bucket)
    }

    /// Whether the next offer would find no room; if so, `producer` is woken once there is some.
    pub fn is_full_for(&self, producer: &Arc<dyn Wake>) -> bool {
        if self.waiting.load(Relaxed) == 0 {
            return false;
        }
        let mut state = self.lock();
        let is_full = !state.is_closed && self.lacks_room(&state.bucket, 0);
        if is_full {
            state.starved.push(Arc::clone(producer));
        }
        is_full && !self.stopped.load(Relaxed)
    }

    /// Waits until there is room; false when the queue was stopped or closed.
    pub async fn room(&self) -> bool {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.is_over() {
                return false;
            }
            if !self.lacks_room(&self.lock().bucket, 0) {
                return true;
            }
            room.await;
        }
    }

    /// Waits until the queue was stopped.
    pub async fn stopped(&self) {
        loop {
            let over = self.over.notified();
            tokio::pin!(over);
            over.as_mut().enable();
            if self.stopped.load(Relaxed) {
                return;
            }
            over.await;
        }
    }

    fn is_over(&self) -> bool {
        self.stopped.load(Relaxed) || self.lock().is_closed
    }

    /// Wakes the producers that wait for room, because they need it no longer.
    pub fn release(&self) {
        let starved = std::mem::take(&mut self.lock().starved);
        self.room.notify_waiters();
        starved.iter().for_each(|producer| producer.wake());
    }

    /// The producer has finished; the consumer still gets what is there.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.room.notify_waiters();
        self.consumer.wake();
    }

    /// Whether [`Queue::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Producers are to stop: every later offer is refused with [`Offer::Stopped`].
    pub fn stop(&self) {
        self.stopped.store(true, Relaxed);
        self.over.notify_waiters();
        self.release();
        self.consumer.wake();
    }

    /// Whether [`Queue::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// Messages that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Its room.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }
}

/// Something that can stand in an [`Entries`] bucket.
pub trait Entry: Send {
    /// Messages that it counts for; 0: a signal, which is never dropped.
    fn weight(&self) -> usize;

    /// Bytes that it counts for.
    fn bytes(&self) -> usize;

    /// Drops the oldest of several messages; false when it holds no more than one.
    fn drop_first(&mut self) -> bool {
        false
    }
}

/// A bucket of entries in order.
#[derive(Debug)]
pub struct Entries<T> {
    /// The entries, oldest first.
    pub list: VecDeque<T>,
    messages: usize,
    bytes: usize,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { list: VecDeque::new(), messages: 0, bytes: 0 }
    }
}

impl<T: Entry> Entries<T> {
    /// Adds an entry.
    pub fn push(&mut self, entry: T) {
        self.messages += entry.weight();
        self.bytes += entry.bytes();
        self.list.push_back(entry);
    }
}

impl<T: Entry> Bucket for Entries<T> {
    fn n_messages(&self) -> usize {
        self.messages
    }

    fn n_bytes(&self) -> usize {
        self.bytes
    }

    fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn drop_oldest(&mut self) -> usize {
        let Some(oldest) = self.list.iter().position(|entry| entry.weight() > 0) else { return 0 };
        let entry = &mut self.list[oldest];
        let (messages, bytes) = (entry.weight(), entry.bytes());
        if entry.drop_first() {
            self.messages -= messages - entry.weight();
            self.bytes -= bytes - entry.bytes();
            return messages - entry.weight();
        }
        let Some(entry) = self.list.remove(oldest) else { return 0 };
        self.messages -= entry.weight();
        self.bytes -= entry.bytes();
        entry.weight()
    }
}

#[cfg(test)]
mod tests;
