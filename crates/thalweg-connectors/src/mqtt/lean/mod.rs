//! The lean client: MQTT 3.1.1 over plain TCP, read on the thread that runs the rules (`hot-path.md` 7.8).
//!
//! [`Lean`] is the slow half, a task as for the other clients: it connects, says hello, pings, and waits for the end. In
//! between a [`reader`] lives on the thread of a shard, and everybody writes through the [`outlet`].

mod direct;
pub(in crate::mqtt) mod frame;
pub(in crate::mqtt) mod input;
pub(in crate::mqtt) mod line;
pub(in crate::mqtt) mod outlet;
pub mod packets;
mod reader;
pub(in crate::mqtt) mod sorter;

use std::net::TcpStream;
use std::sync::Arc;

use thalweg_core::polled::Poller;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::timeout;

pub(super) use direct::DirectTopic;
use frame::kind;
pub(super) use outlet::{End, Outlet};
use reader::Reader;

use super::options::{KEEP_ALIVE, OPERATION_LIMIT, Options};
use super::shared::Shared;
use super::wire::{Event, io_reason};

/// A client that connects, and connects again.
pub(super) struct Lean {
    options: Options,
    outlet: Arc<Outlet>,
    poller: Option<Arc<dyn Poller>>,
    stage: Stage,
}

enum Stage {
    Away,
    /// The broker took us in; nobody reads yet.
    Greeted(Open),
    Reading {
        end: oneshot::Receiver<End>,
        pulse: Option<Pulse>,
    },
}

struct Open {
    socket: Arc<TcpStream>,
    generation: u64,
    end: oneshot::Receiver<End>,
}

/// What was known at the last ping.
struct Pulse {
    pongs: u64,
    written: u64,
    waits: usize,
}

impl Lean {
    pub(super) fn new(options: Options) -> Self {
        Self { options, outlet: Arc::default(), poller: None, stage: Stage::Away }
    }

    /// The writing half.
    pub(super) fn outlet(&self) -> &Arc<Outlet> {
        &self.outlet
    }

    /// The thread that its sockets wait on.
    pub(super) fn polled_by(&mut self, poller: Option<Arc<dyn Poller>>) {
        self.poller = poller;
    }

    /// Forgets the connection.
    pub(super) fn reset(&mut self, reason: &Arc<str>) {
        self.stage = Stage::Away;
        self.outlet.lost(reason);
    }

    /// The next event. May be dropped at any time.
    pub(super) async fn poll(&mut self, shared: Option<&Arc<Shared>>) -> Result<Event, String> {
        loop {
            match &mut self.stage {
                Stage::Away => {
                    let reached = timeout(OPERATION_LIMIT, greet(&self.options)).await;
                    let (socket, session_present) =
                        reached.unwrap_or_else(|_| Err("no answer within 5 s".to_owned()))?;
                    let socket = Arc::new(socket);
                    let (generation, end) = self.outlet.open(Arc::clone(&socket), self.options.window());
                    self.stage = Stage::Greeted(Open { socket, generation, end });
                    return Ok(Event::Connected { session_present });
                }
                Stage::Greeted(_) => {
                    let stage = std::mem::replace(&mut self.stage, Stage::Away);
                    let Stage::Greeted(Open { socket, generation, end }) = stage else { continue };
                    if let (Some(shared), Some(poller)) = (shared, &self.poller) {
                        let outlet = (Arc::clone(&self.outlet), generation);
                        poller.adopt(Box::new(Reader::new(socket, Arc::clone(shared), outlet)));
                    }
                    self.stage = Stage::Reading { end, pulse: None };
                }
                Stage::Reading { end, pulse } => {
                    return match timeout(KEEP_ALIVE, end).await {
                        Ok(Ok(End::Parted)) => Ok(Event::Parted),
                        Ok(Ok(End::Lost(why))) => Err(why),
                        Ok(Err(_)) => Err("the thread that reads has ended".to_owned()),
                        Err(_) => ping(&self.outlet, pulse).map(|()| Event::Other),
                    };
                }
            }
        }
    }
}

/// Looks whether the other side lives.
fn ping(outlet: &Outlet, pulse: &mut Option<Pulse>) -> Result<(), String> {
    let pongs = outlet.pongs();
    let (written, waits) = outlet.ping();
    if let Some(before) = pulse.as_ref() {
        if before.waits > 0 && waits > 0 && before.written == written {
            return Err("the broker takes nothing any more".to_owned());
        }
        if before.waits == 0 && before.pongs == pongs && !outlet.is_paused() {
            return Err("the broker does not answer pings".to_owned());
        }
    }
    *pulse = Some(Pulse { pongs, written, waits });
    Ok(())
}

/// Connects and introduces ourselves; whether the broker has kept a session.
async fn greet(options: &Options) -> Result<(TcpStream, bool), String> {
    let reason = |error: std::io::Error| io_reason(&error);
    let mut socket = tokio::net::TcpStream::connect(options.address()).await.map_err(reason)?;
    socket.set_nodelay(true).map_err(reason)?;
    let mut hello = Vec::new();
    frame::put_connect(&mut hello, options.identity(), KEEP_ALIVE.as_secs() as u16, options.login());
    socket.write_all(&hello).await.map_err(reason)?;
    // No byte more than the answer, so that what follows is left to the reader.
    let mut answer = [0; 4];
    let closed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "closed by the broker".to_owned(),
        _ => io_reason(&error),
    };
    socket.read_exact(&mut answer).await.map_err(closed)?;
    let [first, 2, flags, code] = answer else {
        return Err("the broker breaks the protocol: its first packet is no CONNACK".to_owned());
    };
    if first != kind::CONNACK << 4 {
        return Err("the broker breaks the protocol: its first packet is no CONNACK".to_owned());
    }
    let refusal = match code {
        0 => return Ok((socket.into_std().map_err(reason)?, flags & 1 != 0)),
        1 => "RefusedProtocolVersion",
        2 => "BadClientId",
        3 => "ServiceUnavailable",
        4 => "BadUserNamePassword",
        5 => "NotAuthorized",
        _ => "unknown reason",
    };
    Err(format!("refused by the broker: {refusal}"))
}
