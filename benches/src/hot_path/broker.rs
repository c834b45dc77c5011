//! A broker that costs next to nothing: it writes prebuilt PUBLISH packets as fast as a socket takes them, and counts what
//! is published to it. It relays nothing.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::e2e::frame::{self, Frame};

/// Packets written at a time.
const CHUNK: usize = 1_000;
/// The same at a pace: less than an engine's queue takes (`bufferLength` is 1,024).
const PACED_CHUNK: usize = 100;
/// Unanswered messages at QoS 1, at most: packet ids of those under way must differ.
const IN_FLIGHT: u64 = 20_000;
const LIMIT: Duration = Duration::from_secs(60);

/// How fast packets are written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// As fast as the socket takes them.
    Free,
    /// So many a second.
    PerSecond(f64),
}

/// A listening broker. Its threads live as long as the connections.
pub(crate) struct FakeBroker {
    port: u16,
    state: Arc<State>,
}

struct State {
    /// By topic; more than one when they share a subscription.
    subscribers: Mutex<HashMap<String, Vec<Arc<Mutex<TcpStream>>>>>,
    published: AtomicU64,
    acknowledged: AtomicU64,
    /// When the newest message was published.
    newest: Mutex<Option<Instant>>,
    arrived: Condvar,
}

/// Prebuilt PUBLISH packets, sent round and round.
pub(crate) struct Blast {
    topic: String,
    bytes: Vec<u8>,
    /// Where each packet ends.
    ends: Vec<usize>,
    with_ids: bool,
    at: usize,
}

impl Blast {
    /// Packets for this topic; at QoS 1 there may be 60,000 at most.
    pub(crate) fn new(topic: &str, payloads: &[String], qos: u8) -> Self {
        let (mut bytes, mut ends, with_ids) = (Vec::new(), Vec::new(), qos > 0);
        for (at, payload) in payloads.iter().enumerate() {
            frame::push_publish(&mut bytes, topic, payload.as_bytes(), with_ids.then_some(at as u16 + 1));
            ends.push(bytes.len());
        }
        Self { topic: topic.to_owned(), bytes, ends, with_ids, at: 0 }
    }

    /// Which of the payloads come next, over and over again.
    pub(crate) fn upcoming(&self, n: u64) -> impl Iterator<Item = usize> {
        let (at, length) = (self.at, self.ends.len());
        (0..n as usize).map(move |next| (at + next) % length)
    }

    /// The next packets, at most so many.
    fn next(&mut self, most: usize) -> (&[u8], usize) {
        let (first, last) = (self.at, self.ends.len().min(self.at + most.max(1)));
        let start = if first == 0 { 0 } else { self.ends[first - 1] };
        self.at = last % self.ends.len();
        (&self.bytes[start..self.ends[last - 1]], last - first)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeBroker {
    /// Listens on a port of its own.
    pub(crate) fn start() -> Result<Self, String> {
        let listener =
            TcpListener::bind("127.0.0.1:0").map_err(|why| format!("the bench's broker: {why}"))?;
        let port = listener.local_addr().map_err(|why| why.to_string())?.port();
        let state = Arc::new(State {
            subscribers: Mutex::default(),
            published: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            newest: Mutex::new(None),
            arrived: Condvar::new(),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || drop(serve(socket, &shared)));
            }
        });
        Ok(Self { port, state })
    }

    /// Host and port.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How many messages were published to it.
    pub(crate) fn published(&self) -> u64 {
        self.state.published.load(Relaxed)
    }

    /// How many connections have subscribed to the topic.
    pub(crate) fn subscribers(&self, topic: &str) -> usize {
        lock(&self.state.subscribers).get(topic).map_or(0, Vec::len)
    }

