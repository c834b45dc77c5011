//! What all connections share: sessions, subscriptions, retained messages.
//!
//! A publication is put into the queue of every session that wants it, at once. A publisher whose message found a
//! crowded queue is told to wait for room ([`Congestion`]) before its next packet is read; so nothing is lost while
//! subscribers live and read. Only past [`HARD`] messages are dropped, counted and logged.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::dialect::{Asked, Hello, Publication};
use crate::memory::topic::{has_wildcard, is_filter, matches};

/// From here on publishers wait.
const SOFT: Limit = Limit { messages: 10_000, bytes: 16 << 20 };
/// From here on messages are dropped: the subscriber is away, or takes nothing.
const HARD: Limit = Limit { messages: 200_000, bytes: 128 << 20 };

struct Limit {
    messages: usize,
    bytes: usize,
}

/// A message on its way to one session.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) publication: Arc<Publication>,
    pub(super) qos: u8,
    pub(super) retain: bool,
}

/// How far a delivery at QoS 1 or 2 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Sent, not answered.
    Sent,
    /// QoS 2: received over there, release sent.
    Released,
}

/// What the broker knows of one client.
pub(super) struct Session {
    /// The connection that serves it; 0: none.
    pub(super) owner: u64,
    pub(super) queue: VecDeque<Delivery>,
    queued_bytes: usize,
    /// Sent and not confirmed, in order.
    pub(super) unconfirmed: VecDeque<(u16, Stage, Delivery)>,
    pub(super) window: usize,
    last_pkid: u16,
    /// QoS 2 messages of the client that it has not released.
    pub(super) received: HashSet<u16>,
    filters: HashSet<String>,
    /// Something is in the queue.
    pub(super) wake: Arc<Notify>,
    /// There is room again.
    room: Arc<Notify>,
    /// Another connection took over.
    pub(super) kick: Arc<Notify>,
    /// Publishers no longer wait for it: it took nothing for too long.
    is_stuck: bool,
    lost: u64,
    expiry: Duration,
    left: Option<Instant>,
}

/// A queue with too much in it, and where to wait for room.
#[derive(Clone)]
pub(super) struct Congestion {
    client: Arc<str>,
    pub(super) room: Arc<Notify>,
}

#[derive(Clone)]
struct Subscriber {
    client: Arc<str>,
    group: Option<Arc<str>>,
    asked: Asked,
}

/// Who gets a message, and how.
struct Receiver {
    client: Arc<str>,
    qos: u8,
    keeps_retain: bool,
}

/// All of it.
#[derive(Default)]
pub(super) struct Hub {
    sessions: HashMap<Arc<str>, Session>,
    /// Subscriptions without wildcards by topic, the others one by one.
    exact: HashMap<String, Vec<Subscriber>>,
    wild: Vec<Subscriber>,
    retained: BTreeMap<String, Delivery>,
    /// Whose turn it is in a shared group.
    turns: HashMap<String, usize>,
    n_connections: u64,
}

impl Session {
    fn new() -> Self {
        Self {
            owner: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            unconfirmed: VecDeque::new(),
            window: 1,
            last_pkid: 0,
            received: HashSet::new(),
            filters: HashSet::new(),
            wake: Arc::default(),
            room: Arc::default(),
            kick: Arc::default(),
            is_stuck: false,
            lost: 0,
            expiry: Duration::ZERO,
            left: None,
        }
    }

    fn exceeds(&self, limit: &Limit) -> bool {
        self.queue.len() >= limit.messages || self.queued_bytes >= limit.bytes
    }

    /// Takes the next delivery that may be sent now, with a packet id at QoS 1 and 2.
    pub(super) fn next(&mut self) -> Option<(u16, Delivery)> {
        let first = self.queue.front()?;
        if first.qos > 0 && self.unconfirmed.len() >= self.window {
            return None;
        }
        let delivery = self.queue.pop_front()?;
        self.queued_bytes = self.queued_bytes.saturating_sub(delivery.publication.payload.len());
        if self.queue.len() <= SOFT.messages / 2 && self.queued_bytes <= SOFT.bytes / 2 {
            self.is_stuck = false;
            self.room.notify_waiters();
        }
        if delivery.qos == 0 {
            return Some((0, delivery));
        }
        let pkid = self.free_pkid();
        self.unconfirmed.push_back((pkid, Stage::Sent, delivery.clone()));
        Some((pkid, delivery))
    }

