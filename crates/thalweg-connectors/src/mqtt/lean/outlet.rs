//! The writing half of a lean connection.
//!
//! Whoever has something to send appends it and writes as much as the socket takes, on its own thread: a sink its
//! results, the reader the answers of a whole read. What the socket does not take stays, and the reader's thread, which
//! waits for the socket, writes on. Nobody ever waits here.

use std::collections::{HashSet, VecDeque};
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use thalweg_core::polled::Wakers;
use tokio::sync::oneshot;

use super::frame::{self, kind};
use crate::mqtt::outbox::{Flight, Outbox};
use crate::mqtt::wire::{Publication, io_reason};

/// Bytes written at once.
const CHUNK: usize = 256 << 10;
/// A buffer that once held more than this is given back.
const KEPT: usize = 1 << 20;

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mqtt) enum End {
    /// Our farewell is written.
    Parted,
    /// Why it was lost.
    Lost(String),
}

/// The writing half of one client, over all its connections.
#[derive(Default)]
pub(in crate::mqtt) struct Outlet {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Counts connections, so that a reader of an older one notices.
    generation: u64,
    socket: Option<Arc<TcpStream>>,
    /// Not yet taken by the socket.
    buffer: Vec<u8>,
    /// Bytes at the front of `buffer` that it has taken.
    head: usize,
    /// Bytes taken since the connection began.
    written: u64,
    /// What is to be noted when so many bytes are taken, ascending.
    marks: VecDeque<(u64, Mark)>,
    /// Publications that wait for room in the window.
    waiting: VecDeque<Waiting>,
    /// How many may be on their way above QoS 0, and are.
    window: usize,
    on_the_way: HashSet<u16>,
    /// Subscriptions under way.
    asked: HashSet<u16>,
    last_pkid: u16,
    outbox: Outbox,
    /// Asks the reader's thread for a turn, and to write what was collected.
    wakers: Option<Wakers>,
    /// That thread, which alone may collect.
    home: Option<ThreadId>,
    /// Whether the bytes in `buffer` were collected in its turn and the socket has not been tried.
    is_collecting: bool,
    /// Whether the reader's thread will write anyway: in its turn, or because it was woken.
    will_flush: bool,
    end: Option<oneshot::Sender<End>>,
    /// Ends of the frames of a direct write.
    frames: Vec<usize>,
    n_pongs: u64,
    is_paused: bool,
}

enum Mark {
    /// A publication, 0 at QoS 0.
    Published(u16),
    Parted,
}

struct Waiting {
    topic: String,
    payload: bytes::Bytes,
    qos: u8,
    retain: bool,
}

impl Outlet {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection stands, whose end is to be told.
    pub(in crate::mqtt) fn open(&self, socket: Arc<TcpStream>, window: u16) -> (u64, oneshot::Receiver<End>) {
        let (sender, end) = oneshot::channel();
        let mut state = self.lock();
        if let Some(wakers) = state.wakers.take() {
            // An older reader finds that it is over.
            wakers.turn.wake();
        }
        state.clear();
        state.generation += 1;
        (state.socket, state.end, state.window) = (Some(socket), Some(sender), window.into());
        (state.generation, end)
    }

    /// The reader's thread waits for the socket from now on.
    pub(super) fn begin(&self, generation: u64, wakers: Wakers) {
        let mut state = self.lock();
        if state.generation == generation {
            (state.wakers, state.home) = (Some(wakers), Some(thread::current().id()));
        }
    }

    /// A turn of the reader begins. Bytes that wait for the socket; `None` when its connection is over.
    pub(in crate::mqtt) fn begin_turn(&self, generation: u64) -> Option<usize> {
        let mut state = self.lock();
        let is_alive = state.generation == generation && state.socket.is_some() && state.end.is_some();
        if !is_alive {
            return None;
        }
        state.flush();
        state.will_flush = true;
        Some(state.buffer.len() - state.head)
    }

    /// It ends: what has come together is written at once.
    pub(in crate::mqtt) fn end_turn(&self, generation: u64) {
        let mut state = self.lock();
        if state.generation == generation {
            state.will_flush = false;
            state.flush();
        }
    }

