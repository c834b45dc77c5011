//! The lean client and the two protocol versions of `rumqttc` behind one face.
//!
//! Plain TCP at 3.1.1 is spoken by [`super::lean`], where there is a thread that waits for sockets; everything else by
//! `rumqttc`. Its request channel is made so large that it never refuses: publications are bounded by [`super::outbox`],
//! acknowledgements by what the broker keeps in flight.

use std::sync::Arc;

use bytes::Bytes;
use rumqttc::v5::mqttbytes as five;
use rumqttc::{ConnectionError, Outgoing, Packet, QoS, StateError, SubscribeReasonCode, v5};

use super::lean::{Lean, Outlet};
use super::options::{Options, Version};
use super::outbox::{Flight, Outbox};
use super::shared::Shared;

/// Longer than anything that can queue up.
const REQUESTS: usize = usize::MAX >> 1;

/// An incoming publication.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: u8,
    pub(super) pkid: u16,
    /// Whether the broker says that it has sent the message before.
    pub(super) again: bool,
    /// User properties (MQTT 5).
    pub(super) properties: Vec<(String, String)>,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// The broker took us in.
    Connected { session_present: bool },
    /// A publication came.
    Message(Message),
    /// A subscription left with this packet id.
    SubscribeSent(u16),
    /// The broker answered a subscription.
    Subscribed { pkid: u16, refused: Option<String> },
    /// Our next publication was written to the socket; 0 at QoS 0.
    Sent(u16),
    /// The broker has taken a publication of ours, or refused it.
    Confirmed { pkid: u16, refused: Option<String> },
    /// The broker will not send this QoS 2 message again.
    Released(u16),
    /// Our farewell was written.
    Parted,
    /// Nothing that concerns us.
    Other,
}

/// An event loop. Dropping the future of [`Wire::poll`] can lose a packet, so it is dropped only with the wire.
pub(super) enum Wire {
    V4(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
    Lean(Box<Lean>),
}

/// Gives orders to the event loop.
#[derive(Clone)]
pub(super) enum Remote {
    V4(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
    Lean(Arc<Outlet>),
}

/// An event loop that has not yet connected, and its remote. With `polls` there is a thread that waits for sockets.
pub(super) fn open(options: &Options, polls: bool) -> (Remote, Wire) {
    if polls && options.is_plain() {
        let lean = Lean::new(options.clone());
        return (Remote::Lean(Arc::clone(lean.outlet())), Wire::Lean(Box::new(lean)));
    }
    match options.version {
        Version::V4 => {
            let (client, mut events) = rumqttc::AsyncClient::new(options.v4(), REQUESTS);
            let mut network = events.network_options();
            network.set_tcp_nodelay(true);
            events.set_network_options(network);
            (Remote::V4(client), Wire::V4(Box::new(events)))
        }
        Version::V5 => {
            let (client, events) = v5::AsyncClient::new(options.v5(), REQUESTS);
            (Remote::V5(client), Wire::V5(Box::new(events)))
        }
    }
}

impl Wire {
    /// The next event. After an error the next call connects anew. The lean client hands messages to `shared` by itself
    /// and does nothing but connect without.
    pub(super) async fn poll(&mut self, shared: Option<&Arc<Shared>>) -> Result<Event, String> {
        match self {
            Self::Lean(lean) => lean.poll(shared).await,
            Self::V4(events) => events.poll().await.map(event4).map_err(|error| reason4(&error)),
            Self::V5(events) => events.poll().await.map(event5).map_err(|error| reason5(&error)),
        }
    }

    /// Forgets the connection and every order not yet carried out, and gives the events that were already read.
    pub(super) fn reset(&mut self, reason: &Arc<str>) -> Vec<Event> {
        match self {
            Self::Lean(lean) => {
                lean.reset(reason);
                Vec::new()
            }
            Self::V4(events) => {
                events.clean();
                // What was not confirmed is published anew by the outbox's owner, not by the library.
                events.pending.retain(|request| matches!(request, rumqttc::Request::PubRel(_)));
                events.state.collision = None;
                events.state.events.drain(..).map(event4).collect()
            }
            Self::V5(events) => {
                events.clean();
                events.pending.retain(|request| matches!(request, v5::Request::PubRel(_)));
                events.state.collision = None;
                events.state.events.drain(..).map(event5).collect()
            }
        }
    }

