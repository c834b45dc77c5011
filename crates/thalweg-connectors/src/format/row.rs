//! A decoded row of named values into the slots that a projection wants; for formats whose rows are small and flat.

use std::sync::Arc;

use chrono_tz::Tz;
use thalweg_core::format::RawBatch;
use thalweg_core::path::follow;
use thalweg_core::value::Fields;
use thalweg_core::{BatchBuilder, Column, PathStep, Projection, Value, Want};

use super::json::typed::check_strict;

/// Fills one row from its values and ends it, or fails it when a strict column does not hold.
pub(super) fn push_row(
    want: &Projection,
    fields: &Fields,
    (raw, index, zone): (&RawBatch, usize, Tz),
    into: &mut BatchBuilder,
) {
    for (slot, wanted) in want.slots.iter().enumerate() {
        match &wanted.want {
            Want::Column { path, .. } => {
                if let Some(value) = at_path(fields, path, want.ignore_case) {
                    into.column(slot).push_value(value);
                }
            }
            Want::Path { column, steps, .. } => {
                let column = at_path(fields, std::slice::from_ref(column), want.ignore_case);
                push_path(column, steps, wanted.strict.is_some(), into.column(slot));
            }
            Want::Everything => into.column(slot).push_value(&everything(want, fields)),
            Want::Meta => {
                if let Some(Some(meta)) = raw.meta.get(index) {
                    into.column(slot).push_value(&Value::Map(Arc::clone(meta)));
                }
            }
        }
    }
    let time = raw.times[index];
    for (slot, wanted) in want.slots.iter().enumerate().filter(|(_, wanted)| wanted.strict.is_some()) {
        if let Err(error) = check_strict(wanted, slot, (time, zone), into) {
            return into.fail(into.n_rows(), &error);
        }
    }
    into.end_row(time);
}

/// What a path below a column gives. A strict column that is not there leaves its slot empty, for the check to find.
fn push_path(value: Option<&Value>, steps: &[PathStep], is_strict: bool, out: &mut Column) {
    match value.map(|value| follow(value, steps)) {
        None if is_strict => {}
        None => out.push_null(),
        Some(Ok(value)) => out.push_value(&value),
        Some(Err(error)) => out.push_error(error),
    }
}

fn at_path<'a>(fields: &'a Fields, path: &[Arc<str>], ignore_case: bool) -> Option<&'a Value> {
    let (name, rest) = path.split_first()?;
    let value = match ignore_case {
        false => fields.get(name)?,
        true => fields.iter().find(|(have, _)| have.eq_ignore_ascii_case(name))?.1,
    };
    match (rest, value) {
        ([], value) => Some(value),
        (rest, Value::Map(inner)) => at_path(inner, rest, ignore_case),
        _ => None,
    }
}

/// T-4: with a schema, what is not declared does not exist.
fn everything(want: &Projection, fields: &Fields) -> Value {
    match &want.declared {
        None => Value::map(fields.clone()),
        Some(declared) => {
            let known = |name: &Arc<str>| declared.iter().any(|(declared, _)| declared == name);
            let kept = fields.iter().filter(|(name, _)| known(name));
            Value::map(kept.map(|(name, value)| (Arc::clone(name), value.clone())).collect())
        }
    }
}

/// What the tests of the flat formats share.
#[cfg(test)]
pub(super) mod testing {
    use std::sync::Arc;

    use thalweg_core::format::{Decoder, Encoder, Format, Message, RawBatch};
    use thalweg_core::value::Fields;
    use thalweg_core::{Batch, BatchBuilder, Fault, Projection, Props, Timestamp, Value, Want};

    pub(crate) fn props(text: &str) -> Props {
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
        Props::from(fields)
    }

    pub(crate) fn projection(names: &[&str]) -> Projection {
        let mut want = Projection::default();
        for name in names {
            let slot = match *name {
                "*" => Want::Everything,
                name => Want::Column { path: vec![Arc::from(name)], data_type: None },
            };
            want.slot(slot, None);
        }
        want
    }

    /// The rows of some payloads, a list of cells each, and the faults between them.
    pub(crate) fn decode(
        format: &dyn Format,
        want: Projection,
        text: &str,
        payloads: &[&[u8]],
    ) -> (Vec<Vec<Value>>, Vec<Fault>) {
        let want = Arc::new(want);
        let mut decoder: Box<dyn Decoder> = format.decoder(&want, &props(text)).unwrap();
        let mut raw = RawBatch::default();
        let mut arena = Vec::new();
        for payload in payloads {
            raw.spans.push((arena.len() as u32, payload.len() as u32));
            raw.times.push(Timestamp(7));
            arena.extend_from_slice(payload);
        }
        raw.arena = Arc::new(arena);
        let mut builder = BatchBuilder::new(Arc::new(want.schema()));
        builder.begin(Some(Arc::clone(&raw.arena)));
        decoder.decode(&raw, &mut builder);
        let (batch, selection): (Batch, _) = builder.finish();
        let row = |row: usize| batch.columns.iter().map(|column| column.value(row)).collect();
        ((0..batch.n_rows).map(row).collect(), selection.faults)
    }

    /// A payload, or the error.
    pub(crate) fn encode(encoder: &mut dyn Encoder, message: Message<'_>) -> Result<String, String> {
        let mut out = Vec::new();
        match encoder.encode(message, &mut out) {
            Ok(()) => Ok(String::from_utf8(out).unwrap()),
            Err(error) => {
                assert!(out.is_empty());
                Err(error.message.to_string())
            }
        }
    }

    pub(crate) fn row(text: &str) -> Arc<Fields> {
        crate::testing::row(text)
    }
}
