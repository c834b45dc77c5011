//! A small driver: scans fed by hand, operators in a tree, timers at their exact moments.

use std::sync::Arc;

use thalweg_core::json::{self, Numbers};
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::state::{StateReader, StateWriter};
use thalweg_core::{Batch, Column, Fields, IoError, ManualClock, Selection, Timestamp, Unit, Value, Want};
use thalweg_plan::logical::Scan;
use thalweg_plan::{Kind, Node, Plan};

use super::{Event, Options, print_row};
use crate::op;
use crate::operator::{Emit, OpCx, Operator, RuleInfo, Signal};

pub(crate) struct Rig {
    nodes: Vec<Placed>,
    /// The scans, and where their rows go.
    scans: Vec<(Scan, Node, Link)>,
    rule: RuleInfo,
    now: Timestamp,
    /// Single rows are written as collections of one.
    is_collection: bool,
    pub(crate) printed: Vec<String>,
    /// Operators of several lanes that are being placed, the innermost last.
    lanes: Vec<usize>,
}

struct Placed {
    operator: Box<dyn Operator>,
    metrics: Arc<NodeMetrics>,
    /// Where results go: one way for all ports, or one for each.
    next: Vec<Option<Link>>,
}

#[derive(Clone, Copy)]
struct Link {
    node: usize,
    input: usize,
    /// Whether ports are inputs.
    ports: bool,
}

/// What an operator sent.
enum Sent {
    Batch(usize, Batch, Selection),
    Signal(Signal),
}

#[derive(Default)]
struct Sink(Vec<Sent>);

impl Emit for Sink {
    fn batch(&mut self, port: usize, batch: &Batch, rows: &Selection) {
        self.0.push(Sent::Batch(port, batch.clone(), rows.clone()));
    }

    fn signal(&mut self, signal: Signal) {
        self.0.push(Sent::Signal(signal));
    }
}

impl Rig {
    pub(crate) fn new(plan: &Plan, options: &Options) -> Self {
        let started = Timestamp(300);
        let rule = RuleInfo {
            id: Arc::from("rule1"),
            started,
            zone: chrono_tz::Tz::UTC,
            send_error: options.send_error,
            latency_budget: 300,
            instance: Arc::default(),
            clock: ManualClock::at(started),
        };
        let mut rig = Self {
            nodes: Vec::new(),
            scans: Vec::new(),
            rule,
            now: started,
            is_collection: plan.is_collection,
            printed: Vec::new(),
            lanes: Vec::new(),
        };
        rig.place(&plan.root, None, options);
        rig
    }

    fn place(&mut self, node: &Node, next: Option<Link>, options: &Options) {
        if let Kind::Scan(scan) = &node.kind {
            let link = next.expect("a scan stands below an operator");
            return self.scans.push((scan.clone(), node.clone(), link));
        }
        if let Kind::Watermark { lane, n_lanes, .. } = node.kind
            && n_lanes > 1
        {
            return self.place_lane(node, (lane, n_lanes), next, options);
        }
        if let Some(common) = node.common_watermark() {
            let (operator, next) = (op::build(&common, &self.rule), vec![None; common.inputs.len()]);
            self.lanes.push(self.nodes.len());
            self.nodes.push(Placed { operator, metrics: Arc::default(), next });
        }
        let operator = match &node.kind {
            Kind::LookupJoin(lookup) => op::build_lookup(node, lookup, Box::new(TableOf(options.lookup))),
            _ => op::build(node, &self.rule),
        };
        let at = self.nodes.len();
        self.nodes.push(Placed { operator, metrics: Arc::default(), next: vec![next] });
        let ports = match node.inputs.first().map(|first| (&first.kind, first.inputs.len())) {
            Some((Kind::Window(_), inputs)) => inputs,
            _ => 1,
        };
        for (index, input) in node.inputs.iter().enumerate() {
            let number = if index == 0 { 0 } else { ports + index - 1 };
            let is_window = matches!(input.kind, Kind::Window(_));
            self.place(input, Some(Link { node: at, input: number, ports: is_window }), options);
        }
    }

    fn place_lane(
        &mut self,
        node: &Node,
        (lane, n_lanes): (usize, usize),
        next: Option<Link>,
        options: &Options,
    ) {
        let at = *self.lanes.last().expect("a lane stands below its window");
        self.nodes[at].next[lane] = next;
        self.place(&node.inputs[0], Some(Link { node: at, input: lane, ports: false }), options);
        if lane + 1 == n_lanes {
            self.lanes.pop();
        }
    }

