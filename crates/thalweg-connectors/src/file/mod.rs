//! Files (S4, D4): read once, again and again, or as they appear in a folder; written with rolling.

mod csv;
mod options;
mod read;
#[cfg(test)]
mod tests;
mod watch;
mod write;

use thalweg_core::connector::Connector;
use thalweg_core::spec::{PropKind, PropSpec, Roles};

/// The row in the table of connectors.
pub(crate) const CONNECTOR: Connector = Connector {
    name: "file",
    summary: "Reads files line by line or whole, and writes results to files.",
    props: PROPS,
    takes_rows: false,
    connect: None,
    source: Some(read::build),
    sink: Some(write::build),
    lookup: None,
};

const COUNT: PropKind = PropKind::Int { min: 0, max: i64::MAX };
const LINES: PropKind = PropKind::Int { min: i64::MIN, max: i64::MAX };

const PROPS: &[PropSpec] = &[
    PropSpec::new(
        "fileType",
        PropKind::Text,
        Roles::BOTH,
        "lines, csv, or json; at a source any other word reads the whole file as one payload.",
    ),
    PropSpec::new(
        "path",
        PropKind::Text,
        Roles::BOTH,
        "The folder of a source, the file of a sink; relative to the home folder.",
    )
    .dynamic(),
    PropSpec::new(
        "interval",
        PropKind::Duration,
        Roles::SOURCE,
        "Read again so often; 0: once, and folders are watched.",
    )
    .default("0"),
    PropSpec::new("sendInterval", PropKind::Duration, Roles::SOURCE, "Pause between two lines or rows.")
        .default("0"),
    PropSpec::new(
        "parallel",
        PropKind::Bool,
        Roles::SOURCE,
        "Accepted for compatibility; files are read one after the other.",
    )
    .inert()
    .default("false"),
    PropSpec::new(
        "actionAfterRead",
        PropKind::Int { min: 0, max: 2 },
        Roles::SOURCE,
        "What becomes of a file: 0 keep, 1 delete, 2 move to moveTo.",
    )
    .default("0"),
    PropSpec::new("moveTo", PropKind::Text, Roles::SOURCE, "The folder for files that were read.")
        .default("\"/tmp/kuiper/moved\""),
    PropSpec::new("hasHeader", PropKind::Bool, Roles::BOTH, "The first line of csv holds the names.")
        .default("false"),
    PropSpec::new("columns", PropKind::List, Roles::SOURCE, "The names of csv columns without header."),
    PropSpec::new(
        "delimiter",
        PropKind::Text,
        Roles::BOTH,
        "What separates csv columns; of a source only the first byte counts.",
    )
    .default("\",\""),
    PropSpec::new("ignoreStartLines", LINES, Roles::SOURCE, "Lines to skip at the beginning.").default("0"),
    PropSpec::new("ignoreEndLines", LINES, Roles::SOURCE, "Lines to skip at the end.").default("0"),
    PropSpec::new("decompression", PropKind::Text, Roles::SOURCE, "How whole files are unpacked."),
    PropSpec::new("fields", PropKind::List, Roles::SINK, "The columns of csv, in this order."),
    PropSpec::new(
        "rollingInterval",
        PropKind::Duration,
        Roles::SINK,
        "Begin a new file when this one is older; 0: never.",
    )
    .default("0"),
    PropSpec::new("rollingCount", COUNT, Roles::SINK, "Begin a new file after so many messages; 0: never.")
        .default("1000000"),
    PropSpec::new("rollingSize", COUNT, Roles::SINK, "Begin a new file after so many bytes; 0: never.")
        .default("0"),
    PropSpec::new(
        "rollingNamePattern",
        PropKind::OneOf(&["", "none", "prefix", "suffix"]),
        Roles::SINK,
        "Where the time stands in the names of files: prefix, suffix or none.",
    ),
    PropSpec::new(
        "checkInterval",
        PropKind::Duration,
        Roles::SINK,
        "Accepted for compatibility; ages are checked at each write.",
    )
    .inert()
    .default("\"5m\""),
    PropSpec::new(
        "rollingHook",
        PropKind::Text,
        Roles::SINK,
        "Accepted for compatibility; there are no hooks.",
    )
    .inert(),
    PropSpec::new(
        "rollingHookProps",
        PropKind::Object,
        Roles::SINK,
        "Accepted for compatibility; there are no hooks.",
    )
    .inert(),
];
