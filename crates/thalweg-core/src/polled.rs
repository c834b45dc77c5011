//! Sockets on a shard's own thread, without a task in between (`contracts.md` 3).
//!
//! A [`Polled`] owns a socket that never blocks. The thread that adopts it waits for that socket beside its mail and
//! its timers and calls [`Polled::turn`] when there is something to do; one turn reads at most once, so that neither the
//! other sockets nor the control plane starve. What a turn brings goes into [`SourcePort::offer_all`], which the same
//! thread takes from when the turn is over: read, decode, evaluate and write run to completion.
//!
//! A [`DirectSink`] is the other end: written to by the thread that made the payloads.
//!
//! [`SourcePort::offer_all`]: crate::connector::SourcePort::offer_all

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::Waker;

use crate::time::Timestamp;
use crate::value::Fields;

/// A connection that a thread waits for.
pub trait Polled: Send {
    /// Its socket, the same for its whole life.
    fn socket(&self) -> BorrowedFd<'_>;

    /// Called once on the thread, before the first turn.
    fn begin(&mut self, wakers: Wakers);

    /// Does what can be done now: at most one read, and never waits.
    fn turn(&mut self, ready: Readiness) -> Turned;

    /// Writes what has come together while the thread ran its rules, before it waits or saves anything.
    fn flush(&mut self) {}
}

/// How a [`Polled`] is asked for when its socket has nothing to tell.
#[derive(Debug, Clone)]
pub struct Wakers {
    /// For a turn: something is to be written, or a receiver has room again.
    pub turn: Waker,
    /// For [`Polled::flush`], by the thread itself.
    pub flush: Waker,
}

impl Wakers {
    /// Those that wake nobody.
    pub fn noop() -> Self {
        Self { turn: Waker::noop().clone(), flush: Waker::noop().clone() }
    }
}

/// What a socket has become since the last turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness {
    /// There may be something to read; true also at its end.
    pub readable: bool,
    /// The other side sends nothing any more: what is left is to be read to its end.
    pub ended: bool,
    /// There may be room to write.
    pub writable: bool,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turned {
    /// Messages that it took in.
    pub messages: usize,
    /// When the next one is due.
    pub next: Next,
}

/// When a [`Polled`] wants its next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// When the socket is ready, or it is woken.
    Wait,
    /// As soon as everybody else had theirs: there is more to read.
    Again,
    /// Never: it is over and can be dropped.
    End,
}

/// A thread that waits for sockets.
pub trait Poller: Send + Sync {
    /// Takes a connection over for the rest of its life. It is dropped when the thread ends.
    fn adopt(&self, polled: Box<dyn Polled>);
}

/// Payloads that one read brought, somewhere in the bytes that were read.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals<'a> {
    /// What was read, with whatever stands around the payloads.
    pub bytes: &'a [u8],
    /// Start and length of each payload, ascending.
    pub spans: &'a [(u32, u32)],
    /// What `meta()` shows of each; empty for those who do not ask.
    pub meta: &'a [Arc<Fields>],
    /// When they arrived.
    pub time: Timestamp,
}

impl<'a> Arrivals<'a> {
    /// A payload.
    pub fn payload(&self, index: usize) -> &'a [u8] {
        let (start, len) = self.spans[index];
        &self.bytes[start as usize..][..len as usize]
    }

    /// The bytes of all payloads.
    pub fn size(&self) -> usize {
        self.spans.iter().map(|(_, len)| *len as usize).sum()
    }
}

/// A sink that can be written to by the thread that made the payloads, without waiting.
pub trait DirectSink: Send + Sync {
    /// Takes the payloads that stand in `bytes` from the first number of their entry in `spans` to the second, and tells
    /// how many, from the front, are out. The others are for [`crate::connector::Sink::write`], which also tells what is
    /// wrong.
    ///
    /// Out is what the system has taken; unless `at_once`, also what leaves together with what others write in the same
    /// turn of the thread ([`Polled::flush`]).
    fn write(&self, bytes: &[u8], spans: &[(u32, u32)], at_once: bool) -> usize;
}
