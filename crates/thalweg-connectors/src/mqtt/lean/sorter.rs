//! From the publications of one read to hand-overs: stretches for the same receivers go as one.
//!
//! The usual message, for one kind of receivers, is never looked at again: its topic is found in a table, and its place
//! in the bytes joins the stretch at hand, of which metadata is made only for receivers that ask. Everything unusual (a
//! payload that ends the stream, answers that wait for a checkpoint, messages sent again) takes the way of single
//! messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use thalweg_core::connector::Offer;
use thalweg_core::polled::Arrivals;
use thalweg_core::time::Timestamp;
use thalweg_core::value::Fields;

use super::frame::{Publish, Wrong};
use super::outlet::Outlet;
use crate::memory::topic::has_wildcard;
use crate::mqtt::intake::{Intake, remembered};
use crate::mqtt::meta;
use crate::mqtt::routes::{Receiver, Route, audience};
use crate::mqtt::wire::Message;

/// Topics that are remembered; beyond, the table begins anew.
const TOPICS: usize = 4_096;
/// Bytes of topics that are remembered.
const TOPIC_BYTES: usize = 1 << 20;

/// Who gets messages of some topics.
struct Audience {
    list: Vec<(Receiver, u8)>,
    /// Whether no receiver wants to see messages one by one.
    is_simple: bool,
}

/// Messages that follow each other on their way to the same receivers.
#[derive(Default)]
struct Stretch {
    audience: Option<Arc<Audience>>,
    qos: u8,
    spans: Vec<(u32, u32)>,
    topics: Vec<(u32, u32)>,
    /// At QoS 1 what is to be answered.
    pkids: Vec<u16>,
    /// What `meta()` shows of each, once a receiver asks.
    meta: Vec<Arc<Fields>>,
}

impl Stretch {
    /// Whether a message at QoS 0 is like the last one: of the same topic.
    fn goes_on(&self, bytes: &[u8], publish: &Publish) -> bool {
        let is_same =
            |(at, len): &(u32, u32)| bytes[*at as usize..][..*len as usize] == bytes[publish.topic.clone()];
        self.qos == 0 && self.audience.is_some() && self.topics.last().is_some_and(is_same)
    }

    fn join(&mut self, publish: &Publish) {
        let place = |range: &std::ops::Range<usize>| (range.start as u32, range.len() as u32);
        self.spans.push(place(&publish.payload));
        self.topics.push(place(&publish.topic));
        if publish.qos == 1 {
            self.pkids.push(publish.pkid);
        }
    }

    fn topic<'a>(&self, bytes: &'a [u8], index: usize) -> &'a [u8] {
        let (at, len) = self.topics[index];
        &bytes[at as usize..][..len as usize]
    }

    /// Makes the metadata. At QoS 0 it is the same for messages of a topic that follow each other.
    fn describe(&mut self, bytes: &[u8]) {
        let mut last: Option<&[u8]> = None;
        for index in 0..self.topics.len() {
            let topic = self.topic(bytes, index);
            let same = self.meta.last().filter(|_| self.qos == 0 && last == Some(topic)).map(Arc::clone);
            let pkid = self.pkids.get(index).copied().unwrap_or_default();
            let made = || Arc::new(meta::plain(&String::from_utf8_lossy(topic), self.qos, pkid));
            let meta = same.unwrap_or_else(made);
            self.meta.push(meta);
            last = Some(topic);
        }
    }

    fn arrivals<'a>(&'a self, (bytes, time): (&'a [u8], Timestamp), has_meta: bool) -> Arrivals<'a> {
        let meta = if has_meta { &self.meta[..] } else { &[] };
        Arrivals { bytes, spans: &self.spans, meta, time }
    }

    /// Offers all to one receiver, with metadata if it asks, which it may begin to do at any time.
    fn offer(&mut self, intake: &Intake, to: (&Receiver, u8), read: (&[u8], Timestamp)) -> (Offer, usize) {
        if to.0.inbox.port().takes_bare()
            && let Ok(taken) = intake.deliver_all(to, self.qos, &self.arrivals(read, false))
        {
            return taken;
        }
        if self.meta.is_empty() {
            self.describe(read.0);
        }
        let taken = intake.deliver_all(to, self.qos, &self.arrivals(read, true));
        taken.unwrap_or((Offer::Full, 0))
    }

    fn clear(&mut self) {
        self.spans.clear();
        self.topics.clear();
        self.pkids.clear();
        self.meta.clear();
    }
}