    /// Makes the library accept releases of QoS 2 messages received before the reconnect: it forgets their ids and
    /// would end the connection on each release, again and again.
    pub(super) fn expect_releases(&mut self) {
        for pkid in 1..=u16::MAX {
            match self {
                Self::Lean(_) => return,
                Self::V4(events) => {
                    let mut publish = rumqttc::Publish::new("", QoS::ExactlyOnce, Vec::new());
                    publish.pkid = pkid;
                    let _known = events.state.handle_incoming_packet(Packet::Publish(publish));
                    events.state.events.pop_back();
                }
                Self::V5(events) => {
                    let mut publish = five::v5::Publish::new("", five::QoS::ExactlyOnce, Bytes::new(), None);
                    publish.pkid = pkid;
                    let _known = events.state.handle_incoming_packet(v5::Incoming::Publish(publish));
                    events.state.events.pop_back();
                }
            }
        }
    }
}

impl Remote {
    /// Queues a publication and boards the flight; false when the event loop is gone.
    pub(super) fn publish(
        &self,
        publication: Publication<'_>,
        flight: &Arc<Flight>,
        outbox: &mut Outbox,
    ) -> bool {
        if let Self::Lean(outlet) = self {
            return outlet.publish(&publication, flight);
        }
        let is_queued = self.queue(publication);
        if is_queued {
            outbox.queued(flight);
        }
        is_queued
    }

    /// Sends what is queued, if that does not happen by itself.
    pub(super) fn flush(&self) {
        if let Self::Lean(outlet) = self {
            outlet.flush();
        }
    }

    fn queue(&self, publication: Publication<'_>) -> bool {
        let Publication { topic, qos, retain, payload, properties } = publication;
        match self {
            Self::Lean(_) => false,
            Self::V4(client) => client.try_publish(topic, qos4(qos), retain, payload).is_ok(),
            Self::V5(client) if properties.is_empty() => {
                client.try_publish(topic, qos5(qos), retain, payload).is_ok()
            }
            Self::V5(client) => {
                let user_properties = properties.to_vec();
                let properties = five::v5::PublishProperties { user_properties, ..Default::default() };
                client.try_publish_with_properties(topic, qos5(qos), retain, payload, properties).is_ok()
            }
        }
    }

    /// Queues a subscription. Its packet id, unless an event will tell.
    pub(super) fn subscribe(&self, filter: &str, qos: u8) -> Option<u16> {
        let _sent = match self {
            Self::Lean(outlet) => return Some(outlet.subscribe(filter, qos)),
            Self::V4(client) => client.try_subscribe(filter, qos4(qos)).is_ok(),
            Self::V5(client) => client.try_subscribe(filter, qos5(qos)).is_ok(),
        };
        None
    }

    /// Queues the end of a subscription.
    pub(super) fn unsubscribe(&self, filter: &str) {
        let _sent = match self {
            Self::Lean(outlet) => return outlet.unsubscribe(filter),
            Self::V4(client) => client.try_unsubscribe(filter).is_ok(),
            Self::V5(client) => client.try_unsubscribe(filter).is_ok(),
        };
    }

    /// Queues the acknowledgement of a message.
    pub(super) fn acknowledge(&self, qos: u8, pkid: u16) {
        let _sent = match self {
            Self::Lean(outlet) => return outlet.acknowledge(qos, pkid),
            Self::V4(client) => {
                let mut publish = rumqttc::Publish::new("", qos4(qos), Vec::new());
                publish.pkid = pkid;
                client.try_ack(&publish).is_ok()
            }
            Self::V5(client) => {
                let mut publish = five::v5::Publish::new("", qos5(qos), Bytes::new(), None);
                publish.pkid = pkid;
                client.try_ack(&publish).is_ok()
            }
        };
    }

