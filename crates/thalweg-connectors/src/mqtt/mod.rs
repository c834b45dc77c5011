//! MQTT (S1, D1), protocol 3.1.1 and 5.
//!
//! `lean` speaks 3.1.1 over plain TCP on the thread of a shard, `rumqttc` everything else; `wire` makes them look alike.
//! `client` keeps one connection alive for ever, `intake` hands out what arrives, `routes` says to whom, `shared` is what
//! everybody at a connection shares, `company` lets sinks have one together, `outbox` knows what became of publications, `source` and `sink` are the two roles. A client belongs
//! to one node, or, as a named connection, to many: then a topic is subscribed once and fanned out (N6.4).

mod client;
mod company;
mod intake;
mod lean;
pub mod listen;
mod meta;
mod options;
mod outbox;
mod routes;
mod shared;
mod sink;
mod source;
#[cfg(test)]
mod tests;
mod wire;

use thalweg_core::connector::Connector;
use thalweg_core::spec::{PropKind, PropSpec, Roles};

/// The row in the table of connectors.
pub(crate) const CONNECTOR: Connector = Connector {
    name: "mqtt",
    summary: "Reads from and writes to an MQTT broker.",
    props: PROPS,
    takes_rows: false,
    connect: Some(client::connect),
    source: Some(source::build),
    sink: Some(sink::build),
    lookup: None,
};

/// Of mqtt and mqttlisten.
const SPLIT: PropSpec = PropSpec::new(
    "split",
    PropKind::Int { min: 1, max: 64 },
    Roles::SOURCE,
    "Connections over which the stream comes, each served by a thread of its own.",
)
.default("1");

const PROPS: &[PropSpec] = &[
    PropSpec::new(
        "server",
        PropKind::Url,
        Roles::BOTH,
        "Broker address, required, for example tcp://127.0.0.1:1883; ssl://, tls:// and mqtts:// encrypt.",
    )
    .required()
    .of_connection(),
    PropSpec::new("username", PropKind::Text, Roles::BOTH, "User name for the broker.").of_connection(),
    PropSpec::new("password", PropKind::Secret, Roles::BOTH, "Password for the broker.").of_connection(),
    PropSpec::new("clientid", PropKind::Text, Roles::BOTH, "Client identifier; a random one if absent.")
        .of_connection(),
    PropSpec::new(
        "protocolVersion",
        PropKind::OneOf(&["3.1", "3.1.1", "4", "5"]),
        Roles::BOTH,
        "MQTT version; 3.1 is spoken as 3.1.1.",
    )
    .default("\"3.1.1\"")
    .of_connection(),
    PropSpec::new("qos", PropKind::Int { min: 0, max: 2 }, Roles::BOTH, "Delivery guarantee: 0, 1 or 2.")
        .default("0"),
    PropSpec::new(
        "enableClientSession",
        PropKind::Bool,
        Roles::BOTH,
        "Let the broker keep the session while this client is away.",
    )
    .default("false")
    .of_connection(),
    PropSpec::new(
        "clientStatePath",
        PropKind::Text,
        Roles::BOTH,
        "Accepted for compatibility; session state is kept in memory.",
    )
    .inert(),
    PropSpec::new(
        "sessionExpiryIntervalSeconds",
        PropKind::Int { min: 0, max: 4_294_967_295 },
        Roles::BOTH,
        "How long the broker keeps the session, MQTT 5 only.",
    )
    .default("60")
    .of_connection(),
    PropSpec::new("eofMessage", PropKind::Text, Roles::SOURCE, "Base64 of the payload that ends the stream."),
    SPLIT,
    PropSpec::new("topic", PropKind::Text, Roles::SINK, "Where to publish; required, without wildcards.")
        .dynamic()
        .required(),
    PropSpec::new(
        "retained",
        PropKind::Bool,
        Roles::SINK,
        "Let the broker keep the last message of the topic.",
    )
    .default("false"),
    PropSpec::new(
        "properties",
        PropKind::Object,
        Roles::SINK,
        "User properties of each message, MQTT 5 only.",
    )
    .dynamic(),
    crate::tls::CERTIFICATION_PATH,
    crate::tls::PRIVATE_KEY_PATH,
    crate::tls::ROOT_CA_PATH,
    crate::tls::CERTIFICATION_RAW,
    crate::tls::PRIVATE_KEY_RAW,
    crate::tls::ROOT_CA_RAW,
    crate::tls::INSECURE_SKIP_VERIFY,
    crate::tls::MIN_VERSION,
    crate::tls::RENEGOTIATION,
    crate::tls::TLS,
];
