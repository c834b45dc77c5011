//! The runtime's side of a source.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use thalweg_core::connector::{
    ConnectionStatus, Due, Offer, Payload, RawMessage, RowArrivals, SourcePort, WantsMeta, WhenFull,
};
use thalweg_core::format::RawBatch;
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::polled::{Arrivals, Poller};
use thalweg_core::time::BoxFuture;
use thalweg_core::{Clock, Value};
use tokio::sync::Notify;

use super::ledger::Ledger;
use super::raw::{RawBucket, size_of, size_of_row};
use crate::checkpoint::Urge;
use crate::queue::{Bounds, Bucket, Queue, Wake};
use crate::shard::inbox::Key;

/// The inlet of a stream: its queue and what the source and the shard tell each other.
pub(crate) struct Inlet {
    pub queue: Queue<RawBucket>,
    pub metrics: Arc<NodeMetrics>,
    clock: Arc<dyn Clock>,
    /// Whether a rule asks for metadata, or one that does may come.
    may_want_meta: bool,
    /// Whether one does.
    wants_meta: AtomicBool,
    /// Where a source that is built anew goes on: behind what was accepted.
    resume: Mutex<Option<Value>>,
    committed: Mutex<Option<Value>>,
    ledger: Mutex<Ledger>,
    /// Told when messages were answered, or will not be.
    answered: Notify,
    is_abandoned: AtomicBool,
    is_parting: AtomicBool,
    /// Whether a rule of `qos` 1 or 2 has ever read it.
    was_joined: AtomicBool,
    /// Where its source may wait for sockets.
    poller: OnceLock<Arc<dyn Poller>>,
    /// The allocations of a batch that is through, for what the next read brings.
    spare: Mutex<Option<RawBatch>>,
}

impl Inlet {
    pub(crate) fn new(
        capacity: usize,
        consumer: Arc<dyn Wake>,
        clock: Arc<dyn Clock>,
        (may_want_meta, wants_meta): (bool, bool),
        resume: Option<Value>,
    ) -> Arc<Self> {
        let metrics = Arc::new(NodeMetrics::default());
        let bounds = Bounds::messages(capacity);
        metrics.buffer_capacity.store(bounds.messages as u64, Relaxed);
        let queue = Queue::new(bounds, consumer);
        Arc::new(Self {
            queue,
            metrics,
            clock,
            may_want_meta,
            wants_meta: AtomicBool::new(wants_meta),
            resume: Mutex::new(resume),
            committed: Mutex::default(),
            ledger: Mutex::default(),
            answered: Notify::new(),
            is_abandoned: AtomicBool::new(false),
            is_parting: AtomicBool::new(false),
            was_joined: AtomicBool::new(false),
            poller: OnceLock::new(),
            spare: Mutex::default(),
        })
    }

    /// A rule that asks for metadata is going to read the stream; false when one does already. What is offered from now
    /// on has metadata, but not what waits.
    pub(crate) fn want_meta(&self) -> bool {
        !self.wants_meta.swap(true, Relaxed)
    }

    /// Lets its source wait for sockets on this thread.
    pub(crate) fn polled_by(&self, poller: Arc<dyn Poller>) {
        self.poller.get_or_init(|| poller);
    }

    fn spare(&self) -> MutexGuard<'_, Option<RawBatch>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the allocations of a batch that is through back.
    pub(crate) fn reuse(&self, raw: RawBatch) {
        if !raw.spans.is_empty() {
            *self.spare() = Some(raw);
        }
    }

    /// A message with this offset was accepted.
    fn advance(&self, offset: Option<Value>) {
        if offset.is_some() {
            *self.resume.lock().unwrap_or_else(PoisonError::into_inner) = offset;
        }
    }

