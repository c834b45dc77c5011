//! What reaches a shard from outside, and the sleep it ends.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thalweg_core::Value;
use tokio::sync::oneshot;

use super::rule::RuleRun;
use super::stream::{Reader, StreamRun};
use crate::egress::outputs::Outputs;
use crate::ingest::Decode;
use crate::queue::Wake;
use crate::snapshot::{Offset, Snapshot};

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
}

/// Orders, carried out between two batches.
pub(crate) enum Control {
    /// Takes a stream over.
    AddStream(Box<StreamRun>),
    /// Takes a rule over and starts it.
    AddRule(Box<RuleRun>),
    /// A rule joins a stream, which from now on is decoded by `decode` when that is given.
    Join { stream: Key, reader: Reader, decode: Option<Box<Decode>> },
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
#[derive(Default)]
pub(crate) struct Inbox {
    mail: Mutex<Mail>,
    arrived: Condvar,
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

    /// Sends an order.
    pub(crate) fn send(&self, control: Control) {
        self.lock().controls.push(control);
        self.arrived.notify_one();
    }

    /// Notes that something has work.
    fn ready(&self, ready: Ready) {
        let mut mail = self.lock();
        if !mail.ready.contains(&ready) {
            mail.ready.push(ready);
        }
        drop(mail);
        self.arrived.notify_one();
    }

    /// Takes everything that has arrived.
    pub(crate) fn take(&self) -> Mail {
        std::mem::take(&mut *self.lock())
    }

    /// Whether something has arrived.
    pub(crate) fn has_mail(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Sleeps until something arrives, at most for `limit`.
    pub(crate) fn wait(&self, limit: Option<Duration>) {
        let mail = self.lock();
        if !mail.is_empty() {
            return;
        }
        match limit {
            Some(limit) => drop(self.arrived.wait_timeout(mail, limit)),
            None => drop(self.arrived.wait(mail)),
        }
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
