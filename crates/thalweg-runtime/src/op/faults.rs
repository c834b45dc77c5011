//! Failed rows and failed collections on their way (Z-1, Z-2).
//!
//! The unit of failure is the row, or with a collection the whole message. Faults that have no batch to travel with go
//! in a batch without rows whose unit is [`Unit::Rows`], which makes no message of its own.

use std::sync::Arc;

use thalweg_core::{Batch, Fault, Live, Schema, Selection, Timestamp, Unit};

use crate::operator::{Emit, OpCx};

/// Both lists in row order; at the same row the older ones come first.
pub(crate) fn merge(older: &[Fault], newer: Vec<Fault>) -> Vec<Fault> {
    let mut faults = older.to_vec();
    if !newer.is_empty() {
        faults.extend(newer);
        faults.sort_by_key(|fault| fault.row);
    }
    faults
}

/// Single rows with faults between them, as runs of either: for operators that do not hand rows on one for one, so
/// that a fault leaves behind the results of the rows before it. `None` where there is nothing to part.
pub(crate) fn runs(batch: &Batch, rows: &Selection) -> Option<Vec<Selection>> {
    if rows.faults.is_empty() || rows.is_empty() || batch.unit == Unit::Collection {
        return None;
    }
    let mut runs = Vec::new();
    let mut live = rows.iter().map(|row| row as u32).peekable();
    for fault in &rows.faults {
        let before: Vec<u32> = std::iter::from_fn(|| live.next_if(|row| *row < fault.row)).collect();
        if !before.is_empty() {
            runs.push(Selection::rows(before));
        }
        runs.push(Selection { live: Live::All(0), faults: vec![fault.clone()] });
    }
    runs.push(Selection::rows(live.collect()));
    Some(runs)
}

/// Sends faults on without rows.
pub(crate) fn send(faults: Vec<Fault>, port: usize, schema: &Arc<Schema>, out: &mut dyn Emit) {
    if !faults.is_empty() {
        let faults = faults.into_iter().map(|fault| Fault { row: 0, ..fault }).collect();
        let batch = Batch::empty(Arc::clone(schema), Unit::Rows);
        out.batch(port, &batch, &Selection { live: Live::All(0), faults });
    }
}

/// The time of a collection: its window's end, or without window that of the event it was made of.
pub(crate) fn time_of(collection: &Batch) -> Option<Timestamp> {
    collection.window.map(|window| window.end).or_else(|| collection.times.first().copied())
}

/// Counts the failure of a whole collection, of this time, and sends it on with the faults that came before.
pub(crate) fn fail_all(
    message: &str,
    (time, rows): (Option<Timestamp>, &Selection),
    schema: &Arc<Schema>,
    out: &mut dyn Emit,
    cx: &OpCx<'_>,
) {
    let mut faults = rows.faults.clone();
    faults.extend(cx.fail(0, message, time));
    send(faults, 0, schema, out);
}

/// Counts failed rows of a batch of single rows; the faults among those that came before.
pub(crate) fn fail_rows(
    bad: &[(usize, String)],
    (batch, rows): (&Batch, &Selection),
    cx: &OpCx<'_>,
) -> Vec<Fault> {
    let time = |row: usize| batch.times.get(row).copied();
    let newer = bad.iter().filter_map(|(row, message)| cx.fail(*row, message, time(*row))).collect();
    merge(&rows.faults, newer)
}
