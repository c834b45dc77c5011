//! Joins of a window's collections, and of events with scan tables (J-1 to J-11).
//!
//! Rows come out in the order of the nested loop of J-2; where all key columns are of one kind, a hash table finds the
//! candidates instead of the loop and ON still decides. Table rows never trigger; they are kept here.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Schema, Selection, Timestamp, Unit};
use thalweg_plan::logical::JoinStep;
use thalweg_plan::{JoinKind, Kind, Node};

use crate::op::keys::Keys;
use crate::op::window::buffer::RowBuffer;
use crate::op::{faults, pairs, reshape};
use crate::operator::{Emit, OpCx, Operator, Signal};

/// Joins sides.
pub(crate) struct Join {
    /// Sides that the first input brings: one for each input of its window, or itself.
    streams: usize,
    /// What each of those sides last sent; complete when the last one has sent.
    collections: Vec<Option<(Batch, Selection)>>,
    tables: Vec<Table>,
    /// The side that comes first.
    from: usize,
    steps: Vec<JoinStep>,
    /// What is there after no step, one step …
    schemas: Vec<Arc<Schema>>,
    /// Of the side that is being joined; kept for its room.
    keys: Keys,
    barrier: Option<i64>,
}

/// The last rows of a scan table (J-10).
struct Table {
    rows: RowBuffer,
    retain: u64,
}

/// Joined rows so far, each with the number of the event it belongs to; ascending.
pub(crate) struct Joined {
    pub(crate) batch: Batch,
    pub(crate) origin: Vec<u32>,
}

/// Why events failed.
pub(crate) type Failed = BTreeMap<u32, String>;

impl Join {
    pub(crate) fn new(node: &Node, steps: &[JoinStep]) -> Self {
        let (first, tables) = (&node.inputs[0], &node.inputs[1..]);
        let is_window = matches!(first.kind, Kind::Window(_));
        let streams = if is_window { first.inputs.len() } else { 1 };
        let sides: Vec<&Arc<Schema>> = if is_window {
            first.inputs.iter().chain(tables).map(|input| &input.schema).collect()
        } else {
            node.inputs.iter().map(|input| &input.schema).collect()
        };
        let from = (0..sides.len()).find(|side| steps.iter().all(|step| step.side != *side)).unwrap_or(0);
        let order: Vec<usize> = [from].into_iter().chain(steps.iter().map(|step| step.side)).collect();
        let width = |n: usize| order[..=n].iter().map(|side| sides[*side].len()).sum::<usize>();
        let schema = |n: usize| {
            let fields = node.schema.fields[..width(n).min(node.schema.len())].to_vec();
            Arc::new(Schema { fields })
        };
        Self {
            streams,
            collections: vec![None; streams],
            tables: tables.iter().map(|table| Table::new(&table.schema, retain(table))).collect(),
            from,
            steps: steps.to_vec(),
            schemas: (0..order.len()).map(schema).collect(),
            keys: Keys::default(),
            barrier: None,
        }
    }

    fn schema(&self) -> &Arc<Schema> {
        &self.schemas[self.steps.len()]
    }

    /// The rows of a side: a stream's from the collections, or a table's.
    fn side(&mut self, side: usize) -> (Batch, Selection) {
        match side.checked_sub(self.streams) {
            None => self.collections[side].clone().unwrap_or_else(|| {
                (Batch::empty(Arc::clone(&self.schemas[0]), Unit::Collection), Selection::all(0))
            }),
            Some(table) => self.tables[table].content(),
        }
    }

    /// Joins what is in `collections`; `events`: each row of FROM's side is an event of its own.
    fn run(&mut self, events: bool, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let (batch, rows) = self.side(self.from);
        let n_rows = rows.len();
        let origin = if events { (0..n_rows as u32).collect() } else { vec![0; n_rows] };
        let window = self.collections.iter().flatten().find_map(|(batch, _)| batch.window);
        let batch = if n_rows == batch.n_rows {
            batch
        } else {
            let rows: Vec<u32> = rows.iter().map(|row| row as u32).collect();
            reshape::gather_rows(&batch, &rows)
        };
        let mut joined = Joined { batch, origin };
        joined.batch.unit = Unit::Collection;
        joined.batch.window = window;
        let mut failed = Failed::new();
        for at in 0..self.steps.len() {
            let side = self.side(self.steps[at].side);
            let (step, schema) = (&self.steps[at], &self.schemas[at + 1]);
            joined = pairs::join(&joined, &side, step, schema, (&mut failed, &mut self.keys), cx);
        }
        let n_events = if events { n_rows as u32 } else { 1 };
        self.emit(&joined, n_events, &failed, out, cx);
    }