    /// Writes so many packets to the subscribers in turns, not faster than the pace; returns when the system has taken
    /// the last one.
    pub(crate) fn blast(&self, blast: &mut Blast, mut n: u64, pace: Pace) -> Result<(), String> {
        let sockets = lock(&self.state.subscribers).get(&blast.topic).cloned();
        let sockets = sockets.ok_or_else(|| format!("nobody has subscribed to {}", blast.topic))?;
        let mut turns = sockets.iter().cycle();
        let (mut sent, acknowledged) = (0, self.state.acknowledged.load(Relaxed));
        let started = Instant::now();
        while n > 0 {
            while blast.with_ids && sent > self.state.acknowledged.load(Relaxed) - acknowledged + IN_FLIGHT {
                if started.elapsed() > LIMIT {
                    return Err(format!("messages on {} are not acknowledged", blast.topic));
                }
                std::thread::sleep(Duration::from_micros(50));
            }
            if let Pace::PerSecond(rate) = pace
                && sent as f64 > started.elapsed().as_secs_f64() * rate
            {
                std::thread::sleep(Duration::from_micros(200));
                continue;
            }
            let chunk = if matches!(pace, Pace::Free) { CHUNK } else { PACED_CHUNK };
            let (bytes, count) = blast.next(chunk.min(n as usize));
            let Some(socket) = turns.next() else { break };
            lock(socket).write_all(bytes).map_err(|why| format!("to the engine: {why}"))?;
            n -= count as u64;
            sent += count as u64;
        }
        Ok(())
    }

    /// How many messages the subscribers have acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.state.acknowledged.load(Relaxed)
    }

    /// Sends one message and waits for the next one that is published; how long that took.
    pub(crate) fn round_trip(&self, blast: &mut Blast) -> Result<Duration, String> {
        *lock(&self.state.newest) = None;
        let sent = Instant::now();
        self.blast(blast, 1, Pace::Free)?;
        let newest = lock(&self.state.newest);
        let waited = self.state.arrived.wait_timeout_while(newest, LIMIT, |newest| newest.is_none());
        let newest = waited.map_err(|_| "the bench's broker panicked".to_owned())?.0;
        newest.map(|arrived| arrived - sent).ok_or_else(|| "no result of a single message".to_owned())
    }
}

/// One client until it goes.
fn serve(mut socket: TcpStream, state: &State) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let writer = Arc::new(Mutex::new(socket.try_clone()?));
    let (mut pending, mut chunk, mut answers) = (Vec::with_capacity(1 << 20), vec![0; 1 << 18], Vec::new());
    loop {
        let read = socket.read(&mut chunk)?;
        let arrived = Instant::now();
        if read == 0 {
            return Ok(());
        }
        pending.extend_from_slice(&chunk[..read]);
        let (mut published, mut acknowledged) = (0, 0);
        let used = frame::each(&pending, |frame| match frame {
            Frame::Publish { id, .. } => {
                published += 1;
                if let Some(id) = id {
                    answers.extend_from_slice(&frame::packet(0x40, &id.to_be_bytes()));
                }
            }
            Frame::Other(0x40, _) => acknowledged += 1,
            Frame::Other(kind, body) => answer(kind, body, &writer, state, &mut answers),
        });
        pending.drain(..used);
        if !answers.is_empty() {
            lock(&writer).write_all(&answers)?;
            answers.clear();
        }
        state.acknowledged.fetch_add(acknowledged, Relaxed);
        if published > 0 {
            state.published.fetch_add(published, Relaxed);
            let was_empty = lock(&state.newest).replace(arrived).is_none();
            if was_empty {
                state.arrived.notify_all();
            }
        }
    }
}

/// CONNECT, SUBSCRIBE, UNSUBSCRIBE and PINGREQ get what they ask for.
fn answer(kind: u8, body: &[u8], writer: &Arc<Mutex<TcpStream>>, state: &State, out: &mut Vec<u8>) {
    match kind >> 4 {
        1 => out.extend_from_slice(&[0x20, 2, 0, 0]),
        8 if body.len() > 5 => {
            let mut granted = body[..2].to_vec();
            let mut rest = &body[2..];
            while rest.len() > 2 {
                let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                let Some((topic, after)) = rest[2..].split_at_checked(length) else { break };
                let filter = String::from_utf8_lossy(topic);
                // A shared subscription: `$share/<group>/<topic>`.
                let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
                let mut subscribers = lock(&state.subscribers);
                let of_topic = subscribers.entry(shared.map_or(&*filter, |(_, topic)| topic).to_owned());
                let of_topic = of_topic.or_default();
                if shared.is_none() {
                    of_topic.clear();
                }
                of_topic.push(Arc::clone(writer));
                granted.push(after.first().copied().unwrap_or(0) & 3);
                rest = after.get(1..).unwrap_or_default();
            }
            out.extend_from_slice(&frame::packet(0x90, &granted));
        }
        10 if body.len() >= 2 => out.extend_from_slice(&frame::packet(0xB0, &body[..2])),
        12 => out.extend_from_slice(&[0xD0, 0]),
        _ => {}
    }
}
