//! JSON to columns, beside `serde_json::Value` with a pointer per field (hot-path.md 2, payloads a, b and c).

use std::sync::Arc;

use serde_json::Value as Json;
use thalweg_connectors::format::json::FORMAT as JSON;
use thalweg_core::format::{Decoder, Format, RawBatch};
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{BatchBuilder, PathStep, Projection, Props, Slot, Timestamp, Value, Want};
use thalweg_expr::{Expr, Step};

use super::filter::cx;
use crate::e2e::payload;
use crate::measure::{Variant, nanos_per_item};
use crate::report::Report;

const BATCH: usize = 256;

struct Payload {
    name: &'static str,
    text: fn(usize) -> String,
    wanted: &'static [&'static str],
}

const PAYLOADS: &[Payload] = &[
    Payload { name: "decode_a", text: small, wanted: &["temperature", "humidity"] },
    Payload {
        name: "decode_b",
        text: nested,
        wanted: &["deviceId", "ts", "readings.temperature", "readings.vibration"],
    },
    Payload { name: "decode_c", text: wide, wanted: &["key003", "key250", "key499"] },
    Payload {
        name: "decode_b_widths",
        text: nested_of_any_width,
        wanted: &["deviceId", "ts", "readings.temperature", "readings.vibration"],
    },
    Payload { name: "decode_c_widths", text: wide_of_any_width, wanted: &["key003", "key250", "key499"] },
];

/// Payload a of hot-path.md 2: 35 B.
pub(crate) fn small(row: usize) -> String {
    format!("{{\"temperature\": {}, \"humidity\": {}}}", row % 90 + 10, row % 80 + 10)
}

/// Payload b: 238 B, nested.
pub(crate) fn nested(row: usize) -> String {
    format!(
        "{{\"deviceId\":\"dev-{:04}\",\"ts\":17095{row:08},\"site\":\"plant-7\",\"line\":3,\"readings\":\
         {{\"temperature\":{}.5,\"pressure\":1013.25,\"humidity\":44,\"vibration\":[0.12,0.31,0.08]}},\
         \"status\":\"ok\",\"firmware\":\"2.4.1-rc5\",\"battery\":87,\"alarm\":false,\"note\":null}}",
        row % 1000,
        row % 90
    )
}

/// Payload c: 5.4 KB, 500 flat keys.
pub(crate) fn wide(row: usize) -> String {
    let members: Vec<String> =
        (0..500).map(|key| format!("\"key{key:03}\":{}", (key * 7 + row) % 10)).collect();
    format!("{{{}}}", members.join(","))
}

/// As b, with numbers and texts whose widths differ from message to message.
fn nested_of_any_width(row: usize) -> String {
    let spread = |by: usize, most: usize| (row + 1) * by % most;
    format!(
        "{{\"deviceId\":\"dev-{}\",\"ts\":17095{row:08},\"site\":\"plant-7\",\"line\":{},\"readings\":\
         {{\"temperature\":{}.5,\"pressure\":{}.25,\"humidity\":{},\"vibration\":[0.12,0.{},0.08]}},\
         \"status\":\"ok\",\"firmware\":\"2.4.1-rc5\",\"battery\":{},\"alarm\":{},\"note\":null}}",
        spread(7919, 2000),
        spread(31, 13),
        spread(77, 120),
        spread(389, 1500),
        spread(57, 101),
        spread(613, 1000),
        spread(37, 101),
        row.is_multiple_of(3),
    )
}

/// As c, with numbers of one to three digits, anew in each message.
pub(crate) fn wide_of_any_width(row: usize) -> String {
    let value = |key: usize| (key * 7919 + row * 104_729) % 1361 % 10usize.pow(1 + ((key ^ row) % 3) as u32);
    let members: Vec<String> = (0..500).map(|key| format!("\"key{key:03}\":{}", value(key))).collect();
    format!("{{{}}}", members.join(","))
}

/// A reading of one of so many kinds of devices: the same eight members in different orders, with optional ones.
fn fleet(row: usize, shapes: usize) -> String {
    let members = [
        ("deviceId", format!("\"dev-{:04}\"", row % 1000)),
        ("ts", format!("17095{row:08}")),
        ("temperature", format!("{}.5", row * 7 % 120)),
        ("pressure", format!("{}.25", row * 41 % 1500)),
        ("status", "\"ok\"".to_owned()),
        ("firmware", "\"2.4.1-rc5\"".to_owned()),
        ("battery", (row * 17 % 101).to_string()),
        ("note", "null".to_owned()),
    ];
    let device = row.wrapping_mul(2_654_435_761) >> 7;
    String::from_utf8(payload::object(&members, device % shapes)).unwrap_or_default() + "}"
}

/// All payloads with each set of instructions that this processor has, and paths below a column.
pub(crate) fn run(report: &Report) {
    for payload in PAYLOADS {
        let texts: Vec<String> = (0..BATCH).map(payload.text).collect();
        report.compare(payload.name, &measure(&texts, payload.wanted));
    }
    for shapes in [1, 4, 8, 32, 64] {
        let texts: Vec<String> = (0..8 * BATCH).map(|row| fleet(row, shapes)).collect();
        report.compare(
            &format!("decode_fleet_{shapes}"),
            &measure(&texts, &["deviceId", "ts", "status", "battery"]),
        );
    }
    let texts: Vec<String> = (0..BATCH).map(nested).collect();
    report.compare("decode_paths", &paths(&batch(&texts)));
}

