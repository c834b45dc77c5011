//! What reaches a shard from outside, and the sleep it ends.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_core::Value;
use thalweg_core::polled::{Polled, Poller, Wakers};
use tokio::sync::oneshot;

use super::rule::RuleRun;
use super::stream::{Reader, StreamRun};
use crate::egress::outputs::Outputs;
use crate::ingest::Decode;
use crate::queue::{NoWake, Wake};
use crate::rule::Memory;
use crate::snapshot::{Offset, Snapshot};
use crate::trace::Traces;

/// Names a stream or a rule's run within one runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub u64);

/// Something that has work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// A stream's inlet.
    Stream(Key),
    /// The inlet of a rule that lives on another shard than its stream.
    Rule(Key),
    /// A connection, by its place among the shard's.
    Socket(usize),
    /// The same, when it has only something to write.
    Output(usize),
}

/// Orders, carried out between two batches.
pub(crate) enum Control {
    /// Takes a stream over.
    AddStream(Box<StreamRun>),
    /// Takes a rule over and starts it.
    AddRule(Box<RuleRun>),
    /// A rule joins a stream, which from now on is decoded by `decode` when that is given.
    Join { stream: Key, reader: Box<Reader>, decode: Option<Box<Decode>> },
    /// What waits on a stream goes to the rules that read it now, not to the next that joins.
    Drain { stream: Key },
    /// A rule leaves a stream.
    Leave { stream: Key, rule: Key },
    /// A stream ends.
    DropStream(Key),
    /// A source will never work: its rules stop (R5.12).
    FailStream { stream: Key, why: Arc<str> },
    /// A rule cannot go on for a reason from outside (a sink that does not open).
    FailRule { rule: Key, why: Arc<str> },
    /// Drains a rule and lets it go, with a last snapshot if asked for.
    StopRule { rule: Key, save: bool, done: oneshot::Sender<Option<Box<Checkpoint>>> },
    /// The state between two batches; `None` when the rule does not run any more.
    Checkpoint { rule: Key, reply: Reply },
    /// The memory of a rule; no answer when it does not run any more.
    Weigh { rule: Key, done: oneshot::Sender<Memory> },
    /// Traces a rule from now on, or no longer.
    Trace { rule: Key, traces: Option<Arc<Traces>> },
    /// Takes a connection over.
    Adopt(Box<dyn Polled>),
    /// The thread ends.
    Shutdown,
}

/// Takes a checkpoint where it is wanted. Never waits.
pub(crate) type Reply = Box<dyn FnOnce(Option<Checkpoint>) + Send>;

/// A snapshot as it leaves the shard: the state of the operators, and what the rest is made of.
pub(crate) struct Checkpoint {
    pub snapshot: Snapshot,
    /// Of each input.
    pub positions: Vec<Position>,
    pub outputs: Vec<Outputs>,
    /// What taking it has cost the shard.
    pub micros: u64,
    /// Why it is not whole, and must not be kept.
    pub lacks: Option<Arc<str>>,
}

/// How far a rule has read an input.
pub(crate) struct Position {
    /// Names the input in the snapshot.
    pub input: Arc<str>,
    pub source: u64,
    /// As the source counts, if it can go back.
    pub offset: Option<Value>,
    /// The number of the last message taken that waits for an answer.
    pub upto: u64,
    /// What an earlier run has taken and may come again.
    pub seen: Vec<u64>,
}

impl Checkpoint {
    /// The whole snapshot, to be taken off the shard: messages that have left meanwhile are not part of it.
    pub(crate) fn finish(self) -> (Snapshot, Vec<Position>) {
        let Self { mut snapshot, positions, outputs, .. } = self;
        for Position { input, source, offset, seen, .. } in &positions {
            if let Some(value) = offset.clone() {
                snapshot.offsets.insert(input.to_string(), Offset { value, source: *source }.encode());
            }
            if !seen.is_empty() {
                let bytes = seen.iter().flat_map(|identity| identity.to_le_bytes());
                snapshot.seen.insert(input.to_string(), bytes.collect());
            }
        }
        for outputs in &outputs {
            let bytes = outputs.encode();
            if !bytes.is_empty() {
                snapshot.outputs.insert(outputs.action.to_string(), bytes);
            }
        }
        (snapshot, positions)
    }
}

