//! One device, read on the thread of a shard.

use std::net::TcpStream;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use thalweg_core::polled::{Next, Polled, Readiness, Turned, Wakers};

use super::hub::{BUFFERED, Device};
use crate::mqtt::lean::frame::{self, Frame, Wrong, kind};
use crate::mqtt::lean::input::{Input, READ};
use crate::mqtt::lean::line::Line;
use crate::mqtt::lean::sorter::Sorter;
use crate::mqtt::lean::{End, Outlet};

/// The largest packet of a device, as for the embedded broker.
pub(super) const MAX_PACKET: usize = 16 << 20;
/// What a connection has for reading until it needs more: there may be thousands.
const AT_FIRST: usize = 4 << 10;

/// Counts what it has heard, so that a silent device is noticed.
#[derive(Default)]
pub(super) struct Heard(AtomicUsize);

impl Heard {
    /// How many turns had something to read.
    pub(super) fn so_far(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// The connection of a device.
pub(super) struct Guest {
    line: Line,
    outlet: Arc<Outlet>,
    generation: u64,
    heard: Arc<Heard>,
    /// Bytes in the buffers of all devices, and of this one.
    buffered: (Arc<AtomicUsize>, usize),
}

impl Guest {
    /// A device that has said hello, with what it sent after that.
    pub(super) fn new(
        (socket, left): (Arc<TcpStream>, &[u8]),
        (device, generation): (&Device, u64),
        heard: Arc<Heard>,
        buffered: Arc<AtomicUsize>,
    ) -> Self {
        let outlet = Arc::clone(&device.outlet);
        let sorter = Sorter::new(Arc::clone(&device.intake), Arc::clone(&outlet), generation).strict();
        let input = Input::new(left, AT_FIRST);
        let line = Line::new(socket, (Arc::clone(&outlet), generation), (input, MAX_PACKET), sorter);
        Self { line, outlet, generation, heard, buffered: (buffered, 0) }
    }

    /// Notes how much is buffered; whether that is too much.
    fn is_too_much(&mut self) -> bool {
        let (all, own) = &mut self.buffered;
        let now = self.line.buffered();
        all.fetch_add(now, Relaxed);
        let sum = all.fetch_sub(*own, Relaxed).saturating_sub(*own);
        *own = now;
        // Who needs no more than a usual read is not the one to go.
        sum > BUFFERED && now > 2 * READ
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.buffered.0.fetch_sub(self.buffered.1, Relaxed);
    }
}

impl Polled for Guest {
    fn socket(&self) -> BorrowedFd<'_> {
        self.line.socket()
    }

    fn begin(&mut self, wakers: Wakers) {
        self.line.begin(wakers);
    }

    fn turn(&mut self, ready: Readiness) -> Turned {
        if ready.readable {
            self.heard.0.fetch_add(1, Relaxed);
        }
        let (outlet, generation) = (Arc::clone(&self.outlet), self.generation);
        let turned = self.line.turn(ready, |bytes, frame| answer(&outlet, generation, bytes, frame));
        if self.is_too_much() {
            let why = "the packets of all devices under way take too much memory";
            self.outlet.finish(self.generation, End::Lost(why.to_owned()));
            return Turned { next: Next::End, ..turned };
        }
        turned
    }
}

/// Takes a packet that is no publication.
fn answer(outlet: &Outlet, generation: u64, bytes: &[u8], frame: &Frame) -> Result<(), Wrong> {
    let mut out = Vec::new();
    match frame.kind() {
        kind::PINGREQ => frame::put_bare(&mut out, kind::PINGRESP),
        kind::SUBSCRIBE => {
            let pkid = frame::packet_id(bytes, frame)?;
            frame::put_refusal(&mut out, pkid, frame::n_filters(&bytes[frame.body.clone()])?);
        }
        kind::UNSUBSCRIBE => frame::put_answer(&mut out, kind::UNSUBACK, frame::packet_id(bytes, frame)?),
        kind::DISCONNECT => {
            outlet.finish(generation, End::Parted);
            return Ok(());
        }
        kind::CONNECT => return Err("a second CONNECT"),
        _ => return Err("a packet that this port does not take"),
    }
    outlet.append(generation, &out);
    Ok(())
}
