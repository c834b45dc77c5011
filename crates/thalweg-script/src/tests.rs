//! Scripts as rules meet them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Cell, Column, ColumnRef, Fields, Selection, Timestamp, Value};
use thalweg_expr::function::{CallCx, CallSite, Frame, RemoteFunction};
use thalweg_expr::registry::RemoteFunctions;

use crate::{Limits, Script, ScriptError, ScriptHost, Shelf};

mod hostile;

/// Keeps scripts in memory.
#[derive(Default, Clone)]
struct Drawer(Arc<Mutex<BTreeMap<String, Script>>>);

impl Shelf for Drawer {
    fn load(&self) -> Result<Vec<Script>, String> {
        Ok(self.0.lock().unwrap().values().cloned().collect())
    }

    fn put(&self, script: &Script) -> Result<(), String> {
        self.0.lock().unwrap().insert(script.id.clone(), script.clone());
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }
}

fn limits() -> Limits {
    Limits { memory: 16 << 20, ..Limits::default() }
}

fn host() -> Arc<ScriptHost> {
    ScriptHost::open(limits(), Box::new(Drawer::default())).unwrap()
}

fn script(id: &str, text: &str, is_agg: bool) -> Script {
    Script { id: id.to_owned(), description: String::new(), script: text.into(), is_agg }
}

/// The function `f` of a script, as a rule gets it.
fn function(text: &str) -> Arc<dyn RemoteFunction> {
    function_within(limits().time, text)
}

/// The same with another limit of time: a short one only for scripts that are to reach it.
fn function_within(time: Duration, text: &str) -> Arc<dyn RemoteFunction> {
    let host = ScriptHost::open(Limits { time, ..limits() }, Box::new(Drawer::default())).unwrap();
    host.create(script("f", text, false)).unwrap();
    host.resolve("f").unwrap().unwrap()
}

/// Calls it for rows of a batch; a failed row is its text.
fn call(function: &dyn RemoteFunction, columns: &[Column], n_rows: usize) -> Vec<Result<Value, String>> {
    call_as(function, columns, n_rows, None, ("r", "2_project", 0))
}

fn call_as(
    function: &dyn RemoteFunction,
    columns: &[Column],
    n_rows: usize,
    groups: Option<(&[u32], usize)>,
    (rule, node, call_id): (&str, &str, u32),
) -> Vec<Result<Value, String>> {
    let args: Vec<ColumnRef<'_>> = columns.iter().map(ColumnRef::borrowed).collect();
    let metrics = NodeMetrics::default();
    let cx = CallCx { rule, node, call_id, now: Timestamp(0), metrics: &metrics };
    let mut out = Column::new();
    function.call(&Frame { args: &args, rows: &Selection::all(n_rows), groups }, &mut out, &cx);
    let result = |row| match out.cell(row) {
        Cell::Error(error) => Err(error.to_string()),
        cell => Ok(cell.to_value()),
    };
    (0..out.len()).map(result).collect()
}

/// One row of one call.
fn once(text: &str, args: &[Value]) -> Result<Value, String> {
    let columns: Vec<Column> = args.iter().map(|arg| Column::from_values([arg])).collect();
    let mut results = call(&*function(text), &columns, 1);
    assert_eq!(results.len(), 1, "{text}");
    results.remove(0)
}

fn map(members: &[(&str, Value)]) -> Value {
    Value::map(members.iter().map(|(name, value)| (Arc::from(*name), value.clone())).collect::<Fields>())
}

fn list(items: &[Value]) -> Value {
    Value::list(items.to_vec())
}

/// What upstream's own tests expect of `area(x, y)`.
#[test]
fn numbers_are_converted_as_upstream_converts_them() {
    let area = "function f(x, y) { return x * y; }";
    for (args, expected) in [
        (vec![Value::Int(2), Value::Int(3)], Ok(Value::Int(6))),
        (vec![Value::Int(2), Value::Int(3), Value::Int(4)], Ok(Value::Int(6))),
        (vec![Value::Int(2)], Err("call func f error: result is NaN".to_owned())),
        (vec![Value::Float(2.0), Value::Float(3.0)], Ok(Value::Int(6))),
        (vec![Value::Float(2.5), Value::Float(3.5)], Ok(Value::Float(8.75))),
        (vec![Value::text("2"), Value::text("3")], Ok(Value::Int(6))),
        (vec![Value::text("2.0"), Value::Float(3.0)], Ok(Value::Int(6))),
        (
            vec![Value::text("myname"), Value::text("hello")],
            Err("call func f error: result is NaN".to_owned()),
        ),
    ] {
        assert_eq!(once(area, &args), expected, "{args:?}");
    }
    let divided = once("function f(x) { return x / 0; }", &[Value::Int(1)]);
    assert_eq!(divided, Err("call func f error: result is Inf".to_owned()));
}

