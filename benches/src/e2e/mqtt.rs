//! A lean MQTT 3.1.1 sender and receiver at QoS 0, so that the load costs little beside what it measures.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::frame::{self, Frame};
use super::tally::{Counts, Tally};

/// Messages of one write, at most.
pub(crate) const BATCH: usize = 256;

/// Connects as this client.
pub(crate) fn connect(broker: &str, client: &str) -> Result<TcpStream, String> {
    let fail = |error: std::io::Error| format!("broker {broker}: {error}");
    let mut socket = TcpStream::connect(broker).map_err(fail)?;
    socket.set_nodelay(true).map_err(fail)?;
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0];
    frame::push_text(&mut body, client);
    socket.write_all(&frame::packet(0x10, &body)).map_err(fail)?;
    let mut answer = [0; 4];
    socket.read_exact(&mut answer).map_err(fail)?;
    if answer[0] == 0x20 && answer[3] == 0 {
        Ok(socket)
    } else {
        Err(format!("broker {broker} refuses: {answer:?}"))
    }
}

/// Connects and subscribes; answered subscriptions hold everything published from now on.
pub(crate) fn subscribe(broker: &str, client: &str, topics: &[&str]) -> Result<TcpStream, String> {
    let fail = |error: std::io::Error| format!("broker {broker}: {error}");
    let mut socket = connect(broker, client)?;
    for topic in topics {
        let mut body = vec![0, 1];
        frame::push_text(&mut body, topic);
        body.push(0);
        socket.write_all(&frame::packet(0x82, &body)).map_err(fail)?;
    }
    socket.set_read_timeout(Some(Duration::from_millis(100))).map_err(fail)?;
    Ok(socket)
}

/// Writes PUBLISH frames in batches.
pub(crate) struct Sender {
    socket: TcpStream,
    topics: Vec<String>,
    pending: Vec<u8>,
    waiting: usize,
}

impl Sender {
    pub(crate) fn connect(broker: &str, topics: Vec<String>) -> Result<Self, String> {
        let socket = connect(broker, &format!("bench-send-{}", std::process::id()))?;
        Ok(Self { socket, topics, pending: Vec::new(), waiting: 0 })
    }

    /// Adds a message for this topic to the batch, and writes the batch when it is full.
    pub(crate) fn push(&mut self, topic: usize, payload: &[u8]) -> Result<(), String> {
        frame::push_publish(&mut self.pending, &self.topics[topic], payload, None);
        self.waiting += 1;
        if self.waiting < BATCH { Ok(()) } else { self.flush() }
    }

    /// How many topics there are.
    pub(crate) fn n_topics(&self) -> usize {
        self.topics.len()
    }

    /// Writes the batch.
    pub(crate) fn flush(&mut self) -> Result<(), String> {
        self.socket.write_all(&self.pending).map_err(|error| format!("sending: {error}"))?;
        self.pending.clear();
        self.waiting = 0;
        Ok(())
    }
}

/// Counts what the rules send, in a thread of its own.
pub(crate) struct Receiver {
    started: Instant,
    tally: Arc<Mutex<Tally>>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Receiver {
    pub(crate) fn start(broker: &str, topic: &str, tally: Tally) -> Result<Self, String> {
        let name = format!("bench-receive-{}", std::process::id());
        let socket = subscribe(broker, &name, &[topic])?;
        let (started, tally, is_over) =
            (Instant::now(), Arc::new(Mutex::new(tally)), Arc::new(AtomicBool::new(false)));
        let (shared, end) = (Arc::clone(&tally), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || receive(socket, started, &shared, &end));
        Ok(Self { started, tally, is_over, thread })
    }

    /// Microseconds on the receiver's clock, to be put into payloads.
    pub(crate) fn micros(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// What has come so far.
    pub(crate) fn counts(&self) -> Counts {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).counts
    }

    /// Ends the thread and gives what has come.
    pub(crate) fn finish(self) -> Result<Tally, String> {
        self.is_over.store(true, Relaxed);
        self.thread.join().map_err(|_| "the receiver panicked".to_owned())?;
        let tally = std::mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(tally)
    }
}

fn receive(mut socket: TcpStream, started: Instant, tally: &Mutex<Tally>, is_over: &AtomicBool) {
    let mut pending: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 1 << 18];
    loop {
        let read = match socket.read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => read,
            Err(_) if is_over.load(Relaxed) => return,
            Err(_) => continue,
        };
        let now = started.elapsed().as_micros() as u64;
        pending.extend_from_slice(&chunk[..read]);
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        let used = frame::each(&pending, |frame| {
            if let Frame::Publish { topic, payload, .. } = frame {
                tally.note(topic, payload, now);
            }
        });
        pending.drain(..used);
    }
}
