//! Test support: SQL and rows as text in, printed messages out, along all axes.
//!
//! [`check`] runs a rule's operators with batches of 1, of 3 and as large as possible, and once more with state saved
//! and loaded between any two rows, and all that with windows in both forms; the results must be the same text. No sleeping: time is what the rows say.

use std::sync::Arc;

use thalweg_core::json::{self, Numbers};
use thalweg_core::{Cell, Diagnostic, Timestamp, Value};
use thalweg_expr::{FunctionRef, FunctionRegistry};
use thalweg_plan::logical::StreamDef;
use thalweg_plan::{Plan, PlanOptions, Resolver};
use thalweg_sql::ast::{SourceKind, Statement};

mod rig;

pub(crate) use rig::Rig;

/// A row, or (without stream) time that passes.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) at: Timestamp,
    pub(crate) stream: Option<Arc<str>>,
    pub(crate) row: Value,
}

/// What a case may choose.
#[derive(Clone, Default)]
pub(crate) struct Options {
    pub(crate) plan: PlanOptions,
    pub(crate) send_error: bool,
    /// Rows of the lookup table `k`.
    pub(crate) lookup: &'static str,
    /// One function beside those of the table.
    pub(crate) function: Option<FunctionRef>,
}

/// Runs a case in processing time; the rule starts at 300.
#[track_caller]
pub(crate) fn check(sql: &str, input: &str, expected: &str) {
    check_with(&Options::default(), sql, input, expected);
}

/// Runs a case in event time with this tolerance. Rows arrive one millisecond after the other.
#[track_caller]
pub(crate) fn check_event_time(tolerance: i64, sql: &str, input: &str, expected: &str) {
    let plan = PlanOptions { event_time: true, late_tolerance: tolerance, ..PlanOptions::default() };
    check_with(&Options { plan, ..Options::default() }, sql, input, expected);
}

/// Runs a case along all axes.
#[track_caller]
pub(crate) fn check_with(options: &Options, sql: &str, input: &str, expected: &str) {
    let (events, expected) = (events(input), lines(expected));
    for (form, options) in forms(options) {
        let plan = plan(sql, &options);
        for size in [1, 3, usize::MAX] {
            let found = run(&plan, &options, &events, size, false);
            assert_eq!(found, expected, "{sql}\n{form}, batches of {size}");
        }
        let found = run(&plan, &options, &events, 1, true);
        assert_eq!(found, expected, "{sql}\n{form}, with state saved and loaded after each row");
    }
}

