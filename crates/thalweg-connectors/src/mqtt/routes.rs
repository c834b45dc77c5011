//! Who listens to what: filters with their receivers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::inbox::Inbox;
use crate::memory::topic;

/// One filter and who listens to it.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) filter: Arc<str>,
    /// The first subscriber's wins (N6.4).
    pub(super) qos: u8,
    pub(super) receivers: Vec<Receiver>,
}

/// A source at a connection.
#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) id: u64,
    pub(super) inbox: Arc<Inbox>,
    /// A payload that ends the stream (S1 eofMessage).
    pub(super) end: Option<Bytes>,
    /// Of a stream that is split over the devices: its number, and how many there are.
    pub(super) part: Option<(u32, u32)>,
}

/// All of them. Replaced whole on each change, so that whoever delivers reads them without holding a lock.
#[derive(Default)]
pub(super) struct Routes {
    list: Mutex<Arc<Vec<Route>>>,
}

impl Routes {
    fn lock(&self) -> MutexGuard<'_, Arc<Vec<Route>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As they are now.
    pub(super) fn now(&self) -> Arc<Vec<Route>> {
        Arc::clone(&self.lock())
    }

    /// Adds a receiver; the filter is returned when nobody listened to it before.
    pub(super) fn add(&self, filter: &str, qos: u8, receiver: Receiver) -> Option<Arc<str>> {
        let mut list = self.lock();
        let routes = Arc::make_mut(&mut list);
        if let Some(route) = routes.iter_mut().find(|route| *route.filter == *filter) {
            route.receivers.push(receiver);
            return None;
        }
        let filter: Arc<str> = Arc::from(filter);
        routes.push(Route { filter: Arc::clone(&filter), qos, receivers: vec![receiver] });
        Some(filter)
    }

    /// Removes a receiver everywhere and tells the filters that nobody listens to any more.
    pub(super) fn remove(&self, id: u64) -> Vec<Arc<str>> {
        let mut list = self.lock();
        let routes = Arc::make_mut(&mut list);
        routes.iter_mut().for_each(|route| route.receivers.retain(|receiver| receiver.id != id));
        let empty = |route: &&Route| route.receivers.is_empty();
        let left = routes.iter().filter(empty).map(|route| Arc::clone(&route.filter)).collect();
        routes.retain(|route| !route.receivers.is_empty());
        left
    }
}

/// Who gets a message of this topic, each once, with the QoS of the subscription. Of the parts of a split stream it is
/// the one for the sender's `lane`.
pub(super) fn audience(routes: &[Route], name: &str, lane: u32) -> Vec<(Receiver, u8)> {
    let mut receivers: Vec<(Receiver, u8)> = Vec::new();
    for route in routes.iter().filter(|route| topic::matches(without_share(&route.filter), name)) {
        let is_meant =
            |receiver: &&Receiver| receiver.part.is_none_or(|(number, count)| lane % count.max(1) == number);
        for receiver in route.receivers.iter().filter(is_meant) {
            // Overlapping filters of one stream are one message.
            if !receivers.iter().any(|(have, _)| have.id == receiver.id) {
                receivers.push((receiver.clone(), route.qos));
            }
        }
    }
    receivers
}

/// `$share/<group>/<filter>` receives what `<filter>` matches.
fn without_share(filter: &str) -> &str {
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((_, filter)) => filter,
        None => filter,
    }
}
