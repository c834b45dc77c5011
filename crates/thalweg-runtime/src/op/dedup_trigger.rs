//! `dedup_trigger(start, end, now, expire)`: each row waits until its `now` has come to its end, and leaves with the
//! parts of [start, end) that no row before it has covered (F-5).
//!
//! Rows leave in the order of their ends. What a later row says of `now` lets earlier ones go; when none comes, the
//! time that was missing passes on the clock.

use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Cell, Column, ColumnRef, Fields, Schema, Selection, Timestamp, Value, cast};
use thalweg_plan::logical::Dedup;

use crate::op::reorder::Reorder;
use crate::op::{faults, reshape};
use crate::operator::{Emit, OpCx, Operator};

/// Appends the list of parts.
pub(crate) struct DedupTrigger {
    plan: Dedup,
    schema: Arc<Schema>,
    /// Rows that wait for their end.
    waiting: Reorder,
    covered: Covered,
    /// When the first waiting row leaves by itself.
    due: Option<Timestamp>,
}

/// What a row asks for.
#[derive(Debug, Clone, Copy)]
struct Request {
    start: i64,
    end: i64,
    now: i64,
}

/// Ranges that were given out: ascending, apart from each other.
#[derive(Debug, Default)]
struct Covered(Vec<(i64, i64)>);

impl Covered {
    /// The parts of a range that are new, which are covered from now on. What ended before `from` is forgotten.
    fn take(&mut self, (start, end): (i64, i64), from: i64) -> Vec<(i64, i64)> {
        if end < from {
            return Vec::new();
        }
        self.0.retain(|(_, end)| *end >= from);
        let start = start.max(from);
        let first = self.0.partition_point(|(_, have)| *have < start);
        let last = self.0.partition_point(|(have, _)| *have <= end);
        let (mut parts, mut at) = (Vec::new(), start);
        let mut joined = (start, end);
        for (from, to) in self.0.drain(first..last) {
            if at < from {
                parts.push((at, from));
            }
            at = at.max(to);
            joined = (joined.0.min(from), joined.1.max(to));
        }
        if at < end {
            parts.push((at, end));
        }
        self.0.insert(first, joined);
        parts
    }
}

impl DedupTrigger {
    pub(crate) fn new(plan: &Dedup, input: &Arc<Schema>, schema: &Arc<Schema>) -> Self {
        Self {
            plan: plan.clone(),
            schema: Arc::clone(schema),
            waiting: Reorder::new(std::iter::once(input)),
            covered: Covered::default(),
            due: None,
        }
    }

    /// Lets go the rows whose end is not after `now`, and waits for the next.
    fn trigger(&mut self, now: i64, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let mut due = Vec::new();
        self.waiting.release(Timestamp(now), |_, batch, rows| {
            let rows: Vec<u32> = rows.iter().map(|row| row as u32).collect();
            due.push(reshape::gather_rows(batch, &rows));
        });
        for batch in due {
            let rows = Selection::all(batch.n_rows);
            let column = self.parts(&batch, &rows, cx);
            out.batch(0, &reshape::append(&batch, &self.schema, [column]), &rows);
        }
        let missing = self.waiting.first().map(|end| end.0.saturating_sub(now));
        self.due = missing.map(|missing| cx.now.plus(missing));
    }

    /// The parts of each row; null where there is none.
    fn parts(&mut self, batch: &Batch, rows: &Selection, cx: &OpCx<'_>) -> Column {
        let requests = requests(&self.plan, batch, rows, cx);
        let mut column = Column::new();
        for request in requests {
            // Only rows that ask for something were kept.
            let parts = request.map_or_else(
                |_| Vec::new(),
                |Request { start, end, now }| {
                    self.covered.take((start, end), now.saturating_sub(self.plan.expire))
                },
            );
            if parts.is_empty() {
                column.push_null();
            } else {
                column.push_value(&Value::list(parts.into_iter().map(part).collect::<Vec<_>>()));
            }
        }
        column
    }
}

fn part((start, end): (i64, i64)) -> Value {
    Value::map(Fields::from([
        (Arc::from("start_key"), Value::text(start.to_string())),
        (Arc::from("end_key"), Value::text(end.to_string())),
    ]))
}

