//! REP with the roles reversed: the peer's requests are answered with our commands, and a request that is no
//! keepalive is the result of the command before it (`docs/compat/portable-plugins.md` 4.3).
//!
//! Between calls a thread of the listener accepts, greets and reads, and keeps only the newest request. A call
//! borrows the connection from that thread and reads the answer itself, so that it costs no hand-over.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::conn::Conn;
use crate::deadline::{Deadline, Stopwatch};
use crate::listener::Listener;
use crate::sys::{poll, readable};
use crate::{Options, Protocol};

/// While a call has the connection, the listener's thread looks this often whether it is back.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A peer that has sent so many keepalives is expected to go on.
const REGULAR: u32 = 2;

/// Why an exchange failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeError {
    /// The listener was closed.
    Closed,
    /// Nobody has connected within the time to hand over.
    NoPeer,
    /// The peer still works on a command whose answer nobody waits for any more.
    Late,
    /// The command was handed over, but no answer came in time.
    Timeout,
    /// The peer went away, with the reason.
    Gone(String),
}

/// How long an exchange may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until the command is handed over. Waiting for other callers does not count.
    pub hand_over: Duration,
    /// From then until the answer.
    pub answer: Duration,
}

/// What all exchanges so far have taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timing {
    /// How many there were.
    pub calls: u64,
    /// Waiting for other callers.
    pub waiting: Duration,
    /// From then until the result or the error.
    pub calling: Duration,
}

impl Timing {
    /// Adds one exchange.
    pub fn add(&mut self, waiting: Duration, calling: Duration) {
        self.calls += 1;
        self.waiting = self.waiting.saturating_add(waiting);
        self.calling = self.calling.saturating_add(calling);
    }
}

/// How the present peer has greeted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Counts peers from 1: another number, another peer.
    pub connection: u64,
    /// The peer's first request.
    pub message: Arc<[u8]>,
}

/// A REP listener with one peer: when a second one connects, the older is disconnected.
pub struct Rep {
    pub(crate) inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

pub(crate) struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    waker: UnixStream,
    is_keepalive: fn(&[u8]) -> bool,
}

pub(crate) struct State {
    slot: Slot,
    closed: bool,
    /// Callers in order of arrival; the first has the turn.
    turns: VecDeque<u64>,
    next_turn: u64,
    timing: Timing,
    /// How many peers there were.
    n_peers: u64,
    /// Who wait in [`Rep::wait_request`].
    n_watching: usize,
    /// Since when the peer is at work on a command.
    busy: Option<Stopwatch>,
    /// When the peer was last heard of while nothing was asked, and how often that was.
    pub(crate) heard: Option<(Stopwatch, u32)>,
}

enum Slot {
    Empty,
    Idle(Box<Line>),
    /// A call has the line; this is its stream, to end it from outside, and how its peer has greeted.
    Lent(Arc<UnixStream>, Option<Greeting>),
}

/// A connection and where it stands in the protocol.
struct Line {
    conn: Conn,
    /// The id of the newest request, which is not answered yet. Without one the peer is at work on a command,
    /// perhaps one whose caller has given up; the request that it sends then is of no interest.
    held: Option<Vec<u8>>,
    connection: u64,
    greeting: Option<Greeting>,
}