    /// One collection an event; none for an event without result.
    fn emit(&self, joined: &Joined, n_events: u32, failed: &Failed, out: &mut dyn Emit, cx: &OpCx<'_>) {
        for event in 0..n_events {
            if let Some(error) = failed.get(&event) {
                faults::fail_all(
                    &format!("run Join error: {error}"),
                    (self.time(event as usize), &Selection::all(0)),
                    self.schema(),
                    out,
                    cx,
                );
                continue;
            }
            let from = joined.origin.partition_point(|origin| *origin < event);
            let to = joined.origin.partition_point(|origin| *origin <= event);
            if from == to {
                continue;
            }
            if to - from == joined.batch.n_rows {
                out.batch(0, &joined.batch, &Selection::all(to - from));
            } else {
                let rows: Vec<u32> = (from as u32..to as u32).collect();
                out.batch(0, &reshape::gather_rows(&joined.batch, &rows), &Selection::all(rows.len()));
            }
        }
    }

    /// The end of the window that is joined, or the time of an event.
    fn time(&self, event: usize) -> Option<Timestamp> {
        let (batch, rows) = self.collections.iter().flatten().next()?;
        let end = batch.window.map(|window| window.end);
        end.or_else(|| rows.iter().nth(event).map(|row| batch.times[row]))
    }

    /// RIGHT and FULL emit unmatched table rows on every event (J-10), so events are joined one by one.
    fn run_events(&mut self, batch: &Batch, rows: &Selection, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let at_once = self.from == 0 && self.steps.iter().all(|step| !keeps_right(step.kind));
        if at_once {
            self.collections[0] = Some((batch.clone(), rows.clone()));
            self.run(true, out, cx);
        } else {
            for row in rows {
                self.collections[0] = Some((batch.clone(), Selection::rows(vec![row as u32])));
                self.run(false, out, cx);
            }
        }
        self.collections[0] = None;
    }
}

fn keeps_right(kind: JoinKind) -> bool {
    matches!(kind, JoinKind::Right | JoinKind::Full)
}

/// RETAIN_SIZE of the scan below.
fn retain(node: &Node) -> u64 {
    match &node.kind {
        Kind::Scan(scan) => scan.retain.unwrap_or(scan.stream.retain).max(1),
        _ => node.inputs.first().map_or(1, retain),
    }
}

impl Table {
    fn new(schema: &Arc<Schema>, retain: u64) -> Self {
        Self { rows: RowBuffer::new(schema), retain }
    }

    fn push(&mut self, batch: &Batch, rows: &Selection) {
        let rows: Vec<u32> = rows.iter().map(|row| row as u32).collect();
        self.rows.push_unordered(batch, &rows);
        self.rows.drop_before(self.rows.end().saturating_sub(self.retain));
    }

    fn content(&mut self) -> (Batch, Selection) {
        let first = self.rows.row(self.rows.first()) as u32;
        let batch = self.rows.lend().clone();
        let rows = if first == 0 {
            Selection::all(batch.n_rows)
        } else {
            Selection::rows((first..batch.n_rows as u32).collect())
        };
        (batch, rows)
    }
}

impl Operator for Join {
    fn on_batch(
        &mut self,
        input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        if let Some(runs) = faults::runs(batch, rows) {
            return runs.iter().for_each(|run| self.on_batch(input, batch, run, out, cx));
        }
        faults::send(rows.faults.clone(), 0, self.schema(), out);
        if batch.unit == Unit::Rows && rows.is_empty() {
            return;
        }
        let rows = Selection { live: rows.live.clone(), faults: Vec::new() };
        if let Some(table) = input.checked_sub(self.streams) {
            return self.tables[table].push(batch, &rows);
        }
        if batch.unit == Unit::Rows {
            return self.run_events(batch, &rows, out, cx);
        }
        self.collections[input] = Some((batch.clone(), rows));
        if input + 1 == self.streams {
            self.run(false, out, cx);
            self.collections.fill(None);
        }
    }

    /// Tables neither hold the watermark back (E-10) nor end the rule.
    fn on_signal(&mut self, input: usize, signal: Signal, out: &mut dyn Emit, _cx: &mut OpCx<'_>) {
        let forward = match signal {
            Signal::Barrier(epoch) => self.barrier.replace(epoch) != Some(epoch),
            Signal::Watermark(_) | Signal::End => input < self.streams,
        };
        if forward {
            out.signal(signal);
        }
    }

    fn memory(&self) -> usize {
        let collections = self.collections.iter().flatten().map(|(batch, _)| batch.memory());
        let tables = self.tables.iter().map(|table| size_of::<Table>() + table.rows.memory());
        collections.chain(tables).sum()
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("join", 1);
        self.tables.iter().for_each(|table| table.rows.save(out));
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("join", 1)?;
        self.tables.iter_mut().try_for_each(|table| table.rows.load(from))
    }
}

/// The time of a joined row: the left side's, or the right one's where left is missing.
pub(crate) fn time_of(left: &Batch, right: &Batch, pair: (u32, u32)) -> Timestamp {
    match pair {
        (reshape::NONE, row) => right.times[row as usize],
        (row, _) => left.times[row as usize],
    }
}
