//! What arrives at one connection: handed to everybody who listens, answered when all of them have it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_core::connector::{Due, Offer, Receipt, WantsMeta};
use thalweg_core::polled::Arrivals;
use thalweg_core::time::Clock;

use super::meta;
use super::routes::{Receiver, Routes, audience};
use super::wire::{Message, Remote};
use crate::inbox::{Content, Overflow, Parcel};

/// Answered messages that are remembered: more than any usual window of a broker.
const REMEMBERED: usize = 1_024;

/// The incoming half of a connection.
pub(super) struct Intake {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) routes: Arc<Routes>,
    remote: Remote,
    receipts: Mutex<Receipts>,
    /// Who the other side is, where ids of several are to be told apart.
    sender: u64,
    /// Which part of a split stream its messages go to.
    pub(super) lane: u32,
}

#[derive(Default)]
struct Receipts {
    /// Counts connections; acknowledgements of an older one are void.
    epoch: u64,
    is_connected: bool,
    /// QoS 2 messages that the other side has not released; a redelivery of them is not a new message.
    unreleased: HashMap<u16, Arc<Ack>>,
    /// QoS 1 messages that are not answered.
    unanswered: HashMap<u16, Arc<Ack>>,
    /// Identities of QoS 1 messages that were answered; the answers may have been lost with the connection.
    answered: VecDeque<u64>,
}

/// Acknowledges a message when its last receiver has it.
struct Ack {
    intake: Arc<Intake>,
    qos: u8,
    pkid: u16,
    identity: u64,
    state: Mutex<AckState>,
}

struct AckState {
    epoch: u64,
    n_open: usize,
}

impl Receipt for Ack {
    fn accepted(&self) {
        let mut state = self.lock();
        state.n_open = state.n_open.saturating_sub(1);
        if state.n_open == 0 {
            self.intake.acknowledge(state.epoch, self);
        }
    }
}

impl Ack {
    fn lock(&self) -> MutexGuard<'_, AckState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The other side has sent the message again after a reconnect: it wants its answer on the new connection.
    fn renew(&self, epoch: u64) {
        let mut state = self.lock();
        state.epoch = epoch;
        if state.n_open == 0 {
            self.intake.acknowledge(epoch, self);
        }
    }
}

impl Intake {
    /// One that has received nothing yet.
    pub(super) fn new(clock: Arc<dyn Clock>, routes: Arc<Routes>, remote: Remote, sender: u64) -> Self {
        Self { clock, routes, remote, receipts: Mutex::default(), sender, lane: 0 }
    }

    /// The same for one of many senders, over whom split streams are spread.
    pub(super) fn in_lane(self, lane: u32) -> Self {
        Self { lane, ..self }
    }

    fn lock(&self) -> MutexGuard<'_, Receipts> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection stands. Without a session what the other side waits for is forgotten on both sides.
    pub(super) fn opened(&self, session_present: bool) {
        let mut receipts = self.lock();
        receipts.epoch += 1;
        receipts.is_connected = true;
        if !session_present {
            receipts.unreleased.clear();
            receipts.unanswered.clear();
            receipts.answered.clear();
        }
    }

    /// It is lost.
    pub(super) fn closed(&self) {
        self.lock().is_connected = false;
    }

    /// The other side will not send this QoS 2 message again.
    pub(super) fn released(&self, pkid: u16) {
        drop(self.lock().unreleased.remove(&pkid));
    }

    /// Whether the other side waits for answers.
    pub(super) fn waits(&self) -> bool {
        !self.lock().unanswered.is_empty()
    }

    fn acknowledge(&self, epoch: u64, ack: &Ack) {
        let mut receipts = self.lock();
        if receipts.epoch == epoch && receipts.is_connected {
            self.remote.acknowledge(ack.qos, ack.pkid);
            if receipts.unanswered.get(&ack.pkid).is_some_and(|other| other.identity == ack.identity) {
                receipts.unanswered.remove(&ack.pkid);
                receipts.remember(ack.identity);
            }
        }
    }

    /// Notes messages that were answered when they were accepted.
    pub(super) fn answered(&self, identities: impl Iterator<Item = u64>) {
        let mut receipts = self.lock();
        identities.for_each(|identity| receipts.remember(identity));
    }

    /// Hands what one read brought to one receiver, all at the same QoS. How many it took, from the front.
    pub(super) fn deliver_all(
        &self,
        (receiver, granted): (&Receiver, u8),
        qos: u8,
        arrivals: &Arrivals<'_>,
    ) -> Result<(Offer, usize), WantsMeta> {
        receiver.inbox.deliver_all(arrivals, overflow(qos, granted))
    }

