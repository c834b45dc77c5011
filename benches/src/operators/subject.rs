//! The operator of one plan node, fed with what stands below it.

use std::collections::HashMap;
use std::sync::Arc;

use thalweg_core::format::{Format, RawBatch};
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{
    Batch, BatchBuilder, Cell, Clock, Column, Diagnostic, Fields, IoError, ManualClock, Props, Selection,
    Timestamp, Value,
};
use thalweg_expr::{FunctionRef, FunctionRegistry};
use thalweg_plan::logical::Scan;
use thalweg_plan::{Kind, Node, PlanOptions, Resolver, SourceKind, StreamDef};
use thalweg_runtime::op::{self, Ask, LookupRows, Take};
use thalweg_runtime::operator::{Emit, OpCx, Operator, RuleInfo, Signal};

use super::cases::{Case, POOL};

/// A full minute, so that windows begin where one expects.
const START: i64 = 1_709_212_440_000;

/// Rows on their way into one input.
type Piece = (usize, Batch, Selection);

/// The operator and the batches it gets in turn.
pub(super) struct Subject {
    operator: Box<dyn Operator>,
    surroundings: Surroundings,
    /// What is fed in one turn, over and over again.
    sets: Vec<Vec<Piece>>,
    /// The time of each row after the beginning of its set, in milliseconds.
    offsets: Vec<Vec<i64>>,
    /// How much later each turn is; 0: time stands still.
    step: i64,
    at: usize,
    sink: Count,
}

/// What operators may know.
struct Surroundings {
    rule: RuleInfo,
    metrics: NodeMetrics,
    now: Timestamp,
}

impl Surroundings {
    fn cx(&self) -> OpCx<'_> {
        OpCx { now: self.now, rule: &self.rule, metrics: &self.metrics, node: "bench", behind: &[] }
    }
}

/// Looks at how much comes out and forgets it.
#[derive(Default)]
struct Count(u64);

impl Emit for Count {
    fn batch(&mut self, _port: usize, batch: &Batch, rows: &Selection) {
        self.0 += rows.len() as u64 + batch.columns.len() as u64;
    }

    fn signal(&mut self, _signal: Signal) {
        self.0 += 1;
    }
}

/// Keeps what comes out.
#[derive(Default)]
struct Keep(Vec<Piece>);

impl Emit for Keep {
    fn batch(&mut self, port: usize, batch: &Batch, rows: &Selection) {
        self.0.push((port, batch.clone(), rows.clone()));
    }

    fn signal(&mut self, _signal: Signal) {}
}

impl Subject {
    /// Plans the case's statement for this batch size and goes down to its node.
    pub(super) fn new(case: &Case, batch: usize) -> Result<Self, String> {
        let sql = case.sql.replace("{n}", &batch.to_string()).replace("{2n}", &(2 * batch).to_string());
        let options = PlanOptions {
            event_time: case.event_time,
            disabled_passes: case.without.iter().map(|pass| (*pass).to_owned()).collect(),
            ..PlanOptions::default()
        };
        let query = thalweg_sql::parse_query(&sql).map_err(|mistakes| format!("{sql}: {mistakes:?}"))?;
        let plan = thalweg_plan::plan(&query, &options, &World).map_err(|why| format!("{sql}: {why:?}"))?;
        let node = find(&plan.root, case.node).ok_or_else(|| format!("{sql} has no such node"))?;
        let started = Timestamp(START);
        let rule = RuleInfo {
            id: Arc::from("bench"),
            started,
            zone: chrono_tz::Tz::UTC,
            send_error: false,
            latency_budget: 300,
            instance: Arc::default(),
            clock: ManualClock::at(started) as Arc<dyn Clock>,
        };
        let mut surroundings = Surroundings { rule, metrics: NodeMetrics::default(), now: started };
        let n_sets = if case.step == 0 { 1 } else { (case.pool.max(POOL) / batch).max(1) };
        let mut sets = Vec::new();
        for set in 0..n_sets {
            let rows: Vec<String> = (set * batch..(set + 1) * batch).map(case.row).collect();
            sets.push(inputs(node, &rows, &mut surroundings)?);
        }
        let offsets = sets.iter().flatten().map(|(_, batch, _)| times(batch)).collect();
        let mut operator = build(node, &surroundings.rule);
        operator.start(&mut surroundings.cx());
        let step = case.step * batch as i64;
        Ok(Self { operator, surroundings, sets, offsets, step, at: 0, sink: Count::default() })
    }