    pub(crate) fn start(&mut self, now: Timestamp) {
        self.now = now;
        for node in 0..self.nodes.len() {
            self.call(node, |operator, _, cx| operator.start(cx));
        }
    }

    /// Fires timers up to `to`, or before it.
    pub(crate) fn advance(&mut self, to: Timestamp, inclusive: bool) {
        let due = |rig: &Self| {
            let timers = rig.nodes.iter().enumerate();
            let times =
                timers.filter_map(|(node, placed)| placed.operator.next_timer().map(|time| (time, node)));
            times.filter(|(time, _)| *time < to || inclusive && *time == to).min()
        };
        while let Some((time, node)) = due(self) {
            self.now = self.now.max(time);
            self.call(node, |operator, out, cx| operator.on_timer(out, cx));
        }
        self.now = self.now.max(to);
    }

    /// Feeds rows of one stream to every scan of it.
    pub(crate) fn rows(&mut self, events: &[Event], now: Timestamp) {
        self.now = self.now.max(now);
        for index in 0..self.scans.len() {
            let (scan, node, link) = &self.scans[index];
            if events[0].stream.as_deref() == Some(&*scan.stream.name) {
                let (batch, link) = (decode(scan, node, events), *link);
                let rows = Selection::all(batch.n_rows);
                self.deliver(Some(link), Sent::Batch(0, batch, rows));
            }
        }
    }

