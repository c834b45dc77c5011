//! The whole table: names, documentation, and every example and recorded call.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

use thalweg_core::{Batch, Column, ColumnRef, Selection, Value};

use super::TABLES;
use crate::expr::Expr;
use crate::function::{Function, FunctionKind, FunctionRef};
use crate::testing::{batch, cx, parse, run, show};

fn all() -> impl Iterator<Item = &'static Function> {
    TABLES.iter().chain(super::SHIPPED).copied().flatten()
}

#[test]
fn names_are_unique_without_case_and_everything_is_documented() {
    let mut names = HashSet::new();
    for function in all() {
        for name in function.aliases.iter().chain([&function.name]) {
            let is_shipped = function.doc.family == crate::function::Family::External;
            assert!(is_shipped || **name == *name.to_lowercase(), "{name}");
            assert!(names.insert(name.to_lowercase()), "{name} stands twice");
        }
        assert!(function.doc.summary.ends_with('.'), "{} has no summary", function.name);
        let shown = !function.doc.examples.is_empty();
        let testable = !matches!(function.kind, FunctionKind::Planned) && function.is_pure_or_folding();
        assert!(shown || !testable, "{} has no example", function.name);
    }
}

impl Function {
    fn is_pure_or_folding(&self) -> bool {
        self.is_pure() || matches!(self.kind, FunctionKind::Aggregate(_) | FunctionKind::Analytic(_))
    }
}