    /// The connection is over.
    pub(in crate::mqtt) fn finish(&self, generation: u64, end: End) {
        let mut state = self.lock();
        if state.generation == generation {
            state.finish(end);
        }
    }

    /// Forgets the connection and everything under way.
    pub(in crate::mqtt) fn lost(&self, reason: &Arc<str>) {
        let mut state = self.lock();
        state.outbox.lost(reason);
        state.clear();
        if let Some(wakers) = state.wakers.take() {
            // Its reader finds that it is over.
            wakers.turn.wake();
        }
    }

    /// Appends a publication, or lets it wait for room in the window.
    pub(in crate::mqtt) fn publish(&self, publication: &Publication<'_>, flight: &Arc<Flight>) -> bool {
        let Publication { topic, qos, retain, payload, .. } = publication;
        let mut state = self.lock();
        if state.socket.is_none() || !frame::fits(topic, payload.len()) {
            return false;
        }
        state.outbox.queued(flight);
        if state.waiting.is_empty() && (*qos == 0 || state.on_the_way.len() < state.window) {
            state.put(topic, (*qos, *retain), payload);
            if state.buffer.len() - state.head > CHUNK {
                state.flush();
            }
        } else {
            let (topic, payload) = ((*topic).to_owned(), payload.clone());
            state.waiting.push_back(Waiting { topic, payload, qos: *qos, retain: *retain });
        }
        true
    }

    /// Writes the payloads that stand at `spans` (start and end) to one topic at QoS 0, unless something is before them;
    /// tells how many are out. Of the one that the socket took in part the rest follows.
    ///
    /// Unless `at_once`, the reader's own thread only collects them: all that its rules send to the broker in one turn
    /// leaves in one write. What the socket then does not take follows as soon as it does, and nothing joins it.
    pub(super) fn write_direct(
        &self,
        (topic, retain): (&str, bool),
        (bytes, spans): (&[u8], &[(u32, u32)]),
        at_once: bool,
    ) -> usize {
        let mut state = self.lock();
        let state = &mut *state;
        let collects = !at_once && state.home == Some(thread::current().id());
        if state.is_collecting && !collects {
            state.flush();
        }
        let Some(socket) = state.socket.clone().filter(|_| state.is_clear()) else { return 0 };
        if collects {
            return state.collect((topic, retain), (bytes, spans));
        }
        let mut out = 0;
        while out < spans.len() {
            state.frames.clear();
            for (start, end) in &spans[out..] {
                let payload = &bytes[*start as usize..*end as usize];
                if !frame::fits(topic, payload.len()) || state.buffer.len() >= CHUNK {
                    break;
                }
                frame::put_publish(&mut state.buffer, topic, (0, retain, 0), payload);
                state.frames.push(state.buffer.len());
            }
            if state.frames.is_empty() {
                return out;
            }
            let (taken, failed) = write(&socket, &state.buffer);
            state.written += taken as u64;
            let whole = state.frames.partition_point(|end| *end <= taken);
            if whole == state.frames.len() {
                out += whole;
                state.buffer.clear();
                continue;
            }
            let start = if whole == 0 { 0 } else { state.frames[whole - 1] };
            let begun = usize::from(taken > start);
            state.buffer.truncate(if begun == 1 { state.frames[whole] } else { taken });
            state.head = taken;
            state.settle_buffer();
            if let Some(why) = failed {
                state.finish(End::Lost(why));
                return out + whole;
            }
            return out + whole + begun;
        }
        state.settle_buffer();
        out
    }

    /// Writes what was collected in the turn.
    pub(super) fn flush_collected(&self) {
        let mut state = self.lock();
        if state.is_collecting {
            state.flush();
        }
    }

    /// Appends a subscription; its packet id.
    pub(in crate::mqtt) fn subscribe(&self, filter: &str, qos: u8) -> u16 {
        self.ask(filter, Some(qos))
    }

    /// Appends the end of a subscription.
    pub(in crate::mqtt) fn unsubscribe(&self, filter: &str) {
        self.ask(filter, None);
    }

