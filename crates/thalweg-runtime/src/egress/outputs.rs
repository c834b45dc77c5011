//! Messages that a checkpoint has to hold because they have not left yet: collected for `batchSize` or
//! `lingerInterval`, in the queue of a sink, or in its hands.

use std::sync::Arc;

use bytes::Bytes;
use thalweg_core::connector::SinkPayload;
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Props, Value};

use super::delivery::Delivery;

/// The messages of one action.
pub(crate) struct Outputs {
    /// Names the action in the snapshot.
    pub action: Arc<str>,
    pub delivery: Arc<Delivery>,
    /// How many messages the sink had been handed.
    pub position: u64,
    /// Those of them that had not left, with their numbers.
    pub unsettled: Vec<(u64, SinkPayload)>,
    /// Collected and not yet handed to the sink.
    pub held: Vec<SinkPayload>,
}

impl Outputs {
    /// Whether the sink has got rid of everything that it had been handed.
    pub(crate) fn is_settled(&self) -> bool {
        self.delivery.first_unsettled() > self.position
    }

    /// The messages that have still not left; empty bytes when there are none.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let first = self.delivery.first_unsettled();
        let left: Vec<&SinkPayload> = self
            .unsettled
            .iter()
            .filter(|(number, _)| *number >= first)
            .map(|(_, payload)| payload)
            .collect();
        if left.is_empty() && self.held.is_empty() {
            return Vec::new();
        }
        let mut out = StateWriter::new();
        out.section("outputs", 1);
        for part in [left, self.held.iter().collect()] {
            out.u64(part.len() as u64);
            part.into_iter().for_each(|payload| save(payload, &mut out));
        }
        out.finish()
    }
}

/// Reads what [`Outputs::encode`] wrote: messages for the sink, and messages to be collected further.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Vec<SinkPayload>, Vec<SinkPayload>), StateError> {
    let mut from = StateReader::new(bytes);
    from.section("outputs", 1)?;
    let mut part = || (0..from.read_len()?).map(|_| load(&mut from)).collect::<Result<Vec<_>, _>>();
    Ok((part()?, part()?))
}

fn save(payload: &SinkPayload, out: &mut StateWriter) {
    let props = match payload {
        SinkPayload::Bytes { payload, props } => {
            out.bool(true);
            out.bytes(payload);
            props
        }
        SinkPayload::Rows { rows, is_list, props } => {
            out.bool(false);
            out.bool(*is_list);
            out.value(&Value::list(rows.iter().map(|row| Value::Map(Arc::clone(row))).collect()));
            props
        }
    };
    out.bool(props.is_some());
    if let Some(props) = props {
        out.text(&props.to_json().to_string());
    }
}

fn load(from: &mut StateReader<'_>) -> Result<SinkPayload, StateError> {
    let wrong = |what: &str| StateError(format!("{what} of a message"));
    if from.bool()? {
        let payload = Bytes::copy_from_slice(from.bytes()?);
        return Ok(SinkPayload::Bytes { payload, props: load_props(from)? });
    }
    let is_list = from.bool()?;
    let Value::List(list) = from.value()? else { return Err(wrong("no rows")) };
    let rows = list.iter().map(|row| match row {
        Value::Map(row) => Ok(Arc::clone(row)),
        _ => Err(wrong("a value instead of a row")),
    });
    Ok(SinkPayload::Rows { rows: rows.collect::<Result<_, _>>()?, is_list, props: load_props(from)? })
}

fn load_props(from: &mut StateReader<'_>) -> Result<Option<Arc<Props>>, StateError> {
    if !from.bool()? {
        return Ok(None);
    }
    let json = serde_json::from_str::<serde_json::Map<_, _>>(from.text()?);
    json.map(|props| Some(Arc::new(Props::from(props)))).map_err(|why| StateError(why.to_string()))
}