#[test]
fn every_example_evaluates_to_the_printed_result() {
    let empty = batch(vec![]);
    let mut wrong = Vec::new();
    for function in all() {
        for (text, expected) in function.doc.examples {
            let got = evaluate(function, text, &empty);
            let failed = *expected == "ERR" && got.starts_with("ERR ");
            if !failed && got != *expected {
                wrong.push(format!("{text}: expected {expected}, got {got}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn evaluate(function: &Function, text: &str, empty: &Batch) -> String {
    match function.kind {
        FunctionKind::Aggregate(_) | FunctionKind::Analytic(_) | FunctionKind::Multi(_) => {
            let Expr::Call { function: FunctionRef::Builtin(called), args, .. } = parse(text, &empty.schema)
            else {
                panic!("{text} is no call");
            };
            assert_eq!(called.name, function.name);
            folded(called, &args)
        }
        _ => run(text, empty).remove(0),
    }
}

/// Each argument is the list of values of successive rows.
fn folded(function: &Function, args: &[Expr]) -> String {
    let lists: Vec<&[Value]> = args
        .iter()
        .map(|arg| match arg {
            Expr::Literal(Value::List(items)) => &items[..],
            other => panic!("{other:?} is no list of rows"),
        })
        .collect();
    let n_rows = lists.first().map_or(0, |list| list.len());
    match function.kind {
        FunctionKind::Aggregate(new) => {
            let columns: Vec<Column> = lists.iter().map(|list| Column::from_values(*list)).collect();
            let args: Vec<ColumnRef<'_>> = columns.iter().map(ColumnRef::borrowed).collect();
            let mut accumulator = new();
            accumulator.update(&vec![0; n_rows], &args, &Selection::all(n_rows), &mut cx());
            let mut out = Column::new();
            accumulator.finish(&[0], &mut out, &mut cx());
            show(out.cell(0))
        }
        FunctionKind::Analytic(new) => {
            let mut state = new();
            let results: Vec<Value> = (0..n_rows)
                .map(|row| {
                    let args: Vec<Value> = lists.iter().map(|list| list[row].clone()).collect();
                    let result = state.next(&args, true, &mut cx());
                    result.unwrap_or_else(|error| Value::text(format!("ERR {error}")))
                })
                .collect();
            show(thalweg_core::Cell::of(&Value::list(results)))
        }
        FunctionKind::Multi(call) => match call(&Value::list(lists[0].to_vec())) {
            Ok(rows) => show(thalweg_core::Cell::of(&Value::list(rows))),
            Err(error) => format!("ERR {error}"),
        },
        _ => unreachable!(),
    }
}

/// Where `decisions.md` or class F of functions.md 21 differ from what upstream's run showed: function and arguments.
const DECIDED: &[(&str, &str, &str)] = &[
    ("abs", "[-9007199254740993]", "S23: integers stay exact"),
    ("cot", "[0]", "S7"),
    ("ln", "*", "S7: null outside the domain"),
    ("log", "*", "S7"),
    ("sqrt", "*", "S7"),
    ("power", "*", "S7: NaN is null"),
    ("mod", "*", "S22"),
    ("indexof", "[\"héllo\",\"l\"]", "S25"),
    ("substring", "*", "S25"),
    ("concat", "*", "S4"),
    ("length", "[1000000.0]", "S4"),
    ("upper", "[1234567.0]", "S4"),
    ("chr", "*", "S27: the character"),
    ("trunc", "*", "S21: cuts off"),
    ("convert_tz", "*", "text, since values of time have no zone"),
    ("array_contains", "[[1,2],2.0]", "S1"),
    ("array_max", "*", "S13: mixed numbers are compared as floats"),
    ("array_distinct", "[[1,1.0]]", "S1"),
    ("array_sort", "*", "S30"),
    ("format_time", "*", "S39, S40"),
    ("date_calc", "[null,\"1h\"]", "S45"),
    ("date_diff", "[null,1]", "S45"),
    ("day_name", "[null]", "S45"),
    ("hour", "[null]", "S45"),
];

/// What `docs/compat/functions.json` recorded of upstream holds here, but for [`DECIDED`].
#[test]
fn recorded_calls_of_upstream_give_the_same_results() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compat/functions.json");
    let recorded: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).expect("the file is there")).expect("it is JSON");
    let mut wrong = Vec::new();
    let mut checked = 0;
    for entry in recorded.as_array().expect("a list") {
        let name = entry["name"].as_str().expect("a name");
        let found = crate::registry::builtin(name).or_else(|| crate::registry::shipped(name));
        let Some(function) = found else { continue };
        for example in entry["examples"].as_array().expect("examples") {
            if example["per_event"] == true {
                continue;
            }
            let args: Vec<Value> =
                example["args"].as_array().expect("arguments").iter().map(tagged).collect();
            let got = match function.kind {
                FunctionKind::Row(call) => crate::eval::call_row(function.nulls, call, &args, &mut cx()),
                _ => continue,
            };
            checked += 1;
            let expected = &example["result"];
            let same = match &got {
                Err(_) => expected["$error"] == true,
                Ok(value) => expected["$error"] != true && alike(value, &tagged(expected)),
            };
            let shown = example["args"].to_string();
            let decided = DECIDED.iter().any(|(of, args, _)| *of == name && (*args == "*" || *args == shown));
            if !same && !decided {
                wrong.push(format!("{name}{shown}: upstream {expected}, here {got:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{checked} checked\n{}", wrong.join("\n"));
}

/// JSON with `{"$bytes": …}`, `{"$time": …}`, `{"$float": …}`; numbers with a point are floats.
fn tagged(json: &serde_json::Value) -> Value {
    use base64::Engine;
    use thalweg_core::json::{Numbers, from_json};
    match json {
        serde_json::Value::Object(fields) => {
            if let Some(bytes) = fields.get("$bytes") {
                let bytes = base64::engine::general_purpose::STANDARD.decode(bytes.as_str().unwrap());
                return Value::Bytes(bytes.unwrap().into());
            }
            if let Some(time) = fields.get("$time") {
                let time = thalweg_core::moment::parse(time.as_str().unwrap(), chrono_tz::Tz::UTC);
                return Value::Time(time.expect("a time"));
            }
            match fields.get("$float").and_then(|float| float.as_str()) {
                Some("+Inf") => Value::Float(f64::INFINITY),
                Some("-Inf") => Value::Float(f64::NEG_INFINITY),
                Some(_) => Value::Float(f64::NAN),
                None => Value::map(fields.iter().map(|(k, v)| (k.as_str().into(), tagged(v))).collect()),
            }
        }
        serde_json::Value::Array(items) => Value::list(items.iter().map(tagged).collect()),
        other => from_json(other, Numbers::Whole),
    }
}

fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| alike(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|((k, a), (l, b))| k == l && alike(a, b))
        }
        (Value::Float(a), Value::Float(b)) => a == b || (a - b).abs() <= 1e-14 * b.abs(),
        _ => thalweg_core::compare::values_equal(a, b),
    }
}

#[test]
fn a_null_outside_of_the_domain_or_of_a_null_time_is_counted_row_by_row() {
    let column = Column::from_values([&Value::Int(-1), &Value::Int(4), &Value::Null, &Value::Int(-2)]);
    let batch = batch(vec![("a", column)]);
    for (text, n_counted, last) in [
        ("ln(a)", 2, "call func ln error: outside of its domain; the result is null"),
        ("hour(a)", 1, "call func hour error: null where a time is wanted; the result is null"),
        // S22: plainly null.
        ("mod(a, 0)", 0, ""),
        ("abs(a)", 0, ""),
    ] {
        let mut cx = cx();
        parse(text, &batch.schema).eval(&batch, &Selection::all(4), &mut cx);
        assert_eq!(cx.metrics.exceptions.load(Relaxed), n_counted, "{text}");
        assert_eq!(&*cx.metrics.rare().last_exception, last, "{text}");
    }
}
