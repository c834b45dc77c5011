//! nng's wire protocol ("scalability protocols", SP version 0) in plain Rust over Unix stream sockets.
//!
//! Three roles, which are those of an engine towards its plugins (`docs/compat/portable-plugins.md` 4): [`Rep`]
//! listens and answers the newest request, [`Pull`] listens and hands every message to a function, [`Push`] dials
//! and sends. Listeners accept, greet and read on a thread of their own, so that a peer never waits for the caller.
//! Nothing here knows what the messages mean.

mod conn;
mod deadline;
mod listener;
mod pull;
mod push;
mod rep;
mod sys;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use deadline::{Deadline, Stopwatch};
pub use listener::{MAX_PATH, remove_stale, socket_path_fits};
pub use pull::{Pull, PullEvent};
pub use push::Push;
pub use rep::{ExchangeError, Greeting, Limits, Rep, Timing};
pub use sys::Peer;

/// Who may connect: asked with the credentials of every peer.
pub type PeerCheck = Arc<dyn Fn(&Peer) -> bool + Send + Sync>;

/// What all roles need to know.
#[derive(Clone)]
pub struct Options {
    /// The largest message that is accepted; a peer that announces a larger one is disconnected.
    pub max_message: usize,
    /// Who may connect; everybody who may open the socket when absent.
    pub peer_check: Option<PeerCheck>,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_message: 256 << 20, peer_check: None }
    }
}

/// The protocol numbers of the greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Protocol {
    Req = 48,
    Rep = 49,
    Push = 80,
    Pull = 81,
}

impl Protocol {
    pub(crate) fn counterpart(self) -> Self {
        match self {
            Self::Req => Self::Rep,
            Self::Rep => Self::Req,
            Self::Push => Self::Pull,
            Self::Pull => Self::Push,
        }
    }
}
