//! PUSH: dials and sends.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::conn::Conn;
use crate::deadline::Deadline;
use crate::sys::peer_of;
use crate::{Options, Protocol};

/// A connection to a PULL listener.
pub struct Push {
    conn: Conn,
}

impl Push {
    /// Connects and greets.
    ///
    /// # Errors
    /// Nobody listens, a stranger listens, or the greeting fails or is not done by the deadline.
    pub fn dial(path: &Path, options: &Options, deadline: Deadline) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        if let Some(check) = &options.peer_check
            && !check(&peer_of(&stream)?)
        {
            let text = format!("{} is served by a process that is not the plugin's", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let mut conn = Conn::new(stream, Protocol::Push, options)?;
        while !conn.greet()? {
            if !conn.wait_readable(deadline)? {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer did not greet"));
            }
            conn.fill()?;
        }
        Ok(Self { conn })
    }

    /// Sends one message. After an error the connection must be dialed anew.
    ///
    /// # Errors
    /// The peer is gone or did not read until the deadline.
    pub fn send(&mut self, message: &[u8], deadline: Deadline) -> io::Result<()> {
        if self.is_gone() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.conn.send(&[], message, deadline)
    }

    /// Whether the peer has hung up.
    pub fn is_gone(&mut self) -> bool {
        // A PULL peer never sends, so whatever can be read is the end.
        self.conn.fill().is_err()
    }
}