/// Sorts what arrives at one connection.
pub(in crate::mqtt) struct Sorter {
    intake: Arc<Intake>,
    outlet: Arc<Outlet>,
    generation: u64,
    routes: Arc<Vec<Route>>,
    topics: HashMap<Box<[u8]>, Arc<Audience>>,
    topic_bytes: usize,
    /// Those in use, so that equal ones are one.
    audiences: Vec<Arc<Audience>>,
    /// Those that got messages which wait for an answer.
    promised: Vec<Arc<Audience>>,
    stretch: Stretch,
    is_strict: bool,
    time: Timestamp,
}

impl Sorter {
    pub(in crate::mqtt) fn new(intake: Arc<Intake>, outlet: Arc<Outlet>, generation: u64) -> Self {
        Self {
            intake,
            outlet,
            generation,
            routes: Arc::default(),
            topics: HashMap::new(),
            topic_bytes: 0,
            audiences: Vec::new(),
            promised: Vec::new(),
            stretch: Stretch::default(),
            is_strict: false,
            time: Timestamp(0),
        }
    }

    /// For devices, whose topics and QoS nobody has checked before.
    pub(in crate::mqtt) fn strict(self) -> Self {
        Self { is_strict: true, ..self }
    }

    /// A read begins.
    pub(in crate::mqtt) fn begin(&mut self) {
        self.time = self.intake.clock.now();
        let routes = self.intake.routes.now();
        if !Arc::ptr_eq(&routes, &self.routes) {
            self.routes = routes;
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.topics.clear();
        self.audiences.clear();
        self.promised.clear();
        self.topic_bytes = 0;
    }

    /// Whether a receiver of messages that wait for an answer has so much before it that reading on makes no sense.
    /// `waker` is told when it has not.
    pub(in crate::mqtt) fn is_crowded(&self, waker: &Waker) -> bool {
        let mut receivers = self.promised.iter().flat_map(|audience| &audience.list);
        receivers.any(|(receiver, _)| receiver.inbox.is_crowded() && receiver.inbox.when_uncrowded(waker))
    }

    /// Takes a publication that lies in `bytes`, which stay as they are until [`Sorter::finish`].
    ///
    /// # Errors
    /// Its topic is no text.
    pub(in crate::mqtt) fn take(&mut self, bytes: &[u8], publish: &Publish) -> Result<(), Wrong> {
        if self.is_strict && publish.qos > 1 {
            return Err("a publication has QoS 2, which this port does not take");
        }
        if publish.qos == 0 && self.stretch.goes_on(bytes, publish) {
            self.stretch.join(publish);
            return Ok(());
        }
        let audience = self.audience(&bytes[publish.topic.clone()])?;
        if publish.qos > 0 && !self.promised.iter().any(|have| Arc::ptr_eq(have, &audience)) {
            self.promised.push(Arc::clone(&audience));
        }
        if !self.may_join(&audience, publish) {
            self.hand_over(bytes);
            self.single(bytes, publish)?;
            return Ok(());
        }
        let is_same = self.stretch.audience.as_ref().is_some_and(|have| Arc::ptr_eq(have, &audience));
        if !is_same || self.stretch.qos != publish.qos {
            self.hand_over(bytes);
            (self.stretch.audience, self.stretch.qos) = (Some(audience), publish.qos);
        }
        self.stretch.join(publish);
        Ok(())
    }

    /// The read is over: everything is handed over.
    pub(in crate::mqtt) fn finish(&mut self, bytes: &[u8]) {
        self.hand_over(bytes);
    }

    fn audience(&mut self, topic: &[u8]) -> Result<Arc<Audience>, Wrong> {
        if let Some(known) = self.topics.get(topic) {
            return Ok(Arc::clone(known));
        }
        let name = std::str::from_utf8(topic).map_err(|_| "a topic is not UTF-8")?;
        if self.is_strict && (name.is_empty() || has_wildcard(name) || name.contains('\0')) {
            return Err("a publication has no topic, or one with a wildcard");
        }
        let list = audience(&self.routes, name, self.intake.lane);
        let is_equal = |have: &&Arc<Audience>| {
            have.list.len() == list.len()
                && have
                    .list
                    .iter()
                    .zip(&list)
                    .all(|(have, other)| (have.0.id, have.1) == (other.0.id, other.1))
        };
        let found = self.audiences.iter().find(is_equal).map(Arc::clone);
        let audience = found.unwrap_or_else(|| {
            let is_simple = list.iter().all(|(receiver, _)| receiver.end.is_none());
            let audience = Arc::new(Audience { list, is_simple });
            self.audiences.push(Arc::clone(&audience));
            audience
        });
        if self.topics.len() >= TOPICS || self.topic_bytes + topic.len() > TOPIC_BYTES {
            self.topics.clear();
            self.topic_bytes = 0;
        }
        self.topic_bytes += topic.len();
        self.topics.insert(topic.into(), Arc::clone(&audience));
        Ok(audience)
    }

    /// Whether a message may be handed over with others, unseen.
    fn may_join(&self, audience: &Audience, publish: &Publish) -> bool {
        audience.is_simple
            && match publish.qos {
                0 => true,
                // Several receivers may take different parts of a stretch, so each message has a receipt of its own.
                1 => {
                    !publish.again
                        && matches!(&audience.list[..], [(one, _)] if one.inbox.port().answers_at_once())
                }
                _ => false,
            }
    }

    fn hand_over(&mut self, bytes: &[u8]) {
        let stretch = &mut self.stretch;
        let Some(audience) = stretch.audience.take() else { return };
        for (receiver, granted) in &audience.list {
            let to = (receiver, *granted);
            let (offer, n_taken) = stretch.offer(&self.intake, to, (bytes, self.time));
            if stretch.qos == 0 {
                continue;
            }
            let arrivals = stretch.arrivals((bytes, self.time), false);
            let topic = |index: usize| stretch.topic(bytes, index);
            self.outlet.acknowledge_all(self.generation, &stretch.pkids[..n_taken]);
            let known = (n_taken.saturating_sub(remembered())..n_taken).map(|index| {
                self.intake.identity((stretch.pkids[index], 1), topic(index), arrivals.payload(index))
            });
            self.intake.answered(known);
            // The rest one by one, each with a receipt that waits for room. Of a stream that has stopped nothing is
            // answered: a kept session brings it again.
            let rest = if offer == Offer::Full { n_taken..stretch.pkids.len() } else { 0..0 };
            for index in rest {
                let message =
                    message(topic(index), arrivals.payload(index), (1, stretch.pkids[index], false));
                message.into_iter().for_each(|message| self.intake.deliver(&message));
            }
        }
        stretch.clear();
    }

    fn single(&self, bytes: &[u8], publish: &Publish) -> Result<(), Wrong> {
        let topic = &bytes[publish.topic.clone()];
        let message =
            message(topic, &bytes[publish.payload.clone()], (publish.qos, publish.pkid, publish.again));
        self.intake.deliver(&message.ok_or("a topic is not UTF-8")?);
        Ok(())
    }
}

fn message(topic: &[u8], payload: &[u8], (qos, pkid, again): (u8, u16, bool)) -> Option<Message> {
    let topic = std::str::from_utf8(topic).ok()?.to_owned();
    let payload = Bytes::copy_from_slice(payload);
    Some(Message { topic, payload, qos, pkid, again, properties: Vec::new() })
}

#[cfg(test)]
mod tests;
