//! One connection to a broker: kept alive for ever, its messages routed, its publications followed.
//!
//! One task per connection, [`drive`], polls the event loop and nothing else; everybody talks to it through the
//! loop's own request channel, so that a slow rule or sink never delays pings. After a loss it backs off from
//! 100 ms to 10 s (N6.3) and subscribes everything anew (S1.1).

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use thalweg_core::connector::{BuildCx, Built, Connection, ConnectionStatus, SinkPort, Spawner};
use thalweg_core::error::IoError;
use thalweg_core::time::Clock;
use tokio::sync::watch;

use super::meta;
use super::options::{KEEP_ALIVE, OPERATION_LIMIT, Options};
use super::outbox::{Flight, Landed, Outbox};
use super::wire::{self, Event, Message, Publication, Remote, Wire};
use crate::inbox::{Content, Inbox, Overflow, Parcel, Receipt};
use crate::memory::topic;
use crate::property::refused;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// A connection that held for so long begins with the first back-off again.
const STABLE_MICROS: u64 = 10_000_000;

/// Makes a named connection, which connects at once (N6.3).
pub(super) fn connect(cx: &BuildCx) -> Built<Arc<dyn Connection>> {
    let client = Client::new(Options::read("mqtt connection", cx)?.for_anyone(), cx);
    client.start();
    Ok(Arc::new(client))
}

/// The client that a source or sink shall use: the named one, or one of its own that is not yet started.
pub(super) fn client_for(owner: &str, cx: &BuildCx) -> Built<Held> {
    match &cx.connection {
        Some(named) => match named.as_any().downcast_ref::<Client>() {
            Some(client) => {
                let shared = Arc::clone(&client.shared);
                Ok(Held { shared, keeps: Keeps::Named(Arc::clone(named)) })
            }
            None => Err(refused(format!("{owner}: the named connection is not of type mqtt"))),
        },
        None => {
            let client = Client::new(Options::read(owner, cx)?, cx);
            Ok(Held { shared: Arc::clone(&client.shared), keeps: Keeps::Own(client) })
        }
    }
}

/// A client in use by one node.
pub(super) struct Held {
    pub(super) shared: Arc<Shared>,
    keeps: Keeps,
}

enum Keeps {
    Own(Client),
    Named(#[allow(dead_code, reason = "held so that the connection lives")] Arc<dyn Connection>),
}

impl Held {
    /// Starts an own client; a named one runs already.
    pub(super) fn start(&self) {
        if let Keeps::Own(client) = &self.keeps {
            client.start();
        }
    }

    /// Whether nobody else uses this client.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.keeps, Keeps::Own(_))
    }

    /// Disconnects an own client; a named one stays.
    pub(super) async fn close(&self) {
        if let Keeps::Own(client) = &self.keeps {
            client.close().await;
        }
    }
}

/// The handle of a connection. Dropping it ends the task.
pub(super) struct Client {
    shared: Arc<Shared>,
    spawner: Arc<dyn Spawner>,
    /// Taken by the task.
    wire: Mutex<Option<Wire>>,
}

/// What the task, the sources and the sinks of one connection share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) clock: Arc<dyn Clock>,
    remote: Remote,
    state: Mutex<State>,
    /// Replaced whole on each change, so that the task reads it without holding a lock while it delivers.
    routes: Mutex<Arc<Vec<Route>>>,
    phase: watch::Sender<Phase>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Phase {
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
            self.shared.acknowledge(state.epoch, self.qos, self.pkid);
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
            self.shared.acknowledge(epoch, self.qos, self.pkid);
        }
    }
}

impl Client {
    fn new(options: Options, cx: &BuildCx) -> Self {
        let (remote, wire) = wire::open(&options);
        let shared = Arc::new(Shared {
            options,
            clock: Arc::clone(&cx.clock),
            remote,
            state: Mutex::default(),
            routes: Mutex::default(),
            phase: watch::Sender::new(Phase::New),
        });
        Self { shared, spawner: Arc::clone(&cx.spawner), wire: Mutex::new(Some(wire)) }
    }

    fn start(&self) {
        let Some(wire) = self.wire.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        self.shared.phase.send_replace(Phase::Running);
        self.spawner.spawn(Box::pin(drive(Arc::clone(&self.shared), wire)));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.advance(Phase::Closing);
    }
}

#[async_trait]
impl Connection for Client {
    async fn ping(&self) -> Result<(), IoError> {
        if self.status() == ConnectionStatus::Connected {
            return Ok(());
        }
        let (remote, mut wire) = wire::open(&self.shared.options.for_trial());
        let first = tokio::time::timeout(OPERATION_LIMIT, wire.poll()).await;
        let reason = match first {
            Ok(Ok(_)) => {
                remote.disconnect();
                let farewell = async { while !matches!(wire.poll().await, Ok(Event::Parted) | Err(_)) {} };
                let _in_time = tokio::time::timeout(OPERATION_LIMIT, farewell).await;
                return Ok(());
            }
            Ok(Err(reason)) => reason,
            Err(_) => "no answer within 5 s".to_owned(),
        };
        Err(IoError::transient(format!("cannot connect to {}: {reason}", self.shared.options.server)))
    }