    fn free_pkid(&mut self) -> u16 {
        loop {
            self.last_pkid = self.last_pkid.checked_add(1).unwrap_or(1);
            if !self.unconfirmed.iter().any(|(pkid, ..)| *pkid == self.last_pkid) {
                return self.last_pkid;
            }
        }
    }

    /// The client has confirmed a delivery.
    pub(super) fn confirmed(&mut self, pkid: u16) {
        if let Some(at) = self.unconfirmed.iter().position(|(have, ..)| *have == pkid) {
            self.unconfirmed.remove(at);
        }
    }

    /// The client has a QoS 2 delivery and may forget it once released.
    pub(super) fn released(&mut self, pkid: u16) {
        if let Some((_, stage, _)) = self.unconfirmed.iter_mut().find(|(have, ..)| *have == pkid) {
            *stage = Stage::Released;
        }
    }

    /// Whether a publisher has to wait.
    fn push(&mut self, client: &str, delivery: Delivery) -> bool {
        let is_away = self.owner == 0;
        if is_away && (delivery.qos == 0 || self.expiry.is_zero()) {
            return false;
        }
        if self.exceeds(&HARD) || (delivery.qos == 0 && self.is_stuck) {
            self.lost += 1;
            if self.lost.is_power_of_two() {
                tracing::warn!(
                    client,
                    lost = self.lost,
                    "mqtt broker: a client takes nothing, messages are dropped"
                );
            }
            return false;
        }
        self.queued_bytes += delivery.publication.payload.len();
        self.queue.push_back(delivery);
        self.wake.notify_one();
        !is_away && !self.is_stuck && self.exceeds(&SOFT)
    }
}

