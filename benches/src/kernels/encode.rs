//! Rows to JSON text, beside `serde_json` (hot-path.md 5): two fields from columns, and payloads a, b and c that
//! `SELECT *` passes through, printed as upstream prints them.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use thalweg_core::{Batch, Column, Schema, Timestamp, Unit};
use thalweg_runtime::RowWriter;

use super::decode::{nested, small, wide};
use crate::measure::{Variant, nanos_per_item};
use crate::report::Report;

const BATCH: usize = 256;

/// A number that `temperature * 1.8 + 32` gives.
fn degrees(row: usize) -> f64 {
    (row % 90 + 10) as f64 * 1.8 + 32.0
}

/// One with few decimals.
fn reading(row: usize) -> f64 {
    (row % 900 + 100) as f64 / 10.0
}

/// All of them.
pub(crate) fn run(report: &Report) {
    type Numbers = fn(usize) -> f64;
    let numbers: [(&str, Numbers); 2] = [("encode_two_fields", degrees), ("encode_one_decimal", reading)];
    for (name, number) in numbers {
        let humidity = |row: usize| (row % 80 + 10) as f64;
        let columns =
            [Column::from_floats((0..BATCH).map(number)), Column::from_floats((0..BATCH).map(humidity))];
        let values = (0..BATCH).map(|row| json!({"f": number(row), "humidity": humidity(row)})).collect();
        compare(report, name, &batch(&["f", "humidity"], columns.into()), values);
    }
    type Texts = fn(usize) -> String;
    let payloads: [(&str, Texts); 3] = [("pass_a", small), ("pass_b", nested), ("pass_c", wide)];
    for (name, text) in payloads {
        let texts: Vec<String> = (0..BATCH).map(text).collect();
        let values = texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
        let (mut arena, mut spans) = (Vec::new(), Vec::new());
        for text in &texts {
            spans.push((arena.len(), text.len()));
            arena.extend_from_slice(text.as_bytes());
        }
        let mut column = Column::with_arena(Some(Arc::new(arena)));
        spans.into_iter().for_each(|(start, len)| column.push_json_span(start, len));
        compare(report, name, &batch(&["*"], vec![column]), values);
    }
}

fn batch(names: &[&str], columns: Vec<Column>) -> Batch {
    Batch {
        schema: Arc::new(Schema::computed(names.iter().copied())),
        columns: columns.into_iter().map(Arc::new).collect(),
        n_rows: BATCH,
        times: vec![Timestamp(0); BATCH],
        unit: Unit::Rows,
        window: None,
    }
}

/// Ready values by `serde_json`, and our writer; into a list that is used again.
fn compare(report: &Report, name: &str, batch: &Batch, values: Vec<Json>) {
    let (mut out, mut ours) = (Vec::new(), Vec::new());
    let mut writer = RowWriter::default();
    let ready = || {
        out.clear();
        for value in &values {
            if serde_json::to_writer(&mut out, value).is_err() {
                return 0;
            }
        }
        out.len() as u64
    };
    let columns = || {
        ours.clear();
        for row in 0..batch.n_rows {
            if writer.write(&mut ours, batch, row, chrono_tz::Tz::UTC).is_err() {
                return 0;
            }
        }
        ours.len() as u64
    };
    let variants = vec![Variant::new("serde_json", ready), Variant::new("columns", columns)];
    report.compare(name, &nanos_per_item(BATCH, variants));
}