    fn call(&mut self, node: usize, act: impl FnOnce(&mut dyn Operator, &mut dyn Emit, &mut OpCx<'_>)) {
        let mut sink = Sink::default();
        let placed = &mut self.nodes[node];
        let mut cx =
            OpCx { now: self.now, rule: &self.rule, metrics: &placed.metrics, node: "node", behind: &[] };
        act(&mut *placed.operator, &mut sink, &mut cx);
        let next = placed.next.clone();
        for sent in sink.0 {
            match (&next[..], sent) {
                ([all], sent) => self.deliver(*all, sent),
                (lanes, Sent::Batch(port, batch, rows)) => {
                    self.deliver(lanes[port], Sent::Batch(0, batch, rows));
                }
                (lanes, Sent::Signal(signal)) => {
                    lanes.iter().for_each(|lane| self.deliver(*lane, Sent::Signal(signal)));
                }
            }
        }
    }

    fn deliver(&mut self, to: Option<Link>, sent: Sent) {
        match (to, sent) {
            (Some(link), Sent::Batch(port, batch, rows)) => {
                let input = if link.ports { link.input + port } else { link.input };
                self.call(link.node, |operator, out, cx| operator.on_batch(input, &batch, &rows, out, cx));
            }
            (Some(link), Sent::Signal(signal)) => {
                self.call(link.node, |operator, out, cx| operator.on_signal(link.input, signal, out, cx));
            }
            (None, Sent::Batch(_, batch, rows)) => self.print(&batch, &rows),
            (None, Sent::Signal(_)) => {}
        }
    }

    fn print(&mut self, batch: &Batch, rows: &Selection) {
        let mut faults = rows.faults.iter().peekable();
        let mut messages = Vec::new();
        for row in rows {
            while let Some(fault) = faults.next_if(|fault| fault.row as usize <= row) {
                self.printed.push(format!("ERR {}", fault.message));
            }
            let cells: Vec<_> = batch.columns.iter().map(|column| column.cell(row)).collect();
            let message = print_row(batch.schema.fields.iter().map(|field| Arc::clone(&field.name)), &cells);
            match batch.unit {
                Unit::Rows if self.is_collection => self.printed.push(format!("[{message}]")),
                Unit::Rows => self.printed.push(message),
                Unit::Collection => messages.push(message),
            }
        }
        self.printed.extend(faults.map(|fault| format!("ERR {}", fault.message)));
        if batch.unit == Unit::Collection {
            self.printed.push(format!("[{}]", messages.join(",")));
        }
    }

    /// A new rig with this one's state.
    pub(crate) fn restored(self, plan: &Plan, options: &Options, now: Timestamp) -> Self {
        let mut rig = Self::new(plan, options);
        for (from, to) in self.nodes.iter().zip(&mut rig.nodes) {
            let mut writer = StateWriter::new();
            from.operator.save(&mut writer);
            let bytes = writer.finish();
            let mut reader = StateReader::new(&bytes);
            if !bytes.is_empty() {
                to.operator.load(&mut reader).expect("what was saved can be loaded");
            }
            assert!(reader.is_at_end(), "something was saved and not loaded");
            to.metrics = Arc::clone(&from.metrics);
        }
        rig.printed = self.printed;
        rig.start(now);
        rig
    }

    /// What all operators save.
    pub(crate) fn state(&self) -> Vec<u8> {
        let mut writer = StateWriter::new();
        self.nodes.iter().for_each(|node| node.operator.save(&mut writer));
        writer.finish()
    }

    /// Errors counted, over all nodes.
    pub(crate) fn memory(&self) -> usize {
        self.nodes.iter().map(|node| node.operator.memory()).sum()
    }

    pub(crate) fn exceptions(&self) -> u64 {
        let counts = self.nodes.iter().map(|node| &node.metrics.exceptions);
        counts.map(|count| count.load(std::sync::atomic::Ordering::Relaxed)).sum()
    }

    /// Dropped rows by cause, over all nodes.
    pub(crate) fn dropped(&self, cause: &str) -> u64 {
        self.nodes.iter().filter_map(|node| node.metrics.rare().dropped.get(cause).copied()).sum()
    }
}

/// Columns as a decoder makes them.
fn decode(scan: &Scan, node: &Node, events: &[Event]) -> Batch {
    let columns = scan.projection.slots.iter().map(|wanted| {
        let mut column = Column::new();
        for event in events {
            match &wanted.want {
                Want::Column { path, .. } => {
                    let found = path.iter().try_fold(&event.row, |value, name| match value {
                        Value::Map(fields) => fields.get(name),
                        _ => None,
                    });
                    match found {
                        Some(value) => column.push_value(&typed(value, &wanted.want)),
                        None => column.push_missing(),
                    }
                }
                Want::Path { column: name, steps, .. } => {
                    let found = match &event.row {
                        Value::Map(fields) => fields.get(name).cloned().unwrap_or_default(),
                        _ => Value::Null,
                    };
                    match thalweg_core::path::follow(&found, steps) {
                        Ok(value) => column.push_value(&value),
                        Err(error) => column.push_error(error),
                    }
                }
                Want::Everything => {
                    let mut raw = Vec::new();
                    json::write_value(&mut raw, &event.row, chrono_tz::Tz::UTC)
                        .expect("a row can be printed");
                    column.push_json(&raw);
                }
                Want::Meta => column.push_missing(),
            }
        }
        Arc::new(column)
    });
    let columns: Vec<_> = columns.collect();
    let time = |(row, event): (usize, &Event)| match &scan.event_time {
        Some((slot, _)) => match columns[slot.index()].value(row) {
            Value::Int(millis) => Timestamp(millis),
            Value::Float(millis) => Timestamp(millis as i64),
            other => panic!("no timestamp: {other:?}"),
        },
        None => event.at,
    };
    Batch {
        schema: Arc::clone(&node.schema),
        n_rows: events.len(),
        times: events.iter().enumerate().map(time).collect(),
        columns,
        unit: Unit::Rows,
        window: None,
    }
}

/// A lookup table of these rows, one a line.
pub(crate) struct TableOf(pub(crate) &'static str);

impl op::LookupRows for TableOf {
    fn rows(
        &mut self,
        _fields: &[Arc<str>],
        keys: &[Arc<str>],
        values: &[Value],
    ) -> Result<Vec<Arc<Fields>>, IoError> {
        let lines = self.0.lines().map(str::trim).filter(|line| !line.is_empty());
        let rows = lines.map(|line| match json::parse(line.as_bytes(), Numbers::Float) {
            Ok(Value::Map(fields)) => fields,
            other => panic!("{line}: {other:?}"),
        });
        Ok(rows
            .filter(|row| keys.iter().zip(values).all(|(key, value)| row.get(key) == Some(value)))
            .collect())
    }
}

/// BIGINT columns hold integers.
fn typed(value: &Value, want: &Want) -> Value {
    match (want, value) {
        (Want::Column { data_type: Some(thalweg_core::DataType::BigInt), .. }, Value::Float(number)) => {
            Value::Int(*number as i64)
        }
        _ => value.clone(),
    }
}
