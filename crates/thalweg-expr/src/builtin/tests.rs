//! The whole table: names, documentation, and every example and recorded call.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

use thalweg_core::{Batch, Cell, Column, ColumnRef, RowError, Selection, Value};

use super::TABLES;
use crate::expr::Expr;
use crate::function::{Function, FunctionKind, FunctionRef};
use crate::manual::MANUAL;
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
fn the_manual_knows_every_function_and_shows_what_only_a_statement_can() {
    let of_table: HashSet<&str> = all().chain(super::CONSTRUCTS).map(|function| function.name).collect();
    let entries: HashSet<&str> = MANUAL.iter().map(|entry| entry.name).collect();
    assert_eq!(entries.len(), MANUAL.len(), "an entry stands twice");
    assert_eq!(of_table, entries);
    for function in all().chain(super::CONSTRUCTS) {
        let manual = function.manual();
        assert!(manual.remark.is_empty() || manual.remark.ends_with('.'), "{}", function.name);
        let shown = !manual.statements.is_empty();
        assert!(shown || !function.doc.examples.is_empty(), "{} has no example", function.name);
    }
}

#[test]
fn signatures_show_what_may_be_left_out_or_repeated() {
    for (name, expected) in [
        ("pi", "pi()"),
        ("lag", "lag(x[, n[, default[, ignore_null]]])"),
        ("coalesce", "coalesce(x, …)"),
        ("array_create", "array_create([x, …])"),
    ] {
        let function = crate::registry::builtin(name).expect("it is in the table");
        assert_eq!(function.signature(), expected);
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
            let lists: Vec<Vec<Value>> = args
                .iter()
                .map(|arg| match arg.as_literal() {
                    Some(Value::List(items)) => items.to_vec(),
                    _ => panic!("{arg:?} is no list of rows"),
                })
                .collect();
            match folded(called, &lists) {
                Ok(value) => show(thalweg_core::Cell::of(&value)),
                Err(error) => format!("ERR {error}"),
            }
        }
        _ => run(text, empty).remove(0),
    }
}

/// Each argument is the list of its values over successive rows; the result of an analytic function is such a list, too.
fn folded(function: &Function, lists: &[Vec<Value>]) -> Result<Value, RowError> {
    let n_rows = lists.first().map_or(0, Vec::len);
    match function.kind {
        FunctionKind::Aggregate(new) => {
            let columns: Vec<Column> = lists.iter().map(Column::from_values).collect();
            let args: Vec<ColumnRef<'_>> = columns.iter().map(ColumnRef::borrowed).collect();
            let mut accumulator = new();
            accumulator.update(&vec![0; n_rows], &args, &Selection::all(n_rows), &mut cx());
            let mut out = Column::new();
            accumulator.finish(&[0], &mut out, &mut cx());
            match out.cell(0) {
                Cell::Error(error) => Err(error.clone()),
                cell => Ok(cell.to_value()),
            }
        }
        FunctionKind::Analytic(new) => {
            let mut state = new();
            let rows = (0..n_rows).map(|row| {
                let args: Vec<Value> = lists.iter().map(|list| list[row].clone()).collect();
                state.next(&args, true, &mut cx())
            });
            rows.collect::<Result<_, _>>().map(Value::list)
        }
        FunctionKind::Multi(call) => call(&Value::list(lists[0].clone())).map(Value::list),
        _ => unreachable!(),
    }
}

/// Where `decisions.md` or class F of functions.md 21 differ from what upstream's run showed: the decision, and the
/// calls: function and arguments.
const DECIDED: &[(&str, &[&str])] = &[
    (
        "S1, S52",
        &["array_contains[[1,2],2.0]", "array_distinct[[1,1.0]]", "changed_col[[true,1],[true,1.0]]"],
    ),
    ("S4", &["concat[12345678.0]", "length[1000000.0]"]),
    ("S7", &["ln[0]", "ln[-1]", "log[0]", "log[-1]", "log[1,8]", "power[-8,0.5]", "sqrt[-1]", "cot[0]"]),
    ("S12", &["sum[[9223372036854775807,1]]"]),
    (
        "S13",
        &[
            "avg[[1.5,2]]",
            "sum[[1,2.7]]",
            "sum[[1.5,2]]",
            "max[[1,3.9,2]]",
            "max[[1.5,3]]",
            "min[[3,1.2]]",
            "median[[1,2.9,3]]",
            "array_max[[1,3.9]]",
            "array_max[[1.5,3]]",
        ],
    ),
    ("S14", &["median[[1,null]]", "median[[null,1]]"]),
    (
        "S15",
        &[
            "percentile_cont[[10,20,30,40],[0.5,0.5,0.5,0.5]]",
            "percentile_cont[[10,20,30,40],[0.75,0.75,0.75,0.75]]",
            "percentile_cont[[10,20,30,40],[0.9,0.9,0.9,0.9]]",
            "percentile_cont[[10,20,30,40],[0.1,0.1,0.1,0.1]]",
        ],
    ),
    ("S16", &["stddevs[[10]]", "vars[[10]]"]),
    ("S17", &["count[[]]"]),
    ("S21", &["trunc[2.567,1]", "trunc[3.145,2]", "trunc[-3.145,2]", "trunc[1.5,2.0]"]),
    ("S22", &["mod[7,0]", "mod[7,\"x\"]"]),
    ("S23", &["abs[-9007199254740993]"]),
    ("S25", &["indexof[\"héllo\",\"l\"]"]),
    ("S27", &["chr[65]", "chr[\"A\"]", "chr[8364]"]),
    ("S30", &["array_sort[[10,9,2,1]]", "array_sort[[10.5,9.5,-1.0]]"]),
    ("S45", &["date_calc[null,\"1h\"]", "date_diff[null,1]", "day_name[null]", "hour[null]"]),
    // What upstream's function hands to its engine, which refuses it.
    ("F-2", &["unnest[5]"]),
    ("S54", &["unnest[null]"]),
    // The same text in JSON; an instant of ours has no zone, so the text is the value.
    (
        "text",
        &[
            "convert_tz[1709212455678,\"Asia/Shanghai\"]",
            "convert_tz[\"2024-02-29 13:14:15\",\"America/New_York\"]",
            "convert_tz[\"2024-02-29 13:14:15\",\"\"]",
        ],
    ),
];

