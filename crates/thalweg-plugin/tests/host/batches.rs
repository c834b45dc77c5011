//! Many calls in a message (sections 12.2, 12.3, 12.6): the same results as one by one, and what happens when the
//! process ends in the middle.

use std::borrow::Cow;
use std::sync::atomic::Ordering::Relaxed;

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Cell, Column, ColumnRef, Selection, Timestamp, Value};
use thalweg_expr::function::{CallCx, Frame, RemoteFunction};
use thalweg_expr::registry::RemoteFunctions;

use crate::subject::*;

/// The capabilities that make a difference to calls, and sets that lack one after the other.
const SETS: [Option<&[&str]>; 5] = [
    None,
    Some(&["batch", "cols"]),
    Some(&["cols"]),
    Some(&["batch"]),
    // The protocol of old.
    Some(&[]),
];

/// Results as values, or texts of errors.
type Results = Vec<Result<Value, String>>;

fn results(out: &Column) -> Results {
    let result = |row| match out.cell(row) {
        Cell::Error(error) => Err(error.to_string()),
        cell => Ok(cell.to_value()),
    };
    (0..out.len()).map(result).collect()
}

fn call_all(
    function: &dyn RemoteFunction,
    args: &[ColumnRef<'_>],
    rows: &Selection,
    groups: Option<(&[u32], usize)>,
    metrics: &NodeMetrics,
) -> Results {
    let cx = CallCx { rule: "rule1", node: "2_project", call_id: 0, now: Timestamp(0), metrics };
    let mut out = Column::new();
    function.call(&Frame { args, rows, groups }, &mut out, &cx);
    assert_eq!(out.len(), groups.map_or(rows.len(), |(_, n)| n));
    results(&out)
}

/// The name of the plugin is not the same twice.
fn without_name(results: Results, name: &str) -> Results {
    results.into_iter().map(|result| result.map_err(|text| text.replace(name, "plugin"))).collect()
}

fn columns() -> Vec<Vec<Value>> {
    let bytes = |text: &'static [u8]| Value::Bytes(bytes::Bytes::from_static(text));
    let (float, int, text) = (Value::Float, Value::Int, |text: &str| Value::text(text));
    let map = Value::map([("a".into(), float(2.0)), ("b".into(), Value::Null)].into_iter().collect());
    vec![
        vec![float(0.5), float(-1.25), float(1e-7), float(1e21), float(f64::MIN_POSITIVE)],
        vec![float(2.0), float(-3.0), float(0.0), float(9_007_199_254_740_992.0)],
        vec![float(2.0), float(0.5), Value::Null, float(-7.0), float(1e100)],
        vec![int(1), int(-5), int(i64::MAX), int(i64::MIN)],
        vec![int(1), float(0.5), float(2.0), Value::Null],
        vec![int(i64::MAX), float(0.5)],
        vec![float(1e20), float(0.5)],
        vec![float(f64::NAN), float(1.5), float(f64::INFINITY), float(2.0)],
        vec![Value::Null, Value::Null],
        vec![Value::Bool(true), Value::Null, Value::Bool(false)],
        vec![text("a"), text(""), text("ü\u{1F600}\"\\\n\u{0}"), Value::Null, text("12")],
        vec![bytes(b"\xff\x00"), bytes(b""), Value::Null],
        vec![Value::Time(Timestamp(3_120)), Value::Time(Timestamp(-1)), Value::Time(Timestamp(0))],
        vec![Value::list(vec![float(1.0), text("x")]), map, Value::list(vec![])],
        vec![text("a"), int(1), Value::Bool(true), float(1.0), Value::Null, Value::list(vec![int(2)])],
    ]
}

#[test]
fn with_capabilities_off_one_by_one_arguments_and_results_are_the_same() {
    let bench = Bench::new(&Sdk::Bundled);
    let mut seen: Vec<(Vec<Results>, u64)> = Vec::new();
    for caps in SETS {
        let name = bench.install(&Subject::kinds(caps));
        let function = |what: &str| bench.host.resolve(&format!("{name}_{what}")).unwrap().unwrap();
        let (tell, tell_all, back) = (function("tell"), function("tellall"), function("back"));
        let metrics = NodeMetrics::default();
        let mut all = Vec::new();
        for values in columns() {
            let column = Column::from_values(&values);
            let literal = ColumnRef::Constant(Cow::Owned(Column::from_floats([2.0])));
            let args = [ColumnRef::borrowed(&column), literal];
            let n = values.len();
            let every = Selection::all(n);
            let odd = Selection::rows((0..n as u32).filter(|row| row % 2 == 1).collect());
            // Groups in turn, one of them empty.
            let groups: Vec<u32> = (0..n as u32).map(|row| row % 2 * 2).collect();
            for _ in 0..3 {
                all.push(call_all(&*tell, &args, &every, None, &metrics));
                all.push(call_all(&*tell, &args, &odd, None, &metrics));
                all.push(call_all(&*tell_all, &args, &every, Some((&groups, 3)), &metrics));
                all.push(call_all(&*tell_all, &args, &odd, None, &metrics));
                all.push(call_all(&*back, &args[..1], &every, None, &metrics));
            }
        }
        let words = ["raise", "nan", "large", "half", "x"].map(Value::text);
        for mix in [&words[..], &words[2..3], &words[3..4], &words[1..2], &words[2..4]] {
            let column = Column::from_values(mix);
            let args = [ColumnRef::borrowed(&column)];
            all.push(call_all(&*back, &args, &Selection::all(mix.len()), None, &metrics));
        }
        let all = all.into_iter().map(|results| without_name(results, &name)).collect();
        seen.push((all, metrics.exceptions.load(Relaxed)));
    }
    let last = seen.pop().unwrap();
    for (caps, other) in SETS.iter().zip(&seen) {
        for (index, (here, there)) in other.0.iter().zip(&last.0).enumerate() {
            assert_eq!(here, there, "{caps:?}, call {index}");
        }
        assert_eq!(other.1, last.1, "numbers that became null are counted with {caps:?}");
    }
    let shown = |text: &str| Value::text(text);
    assert_eq!(
        last.0[10][0],
        Ok(Value::list(vec![shown("float 0.5"), shown("int 2")])),
        "the literal 2.0 is an int in Python"
    );
}

#[test]
fn the_greeting_says_that_a_function_is_an_aggregate() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::kinds(None));
    for (function, is_aggregate) in [("tell", false), ("tellall", true)] {
        let function = bench.host.resolve(&format!("{name}_{function}")).unwrap().unwrap();
        assert_eq!(function.is_aggregate(), Ok(is_aggregate));
    }
    let symbols = bench.host.status(&name).unwrap().symbols;
    // The greeting alone: nothing was asked.
    assert!(symbols.iter().all(|symbol| symbol.times.unwrap().calls == 1), "{symbols:?}");
}

