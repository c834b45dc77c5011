//! Functions that ask for arrays of pyarrow, and get Arrow streams (12.5).

use std::process::Command;

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Cell, Column, ColumnRef, Selection, Timestamp, Value};
use thalweg_expr::function::{CallCx, Frame};
use thalweg_expr::registry::RemoteFunctions;

use crate::subject::*;

/// A host on an interpreter with pyarrow, or nothing (said aloud) where there is none.
fn bench() -> Option<Bench> {
    let Some(Sdk::Real(python)) = real_sdk() else { return None };
    let has_it = Command::new(&python).args(["-c", "import pyarrow"]).status().unwrap().success();
    if !has_it {
        let text = format!("{python} has no pyarrow: cargo xtask setup");
        assert_ne!(std::env::var("THALWEG_REQUIRE_SERVERS").as_deref(), Ok("1"), "{text}");
        eprintln!("skipped: {text}");
        return None;
    }
    Some(Bench::with(&Sdk::Bundled, |config| config.python_bin = python))
}

/// The results of a call for some rows, or for groups of them; errors in `<>`.
fn results(
    bench: &Bench,
    name: &str,
    args: &[&ColumnRef<'_>],
    groups: Option<(&[u32], usize)>,
) -> Vec<Value> {
    let function = bench.host.resolve(name).unwrap().unwrap();
    let args: Vec<ColumnRef<'_>> = args.iter().map(|arg| (*arg).clone()).collect();
    let rows = Selection::all(args[0].column().len());
    let (metrics, mut out) = (NodeMetrics::default(), Column::new());
    let cx = CallCx { rule: "rule1", node: "2_project", call_id: 0, now: Timestamp(0), metrics: &metrics };
    function.call(&Frame { args: &args, rows: &rows, groups }, &mut out, &cx);
    let value = |row| match out.cell(row) {
        Cell::Error(error) => Value::text(format!("<{error}>")),
        cell => cell.to_value(),
    };
    (0..out.len()).map(value).collect()
}

fn column(values: &[Value]) -> ColumnRef<'static> {
    ColumnRef::owned(Column::from_values(values))
}

fn literal(value: Value) -> ColumnRef<'static> {
    ColumnRef::Constant(std::borrow::Cow::Owned(Column::from_values([&value])))
}