/// The options as they are, and with windows that keep their rows.
pub(crate) fn forms(options: &Options) -> [(&'static str, Options); 2] {
    let mut buffered = options.clone();
    buffered.plan.disabled_passes.push("incrementalWindow".to_owned());
    [("incremental", options.clone()), ("buffered", buffered)]
}

/// What a case gives with the largest batches.
pub(crate) fn messages(sql: &str, input: &str) -> Vec<String> {
    let options = Options::default();
    run(&plan(sql, &options), &options, &events(input), usize::MAX, false)
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Lines `<ms> [<stream> <row>]`.
pub(crate) fn events(text: &str) -> Vec<Event> {
    let parse = |line: &String| {
        let mut words = line.splitn(3, ' ');
        let at = words.next().and_then(|word| word.parse().ok()).expect("a line starts with milliseconds");
        let stream = words.next().map(Arc::from);
        let row = words
            .next()
            .map_or(Value::Null, |row| json::parse(row.as_bytes(), Numbers::Float).expect("a row is JSON"));
        Event { at: Timestamp(at), stream, row }
    };
    lines(text).iter().map(parse).collect()
}

pub(crate) fn plan(sql: &str, options: &Options) -> Plan {
    let query = match thalweg_sql::parse(sql) {
        Ok(Statement::Query(query)) => query,
        other => panic!("{sql}: {other:?}"),
    };
    thalweg_plan::plan(&query, &options.plan, &World(options.function.as_ref()))
        .unwrap_or_else(|mistakes| panic!("{sql}: {mistakes:?}"))
}

fn run(plan: &Plan, options: &Options, events: &[Event], size: usize, restore: bool) -> Vec<String> {
    run_from(plan, options, events, size, restore, Timestamp(300))
}

/// Runs a plan that starts at a time.
pub(crate) fn run_from(
    plan: &Plan,
    options: &Options,
    events: &[Event],
    size: usize,
    restore: bool,
    start: Timestamp,
) -> Vec<String> {
    run_cut(plan, options, events, std::iter::repeat((size, restore)), start)
}

/// Runs a plan with batches of these sizes, after each of which state may be saved and loaded.
pub(crate) fn run_cut(
    plan: &Plan,
    options: &Options,
    events: &[Event],
    mut cuts: impl Iterator<Item = (usize, bool)>,
    start: Timestamp,
) -> Vec<String> {
    let mut rig = Rig::new(plan, options);
    rig.start(start);
    let mut rest = events;
    while let Some(first) = rest.first() {
        let (size, restore) = cuts.next().unwrap_or((1, false));
        let same = rest.iter().take_while(|event| event.stream.is_some() && event.stream == first.stream);
        let (now, later) = rest.split_at(same.take(size).count().max(1));
        rest = later;
        let at = now.last().map_or(first.at, |event| event.at);
        if now.len() == 1 {
            rig.advance(at, first.stream.is_none());
        }
        if first.stream.is_some() {
            rig.rows(now, at);
        }
        rig.advance(at, true);
        if restore {
            rig = rig.restored(plan, options, at);
        }
    }
    rig.printed
}

/// The streams of all cases: `s`, `l`, `r` schemaless; `e` and `e2` with a TIMESTAMP column; the scan table `t`, which
/// keeps two rows; the lookup table `k`.
struct World<'a>(Option<&'a FunctionRef>);

impl Resolver for World<'_> {
    fn stream(&self, name: &str) -> Option<Arc<StreamDef>> {
        self.stream_names().iter().any(|known| known == name).then(|| Arc::new(stream(name)))
    }

    fn stream_names(&self) -> Vec<String> {
        ["s", "l", "r", "e", "e2", "t", "k"].map(str::to_owned).to_vec()
    }

    fn function(&self, name: &str) -> Result<Option<FunctionRef>, Diagnostic> {
        match self.0 {
            Some(function) if function.name() == name => Ok(Some(function.clone())),
            _ => FunctionRegistry::default().resolve(name),
        }
    }

    fn function_names(&self) -> Vec<String> {
        FunctionRegistry::default().names()
    }
}

fn stream(name: &str) -> StreamDef {
    let is_table = matches!(name, "t" | "k");
    StreamDef {
        name: Arc::from(name),
        kind: if is_table { SourceKind::Table } else { SourceKind::Stream },
        columns: None,
        source_type: Arc::from("memory"),
        datasource: Arc::from("topic"),
        format: Arc::from("json"),
        shared: false,
        strict: false,
        timestamp: name.starts_with('e').then(|| Arc::from("ts")),
        timestamp_format: None,
        is_lookup: name == "k",
        retain: if name == "t" { 2 } else { 0 },
        temp: false,
        version: Arc::from(""),
        options: Vec::new(),
        whole_numbers: false,
        strict_json: false,
        split: 0,
        has_decoder: true,
        steps: thalweg_plan::SourceSteps::default(),
    }
}

/// One row as a message: what `*` brings yields to named columns.
pub(crate) fn print_row(names: impl Iterator<Item = Arc<str>>, cells: &[Cell<'_>]) -> String {
    let (mut spread, mut named) = (thalweg_core::Fields::new(), thalweg_core::Fields::new());
    for (name, cell) in names.zip(cells) {
        match cell {
            Cell::Missing => {}
            Cell::Error(error) => {
                named.insert(name, Value::text(format!("ERR {error}")));
            }
            cell if &*name == "*" => {
                if let Value::Map(members) = cell.to_value() {
                    spread.extend(members.iter().map(|(name, value)| (Arc::clone(name), value.clone())));
                }
            }
            cell => {
                named.insert(name, cell.to_value());
            }
        }
    }
    spread.extend(named);
    let mut out = Vec::new();
    json::write_value(&mut out, &Value::map(spread), chrono_tz::Tz::UTC).expect("test values can be printed");
    String::from_utf8(out).expect("JSON is UTF-8")
}
