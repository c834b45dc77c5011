//! Windows that fold rows as they arrive give what windows give that keep them (contracts 5): any window, any
//! aggregate, any batch borders, any moments at which state is saved and loaded.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value as Json;
use thalweg_core::{Fields, Timestamp, Value};
use thalweg_plan::PlanOptions;

use super::super::testing::{Event, forms, run_cut};
use super::*;

const WINDOWS: &[&str] = &[
    "TUMBLINGWINDOW(ss, 2)",
    "TUMBLINGWINDOW(ms, 700)",
    "HOPPINGWINDOW(ss, 5, 2)",
    "HOPPINGWINDOW(ss, 2, 3)",
    "HOPPINGWINDOW(ms, 900, 300)",
    "SESSIONWINDOW(ss, 5, 1)",
    "SESSIONWINDOW(ms, 2000, 400)",
    "COUNTWINDOW(4)",
    "COUNTWINDOW(5, 2)",
    "COUNTWINDOW(6, 4)",
    "COUNTWINDOW(3, 1)",
    "STATEWINDOW(s = 1, s = 3)",
    "STATEWINDOW(s = 1)",
    "STATEWINDOW(s = 1, s = 3) OVER (PARTITION BY k)",
    "SLIDINGWINDOW(ms, 800)",
    "SLIDINGWINDOW(ms, 800) OVER (WHEN s = 2)",
    "SLIDINGWINDOW(ms, 800, 500)",
    "SLIDINGWINDOW(ms, 3000)",
];

const FIELDS: &[&str] = &[
    "k, a AS first_a, count(*) AS n, count(a) AS c, sum(a) AS t",
    "k, a AS x, count(*) AS n, avg(a) AS m, stddev(a) AS sd, last_value(a, true) AS lv, sum(a + s) AS t",
    "avg(a) AS m, min(a) AS lo, max(a) AS hi, window_start() AS ws, window_end() AS we",
    "collect(a) AS l, last_value(a, true) AS p, last_value(a, false) AS q",
    "deduplicate(a, true) AS d, deduplicate(s, false) AS e, merge_agg(*) AS g",
    "median(a) AS m, percentile_cont(a, 0.3) AS pc, percentile_disc(a, 0.7) AS pd",
    "stddev(a) AS sd, stddevs(a) AS ss, var(a) AS v, vars(a) AS vs",
    "s, sum(a + s) AS t, count(*) AS n",
    "*, count(*) AS n",
    "a * 2 AS d, sum(a * 2) AS t, max(k) AS hk, event_time() AS et",
];

const FILTERS: &[&str] = &["", "WHERE a > 0", "WHERE s < 3 AND a < 8", "WHERE a / s > 1"];
const GROUPS: &[&str] = &["", "k, ", "k, s, ", "a / s, "];
// Sums are compared with what no sum comes near: floats may differ in their last digits.
const HAVINGS: &[&str] = &["", "HAVING count(*) > 1", "HAVING sum(a) > 5.05"];

/// What `a` holds.
fn number() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        10 => (-9i64..10).prop_map(|int| Some(Value::Int(int))),
        10 => (-90i32..90).prop_map(|part| Some(Value::Float(f64::from(part) / 7.0))),
        2 => Just(Some(Value::Null)),
        1 => Just(Some(Value::text("q"))),
        2 => Just(None),
    ]
}

/// Milliseconds since the row before, and the row.
fn row() -> impl Strategy<Value = (i64, Option<Value>, i64, &'static str, i64)> {
    let gap = prop_oneof![3 => Just(0i64), 6 => 1i64..300, 1 => 300i64..4_000];
    let k = prop_oneof![Just("x"), Just("y"), Just("z"), Just("")];
    (gap, number(), 0i64..5, k, -600i64..600)
}

fn events(rows: &[(i64, Option<Value>, i64, &'static str, i64)], event_time: bool) -> Vec<Event> {
    let mut at = 300;
    let event = |(gap, a, s, k, jitter): &(i64, Option<Value>, i64, &'static str, i64)| {
        at += gap;
        let mut fields = Fields::new();
        fields.insert(Arc::from("s"), Value::Int(*s));
        if let Some(a) = a {
            fields.insert(Arc::from("a"), a.clone());
        }
        if !k.is_empty() {
            fields.insert(Arc::from("k"), Value::text(k));
        }
        if event_time {
            fields.insert(Arc::from("ts"), Value::Int(at + jitter));
        }
        let stream = if event_time { "e" } else { "s" };
        Event { at: Timestamp(at), stream: Some(Arc::from(stream)), row: Value::map(fields) }
    };
    let mut events: Vec<Event> = rows.iter().map(event).collect();
    events.push(Event { at: Timestamp(at + 5_000), stream: None, row: Value::Null });
    events
}

fn is_close(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => {
            let (x, y) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            a == b || (x - y).abs() <= 1e-9 * x.abs().max(y.abs()).max(1.0)
        }
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_close(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_close(a, b)))
        }
        _ => a == b,
    }
}

fn is_line_close(a: &str, b: &str) -> bool {
    a == b || matches!((serde_json::from_str(a), serde_json::from_str(b)), (Ok(a), Ok(b)) if is_close(&a, &b))
}

