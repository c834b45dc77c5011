//! Memory topics: rows from rule to rule without encoding (S3, D3), and tables kept by them (9.1).
//!
//! Topics live in a hub that the connectors of one engine share. Nothing is retained: a subscriber sees what comes
//! after it. Wildcards follow MQTT (S3.4), and templated topics reach wildcard subscribers too (S3.5).

mod hub;
mod sink;
mod source;
mod table;
pub(crate) mod topic;

use thalweg_core::connector::Connector;
use thalweg_core::spec::{PropKind, PropSpec, Roles};

pub(crate) use table::row_matches;

/// The row in the table of connectors.
pub(crate) const CONNECTOR: Connector = Connector {
    name: "memory",
    summary: "Passes rows from rule to rule over topics in memory.",
    props: PROPS,
    takes_rows: true,
    connect: None,
    source: Some(source::build),
    sink: Some(sink::build),
    lookup: Some(table::build),
};

const PROPS: &[PropSpec] = &[
    PropSpec::new("topic", PropKind::Text, Roles::SINK, "Where to publish; required.").dynamic().required(),
    PropSpec::new(
        "rowkindField",
        PropKind::Text,
        Roles::SINK,
        "The column that says insert, update, upsert or delete.",
    ),
    PropSpec::new(
        "keyField",
        PropKind::Text,
        Roles::SINK,
        "The column that names the row to change; required with rowkindField.",
    ),
    PropSpec::new("key", PropKind::Text, Roles::LOOKUP, "The key column of the table; required.").required(),
    PropSpec::new(
        "bufferLength",
        PropKind::Int { min: 0, max: i64::MAX },
        Roles::SOURCE,
        "Messages that wait for a slow rule before new ones are dropped.",
    )
    .default("1024"),
];
