//! Aggregates of other processes that take rows as they come: what they give is what they give of whole groups.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use thalweg_core::{Cell, Column, Diagnostic, Fields, RowError, Timestamp, Value};
use thalweg_expr::function::ArgShape;
use thalweg_expr::{Accumulate, AccumulatorStep, Accumulators, CallCx, Frame, FunctionRef, RemoteFunction};

use super::super::testing::{Event, forms, run_cut};
use super::*;

/// Joins the texts of a group's values in their order; a value `q` is the error of its group.
#[derive(Debug, Default)]
struct Joined {
    held: Mutex<Held>,
    cannot_merge: bool,
}

#[derive(Debug, Default)]
struct Held {
    texts: HashMap<u64, String>,
    memory: u64,
    /// Messages with rows for accumulators, and with whole groups.
    steps: usize,
    wholes: usize,
}

fn add(text: &mut String, cell: Cell<'_>) -> Result<(), RowError> {
    if cell == Cell::Str("q") {
        return Err(RowError::text("q is no value"));
    }
    text.push_str(&format!("{cell:?};"));
    Ok(())
}

fn group<'f>(frame: &'f Frame<'_>, group: usize) -> impl Iterator<Item = Cell<'f>> {
    let (groups, _) = frame.groups.expect("an aggregate is given groups");
    let of_rows = frame.rows.iter().zip(groups).filter(move |(_, of)| **of as usize == group);
    of_rows.map(|(row, _)| frame.args[0].cell(row))
}

impl RemoteFunction for Joined {
    fn name(&self) -> &str {
        "joined"
    }

    fn host(&self) -> &str {
        "plugin"
    }

    fn is_aggregate(&self) -> Result<bool, Diagnostic> {
        Ok(true)
    }

    fn validate(&self, _args: &[ArgShape]) -> Result<(), Diagnostic> {
        Ok(())
    }

    fn call(&self, frame: &Frame<'_>, out: &mut Column, cx: &CallCx<'_>) {
        assert_eq!(cx.node, "node");
        self.held.lock().unwrap().wholes += 1;
        for number in 0..frame.groups.expect("an aggregate is given groups").1 {
            let mut text = String::new();
            match group(frame, number).try_for_each(|cell| add(&mut text, cell)) {
                Ok(()) => out.push_str(&text),
                Err(error) => out.push_error(error),
            }
        }
    }

    fn accumulators(&self) -> Option<Accumulators> {
        Some(Accumulators { merge: !self.cannot_merge, retract: false })
    }

    fn accumulate(
        &self,
        step: &AccumulatorStep<'_>,
        frame: &Frame<'_>,
        expected: Option<u64>,
        out: &mut Column,
        _cx: &CallCx<'_>,
    ) -> Option<u64> {
        let mut held = self.held.lock().unwrap();
        if expected.is_some_and(|expected| expected != held.memory) {
            return Some(held.memory);
        }
        held.steps += 1;
        for (number, id) in step.ids.iter().enumerate() {
            let mut text = held.texts.get(id).cloned().unwrap_or_default();
            let result = match step.what {
                Accumulate::Merge(parts) => {
                    parts[number].iter().for_each(|part| text.push_str(&held.texts[part]));
                    Ok(())
                }
                _ => group(frame, number).try_for_each(|cell| add(&mut text, cell)),
            };
            match result {
                Ok(()) if step.finish => out.push_str(&text),
                Ok(()) => out.push_null(),
                Err(error) => out.push_error(error),
            }
            held.texts.insert(*id, text);
        }
        step.drop.iter().for_each(|id| drop(held.texts.remove(id)));
        if step.forget {
            step.ids.iter().for_each(|id| drop(held.texts.remove(id)));
        }
        Some(held.memory)
    }
}

fn with(function: &Arc<Joined>) -> Options {
    let function: Arc<dyn RemoteFunction> = Arc::clone(function) as _;
    Options { function: Some(FunctionRef::Remote(function)), send_error: true, ..Options::default() }
}

fn event(at: i64, a: &str, k: &str) -> Event {
    let fields = [("a", a), ("k", k)].map(|(name, text)| (Arc::from(name), Value::text(text)));
    let fields: Fields = fields.into_iter().collect();
    Event { at: Timestamp(at), stream: Some(Arc::from("s")), row: Value::map(fields) }
}

const WINDOWS: &[&str] = &[
    "TUMBLINGWINDOW(ss, 2)",
    "HOPPINGWINDOW(ss, 5, 2)",
    "HOPPINGWINDOW(ss, 2, 3)",
    "HOPPINGWINDOW(ms, 900, 300)",
    "SESSIONWINDOW(ms, 2000, 400)",
    "COUNTWINDOW(7)",
    "COUNTWINDOW(9, 4)",
    "STATEWINDOW(k = \"x\", k = \"y\") OVER (PARTITION BY a)",
    "SLIDINGWINDOW(ms, 800)",
];

const FIELDS: &[&str] = &[
    "k, joined(a) AS j",
    "joined(a) AS j, count(*) AS n",
    "k, joined(a) AS j, joined(k) AS keys, collect(a) AS l",
    "joined(concat(a, k)) AS j",
];

