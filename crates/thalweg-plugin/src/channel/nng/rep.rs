//! REP with the roles reversed, on a raw socket: a thread reads all requests and keeps only the newest, and a call
//! answers it with its command (`portable-plugins.md` 4.3).

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nng::options::{Options as _, SendTimeout};
use nng::{Message, Pipe, PipeEvent, Protocol, RawSocket, Socket};
use thalweg_sp::{Deadline, ExchangeError, Greeting, Limits, Options, Stopwatch, Timing};

/// For giving a message to the library, which hands it on at once.
const SEND: Duration = Duration::from_secs(5);

/// A REP listener with one peer: when a second one connects, the older is disconnected.
pub(crate) struct Rep {
    shared: Arc<Shared>,
    socket: Socket,
    reader: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    is_keepalive: fn(&[u8]) -> bool,
}

#[derive(Default)]
struct State {
    /// Forgotten under the lock before the library forgets it, so that it can be closed while it is here.
    peer: Option<Pipe>,
    /// The header of the newest request, which is not answered yet.
    held: Option<Vec<u8>>,
    /// Whether a request that is no keepalive is the answer to a call.
    calling: bool,
    answer: Option<Vec<u8>>,
    closed: bool,
    /// Callers draw numbers and are served in their order.
    next_turn: usize,
    serving: usize,
    timing: Timing,
    /// How many peers there were.
    n_peers: u64,
    greeting: Option<Greeting>,
    /// Since when the peer is at work on a command.
    busy: Option<Stopwatch>,
    /// When the peer was last heard of while nothing was asked, and how often that was.
    heard: Option<(Stopwatch, u32)>,
}

impl State {
    fn change_peer(&mut self, peer: Option<Pipe>) {
        if let Some(old) = std::mem::replace(&mut self.peer, peer) {
            old.close();
        }
        self.n_peers += u64::from(self.peer.is_some());
        self.held = None;
        self.greeting = None;
        (self.busy, self.heard) = (None, None);
    }
}

