//! Table: the properties that every source and every sink understands, whatever its connector (chapters 2, 3 and 5).

use thalweg_core::spec::{PropKind, PropSpec, Roles};

const WHOLE: PropKind = PropKind::Int { min: 0, max: i64::MAX };
/// Whole numbers whose range is checked with others (K5.1), or under a text of its own.
const CHECKED: PropKind = PropKind::Int { min: i64::MIN, max: i64::MAX };

/// Beside the connector's own properties, these may be written at every source.
pub static SOURCE_PROPS: &[PropSpec] = &[
    PropSpec::new("datasource", PropKind::Text, Roles::SOURCE, "What to read: a topic, a path, a table."),
    PropSpec::new("format", PropKind::Text, Roles::SOURCE, "How payloads are decoded.").default("\"json\""),
    PropSpec::new("key", PropKind::Text, Roles::SOURCE, "The key column of a table."),
    PropSpec::new("schemaId", PropKind::Text, Roles::SOURCE, "The schema of formats that need one."),
    PropSpec::new(
        "delimiter",
        PropKind::Text,
        Roles::SOURCE,
        "What separates the columns of delimited text.",
    ),
    PropSpec::new("fields", PropKind::List, Roles::SOURCE, "Names of the columns of delimited text."),
    PropSpec::new("timestamp", PropKind::Text, Roles::SOURCE, "The column that holds the time of an event."),
    PropSpec::new("timestampFormat", PropKind::Text, Roles::SOURCE, "The pattern of times written as text."),
    PropSpec::new(
        "strictValidation",
        PropKind::Bool,
        Roles::SOURCE,
        "Check rows against the declared columns.",
    ),
    PropSpec::new("retainSize", WHOLE, Roles::SOURCE, "How many rows a table keeps."),
    PropSpec::new("connectionSelector", PropKind::Text, Roles::SOURCE, "The named connection to use."),
    PropSpec::new(
        "decompression",
        PropKind::Text,
        Roles::SOURCE,
        "How payloads are unpacked before decoding.",
    ),
    PropSpec::new(
        "interval",
        PropKind::Duration,
        Roles::SOURCE,
        "Time between two pulls; thins out push sources.",
    ),
    PropSpec::new(
        "mergeField",
        PropKind::Text,
        Roles::SOURCE,
        "With interval: keep the last message for each value of this field.",
    ),
    PropSpec::new(
        "sendInterval",
        PropKind::Duration,
        Roles::SOURCE,
        "Pause between the rows of one message.",
    )
    .default("0"),
    PropSpec::new(
        "payloadFormat",
        PropKind::Text,
        Roles::SOURCE,
        "The format of a payload inside the payload.",
    ),
    PropSpec::new("payloadField", PropKind::Text, Roles::SOURCE, "The column that holds the inner payload."),
    PropSpec::new(
        "payloadBatchField",
        PropKind::Text,
        Roles::SOURCE,
        "The column with a list of rows that each hold an inner payload.",
    ),
    PropSpec::new(
        "payloadSchemaId",
        PropKind::Text,
        Roles::SOURCE,
        "Accepted for compatibility; no format here has schemas yet.",
    )
    .inert(),
    PropSpec::new("payloadDelimiter", PropKind::Text, Roles::SOURCE, "The delimiter of the inner payload."),
    PropSpec::new(
        "useInt64ForWholeNumber",
        PropKind::Bool,
        Roles::SOURCE,
        "Read whole JSON numbers as integers.",
    )
    .default("false"),
    PropSpec::new("strictJson", PropKind::Bool, Roles::SOURCE, "Check JSON values that no rule needs, too.")
        .default("false"),
    PropSpec::new(
        "bufferLength",
        WHOLE,
        Roles::SOURCE,
        "Accepted for compatibility; the rule option bufferLength says how many messages may wait.",
    )
    .inert()
    .default("1024"),
    PropSpec::new(
        "lookup",
        PropKind::Object,
        Roles::SOURCE,
        "The cache of a lookup table: cache, cacheTtl, cacheMissingKey.",
    ),
];