proptest! {
    #[test]
    fn accumulators_elsewhere_give_what_whole_groups_give(
        (window, fields) in ((0..WINDOWS.len()), (0..FIELDS.len())),
        (filter, by_key, cannot_merge) in (any::<bool>(), any::<bool>(), any::<bool>()),
        rows in prop::collection::vec((0i64..400, "[abcdef]|q{0,1}", "[xyz]"), 1..60),
        cuts in prop::collection::vec((1usize..12, any::<bool>()), 1..8),
    ) {
        let (window, fields) = (WINDOWS[window], FIELDS[fields]);
        let filter = if filter { "WHERE a <> \"c\"" } else { "" };
        let key = if by_key || fields.starts_with('k') { "k, " } else { "" };
        let sql = format!("SELECT {fields} FROM s {filter} GROUP BY {key}{window}");
        let function = Arc::new(Joined { cannot_merge, ..Joined::default() });
        let [(_, pieces), (_, wholes)] = forms(&with(&function));
        let mut at = 300;
        let mut events: Vec<Event> = rows.iter().map(|(gap, a, k)| { at += gap; event(at, a, k) }).collect();
        events.push(Event { at: Timestamp(at + 5_000), stream: None, row: Value::Null });
        let run = |options: &Options, cuts: &[(usize, bool)]| {
            // As when a rule ends.
            function.held.lock().unwrap().texts.clear();
            run_cut(&plan(&sql, options), options, &events, cuts.iter().copied().cycle(), Timestamp(300))
        };
        let expected = run(&wholes, &[(usize::MAX, false)]);
        prop_assert_eq!(function.held.lock().unwrap().steps, 0);
        prop_assert_eq!(run(&pieces, &[(usize::MAX, false)]), expected.clone(), "{}", sql);
        prop_assert_eq!(run(&pieces, &cuts), expected, "{}", sql);
    }
}

/// A window in progress: rows `a` of these keys at these times.
fn running(function: &Arc<Joined>, window: &str, rows: &[(i64, &str)]) -> Rig {
    let options = with(function);
    let sql = format!("SELECT k, joined(a) AS j FROM s GROUP BY k, {window}");
    let mut rig = Rig::new(&plan(&sql, &options), &options);
    rig.start(Timestamp(0));
    for (at, key) in rows {
        rig.advance(Timestamp(*at), true);
        rig.rows(&[event(*at, "a", key)], Timestamp(*at));
    }
    rig
}

#[test]
fn a_long_window_keeps_few_rows_here_and_closes_with_one_message() {
    let size = |n: usize| {
        let function = Arc::<Joined>::default();
        let mut rig = running(&function, "TUMBLINGWINDOW(hh, 1)", &vec![(1, "x"); n]);
        let state = rig.state().len();
        let steps = function.held.lock().unwrap().steps;
        rig.advance(Timestamp(3_600_000), true);
        let held = function.held.lock().unwrap();
        assert_eq!((held.steps - steps, held.wholes), (1, 0));
        assert!(held.texts.is_empty(), "its accumulator is forgotten with the window");
        assert_eq!(rig.printed.len(), 1);
        state
    };
    assert_eq!(size(7), size(70_000 / 100));
}

#[test]
fn a_small_window_is_one_message_with_whole_groups() {
    let function = Arc::<Joined>::default();
    let mut rig = running(&function, "TUMBLINGWINDOW(ss, 1)", &[(1, "x"), (2, "y")]);
    rig.advance(Timestamp(1_000), true);
    let held = function.held.lock().unwrap();
    assert_eq!((held.steps, held.wholes), (0, 1));
    assert_eq!(
        rig.printed,
        ["[{\"j\":\"Str(\\\"a\\\");\",\"k\":\"x\"},{\"j\":\"Str(\\\"a\\\");\",\"k\":\"y\"}]"]
    );
}

#[test]
fn what_went_with_its_process_is_an_error_and_not_a_smaller_result() {
    let rows = [(1, "x"), (2, "x"), (3, "y"), (4, "x")];
    let die = |function: &Joined| {
        let mut held = function.held.lock().unwrap();
        held.memory += 1;
        held.texts.clear();
    };
    // Three rows are handed over together.
    let function = Arc::<Joined>::default();
    let mut rig = running(&function, "TUMBLINGWINDOW(ss, 1)", &rows);
    die(&function);
    rig.rows(&[event(5, "b", "z"), event(5, "b", "y"), event(6, "b", "z")], Timestamp(6));
    rig.advance(Timestamp(1_000), true);
    assert!(rig.printed[0].ends_with("what it had of this group is lost"), "{:?}", rig.printed);
    rig.rows(&[event(1_001, "b", "x")], Timestamp(1_001));
    rig.advance(Timestamp(2_000), true);
    assert_eq!(rig.printed[1..], [r#"[{"j":"Str(\"b\");","k":"x"}]"#]);
    // Each window that has a part of it.
    let function = Arc::<Joined>::default();
    let mut rig = running(&function, "HOPPINGWINDOW(ss, 2, 1)", &[(1, "x"), (1_001, "x")]);
    die(&function);
    rig.rows(&[event(2_001, "b", "x")], Timestamp(2_001));
    rig.advance(Timestamp(3_000), true);
    let printed = rig.printed.join(" ");
    assert!(printed.contains("lost"), "{printed}");
    rig.rows(&[event(4_001, "b", "x")], Timestamp(4_001));
    rig.advance(Timestamp(5_000), true);
    assert!(rig.printed.last().unwrap().contains(r#""j":"Str"#), "{:?}", rig.printed);
}

#[test]
fn nothing_is_left_elsewhere_of_windows_that_have_closed() {
    for window in ["TUMBLINGWINDOW(ss, 1)", "HOPPINGWINDOW(ss, 2, 1)", "COUNTWINDOW(8, 4)"] {
        let function = Arc::<Joined>::default();
        let rows: Vec<(i64, &str)> = (0..400).map(|n| (n * 50, ["x", "y"][n as usize % 2])).collect();
        let rig = running(&function, window, &rows);
        let held = function.held.lock().unwrap();
        assert!(held.steps > 20 && held.texts.len() < 16, "{window}: {} of {}", held.texts.len(), held.steps);
        assert!(rig.printed.len() > 15, "{window}");
    }
}