/// The mail of one shard.
pub(crate) struct Inbox {
    mail: Mutex<Mail>,
    /// The list of an earlier [`Inbox::take`].
    spare: Mutex<Vec<Ready>>,
    /// Whether the shard sleeps, so that only then somebody has to ring.
    is_asleep: AtomicBool,
    bell: Arc<dyn Wake>,
}

impl Default for Inbox {
    /// One that is looked at by hand.
    fn default() -> Self {
        Self::new(Arc::new(NoWake))
    }
}

/// What has arrived.
#[derive(Default)]
pub(crate) struct Mail {
    pub controls: Vec<Control>,
    pub ready: Vec<Ready>,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.controls.is_empty() && self.ready.is_empty()
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One whose shard is woken by `bell`.
    pub(crate) fn new(bell: Arc<dyn Wake>) -> Self {
        Self { mail: Mutex::default(), spare: Mutex::default(), is_asleep: AtomicBool::new(false), bell }
    }

    /// Sends an order.
    pub(crate) fn send(&self, control: Control) {
        self.lock().controls.push(control);
        self.ring();
    }

    /// Notes that something has work.
    fn ready(&self, ready: Ready) {
        let mut mail = self.lock();
        if !mail.ready.contains(&ready) {
            mail.ready.push(ready);
        }
        drop(mail);
        self.ring();
    }

    fn ring(&self) {
        if self.is_asleep.swap(false, SeqCst) {
            self.bell.wake();
        }
    }

    /// Takes everything that has arrived.
    pub(crate) fn take(&self) -> Mail {
        let mut mail = self.lock();
        if mail.is_empty() {
            return Mail::default();
        }
        let spare = std::mem::take(&mut *self.spare());
        std::mem::replace(&mut *mail, Mail { controls: Vec::new(), ready: spare })
    }

    /// Takes a list that has been worked through back.
    pub(crate) fn reuse(&self, mut ready: Vec<Ready>) {
        ready.clear();
        if ready.capacity() > 0 {
            *self.spare() = ready;
        }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Ready>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something has arrived.
    pub(crate) fn has_mail(&self) -> bool {
        !self.lock().is_empty()
    }

    /// From now on mail rings the bell; false, and it does not, when some is there already.
    pub(crate) fn fall_asleep(&self) -> bool {
        // Noted before the look, so that mail that comes in between rings.
        self.is_asleep.store(true, SeqCst);
        let is_calm = !self.has_mail();
        if !is_calm {
            self.is_asleep.store(false, SeqCst);
        }
        is_calm
    }

    /// The shard looks at its mail by itself again.
    pub(crate) fn awake(&self) {
        self.is_asleep.store(false, SeqCst);
    }

    /// The same for a connection.
    pub(crate) fn socket_wakers(self: &Arc<Self>, place: usize) -> Wakers {
        let waker = |ready| Arc::new(Waker { inbox: Arc::clone(self), ready }).into();
        Wakers { turn: waker(Ready::Socket(place)), flush: waker(Ready::Output(place)) }
    }

    /// A waker that reports `ready`.
    pub(crate) fn waker(self: &Arc<Self>, ready: Ready) -> Arc<dyn Wake> {
        Arc::new(Waker { inbox: Arc::clone(self), ready })
    }
}

struct Waker {
    inbox: Arc<Inbox>,
    ready: Ready,
}

impl Wake for Waker {
    fn wake(&self) {
        self.inbox.ready(self.ready);
    }
}

impl std::task::Wake for Waker {
    fn wake(self: Arc<Self>) {
        self.inbox.ready(self.ready);
    }
}

impl Poller for Inbox {
    fn adopt(&self, polled: Box<dyn Polled>) {
        self.send(Control::Adopt(polled));
    }
}