    fn ask(&self, filter: &str, qos: Option<u8>) -> u16 {
        let mut state = self.lock();
        if state.socket.is_none() || !frame::fits(filter, 0) {
            return 0;
        }
        let pkid = state.free_pkid();
        state.asked.insert(pkid);
        frame::put_subscribe(&mut state.buffer, pkid, filter, qos);
        pkid
    }

    /// The broker has answered a subscription or the end of one.
    pub(super) fn asked(&self, pkid: u16) {
        self.lock().asked.remove(&pkid);
    }

    /// Appends the answer to one message; it is written with others.
    pub(in crate::mqtt) fn acknowledge(&self, qos: u8, pkid: u16) {
        self.answer(if qos == 2 { kind::PUBREC } else { kind::PUBACK }, pkid);
    }

    /// Appends an answer.
    pub(super) fn answer(&self, kind: u8, pkid: u16) {
        let mut state = self.lock();
        if state.socket.is_some() {
            frame::put_answer(&mut state.buffer, kind, pkid);
            state.flush_soon();
        }
    }

    /// Appends the answers to all messages of a read.
    pub(in crate::mqtt) fn acknowledge_all(&self, generation: u64, pkids: &[u16]) {
        let mut state = self.lock();
        if state.generation == generation && state.socket.is_some() {
            pkids.iter().for_each(|pkid| frame::put_answer(&mut state.buffer, kind::PUBACK, *pkid));
            state.flush_soon();
        }
    }

    /// Appends any packet of ours.
    pub(in crate::mqtt) fn append(&self, generation: u64, packet: &[u8]) {
        let mut state = self.lock();
        if state.generation == generation && state.socket.is_some() {
            state.buffer.extend_from_slice(packet);
            state.flush_soon();
        }
    }

    /// The broker has taken a publication.
    pub(super) fn confirmed(&self, pkid: u16) {
        let mut state = self.lock();
        state.outbox.confirmed(pkid, None);
        state.on_the_way.remove(&pkid);
        state.refill();
        state.flush_soon();
    }

    /// Asks for a sign of life and tells how many bytes have left until now and how many wait.
    pub(in crate::mqtt) fn ping(&self) -> (u64, usize) {
        let mut state = self.lock();
        let waits = state.buffer.len() - state.head;
        let written = state.written;
        if waits == 0 {
            frame::put_bare(&mut state.buffer, kind::PINGREQ);
            state.flush();
        }
        (written, waits)
    }

    /// The broker lives.
    pub(super) fn ponged(&self) {
        self.lock().n_pongs += 1;
    }

    /// Whether nothing is read on purpose, so that no answer can come.
    pub(in crate::mqtt) fn is_paused(&self) -> bool {
        self.lock().is_paused
    }

    /// The reader rests, or reads on.
    pub(in crate::mqtt) fn pause(&self, is_paused: bool) {
        self.lock().is_paused = is_paused;
    }

    /// How often it has said so.
    pub(in crate::mqtt) fn pongs(&self) -> u64 {
        self.lock().n_pongs
    }

    /// Appends and writes the farewell.
    pub(in crate::mqtt) fn part(&self) {
        let mut state = self.lock();
        if state.socket.is_some() {
            frame::put_bare(&mut state.buffer, kind::DISCONNECT);
            let end = state.end_of_buffer();
            state.marks.push_back((end, Mark::Parted));
            state.flush();
        }
    }

    /// Writes what the socket takes.
    pub(in crate::mqtt) fn flush(&self) {
        self.lock().flush();
    }
}

impl State {
    fn clear(&mut self) {
        (self.socket, self.end, self.will_flush) = (None, None, false);
        (self.home, self.is_collecting) = (None, false);
        (self.buffer, self.head, self.written) = (Vec::new(), 0, 0);
        self.marks.clear();
        self.waiting.clear();
        self.on_the_way.clear();
        self.asked.clear();
    }

    fn finish(&mut self, end: End) {
        if let Some(sender) = self.end.take() {
            // Nobody waits for it when the client was dropped.
            let _gone = sender.send(end);
        }
        if let Some(wakers) = &self.wakers {
            wakers.turn.wake_by_ref();
        }
    }

    /// Whether nothing stands before the next byte that the socket does not take.
    fn is_clear(&self) -> bool {
        (self.buffer.is_empty() || self.is_collecting) && self.waiting.is_empty() && self.end.is_some()
    }

