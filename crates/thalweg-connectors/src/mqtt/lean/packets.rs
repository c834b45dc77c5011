//! What the reader of packets makes of the bytes of a stranger, for tests and the fuzz target: the same buffer and the
//! same steps as on a connection, without the connection.

use super::frame::{self, Frame, kind};
use super::input::{Got, Input};

/// A packet as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// A publication.
    Publish {
        /// Its topic, perhaps no text.
        topic: Vec<u8>,
        /// What it says.
        payload: Vec<u8>,
        /// 0, 1 or 2.
        qos: u8,
        /// Not 0 above QoS 0.
        pkid: u16,
    },
    /// Somebody introduces himself.
    Connect {
        /// His name.
        client_id: String,
        /// Silence that he allows himself, in seconds.
        keep_alive: u16,
    },
    /// A SUBSCRIBE with so many filters.
    Subscribe(usize),
    /// Anything else: its first byte and how long it is.
    Other(u8, usize),
}

/// What came out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The packets before the first mistake.
    pub packets: Vec<Packet>,
    /// The mistake.
    pub wrong: Option<&'static str>,
    /// The most bytes that the buffer held on to.
    pub buffered: usize,
}

/// Reads what comes in these chunks, in packets of at most `limit` bytes.
pub fn read(chunks: &[&[u8]], limit: usize) -> Read {
    let mut input = Input::new(&[], 64);
    let mut out = Read::default();
    for mut chunk in chunks.iter().copied() {
        while !chunk.is_empty() && matches!(input.read(&mut chunk), Got::Bytes { .. }) {
            out.buffered = out.buffered.max(input.capacity());
            let (bytes, start) = input.bytes();
            let (at, wrong) = frame::each(bytes, start, limit, |frame| {
                out.packets.push(understand(bytes, frame)?);
                Ok(())
            });
            input.taken(at);
            if wrong.is_some() {
                return Read { wrong, ..out };
            }
        }
    }
    out
}

fn understand(bytes: &[u8], frame: &Frame) -> Result<Packet, &'static str> {
    Ok(match frame.kind() {
        kind::PUBLISH => {
            let publish = frame::publish(bytes, frame)?;
            let (topic, payload) = (bytes[publish.topic].to_vec(), bytes[publish.payload].to_vec());
            Packet::Publish { topic, payload, qos: publish.qos, pkid: publish.pkid }
        }
        kind::CONNECT => {
            let hello = frame::connect(bytes, frame)?;
            Packet::Connect { client_id: hello.client_id, keep_alive: hello.keep_alive }
        }
        kind::SUBSCRIBE => {
            frame::packet_id(bytes, frame)?;
            Packet::Subscribe(frame::n_filters(&bytes[frame.body.clone()])?)
        }
        _ => Packet::Other(frame.first, frame.body.len()),
    })
}