#[test]
fn many_rows_and_groups_travel_in_few_messages_in_their_order() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::kinds(None));
    let back = bench.host.resolve(&format!("{name}_back")).unwrap().unwrap();
    let metrics = NodeMetrics::default();
    let values: Vec<f64> = (0..100_000).map(|row| f64::from(row) * 0.25).collect();
    let column = Column::from_floats(values.iter().copied());
    let args = [ColumnRef::borrowed(&column)];
    let out = call_all(&*back, &args, &Selection::all(values.len()), None, &metrics);
    assert!(out.iter().zip(&values).all(|(result, value)| *result == Ok(Value::Float(*value))));
    let calls = || {
        let status = bench.host.status(&name).unwrap();
        status.symbols.iter().map(|symbol| symbol.times.unwrap().calls).sum::<u64>()
    };
    assert!(calls() < 10_000, "{}", calls());
}

/// The results of `back` for these words.
fn back(bench: &Bench, name: &str, words: &[&str]) -> Results {
    let function = bench.host.resolve(&format!("{name}_back")).unwrap().unwrap();
    let column = Column::from_values(&words.iter().map(Value::text).collect::<Vec<_>>());
    let args = [ColumnRef::borrowed(&column)];
    call_all(&*function, &args, &Selection::all(words.len()), None, &NodeMetrics::default())
}

/// Words with one in the middle that does something.
fn words_around<'a>(middle: &'a str, texts: &'a [String]) -> Vec<&'a str> {
    let mut words: Vec<&str> = texts.iter().map(String::as_str).collect();
    words[37] = middle;
    words
}

#[test]
fn a_row_that_ends_the_process_fails_alone() {
    for caps in [None, Some(&["batch"][..])] {
        let bench = Bench::new(&Sdk::Bundled);
        let name = bench.install(&Subject::kinds(caps));
        let texts: Vec<String> = (0..100).map(|row| format!("word {row}")).collect();
        let words = words_around("kill", &texts);
        // So that messages are as long as they get.
        back(&bench, &name, &words_around("x", &texts));
        let out = back(&bench, &name, &words);
        for (row, (result, word)) in out.iter().zip(&words).enumerate() {
            if row == 37 {
                let error = format!(
                    "call func {name}_back error: plugin {name} ended (signal 9) while calling {name}_back with this \
                     row alone, which is not tried again"
                );
                assert_eq!(*result, Err(error));
            } else {
                assert_eq!(*result, Ok(Value::text(word)), "row {row}");
            }
        }
        let restarts = bench.host.status(&name).unwrap().restarts;
        assert!((2..=8).contains(&restarts), "{restarts}");
    }
}