/// `docs/compat/functions.json`.
fn recorded() -> Vec<serde_json::Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compat/functions.json");
    serde_json::from_slice(&std::fs::read(path).expect("the file is there")).expect("it is a JSON list")
}

/// What `docs/compat/functions.json` recorded of upstream holds here, but for [`DECIDED`].
#[test]
fn recorded_calls_of_upstream_give_the_same_results() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for entry in &recorded() {
        let name = entry["name"].as_str().expect("a name");
        let found = crate::registry::builtin(name).or_else(|| crate::registry::shipped(name));
        let Some(function) = found else { continue };
        for example in entry["examples"].as_array().expect("examples") {
            let args: Vec<Value> =
                example["args"].as_array().expect("arguments").iter().map(tagged).collect();
            let got = match function.kind {
                FunctionKind::Row(call) => crate::eval::call_row(function.nulls, call, &args, &mut cx()),
                FunctionKind::Columns(call) => {
                    let columns: Vec<Column> = args.iter().map(|arg| Column::from_values([arg])).collect();
                    let args: Vec<ColumnRef<'_>> = columns.iter().map(ColumnRef::borrowed).collect();
                    match call(&args, &Selection::all(1), 1, &mut cx()).cell(0) {
                        Cell::Error(error) => Err(error.clone()),
                        cell => Ok(cell.to_value()),
                    }
                }
                FunctionKind::Analytic(_) => folded(function, &by_argument(&args)),
                FunctionKind::Aggregate(_) => {
                    let lists = args.iter().map(items).collect::<Vec<_>>();
                    folded(function, &lists)
                }
                FunctionKind::Multi(call) => call(&args[0]).map(Value::list),
                // Statements: `tests/suite/reference.rs`.
                FunctionKind::Planned => continue,
            };
            checked += 1;
            let expected = &example["result"];
            let same = match &got {
                Err(_) => expected["$error"] == true,
                Ok(value) => expected["$error"] != true && alike(value, &tagged(expected)),
            };
            let shown = format!("{name}{}", example["args"]);
            let decided = DECIDED.iter().any(|(_, calls)| calls.contains(&shown.as_str()));
            match (same, decided) {
                (false, false) => wrong.push(format!("{shown}: upstream {expected}, here {got:?}")),
                (true, true) => wrong.push(format!("{shown} agrees; take it off the list")),
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{checked} checked\n{}", wrong.join("\n"));
}

fn items(value: &Value) -> Vec<Value> {
    match value {
        Value::List(items) => items.to_vec(),
        other => vec![other.clone()],
    }
}

/// From the arguments of each event to the values of each argument.
fn by_argument(events: &[Value]) -> Vec<Vec<Value>> {
    let rows: Vec<Vec<Value>> = events.iter().map(items).collect();
    let n_args = rows.iter().map(Vec::len).max().unwrap_or(0);
    (0..n_args)
        .map(|arg| rows.iter().map(|row| row.get(arg).cloned().unwrap_or_default()).collect())
        .collect()
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

/// Where the table's names and numbers of arguments are not upstream's: function, and the decision.
const OTHER_ARGUMENTS: &[(&str, &str)] = &[
    ("format", "S59: what is left over is a mistake"),
    ("bypass", "S8: without arguments a mistake, not a crash"),
];

#[test]
fn names_aliases_arguments_and_kinds_are_those_of_upstream() {
    const WITHOUT: &[&str] = &["labelImage", "tfLite", "onnx"];
    let mut wrong = Vec::new();
    let recorded = recorded();
    for entry in &recorded {
        let name = entry["name"].as_str().expect("a name");
        let Some(function) = all().find(|function| function.name == name) else {
            if !WITHOUT.contains(&name) {
                wrong.push(format!("{name} is not in the table"));
            }
            continue;
        };
        let texts = |json: &serde_json::Value| -> HashSet<String> {
            json.as_array()
                .expect("a list")
                .iter()
                .map(|text| text.as_str().expect("a text").to_owned())
                .collect()
        };
        let aliases: HashSet<String> = function.aliases.iter().map(|alias| (*alias).to_owned()).collect();
        if aliases != texts(&entry["aliases"]) {
            wrong.push(format!("{name}: aliases {aliases:?}, upstream {}", entry["aliases"]));
        }
        let ours = (function.min_args() as u64, function.max_args().map(|most| most as u64));
        let theirs = (entry["min_args"].as_u64().unwrap_or(0), entry["max_args"].as_u64());
        if (ours != theirs) != OTHER_ARGUMENTS.iter().any(|(other, _)| *other == name) {
            wrong.push(format!("{name}: arguments {ours:?}, upstream {theirs:?}"));
        }
        if function.is_aggregate() != (entry["aggregate"] == true) {
            wrong.push(format!("{name}: aggregate {}", entry["aggregate"]));
        }
    }
    let known: HashSet<&str> = recorded.iter().filter_map(|entry| entry["name"].as_str()).collect();
    // Upstream counts it among the constructs (functions.md 2).
    let known = |name: &str| known.contains(name) || name == "dedup_trigger";
    wrong.extend(all().filter(|function| !known(function.name)).map(|function| function.name.to_owned()));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
