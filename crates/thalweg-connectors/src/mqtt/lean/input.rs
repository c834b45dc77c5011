//! The bytes of a socket until they are whole packets.
//!
//! One buffer, read into and looked at in place. It grows only with bytes that have really come, up to the largest
//! packet allowed, and is given back when a large packet is through.

use std::io::{ErrorKind, Read};

use crate::mqtt::wire::io_reason;

/// The most that one read brings of small packets.
pub(in crate::mqtt) const READ: usize = 256 << 10;

/// What has been read and not yet taken.
pub(in crate::mqtt) struct Input {
    buffer: Vec<u8>,
    /// What it began with.
    size: usize,
    start: usize,
    end: usize,
    /// Whether the last read filled it.
    was_full: bool,
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::mqtt) enum Got {
    /// Something; whether there may be more.
    Bytes { is_full: bool },
    /// Nothing now.
    Nothing,
    /// The end, and why.
    End(String),
}

impl Input {
    /// What another reader has left, in a buffer of at first `size` bytes.
    pub(in crate::mqtt) fn new(left: &[u8], size: usize) -> Self {
        let mut buffer = vec![0; size.max(left.len())];
        buffer[..left.len()].copy_from_slice(left);
        Self { buffer, size, start: 0, end: left.len(), was_full: false }
    }

    /// Reads once.
    pub(in crate::mqtt) fn read(&mut self, mut socket: impl Read) -> Got {
        self.make_room();
        self.was_full = false;
        match socket.read(&mut self.buffer[self.end..]) {
            Ok(0) => Got::End("closed by the broker".to_owned()),
            Ok(count) => {
                self.end += count;
                self.was_full = self.end == self.buffer.len();
                Got::Bytes { is_full: self.was_full }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Got::Nothing,
            Err(error) if error.kind() == ErrorKind::Interrupted => Got::Bytes { is_full: true },
            Err(error) => Got::End(io_reason(&error)),
        }
    }

    /// Room for a read: as much as lies there already when that fills the buffer, more after a read that did, and no
    /// more than needed when a burst or a large packet is through.
    fn make_room(&mut self) {
        let waits = self.end - self.start;
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, waits);
        }
        let len = self.buffer.len();
        if waits == len || (self.was_full && len < READ) {
            self.buffer.resize(len.max(self.size) * 2, 0);
        } else if len > READ && waits <= READ / 2 {
            self.buffer.truncate(READ);
            self.buffer.shrink_to_fit();
        }
    }

    /// All of it, and where the first byte that was not taken lies.
    pub(in crate::mqtt) fn bytes(&self) -> (&[u8], usize) {
        (&self.buffer[..self.end], self.start)
    }

    /// Everything before this place was taken.
    pub(in crate::mqtt) fn taken(&mut self, to: usize) {
        self.start = to.min(self.end);
    }

    /// Bytes that it holds on to.
    pub(in crate::mqtt) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes whole packets of so many bytes each.
    fn drain(input: &mut Input, packet: usize) -> usize {
        let (bytes, start) = input.bytes();
        let n_whole = (bytes.len() - start) / packet;
        input.taken(start + n_whole * packet);
        n_whole
    }

    #[test]
    fn a_buffer_grows_with_what_comes_and_shrinks_when_it_is_through() {
        let mut input = Input::new(b"ab", 4 << 10);
        assert_eq!(input.bytes(), (&b"ab"[..], 0));
        let large = vec![7; 3 << 20];
        let mut socket = &large[..];
        while matches!(input.read(&mut socket), Got::Bytes { .. }) {
            let come = input.bytes().0.len();
            assert!(input.capacity() <= (2 * come).max(2 * READ), "{} for {come}", input.capacity());
        }
        assert_eq!(input.bytes().0.len(), large.len() + 2);
        assert_eq!(drain(&mut input, large.len() + 2), 1);
        assert!(matches!(input.read(&b"c"[..]), Got::Bytes { .. }));
        assert_eq!((input.bytes(), input.capacity() <= READ), ((&b"c"[..], 0), true));
    }

    #[test]
    fn packets_cut_anywhere_come_out_whole() {
        let bytes: Vec<u8> = (0..100_000u32).map(|number| number as u8).collect();
        for size in [1, 7, 4 << 10] {
            let mut input = Input::new(&[], size);
            let mut socket = &bytes[..];
            let mut n_packets = 0;
            while matches!(input.read(&mut socket), Got::Bytes { .. }) {
                n_packets += drain(&mut input, 13);
            }
            assert_eq!((n_packets, input.bytes().0.len() - input.bytes().1), (100_000 / 13, 100_000 % 13));
        }
    }
}
