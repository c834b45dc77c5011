//! The reading half of a lean client, on the thread of a shard.

use std::net::TcpStream;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use thalweg_core::polled::{Polled, Readiness, Turned, Wakers};

use super::frame::{self, Frame, MAX_PACKET, Wrong, kind};
use super::input::{Input, READ};
use super::line::Line;
use super::outlet::Outlet;
use super::sorter::Sorter;
use crate::mqtt::shared::Shared;

/// One connection to a broker.
pub(super) struct Reader {
    line: Line,
    shared: Arc<Shared>,
    outlet: Arc<Outlet>,
}

impl Reader {
    /// A reader of a connection on which the broker has said hello.
    pub(super) fn new(
        socket: Arc<TcpStream>,
        shared: Arc<Shared>,
        (outlet, generation): (Arc<Outlet>, u64),
    ) -> Self {
        let sorter = Sorter::new(Arc::clone(&shared.intake), Arc::clone(&outlet), generation);
        let input = Input::new(&[], READ);
        let line = Line::new(socket, (Arc::clone(&outlet), generation), (input, MAX_PACKET), sorter);
        Self { line, shared, outlet }
    }
}

impl Polled for Reader {
    fn socket(&self) -> BorrowedFd<'_> {
        self.line.socket()
    }

    fn begin(&mut self, wakers: Wakers) {
        self.line.begin(wakers);
    }

    fn flush(&mut self) {
        self.outlet.flush_collected();
    }

    fn turn(&mut self, ready: Readiness) -> Turned {
        let (shared, outlet) = (&self.shared, &self.outlet);
        self.line.turn(ready, |bytes, frame| answer(shared, outlet, bytes, frame))
    }
}

/// Takes a packet that is no publication.
fn answer(shared: &Arc<Shared>, outlet: &Outlet, bytes: &[u8], frame: &Frame) -> Result<(), Wrong> {
    match frame.kind() {
        kind::PUBACK | kind::PUBCOMP => outlet.confirmed(frame::packet_id(bytes, frame)?),
        kind::PUBREC => outlet.answer(kind::PUBREL, frame::packet_id(bytes, frame)?),
        kind::PUBREL => {
            let pkid = frame::packet_id(bytes, frame)?;
            shared.intake.released(pkid);
            outlet.answer(kind::PUBCOMP, pkid);
        }
        kind::SUBACK => {
            let pkid = frame::packet_id(bytes, frame)?;
            outlet.asked(pkid);
            let is_refused = bytes[frame.body.clone()].iter().skip(2).any(|code| *code > 2);
            shared.subscribed(pkid, is_refused.then(|| "failure".to_owned()));
        }
        kind::UNSUBACK => outlet.asked(frame::packet_id(bytes, frame)?),
        kind::PINGRESP => outlet.ponged(),
        _ => return Err("a packet that only clients send"),
    }
    Ok(())
}
