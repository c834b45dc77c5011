//! The two protocol versions on the broker's side, read and written with the codecs of `rumqttc`.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::{self as four, v4};
use rumqttc::v5::mqttbytes::{self as five, v5};

/// The largest packet that a client may send.
pub(super) const MAX_PACKET: u32 = 16 << 20;

/// A protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    V4,
    V5,
}

/// What was published, shared by all who receive it.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) properties: Option<v5::PublishProperties>,
}

/// One filter of a SUBSCRIBE.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) filter: String,
    pub(super) qos: u8,
    /// Not to get one's own messages.
    pub(super) is_foreign_only: bool,
    /// Forward the retain flag as published.
    pub(super) keeps_retain: bool,
    pub(super) wants_retained: bool,
}

/// A CONNECT.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) client_id: String,
    pub(super) is_clean: bool,
    /// Seconds that the session outlives the connection.
    pub(super) expiry: u32,
    pub(super) keep_alive: u16,
    /// How many unconfirmed messages the client takes.
    pub(super) window: usize,
    pub(super) will: Option<(Publication, u8, bool)>,
}

/// A packet from a client.
#[derive(Debug)]
pub(super) enum In {
    Connect(Box<Hello>),
    Publish { publication: Publication, qos: u8, retain: bool, pkid: u16 },
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
    Subscribe(u16, Vec<Asked>),
    Unsubscribe(u16, Vec<String>),
    Ping,
    Disconnect,
}

