//! Between the reader of a source's channel and the rule: rows in order, credit, and what the source remembers
//! (`portable-plugins.md` 7, 12.7, 12.8).
//!
//! The reader never waits. A process that knows credit sends only as many rows as it was granted; they wait here until
//! the inlet has room, and each row that has gone in is granted again. One of old sends what it likes, which goes to the
//! inlet at once and pushes out the oldest.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use thalweg_core::connector::{ConnectionStatus, RowArrivals, SourcePort, WhenFull};
use thalweg_core::{Clock, Value};
use tokio::sync::mpsc::UnboundedSender;

use crate::channel::{Deadline, PullEvent};
use crate::frame::{decode, source};
use crate::greeting::{Cap, Caps};
use crate::messages::{self, Names, Said};

/// Rows that may be on their way and waiting …
const WINDOW: i64 = 10_000;
/// … and before it is known how large they are.
const FIRST_WINDOW: i64 = 256;
/// The bytes that all of them together may have, about.
const WINDOW_BYTES: usize = 32 << 20;
/// So many times the window is more than a mistake.
const TOO_MANY: i64 = 4;
/// How long a start waits for the reader to see the end of the connection before.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What has arrived, in order.
pub(crate) enum Arrived {
    Rows(RowArrivals),
    Fault(String),
    /// The source has no more rows.
    End,
    /// The connection has ended.
    Disconnected,
}

/// Room for rows, of which the source is to be told.
pub(crate) struct Grant {
    pub(crate) rows: i64,
    /// With which start it was found; the next one says itself how much room there is.
    start: u64,
}

/// See the module's documentation.
pub(crate) struct Feed {
    port: Arc<dyn SourcePort>,
    clock: Arc<dyn Clock>,
    arrivals: UnboundedSender<Arrived>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// What is in force in the process that is connected, or about to be.
    caps: Caps,
    n_connections: usize,
    /// Counts starts.
    n_starts: u64,
    /// What the source remembered behind the newest row that has arrived, as JSON text.
    saved: Option<Arc<str>>,
    window: i64,
    /// Rows that the source may still send; below 0 when it sent more at once.
    granted: i64,
    /// Rows that have arrived and are not in the inlet.
    waiting: i64,
    is_over: bool,
}

impl State {
    /// Rows to be granted now, if they are worth a message.
    fn due(&self) -> Option<i64> {
        let due = self.window - self.granted - self.waiting;
        (self.caps.has(Cap::Credit) && due >= (self.window / 4).max(1)).then_some(due)
    }

    /// Rows of this size are in hand: fewer of them when they are large.
    fn measure(&mut self, n_bytes: usize, n_rows: usize) {
        let size = (n_bytes / n_rows.max(1)).max(1);
        self.window = i64::try_from(WINDOW_BYTES / size).unwrap_or(WINDOW).clamp(16, WINDOW);
    }
}