#[test]
fn values_of_every_kind_go_in_and_come_back() {
    let echo = "function f(x) { return x; }";
    let deep = map(&[("a", list(&[Value::Int(1), Value::Null])), ("__proto__", Value::text("x"))]);
    for value in [
        Value::Null,
        Value::Bool(true),
        Value::Bool(false),
        Value::Int(-5),
        Value::Float(0.5),
        Value::text(""),
        Value::text("grün \u{0} 🌊"),
        Value::Bytes(bytes::Bytes::from_static(b"\x00\xff\x7f")),
        Value::Time(Timestamp(1_700_000_000_123)),
        list(&[]),
        map(&[]),
        deep,
    ] {
        assert_eq!(once(echo, std::slice::from_ref(&value)), Ok(value));
    }
    // Beyond 2^53 a number of JavaScript is no longer exact.
    assert_eq!(once(echo, &[Value::Int(i64::MAX)]), Ok(Value::Float(9_223_372_036_854_775_807.0)));
}

#[test]
fn scripts_see_values_as_javascript_has_them() {
    let kind = "function f(x) { return Array.isArray(x) ? 'array' : x === null ? 'null' : \
                x instanceof Date ? 'date' : typeof x; }";
    for (value, name) in [
        (Value::Null, "null"),
        (Value::Int(1), "number"),
        (Value::text("a"), "string"),
        (Value::Bool(true), "boolean"),
        (Value::Bytes(bytes::Bytes::from_static(b"a")), "array"),
        (Value::Time(Timestamp(0)), "date"),
        (list(&[]), "array"),
        (map(&[]), "object"),
    ] {
        assert_eq!(once(kind, &[value]), Ok(Value::text(name)));
    }
    let hex = "function f(b) { return b.map(x => x.toString(16)).join(''); }";
    let bytes = Value::Bytes(bytes::Bytes::from_static(b"\xfe\x10"));
    assert_eq!(once(hex, &[bytes]), Ok(Value::text("fe10")));
    let mut json = Column::new();
    json.push_json(br#"{"a":{"b":[1,2.5]},"__proto__":7}"#);
    let member = function("function f(m) { return m.a.b[1] + m.__proto__; }");
    assert_eq!(call(&*member, &[json], 1), [Ok(Value::Float(9.5))]);
    let mut missing = Column::new();
    missing.push_missing();
    let is_null = function("function f(x) { return x === null; }");
    assert_eq!(call(&*is_null, &[missing], 1), [Ok(Value::Bool(true))]);
}

#[test]
fn results_of_every_kind_are_read() {
    for (body, expected) in [
        ("undefined", Value::Null),
        ("({a: undefined, b: 1})", map(&[("a", Value::Null), ("b", Value::Int(1))])),
        ("[1,,3]", list(&[Value::Int(1), Value::Null, Value::Int(3)])),
        ("new Date(5)", Value::Time(Timestamp(5))),
        ("new Date(NaN)", Value::Null),
        ("10n ** 18n", Value::Int(1_000_000_000_000_000_000)),
        ("new Set([1, 2])", list(&[Value::Int(1), Value::Int(2)])),
        ("new Map([['a', 1]])", list(&[list(&[Value::text("a"), Value::Int(1)])])),
        ("new Uint8Array([1, 255])", Value::Bytes(bytes::Bytes::from_static(b"\x01\xff"))),
        ("new Float32Array([0.5, 2])", list(&[Value::Float(0.5), Value::Int(2)])),
        ("Symbol('s')", Value::text("s")),
        ("new Number(3)", Value::Int(3)),
        ("'\\ud800x'", Value::text("\u{fffd}x")),
        (
            "Object.create({inherited: 1}, {own: {value: 2, enumerable: true}})",
            map(&[("own", Value::Int(2))]),
        ),
    ] {
        assert_eq!(once(&format!("function f() {{ return {body}; }}"), &[]), Ok(expected), "{body}");
    }
    for (body, expected) in [
        ("(() => 1)", "the result is a function"),
        ("Promise.resolve(1)", "the result is a promise; a function must return its value at once"),
        ("2n ** 64n", "the result is a BigInt that does not fit into 64 bits"),
        ("new RangeError('too far')", "RangeError: too far (line 1, column 27)"),
    ] {
        let result = once(&format!("function f() {{ return {body}; }}"), &[]);
        assert_eq!(result, Err(format!("call func f error: {expected}")), "{body}");
    }
}

#[test]
fn a_failed_row_has_the_scripts_error_and_place_and_the_others_their_results() {
    let text = "let n = 0;\nfunction f(x) {\n  n++;\n  if (x === 2) return x.a.b;\n  if (x === 3) throw 'three';\n  return n;\n}";
    let results = call(&*function(text), &[Column::from_ints([1, 2, 3, 4])], 4);
    assert_eq!(results[0], Ok(Value::Int(1)));
    let error = results[1].as_ref().unwrap_err();
    assert!(
        error.starts_with("call func f error: TypeError: ") && error.contains("(line 4, column "),
        "{error}"
    );
    assert_eq!(results[2], Err("call func f error: three".to_owned()));
    assert_eq!(results[3], Ok(Value::Int(4)));
}

#[test]
fn a_script_is_checked_when_it_comes() {
    let host = host();
    for (text, expected) in [
        ("function area(x, y) {\n  return x * ;\n}", "SyntaxError: "),
        ("function area(x, y) {\n  return x * ;\n}", "(line 2, column 14); the line reads `return x * ;`"),
        ("import x from 'x';", "modules cannot be used"),
        ("const x = require('x');", "modules cannot be used"),
        ("throw new Error('no')", "failed to interprete script: Error: no (line 1, column 11)"),
        ("function aera() {}", "cannot find function \"area\" in script; it declares aera: "),
        ("", "cannot find function \"area\" in script; it declares no function"),
        ("var area = 5", "cannot find function \"area\" in script; area is there, but is no function: int"),
        ("for (;;) {}", "it was interrupted, because it took longer than 1s"),
    ] {
        let refused = host.create(script("area", text, false)).unwrap_err().to_string();
        assert!(refused.contains(expected), "{text}: {refused}");
    }
    assert!(host.list().is_empty());
    for text in
        ["function area() {}", "const area = () => 1;", "globalThis.area = function () {}", "class area {}"]
    {
        host.update(script("area", text, false)).unwrap();
    }
    assert_eq!(
        host.create(script("area", "function area() {}", false)),
        Err(ScriptError::Exists("area".into()))
    );
}

#[test]
fn scripts_are_kept_and_come_back() {
    let drawer = Drawer::default();
    let host = ScriptHost::open(limits(), Box::new(drawer.clone())).unwrap();
    for id in ["b", "a"] {
        host.create(script(id, &format!("function {id}() {{ return 1; }}"), false)).unwrap();
    }
    host.delete("b").unwrap();
    assert_eq!(host.delete("b"), Err(ScriptError::Missing("b".into())));
    let host = ScriptHost::open(limits(), Box::new(drawer)).unwrap();
    assert_eq!(host.list(), ["a"]);
    assert_eq!(host.describe("a").unwrap().id, "a");
    assert!(host.describe("b").is_none() && host.resolve("A").unwrap().is_none());
}

/// `functions.md` 19: an interpreter a call site.
#[test]
fn state_is_kept_between_batches_and_shared_by_no_other_call() {
    let host = host();
    host.create(script("f", "let n = 0; function f() { return ++n; }", false)).unwrap();
    let (one, other) = (host.resolve("f").unwrap().unwrap(), host.resolve("f").unwrap().unwrap());
    let count = |function: &dyn RemoteFunction, rows, site| {
        let results = call_as(function, &[], rows, None, site);
        results.into_iter().last().unwrap().unwrap()
    };
    assert_eq!(count(&*one, 1_500, ("r", "2_project", 0)), Value::Int(1_500));
    assert_eq!(count(&*one, 1, ("r", "2_project", 0)), Value::Int(1_501));
    assert_eq!(count(&*one, 1, ("r", "2_project", 1)), Value::Int(1));
    assert_eq!(count(&*one, 1, ("r", "3_filter", 0)), Value::Int(1));
    assert_eq!(count(&*other, 1, ("r2", "2_project", 0)), Value::Int(1));
    one.forget(&CallSite { rule: "r", node: "2_project", call_id: 0 });
    assert_eq!(count(&*one, 1, ("r", "2_project", 0)), Value::Int(1));
    assert_eq!(count(&*one, 1, ("r", "2_project", 1)), Value::Int(2));
}

#[test]
fn an_aggregate_gets_a_list_a_group_and_alone_lists_of_one() {
    let host = host();
    let text = "function areas(x, y) { if (x.length !== y.length) { throw 'length' } \
                let sum = 0; for (let i = 0; i < x.length; i++) { sum += x[i] * y[i]; } return sum; }";
    host.create(script("areas", text, true)).unwrap();
    let areas = host.resolve("areas").unwrap().unwrap();
    assert_eq!(areas.is_aggregate(), Ok(true));
    let columns = [Column::from_ints([2, 3, 5]), Column::from_floats([3.0, 4.0, 0.5])];
    let groups: (&[u32], usize) = (&[0, 0, 2], 3);
    let results = call_as(&*areas, &columns, 3, Some(groups), ("r", "n", 0));
    assert_eq!(results, [Ok(Value::Int(18)), Ok(Value::Int(0)), Ok(Value::Float(2.5))]);
    let alone = call_as(&*areas, &columns, 3, None, ("r", "n", 0));
    assert_eq!(alone, [Ok(Value::Int(6)), Ok(Value::Int(12)), Ok(Value::Float(2.5))]);
    let wrong = [Column::from_ints([2, 3, 1]), Column::from_values(&["ada", "4", "1"].map(Value::text))];
    let results = call_as(&*areas, &wrong, 3, Some((&[0, 0, 0], 1)), ("r", "n", 0));
    assert_eq!(results, [Err("call func areas error: result is NaN".to_owned())]);
}

#[test]
fn a_running_call_gets_the_new_script_and_keeps_the_old_one_when_it_is_deleted_or_of_another_kind() {
    let host = host();
    let update = |text: &str, is_agg| host.update(script("f", text, is_agg)).unwrap();
    update("let n = 0; function f(x) { return ++n; }", false);
    let f = host.resolve("f").unwrap().unwrap();
    let next = || call(&*f, &[Column::from_ints([1])], 1).remove(0);
    assert_eq!((next(), next()), (Ok(Value::Int(1)), Ok(Value::Int(2))));
    update("let n = 10; function f(x) { return ++n; }", false);
    assert_eq!((next(), next()), (Ok(Value::Int(11)), Ok(Value::Int(12))));
    host.delete("f").unwrap();
    assert!(host.resolve("f").unwrap().is_none());
    assert!(next().is_ok(), "what runs keeps a script that is deleted");
    update("function f(x) { return x.length; }", true);
    assert!(matches!(next(), Ok(Value::Int(_))));
    assert_eq!(host.resolve("f").unwrap().unwrap().is_aggregate(), Ok(true));
}

#[test]
fn batches_of_any_size_and_kind_give_the_same_results() {
    let f = function("function f(x, y) { return [x, String(y)]; }");
    let n_rows = 3_000;
    let mixed: Vec<Value> = (0..n_rows)
        .map(|row| match row % 4 {
            0 => Value::Int(row),
            1 => Value::Float(row as f64 + 0.5),
            2 => Value::text(format!("t{row}")),
            _ => Value::Null,
        })
        .collect();
    let columns = [Column::from_ints(0..n_rows), Column::from_values(&mixed)];
    let whole = call(&*f, &columns, n_rows as usize);
    assert_eq!(whole.len(), n_rows as usize);
    for (row, result) in whole.iter().enumerate() {
        let (x, y) = (Column::from_ints([row as i64]), Column::from_values([&mixed[row]]));
        assert_eq!(call(&*f, &[x, y], 1).first(), Some(result));
    }
}

#[test]
fn selected_rows_and_constants_are_what_is_called_for() {
    let f = function("function f(x, y) { return x + y; }");
    let x = Column::from_ints([1, 2, 3, 4]);
    let args =
        [ColumnRef::borrowed(&x), ColumnRef::Constant(std::borrow::Cow::Owned(Column::from_floats([0.5])))];
    let metrics = NodeMetrics::default();
    let cx = CallCx { rule: "r", node: "n", call_id: 0, now: Timestamp(0), metrics: &metrics };
    let mut out = Column::new();
    f.call(&Frame { args: &args, rows: &Selection::rows(vec![1, 3]), groups: None }, &mut out, &cx);
    assert_eq!(out.floats(), Some(&[2.5, 4.5][..]));
}

#[test]
fn a_function_moves_between_threads_with_its_state() {
    let f = function("let n = 0; function f() { return ++n; }");
    for expected in 1..=4 {
        let result = std::thread::scope(|scope| scope.spawn(|| call(&*f, &[], 1)).join().unwrap());
        assert_eq!(result, [Ok(Value::Int(expected))]);
    }
}
