//! PULL: listens and hands over every message as it comes.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::JoinHandle;

use crate::conn::Conn;
use crate::listener::Listener;
use crate::sys::{poll, readable};
use crate::{Options, Protocol};

/// What happens at a PULL listener.
#[derive(Debug)]
pub enum PullEvent<'a> {
    /// A peer has connected.
    Connected,
    /// A message.
    Message(&'a [u8]),
    /// A peer has gone. Everything that it sent before has been handed over.
    Disconnected,
}

/// A PULL listener. It reads without pause until it is dropped, on a thread of its own, in which the handler runs.
pub struct Pull {
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Pull {
    /// Listens on `path`. The handler must not block: while it does, nothing is read.
    ///
    /// # Errors
    /// The socket cannot be bound.
    pub fn listen(
        path: &Path,
        options: Options,
        handler: impl FnMut(PullEvent<'_>) + Send + 'static,
    ) -> io::Result<Self> {
        let listener = Listener::bind(path, Protocol::Pull, options)?;
        let (stop, stopped) = UnixStream::pair()?;
        let thread = std::thread::Builder::new().name("sp-pull".to_owned()).spawn(move || {
            Reader { listener, stopped, peers: Vec::new(), handler }.run();
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Pull {
    fn drop(&mut self) {
        // The reader sees the byte, or the end of the stream if writing failed.
        let _ = (&self.stop).write_all(&[0]);
        if let Some(thread) = self.thread.take() {
            // From inside the handler the thread cannot wait for itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

struct Reader<H> {
    listener: Listener,
    stopped: UnixStream,
    peers: Vec<Conn>,
    handler: H,
}

impl<H: FnMut(PullEvent<'_>)> Reader<H> {
    fn run(mut self) {
        loop {
            let mut watched = vec![readable(&self.stopped)];
            self.listener.watch(&mut watched);
            let n_listener = self.listener.n_watched();
            watched.extend(self.peers.iter().map(readable));
            if poll(&mut watched, None).is_err() || self.must_stop(watched[0].revents != 0) {
                return;
            }
            let (own, peers) = watched[1..].split_at(n_listener);
            // The newcomers come behind those that were watched.
            let newcomers = self.listener.admit(own);
            let mut alive: Vec<bool> = peers.iter().map(|poll| poll.revents == 0).collect();
            for (index, alive) in alive.iter_mut().enumerate() {
                *alive = *alive || self.read(index);
            }
            self.drop_dead(&alive);
            for conn in newcomers {
                (self.handler)(PullEvent::Connected);
                self.peers.push(conn);
                let last = self.peers.len() - 1;
                if !self.deliver(last) {
                    self.peers.pop();
                    (self.handler)(PullEvent::Disconnected);
                }
            }
        }
    }

    fn must_stop(&mut self, signaled: bool) -> bool {
        signaled && self.stopped.read(&mut [0; 8]).is_ok()
    }

    /// Reads once from a peer; false when it is gone.
    fn read(&mut self, index: usize) -> bool {
        let filled = self.peers[index].fill();
        self.deliver(index) && filled.is_ok()
    }

    fn deliver(&mut self, index: usize) -> bool {
        loop {
            match self.peers[index].next_message() {
                Ok(Some(message)) => (self.handler)(PullEvent::Message(&message)),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn drop_dead(&mut self, alive: &[bool]) {
        let mut flags = alive.iter();
        self.peers.retain(|_| flags.next().copied().unwrap_or(true));
        for _ in alive.iter().filter(|alive| !**alive) {
            (self.handler)(PullEvent::Disconnected);
        }
    }
}
