//! A lean MQTT 3.1.1 sender and receiver at QoS 0, so that the load costs little beside what it measures.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Silence after the last sent message that ends a run.
const SETTLE: Duration = Duration::from_millis(1_500);

fn connect(broker: &str, client: &str) -> Result<TcpStream, String> {
    let fail = |error: std::io::Error| format!("broker {broker}: {error}");
    let mut socket = TcpStream::connect(broker).map_err(fail)?;
    socket.set_nodelay(true).map_err(fail)?;
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0];
    push_text(&mut body, client);
    socket.write_all(&frame(0x10, &body)).map_err(fail)?;
    let mut answer = [0; 4];
    socket.read_exact(&mut answer).map_err(fail)?;
    if answer[0] == 0x20 && answer[3] == 0 {
        Ok(socket)
    } else {
        Err(format!("broker {broker} refuses: {answer:?}"))
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn push_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 128 {
        out.push((length % 128) as u8 | 128);
        length /= 128;
    }
    out.push(length as u8);
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    push_length(&mut frame, body.len());
    frame.extend_from_slice(body);
    frame
}

/// Writes PUBLISH frames in batches.
pub(crate) struct Sender {
    socket: TcpStream,
    topic: String,
    pending: Vec<u8>,
}

impl Sender {
    pub(crate) fn connect(broker: &str, topic: &str) -> Result<Self, String> {
        let socket = connect(broker, &format!("bench-send-{}", std::process::id()))?;
        Ok(Self { socket, topic: topic.to_owned(), pending: Vec::new() })
    }

    /// Adds a message to the batch.
    pub(crate) fn push(&mut self, payload: &[u8]) {
        self.pending.push(0x30);
        push_length(&mut self.pending, 2 + self.topic.len() + payload.len());
        push_text(&mut self.pending, &self.topic);
        self.pending.extend_from_slice(payload);
    }

    /// Writes the batch.
    pub(crate) fn flush(&mut self) -> Result<(), String> {
        self.socket.write_all(&self.pending).map_err(|error| format!("sending: {error}"))?;
        self.pending.clear();
        Ok(())
    }
}

/// What arrived.
pub(crate) struct Received {
    pub(crate) delivered: u64,
    /// Seconds from the start of the receiver's clock to the last message.
    pub(crate) last_at: f64,
    latencies: Vec<u64>,
}

impl Received {
    /// A percentile of the latencies in microseconds; `None` when the payload carries no times.
    pub(crate) fn percentile(&self, share: f64) -> Option<u64> {
        let last = self.latencies.len().checked_sub(1)?;
        Some(self.latencies[(last as f64 * share) as usize])
    }
}

/// Counts what the rule sends, in a thread of its own.
pub(crate) struct Receiver {
    started: Instant,
    count: Arc<AtomicU64>,
    thread: JoinHandle<Received>,
}

impl Receiver {
    pub(crate) fn start(broker: &str, topic: &str, sent_all: Arc<AtomicBool>) -> Result<Self, String> {
        let mut socket = connect(broker, &format!("bench-receive-{}", std::process::id()))?;
        let mut body = vec![0, 1];
        push_text(&mut body, topic);
        body.push(0);
        socket.write_all(&frame(0x82, &body)).map_err(|error| error.to_string())?;
        let mut answer = [0; 5];
        socket.read_exact(&mut answer).map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(Duration::from_millis(100))).map_err(|error| error.to_string())?;
        let (started, count) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let counter = Arc::clone(&count);
        let thread = std::thread::spawn(move || receive(socket, started, &counter, &sent_all));
        Ok(Self { started, count, thread })
    }

    /// Microseconds on the receiver's clock, to be put into payloads.
    pub(crate) fn micros(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Messages so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until nothing comes any more.
    pub(crate) fn finish(self) -> Result<Received, String> {
        self.thread.join().map_err(|_| "the receiver panicked".to_owned())
    }
}

fn receive(mut socket: TcpStream, started: Instant, count: &AtomicU64, sent_all: &AtomicBool) -> Received {
    let mut received = Received { delivered: 0, last_at: 0.0, latencies: Vec::new() };
    let mut pending: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 1 << 18];
    let mut last = Instant::now();
    loop {
        match socket.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => {
                let now = started.elapsed();
                let before = received.delivered;
                pending.extend_from_slice(&chunk[..read]);
                let used = take_frames(&pending, now.as_micros() as u64, &mut received);
                pending.drain(..used);
                if received.delivered > before {
                    last = Instant::now();
                    received.last_at = now.as_secs_f64();
                }
                count.store(received.delivered, Ordering::Relaxed);
            }
            Err(_) if sent_all.load(Ordering::Relaxed) && last.elapsed() > SETTLE => break,
            Err(_) => {}
        }
    }
    received.latencies.sort_unstable();
    received
}

/// Counts the whole PUBLISH frames at the front and gives their length.
fn take_frames(bytes: &[u8], now: u64, received: &mut Received) -> usize {
    let mut used = 0;
    while let Some((kind, body, length)) = next_frame(&bytes[used..]) {
        if kind >> 4 == 3 && body.len() >= 2 {
            received.delivered += 1;
            let topic = u16::from_be_bytes([body[0], body[1]]) as usize;
            if let Some(sent) = body.get(2 + topic..).and_then(sent_at) {
                received.latencies.push(now.saturating_sub(sent));
            }
        }
        used += length;
    }
    used
}

fn next_frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (mut length, mut at) = (0usize, 1);
    loop {
        let byte = *bytes.get(at)?;
        length |= ((byte & 127) as usize) << (7 * (at - 1));
        at += 1;
        if byte & 128 == 0 {
            break;
        }
    }
    Some((bytes[0], bytes.get(at..at + length)?, at + length))
}

/// The number behind `"t":`.
fn sent_at(payload: &[u8]) -> Option<u64> {
    let at = payload.windows(4).position(|window| window == b"\"t\":")?;
    let digits = payload[at + 4..].iter().take_while(|byte| byte.is_ascii_digit());
    let mut any = false;
    let number = digits.fold(0u64, |number, digit| {
        any = true;
        number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))
    });
    any.then_some(number)
}