fn any_of(texts: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    (0..texts.len()).prop_map(|index| texts[index])
}

proptest! {
    #[test]
    fn incremental_equals_buffered_and_neither_batches_nor_restores_are_seen(
        (window, fields, filter, group, having) in
            (any_of(WINDOWS), any_of(FIELDS), any_of(FILTERS), any_of(GROUPS), any_of(HAVINGS)),
        rows in prop::collection::vec(row(), 1..40),
        cuts in prop::collection::vec((1usize..12, any::<bool>()), 1..8),
        event_time in any::<bool>(),
    ) {
        let stream = if event_time { "e" } else { "s" };
        let sql = format!("SELECT {fields} FROM {stream} {filter} GROUP BY {group}{window} {having}");
        let plan_options = PlanOptions { event_time, late_tolerance: 500, ..PlanOptions::default() };
        let options = Options { plan: plan_options, send_error: true, ..Options::default() };
        let events = events(&rows, event_time);
        let [(_, incremental), (_, buffered)] = forms(&options);
        let start = Timestamp(300);
        let run = |options: &Options, cuts: &[(usize, bool)]| {
            let mut printed = run_cut(&plan(&sql, options), options, &events, cuts.iter().copied().cycle(), start);
            // A row's error does not wait for the watermark, which comes once a batch.
            printed.sort_by_key(|line| event_time && !line.starts_with("ERR"));
            printed
        };
        let expected = run(&buffered, &[(usize::MAX, false)]);
        prop_assert_eq!(&run(&buffered, &cuts), &expected, "buffered, {}", sql);
        let found = run(&incremental, &[(1, false)]);
        prop_assert_eq!(&run(&incremental, &cuts), &found, "incremental, {}", sql);
        prop_assert_eq!(&run(&incremental, &[(usize::MAX, true)]), &found, "incremental, {}", sql);
        let is_close = found.len() == expected.len()
            && found.iter().zip(&expected).all(|(found, expected)| is_line_close(found, expected));
        prop_assert!(is_close, "{sql}\nincremental {found:#?}\nbuffered {expected:#?}");
    }
}

/// Bytes of all operators' states after so many rows of 100 keys.
fn state_size(sql: &str, n_rows: usize) -> usize {
    let options = Options::default();
    let mut rig = Rig::new(&plan(sql, &options), &options);
    rig.start(Timestamp(300));
    let event = |row: usize| {
        let fields = [("k", format!("key{}", row % 100)), ("x", "a long text that nobody reads".to_owned())];
        let texts = fields.into_iter().map(|(name, text)| (Arc::from(name), Value::text(&text)));
        let number = std::iter::once((Arc::from("a"), Value::Float(row as f64 / 3.0)));
        Event {
            at: Timestamp(400),
            stream: Some(Arc::from("s")),
            row: Value::map(texts.chain(number).collect()),
        }
    };
    let events: Vec<Event> = (0..n_rows).map(event).collect();
    events.chunks(1_000).for_each(|events| rig.rows(events, Timestamp(400)));
    rig.state().len()
}

#[test]
fn what_fails_for_a_row_is_counted_when_it_arrives_and_what_costs_the_window_when_it_closes() {
    let options = Options { send_error: true, ..Options::default() };
    let count = |sql: &str, until: i64| {
        let mut rig = Rig::new(&plan(sql, &options), &options);
        rig.start(Timestamp(300));
        let rows = "400 s {\"a\":\"q\",\"k\":1}\n";
        rig.rows(&super::super::testing::events(rows), Timestamp(400));
        rig.advance(Timestamp(until), true);
        (rig.exceptions(), rig.printed.join(" "))
    };
    // S9, and once although four windows hold the row.
    let sum = "SELECT sum(a + 1) AS t FROM s GROUP BY HOPPINGWINDOW(ss, 4, 1)";
    assert_eq!(count(sum, 400), (1, String::new()));
    assert_eq!(count(sum, 4_000), (1, "[{}] [{}] [{}] [{}]".to_owned()));
    // Z-2: each window with that row is lost.
    let key = "SELECT count(*) AS n FROM s GROUP BY a + 1, HOPPINGWINDOW(ss, 2, 1)";
    assert_eq!(count(key, 400), (0, String::new()));
    let error = "ERR run Group By error: invalid operation string(q) + int64(1)";
    assert_eq!(count(key, 4_000), (2, format!("{error} {error}")));
}

#[test]
fn a_window_over_an_aggregate_holds_groups_and_no_rows() {
    let fields = "k, count(*) AS n, sum(a) AS t, avg(a) AS m, min(a) AS lo, max(a) AS hi";
    for window in [
        "TUMBLINGWINDOW(hh, 1)",
        "HOPPINGWINDOW(hh, 2, 1)",
        "SESSIONWINDOW(hh, 2, 1)",
        "COUNTWINDOW(1000000)",
    ] {
        let sql = format!("SELECT {fields} FROM s WHERE a >= 0 GROUP BY k, {window}");
        let (few, many) = (state_size(&sql, 200), state_size(&sql, 20_000));
        assert_eq!(few, many, "{window}");
        assert!(many < 100 * 400, "{window}: {many} bytes");
    }
}
