//! The second decode: a column of the outer row holds a payload of its own, whose fields are merged into the row
//! (C2.4).

use std::sync::Arc;

use thalweg_core::format::{Decoder, Format, RawBatch};
use thalweg_core::{
    BatchBuilder, Diagnostic, Fields, FormatError, Projection, Props, Timestamp, Value, Want,
};

use super::options::InnerPayload;

/// Decodes outer messages and what is inside them.
pub(crate) struct InnerDecoder {
    options: InnerPayload,
    outer: Stage,
    inner: Stage,
}

/// A decoder that gives whole rows.
struct Stage {
    decoder: Box<dyn Decoder>,
    builder: BatchBuilder,
}

/// What one message gave.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// Its rows.
    pub rows: Vec<Arc<Fields>>,
    /// What could not be read of it; its other rows stay.
    pub faults: Vec<FormatError>,
    /// Rows without an inner payload, which are dropped with a count only.
    pub skipped: u64,
}

impl Stage {
    /// Everything as a map in slot 0, and in slot 1 the value of `extra`, which a schema may not name.
    fn new(
        format: &dyn Format,
        want: &Projection,
        extra: Option<&Arc<str>>,
        props: &Props,
    ) -> Result<Self, Diagnostic> {
        let mut all = Projection { slots: Vec::new(), ..want.clone() };
        all.slot(Want::Everything, None);
        if let Some(extra) = extra {
            all.slot(Want::Column { path: vec![Arc::clone(extra)], data_type: None }, None);
        }
        let all = Arc::new(all);
        let builder = BatchBuilder::new(Arc::new(all.schema()));
        Ok(Self { decoder: format.decoder(&all, props)?, builder })
    }

    /// The rows of one payload, each with the value of the extra column.
    fn rows(&mut self, payload: &[u8], time: Timestamp) -> (Vec<(Fields, Value)>, Vec<FormatError>) {
        let raw = RawBatch {
            arena: Arc::new(payload.to_vec()),
            spans: vec![(0, payload.len() as u32)],
            times: vec![time],
            ..RawBatch::default()
        };
        self.builder.begin(Some(Arc::clone(&raw.arena)));
        self.decoder.decode(&raw, &mut self.builder);
        let (batch, selection) = self.builder.finish();
        let row = |row: usize| {
            let fields = match batch.columns[0].value(row) {
                Value::Map(fields) => Arc::unwrap_or_clone(fields),
                _ => Fields::new(),
            };
            (fields, batch.columns.get(1).map(|column| column.value(row)).unwrap_or_default())
        };
        let rows = (0..batch.n_rows).map(row).collect();
        let faults = selection.faults.iter().map(|fault| FormatError::new(&fault.message)).collect();
        self.builder.recycle(batch);
        (rows, faults)
    }
}

impl InnerDecoder {
    pub(crate) fn new(
        options: &InnerPayload,
        (outer, outer_props): (&dyn Format, &Props),
        (inner, inner_props): (&dyn Format, &Props),
        want: &Projection,
    ) -> Result<Self, Diagnostic> {
        let extra = options.batch_field.as_ref().unwrap_or(&options.field);
        Ok(Self {
            outer: Stage::new(outer, want, Some(extra), outer_props)?,
            inner: Stage::new(inner, want, None, inner_props)?,
            options: options.clone(),
        })
    }

    /// Opens a message of bytes.
    pub(crate) fn bytes(&mut self, payload: &[u8], time: Timestamp) -> Opened {
        let (rows, faults) = self.outer.rows(payload, time);
        let mut opened = Opened { faults, ..Opened::default() };
        for (fields, payload) in rows {
            self.open(fields, payload, time, &mut opened);
        }
        opened
    }

    /// Opens a message of rows.
    pub(crate) fn rows(&mut self, rows: &[Arc<Fields>], time: Timestamp) -> Opened {
        let mut opened = Opened::default();
        let name = Arc::clone(self.options.batch_field.as_ref().unwrap_or(&self.options.field));
        for row in rows {
            let payload = row.get(&name).cloned().unwrap_or_default();
            self.open(Fields::clone(row), payload, time, &mut opened);
        }
        opened
    }

    fn open(&mut self, mut fields: Fields, payload: Value, time: Timestamp, opened: &mut Opened) {
        match self.options.batch_field.clone() {
            Some(name) => {
                fields.remove(&name);
                self.open_batch(fields, &payload, time, opened);
            }
            None => {
                fields.remove(&self.options.field);
                let bytes = match bytes(&payload) {
                    Ok(bytes) => bytes,
                    Err(None) => return opened.skipped += 1,
                    Err(Some(error)) => return opened.faults.push(error),
                };
                let (rows, faults) = self.inner.rows(bytes, time);
                opened.faults.extend(faults);
                opened.rows.extend(rows.into_iter().map(|(inner, _)| {
                    let mut row = fields.clone();
                    row.extend(inner);
                    Arc::new(row)
                }));
            }
        }
    }

    /// All inner payloads of a list, and the fields beside them, in one row; later ones win.
    fn open_batch(&mut self, mut row: Fields, list: &Value, time: Timestamp, opened: &mut Opened) {
        let items = match list {
            Value::Null => return opened.skipped += 1,
            Value::List(items) => items,
            other => {
                let text = format!("payload batch field is not array: {}", other.kind_name());
                return opened.faults.push(FormatError::new(text));
            }
        };
        for item in items.iter() {
            let Value::Map(item) = item else {
                let text = "unsupported payload received, must be a slice of maps";
                return opened.faults.push(FormatError::new(text));
            };
            let Ok(bytes) = bytes(item.get(&self.options.field).unwrap_or(&Value::Null)) else {
                opened.skipped += 1;
                continue;
            };
            let (rows, faults) = self.inner.rows(bytes, time);
            opened.skipped += faults.len() as u64;
            let beside = item.iter().filter(|(name, _)| **name != self.options.field);
            row.extend(beside.map(|(name, value)| (Arc::clone(name), value.clone())));
            row.extend(rows.into_iter().flat_map(|(inner, _)| inner));
        }
        opened.rows.push(Arc::new(row));
    }
}

/// The bytes of an inner payload; `Err(None)` when there is none.
fn bytes(value: &Value) -> Result<&[u8], Option<FormatError>> {
    match value {
        Value::Str(text) => Ok(text.as_bytes()),
        Value::Bytes(bytes) => Ok(bytes),
        Value::Null => Err(None),
        other => {
            let text = format!("payload is not bytes: cannot convert {} to bytes", other.kind_name());
            Err(Some(FormatError::new(text)))
        }
    }
}