impl Rep {
    /// Listens on `path`. `is_keepalive` tells requests that are not results.
    ///
    /// # Errors
    /// The socket cannot be bound.
    pub fn listen(path: &Path, options: Options, is_keepalive: fn(&[u8]) -> bool) -> io::Result<Self> {
        let listener = Listener::bind(path, Protocol::Rep, options)?;
        let (waker, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let state = State {
            slot: Slot::Empty,
            closed: false,
            turns: VecDeque::new(),
            next_turn: 0,
            timing: Timing::default(),
            n_peers: 0,
            n_watching: 0,
            busy: None,
            heard: None,
        };
        let inner =
            Arc::new(Inner { state: Mutex::new(state), changed: Condvar::new(), waker, is_keepalive });
        let server = Arc::clone(&inner);
        let thread = std::thread::Builder::new()
            .name("sp-rep".to_owned())
            .spawn(move || serve(&server, listener, woken))?;
        Ok(Self { inner, thread: Mutex::new(Some(thread)) })
    }

    /// Sends a command and waits for its result. Callers take turns in the order in which they come.
    ///
    /// # Errors
    /// See [`ExchangeError`]. After a time-out the peer owes a result; later exchanges wait for it and drop it.
    pub fn exchange(&self, command: &[u8], limits: Limits) -> Result<Vec<u8>, ExchangeError> {
        self.exchange_on(None, command, limits, &mut || {})
    }

    /// The same with the peer of this number ([`Greeting::connection`]) and no other. `meanwhile` is run once while
    /// the peer is at work on the command.
    ///
    /// # Errors
    /// See [`ExchangeError`]; [`ExchangeError::Gone`] also when another peer is there.
    pub fn exchange_on(
        &self,
        connection: Option<u64>,
        command: &[u8],
        limits: Limits,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Vec<u8>, ExchangeError> {
        let whole = Stopwatch::start();
        let turn = self.inner.take_turn()?;
        let waiting = whole.elapsed();
        let hand_over = Deadline::after(limits.hand_over);
        let result = self.inner.borrow_line(hand_over).and_then(|mut line| {
            if connection.is_some_and(|wanted| wanted != line.connection) {
                self.inner.return_line(line, true);
                return Err(ExchangeError::Gone("another process has connected".to_owned()));
            }
            let sent = line.hand_over(command, hand_over);
            let result = sent.and_then(|()| {
                let deadline = Deadline::after(limits.answer);
                meanwhile();
                line.result(command, deadline, self.inner.is_keepalive)
            });
            self.inner.return_line(line, !matches!(result, Err(ExchangeError::Gone(_))));
            result
        });
        self.inner.end_turn(turn, (waiting, whole.elapsed().saturating_sub(waiting)));
        result
    }

    /// Waits until a peer has sent a request, which is how a plugin says that it is there. False when the deadline
    /// has come or `is_cancelled` (asked again after every [`Rep::wake`]).
    pub fn wait_request(&self, deadline: Deadline, is_cancelled: &dyn Fn() -> bool) -> bool {
        let mut state = self.inner.lock();
        state.n_watching += 1;
        let has_come = loop {
            if matches!(&state.slot, Slot::Idle(line) if line.held.is_some()) {
                break true;
            }
            if state.closed || deadline.is_over() || is_cancelled() {
                break false;
            }
            state = self.inner.wait(state, deadline);
        };
        state.n_watching -= 1;
        has_come
    }

    /// How the present peer has greeted; `None` when there is none, or its first request has not come yet.
    pub fn greeting(&self) -> Option<Greeting> {
        match &self.inner.lock().slot {
            Slot::Empty => None,
            Slot::Idle(line) => line.greeting.clone(),
            Slot::Lent(_, greeting) => greeting.clone(),
        }
    }

    /// How long the peer has been at work on a command, also on one whose answer nobody waits for any more; `None`
    /// while it waits for commands, or is not there.
    pub fn busy(&self) -> Option<Duration> {
        self.inner.lock().busy.map(Stopwatch::elapsed)
    }

    /// How long nothing was heard of an idle peer that has sent keepalives before; `None` for one that does not.
    pub fn silence(&self) -> Option<Duration> {
        let state = self.inner.lock();
        let (last, n_keepalives) = state.heard?;
        (n_keepalives >= REGULAR && state.busy.is_none()).then(|| last.elapsed())
    }

    /// The number of the present peer, if it has greeted ([`Greeting::connection`]).
    pub fn connection(&self) -> Option<u64> {
        match &self.inner.lock().slot {
            Slot::Empty => None,
            Slot::Idle(line) => line.greeting.as_ref().map(|greeting| greeting.connection),
            Slot::Lent(_, greeting) => greeting.as_ref().map(|greeting| greeting.connection),
        }
    }

    /// Makes [`Rep::wait_request`] ask `is_cancelled` again.
    pub fn wake(&self) {
        drop(self.inner.lock());
        self.inner.changed.notify_all();
    }

    /// Whether a peer is connected, as far as is known.
    pub fn is_connected(&self) -> bool {
        !matches!(self.inner.lock().slot, Slot::Empty)
    }

    /// Whether [`Rep::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// Callers that wait or are being served.
    pub fn n_callers(&self) -> usize {
        self.inner.lock().turns.len()
    }

    /// What all exchanges so far have taken together.
    pub fn timing(&self) -> Timing {
        self.inner.lock().timing
    }

    /// Ends the connection of the present peer.
    pub fn disconnect(&self) {
        let mut state = self.inner.lock();
        (state.busy, state.heard) = (None, None);
        end(std::mem::replace(&mut state.slot, Slot::Empty));
    }

    /// Ends everything: callers fail, the socket's file goes. Idempotent.
    pub fn close(&self) {
        let mut state = self.inner.lock();
        state.closed = true;
        end(std::mem::replace(&mut state.slot, Slot::Empty));
        drop(state);
        self.inner.changed.notify_all();
        // A full pipe wakes the thread as well.
        let _ = (&self.inner.waker).write(&[0]);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Rep {
    fn drop(&mut self) {
        self.close();
    }
}

impl State {
    /// The peer has answered, and waits for commands again.
    fn note_idle(&mut self) {
        self.busy = None;
        if let Some((last, _)) = &mut self.heard {
            *last = Stopwatch::start();
        }
    }
}

/// Disconnects whoever is in the slot. A caller who has the line sees the end of its stream.
fn end(slot: Slot) {
    if let Slot::Lent(stream, _) = slot {
        // It fails only if it is disconnected already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

impl Inner {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, deadline: Deadline) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, deadline.left_at_most(Duration::from_secs(3600)));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn take_turn(&self) -> Result<u64, ExchangeError> {
        let mut state = self.lock();
        let turn = state.next_turn;
        state.next_turn += 1;
        state.turns.push_back(turn);
        while state.turns.front() != Some(&turn) && !state.closed {
            state = self.wait(state, Deadline::never());
        }
        if state.closed {
            state.turns.retain(|other| *other != turn);
            return Err(ExchangeError::Closed);
        }
        Ok(turn)
    }

    fn end_turn(&self, turn: u64, (waiting, calling): (Duration, Duration)) {
        let mut state = self.lock();
        state.timing.add(waiting, calling);
        state.turns.retain(|other| *other != turn);
        let others_wait = !state.turns.is_empty();
        drop(state);
        if others_wait {
            self.changed.notify_all();
        }
    }

    fn borrow_line(&self, deadline: Deadline) -> Result<Box<Line>, ExchangeError> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(ExchangeError::Closed);
            }
            match std::mem::replace(&mut state.slot, Slot::Empty) {
                Slot::Idle(line) => {
                    state.slot = Slot::Lent(Arc::clone(line.conn.stream()), line.greeting.clone());
                    // One that owes an answer still has been at work since then.
                    state.busy.get_or_insert_with(Stopwatch::start);
                    return Ok(line);
                }
                other => state.slot = other,
            }
            if deadline.is_over() {
                return Err(ExchangeError::NoPeer);
            }
            state = self.wait(state, deadline);
        }
    }

    /// Gives the line back, unless another peer has taken its place meanwhile.
    fn return_line(&self, line: Box<Line>, is_alive: bool) {
        let mut state = self.lock();
        if matches!(&state.slot, Slot::Lent(stream, _) if Arc::ptr_eq(stream, line.conn.stream())) {
            if !is_alive || line.held.is_some() {
                state.note_idle();
            }
            state.slot = if is_alive { Slot::Idle(line) } else { Slot::Empty };
            // Whoever waits for the first request may have slept through it.
            if state.n_watching > 0 {
                self.changed.notify_all();
            }
        }
    }

    /// A peer has greeted: it takes the place of the one before.
    fn install(&self, conn: Conn) {
        let mut state = self.lock();
        state.n_peers += 1;
        let mut line = Box::new(Line { conn, held: None, connection: state.n_peers, greeting: None });
        if state.closed || line.take_in().is_err() {
            return;
        }
        end(std::mem::replace(&mut state.slot, Slot::Idle(line)));
        (state.busy, state.heard) = (None, None);
        drop(state);
        self.changed.notify_all();
    }

    /// Reads what has come on the line while nobody used it.
    fn read_idle(&self, fd: i32) {
        use std::os::fd::AsRawFd;
        let mut state = self.lock();
        let Slot::Idle(line) = &mut state.slot else { return };
        if line.conn.as_raw_fd() != fd {
            return;
        }
        let was_held = line.held.is_some();
        let read = line.conn.fill().and_then(|_| line.take_in());
        let is_held = line.held.is_some();
        if read.is_err() {
            state.slot = Slot::Empty;
            (state.busy, state.heard) = (None, None);
        } else if was_held {
            let n_keepalives = state.heard.map_or(0, |(_, n_keepalives)| n_keepalives);
            state.heard = Some((Stopwatch::start(), n_keepalives.saturating_add(1)));
        } else if is_held {
            state.note_idle();
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl Line {
    /// Gives the peer a command, once it is ready for one.
    fn hand_over(&mut self, command: &[u8], deadline: Deadline) -> Result<(), ExchangeError> {
        // All requests that wait are read first; only an answer to the newest reaches the peer.
        while self.conn.fill().map_err(gone)? {}
        self.take_in().map_err(gone)?;
        while self.held.is_none() {
            if !self.conn.wait_readable(deadline).map_err(gone)? {
                return Err(ExchangeError::Late);
            }
            self.conn.fill().map_err(gone)?;
            self.take_in().map_err(gone)?;
        }
        self.answer_held(command, deadline).map_err(gone)
    }

    /// Waits for the result of the command.
    fn result(
        &mut self,
        command: &[u8],
        deadline: Deadline,
        is_keepalive: fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, ExchangeError> {
        loop {
            while let Some((id, body)) = self.next_request().map_err(gone)? {
                self.held = Some(id);
                if !is_keepalive(&body) {
                    return Ok(body);
                }
                // The keepalive crossed our answer, which the peer threw away: it counts only now.
                self.answer_held(command, deadline).map_err(gone)?;
            }
            if !self.conn.wait_readable(deadline).map_err(gone)? {
                return Err(ExchangeError::Timeout);
            }
            self.conn.fill().map_err(gone)?;
        }
    }

    fn answer_held(&mut self, command: &[u8], deadline: Deadline) -> io::Result<()> {
        let id = self.held.take().unwrap_or_default();
        self.conn.send(&id, command, deadline)
    }

    /// Takes in all whole requests received, keeping the newest.
    fn take_in(&mut self) -> io::Result<()> {
        while let Some((id, _)) = self.next_request()? {
            self.held = Some(id);
        }
        Ok(())
    }

    fn next_request(&mut self) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let Some(mut id) = self.conn.next_message()? else {
            return Ok(None);
        };
        let words = id.chunks_exact(4).position(|word| word[0] & 0x80 != 0);
        let Some(words) = words else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a request without id"));
        };
        let body = id.split_off((words + 1) * 4);
        if self.greeting.is_none() {
            self.greeting =
                Some(Greeting { connection: self.connection, message: Arc::from(body.as_slice()) });
        }
        Ok(Some((id, body)))
    }
}

fn gone(error: io::Error) -> ExchangeError {
    ExchangeError::Gone(reason(&error))
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "connection closed".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The listener's thread: accepts, greets, and reads while nobody calls.
fn serve(inner: &Inner, mut listener: Listener, mut woken: UnixStream) {
    use std::os::fd::AsRawFd;
    loop {
        let mut watched = vec![readable(&woken)];
        listener.watch(&mut watched);
        let n_listener = listener.n_watched();
        let (idle, wait) = match &inner.lock().slot {
            Slot::Idle(line) => (Some(line.conn.as_raw_fd()), None),
            Slot::Lent(..) => (None, Some(LOOK_AGAIN)),
            Slot::Empty => (None, None),
        };
        if let Some(fd) = idle {
            watched.push(readable(&fd));
        }
        if poll(&mut watched, wait).is_err() {
            return;
        }
        if inner.lock().closed {
            return;
        }
        // The bytes only wake; how many there are does not matter.
        let _ = woken.read(&mut [0; 64]);
        let (own, rest) = watched[1..].split_at(n_listener);
        if let (Some(fd), Some(seen)) = (idle, rest.first())
            && seen.revents != 0
        {
            inner.read_idle(fd);
        }
        for conn in listener.admit(own) {
            inner.install(conn);
        }
    }
}