    fn status(&self) -> ConnectionStatus {
        self.shared.lock().status.clone()
    }

    async fn close(&self) {
        self.shared.close().await;
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn routes(&self) -> Arc<Vec<Route>> {
        Arc::clone(&self.routes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let is_later = *phase < to;
            if is_later {
                *phase = to;
            }
            is_later
        });
    }

    async fn close(&self) {
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

    /// Sets the status and tells everybody who uses the connection.
    fn report(&self, status: &ConnectionStatus) {
        let mut state = self.lock();
        state.status = status.clone();
        let sinks: Vec<_> = state.sinks.iter().map(|(_, port)| Arc::clone(port)).collect();
        drop(state);
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
    /// shall keep it (enableClientSession).
    pub(super) fn leave(&self, id: u64) {
        let state = self.lock();
        let mut slot = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let routes = Arc::make_mut(&mut slot);
        for route in routes.iter_mut() {
            route.receivers.retain(|receiver| receiver.id != id);
            let is_connected = state.status == ConnectionStatus::Connected;
            if route.receivers.is_empty() && is_connected && !self.options.session {
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

    fn acknowledge(&self, epoch: u64, qos: u8, pkid: u16) {
        let state = self.lock();
        if state.epoch == epoch && state.status == ConnectionStatus::Connected {
            self.remote.acknowledge(qos, pkid);
        }
    }

    fn connected(&self, session_present: bool) {
        let mut state = self.lock();
        state.epoch += 1;
        state.status = ConnectionStatus::Connected;
        state.subscribing.clear();
        state.subscribe_ids.clear();
        if !session_present {
            state.unreleased.clear();
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
    fn lost(self: &Arc<Self>, reason: &Arc<str>, wire: &mut Wire) {
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

    fn take(self: &Arc<Self>, event: Event) {
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
            let receipt = receipt.clone().map(|ack| ack as Arc<dyn Receipt>);
            let meta = meta.clone().filter(|_| receiver.inbox.port().wants_meta());
            let content = Content::Bytes(message.payload.clone());
            receiver.inbox.deliver(Parcel { content, time, meta, receipt }, overflow);
        }
    }

    /// The acknowledgement that the message asks for, if it does; `None` when the message is a redelivery at QoS 2.
    #[allow(
        clippy::option_option,
        reason = "a redelivery and a message without acknowledgement are two things"
    )]
    fn receipt(self: &Arc<Self>, message: &Message, n_receivers: usize) -> Option<Option<Arc<Ack>>> {
        if message.qos == 0 {
            return Some(None);
        }
        let mut state = self.lock();
        let epoch = state.epoch;
        let known = state.unreleased.get(&message.pkid).filter(|_| message.qos == 2).cloned();
        if let Some(ack) = known {
            drop(state);
            ack.renew(epoch);
            return None;
        }
        let ack = Arc::new(Ack {
            shared: Arc::clone(self),
            qos: message.qos,
            pkid: message.pkid,
            // Nobody listens any more: acknowledged below.
            state: Mutex::new(AckState { epoch, n_open: n_receivers }),
        });
        if message.qos == 2 {
            state.unreleased.insert(message.pkid, Arc::clone(&ack));
        }
        drop(state);
        if n_receivers == 0 {
            ack.renew(epoch);
        }
        Some(Some(ack))
    }
}

/// `$share/<group>/<filter>` receives what `<filter>` matches.
fn without_share(filter: &str) -> &str {
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((_, filter)) => filter,
        None => filter,
    }
}

/// The task of one connection.
async fn drive(shared: Arc<Shared>, mut wire: Wire) {
    let mut phase = shared.phase.subscribe();
    let mut backoff = FIRST_BACKOFF;
    let mut since = None;
    loop {
        let polled = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase >= Phase::Closing) => break,
            // Pings make an event every KEEP_ALIVE, so silence beyond that is a socket that takes nothing.
            polled = tokio::time::timeout(KEEP_ALIVE + OPERATION_LIMIT, wire.poll()) => polled,
        };
        let reason = match polled {
            Ok(Ok(Event::Connected { session_present })) => {
                since = Some(shared.clock.monotonic_micros());
                if session_present {
                    wire.expect_releases();
                }
                shared.connected(session_present);
                continue;
            }
            Ok(Ok(Event::Parted)) => break,
            Ok(Ok(event)) => {
                shared.take(event);
                continue;
            }
            Ok(Err(reason)) => reason,
            Err(_) => "the broker takes nothing any more".to_owned(),
        };
        let held = since.take().map(|then| shared.clock.monotonic_micros().saturating_sub(then));
        if held.is_some_and(|micros| micros >= STABLE_MICROS) {
            backoff = FIRST_BACKOFF;
        }
        let what = if held.is_some() { "lost the connection to" } else { "cannot connect to" };
        let reason =
            format!("{what} {}: {reason}; next try in {} ms", shared.options.server, backoff.as_millis());
        tracing::warn!(server = %shared.options.server, "mqtt: {reason}");
        shared.lost(&Arc::from(reason), &mut wire);
        tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase >= Phase::Closing) => break,
            () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(LAST_BACKOFF),
        }
    }
    shared.lost(&Arc::from("the connection was closed"), &mut wire);
    shared.advance(Phase::Ended);
}