    fn count_full(&self, dropped: usize) {
        self.metrics.buffer.store(self.queue.waiting() as u64, Relaxed);
        if dropped > 0 {
            self.metrics.dropped("queue_full", dropped as u64);
            self.metrics.exception("buffer full, oldest message dropped", self.clock.now());
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A rule of `qos` 1 or 2 reads the stream from now on.
    pub(crate) fn join(&self, urge: Urge) {
        self.was_joined.store(true, Relaxed);
        self.ledger().join(urge);
    }

    /// Tells such a rule again that messages wait for it.
    pub(crate) fn remind(&self, rule: Key) {
        self.ledger().remind(rule);
    }

    /// Such a rule reads it no longer.
    pub(crate) fn leave(&self, rule: Key) {
        let due = self.ledger().leave(rule);
        self.answer(due);
    }

    /// A rule has everything up to this message in a checkpoint.
    pub(crate) fn settle(&self, rule: Key, upto: u64) {
        let due = self.ledger().settle(rule, upto);
        self.answer(due);
    }

    /// The identities of messages up to this one that may come again although a checkpoint holds them.
    pub(crate) fn identities(&self, upto: u64) -> Vec<u64> {
        self.ledger().identities(upto).collect()
    }

    /// Nothing that waits for an answer will get one.
    pub(crate) fn abandon(&self) {
        self.is_abandoned.store(true, Relaxed);
        self.answered.notify_waiters();
    }

    /// The rule or stream will never come back.
    pub(crate) fn part(&self) {
        self.is_parting.store(true, Relaxed);
    }

    fn answer(&self, due: Vec<Due>) {
        due.iter().for_each(|due| due.receipt.accepted());
        self.answered.notify_waiters();
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
        let offset = message.offset.clone();
        let put = |bucket: &mut RawBucket| {
            if bucket.is_empty() && matches!(message.payload, Payload::Bytes(_)) {
                self.spare().take().into_iter().for_each(|spare| bucket.refit(spare));
            }
            bucket.push(message);
        };
        let (offer, dropped) = self.queue.offer(size, when_full, put);
        self.count_full(dropped);
        if offer == Offer::Accepted {
            self.advance(offset);
        }
        offer
    }

    fn offer_rows(&self, arrivals: &RowArrivals, when_full: WhenFull) -> (Offer, usize) {
        let count = arrivals.rows.len();
        if count == 0 {
            return (Offer::Accepted, 0);
        }
        let size = arrivals.rows.iter().map(size_of_row).sum();
        let put = |bucket: &mut RawBucket| {
            for (index, row) in arrivals.rows.iter().enumerate() {
                let offset = arrivals.offset.clone().filter(|_| index + 1 == count);
                let meta = arrivals.meta.get(index).cloned().flatten();
                let payload = Payload::Rows(vec![Arc::clone(row)]);
                bucket.push(RawMessage { payload, time: arrivals.time, meta, offset });
            }
        };
        let (offer, dropped) = self.queue.offer_all((count, size), when_full, put);
        self.count_full(dropped);
        if offer != Offer::Accepted {
            return (offer, 0);
        }
        self.advance(arrivals.offset.clone());
        (offer, count)
    }

    fn offer_all(&self, arrivals: &Arrivals<'_>, when_full: WhenFull) -> Result<(Offer, usize), WantsMeta> {
        let size = (arrivals.spans.len(), arrivals.size());
        let mut is_refused = false;
        let put = |bucket: &mut RawBucket| {
            // Asked under the queue's lock: what came in before is through when the rule that asks joins the stream.
            is_refused = arrivals.meta.is_empty() && !self.takes_bare();
            if is_refused {
                return;
            }
            if bucket.is_empty() {
                self.spare().take().into_iter().for_each(|spare| bucket.refit(spare));
            }
            bucket.push_all(arrivals);
        };
        let (offer, dropped) = self.queue.offer_all(size, when_full, put);
        self.count_full(dropped);
        match offer {
            _ if is_refused => Err(WantsMeta),
            Offer::Accepted => Ok((offer, size.0)),
            _ => Ok((offer, 0)),
        }
    }

    fn answers_at_once(&self) -> bool {
        self.ledger().is_idle()
    }

    fn poller(&self) -> Option<Arc<dyn Poller>> {
        self.poller.get().map(Arc::clone)
    }

    fn offer_due(&self, message: RawMessage<'_>, due: &Due) -> Offer {
        let mut ledger = self.ledger();
        if ledger.is_idle() {
            drop(ledger);
            let offer = self.offer(message, WhenFull::Refuse);
            if offer == Offer::Accepted {
                due.receipt.accepted();
            }
            return offer;
        }
        let size = size_of(&message.payload);
        if size as u64 >= 1 << 31 {
            drop(ledger);
            self.dropped("too_large", 1);
            due.receipt.accepted();
            return Offer::Accepted;
        }
        let (number, again) = (ledger.next(), due.again.then_some(due.identity));
        let (offer, _) =
            self.queue.offer(size, WhenFull::Refuse, |bucket| bucket.push_due(message, number, again));
        if offer == Offer::Accepted {
            ledger.push(due.clone());
        }
        drop(ledger);
        self.metrics.buffer.store(self.queue.waiting() as u64, Relaxed);
        offer
    }

    fn answered(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            loop {
                let answered = self.answered.notified();
                tokio::pin!(answered);
                answered.as_mut().enable();
                if self.is_abandoned.load(Relaxed) || self.ledger().is_empty() {
                    return;
                }
                answered.await;
            }
        })
    }