/// A packet to a client.
#[derive(Debug)]
pub(super) enum Out<'a> {
    ConnAck { session_present: bool, assigned: Option<&'a str> },
    BadClientId,
    Publish { publication: &'a Arc<Publication>, qos: u8, retain: bool, dup: bool, pkid: u16 },
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
    SubAck(u16, Vec<Option<u8>>),
    UnsubAck(u16, usize),
    Pong,
}

impl Dialect {
    /// The version that the first packet asks for; `None` while it is not all there.
    pub(super) fn of(stream: &[u8]) -> Result<Option<Self>, String> {
        let Some(first) = stream.first() else { return Ok(None) };
        if first >> 4 != 1 {
            return Err("the first packet is no CONNECT".to_owned());
        }
        // Fixed header, length in 1 to 4 bytes, name with its length in 2, level.
        let Some(length) = stream.iter().skip(1).take(4).position(|byte| *byte < 0x80) else {
            return if stream.len() > 4 { Err("malformed length".to_owned()) } else { Ok(None) };
        };
        let Some([high, low]) = stream.get(length + 2..length + 4) else { return Ok(None) };
        let name_len = usize::from(u16::from_be_bytes([*high, *low]));
        if name_len > 6 {
            return Err("no MQTT client".to_owned());
        }
        match stream.get(length + 4 + name_len) {
            None => Ok(None),
            Some(4) => Ok(Some(Self::V4)),
            Some(5) => Ok(Some(Self::V5)),
            Some(level) => Err(format!("protocol level {level} is not spoken")),
        }
    }

    /// Takes the next packet; `None` while it is not all there.
    pub(super) fn read(self, stream: &mut BytesMut) -> Result<Option<In>, String> {
        // A farewell may be empty, which the codec of version 5 refuses; its reason changes nothing here.
        if stream.first().is_some_and(|byte| byte >> 4 == 14) {
            return Ok(Some(In::Disconnect));
        }
        match self {
            Self::V4 => match v4::Packet::read(stream, MAX_PACKET as usize) {
                Ok(packet) => incoming4(packet).map(Some),
                Err(four::Error::InsufficientBytes(_)) => Ok(None),
                Err(error) => Err(error.to_string()),
            },
            Self::V5 => match v5::Packet::read(stream, Some(MAX_PACKET)) {
                Ok(packet) => incoming5(packet).map(Some),
                Err(five::Error::InsufficientBytes(_)) => Ok(None),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// Appends a packet.
    pub(super) fn write(self, out: &Out<'_>, stream: &mut BytesMut) -> Result<(), String> {
        match self {
            Self::V4 => outgoing4(out).write(stream, usize::MAX).map(drop).map_err(|error| error.to_string()),
            Self::V5 => outgoing5(out).write(stream, None).map(drop).map_err(|error| error.to_string()),
        }
    }
}

fn incoming4(packet: v4::Packet) -> Result<In, String> {
    Ok(match packet {
        v4::Packet::Connect(connect) => In::Connect(Box::new(Hello {
            client_id: connect.client_id,
            is_clean: connect.clean_session,
            expiry: if connect.clean_session { 0 } else { u32::MAX },
            keep_alive: connect.keep_alive,
            window: 100,
            will: connect.last_will.map(|will| {
                let publication = Publication { topic: will.topic, payload: will.message, properties: None };
                (publication, will.qos as u8, will.retain)
            }),
        })),
        v4::Packet::Publish(publish) => In::Publish {
            publication: Publication { topic: publish.topic, payload: publish.payload, properties: None },
            qos: publish.qos as u8,
            retain: publish.retain,
            pkid: publish.pkid,
        },
        v4::Packet::PubAck(ack) => In::PubAck(ack.pkid),
        v4::Packet::PubRec(receipt) => In::PubRec(receipt.pkid),
        v4::Packet::PubRel(release) => In::PubRel(release.pkid),
        v4::Packet::PubComp(done) => In::PubComp(done.pkid),
        v4::Packet::Subscribe(subscribe) => {
            let asked = subscribe.filters.into_iter().map(|filter| Asked {
                filter: filter.path,
                qos: filter.qos as u8,
                is_foreign_only: false,
                keeps_retain: false,
                wants_retained: true,
            });
            In::Subscribe(subscribe.pkid, asked.collect())
        }
        v4::Packet::Unsubscribe(unsubscribe) => In::Unsubscribe(unsubscribe.pkid, unsubscribe.topics),
        v4::Packet::PingReq => In::Ping,
        v4::Packet::Disconnect => In::Disconnect,
        other => return Err(format!("a client does not send {other:?}")),
    })
}

fn incoming5(packet: v5::Packet) -> Result<In, String> {
    Ok(match packet {
        v5::Packet::Connect(connect, will, _) => {
            let properties = connect.properties.unwrap_or_else(v5::ConnectProperties::new);
            In::Connect(Box::new(Hello {
                client_id: connect.client_id,
                is_clean: connect.clean_start,
                expiry: properties.session_expiry_interval.unwrap_or(0),
                keep_alive: connect.keep_alive,
                window: properties.receive_maximum.unwrap_or(u16::MAX).clamp(1, 1000).into(),
                will: will.map(|will| {
                    let topic = String::from_utf8_lossy(&will.topic).into_owned();
                    (
                        Publication { topic, payload: will.message, properties: None },
                        will.qos as u8,
                        will.retain,
                    )
                }),
            }))
        }
        v5::Packet::Publish(publish) => {
            let topic = String::from_utf8(publish.topic.to_vec()).map_err(|error| error.to_string())?;
            let publication = Publication { topic, payload: publish.payload, properties: publish.properties };
            In::Publish { publication, qos: publish.qos as u8, retain: publish.retain, pkid: publish.pkid }
        }
        v5::Packet::PubAck(ack) => In::PubAck(ack.pkid),
        v5::Packet::PubRec(receipt) if receipt.reason as u8 >= v5::PubRecReason::UnspecifiedError as u8 => {
            In::PubComp(receipt.pkid)
        }
        v5::Packet::PubRec(receipt) => In::PubRec(receipt.pkid),
        v5::Packet::PubRel(release) => In::PubRel(release.pkid),
        v5::Packet::PubComp(done) => In::PubComp(done.pkid),
        v5::Packet::Subscribe(subscribe) => {
            let asked = subscribe.filters.into_iter().map(|filter| Asked {
                filter: filter.path,
                qos: filter.qos as u8,
                is_foreign_only: filter.nolocal,
                keeps_retain: filter.preserve_retain,
                wants_retained: filter.retain_forward_rule != v5::RetainForwardRule::Never,
            });
            In::Subscribe(subscribe.pkid, asked.collect())
        }
        v5::Packet::Unsubscribe(unsubscribe) => In::Unsubscribe(unsubscribe.pkid, unsubscribe.filters),
        v5::Packet::PingReq(_) => In::Ping,
        v5::Packet::Disconnect(_) => In::Disconnect,
        other => return Err(format!("a client does not send {other:?}")),
    })
}

fn outgoing4(out: &Out<'_>) -> v4::Packet {
    let qos4 = |qos| match qos {
        0 => four::QoS::AtMostOnce,
        1 => four::QoS::AtLeastOnce,
        _ => four::QoS::ExactlyOnce,
    };
    match out {
        Out::ConnAck { session_present, .. } => {
            v4::Packet::ConnAck(v4::ConnAck::new(v4::ConnectReturnCode::Success, *session_present))
        }
        Out::BadClientId => v4::Packet::ConnAck(v4::ConnAck::new(v4::ConnectReturnCode::BadClientId, false)),
        Out::Publish { publication, qos, retain, dup, pkid } => {
            let payload = publication.payload.clone();
            let mut publish = v4::Publish::from_bytes(publication.topic.as_str(), qos4(*qos), payload);
            (publish.retain, publish.dup, publish.pkid) = (*retain, *dup, *pkid);
            v4::Packet::Publish(publish)
        }
        Out::PubAck(pkid) => v4::Packet::PubAck(v4::PubAck::new(*pkid)),
        Out::PubRec(pkid) => v4::Packet::PubRec(v4::PubRec::new(*pkid)),
        Out::PubRel(pkid) => v4::Packet::PubRel(v4::PubRel::new(*pkid)),
        Out::PubComp(pkid) => v4::Packet::PubComp(v4::PubComp::new(*pkid)),
        Out::SubAck(pkid, granted) => {
            let code = |granted: &Option<u8>| match granted {
                Some(qos) => v4::SubscribeReasonCode::Success(qos4(*qos)),
                None => v4::SubscribeReasonCode::Failure,
            };
            v4::Packet::SubAck(v4::SubAck::new(*pkid, granted.iter().map(code).collect()))
        }
        Out::UnsubAck(pkid, _) => v4::Packet::UnsubAck(v4::UnsubAck::new(*pkid)),
        Out::Pong => v4::Packet::PingResp,
    }
}

fn outgoing5(out: &Out<'_>) -> v5::Packet {
    let qos5 = |qos| match qos {
        0 => five::QoS::AtMostOnce,
        1 => five::QoS::AtLeastOnce,
        _ => five::QoS::ExactlyOnce,
    };
    match out {
        Out::ConnAck { session_present, assigned } => v5::Packet::ConnAck(v5::ConnAck {
            session_present: *session_present,
            code: v5::ConnectReturnCode::Success,
            properties: Some(greeting(*assigned)),
        }),
        Out::BadClientId => v5::Packet::ConnAck(v5::ConnAck {
            session_present: false,
            code: v5::ConnectReturnCode::ClientIdentifierNotValid,
            properties: None,
        }),
        Out::Publish { publication, qos, retain, dup, pkid } => v5::Packet::Publish(v5::Publish {
            dup: *dup,
            qos: qos5(*qos),
            retain: *retain,
            topic: Bytes::copy_from_slice(publication.topic.as_bytes()),
            pkid: *pkid,
            payload: publication.payload.clone(),
            properties: publication.properties.clone(),
        }),
        Out::PubAck(pkid) => v5::Packet::PubAck(v5::PubAck::new(*pkid, None)),
        Out::PubRec(pkid) => v5::Packet::PubRec(v5::PubRec::new(*pkid, None)),
        Out::PubRel(pkid) => v5::Packet::PubRel(v5::PubRel::new(*pkid, None)),
        Out::PubComp(pkid) => v5::Packet::PubComp(v5::PubComp::new(*pkid, None)),
        Out::SubAck(pkid, granted) => {
            let code = |granted: &Option<u8>| match granted {
                Some(qos) => v5::SubscribeReasonCode::Success(qos5(*qos)),
                None => v5::SubscribeReasonCode::TopicFilterInvalid,
            };
            let return_codes = granted.iter().map(code).collect();
            v5::Packet::SubAck(v5::SubAck { pkid: *pkid, return_codes, properties: None })
        }
        Out::UnsubAck(pkid, count) => v5::Packet::UnsubAck(v5::UnsubAck {
            pkid: *pkid,
            reasons: vec![v5::UnsubAckReason::Success; *count],
            properties: None,
        }),
        Out::Pong => v5::Packet::PingResp(v5::PingResp),
    }
}

/// What this broker tells clients of version 5 about itself.
fn greeting(assigned: Option<&str>) -> v5::ConnAckProperties {
    v5::ConnAckProperties {
        session_expiry_interval: None,
        receive_max: None,
        max_qos: None,
        retain_available: None,
        max_packet_size: Some(MAX_PACKET),
        assigned_client_identifier: assigned.map(str::to_owned),
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: Some(0),
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    }
}
