//! Where a shard waits: for its connections, its bell and its next timer at once.
//!
//! [`Sockets`] gives each connection that has something to do one turn, then everybody else is served; what is still
//! readable comes first again next time. The system is behind [`Poll`], so that tests say themselves what is ready and
//! when. Between two reads of a busy but uneconomic socket the shard rests for a moment (`cooldown.rs`).

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use thalweg_core::polled::{Next, Polled, Readiness};

use super::cooldown::{Budgets, Cooldown};
use super::inbox::Inbox;
use crate::queue::Wake;

/// The bell's number among the sockets.
const BELL: usize = usize::MAX;
/// Connections that get a turn before orders and timers come again: each may bring a whole read.
const TURNS: usize = 32;

/// What the system has to offer for waiting.
pub(crate) trait Poll: Send {
    /// Waits until a watched socket has changed or the bell rings, and adds what has become ready.
    fn wait(&mut self, limit: Option<Duration>, found: &mut Vec<(usize, Readiness)>);

    /// Watches a socket under a number, until it is closed. Each change is told once.
    ///
    /// # Errors
    /// The system cannot.
    fn watch(&mut self, place: usize, socket: BorrowedFd<'_>) -> io::Result<()>;

    /// Watches it no longer.
    fn forget(&mut self, socket: BorrowedFd<'_>);

    /// Lets a moment pass.
    fn rest(&mut self, pause: Duration);
}

/// No sockets at all: shards that are turned by hand.
pub(crate) struct NoPoll;

impl Poll for NoPoll {
    fn wait(&mut self, _limit: Option<Duration>, _found: &mut Vec<(usize, Readiness)>) {}

    fn watch(&mut self, _place: usize, _socket: BorrowedFd<'_>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn forget(&mut self, _socket: BorrowedFd<'_>) {}

    fn rest(&mut self, _pause: Duration) {}
}

/// The system's poller.
pub(crate) struct System {
    poll: mio::Poll,
    events: Events,
}

struct Bell(mio::Waker);

impl Wake for Bell {
    fn wake(&self) {
        if let Err(error) = self.0.wake() {
            tracing::error!(%error, "a shard could not be woken");
        }
    }
}

impl System {
    /// A poller and the bell that ends its wait.
    pub(crate) fn new() -> io::Result<(Self, Arc<dyn Wake>)> {
        let poll = mio::Poll::new()?;
        let bell = mio::Waker::new(poll.registry(), Token(BELL))?;
        Ok((Self { poll, events: Events::with_capacity(256) }, Arc::new(Bell(bell))))
    }
}

impl Poll for System {
    fn wait(&mut self, limit: Option<Duration>, found: &mut Vec<(usize, Readiness)>) {
        match self.poll.poll(&mut self.events, limit) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Err(error) => return tracing::error!(%error, "a shard could not wait"),
        }
        for event in self.events.iter().filter(|event| event.token().0 != BELL) {
            let ended = event.is_error() || event.is_read_closed() || event.is_write_closed();
            let (readable, writable) = (event.is_readable() || ended, event.is_writable() || ended);
            found.push((event.token().0, Readiness { readable, writable, ended }));
        }
    }

    fn watch(&mut self, place: usize, socket: BorrowedFd<'_>) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(place), interest)
    }

    fn forget(&mut self, socket: BorrowedFd<'_>) {
        // Closing it does the same.
        let _known = self.poll.registry().deregister(&mut SourceFd(&socket.as_raw_fd()));
    }

    fn rest(&mut self, pause: Duration) {
        std::thread::sleep(pause);
    }
}

/// The connections of one shard.
pub(crate) struct Sockets {
    poll: Box<dyn Poll>,
    /// By place; the places of those that have ended are given again.
    list: Vec<Option<Box<dyn Polled>>>,
    /// Who gets a turn next: a place once, the one that is due first in front.
    due: VecDeque<usize>,
    is_due: Vec<bool>,
    ready: Vec<Readiness>,
    found: Vec<(usize, Readiness)>,
    cooldown: Cooldown,
    /// How long the rules of the shard let it rest.
    pub(crate) budgets: Budgets,
    /// What the last turns brought.
    messages: usize,
}

impl Sockets {
    pub(crate) fn new(poll: Box<dyn Poll>) -> Self {
        let (list, ready, found) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            poll,
            list,
            due: VecDeque::new(),
            is_due: Vec::new(),
            ready,
            found,
            cooldown: Cooldown::default(),
            budgets: Budgets::default(),
            messages: 0,
        }
    }

    /// Takes a connection over; its first turn follows at once.
    pub(crate) fn adopt(&mut self, mut polled: Box<dyn Polled>, inbox: &Arc<Inbox>) {
        let free = self.list.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            self.list.push(None);
            self.ready.push(Readiness::default());
            self.is_due.push(false);
            self.list.len() - 1
        });
        if let Err(error) = self.poll.watch(place, polled.socket()) {
            return tracing::error!(%error, "a connection cannot be waited for");
        }
        polled.begin(inbox.socket_wakers(place));
        self.list[place] = Some(polled);
        self.ready[place] = Readiness { readable: true, writable: true, ended: false };
        self.put_due(place);
    }

    fn put_due(&mut self, place: usize) {
        if !std::mem::replace(&mut self.is_due[place], true) {
            self.due.push_back(place);
        }
    }

    /// Gives a connection a turn that asked for it.
    pub(crate) fn wake(&mut self, place: usize) {
        if self.list.get(place).is_some_and(Option::is_some) {
            self.put_due(place);
        }
    }

    /// Has a connection write what has come together.
    pub(crate) fn flush(&mut self, place: usize) {
        if let Some(Some(polled)) = self.list.get_mut(place) {
            polled.flush();
        }
    }

    /// One turn for each connection that has something to do, but no more than [`TURNS`] at once; those that are left
    /// come first next time.
    pub(crate) fn turn(&mut self) {
        for _ in 0..self.due.len().min(TURNS) {
            let Some(place) = self.due.pop_front() else { return };
            self.is_due[place] = false;
            let Some(Some(polled)) = self.list.get_mut(place) else { continue };
            let ready = std::mem::take(&mut self.ready[place]);
            let turned = catch_unwind(AssertUnwindSafe(|| polled.turn(ready)));
            let next = turned.map(|turned| {
                self.messages += turned.messages;
                turned.next
            });
            match next {
                Ok(Next::Wait) => {}
                Ok(Next::Again) => self.put_due(place),
                Ok(Next::End) | Err(_) => {
                    self.poll.forget(polled.socket());
                    self.list[place] = None;
                }
            }
        }
    }

    /// Waits until a socket is ready, mail arrives, or `limit` is over; for a moment only when there is more to do.
    pub(crate) fn wait(&mut self, limit: Option<Duration>, inbox: &Inbox, now_micros: u64) {
        let messages = std::mem::take(&mut self.messages);
        if let Some(pause) = self.cooldown.after(messages, now_micros, self.budgets.most()) {
            self.poll.rest(limit.map_or(pause, |limit| pause.min(limit)));
        }
        let has_work = !self.due.is_empty();
        let limit = if !has_work && inbox.fall_asleep() { limit } else { Some(Duration::ZERO) };
        self.poll.wait(limit, &mut self.found);
        inbox.awake();
        let mut found = std::mem::take(&mut self.found);
        for (place, became) in found.drain(..) {
            let Some(ready) = self.ready.get_mut(place) else { continue };
            ready.readable |= became.readable;
            ready.writable |= became.writable;
            ready.ended |= became.ended;
            self.put_due(place);
        }
        self.found = found;
    }
}

#[cfg(test)]
mod tests;