#[test]
fn an_end_of_the_process_that_no_row_is_to_blame_for_costs_nothing() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::kinds(None));
    let texts: Vec<String> = (0..100).map(|row| format!("word {row}")).collect();
    let mut expected: Results = texts.iter().map(|text| Ok(Value::text(text))).collect();
    expected[37] = Ok(Value::text("survived"));
    assert_eq!(back(&bench, &name, &words_around("kill once", &texts)), expected);
    assert_eq!(bench.host.status(&name).unwrap().restarts, 1);
}

#[test]
fn a_function_that_remembers_is_not_called_twice_and_goes_on_from_the_last_checkpoint() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::kinds(None));
    let count = bench.host.resolve(&format!("{name}_count")).unwrap().unwrap();
    let metrics = NodeMetrics::default();
    let cx = CallCx { rule: "rule1", node: "2_project", call_id: 0, now: Timestamp(0), metrics: &metrics };
    let ask = |words: &[&str]| {
        let column = Column::from_values(&words.iter().map(Value::text).collect::<Vec<_>>());
        call_all(&*count, &[ColumnRef::borrowed(&column)], &Selection::all(words.len()), None, &metrics)
    };
    let numbers = |numbers: &[f64]| numbers.iter().map(|n| Ok(Value::Float(*n))).collect::<Results>();
    assert_eq!(ask(&["x", "x"]), numbers(&[1.0, 2.0]));
    let saved = count.save(&cx.site()).unwrap().expect("it remembers");
    assert_eq!(ask(&["x"]), numbers(&[3.0]));
    let error = ask(&["kill"])[0].clone().unwrap_err();
    assert!(error.ends_with("which forgets what it remembered since the last checkpoint"), "{error}");
    eventually("the next process is there", || bench.host.status(&name).unwrap().status == "running");
    assert_eq!(bench.host.status(&name).unwrap().restarts, 1, "the row was not tried again");
    assert_eq!(ask(&["x"]), numbers(&[3.0]), "2 of the checkpoint, and 1");
    assert_eq!(metrics.exceptions.load(Relaxed), 1, "{:?}", metrics.rare().last_exception);
    count.restore(&cx.site(), &saved).unwrap();
    assert_eq!(ask(&["x", "x"]), numbers(&[3.0, 4.0]));
    count.forget(&cx.site());
    assert_eq!(ask(&["x"]), numbers(&[1.0]), "nothing is left of it");
}

#[test]
fn large_groups_lie_in_shared_memory_where_that_is_allowed() {
    for shared in [true, false] {
        let bench = Bench::with(&Sdk::Bundled, |config| config.shared_memory = shared);
        let name = bench.install(&Subject::echo());
        let mean_of = bench.host.resolve(&format!("{name}_mean")).unwrap().unwrap();
        let (n_groups, n) = (50, 100_000);
        let groups: Vec<u32> = (0..n).map(|row| row % n_groups).collect();
        let grouped = Some((&groups[..], n_groups as usize));
        // A null at the end; floats that are all of one kind, or all integers to Python.
        let means = |first: f64, has_null: bool| {
            let values = |row: u32| f64::from(row) + first;
            let last = if has_null { n - 1 } else { n };
            let mut column = Column::from_floats((0..last).map(values));
            (last..n).for_each(|_| column.push_null());
            let args = [ColumnRef::borrowed(&column)];
            let mean = |group: u32| {
                let values = (0..last).filter(|row| row % n_groups == group).map(values);
                Ok(Value::Float(values.clone().sum::<f64>() / values.count() as f64))
            };
            let expected: Results = (0..n_groups).map(mean).collect();
            for _ in 0..5 {
                let out =
                    call_all(&*mean_of, &args, &Selection::all(n as usize), grouped, &NodeMetrics::default());
                assert_eq!(out, expected, "from {first}");
            }
        };
        means(0.5, true);
        // Two callers at a time, of which one has the memory.
        std::thread::scope(|scope| {
            for first in [1.5, 1000.0] {
                scope.spawn(move || means(first, false));
            }
        });
        let pid = bench.host.status(&name).unwrap().pid.unwrap();
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let regions: Vec<&str> = maps.lines().filter(|line| line.contains("memfd:thalweg")).collect();
        assert_eq!(regions.len(), usize::from(shared), "{regions:?}");
        assert!(regions.iter().all(|region| region.ends_with("(deleted)")), "its name is gone: {regions:?}");
    }
}