/// What each selected row asks for.
fn requests(plan: &Dedup, batch: &Batch, rows: &Selection, cx: &OpCx<'_>) -> Vec<Result<Request, String>> {
    let mut eval = cx.eval(batch.window);
    let columns = [&plan.start, &plan.end, &plan.now].map(|expr| expr.eval(batch, rows, &mut eval));
    rows.iter().map(|row| request(&columns, row)).collect()
}

fn request([start, end, now]: &[ColumnRef<'_>; 3], row: usize) -> Result<Request, String> {
    let whole = |what: &str, column: &ColumnRef<'_>| match column.cell(row) {
        Cell::Missing => Err(format!("dedup_trigger {what} is missing")),
        Cell::Int(value) => Ok(value),
        Cell::Float(value) if value.is_finite() => Ok(value as i64),
        Cell::Error(error) => Err(error.to_string()),
        other => Err(format!("dedup_trigger {what} time {} is not int64", cast::described(&other))),
    };
    let (start, end, now) = (whole("start", start)?, whole("end", end)?, whole("now", now)?);
    if start >= end {
        return Err(format!("dedup_trigger start time {start} is greater than end time {end}"));
    }
    Ok(Request { start, end, now })
}

impl Operator for DedupTrigger {
    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        let requests = requests(&self.plan, batch, rows, cx);
        let mut older = rows.faults.iter().peekable();
        for (row, request) in rows.iter().zip(requests) {
            while let Some(fault) = older.next_if(|fault| fault.row as usize <= row) {
                faults::send(vec![fault.clone()], 0, &self.schema, out);
            }
            match request {
                Ok(Request { end, now, .. }) => {
                    self.waiting.push_at(batch, row, Timestamp(end));
                    self.trigger(now, out, cx);
                }
                Err(message) => {
                    let failed = (Some(batch.times[row]), &Selection::all(0));
                    faults::fail_all(&message, failed, &self.schema, out, cx);
                }
            }
        }
        faults::send(older.cloned().collect(), 0, &self.schema, out);
    }

    fn next_timer(&self) -> Option<Timestamp> {
        self.due
    }

    fn on_timer(&mut self, out: &mut dyn Emit, cx: &mut OpCx<'_>) {
        self.due = None;
        if let Some(end) = self.waiting.first() {
            self.trigger(end.0, out, cx);
        }
    }

    fn memory(&self) -> usize {
        self.waiting.memory() + self.covered.0.capacity() * size_of::<(i64, i64)>()
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("dedup_trigger", 2);
        out.bool(self.due.is_some());
        out.time(self.due.unwrap_or_default());
        out.u64(self.covered.0.len() as u64);
        for (start, end) in &self.covered.0 {
            out.i64(*start);
            out.i64(*end);
        }
        self.waiting.save(out);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("dedup_trigger", 2)?;
        let has_due = from.bool()?;
        let due = from.time()?;
        self.due = has_due.then_some(due);
        let n_covered = from.read_len()?;
        self.covered.0 = (0..n_covered).map(|_| Ok((from.i64()?, from.i64()?))).collect::<Result<_, _>>()?;
        self.waiting.load(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(requests: &[(i64, i64, i64)], expire: i64, expected: &[&[(i64, i64)]]) {
        let mut covered = Covered::default();
        for (&(start, end, now), expected) in requests.iter().zip(expected) {
            assert_eq!(covered.take((start, end), now - expire), *expected, "[{start}, {end}) at {now}");
            assert!(covered.0.windows(2).all(|pair| pair[0].1 < pair[1].0), "{covered:?}");
        }
    }

    #[test]
    fn f5_only_what_was_not_covered_is_given_out() {
        check(
            &[
                (100, 200, 150),
                (50, 70, 160),
                (250, 270, 170),
                (80, 260, 180),
                (60, 275, 190),
                (25, 300, 200),
            ],
            1_000,
            &[
                &[(100, 200)],
                &[(50, 70)],
                &[(250, 270)],
                &[(80, 100), (200, 250)],
                &[(70, 80), (270, 275)],
                &[(25, 50), (275, 300)],
            ],
        );
    }

    #[test]
    fn f5_what_is_older_than_expire_is_neither_given_out_nor_remembered() {
        check(
            &[(100, 200, 150), (50, 70, 160), (30, 40, 200), (90, 150, 301), (0, 400, 450)],
            100,
            &[&[(100, 200)], &[(60, 70)], &[], &[], &[(350, 400)]],
        );
    }
}