    /// Appends payloads at QoS 0 that leave at the end of the turn, or as soon as they are many; how many.
    fn collect(&mut self, (topic, retain): (&str, bool), (bytes, spans): (&[u8], &[(u32, u32)])) -> usize {
        for (index, (start, end)) in spans.iter().enumerate() {
            let payload = &bytes[*start as usize..*end as usize];
            if self.buffer.len() >= CHUNK {
                self.flush();
                if !self.buffer.is_empty() {
                    return index;
                }
            }
            if !frame::fits(topic, payload.len()) {
                return index;
            }
            if !std::mem::replace(&mut self.is_collecting, true)
                && let Some(wakers) = &self.wakers
            {
                wakers.flush.wake_by_ref();
            }
            frame::put_publish(&mut self.buffer, topic, (0, retain, 0), payload);
        }
        spans.len()
    }

    fn end_of_buffer(&self) -> u64 {
        self.written + (self.buffer.len() - self.head) as u64
    }

    fn put(&mut self, topic: &str, (qos, retain): (u8, bool), payload: &[u8]) {
        let pkid = if qos > 0 { self.free_pkid() } else { 0 };
        if qos > 0 {
            self.on_the_way.insert(pkid);
        }
        frame::put_publish(&mut self.buffer, topic, (qos, retain, pkid), payload);
        let end = self.end_of_buffer();
        self.marks.push_back((end, Mark::Published(pkid)));
    }

    fn free_pkid(&mut self) -> u16 {
        loop {
            self.last_pkid = self.last_pkid.checked_add(1).unwrap_or(1);
            let pkid = self.last_pkid;
            // The window is far smaller than the number of ids.
            if !self.on_the_way.contains(&pkid) && !self.asked.contains(&pkid) {
                return pkid;
            }
        }
    }

    /// Moves what has waited into the room of the window.
    fn refill(&mut self) {
        while let Some(next) = self.waiting.front() {
            if next.qos > 0 && self.on_the_way.len() >= self.window {
                return;
            }
            if let Some(Waiting { topic, payload, qos, retain }) = self.waiting.pop_front() {
                self.put(&topic, (qos, retain), &payload);
            }
        }
    }

    /// Has the reader's thread write, together with what else comes until then.
    fn flush_soon(&mut self) {
        if self.will_flush {
            return;
        }
        match &self.wakers {
            Some(wakers) => {
                wakers.turn.wake_by_ref();
                self.will_flush = true;
            }
            None => self.flush(),
        }
    }

    fn flush(&mut self) {
        self.is_collecting = false;
        let Some(socket) = self.socket.clone().filter(|_| self.head < self.buffer.len()) else { return };
        let (taken, failed) = write(&socket, &self.buffer[self.head..]);
        self.head += taken;
        self.written += taken as u64;
        self.settle_buffer();
        while self.marks.front().is_some_and(|(end, _)| *end <= self.written) {
            let Some((_, mark)) = self.marks.pop_front() else { break };
            match mark {
                Mark::Published(pkid) => self.outbox.sent(pkid),
                Mark::Parted => self.finish(End::Parted),
            }
        }
        if let Some(why) = failed {
            self.finish(End::Lost(why));
        }
    }

    /// Gives room back.
    fn settle_buffer(&mut self) {
        if self.head == self.buffer.len() {
            self.head = 0;
            self.buffer.clear();
            if self.buffer.capacity() > KEPT {
                self.buffer = Vec::new();
            }
        } else if self.head > CHUNK && self.head > self.buffer.len() / 2 {
            self.buffer.drain(..self.head);
            self.head = 0;
        }
    }
}

/// Writes until the socket takes no more: how many bytes, and what went wrong.
fn write(mut socket: &TcpStream, bytes: &[u8]) -> (usize, Option<String>) {
    let mut taken = 0;
    while taken < bytes.len() {
        match socket.write(&bytes[taken..]) {
            Ok(0) => return (taken, Some("closed by the broker".to_owned())),
            Ok(more) => taken += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (taken, Some(io_reason(&error))),
        }
    }
    (taken, None)
}

#[cfg(test)]
mod tests;