/// Values, the type that Python sees, and what comes back where that differs.
type Typed = (Vec<Value>, &'static str, Option<Vec<Value>>);

/// Values of each type with a null among them.
fn every_type() -> Vec<Typed> {
    let (float, int, text) = (Value::Float, Value::Int, |text: &str| Value::text(text));
    let bytes = |bytes: &'static [u8]| Value::Bytes(bytes::Bytes::from_static(bytes));
    let nested = Value::list(vec![float(1.0), float(2.0)]);
    vec![
        (vec![float(0.5), Value::Null, float(-2.0)], "double", None),
        (vec![int(i64::MAX), Value::Null, int(i64::MIN)], "int64", None),
        (vec![Value::Bool(true), Value::Null, Value::Bool(false)], "bool", None),
        (vec![text("a\u{20ac}\u{1F600}"), Value::Null, text("")], "string", None),
        (vec![bytes(b"\xff\0"), Value::Null, bytes(b"")], "binary", None),
        (
            vec![Value::Time(Timestamp(3_120)), Value::Null, Value::Time(Timestamp(-1))],
            "timestamp[ms, tz=UTC]",
            Some(vec![text("1970-01-01T00:00:03.12Z"), Value::Null, text("1969-12-31T23:59:59.999Z")]),
        ),
        (vec![nested.clone(), Value::Null, nested], "list<", None),
    ]
}

#[test]
fn rows_of_every_type_reach_pyarrow_and_come_back() {
    let Some(bench) = bench() else { return };
    let without = [None, Some(&["batch", "cols", "shm"][..])];
    for caps in without {
        let name = bench.install(&Subject::arrays(caps));
        for (values, kind, expected) in every_type() {
            let x = column(&values);
            let kinds = results(&bench, &format!("{name}_kind"), &[&x], None);
            let Some(Value::Str(first)) = kinds.first() else { panic!("{kinds:?}") };
            let is_time = caps.is_some() && kind.starts_with("timestamp");
            assert!(first.starts_with(kind) || is_time, "{kinds:?}");
            let expected = expected.unwrap_or(values);
            assert_eq!(results(&bench, &format!("{name}_back"), &[&x], None), expected, "{caps:?} {kind}");
        }
        let numbers = column(&[Value::Float(1.5), Value::Null, Value::Float(-3.0)]);
        let factor = literal(Value::Float(2.0));
        let doubled = results(&bench, &format!("{name}_twice"), &[&numbers, &factor], None);
        assert_eq!(doubled, [Value::Float(3.0), Value::Null, Value::Float(-6.0)]);
        let streams = || bench.call(&format!("{name}_streams"), &[Value::Null]);
        let n_streams = streams();
        assert_eq!(n_streams, streams(), "only who asks for Arrow gets it");
        assert_eq!(n_streams == Ok(Value::Float(0.0)), caps.is_some(), "{n_streams:?}");
    }
}

#[test]
fn groups_are_lists_and_literals_are_repeated() {
    let Some(bench) = bench() else { return };
    for caps in [None, Some(&["batch", "cols", "shm"][..]), Some(&["batch"][..])] {
        let name = bench.install(&Subject::arrays(caps));
        let x = column(&[1.0, 100.0, 2.0, 30.0].map(Value::Float));
        let half = literal(Value::Float(0.5));
        let groups = (&[0, 2, 0, 2][..], 3);
        let totals = results(&bench, &format!("{name}_total"), &[&x, &half], Some(groups));
        assert_eq!(totals, [Value::Float(1.5), Value::Null, Value::Float(65.0)], "{caps:?}");
        for (values, kind, _) in every_type().into_iter().take(4) {
            let x = column(&values);
            let lists = results(&bench, &format!("{name}_lists"), &[&x], Some((&[1, 0, 0], 2)));
            let list = |rows: &[usize]| Value::list(rows.iter().map(|row| values[*row].clone()).collect());
            assert_eq!(lists, [list(&[1, 2]), list(&[0])], "{caps:?} {kind}");
        }
    }
}

#[test]
fn other_types_become_ours_and_the_row_that_fails_is_alone() {
    let Some(bench) = bench() else { return };
    let name = bench.install(&Subject::arrays(None));
    let small = format!("{name}_small");
    let words = [Value::text("a"), Value::Null, Value::text("a")];
    assert_eq!(results(&bench, &small, &[&column(&words)], None), words);
    let bools = column(&[Value::Bool(true), Value::Null]);
    assert_eq!(results(&bench, &small, &[&bools], None), [Value::Float(1.0), Value::Null]);
    let maps = results(&bench, &small, &[&column(&[Value::Float(2.5)])], None);
    let Value::Map(map) = &maps[0] else { panic!("{maps:?}") };
    assert_eq!(map["n"], Value::Float(2.5));
    let sevens = column(&[6.5, 7.0, 8.5].map(Value::Float));
    let picked = results(&bench, &format!("{name}_picky"), &[&sevens], None);
    assert_eq!((&picked[0], &picked[2]), (&Value::Float(6.5), &Value::Float(8.5)));
    assert!(matches!(&picked[1], Value::Str(text) if text.contains("ValueError: a seven")), "{picked:?}");
    let nan = column(&[f64::NAN, 1.0].map(Value::Float));
    assert_eq!(results(&bench, &format!("{name}_back"), &[&nan], None), [Value::Null, Value::Float(1.0)]);
    let many: Vec<Value> = (0..20_000).map(|row| Value::Float(f64::from(row))).collect();
    assert_eq!(results(&bench, &format!("{name}_back"), &[&column(&many)], None), many);
}

#[test]
fn without_pyarrow_the_function_says_what_is_missing() {
    let bench = Bench::new(&Sdk::Bundled);
    let subject = Subject::arrays(None).file("pyarrow.py", "raise ImportError('none here')\n");
    let name = bench.install(&subject);
    let error = bench.call(&format!("{name}_kind"), &[Value::Float(1.0)]).unwrap_err();
    assert!(error.contains("pip install pyarrow"), "{error}");
}
