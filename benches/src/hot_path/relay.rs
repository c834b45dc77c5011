//! The least that anything between two sockets can do: a thread that reads a packet from the bench's broker and writes the
//! same bytes back to it on another connection. It blocks in both calls; nothing is looked at.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::broker::FakeBroker;
use super::cpu::own_seconds;
use crate::e2e::frame;

/// What it subscribes to.
pub(crate) const TOPIC: &str = "relay";

/// A relay at work.
pub(crate) struct Relay {
    messages: Arc<AtomicU64>,
    nanos: Arc<AtomicU64>,
}

impl Relay {
    /// CPU of its thread per message.
    pub(crate) fn cpu_micros(&self) -> f64 {
        self.nanos.load(Relaxed) as f64 / 1e3 / self.messages.load(Relaxed).max(1) as f64
    }
}

/// Connects it; it ends with the broker.
pub(crate) fn start(broker: &FakeBroker) -> Result<Relay, String> {
    let wrong = |why: std::io::Error| format!("the relay: {why}");
    let (mut source, mut sink) = (connect(broker).map_err(wrong)?, connect(broker).map_err(wrong)?);
    let mut body = vec![0, 1];
    frame::push_text(&mut body, TOPIC);
    body.push(0);
    source.write_all(&frame::packet(0x82, &body)).map_err(wrong)?;
    let mut granted = [0; 5];
    source.read_exact(&mut granted).map_err(wrong)?;
    let relay = Relay { messages: Arc::default(), nanos: Arc::default() };
    let (messages, nanos) = (Arc::clone(&relay.messages), Arc::clone(&relay.nanos));
    std::thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = source.read(&mut bytes) {
            if sink.write_all(&bytes[..count]).is_err() {
                return;
            }
            // Now and then, so that looking costs nothing.
            if messages.fetch_add(1, Relaxed) % 64 == 63 {
                nanos.store((own_seconds() * 1e9) as u64, Relaxed);
            }
        }
    });
    Ok(relay)
}

fn connect(broker: &FakeBroker) -> std::io::Result<TcpStream> {
    let mut socket = TcpStream::connect(broker.address())?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut body = Vec::new();
    frame::push_text(&mut body, "MQTT");
    body.extend_from_slice(&[4, 2, 0, 60]);
    frame::push_text(&mut body, "");
    socket.write_all(&frame::packet(0x10, &body))?;
    socket.read_exact(&mut [0; 4])?;
    Ok(socket)
}
