//! The last stretch from something that cannot wait (an MQTT event loop, a memory topic) to a source's port.
//!
//! A message goes straight into the port while there is room. Otherwise it is parked here, and the source's own
//! future ([`Inbox::run`]) hands parked messages over as room appears, in order; nothing overtakes them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use thalweg_core::connector::{Due, Offer, Payload, RawMessage, SourcePort, WantsMeta, WhenFull};
use thalweg_core::polled::Arrivals;
use thalweg_core::time::Timestamp;
use thalweg_core::value::Fields;
use tokio::sync::Notify;

/// So many parked messages are enough for a sender that does not stop by itself.
const CROWD: usize = 1_000;
/// So many parked bytes as well.
const CROWD_BYTES: usize = 8 << 20;

/// What a message consists of.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Bytes for the stream's format.
    Bytes(Bytes),
    /// Finished rows.
    Rows(Vec<Arc<Fields>>),
}

/// A message on its way.
#[derive(Clone)]
pub(crate) struct Parcel {
    /// The message.
    pub(crate) content: Content,
    /// When it arrived.
    pub(crate) time: Timestamp,
    /// What `meta()` shows.
    pub(crate) meta: Option<Arc<Fields>>,
    /// The answer that the sender waits for.
    pub(crate) due: Option<Due>,
}

impl Parcel {
    fn message(&self) -> RawMessage<'_> {
        let payload = match &self.content {
            Content::Bytes(bytes) => Payload::Bytes(bytes),
            Content::Rows(rows) => Payload::Rows(rows.clone()),
        };
        RawMessage { payload, time: self.time, meta: self.meta.clone(), offset: None }
    }

    fn bytes(&self) -> isize {
        match &self.content {
            Content::Bytes(bytes) => bytes.len() as isize,
            Content::Rows(_) => 0,
        }
    }

    /// Offers it; the port answers the sender.
    fn offer(&self, port: &dyn SourcePort) -> Offer {
        match &self.due {
            Some(due) => port.offer_due(self.message(), due),
            None => port.offer(self.message(), WhenFull::Refuse),
        }
    }
}

/// What to do with a message for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// The port makes room by dropping its oldest one.
    DropOldest,
    /// Park it whatever it costs; the sender is known to stop by itself (withheld acknowledgements).
    Park,
    /// Park up to so many, then drop the new one, counted (S3.2).
    ParkUpTo(usize),
}

/// The receiving end of one source.
pub(crate) struct Inbox {
    port: Arc<dyn SourcePort>,
    parked: Mutex<VecDeque<Parcel>>,
    /// The length of `parked`, so that the usual case takes no lock.
    n_parked: AtomicUsize,
    parked_bytes: AtomicUsize,
    /// Readers that have stopped because it was crowded.
    waiting: Mutex<Vec<Waker>>,
    /// Nothing more comes: [`Inbox::run`] ends as soon as nothing is parked.
    is_finished: AtomicBool,
    wake: Notify,
}

