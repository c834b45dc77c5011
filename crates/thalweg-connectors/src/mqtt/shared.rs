//! What the task, the sources and the sinks of one connection share: who listens to what, and what is under way.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thalweg_core::connector::{ConnectionStatus, SinkPort};
use thalweg_core::time::Clock;
use tokio::sync::watch;

use super::intake::Intake;
use super::options::{OPERATION_LIMIT, Options};
use super::outbox::{Flight, Landed, Outbox};
use super::routes::{Receiver, Routes};
use super::wire::{Event, Publication, Remote, Wire};

/// What the task, the sources and the sinks of one connection share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) remote: Remote,
    pub(super) intake: Arc<Intake>,
    state: Mutex<State>,
    pub(super) phase: watch::Sender<Phase>,
    /// Whether an attempt to connect has ended, well or not.
    tried: watch::Sender<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Phase {
    New,
    Running,
    /// Asked to end.
    Closing,
    Ended,
}

#[derive(Default)]
struct State {
    status: ConnectionStatus,
    outbox: Outbox,
    /// Filters whose subscription is queued, and sent.
    subscribing: VecDeque<Arc<str>>,
    subscribe_ids: HashMap<u16, Arc<str>>,
    sinks: Vec<(u64, Arc<dyn SinkPort>)>,
    next_id: u64,
}

impl Shared {
    /// A connection that has not begun.
    pub(super) fn new(options: Options, clock: Arc<dyn Clock>, remote: Remote) -> Self {
        let phase = watch::Sender::new(Phase::New);
        let tried = watch::Sender::new(false);
        let intake = Intake::new(Arc::clone(&clock), Arc::<Routes>::default(), remote.clone(), 0);
        Self { options, clock, remote, intake: Arc::new(intake), state: Mutex::default(), phase, tried }
    }