impl Feed {
    pub(crate) fn new(
        port: &Arc<dyn SourcePort>,
        clock: &Arc<dyn Clock>,
        arrivals: UnboundedSender<Arrived>,
    ) -> Arc<Self> {
        let saved = match port.resume_from() {
            Some(Value::Str(text)) => Some(Arc::from(text.as_ref())),
            _ => None,
        };
        Arc::new(Self {
            port: Arc::clone(port),
            clock: Arc::clone(clock),
            arrivals,
            state: Mutex::new(State {
                caps: Caps::default(),
                n_connections: 0,
                n_starts: 0,
                saved,
                window: FIRST_WINDOW,
                granted: 0,
                waiting: 0,
                is_over: false,
            }),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, deadline: Deadline) -> MutexGuard<'a, State> {
        let wait = deadline.left_at_most(Duration::from_secs(3600));
        self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
    }

    /// What `start` says to a process with these capabilities. Everything that the process before has sent is read
    /// first: its last rows belong to what the source remembers.
    pub(crate) fn starting(&self, caps: Caps) -> Map<String, Json> {
        let deadline = Deadline::after(LAST_WORDS);
        let mut state = self.lock();
        while state.n_connections > 0 && !deadline.is_over() {
            state = self.wait(state, deadline);
        }
        state.caps = caps;
        state.n_starts += 1;
        state.granted = 0;
        let mut further = Map::new();
        if caps.has(Cap::Credit) {
            state.granted = (state.window - state.waiting).max(0);
            further.insert("credit".to_owned(), json!(state.granted));
        }
        if caps.has(Cap::State) {
            further.insert("saves".to_owned(), json!(true));
            let saved = state.saved.as_deref().and_then(|text| serde_json::from_str(text).ok());
            further.extend(saved.map(|saved: Json| ("saved".to_owned(), saved)));
        }
        further
    }

    /// What happens on the channel.
    pub(crate) fn take(&self, event: PullEvent<'_>, names: &mut Names) {
        match event {
            PullEvent::Message(message) => self.message(message, names),
            PullEvent::Connected => {
                self.lock().n_connections += 1;
                // What has gone into the inlet meanwhile is to be granted.
                self.changed.notify_all();
                self.port.status(ConnectionStatus::Connected);
            }
            PullEvent::Disconnected => {
                let mut state = self.lock();
                state.n_connections = state.n_connections.saturating_sub(1);
                drop(state);
                self.changed.notify_all();
                self.send(Arrived::Disconnected);
            }
        }
    }

    fn send(&self, arrived: Arrived) {
        // Nobody listens after the end.
        let _ = self.arrivals.send(arrived);
    }

    fn message(&self, message: &[u8], names: &mut Names) {
        let read = match decode::is_frame(message) {
            true => source::read(message),
            false => messages::read(message, names),
        };
        let mut said = match read {
            Ok(said) => said,
            Err(text) => return self.send_or_tell(text),
        };
        said.arrivals.time = self.clock.now();
        if !self.port.wants_meta() {
            said.arrivals.meta.clear();
        }
        let n_rows = said.arrivals.rows.len();
        let n_waiting = i64::try_from(n_rows).unwrap_or(i64::MAX);
        let (has_credit, is_flood) = {
            let mut state = self.lock();
            self.note_saved(&mut said, &mut state);
            if n_rows > 0 {
                state.measure(message.len(), n_rows);
            }
            state.granted = state.granted.saturating_sub(n_waiting);
            let is_flood = state.waiting > WINDOW * TOO_MANY;
            let has_credit = state.caps.has(Cap::Credit);
            if has_credit && !is_flood {
                state.waiting = state.waiting.saturating_add(n_waiting);
            }
            (has_credit, is_flood)
        };
        let Said { arrivals, faults, is_end, .. } = said;
        if has_credit && is_flood {
            self.port.dropped("queue_full", n_rows as u64);
            self.send(Arrived::Fault(
                "the source sends more than it was granted; rows were dropped".to_owned(),
            ));
        } else if has_credit && n_rows > 0 {
            self.send(Arrived::Rows(arrivals));
        } else if n_rows > 0 {
            // It either fits, or older rows were dropped and counted, or the rule has ended.
            let _ = self.port.offer_rows(&arrivals, WhenFull::DropOldest);
        }
        faults.into_iter().for_each(|text| self.send_or_tell(text));
        if is_end && self.lock().caps.has(Cap::Eof) {
            self.send(Arrived::End);
        }
    }

    /// A fault stands behind the rows that came before it.
    fn send_or_tell(&self, text: String) {
        if self.lock().caps.has(Cap::Credit) {
            self.send(Arrived::Fault(text))
        } else {
            self.port.fault(&text)
        }
    }

    /// What the source remembers goes with its rows, so that a checkpoint has both or neither.
    fn note_saved(&self, said: &mut Said, state: &mut State) {
        let Some(saved) = said.saved.take().filter(|_| state.caps.has(Cap::State)) else { return };
        said.arrivals.offset = Some(Value::text(&saved));
        state.saved = Some(saved);
    }

    /// So many rows have gone into the inlet, or will never do so.
    pub(crate) fn consumed(&self, n_rows: usize) {
        let mut state = self.lock();
        state.waiting = state.waiting.saturating_sub(i64::try_from(n_rows).unwrap_or(i64::MAX)).max(0);
        if state.due().is_some() {
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Waits until rows are to be granted, and counts them as granted; `None` at the end.
    pub(crate) fn next_grant(&self) -> Option<Grant> {
        let mut state = self.lock();
        loop {
            if state.is_over {
                return None;
            }
            if let Some(due) = state.due().filter(|_| state.n_connections > 0) {
                state.granted += due;
                return Some(Grant { rows: due, start: state.n_starts });
            }
            state = self.wait(state, Deadline::never());
        }
    }

    /// The source has not heard of a grant.
    pub(crate) fn take_back(&self, grant: &Grant) {
        let mut state = self.lock();
        if state.n_starts == grant.start {
            state.granted -= grant.rows;
        }
    }

    /// Ends [`Feed::next_grant`].
    pub(crate) fn end(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }
}
