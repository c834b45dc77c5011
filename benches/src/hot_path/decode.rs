//! Decoding with pushdown: the decoder that streams use, with the projection that the planner makes, beside
//! `serde_json::Value` with a pointer per field.

use std::sync::Arc;

use serde_json::Value as Json;
use thalweg_core::format::Format;
use thalweg_core::{BatchBuilder, Projection, Props};
use thalweg_plan::{Kind, Node};

use super::Sheet;
use crate::kernels::{decode, pipeline};
use crate::measure::{Variant, nanos_per_item};

/// Rows of one batch.
const BATCH: usize = 256;

struct Case {
    name: &'static str,
    payload: fn(usize) -> String,
    sql: &'static str,
    pointers: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "decode_a_ratio",
        payload: decode::small,
        sql: "SELECT temperature, humidity FROM demo",
        pointers: &["/temperature", "/humidity"],
    },
    Case {
        name: "decode_b_ratio",
        payload: decode::nested,
        sql: "SELECT deviceId, ts, readings->temperature AS t, readings->vibration[0] AS v FROM demo",
        pointers: &["/deviceId", "/ts", "/readings/temperature", "/readings/vibration/0"],
    },
    Case {
        name: "decode_c_ratio",
        payload: decode::wide,
        sql: "SELECT key003, key250, key499 FROM demo",
        pointers: &["/key003", "/key250", "/key499"],
    },
];

/// All three payloads.
pub(crate) fn run(sheet: &mut Sheet) -> Result<(), String> {
    for case in CASES {
        if !sheet.wants(case.name) {
            continue;
        }
        let [(_, plain), (_, ours)] = measure(case)?[..] else {
            return Err(format!("{}: nothing was measured", case.name));
        };
        let note = format!("{ours:.0} ns, serde_json {plain:.0} ns");
        sheet.figure(case.name, plain / ours, &note);
    }
    Ok(())
}

fn measure(case: &Case) -> Result<Vec<(&'static str, f64)>, String> {
    let texts: Vec<String> = (0..BATCH).map(case.payload).collect();
    let raw = decode::batch(&texts);
    let want = Arc::new(projection(case.sql)?);
    let format = &thalweg_connectors::format::json::FORMAT;
    let mut decoder = format.decoder(&want, &Props::new()).map_err(|why| why.to_string())?;
    let mut builder = BatchBuilder::new(Arc::new(want.schema()));
    let plain = || {
        let found = |text: &String| {
            let document: Json = serde_json::from_str(text).unwrap_or_default();
            case.pointers.iter().filter(|pointer| document.pointer(pointer).is_some()).count() as u64
        };
        texts.iter().map(found).sum()
    };
    let ours = move || {
        builder.begin(Some(Arc::clone(&raw.arena)));
        decoder.decode(&raw, &mut builder);
        let (batch, _) = builder.finish();
        let cells = batch.columns.iter().map(|column| column.words()[0] & 1).sum::<u64>();
        let n_rows = batch.n_rows as u64;
        builder.recycle(batch);
        cells + n_rows
    };
    Ok(nanos_per_item(BATCH, vec![Variant::new("serde_json", plain), Variant::new("decoder", ours)]))
}

/// What the stream of this statement decodes.
fn projection(sql: &str) -> Result<Projection, String> {
    let plan = pipeline::plan(sql).ok_or_else(|| format!("cannot plan {sql}"))?;
    scan(&plan.root).ok_or_else(|| format!("{sql} reads nothing"))
}

fn scan(node: &Node) -> Option<Projection> {
    match &node.kind {
        Kind::Scan(scan) => Some(scan.projection.clone()),
        _ => node.inputs.iter().find_map(scan),
    }
}