    /// Queues the farewell.
    pub(super) fn disconnect(&self) {
        let _sent = match self {
            Self::Lean(outlet) => return outlet.part(),
            Self::V4(client) => client.try_disconnect().is_ok(),
            Self::V5(client) => client.try_disconnect().is_ok(),
        };
    }
}

/// An outgoing publication.
pub(super) struct Publication<'a> {
    pub(super) topic: &'a str,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) payload: Bytes,
    /// User properties (MQTT 5).
    pub(super) properties: &'a [(String, String)],
}

fn qos4(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

fn qos5(qos: u8) -> five::QoS {
    match qos {
        0 => five::QoS::AtMostOnce,
        1 => five::QoS::AtLeastOnce,
        _ => five::QoS::ExactlyOnce,
    }
}

fn outgoing(outgoing: &Outgoing) -> Event {
    match *outgoing {
        Outgoing::Publish(pkid) => Event::Sent(pkid),
        Outgoing::Subscribe(pkid) => Event::SubscribeSent(pkid),
        Outgoing::Disconnect => Event::Parted,
        _ => Event::Other,
    }
}

fn event4(event: rumqttc::Event) -> Event {
    let packet = match event {
        rumqttc::Event::Outgoing(sent) => return outgoing(&sent),
        rumqttc::Event::Incoming(packet) => packet,
    };
    match packet {
        Packet::ConnAck(ack) => Event::Connected { session_present: ack.session_present },
        Packet::Publish(publish) => Event::Message(Message {
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos as u8,
            pkid: publish.pkid,
            again: publish.dup,
            properties: Vec::new(),
        }),
        Packet::SubAck(ack) => {
            let failed = ack.return_codes.contains(&SubscribeReasonCode::Failure);
            Event::Subscribed { pkid: ack.pkid, refused: failed.then(|| "failure".to_owned()) }
        }
        Packet::PubAck(ack) => Event::Confirmed { pkid: ack.pkid, refused: None },
        Packet::PubComp(done) => Event::Confirmed { pkid: done.pkid, refused: None },
        Packet::PubRel(release) => Event::Released(release.pkid),
        _ => Event::Other,
    }
}

fn event5(event: v5::Event) -> Event {
    use five::v5::{PubAckReason, PubCompReason, PubRecReason, SubscribeReasonCode};
    let packet = match event {
        v5::Event::Outgoing(sent) => return outgoing(&sent),
        v5::Event::Incoming(packet) => packet,
    };
    match packet {
        v5::Incoming::ConnAck(ack) => Event::Connected { session_present: ack.session_present },
        v5::Incoming::Publish(publish) => Event::Message(Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload,
            qos: publish.qos as u8,
            pkid: publish.pkid,
            again: publish.dup,
            properties: publish.properties.map(|properties| properties.user_properties).unwrap_or_default(),
        }),
        v5::Incoming::SubAck(ack) => {
            let failed =
                ack.return_codes.iter().find(|code| !matches!(code, SubscribeReasonCode::Success(_)));
            Event::Subscribed { pkid: ack.pkid, refused: failed.map(|code| format!("{code:?}")) }
        }
        v5::Incoming::PubAck(ack) => {
            let good = matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
            Event::Confirmed { pkid: ack.pkid, refused: (!good).then(|| format!("{:?}", ack.reason)) }
        }
        v5::Incoming::PubRec(receipt) => match receipt.reason {
            PubRecReason::Success | PubRecReason::NoMatchingSubscribers => Event::Other,
            reason => Event::Confirmed { pkid: receipt.pkid, refused: Some(format!("{reason:?}")) },
        },
        v5::Incoming::PubComp(done) => {
            let good = matches!(done.reason, PubCompReason::Success);
            Event::Confirmed { pkid: done.pkid, refused: (!good).then(|| format!("{:?}", done.reason)) }
        }
        v5::Incoming::PubRel(release) => Event::Released(release.pkid),
        _ => Event::Other,
    }
}

pub(super) fn io_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn reason4(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Io(error) | ConnectionError::MqttState(StateError::Io(error)) => io_reason(error),
        ConnectionError::MqttState(StateError::Deserialization(rumqttc::mqttbytes::Error::Io(error))) => {
            io_reason(error)
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => "closed by the broker".to_owned(),
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            "the broker does not answer pings".to_owned()
        }
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => "no answer within 5 s".to_owned(),
        ConnectionError::ConnectionRefused(code) => format!("refused by the broker: {code:?}"),
        other => other.to_string(),
    }
}

fn reason5(error: &v5::ConnectionError) -> String {
    match error {
        v5::ConnectionError::Io(error) | v5::ConnectionError::MqttState(v5::StateError::Io(error)) => {
            io_reason(error)
        }
        v5::ConnectionError::MqttState(v5::StateError::ConnectionAborted) => {
            "closed by the broker".to_owned()
        }
        v5::ConnectionError::MqttState(v5::StateError::AwaitPingResp) => {
            "the broker does not answer pings".to_owned()
        }
        v5::ConnectionError::Timeout(_) => "no answer within 5 s".to_owned(),
        v5::ConnectionError::ConnectionRefused(code) => format!("refused by the broker: {code:?}"),
        other => other.to_string(),
    }
}