    /// The state now.
    pub(super) fn status(&self) -> ConnectionStatus {
        self.lock().status.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let is_later = *phase < to;
            if is_later {
                *phase = to;
            }
            is_later
        });
    }

    pub(super) async fn close(&self) {
        let is_connected = self.lock().status == ConnectionStatus::Connected;
        let mut phase = self.phase.subscribe();
        if *phase.borrow() == Phase::New {
            return;
        }
        if is_connected {
            self.remote.disconnect();
            let ended = phase.wait_for(|phase| *phase == Phase::Ended);
            let _in_time = tokio::time::timeout(Duration::from_secs(1), ended).await;
        }
        self.advance(Phase::Closing);
    }

    /// Waits until the first attempt to connect has ended, so that what a rule sends right after its start, as a window
    /// that was due while the engine was down, is not refused by a connection that is about to stand.
    pub(super) async fn first_attempt(&self) {
        let mut tried = self.tried.subscribe();
        let ended = tried.wait_for(|tried| *tried);
        let _in_time = tokio::time::timeout(OPERATION_LIMIT, ended).await;
    }

    /// Sets the status and tells everybody who uses the connection.
    fn report(&self, status: &ConnectionStatus) {
        let mut state = self.lock();
        state.status = status.clone();
        let sinks: Vec<_> = state.sinks.iter().map(|(_, port)| Arc::clone(port)).collect();
        drop(state);
        self.tried.send_replace(true);
        sinks.iter().for_each(|port| port.status(status.clone()));
        for receiver in self.intake.routes.now().iter().flat_map(|route| &route.receivers) {
            receiver.inbox.port().status(status.clone());
        }
    }

    /// A number for a source or sink at this connection.
    pub(super) fn new_id(&self) -> u64 {
        let mut state = self.lock();
        state.next_id += 1;
        state.next_id
    }

    /// Lets a source listen to a filter; the first listener of a filter makes the subscription.
    pub(super) fn listen(&self, filter: &str, qos: u8, receiver: Receiver) {
        let mut state = self.lock();
        let port = Arc::clone(receiver.inbox.port());
        let is_new = self.intake.routes.add(filter, qos, receiver);
        if let Some(filter) = is_new.filter(|_| state.status == ConnectionStatus::Connected) {
            self.subscribe(&mut state, filter, qos);
            self.remote.flush();
        }
        let status = state.status.clone();
        drop(state);
        port.status(status);
    }

    /// Ends a source's part in all filters. The last listener of a filter ends the subscription, unless the broker
    /// shall keep it.
    pub(super) fn leave(&self, id: u64, is_parting: bool) {
        let keeps = self.options.keeps(is_parting);
        let state = self.lock();
        let left = self.intake.routes.remove(id);
        if state.status == ConnectionStatus::Connected && !keeps {
            left.iter().for_each(|filter| self.remote.unsubscribe(filter));
            self.remote.flush();
        }
    }

    fn subscribe(&self, state: &mut State, filter: Arc<str>, qos: u8) {
        match self.remote.subscribe(&filter, qos) {
            Some(pkid) => drop(state.subscribe_ids.insert(pkid, filter)),
            None => state.subscribing.push_back(filter),
        }
    }

    /// Lets a sink hear of the connection's state.
    pub(super) fn watch(&self, id: u64, port: Arc<dyn SinkPort>) {
        let mut state = self.lock();
        state.sinks.push((id, Arc::clone(&port)));
        let status = state.status.clone();
        drop(state);
        port.status(status);
    }

    /// Ends [`Shared::watch`].
    pub(super) fn unwatch(&self, id: u64) {
        self.lock().sinks.retain(|(have, _)| *have != id);
    }

    /// Publishes in order and waits until the broker has them (QoS 1, 2) or they are written (QoS 0).
    pub(super) async fn publish(&self, publications: Vec<Publication<'_>>) -> Landed {
        let flight = Arc::new(Flight::default());
        let is_confirmed = publications.iter().any(|publication| publication.qos > 0);
        {
            let mut state = self.lock();
            if let Some(reason) = self.why_not_connected(&state.status) {
                return Landed { taken: 0, refused: None, lost: Some(reason) };
            }
            for publication in publications {
                // Same lock, same order: the ticket's place is the publication's place in the channel.
                if !self.remote.publish(publication, &flight, &mut state.outbox) {
                    let lost = Some(Arc::from("the client has ended"));
                    return Landed { lost, ..flight.landed() };
                }
            }
        }
        self.remote.flush();
        let mut taken = 0;
        loop {
            match tokio::time::timeout(OPERATION_LIMIT, flight.is_over_after_change()).await {
                Ok(true) => return flight.landed(),
                Ok(false) => {}
                Err(_) => {
                    let landed = flight.landed();
                    // D1.1: a broker that takes nothing for 5 s does not confirm. At QoS 0 the driver decides.
                    if is_confirmed && landed.taken == taken {
                        return Landed { lost: Some(Arc::from("no acknowledgement within 5 s")), ..landed };
                    }
                    taken = landed.taken;
                }
            }
        }
    }

    fn why_not_connected(&self, status: &ConnectionStatus) -> Option<Arc<str>> {
        match status {
            ConnectionStatus::Connected => None,
            ConnectionStatus::Connecting => {
                Some(Arc::from(format!("not yet connected to {}", self.options.server)))
            }
            ConnectionStatus::Disconnected(reason) => Some(Arc::clone(reason)),
        }
    }

    pub(super) fn connected(&self, session_present: bool) {
        let mut state = self.lock();
        self.intake.opened(session_present);
        state.status = ConnectionStatus::Connected;
        state.subscribing.clear();
        state.subscribe_ids.clear();
        // Also with a session: the broker may have lost a part of it, and subscribing twice does no harm.
        for route in self.intake.routes.now().iter() {
            self.subscribe(&mut state, Arc::clone(&route.filter), route.qos);
        }
        drop(state);
        self.remote.flush();
        tracing::info!(server = %self.options.server, "mqtt connected");
        self.report(&ConnectionStatus::Connected);
    }

    /// Everything under way is void. The events that were read before the loss are still worth something.
    pub(super) fn lost(self: &Arc<Self>, reason: &Arc<str>, wire: &mut Wire) {
        let mut state = self.lock();
        state.status = ConnectionStatus::Disconnected(Arc::clone(reason));
        self.intake.closed();
        let read_before = wire.reset(reason);
        for event in &read_before {
            match event {
                Event::Sent(pkid) => state.outbox.sent(*pkid),
                Event::Confirmed { pkid, refused } => state.outbox.confirmed(*pkid, refused.clone()),
                _ => {}
            }
        }
        state.outbox.lost(reason);
        drop(state);
        for event in read_before {
            if let Event::Message(message) = event {
                self.intake.deliver(&message);
            }
        }
        self.report(&ConnectionStatus::Disconnected(Arc::clone(reason)));
    }

    pub(super) fn take(self: &Arc<Self>, event: Event) {
        match event {
            Event::Message(message) => self.intake.deliver(&message),
            Event::Sent(pkid) => self.lock().outbox.sent(pkid),
            Event::Confirmed { pkid, refused } => self.lock().outbox.confirmed(pkid, refused),
            Event::Released(pkid) => self.intake.released(pkid),
            Event::SubscribeSent(pkid) => {
                let mut state = self.lock();
                if let Some(filter) = state.subscribing.pop_front() {
                    state.subscribe_ids.insert(pkid, filter);
                }
            }
            Event::Subscribed { pkid, refused } => self.subscribed(pkid, refused),
            Event::Connected { .. } | Event::Parted | Event::Other => {}
        }
    }

    /// A refused subscription is no connection for its sources: nothing will ever come.
    pub(super) fn subscribed(&self, pkid: u16, refused: Option<String>) {
        let filter = self.lock().subscribe_ids.remove(&pkid);
        let (Some(filter), Some(why)) = (filter, refused) else {
            return;
        };
        let text = format!("the broker {} refuses the subscription to {filter}: {why}", self.options.server);
        tracing::warn!(server = %self.options.server, %filter, "mqtt subscription refused: {why}");
        for route in self.intake.routes.now().iter().filter(|route| route.filter == filter) {
            for receiver in &route.receivers {
                receiver.inbox.port().fault(&text);
                receiver.inbox.port().status(ConnectionStatus::Disconnected(Arc::from(text.as_str())));
            }
        }
    }
}