impl Inbox {
    /// An inbox before this port.
    pub(crate) fn new(port: Arc<dyn SourcePort>) -> Self {
        Self {
            port,
            parked: Mutex::default(),
            n_parked: AtomicUsize::new(0),
            parked_bytes: AtomicUsize::new(0),
            waiting: Mutex::default(),
            is_finished: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// The port behind it.
    pub(crate) fn port(&self) -> &Arc<dyn SourcePort> {
        &self.port
    }

    /// Delivers a message or parks it. Never waits. One thread at a time may deliver, or order is lost.
    pub(crate) fn deliver(&self, parcel: Parcel, overflow: Overflow) {
        if overflow == Overflow::DropOldest {
            self.port.offer(parcel.message(), WhenFull::DropOldest);
            accepted(&parcel);
            return;
        }
        if self.n_parked.load(Ordering::Acquire) == 0 {
            match parcel.offer(self.port.as_ref()) {
                Offer::Accepted | Offer::Stopped => return,
                Offer::Full => {}
            }
        }
        let mut parked = self.lock();
        if matches!(overflow, Overflow::ParkUpTo(limit) if parked.len() >= limit) {
            drop(parked);
            self.port.dropped("queue_full", 1);
            return accepted(&parcel);
        }
        let bytes = parcel.bytes();
        parked.push_back(parcel);
        self.count_parked(&parked, bytes);
        drop(parked);
        self.wake.notify_one();
    }

    /// Delivers what one read brought, without answers. Messages for which there is no room are dropped as
    /// `overflow` says; only [`Overflow::Park`] leaves them to the caller. How many were taken, from the front.
    pub(crate) fn deliver_all(
        &self,
        arrivals: &Arrivals<'_>,
        overflow: Overflow,
    ) -> Result<(Offer, usize), WantsMeta> {
        if overflow == Overflow::DropOldest {
            return self.port.offer_all(arrivals, WhenFull::DropOldest);
        }
        let (offer, taken) = match self.n_parked.load(Ordering::Acquire) {
            0 => self.port.offer_all(arrivals, WhenFull::Refuse)?,
            _ => (Offer::Full, 0),
        };
        if offer == Offer::Full && overflow != Overflow::Park {
            self.port.dropped("queue_full", (arrivals.spans.len() - taken) as u64);
        }
        Ok((offer, taken))
    }

    /// Whether so much is parked that nothing more should be read for it.
    pub(crate) fn is_crowded(&self) -> bool {
        self.n_parked.load(Ordering::Acquire) >= CROWD
            || self.parked_bytes.load(Ordering::Relaxed) >= CROWD_BYTES
    }

    /// Wakes somebody, once, when it is crowded no longer; false when it is not.
    pub(crate) fn when_uncrowded(&self, waker: &Waker) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_crowded = self.is_crowded();
        if is_crowded && !waiting.iter().any(|other| other.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        is_crowded
    }

    fn count_parked(&self, parked: &VecDeque<Parcel>, bytes: isize) {
        self.n_parked.store(parked.len(), Ordering::Release);
        if bytes >= 0 {
            self.parked_bytes.fetch_add(bytes.unsigned_abs(), Ordering::Relaxed);
        } else {
            self.parked_bytes.fetch_sub(bytes.unsigned_abs(), Ordering::Relaxed);
        }
    }

    fn tell_uncrowded(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.is_empty() && !self.is_crowded() {
            waiting.drain(..).for_each(Waker::wake);
        }
    }

    /// The input has ended; what is parked is still handed over.
    pub(crate) fn finish(&self) {
        self.is_finished.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Hands parked messages over until the port stops or the input has ended.
    pub(crate) async fn run(&self) {
        loop {
            tokio::select! {
                () = self.port.stopped() => return,
                () = self.wake.notified() => {}
            }
            if !self.hand_over().await || self.is_finished.load(Ordering::Acquire) {
                return;
            }
        }
    }

    /// False when the port has stopped.
    async fn hand_over(&self) -> bool {
        loop {
            let Some(parcel) = self.lock().front().cloned() else {
                return true;
            };
            match parcel.offer(self.port.as_ref()) {
                Offer::Stopped => return false,
                Offer::Full => {
                    if !self.port.room().await {
                        return false;
                    }
                }
                Offer::Accepted => {
                    let mut parked = self.lock();
                    let bytes = parked.pop_front().map_or(0, |parcel| parcel.bytes());
                    self.count_parked(&parked, -bytes);
                    drop(parked);
                    self.tell_uncrowded();
                }
            }
        }
    }

    /// Takes what was parked and will not be handed over any more.
    pub(crate) fn abandon(&self) -> Vec<Parcel> {
        let mut parked = self.lock();
        self.n_parked.store(0, Ordering::Release);
        self.parked_bytes.store(0, Ordering::Relaxed);
        let left = parked.drain(..).collect();
        drop(parked);
        self.tell_uncrowded();
        left
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Parcel>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accepted(parcel: &Parcel) {
    if let Some(due) = &parcel.due {
        due.receipt.accepted();
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::connector::Receipt;

    use super::*;
    use crate::testing::TestPort;

    struct Count(AtomicUsize);

    impl Receipt for Count {
        fn accepted(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn parcel(text: &'static str, receipt: &Arc<Count>) -> Parcel {
        let receipt: Arc<dyn Receipt> = Arc::<Count>::clone(receipt);
        let content = Content::Bytes(Bytes::from_static(text.as_bytes()));
        let due = Due { receipt, identity: 0, again: false };
        Parcel { content, time: Timestamp(1), meta: None, due: Some(due) }
    }

    #[tokio::test]
    async fn parked_messages_keep_their_order_and_are_receipted_when_there_is_room() {
        let port = TestPort::with_capacity(1);
        let inbox = Arc::new(Inbox::new(Arc::<TestPort>::clone(&port)));
        let count = Arc::new(Count(AtomicUsize::new(0)));
        for text in ["a", "b", "c"] {
            inbox.deliver(parcel(text, &count), Overflow::Park);
        }
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        let runner = Arc::clone(&inbox);
        let task = tokio::spawn(async move { runner.run().await });
        assert_eq!(port.next_text().await, "a");
        assert_eq!(port.next_text().await, "b");
        assert_eq!(port.next_text().await, "c");
        assert_eq!(count.0.load(Ordering::SeqCst), 3);
        port.stop();
        task.await.unwrap();
    }

    #[test]
    fn beyond_the_limit_the_new_message_is_dropped_and_counted() {
        let port = TestPort::with_capacity(1);
        let inbox = Inbox::new(Arc::<TestPort>::clone(&port));
        let count = Arc::new(Count(AtomicUsize::new(0)));
        for text in ["a", "b", "c"] {
            inbox.deliver(parcel(text, &count), Overflow::ParkUpTo(1));
        }
        assert_eq!(port.drops(), [("queue_full", 1)]);
        assert_eq!(inbox.abandon().len(), 1);
    }
}
