//! What the task, the sources and the sinks of one connection share: who listens to what, and what is under way.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use thalweg_core::connector::{ConnectionStatus, Due, Receipt, SinkPort};
use thalweg_core::time::Clock;
use tokio::sync::watch;

use super::meta;
use super::options::{OPERATION_LIMIT, Options};
use super::outbox::{Flight, Landed, Outbox};
use super::wire::{Event, Message, Publication, Remote, Wire};
use crate::inbox::{Content, Inbox, Overflow, Parcel};
use crate::memory::topic;

/// Answered messages that are remembered: more than any usual window of a broker.
const REMEMBERED: usize = 1_024;

/// What the task, the sources and the sinks of one connection share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) remote: Remote,
    state: Mutex<State>,
    /// Replaced whole on each change, so that the task reads it without holding a lock while it delivers.
    routes: Mutex<Arc<Vec<Route>>>,
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
    /// Counts connections; acknowledgements of an older one are void.
    epoch: u64,
    outbox: Outbox,
    /// Filters whose subscription is queued, and sent.
    subscribing: VecDeque<Arc<str>>,
    subscribe_ids: HashMap<u16, Arc<str>>,
    /// QoS 2 messages that the broker has not released; a redelivery of them is not a new message.
    unreleased: HashMap<u16, Arc<Ack>>,
    /// QoS 1 messages that are not answered.
    unanswered: HashMap<u16, Arc<Ack>>,
    /// Identities of QoS 1 messages that were answered; the answers may have been lost with the connection.
    answered: VecDeque<u64>,
    sinks: Vec<(u64, Arc<dyn SinkPort>)>,
    next_id: u64,
}

/// One filter and who listens to it.
#[derive(Clone)]
struct Route {
    filter: Arc<str>,
    /// The first subscriber's wins (N6.4).
    qos: u8,
    receivers: Vec<Receiver>,
}

/// A source at this connection.
#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) id: u64,
    pub(super) inbox: Arc<Inbox>,
    /// A payload that ends the stream (S1 eofMessage).
    pub(super) end: Option<Bytes>,
}

/// Acknowledges a message when its last receiver has it.
struct Ack {
    shared: Arc<Shared>,
    qos: u8,
    pkid: u16,
    identity: u64,
    state: Mutex<AckState>,
}

struct AckState {
    epoch: u64,
    n_open: usize,
}

impl Receipt for Ack {
    fn accepted(&self) {
        let mut state = self.lock();
        state.n_open = state.n_open.saturating_sub(1);
        if state.n_open == 0 {
            self.shared.acknowledge(state.epoch, self);
        }
    }
}

impl Ack {
    fn lock(&self) -> MutexGuard<'_, AckState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker has sent the message again after a reconnect: it wants its answer on the new connection.
    fn renew(&self, epoch: u64) {
        let mut state = self.lock();
        state.epoch = epoch;
        if state.n_open == 0 {
            self.shared.acknowledge(epoch, self);
        }
    }
}

impl Shared {
    /// A connection that has not begun.
    pub(super) fn new(options: Options, clock: Arc<dyn Clock>, remote: Remote) -> Self {
        let phase = watch::Sender::new(Phase::New);
        let tried = watch::Sender::new(false);
        Self { options, clock, remote, state: Mutex::default(), routes: Mutex::default(), phase, tried }
    }