/// `readings->temperature`, `readings->vibration[1]`: expressions over the whole column beside slots that the decoder
/// fills in its one walk.
fn paths(raw: &RawBatch) -> Vec<(&'static str, f64)> {
    let name = |name: &str| PathStep::Member(Arc::from(name));
    let below = [vec![name("temperature")], vec![name("vibration"), PathStep::Index(1)]];
    let readings: Arc<str> = Arc::from("readings");
    let whole = Want::Column { path: vec![Arc::clone(&readings)], data_type: None };
    let follow = |steps: &Vec<PathStep>| {
        let step = |step: &PathStep| match step {
            PathStep::Member(name) => Step::Member(Arc::clone(name)),
            PathStep::Index(index) => Step::Index(Expr::literal(Value::Int(*index as i64))),
        };
        Expr::Path(Box::new(Expr::Column(Slot(0))), steps.iter().map(step).collect())
    };
    let columns = [Expr::Column(Slot(0)), Expr::Column(Slot(1))];
    let picked = below.iter().map(|steps| Want::Path {
        column: Arc::clone(&readings),
        steps: steps.clone(),
        data_type: None,
    });
    let variants = [
        ("whole, then paths", vec![whole], below.iter().map(follow).collect::<Vec<_>>()),
        ("picked", picked.collect(), columns.to_vec()),
    ];
    let variants = variants.into_iter().filter_map(|(name, wants, exprs)| read(name, raw, wants, exprs));
    nanos_per_item(raw.len(), variants.collect())
}

/// Decodes and evaluates.
fn read<'a>(
    name: &'static str,
    raw: &'a RawBatch,
    wants: Vec<Want>,
    exprs: Vec<Expr>,
) -> Option<Variant<'a>> {
    let mut want = Projection::default();
    for wanted in wants {
        want.slot(wanted, None);
    }
    let want = Arc::new(want);
    let mut decoder = JSON.decoder(&want, &Props::new()).ok()?;
    let mut builder = BatchBuilder::new(Arc::new(want.schema()));
    let metrics = NodeMetrics::default();
    Some(Variant::new(name, move || {
        builder.begin(Some(Arc::clone(&raw.arena)));
        decoder.decode(raw, &mut builder);
        let (batch, rows) = builder.finish();
        let mut cx = cx(&metrics);
        let sum = exprs.iter().map(|expr| expr.eval(&batch, &rows, &mut cx).column().words()[0] & 1).sum();
        builder.recycle(batch);
        sum
    }))
}

fn measure(texts: &[String], wanted: &[&str]) -> Vec<(&'static str, f64)> {
    let raw = batch(texts);
    let mut want = Projection::default();
    for name in wanted {
        let path = name.split('.').map(Arc::from).collect();
        want.slot(Want::Column { path, data_type: None }, None);
    }
    let pointers: Vec<String> = wanted.iter().map(|name| format!("/{}", name.replace('.', "/"))).collect();
    let plain = || {
        let found = |text: &String| {
            let document: Json = serde_json::from_str(text).unwrap_or_default();
            pointers.iter().filter(|pointer| document.pointer(pointer).is_some()).count() as u64
        };
        texts.iter().map(found).sum()
    };
    let strict = Projection { strict_json: true, ..want.clone() };
    let mut variants = vec![Variant::new("serde_json", plain)];
    let (strict, want) = (Arc::new(strict), Arc::new(want));
    let walker = JSON.decoder(&strict, &Props::new()).ok();
    variants.extend(walker.map(|walker| decoding(("walker", walker), &raw, &strict)));
    variants.extend(JSON.decoders(&want).into_iter().map(|decoder| decoding(decoder, &raw, &want)));
    nanos_per_item(texts.len(), variants)
}

/// Decodes as the ingest does.
fn decoding<'a>(
    (name, mut decoder): (&'static str, Box<dyn Decoder>),
    raw: &'a RawBatch,
    want: &Projection,
) -> Variant<'a> {
    let mut builder = BatchBuilder::new(Arc::new(want.schema()));
    Variant::new(name, move || {
        builder.begin(Some(Arc::clone(&raw.arena)));
        decoder.decode(raw, &mut builder);
        let (batch, _) = builder.finish();
        let cells =
            batch.columns.iter().map(|column| column.words()[0] & 1).sum::<u64>() + batch.n_rows as u64;
        builder.recycle(batch);
        cells
    })
}

pub(crate) fn batch(texts: &[String]) -> RawBatch {
    let mut raw = RawBatch::default();
    let mut arena = Vec::new();
    for text in texts {
        raw.spans.push((arena.len() as u32, text.len() as u32));
        arena.extend_from_slice(text.as_bytes());
        raw.times.push(Timestamp(0));
    }
    raw.arena = Arc::new(arena);
    raw
}