    /// Gives the batches of so many turns their times, and looks at all of them.
    pub(super) fn prepare(&mut self, turns: usize) -> u64 {
        if self.step == 0 {
            return 0;
        }
        let (mut now, mut seen) = (self.surroundings.now, 0);
        for turn in 0..turns.min(self.sets.len()) {
            let at = (self.at + turn) % self.sets.len();
            for (_, batch, rows) in &mut self.sets[at] {
                seen ^= rows.len() as u64;
                let offsets = &self.offsets[at];
                batch.times.iter_mut().zip(offsets).for_each(|(time, offset)| *time = now.plus(*offset));
                seen ^= batch.columns.iter().map(|column| looked_at(column)).fold(0, u64::wrapping_add);
            }
            now = now.plus(self.step);
        }
        seen
    }

    /// Feeds the next batch; timers fire before it when they are due.
    pub(super) fn turn(&mut self) -> u64 {
        let at = self.at;
        self.at = if at + 1 == self.sets.len() { 0 } else { at + 1 };
        if self.step > 0 {
            let now = self.surroundings.now;
            while let Some(due) = self.operator.next_timer().filter(|due| *due <= now) {
                self.surroundings.now = due;
                self.operator.on_timer(&mut self.sink, &mut self.surroundings.cx());
            }
            self.surroundings.now = now.plus(self.step);
        }
        for (input, batch, rows) in &self.sets[at] {
            self.operator.on_batch(*input, batch, rows, &mut self.sink, &mut self.surroundings.cx());
        }
        self.sink.0
    }
}

/// Every word, tag and text of a column.
fn looked_at(column: &Column) -> u64 {
    let cell = |row| match column.cell(row) {
        Cell::Str(text) => text.bytes().map(u64::from).sum(),
        Cell::Json(raw) => raw.iter().copied().map(u64::from).sum(),
        _ => column.words()[row],
    };
    (0..column.len()).map(cell).fold(0, u64::wrapping_add)
}

/// When the rows of a batch come, after its first.
fn times(batch: &Batch) -> Vec<i64> {
    batch.times.iter().map(|time| time.0 - START).collect()
}

fn find(node: &Node, wanted: fn(&Kind) -> bool) -> Option<&Node> {
    if wanted(&node.kind) {
        return Some(node);
    }
    node.inputs.iter().find_map(|input| find(input, wanted))
}

fn build(node: &Node, rule: &RuleInfo) -> Box<dyn Operator> {
    match &node.kind {
        Kind::LookupJoin(lookup) => op::build_lookup(node, lookup, Box::new(Table::new())),
        _ => op::build(node, rule),
    }
}

/// What reaches the inputs of a node when `rows` arrive on every stream below it.
fn inputs(node: &Node, rows: &[String], surroundings: &mut Surroundings) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    for (input, below) in node.inputs.iter().enumerate() {
        let out = output(below, rows, surroundings)?;
        pieces.extend(out.into_iter().map(|(port, batch, selection)| (input + port, batch, selection)));
    }
    Ok(pieces)
}