    /// The state now.
    pub(super) fn status(&self) -> ConnectionStatus {
        self.lock().status.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn routes(&self) -> Arc<Vec<Route>> {
        Arc::clone(&self.routes.lock().unwrap_or_else(PoisonError::into_inner))
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
        for receiver in self.routes().iter().flat_map(|route| &route.receivers) {
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
        let mut slot = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let routes = Arc::make_mut(&mut slot);
        let port = Arc::clone(receiver.inbox.port());
        match routes.iter_mut().find(|route| *route.filter == *filter) {
            Some(route) => route.receivers.push(receiver),
            None => {
                let filter: Arc<str> = Arc::from(filter);
                routes.push(Route { filter: Arc::clone(&filter), qos, receivers: vec![receiver] });
                if state.status == ConnectionStatus::Connected {
                    self.remote.subscribe(&filter, qos);
                    state.subscribing.push_back(filter);
                }
            }
        }
        drop(slot);
        let status = state.status.clone();
        drop(state);
        port.status(status);
    }

    /// Ends a source's part in all filters. The last listener of a filter ends the subscription, unless the broker
    /// shall keep it.
    pub(super) fn leave(&self, id: u64, is_parting: bool) {
        let keeps = self.options.keeps(is_parting);
        let state = self.lock();
        let mut slot = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let routes = Arc::make_mut(&mut slot);
        for route in routes.iter_mut() {
            route.receivers.retain(|receiver| receiver.id != id);
            let is_connected = state.status == ConnectionStatus::Connected;
            if route.receivers.is_empty() && is_connected && !keeps {
                self.remote.unsubscribe(&route.filter);
            }
        }
        routes.retain(|route| !route.receivers.is_empty());
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
                if self.remote.publish(publication) {
                    state.outbox.queued(&flight);
                } else {
                    let lost = Some(Arc::from("the client has ended"));
                    return Landed { lost, ..flight.landed() };
                }
            }
        }
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

    fn acknowledge(&self, epoch: u64, ack: &Ack) {
        let mut state = self.lock();
        if state.epoch == epoch && state.status == ConnectionStatus::Connected {
            self.remote.acknowledge(ack.qos, ack.pkid);
            if state.unanswered.get(&ack.pkid).is_some_and(|other| other.identity == ack.identity) {
                state.unanswered.remove(&ack.pkid);
                state.remember(ack.identity);
            }
        }
    }

    pub(super) fn connected(&self, session_present: bool) {
        let mut state = self.lock();
        state.epoch += 1;
        state.status = ConnectionStatus::Connected;
        state.subscribing.clear();
        state.subscribe_ids.clear();
        if !session_present {
            state.unreleased.clear();
            state.unanswered.clear();
            state.answered.clear();
        }
        // Also with a session: the broker may have lost a part of it, and subscribing twice does no harm.
        for route in self.routes().iter() {
            self.remote.subscribe(&route.filter, route.qos);
            state.subscribing.push_back(Arc::clone(&route.filter));
        }
        drop(state);
        tracing::info!(server = %self.options.server, "mqtt connected");
        self.report(&ConnectionStatus::Connected);
    }

    /// Everything under way is void. The events that were read before the loss are still worth something.
    pub(super) fn lost(self: &Arc<Self>, reason: &Arc<str>, wire: &mut Wire) {
        let mut state = self.lock();
        state.status = ConnectionStatus::Disconnected(Arc::clone(reason));
        let read_before = wire.reset();
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
                self.deliver(message);
            }
        }
        self.report(&ConnectionStatus::Disconnected(Arc::clone(reason)));
    }

    pub(super) fn take(self: &Arc<Self>, event: Event) {
        match event {
            Event::Message(message) => self.deliver(message),
            Event::Sent(pkid) => self.lock().outbox.sent(pkid),
            Event::Confirmed { pkid, refused } => self.lock().outbox.confirmed(pkid, refused),
            Event::Released(pkid) => drop(self.lock().unreleased.remove(&pkid)),
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
    fn subscribed(&self, pkid: u16, refused: Option<String>) {
        let filter = self.lock().subscribe_ids.remove(&pkid);
        let (Some(filter), Some(why)) = (filter, refused) else {
            return;
        };
        let text = format!("the broker {} refuses the subscription to {filter}: {why}", self.options.server);
        tracing::warn!(server = %self.options.server, %filter, "mqtt subscription refused: {why}");
        for route in self.routes().iter().filter(|route| route.filter == filter) {
            for receiver in &route.receivers {
                receiver.inbox.port().fault(&text);
                receiver.inbox.port().status(ConnectionStatus::Disconnected(Arc::from(text.as_str())));
            }
        }
    }

    fn deliver(self: &Arc<Self>, message: Message) {
        let routes = self.routes();
        let mut receivers: Vec<(&Receiver, u8)> = Vec::new();
        for route in
            routes.iter().filter(|route| topic::matches(without_share(&route.filter), &message.topic))
        {
            for receiver in &route.receivers {
                // Overlapping filters of one stream are one message.
                if !receivers.iter().any(|(have, _)| have.id == receiver.id) {
                    receivers.push((receiver, route.qos));
                }
            }
        }
        let Some(receipt) = self.receipt(&message, receivers.len()) else {
            return;
        };
        let wants_meta = receivers.iter().any(|(receiver, _)| receiver.inbox.port().wants_meta());
        let meta = wants_meta.then(|| meta::of(&message));
        let time = self.clock.now();
        for (receiver, qos) in receivers {
            if receiver.end.as_ref().is_some_and(|end| *end == message.payload) {
                receiver.inbox.finish();
                if let Some(ack) = &receipt {
                    ack.accepted();
                }
                continue;
            }
            let overflow = match (message.qos, qos) {
                (0, 0) => Overflow::DropOldest,
                // Dropping the oldest could hit a message that was promised; so the new one goes, counted.
                (0, _) => Overflow::ParkUpTo(0),
                _ => Overflow::Park,
            };
            let due = receipt.clone().map(|ack| {
                let identity = ack.identity;
                Due { receipt: ack, identity, again: message.again }
            });
            let meta = meta.clone().filter(|_| receiver.inbox.port().wants_meta());
            let content = Content::Bytes(message.payload.clone());
            receiver.inbox.deliver(Parcel { content, time, meta, due }, overflow);
        }
    }

    /// The acknowledgement that the message asks for, if it does; `None` when the message was taken before.
    #[allow(
        clippy::option_option,
        reason = "a redelivery and a message without acknowledgement are two things"
    )]
    fn receipt(self: &Arc<Self>, message: &Message, n_receivers: usize) -> Option<Option<Arc<Ack>>> {
        if message.qos == 0 {
            return Some(None);
        }
        let identity = identity(message);
        let mut state = self.lock();
        let epoch = state.epoch;
        let known = match message.qos {
            2 => state.unreleased.get(&message.pkid).cloned(),
            _ => state.unanswered.get(&message.pkid).filter(|ack| ack.identity == identity).cloned(),
        };
        if let Some(ack) = known.filter(|_| message.qos == 2 || message.again) {
            drop(state);
            ack.renew(epoch);
            return None;
        }
        if message.qos == 1 && message.again && state.answered.contains(&identity) {
            self.remote.acknowledge(message.qos, message.pkid);
            return None;
        }
        let ack = Arc::new(Ack {
            shared: Arc::clone(self),
            qos: message.qos,
            pkid: message.pkid,
            identity,
            // Nobody listens any more: acknowledged below.
            state: Mutex::new(AckState { epoch, n_open: n_receivers }),
        });
        match message.qos {
            2 => state.unreleased.insert(message.pkid, Arc::clone(&ack)),
            _ => state.unanswered.insert(message.pkid, Arc::clone(&ack)),
        };
        drop(state);
        if n_receivers == 0 {
            ack.renew(epoch);
        }
        Some(Some(ack))
    }
}

impl State {
    fn remember(&mut self, identity: u64) {
        if self.answered.len() == REMEMBERED {
            self.answered.pop_front();
        }
        self.answered.push_back(identity);
    }
}

/// A number by which a message is known again, equal in every process: the id under which the broker sends it, which a
/// redelivery keeps, and what is in it.
fn identity(message: &Message) -> u64 {
    let parts =
        [&message.pkid.to_le_bytes()[..], &[message.qos], message.topic.as_bytes(), &[0], &message.payload];
    parts
        .iter()
        .copied()
        .flatten()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// `$share/<group>/<filter>` receives what `<filter>` matches.
fn without_share(filter: &str) -> &str {
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((_, filter)) => filter,
        None => filter,
    }
}