    fn n_unanswered(&self) -> usize {
        self.ledger().len()
    }

    fn release(&self) {
        let due = self.ledger().release();
        self.answer(due);
    }

    fn is_parting(&self) -> bool {
        self.is_parting.load(Relaxed) || !self.was_joined.load(Relaxed)
    }

    fn room(&self) -> BoxFuture<'_, bool> {
        Box::pin(self.queue.room())
    }

    fn stopped(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.queue.stopped())
    }

    fn wants_meta(&self) -> bool {
        self.may_want_meta
    }

    fn takes_bare(&self) -> bool {
        !self.wants_meta.load(Relaxed)
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
        self.resume.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn committed(&self) -> Option<Value> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::{Fields, ManualClock, Timestamp};

    use super::*;
    use crate::queue::{NoWake, Taken};

    #[test]
    fn what_one_read_brought_is_taken_whole_whatever_the_bound_also_with_metadata() {
        let (bytes, spans) = ([b'x'; 5_600], (0..5_600).map(|at| (at, 1)).collect::<Vec<_>>());
        let meta: Vec<_> = (0..5_600)
            .map(|number| Arc::new(Fields::from([(Arc::from("messageId"), Value::Int(number))])))
            .collect();
        for asks in [false, true] {
            let clock = ManualClock::at(Timestamp(0));
            let inlet = Inlet::new(1_024, Arc::new(NoWake), clock, (asks, asks), None);
            let bare = Arrivals { bytes: &bytes, spans: &spans, meta: &[], time: Timestamp(0) };
            if asks {
                assert_eq!(inlet.offer_all(&bare, WhenFull::DropOldest), Err(WantsMeta));
            }
            let arrivals = if asks { Arrivals { meta: &meta, ..bare } } else { bare };
            assert_eq!(inlet.offer_all(&arrivals, WhenFull::DropOldest), Ok((Offer::Accepted, 5_600)));
            assert!(inlet.metrics.rare().dropped.is_empty());
            let Taken::Bucket(bucket) = inlet.queue.take() else { panic!("nothing there") };
            let raw = bucket.into_batches().next().unwrap();
            let want: Vec<_> = if asks { meta.iter().cloned().map(Some).collect() } else { Vec::new() };
            assert_eq!((raw.len(), &raw.meta), (5_600, &want));
        }
    }

    #[test]
    fn rows_that_arrived_together_stand_in_one_batch_with_the_offset_behind_them() {
        let clock = ManualClock::at(Timestamp(0));
        let inlet = Inlet::new(2, Arc::new(NoWake), clock, (true, true), Some(Value::Int(1)));
        let row = |number| Arc::new(Fields::from([(Arc::from("a"), Value::Int(number))]));
        let arrivals = |numbers: std::ops::Range<i64>, offset| RowArrivals {
            rows: numbers.map(row).collect(),
            meta: vec![Some(row(7))],
            time: Timestamp(5),
            offset: Some(Value::Int(offset)),
        };
        assert_eq!(inlet.resume_from(), Some(Value::Int(1)));
        assert_eq!(inlet.offer_rows(&arrivals(0..5, 40), WhenFull::Refuse), (Offer::Accepted, 5));
        assert_eq!(inlet.offer_rows(&arrivals(5..6, 50), WhenFull::Refuse), (Offer::Full, 0));
        assert_eq!(inlet.resume_from(), Some(Value::Int(40)), "what was refused does not count");
        let Taken::Bucket(bucket) = inlet.queue.take() else { panic!("nothing there") };
        let raw: Vec<_> = bucket.into_batches().collect();
        assert_eq!((raw.len(), raw[0].len(), &raw[0].mark.offset), (1, 5, &Some(Value::Int(40))));
        assert_eq!((&raw[0].meta[0], &raw[0].meta[1..]), (&Some(row(7)), &[None, None, None, None][..]));
    }
}
