//! PUSH: dials and sends.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use nng::options::{Options as _, ReconnectMaxTime, ReconnectMinTime, SendTimeout};
use nng::{PipeEvent, Protocol, Socket};
use thalweg_sp::{Deadline, Options};

/// The library dials again by itself; whoever dialed shall know instead.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// A connection to a PULL listener.
pub(crate) struct Push {
    socket: Socket,
    gone: Arc<AtomicBool>,
}

impl Push {
    /// Connects and greets. The library has its own time-out of some seconds for the greeting.
    pub(crate) fn dial(path: &Path, options: &Options, _: Deadline) -> io::Result<Self> {
        let socket = Socket::new(Protocol::Push0)?;
        socket.set_opt::<ReconnectMinTime>(Some(NEVER))?;
        socket.set_opt::<ReconnectMaxTime>(Some(NEVER))?;
        let gone = Arc::new(AtomicBool::new(false));
        let (ended, options) = (Arc::clone(&gone), options.clone());
        socket.pipe_notify(move |pipe, event| match event {
            PipeEvent::AddPre if !super::is_welcome(pipe, &options) => {
                ended.store(true, SeqCst);
                pipe.close();
            }
            PipeEvent::RemovePost => ended.store(true, SeqCst),
            _ => {}
        })?;
        socket.dial(&super::url(path))?;
        let mut push = Self { socket, gone };
        if push.is_gone() {
            let text = format!("{} is served by a process that is not the plugin's", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(push)
    }

    /// Sends one message. After an error the connection must be dialed anew.
    pub(crate) fn send(&mut self, message: &[u8], deadline: Deadline) -> io::Result<()> {
        if self.is_gone() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.socket.set_opt::<SendTimeout>(deadline.left())?;
        self.socket.send(message).map_err(|(_, error)| error.into())
    }

    /// Whether the peer has hung up.
    pub(crate) fn is_gone(&mut self) -> bool {
        self.gone.load(SeqCst)
    }
}
