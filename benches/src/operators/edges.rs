//! Both ends of a rule: JSON in, JSON out.

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use thalweg_core::format::Format;
use thalweg_core::{Batch, BatchBuilder, Projection, Props, Want};
use thalweg_runtime::RowWriter;

use super::cases::reading;
use super::subject::raw;
use crate::measure::Variant;

const WANTED: [&str; 4] = ["device", "t", "h", "ok"];

fn projection() -> Projection {
    let mut want = Projection::default();
    for name in WANTED {
        want.slot(Want::Column { path: vec![Arc::from(name)], data_type: None }, None);
    }
    want
}

/// Payloads of seven members, of which four are wanted.
pub(super) fn decode(batch: usize) -> Result<Vec<Variant<'static>>, String> {
    let texts: Vec<String> = (0..batch).map(reading).collect();
    let raw = raw(&texts);
    let want = Arc::new(projection());
    let format = &thalweg_connectors::format::json::FORMAT;
    let mut decoder = format.decoder(&want, &Props::new()).map_err(|why| why.to_string())?;
    let mut builder = BatchBuilder::new(Arc::new(want.schema()));
    let ours = move || {
        builder.begin(Some(Arc::clone(&raw.arena)));
        decoder.decode(&raw, &mut builder);
        let (batch, _) = builder.finish();
        let n_rows = batch.n_rows as u64;
        builder.recycle(batch);
        n_rows
    };
    let plain = move || {
        let row =
            |text: &String| serde_json::from_str::<Map<String, Json>>(text).map_or(0, |row| row.len() as u64);
        texts.iter().map(row).sum()
    };
    Ok(vec![Variant::new("plain", plain), Variant::new("ours", ours)])
}

/// The four columns as one message a row.
pub(super) fn encode(batch: usize) -> Result<Vec<Variant<'static>>, String> {
    let texts: Vec<String> = (0..batch).map(reading).collect();
    let columns = decoded(&texts)?;
    let row = |text: &String| -> Result<Map<String, Json>, String> {
        let mut row: Map<String, Json> = serde_json::from_str(text).map_err(|why| why.to_string())?;
        row.retain(|name, _| WANTED.contains(&name.as_str()));
        Ok(row)
    };
    let rows: Vec<Map<String, Json>> = texts.iter().map(row).collect::<Result<_, _>>()?;
    let (mut writer, mut out) = (RowWriter::default(), Vec::new());
    let ours = move || {
        out.clear();
        for row in 0..columns.n_rows {
            let _ = writer.write(&mut out, &columns, row, chrono_tz::Tz::UTC);
        }
        out.len() as u64
    };
    let mut text = Vec::new();
    let plain = move || {
        text.clear();
        rows.iter().for_each(|row| drop(serde_json::to_writer(&mut text, row)));
        text.len() as u64
    };
    Ok(vec![Variant::new("plain", plain), Variant::new("ours", ours)])
}

fn decoded(texts: &[String]) -> Result<Batch, String> {
    let want = Arc::new(projection());
    let format = &thalweg_connectors::format::json::FORMAT;
    let mut decoder = format.decoder(&want, &Props::new()).map_err(|why| why.to_string())?;
    let mut builder = BatchBuilder::new(Arc::new(want.schema()));
    let raw = raw(texts);
    builder.begin(Some(Arc::clone(&raw.arena)));
    decoder.decode(&raw, &mut builder);
    Ok(builder.finish().0)
}