fn output(node: &Node, rows: &[String], surroundings: &mut Surroundings) -> Result<Vec<Piece>, String> {
    if let Kind::Scan(scan) = &node.kind {
        let (batch, selection) = decode(scan, rows)?;
        return Ok(vec![(0, batch, selection)]);
    }
    let mut operator = build(node, &surroundings.rule);
    operator.start(&mut surroundings.cx());
    let mut kept = Keep::default();
    for (input, batch, selection) in inputs(node, rows, surroundings)? {
        operator.on_batch(input, &batch, &selection, &mut kept, &mut surroundings.cx());
    }
    Ok(kept.0)
}

/// Rows as the JSON decoder gives them; a member `ts` is the row's time.
fn decode(scan: &Scan, rows: &[String]) -> Result<(Batch, Selection), String> {
    let want = Arc::new(scan.projection.clone());
    let format = &thalweg_connectors::format::json::FORMAT;
    let mut decoder = format.decoder(&want, &Props::new()).map_err(|why| why.to_string())?;
    let mut builder = BatchBuilder::new(Arc::new(want.schema()));
    let raw = raw(rows);
    builder.begin(Some(Arc::clone(&raw.arena)));
    decoder.decode(&raw, &mut builder);
    Ok(builder.finish())
}

/// Payloads back to back, one a millisecond unless they say when.
pub(super) fn raw(rows: &[String]) -> RawBatch {
    let mut raw = RawBatch::default();
    let mut arena = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        raw.spans.push((arena.len() as u32, row.len() as u32));
        arena.extend_from_slice(row.as_bytes());
        let late = row.split("\"late\":").nth(1).and_then(|rest| rest.split(['}', ',']).next());
        let late: i64 = late.and_then(|number| number.parse().ok()).unwrap_or(0);
        raw.times.push(Timestamp(START + at as i64 - late));
    }
    raw.arena = Arc::new(arena);
    raw
}

/// The stream `demo` with its twin, one with event time, and a lookup table; none has a schema.
struct World;

impl Resolver for World {
    fn stream(&self, name: &str) -> Option<Arc<StreamDef>> {
        let is_lookup = name == "look";
        let def = StreamDef {
            kind: if is_lookup { SourceKind::Table } else { SourceKind::Stream },
            is_lookup,
            source_type: Arc::from("mqtt"),
            format: Arc::from("json"),
            timestamp: (name == "timed").then(|| Arc::from("ts")),
            has_decoder: true,
            ..StreamDef::schemaless(&Arc::from(name))
        };
        Some(Arc::new(def))
    }

    fn stream_names(&self) -> Vec<String> {
        vec!["demo".to_owned()]
    }

    fn function(&self, name: &str) -> Result<Option<FunctionRef>, Diagnostic> {
        FunctionRegistry::default().resolve(name)
    }

    fn function_names(&self) -> Vec<String> {
        FunctionRegistry::default().names()
    }
}

/// A lookup table in memory: a hundred devices by name.
struct Table(HashMap<String, Arc<Fields>>);

impl Table {
    fn new() -> Self {
        let row = |device: usize| {
            let name = format!("dev-{device:02}");
            let fields = [
                (Arc::from("device"), Value::text(&name)),
                (Arc::from("room"), Value::text(format!("room {}", device % 10))),
            ];
            (name, Arc::new(Fields::from(fields)))
        };
        Self((0..100).map(row).collect())
    }

    fn find(&self, values: &[Value]) -> Option<&Arc<Fields>> {
        match values {
            [Value::Str(key)] => self.0.get(&**key),
            _ => None,
        }
    }
}

impl LookupRows for Table {
    fn rows(
        &mut self,
        _fields: &[Arc<str>],
        _keys: &[Arc<str>],
        values: &[Value],
    ) -> Result<Vec<Arc<Fields>>, IoError> {
        Ok(self.find(values).cloned().into_iter().collect())
    }

    /// As a table in memory would.
    fn tell(&mut self, ask: &Ask<'_>, take: &mut Take<'_>) {
        for number in ask.numbers {
            let found = self.find(&ask.questions[*number as usize]);
            take(*number, Ok(found.map_or(&[], std::slice::from_ref)));
        }
    }
}
