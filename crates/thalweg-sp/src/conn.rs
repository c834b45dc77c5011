//! One connection: greeting and framing over a non-blocking stream.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::sys::{poll, readable, writable};
use crate::{Options, Protocol};

const GREETING: usize = 8;
/// A type byte and the length.
const HEAD: usize = 9;
const CHUNK: usize = 64 << 10;

/// A connection and the bytes of it that are not yet a whole message.
pub(crate) struct Conn {
    stream: Arc<UnixStream>,
    ours: Protocol,
    greeted: bool,
    /// Bytes received; those before `read_to` are used up.
    inbox: Vec<u8>,
    read_to: usize,
    chunk: Box<[u8]>,
    max_message: usize,
}

impl Conn {
    /// Takes over a stream and sends our greeting, which always fits into the socket's buffer.
    pub(crate) fn new(stream: UnixStream, ours: Protocol, options: &Options) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let [high, low] = (ours as u16).to_be_bytes();
        (&stream).write_all(&[0, b'S', b'P', 0, high, low, 0, 0])?;
        Ok(Self {
            stream: Arc::new(stream),
            ours,
            greeted: false,
            inbox: Vec::new(),
            read_to: 0,
            chunk: vec![0; CHUNK].into_boxed_slice(),
            max_message: options.max_message,
        })
    }

    /// The stream, to be shut down from elsewhere.
    pub(crate) fn stream(&self) -> &Arc<UnixStream> {
        &self.stream
    }

    /// Reads once what is there; false when nothing is. The peer's end is an error.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        loop {
            match (&*self.stream).read(&mut self.chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.inbox.extend_from_slice(&self.chunk[..n]);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until there is something to read; false at the deadline.
    pub(crate) fn wait_readable(&self, deadline: Deadline) -> io::Result<bool> {
        loop {
            if poll(&mut [readable(self)], deadline.left())? {
                return Ok(true);
            }
            if deadline.is_over() {
                return Ok(false);
            }
        }
    }

    /// Whether the peer's greeting has arrived. A peer of another role is an error.
    pub(crate) fn greet(&mut self) -> io::Result<bool> {
        if self.greeted {
            return Ok(true);
        }
        let Some(greeting) = self.inbox.get(self.read_to..self.read_to + GREETING) else {
            return Ok(false);
        };
        let [high, low] = (self.ours.counterpart() as u16).to_be_bytes();
        if greeting[..6] != [0, b'S', b'P', 0, high, low] {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the peer's greeting is not that of our counterpart",
            ));
        }
        self.read_to += GREETING;
        self.greeted = true;
        Ok(true)
    }

    /// The next whole message among the bytes received.
    pub(crate) fn next_message(&mut self) -> io::Result<Option<Vec<u8>>> {
        if !self.greet()? {
            return Ok(None);
        }
        let rest = &self.inbox[self.read_to..];
        let Some((&[kind, ref length @ ..], body)) = rest.split_first_chunk::<HEAD>() else {
            self.compact();
            return Ok(None);
        };
        let length = u64::from_be_bytes(*length);
        if kind != 1 || length > self.max_message as u64 {
            let text = format!(
                "message of type {kind} with {length} bytes; at most {} are accepted",
                self.max_message
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let length = length as usize;
        let Some(message) = body.get(..length).map(<[u8]>::to_vec) else {
            self.compact();
            return Ok(None);
        };
        self.read_to += HEAD + length;
        if self.read_to == self.inbox.len() {
            self.compact();
        }
        Ok(Some(message))
    }

    /// Moves what is left to the front; large buffers are given back when empty.
    fn compact(&mut self) {
        self.inbox.drain(..self.read_to);
        self.read_to = 0;
        if self.inbox.is_empty() && self.inbox.capacity() > 4 * CHUNK {
            self.inbox = Vec::new();
        }
    }

    /// Sends one message. After an error the connection is of no use any more: half a message may have left.
    pub(crate) fn send(&self, head: &[u8], body: &[u8], deadline: Deadline) -> io::Result<()> {
        let length = (head.len() + body.len()) as u64;
        let mut first = Vec::with_capacity(HEAD + head.len() + body.len().min(CHUNK));
        first.push(1);
        first.extend_from_slice(&length.to_be_bytes());
        first.extend_from_slice(head);
        if body.len() <= CHUNK {
            first.extend_from_slice(body);
            return self.write_all(&first, deadline);
        }
        self.write_all(&first, deadline)?;
        self.write_all(body, deadline)
    }

    fn write_all(&self, mut bytes: &[u8], deadline: Deadline) -> io::Result<()> {
        while !bytes.is_empty() {
            match (&*self.stream).write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if deadline.is_over() {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read"));
                    }
                    poll(&mut [writable(self)], deadline.left())?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        // Another thread may be polling the stream, which keeps it open; the peer must see the end all the same.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl AsRawFd for Conn {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}