/// Beside the connector's own properties, these may be written at every action.
pub static SINK_PROPS: &[PropSpec] = &[
    PropSpec::new(
        "concurrency",
        WHOLE,
        Roles::SINK,
        "Accepted for compatibility; results are encoded and sent in order, one after the other.",
    )
    .inert()
    .default("1"),
    PropSpec::new("bufferLength", CHECKED, Roles::SINK, "Results that may wait for the sink.")
        .default("1024"),
    PropSpec::new("omitIfEmpty", PropKind::Bool, Roles::SINK, "Do not send empty results.").default("false"),
    PropSpec::new("sendSingle", PropKind::Bool, Roles::SINK, "Send every row as a message of its own.")
        .default("false"),
    PropSpec::new("dataTemplate", PropKind::Text, Roles::SINK, "Template for the message.").dynamic(),
    PropSpec::new(
        "errorAsText",
        PropKind::Bool,
        Roles::SINK,
        "With sendError: send errors as bare text, not as an object.",
    )
    .default("false"),
    PropSpec::new("format", PropKind::Text, Roles::SINK, "How results are encoded.").default("\"json\""),
    PropSpec::new("schemaId", PropKind::Text, Roles::SINK, "The schema of formats that need one."),
    PropSpec::new("delimiter", PropKind::Text, Roles::SINK, "What separates the columns of delimited text."),
    PropSpec::new(
        "hasHeader",
        PropKind::Bool,
        Roles::SINK,
        "Begin delimited text with the names of the columns.",
    )
    .default("false"),
    PropSpec::new("fields", PropKind::List, Roles::SINK, "Send only these columns."),
    PropSpec::new("excludeFields", PropKind::List, Roles::SINK, "Do not send these columns."),
    PropSpec::new(
        "dataField",
        PropKind::Text,
        Roles::SINK,
        "Send the value of this column instead of the row.",
    ),
    PropSpec::new("tableDataField", PropKind::Text, Roles::SINK, "The old name of dataField."),
    PropSpec::new("batchSize", CHECKED, Roles::SINK, "Results collected into one message.").default("0"),
    PropSpec::new(
        "lingerInterval",
        PropKind::Duration,
        Roles::SINK,
        "Send a batch after this time even if it is not full.",
    )
    .default("0"),
    PropSpec::new("compression", PropKind::Text, Roles::SINK, "How messages are packed."),
    PropSpec::new("compressionProps", PropKind::Object, Roles::SINK, "Options of the compression."),
    PropSpec::new("encryption", PropKind::Text, Roles::SINK, "How messages are encrypted."),
    PropSpec::new("encProps", PropKind::Object, Roles::SINK, "Options of the encryption."),
    PropSpec::new(
        "resourceId",
        PropKind::Text,
        Roles::SINK,
        "Stored properties on which the action's own are laid.",
    ),
    PropSpec::new("connectionSelector", PropKind::Text, Roles::SINK, "The named connection to use."),
    PropSpec::new("enableCache", PropKind::Bool, Roles::SINK, "Keep messages that could not be sent."),
    PropSpec::new("memoryCacheThreshold", CHECKED, Roles::SINK, "Messages cached in memory.").default("1024"),
    PropSpec::new("maxDiskCache", CHECKED, Roles::SINK, "Messages cached on disk.").default("1024000"),
    PropSpec::new("bufferPageSize", CHECKED, Roles::SINK, "Messages of one page on disk.").default("256"),
    PropSpec::new("resendInterval", PropKind::Duration, Roles::SINK, "Pause between two attempts to send.")
        .default("0"),
    PropSpec::new("cleanCacheAtStop", PropKind::Bool, Roles::SINK, "Forget the cache when the rule stops.")
        .default("false"),
    PropSpec::new(
        "resendAlterQueue",
        PropKind::Bool,
        Roles::SINK,
        "Resend beside new messages instead of before them.",
    )
    .default("false"),
    PropSpec::new(
        "resendPriority",
        CHECKED,
        Roles::SINK,
        "Accepted for compatibility; failed messages are resent in order, before new ones.",
    )
    .inert()
    .default("0"),
    PropSpec::new(
        "resendIndicatorField",
        PropKind::Text,
        Roles::SINK,
        "Accepted for compatibility; resent messages are as they were.",
    ),
    PropSpec::new("resendDestination", PropKind::Text, Roles::SINK, "Another topic for resent messages."),
];