    /// Hands a message to everybody who listens.
    pub(super) fn deliver(self: &Arc<Self>, message: &Message) {
        let receivers = audience(&self.routes.now(), &message.topic, self.lane);
        let Some(receipt) = self.receipt(message, receivers.len()) else {
            return;
        };
        let wants_meta = receivers.iter().any(|(receiver, _)| receiver.inbox.port().wants_meta());
        let meta = wants_meta.then(|| meta::of(message));
        let time = self.clock.now();
        for (receiver, qos) in receivers {
            if receiver.end.as_ref().is_some_and(|end| *end == message.payload) {
                receiver.inbox.finish();
                if let Some(ack) = &receipt {
                    ack.accepted();
                }
                continue;
            }
            let due = receipt.clone().map(|ack| {
                let identity = ack.identity;
                Due { receipt: ack, identity, again: message.again }
            });
            let meta = meta.clone().filter(|_| receiver.inbox.port().wants_meta());
            let content = Content::Bytes(message.payload.clone());
            receiver.inbox.deliver(Parcel { content, time, meta, due }, overflow(message.qos, qos));
        }
    }

    /// The acknowledgement that the message asks for, if it does; `None` when the message was taken before.
    #[allow(
        clippy::option_option,
        reason = "a redelivery and a message without acknowledgement are two things"
    )]
    fn receipt(self: &Arc<Self>, message: &Message, n_receivers: usize) -> Option<Option<Arc<Ack>>> {
        if message.qos == 0 {
            return Some(None);
        }
        let identity = self.identity((message.pkid, message.qos), message.topic.as_bytes(), &message.payload);
        let mut receipts = self.lock();
        let epoch = receipts.epoch;
        let known = match message.qos {
            2 => receipts.unreleased.get(&message.pkid).cloned(),
            _ => receipts.unanswered.get(&message.pkid).filter(|ack| ack.identity == identity).cloned(),
        };
        if let Some(ack) = known.filter(|_| message.qos == 2 || message.again) {
            drop(receipts);
            ack.renew(epoch);
            return None;
        }
        if message.qos == 1 && message.again && receipts.answered.contains(&identity) {
            self.remote.acknowledge(message.qos, message.pkid);
            return None;
        }
        let ack = Arc::new(Ack {
            intake: Arc::clone(self),
            qos: message.qos,
            pkid: message.pkid,
            identity,
            // Nobody listens any more: acknowledged below.
            state: Mutex::new(AckState { epoch, n_open: n_receivers }),
        });
        match message.qos {
            2 => receipts.unreleased.insert(message.pkid, Arc::clone(&ack)),
            _ => receipts.unanswered.insert(message.pkid, Arc::clone(&ack)),
        };
        drop(receipts);
        if n_receivers == 0 {
            ack.renew(epoch);
        }
        Some(Some(ack))
    }

    /// A number by which a message is known again, equal in every process: the id under which the other side sends it,
    /// which a redelivery keeps, and what is in it.
    pub(super) fn identity(&self, (pkid, qos): (u16, u8), topic: &[u8], payload: &[u8]) -> u64 {
        let start = mix(0xcbf2_9ce4_8422_2325 ^ self.sender, u64::from(pkid) << 8 | u64::from(qos));
        words(words(start, topic), payload)
    }
}

fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

/// Eight bytes at a time, and the length, so that texts side by side cannot be taken for others.
fn words(hash: u64, bytes: &[u8]) -> u64 {
    let (whole, rest) = bytes.as_chunks::<8>();
    let hash = whole.iter().fold(hash, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(mix(hash, u64::from_le_bytes(last)), bytes.len() as u64)
}

/// What to do with a message for which there is no room.
fn overflow(qos: u8, granted: u8) -> Overflow {
    match (qos, granted) {
        (0, 0) => Overflow::DropOldest,
        // Dropping the oldest could hit a message that was promised; so the new one goes, counted.
        (0, _) => Overflow::ParkUpTo(0),
        _ => Overflow::Park,
    }
}

impl Receipts {
    fn remember(&mut self, identity: u64) {
        if self.answered.len() == REMEMBERED {
            self.answered.pop_front();
        }
        self.answered.push_back(identity);
    }
}

/// How many answered messages are remembered of one connection.
pub(super) const fn remembered() -> usize {
    REMEMBERED
}