impl Hub {
    /// Takes a client in and says whether its session was there. An older connection of it is ended.
    pub(super) fn connect(&mut self, client: &Arc<str>, hello: &Hello) -> (u64, bool) {
        let is_over = |session: &Session| session.left.is_some_and(|left| left.elapsed() >= session.expiry);
        let over: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| is_over(session))
            .map(|(client, _)| Arc::clone(client))
            .collect();
        over.iter().for_each(|client| self.forget(client));
        if let Some(session) = self.sessions.get(client) {
            session.kick.notify_waiters();
        }
        if hello.is_clean {
            self.forget(client);
        }
        self.n_connections += 1;
        let is_known = self.sessions.contains_key(client);
        let session = self.sessions.entry(Arc::clone(client)).or_insert_with(Session::new);
        session.owner = self.n_connections;
        session.window = hello.window;
        session.expiry = Duration::from_secs(hello.expiry.into());
        session.left = None;
        session.kick = Arc::default();
        (session.owner, is_known)
    }

    /// A connection has ended. Nothing happens when the client already has another one.
    pub(super) fn disconnect(&mut self, client: &Arc<str>, owner: u64) {
        let Some(session) = self.sessions.get_mut(client).filter(|session| session.owner == owner) else {
            return;
        };
        session.owner = 0;
        session.room.notify_waiters();
        if session.expiry.is_zero() {
            self.forget(client);
        } else {
            session.left = Some(Instant::now());
            session.queue.retain(|delivery| delivery.qos > 0);
        }
    }

    /// The session of a connection, unless another one has taken it.
    pub(super) fn session(&mut self, client: &str, owner: u64) -> Option<&mut Session> {
        self.sessions.get_mut(client).filter(|session| session.owner == owner)
    }

    fn forget(&mut self, client: &Arc<str>) {
        let Some(session) = self.sessions.remove(client) else { return };
        session.room.notify_waiters();
        for filter in &session.filters {
            self.remove_filter(client, filter);
        }
    }

    fn remove_filter(&mut self, client: &Arc<str>, written: &str) {
        let (group, filter) = parts(written);
        let is_other = |have: &Subscriber| {
            !(have.client == *client && have.asked.filter == filter && have.group.as_deref() == group)
        };
        self.wild.retain(is_other);
        if let Some(list) = self.exact.get_mut(filter) {
            list.retain(is_other);
            if list.is_empty() {
                self.exact.remove(filter);
            }
        }
    }

    /// Subscribes and says what was granted; `None` for what is no filter.
    pub(super) fn subscribe(&mut self, client: &Arc<str>, asked: &Asked) -> Option<u8> {
        let (group, filter) = parts(&asked.filter);
        if !is_filter(filter) {
            return None;
        }
        self.remove_filter(client, &asked.filter);
        let group: Option<Arc<str>> = group.map(Arc::from);
        let subscriber = Subscriber {
            client: Arc::clone(client),
            group: group.clone(),
            asked: Asked { filter: filter.to_owned(), ..asked.clone() },
        };
        match has_wildcard(filter) {
            true => self.wild.push(subscriber),
            false => self.exact.entry(filter.to_owned()).or_default().push(subscriber),
        }
        let session = self.sessions.get_mut(client)?;
        session.filters.insert(asked.filter.clone());
        if asked.wants_retained && group.is_none() {
            for delivery in
                self.retained.values().filter(|delivery| matches(filter, &delivery.publication.topic))
            {
                let qos = delivery.qos.min(asked.qos);
                session.push(client, Delivery { qos, ..delivery.clone() });
            }
        }
        Some(asked.qos)
    }

    /// Ends a subscription.
    pub(super) fn unsubscribe(&mut self, client: &Arc<str>, filter: &str) {
        self.remove_filter(client, filter);
        if let Some(session) = self.sessions.get_mut(client) {
            session.filters.remove(filter);
        }
    }

    /// Gives a message to everybody who wants it; a congested receiver other than the sender is reported.
    pub(super) fn publish(
        &mut self,
        from: &str,
        publication: Publication,
        qos: u8,
        retain: bool,
    ) -> Option<Congestion> {
        let publication = Arc::new(publication);
        if retain {
            if publication.payload.is_empty() {
                self.retained.remove(&publication.topic);
            } else {
                let kept = Delivery { publication: Arc::clone(&publication), qos, retain: true };
                self.retained.insert(publication.topic.clone(), kept);
            }
        }
        let mut congestion = None;
        for Receiver { client, qos: granted, keeps_retain } in self.receivers(from, &publication.topic) {
            let Some(session) = self.sessions.get_mut(&client) else { continue };
            let delivery = Delivery {
                publication: Arc::clone(&publication),
                qos: qos.min(granted),
                retain: retain && keeps_retain,
            };
            if session.push(&client, delivery) && *client != *from {
                let room = Arc::clone(&session.room);
                congestion = Some(Congestion { client, room });
            }
        }
        congestion
    }

    /// Each receiver once, with its best subscription; of a shared group the member whose turn it is.
    fn receivers(&mut self, from: &str, topic: &str) -> Vec<Receiver> {
        let mut found: Vec<Receiver> = Vec::new();
        let mut groups: BTreeMap<(Arc<str>, &str), Vec<Receiver>> = BTreeMap::new();
        let exact = self.exact.get(topic).into_iter().flatten();
        let wild = self.wild.iter().filter(|subscriber| matches(&subscriber.asked.filter, topic));
        for Subscriber { client, group, asked } in exact.chain(wild) {
            if asked.is_foreign_only && **client == *from {
                continue;
            }
            let client = Arc::clone(client);
            let receiver = Receiver { client, qos: asked.qos, keeps_retain: asked.keeps_retain };
            match group {
                Some(group) => groups.entry((Arc::clone(group), &asked.filter)).or_default().push(receiver),
                None => match found.iter_mut().find(|have| have.client == receiver.client) {
                    Some(best) if best.qos < receiver.qos => *best = receiver,
                    Some(_) => {}
                    None => found.push(receiver),
                },
            }
        }
        for ((group, filter), mut members) in groups {
            let is_here =
                |have: &Receiver| self.sessions.get(&have.client).is_some_and(|session| session.owner != 0);
            if members.iter().any(is_here) {
                members.retain(is_here);
            }
            let turn = self.turns.entry(format!("{group}/{filter}")).or_default();
            *turn = turn.wrapping_add(1);
            let next = *turn % members.len();
            found.push(members.swap_remove(next));
        }
        found
    }

    /// Whether a congested queue still is.
    pub(super) fn is_congested(&self, congestion: &Congestion) -> bool {
        let session = self.sessions.get(&congestion.client);
        session.is_some_and(|session| session.owner != 0 && !session.is_stuck && session.exceeds(&SOFT))
    }

    /// Nobody waits for this receiver any more until it has caught up.
    pub(super) fn give_up(&mut self, congestion: &Congestion) {
        if let Some(session) = self.sessions.get_mut(&congestion.client) {
            session.is_stuck = true;
        }
        congestion.room.notify_waiters();
    }
}

/// `$share/<group>/<filter>` in its parts.
fn parts(written: &str) -> (Option<&str>, &str) {
    match written.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((group, filter)) => (Some(group), filter),
        None => (None, written),
    }
}
