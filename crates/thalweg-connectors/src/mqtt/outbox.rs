//! What became of our publications.
//!
//! `rumqttc` gives no ticket for a publication. But it takes them in the order in which they were queued and tells
//! the packet id of each as it is written, so a queue of our own tickets beside its channel is enough: the next
//! `Sent(pkid)` belongs to the oldest ticket, and from then on the id stands for it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What is known of one publication.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    Open,
    Taken,
    Refused(String),
}

#[derive(Default)]
struct Progress {
    fates: Vec<Fate>,
    n_open: usize,
    /// Why nothing more will come.
    lost: Option<Arc<str>>,
}

/// Publications of one write.
#[derive(Default)]
pub(super) struct Flight {
    progress: Mutex<Progress>,
    changed: Notify,
}

/// How a write ended.
#[derive(Debug, PartialEq)]
pub(super) struct Landed {
    /// Taken, from the front.
    pub(super) taken: usize,
    /// Why the next one was refused for good.
    pub(super) refused: Option<String>,
    /// Why the connection was lost before all were taken.
    pub(super) lost: Option<Arc<str>>,
}

impl Flight {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn board(self: &Arc<Self>) -> Ticket {
        let mut progress = self.lock();
        progress.fates.push(Fate::Open);
        progress.n_open += 1;
        Ticket { flight: Arc::clone(self), index: progress.fates.len() - 1 }
    }

    /// Resolves when something has changed and says whether all is over.
    pub(super) async fn is_over_after_change(&self) -> bool {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if self.is_over() {
            return true;
        }
        changed.await;
        self.is_over()
    }

    fn is_over(&self) -> bool {
        let progress = self.lock();
        progress.n_open == 0 || progress.lost.is_some()
    }

    /// How it stands.
    pub(super) fn landed(&self) -> Landed {
        let progress = self.lock();
        let taken = progress.fates.iter().take_while(|fate| **fate == Fate::Taken).count();
        let refused = match progress.fates.get(taken) {
            Some(Fate::Refused(why)) => Some(why.clone()),
            _ => None,
        };
        Landed { taken, refused, lost: progress.lost.clone() }
    }
}

/// One publication of a flight.
struct Ticket {
    flight: Arc<Flight>,
    index: usize,
}

impl Ticket {
    fn settle(&self, fate: Fate) {
        let mut progress = self.flight.lock();
        if progress.fates[self.index] == Fate::Open {
            progress.fates[self.index] = fate;
            progress.n_open -= 1;
        }
        // One wake-up for a whole flight; the waiter also looks at the clock.
        let is_over = progress.n_open == 0;
        drop(progress);
        if is_over {
            self.flight.changed.notify_waiters();
        }
    }

    fn lose(&self, reason: &Arc<str>) {
        self.flight.lock().lost.get_or_insert_with(|| Arc::clone(reason));
        self.flight.changed.notify_waiters();
    }
}

/// The tickets of one connection.
#[derive(Default)]
pub(super) struct Outbox {
    unsent: VecDeque<Ticket>,
    unconfirmed: HashMap<u16, Ticket>,
}

impl Outbox {
    /// Notes a publication that is queued right now, under the same lock.
    pub(super) fn queued(&mut self, flight: &Arc<Flight>) {
        self.unsent.push_back(flight.board());
    }

    /// The oldest queued publication was written.
    pub(super) fn sent(&mut self, pkid: u16) {
        let Some(ticket) = self.unsent.pop_front() else {
            return;
        };
        if pkid == 0 {
            ticket.settle(Fate::Taken);
        } else {
            self.unconfirmed.insert(pkid, ticket);
        }
    }

    /// The broker has answered.
    pub(super) fn confirmed(&mut self, pkid: u16, refused: Option<String>) {
        if let Some(ticket) = self.unconfirmed.remove(&pkid) {
            ticket.settle(refused.map_or(Fate::Taken, Fate::Refused));
        }
    }

    /// The connection is gone, and nothing of this will ever be confirmed.
    pub(super) fn lost(&mut self, reason: &Arc<str>) {
        for ticket in self.unsent.drain(..).chain(self.unconfirmed.drain().map(|(_, ticket)| ticket)) {
            ticket.lose(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_taken_prefix_counts() {
        let (mut outbox, flight) = (Outbox::default(), Arc::new(Flight::default()));
        for _ in 0..3 {
            outbox.queued(&flight);
        }
        for pkid in [1, 2, 3] {
            outbox.sent(pkid);
        }
        outbox.confirmed(1, None);
        outbox.confirmed(3, None);
        assert_eq!(flight.landed(), Landed { taken: 1, refused: None, lost: None });
        let reason: Arc<str> = Arc::from("gone");
        outbox.lost(&reason);
        assert_eq!(flight.landed(), Landed { taken: 1, refused: None, lost: Some(reason) });
    }

    #[test]
    fn at_qos_0_written_is_taken_and_a_refusal_is_told() {
        let (mut outbox, flight) = (Outbox::default(), Arc::new(Flight::default()));
        outbox.queued(&flight);
        outbox.queued(&flight);
        outbox.sent(0);
        outbox.sent(7);
        outbox.confirmed(7, Some("NotAuthorized".to_owned()));
        let refused = Some("NotAuthorized".to_owned());
        assert_eq!(flight.landed(), Landed { taken: 1, refused, lost: None });
    }
}
