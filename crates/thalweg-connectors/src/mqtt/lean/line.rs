//! One open socket on the thread of a shard: a turn reads once, takes every whole packet, and writes all answers
//! together. What a packet means that is no publication is the business of `reader.rs` and the listener.
//!
//! Nothing is read while a receiver at QoS 1 has too much before it, or while the other side does not take our answers:
//! then it finds its socket full, which is how back-pressure travels (`contracts.md` 4).

use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::Waker;

use thalweg_core::polled::{Next, Readiness, Turned, Wakers};

use super::frame::{self, Frame, Wrong, kind};
use super::input::{Got, Input};
use super::outlet::{End, Outlet};
use super::sorter::Sorter;

/// So many bytes of answers may wait for the other side.
const BACKLOG: usize = 256 << 10;

/// A socket with its buffers.
pub(in crate::mqtt) struct Line {
    socket: Arc<TcpStream>,
    outlet: Arc<Outlet>,
    generation: u64,
    input: Input,
    sorter: Sorter,
    /// The largest packet that is taken.
    limit: usize,
    /// There may be something to read.
    is_readable: bool,
    /// Nothing more comes: what is there is read to its end, of which nobody tells again.
    has_ended: bool,
    is_paused: bool,
    waker: Waker,
}

impl Line {
    pub(in crate::mqtt) fn new(
        socket: Arc<TcpStream>,
        (outlet, generation): (Arc<Outlet>, u64),
        (input, limit): (Input, usize),
        sorter: Sorter,
    ) -> Self {
        let waker = Waker::noop().clone();
        let (is_readable, has_ended, is_paused) = (true, false, false);
        Self { socket, outlet, generation, input, sorter, limit, is_readable, has_ended, is_paused, waker }
    }

    pub(in crate::mqtt) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Bytes that its buffer holds.
    pub(in crate::mqtt) fn buffered(&self) -> usize {
        self.input.capacity()
    }

    pub(in crate::mqtt) fn begin(&mut self, wakers: Wakers) {
        self.waker = wakers.turn.clone();
        self.outlet.begin(self.generation, wakers);
    }

    /// One turn. `other` takes packets that are no publications.
    pub(in crate::mqtt) fn turn(
        &mut self,
        ready: Readiness,
        other: impl FnMut(&[u8], &Frame) -> Result<(), Wrong>,
    ) -> Turned {
        let Some(backlog) = self.outlet.begin_turn(self.generation) else {
            return Turned { messages: 0, next: Next::End };
        };
        self.is_readable |= ready.readable;
        self.has_ended |= ready.ended;
        let is_paused = self.is_readable && (backlog > BACKLOG || self.sorter.is_crowded(&self.waker));
        if is_paused != std::mem::replace(&mut self.is_paused, is_paused) {
            self.outlet.pause(is_paused);
        }
        let mut taken = Ok(0);
        if self.is_readable && !is_paused {
            let got = self.input.read(&*self.socket);
            self.is_readable = self.has_ended || matches!(got, Got::Bytes { is_full: true });
            taken = self.take(other);
            if let (Got::End(why), Ok(_)) = (got, &taken) {
                taken = Err(why);
            }
        }
        self.outlet.end_turn(self.generation);
        match taken {
            Ok(messages) => {
                let next = if self.is_readable && !is_paused { Next::Again } else { Next::Wait };
                Turned { messages, next }
            }
            Err(why) => {
                self.outlet.finish(self.generation, End::Lost(why));
                Turned { messages: 0, next: Next::End }
            }
        }
    }

    /// Takes every whole packet; how many messages that were.
    fn take(&mut self, mut other: impl FnMut(&[u8], &Frame) -> Result<(), Wrong>) -> Result<usize, String> {
        self.sorter.begin();
        let (bytes, start) = self.input.bytes();
        let mut n_messages = 0;
        let (at, wrong) = frame::each(bytes, start, self.limit, |frame| {
            if frame.kind() != kind::PUBLISH {
                return other(bytes, frame);
            }
            n_messages += 1;
            frame::publish(bytes, frame).and_then(|publish| self.sorter.take(bytes, &publish))
        });
        // What stood before the mistake counts.
        self.sorter.finish(bytes);
        self.input.taken(at);
        wrong.map_or(Ok(n_messages), |why| Err(format!("the protocol is broken: {why}")))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // A panic, or the end of the thread; otherwise the end is told already.
        self.outlet.finish(self.generation, End::Lost("the thread that reads has ended".to_owned()));
    }
}
