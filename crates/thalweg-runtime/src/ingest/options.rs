//! The common properties of sources (connectors.md chapter 2), as meant.

use std::sync::Arc;

use thalweg_core::{Diagnostic, ErrorCode, Props};
use thalweg_expr::codec::Codec;
use thalweg_plan::StreamDef;

use crate::egress::options::codec;

/// What a stream wants done to messages before the rule sees them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct SourceOptions {
    /// How each payload is unpacked before it is decoded.
    pub decompression: Option<Codec>,
    /// The payload inside the payload (C2.4).
    pub inner: Option<InnerPayload>,
    /// Down-sampling (2.2).
    pub thinning: Option<Thinning>,
}

/// A second decode.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InnerPayload {
    /// Its format, lower case.
    pub format: Arc<str>,
    /// The column that holds the inner payload.
    pub field: Arc<str>,
    /// The column with a list of rows that each hold one.
    pub batch_field: Option<Arc<str>>,
}

/// Only the last message of each interval is sent on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Thinning {
    /// Milliseconds, at least 1.
    pub interval: u64,
    /// Keep the last one for each value of this field, and merge them.
    pub merge_field: Option<Arc<str>>,
}

impl SourceOptions {
    /// Reads the properties of a stream's source.
    ///
    /// # Errors
    /// A value of the wrong type, properties that exclude each other, or what cannot be done; nothing of it is left
    /// out silently.
    pub(crate) fn read(props: &Props, stream: &StreamDef) -> Result<Self, Diagnostic> {
        let owned = |why: Diagnostic| Diagnostic {
            message: format!("stream {}: {}", stream.name, why.message),
            ..why
        };
        read(props, stream).map_err(owned)
    }
}

fn read(props: &Props, stream: &StreamDef) -> Result<SourceOptions, Diagnostic> {
    let text = |name: &str| {
        Ok::<_, Diagnostic>(props.text(name)?.filter(|text| !text.is_empty()).map(Arc::<str>::from))
    };
    let decompression = text("decompression")?.map(|name| codec("decompression", &name)).transpose()?;
    if decompression.is_some() && !stream.has_decoder {
        return Err(refused(format!(
            "decompression is for sources of bytes, and {} gives rows",
            stream.source_type
        )));
    }
    if let Some(merger) = text("merger")? {
        return Err(refused(format!("merger {merger} not found")));
    }
    let inner = match (text("payloadFormat")?, text("payloadField")?, text("payloadBatchField")?) {
        (None, None, None) => None,
        (None, ..) => return Err(refused("payloadFormat is missing")),
        (Some(_), None, _) => return Err(refused("payloadField is missing")),
        (Some(format), Some(field), batch_field) => {
            Some(InnerPayload { format: Arc::from(format.to_ascii_lowercase()), field, batch_field })
        }
    };
    let interval = props.millis("interval")?.filter(|_| stream.steps.ratelimit).unwrap_or(0);
    let merge_field = text("mergeField")?;
    match &merge_field {
        None => {}
        Some(_) if interval <= 0 => {
            return Err(refused("mergeField needs an interval, and a source that has none of its own"));
        }
        Some(_) if inner.is_some() => {
            return Err(refused("do not support rate limit merge together with payloadFormat"));
        }
        Some(_) if &*stream.format != "json" || !stream.has_decoder => {
            return Err(refused(format!("format {} does not support partial decode", stream.format)));
        }
        Some(_) if decompression.is_some() => {
            return Err(refused("mergeField cannot look into compressed messages"));
        }
        Some(_) => {}
    }
    let thinning = u64::try_from(interval).ok().filter(|interval| *interval > 0);
    Ok(SourceOptions {
        decompression,
        inner,
        thinning: thinning.map(|interval| Thinning { interval, merge_field }),
    })
}

fn refused(message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(ErrorCode::Executor, message)
}