impl Rep {
    /// Listens on `path`. `is_keepalive` tells requests that are not results.
    pub(crate) fn listen(path: &Path, options: Options, is_keepalive: fn(&[u8]) -> bool) -> io::Result<Self> {
        let socket = RawSocket::new(Protocol::Rep0)?.socket;
        socket.set_opt::<SendTimeout>(Some(SEND))?;
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), is_keepalive });
        let (peers, welcome) = (Arc::clone(&shared), options.clone());
        socket.pipe_notify(move |pipe, event| peers.note(pipe, event, &welcome))?;
        super::listen(&socket, path, &options)?;
        let (requests, source) = (Arc::clone(&shared), socket.clone());
        let reader =
            std::thread::Builder::new().name("nng-rep".to_owned()).spawn(move || requests.read(&source))?;
        Ok(Self { shared, socket, reader: Mutex::new(Some(reader)) })
    }

    /// Sends a command and waits for its result. Callers take turns in the order in which they come.
    pub(crate) fn exchange(&self, command: &[u8], limits: Limits) -> Result<Vec<u8>, ExchangeError> {
        self.exchange_on(None, command, limits, &mut || {})
    }

    /// The same with the peer of this number and no other. `meanwhile` is run once while the peer is at work.
    pub(crate) fn exchange_on(
        &self,
        connection: Option<u64>,
        command: &[u8],
        limits: Limits,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Vec<u8>, ExchangeError> {
        let whole = Stopwatch::start();
        let mut state = self.shared.lock();
        let turn = state.next_turn;
        state.next_turn += 1;
        while state.serving != turn && !state.closed {
            state = self.shared.wait(state, Deadline::never());
        }
        drop(state);
        let waiting = whole.elapsed();
        let result = self.exchange_in_turn(connection, command, limits, meanwhile);
        let mut state = self.shared.lock();
        state.timing.add(waiting, whole.elapsed().saturating_sub(waiting));
        state.calling = false;
        state.serving += 1;
        drop(state);
        self.shared.changed.notify_all();
        result
    }

    fn exchange_in_turn(
        &self,
        connection: Option<u64>,
        command: &[u8],
        limits: Limits,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Vec<u8>, ExchangeError> {
        let peer = self.wait_held(Deadline::after(limits.hand_over))?;
        let answer = Deadline::after(limits.answer);
        let mut meanwhile = Some(meanwhile);
        let mut state = self.shared.lock();
        if state.peer != Some(peer) || connection.is_some_and(|wanted| wanted != state.n_peers) {
            return Err(ExchangeError::Gone("another process has connected".to_owned()));
        }
        state.answer = None;
        state.calling = true;
        loop {
            if state.closed {
                return Err(ExchangeError::Closed);
            }
            if let Some(answer) = state.answer.take() {
                return Ok(answer);
            }
            if state.peer != Some(peer) {
                return Err(ExchangeError::Gone("connection closed".to_owned()));
            }
            // The second time it is a keepalive that crossed our answer, which the peer threw away.
            if let Some(header) = state.held.take() {
                state.busy.get_or_insert_with(Stopwatch::start);
                drop(state);
                self.send(&header, command)?;
                if let Some(meanwhile) = meanwhile.take() {
                    meanwhile();
                }
                state = self.shared.lock();
            } else if answer.is_over() {
                return Err(ExchangeError::Timeout);
            } else {
                state = self.shared.wait(state, answer);
            }
        }
    }

    /// Waits until the peer is ready for a command.
    fn wait_held(&self, deadline: Deadline) -> Result<Pipe, ExchangeError> {
        let mut state = self.shared.lock();
        let mut seen = None;
        loop {
            match state.peer {
                _ if state.closed => return Err(ExchangeError::Closed),
                Some(peer) if state.held.is_some() => return Ok(peer),
                None if seen.is_some() => return Err(ExchangeError::Gone("connection closed".to_owned())),
                None if deadline.is_over() => return Err(ExchangeError::NoPeer),
                Some(_) if deadline.is_over() => return Err(ExchangeError::Late),
                peer => seen = peer,
            }
            state = self.shared.wait(state, deadline);
        }
    }

    fn send(&self, header: &[u8], command: &[u8]) -> Result<(), ExchangeError> {
        let mut message = Message::from(command);
        message.as_mut_header().push_back(header);
        self.socket.send(message).map_err(|(_, error)| match error {
            nng::Error::Closed => ExchangeError::Closed,
            error => ExchangeError::Gone(error.to_string()),
        })
    }

    /// Waits until a peer has sent a request. False when the deadline has come or `is_cancelled`.
    pub(crate) fn wait_request(&self, deadline: Deadline, is_cancelled: &dyn Fn() -> bool) -> bool {
        let mut state = self.shared.lock();
        loop {
            if state.held.is_some() {
                return true;
            }
            if state.closed || deadline.is_over() || is_cancelled() {
                return false;
            }
            state = self.shared.wait(state, deadline);
        }
    }

    /// How the present peer has greeted; `None` when there is none, or its first request has not come yet.
    pub(crate) fn greeting(&self) -> Option<Greeting> {
        self.shared.lock().greeting.clone()
    }

    /// How long the peer has been at work on a command, also on one whose answer nobody waits for any more.
    pub(crate) fn busy(&self) -> Option<Duration> {
        self.shared.lock().busy.map(Stopwatch::elapsed)
    }

    /// How long nothing was heard of an idle peer that has sent keepalives before; `None` for one that does not.
    pub(crate) fn silence(&self) -> Option<Duration> {
        let state = self.shared.lock();
        let (last, n_keepalives) = state.heard?;
        (n_keepalives >= 2 && state.busy.is_none()).then(|| last.elapsed())
    }

    /// The number of the present peer, if it has greeted.
    pub(crate) fn connection(&self) -> Option<u64> {
        self.shared.lock().greeting.as_ref().map(|greeting| greeting.connection)
    }

    /// Makes [`Rep::wait_request`] ask `is_cancelled` again.
    pub(crate) fn wake(&self) {
        drop(self.shared.lock());
        self.shared.changed.notify_all();
    }

    /// Whether [`Rep::close`] was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// Callers that wait or are being served.
    pub(crate) fn n_callers(&self) -> usize {
        let state = self.shared.lock();
        state.next_turn - state.serving
    }

    /// What all exchanges so far have taken together.
    pub(crate) fn timing(&self) -> Timing {
        self.shared.lock().timing
    }

    /// Ends the connection of the present peer.
    pub(crate) fn disconnect(&self) {
        self.shared.lock().change_peer(None);
        self.shared.changed.notify_all();
    }

    /// Ends everything: callers fail, the socket's file goes. Idempotent.
    pub(crate) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        self.socket.close();
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = reader {
            // It has nothing to return; that it panicked is in the log.
            let _ = reader.join();
        }
    }
}

impl Drop for Rep {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, deadline: Deadline) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, deadline.left_at_most(Duration::from_secs(3600)));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// The library has a peer, or has lost one.
    fn note(&self, pipe: Pipe, event: PipeEvent, options: &Options) {
        match event {
            PipeEvent::AddPre if super::is_welcome(pipe, options) => {
                self.lock().change_peer(Some(pipe));
            }
            PipeEvent::AddPre => pipe.close(),
            PipeEvent::RemovePost => {
                let mut state = self.lock();
                if state.peer == Some(pipe) {
                    state.peer = None;
                    state.held = None;
                    state.greeting = None;
                    (state.busy, state.heard) = (None, None);
                }
            }
            _ => {}
        }
        self.changed.notify_all();
    }

    /// The reader's thread, until the socket is closed.
    fn read(&self, socket: &Socket) {
        while let Ok(mut request) = socket.recv() {
            let from = request.pipe();
            let mut state = self.lock();
            if from.is_some() && state.peer == from {
                if state.calling && !(self.is_keepalive)(&request) {
                    state.answer = Some(request.to_vec());
                    state.calling = false;
                }
                if state.greeting.is_none() {
                    let connection = state.n_peers;
                    state.greeting = Some(Greeting { connection, message: Arc::from(request.as_slice()) });
                }
                if state.held.is_some() {
                    let n_keepalives = state.heard.map_or(0, |(_, n_keepalives)| n_keepalives);
                    state.heard = Some((Stopwatch::start(), n_keepalives.saturating_add(1)));
                } else if let Some((last, _)) = &mut state.heard {
                    *last = Stopwatch::start();
                }
                state.busy = None;
                state.held = Some(request.as_header().as_slice().to_vec());
            }
            drop(state);
            self.changed.notify_all();
        }
    }
}
