//! Expressions over batches, by rule of chapter 4.

use thalweg_core::{Timestamp, WindowRange};

use super::*;
use crate::expr::Step;
use crate::testing::{batch, cx, parse, run, show};

/// The row of the golden vectors of sql.md chapter 4; `m` is missing.
fn golden() -> Batch {
    let mut arr = Column::new();
    arr.push_json(b"[1,2,3]");
    let mut o = Column::new();
    o.push_json(br#"{"p":{"q":7}}"#);
    batch(vec![
        ("a", Column::from_floats([3.0])),
        ("b", Column::from_floats([2.0])),
        ("s", Column::from_values([&Value::text("x")])),
        ("t", Column::from_bools([true])),
        ("n", Column::from_values([&Value::Null])),
        ("arr", arr),
        ("o", o),
        ("m", Column::missing(1)),
        ("i", Column::from_ints([7])),
        ("time", Column::from_values([&Value::Time(Timestamp(3_000))])),
    ])
}

fn check(cases: &[(&str, &str)]) {
    let batch = golden();
    for (text, expected) in cases {
        let got = run(text, &batch).remove(0);
        let matches = if *expected == "ERR" { got.starts_with("ERR ") } else { got == *expected };
        assert!(matches, "{text}: expected {expected}, got {got}");
    }
}

#[test]
fn golden_vectors_of_chapter_4_as_decided() {
    check(&[
        ("a/b", "1.5"),
        ("3/2", "1"),
        ("3/2.0", "1.5"),
        ("a%b", "1"),
        ("7%0", "ERR divided by zero"),
        ("a/0", "ERR divided by zero"),
        ("-7/2", "-3"),
        ("-7%3", "-1"),
        ("7%-3", "1"),
        ("7.5%2", "1.5"),
        ("n+1", "-"),
        ("m+1", "-"),
        ("n=n", "false"),
        ("n!=1", "false"),
        ("n>1", "false"),
        // O-5 as decided: null is false on either side.
        ("n or true", "true"),
        ("true or n", "true"),
        ("true and n", "false"),
        ("n and true", "false"),
        ("n or n", "false"),
        ("false and 1", "false"),
        ("true and 1", "ERR invalid operation bool(true) AND int64(1)"),
        ("1 and true", "ERR invalid operation int64(1) AND bool(true)"),
        ("s and true", "ERR invalid operation string(x) AND bool(true)"),
        ("s+s", "ERR invalid operation string(x) + string(x)"),
        ("s>1", "ERR"),
        ("1>s", "ERR"),
        ("a=s", "ERR invalid operation float64(3) = string(x)"),
        ("t=1", "ERR"),
        ("t>false", "ERR"),
        ("t & false", "false"),
        ("a & b", "ERR"),
        ("1.5 & 1", "ERR"),
        ("5 & 3", "1"),
        ("n & 1", "false"),
        ("n in (1)", "false"),
        ("n not in (1)", "false"),
        ("a in (1,n,3)", "true"),
        ("a not in (1,n)", "true"),
        ("a in (1,s)", "ERR"),
        ("a in (3,s)", "true"),
        ("a in arr", "true"),
        ("a in n", "false"),
        ("a not in n", "true"),
        // O-8 (F): upstream scans the text's bytes.
        ("a in s", "ERR"),
        ("a in o", "ERR"),
        ("a between 1 and 3", "true"),
        ("a between n and 3", "false"),
        ("a not between n and 3", "false"),
        ("a not between 4 and 5", "true"),
        ("case a when n then 1 else 2 end", "2"),
        ("case when n>1 then 1 else 2 end", "2"),
        ("case when a>9 then 1 end", "-"),
        ("arr[-1]", "3"),
        ("arr[3]", "ERR out of index: 3 of 3"),
        ("arr[-4]", "ERR out of index: -4 of 3"),
        ("arr[0:-1]", "[1,2]"),
        ("arr[1:]", "[2,3]"),
        ("arr[:5]", "ERR end value is out of index: 5 of 3"),
        ("n[0]", "-"),
        ("s[0]", "ERR"),
        ("o[0]", "ERR"),
        ("o.p.q", "7"),
        ("o->p->q", "7"),
        ("o->zz->q", "-"),
        ("arr->x", "ERR the result [1 2 3] is not a type of map[string]interface{}"),
        ("o=o", "ERR"),
        ("arr=arr", "ERR"),
        ("o+1", "ERR"),
        ("9223372036854775807+1", "-9223372036854775808"),
        ("9007199254740993+0.0", "9007199254740992"),
        ("1=1.0", "true"),
        ("0.1+0.2", "0.30000000000000004"),
        ("'a'<'b'", "true"),
    ]);
}

#[test]
fn operators_beyond_the_golden_vectors() {
    check(&[
        ("-a", "-3"),
        ("-n", "-"),
        ("-s", "ERR"),
        ("not t", "false"),
        ("not n", "-"),
        ("not a", "ERR"),
        ("s || 'y'", "\"xy\""),
        ("s || 1.0", "\"x1\""),
        ("n || 'y'", "-"),
        ("n is null", "true"),
        ("m is null", "true"),
        ("a is not null", "true"),
        ("i | 8", "15"),
        ("i ^ 2", "5"),
        ("i / 2", "3"),
        ("i * 1.5", "10.5"),
        ("-9223372036854775808 / -1", "-9223372036854775808"),
        // O-6: an instant on the left goes with instants, milliseconds and texts; on the right it goes with nothing.
        ("time = 3000", "true"),
        ("time > 2999.5", "true"),
        ("time = '1970-01-01 00:00:03'", "true"),
        ("3000 = time", "ERR"),
        ("time > s", "ERR"),
        // O-10
        ("s like 'x'", "true"),
        ("s like '_'", "true"),
        ("s not like 'y%'", "true"),
        ("n like 'x'", "false"),
        ("n not like 'x'", "false"),
        ("s like n", "false"),
        ("a like 'x'", "ERR LIKE operator left operand expects string, but found 3"),
        ("a between 1 and s", "ERR between operator cannot compare float64(3) and string(x)"),
        ("arr + 1", "ERR + is an invalid operation for []interface {}"),
        // O-11
        (
            "case a when s then 1 end",
            "ERR evaluate case expression error: invalid operation float64(3) = string(x)",
        ),
        ("case a when 3 then 'three' when s then 1 end", "\"three\""),
        ("case when a/0 > 1 then 1 end", "ERR evaluate case expression error: divided by zero"),
        ("case when t then a/0 end", "ERR divided by zero"),
        ("case when a then 1 else 2 end", "2"),
        // O-12, O-13
        ("arr[1.7]", "2"),
        ("arr[n]", "ERR"),
        ("arr[s]", "ERR"),
        ("arr[b]", "3"),
        ("arr[]", "[1,2,3]"),
        ("arr[:]", "[1,2,3]"),
        ("arr[2:-2]", "[]"),
        ("arr[1:1]", "[]"),
        ("arr[3:]", "ERR start value is out of index: 3 of 3"),
        ("arr[-3:2]", "[1,2]"),
        ("arr[1:][0]", "2"),
        // O-14: of scalars always null.
        ("s->x", "-"),
        ("a->x", "-"),
        ("n->x", "-"),
        ("o->p", "{\"q\":7}"),
        ("{\"a\":[{\"b\":1}]}.a[0].b", "1"),
        ("o->p->q + 1", "8"),
    ]);
}

#[test]
fn raw_json_paths_find_escaped_keys_and_the_last_of_equal_ones() {
    let mut o = Column::new();
    o.push_json(br#"{"k":1,"a\u0062":{"x":[true,"t\n",null]},"k":2}"#);
    let batch = batch(vec![("o", o)]);
    assert_eq!(run("o->k", &batch), ["2"]);
    assert_eq!(run("o->ab->x[1]", &batch), ["\"t\\n\""]);
    assert_eq!(run("o->ab->x[2]", &batch), ["-"]);
    assert_eq!(run("o->ab->x[0]", &batch), ["true"]);
}

#[test]
fn filters_keep_true_drop_null_and_refuse_other_kinds() {
    let mixed = [Value::Bool(true), Value::Null, Value::Bool(false), Value::Float(1.0), Value::Bool(true)];
    let batch = batch(vec![("c", Column::from_values(&mixed))]);
    let filtered = parse("c", &batch.schema).filter(&batch, &Selection::all(5), &mut cx());
    assert_eq!(filtered.passed, [0, 4]);
    let text = "invalid condition that returns non-bool value float64(1)";
    assert_eq!(filtered.failed, [(3, RowError::text(text))]);
    let only = parse("c", &batch.schema).filter(&batch, &Selection::rows(vec![2, 4]), &mut cx());
    assert_eq!((only.passed, only.failed.len()), (vec![4], 0));
}

#[test]
fn lazy_sides_and_branches_are_not_evaluated_for_rows_that_do_not_reach_them() {
    let batch = batch(vec![("a", Column::from_ints([0, 2, 0, 4]))]);
    assert_eq!(run("a != 0 and 8 / a > 2", &batch), ["false", "true", "false", "false"]);
    assert_eq!(run("case when a = 0 then -1 else 8 / a end", &batch), ["-1", "4", "-1", "2"]);
    assert_eq!(run("8 / a", &batch), ["ERR divided by zero", "4", "ERR divided by zero", "2"]);
}

#[test]
fn fast_and_plain_paths_agree_on_uniform_columns() {
    let floats = [0.0, -0.0, 1.5, f64::NAN, 3.0, -7.25, 1e300];
    let ints = [0, 1, -1, i64::MIN, i64::MAX, 7, 3];
    let columns = [
        Column::from_floats(floats),
        Column::from_floats(floats.map(|value| value - 1.0)),
        Column::from_ints(ints),
        Column::from_ints(ints.map(|value| value ^ 5)),
    ];
    let all = Selection::all(floats.len());
    let mut sides: Vec<ColumnRef<'_>> = columns.iter().map(ColumnRef::borrowed).collect();
    sides.extend([0.0, 1.5].map(|value| kernel::constant(Cell::Float(value))));
    sides.extend([0, 7].map(|value| kernel::constant(Cell::Int(value))));
    let arithmetic = "+-*/%&|^".chars();
    let ops = [BinaryOp::Eq, BinaryOp::NotEq, BinaryOp::Lt, BinaryOp::LtEq, BinaryOp::Gt, BinaryOp::GtEq];
    let named = arithmetic.map(|symbol| match symbol {
        '+' => BinaryOp::Plus,
        '-' => BinaryOp::Minus,
        '*' => BinaryOp::Multiply,
        '/' => BinaryOp::Divide,
        '%' => BinaryOp::Modulo,
        '&' => BinaryOp::BitAnd,
        '|' => BinaryOp::BitOr,
        _ => BinaryOp::BitXor,
    });
    for op in named.chain(ops) {
        for left in &sides {
            for right in &sides {
                let fast = binary(op, left, right, (&all, floats.len()), &cx());
                let plain = match ops.contains(&op) {
                    true => compare::plain(op, left, right, (&all, floats.len()), &cx()),
                    false => arith::plain(op, left, right, (&all, floats.len()), &cx()),
                };
                for row in 0..floats.len() {
                    assert_eq!(show(fast.cell(row)), show(plain.cell(row)), "{op:?} row {row}");
                }
            }
        }
    }
}

#[test]
fn text_columns_compare_alike_selected_or_not() {
    let texts = ["b", "a", "", "c"].map(Value::text);
    let batch = batch(vec![("s", Column::from_values(&texts))]);
    assert_eq!(run("s = 'b'", &batch), ["true", "false", "false", "false"]);
    assert_eq!(run("s >= 'b'", &batch), ["true", "false", "false", "true"]);
    assert_eq!(run("'b' >= s", &batch), ["true", "true", "true", "false"]);
    let expr = parse("s = 'c'", &batch.schema);
    let filtered = expr.filter(&batch, &Selection::rows(vec![1, 3]), &mut cx());
    assert_eq!(filtered.passed, [3]);
}

#[test]
fn objects_keep_earlier_slots_and_spread_the_star() {
    let mut star = Column::new();
    star.push_json(br#"{"a":9,"z":1}"#);
    let batch = batch(vec![("a", Column::from_ints([1])), ("*", star), ("m", Column::missing(1))]);
    let slots = [("a", 0), ("*", 1), ("m", 2)].map(|(name, slot)| (Arc::from(name), Slot(slot)));
    let expr = Expr::Object(slots.to_vec());
    let column = expr.eval(&batch, &Selection::all(1), &mut cx());
    assert_eq!(show(column.cell(0)), r#"{"a":1,"z":1}"#);
}

#[test]
fn surroundings_are_null_outside_windows_and_times_are_the_rows_own() {
    let mut batch = batch(vec![("a", Column::from_ints([1, 2]))]);
    let value = |context: Context, batch: &Batch| {
        let expr = Expr::Context(context);
        let column = expr.eval(batch, &Selection::all(2), &mut cx());
        show(column.cell(1))
    };
    assert_eq!(value(Context::WindowStart, &batch), "-");
    assert_eq!(value(Context::EventTime { of_window: false }, &batch), "10");
    batch.window = Some(WindowRange { start: Timestamp(1), end: Timestamp(2), trigger: Timestamp(3) });
    assert_eq!(value(Context::WindowEnd, &batch), "2");
    assert_eq!(value(Context::EventTime { of_window: true }, &batch), "3");
    assert_eq!(value(Context::RuleId, &batch), "\"rule1\"");
}

#[derive(Debug, Default)]
struct Doubler {
    /// The rows it was called for.
    rows: std::sync::Mutex<Vec<usize>>,
}

impl RemoteFunction for Doubler {
    fn name(&self) -> &str {
        "doubler"
    }
    fn host(&self) -> &str {
        "plug"
    }
    fn is_aggregate(&self) -> Result<bool, thalweg_core::Diagnostic> {
        Ok(false)
    }
    fn validate(&self, _args: &[crate::function::ArgShape]) -> Result<(), thalweg_core::Diagnostic> {
        Ok(())
    }
    fn call(&self, frame: &Frame<'_>, out: &mut Column, _cx: &CallCx<'_>) {
        for row in frame.rows {
            self.rows.lock().unwrap().push(row);
            match frame.args[0].cell(row) {
                Cell::Int(value) => out.push_int(value * 2),
                _ => out.push_error(RowError::text("no number")),
            }
        }
    }
}

#[test]
fn remote_functions_see_the_selected_sound_rows_once() {
    let batch = batch(vec![("a", Column::from_ints([1, 0, 3, 4]))]);
    let call = Expr::Call {
        function: FunctionRef::Remote(Arc::new(Doubler::default())),
        args: vec![parse("12 / a", &batch.schema)],
        call_id: 0,
    };
    let column = call.eval(&batch, &Selection::rows(vec![1, 2, 3]), &mut cx());
    let shown: Vec<_> = (1..4).map(|row| show(column.cell(row))).collect();
    assert_eq!(shown, ["ERR divided by zero", "8", "6"]);
    assert_eq!(call.hosts(), ["plug"]);
    assert!(!call.is_pure());
}

#[test]
fn what_several_places_read_is_computed_for_the_rows_that_need_it_and_once() {
    let doubler = Arc::new(Doubler::default());
    let function: Arc<dyn RemoteFunction> = Arc::<Doubler>::clone(&doubler);
    let mut batch = batch(vec![("a", Column::from_ints([1, 2, 3, 4, 5]))]);
    let args = vec![parse("a + 0", &batch.schema)];
    let expr = Expr::Call { function: FunctionRef::Remote(function), args, call_id: 0 };
    let once = Expr::Once(Box::new(Once { slot: Slot(1), expr }));
    batch.columns.push(Arc::new(once.append(&batch, &Selection::all(5), &mut cx())));
    let mut condition = parse("a > 3 or a = 2", &batch.schema);
    if let Expr::Binary(_, _, right) = &mut condition {
        **right = Expr::Binary(BinaryOp::Eq, Box::new(once.clone()), Box::new(Expr::literal(Value::Int(4))));
    }
    let passed = condition.filter(&batch, &Selection::all(5), &mut cx()).passed;
    assert_eq!(passed, [1, 3, 4]);
    assert_eq!(*doubler.rows.lock().unwrap(), [0, 1, 2]);
    let passed = Selection::rows(passed);
    let column = once.eval(&batch, &passed, &mut cx());
    let shown: Vec<_> = passed.iter().map(|row| show(column.cell(row))).collect();
    assert_eq!(shown, ["4", "8", "10"]);
    assert_eq!(*doubler.rows.lock().unwrap(), [0, 1, 2, 3, 4]);
    // Rows that have been moved have no memo.
    let moved =
        Batch { columns: batch.columns.iter().map(|c| Arc::new(Column::clone(c))).collect(), ..batch };
    assert_eq!(show(once.eval(&moved, &Selection::rows(vec![2]), &mut cx()).cell(2)), "6");
    assert_eq!(once.key(), once.as_written().key());
}

#[test]
fn keys_tell_expressions_apart_and_slots_can_be_moved() {
    let batch = golden();
    let key = |text: &str| parse(text, &batch.schema).key();
    assert_eq!(key("a + b * 2"), key("a + b*2"));
    let different = [
        "a + 1",
        "a + 1.0",
        "a - 1",
        "b + 1",
        "(a + b) + 1",
        "a + (b + 1)",
        "o->p",
        "o->q",
        "arr[1]",
        "arr[1:]",
    ];
    for (i, one) in different.iter().enumerate() {
        for other in &different[i + 1..] {
            assert_ne!(key(one), key(other), "{one} and {other}");
        }
    }
    let moved = parse("a + arr[i]", &batch.schema).map_slots(&|slot| Slot(slot.0 + 10));
    let mut slots = Vec::new();
    moved.slots(&mut |slot| slots.push(slot.0));
    assert_eq!(slots, [10, 15, 18]);
    assert!(parse("1 + 2", &batch.schema).is_constant() && !moved.is_constant());
    assert!(
        matches!(moved, Expr::Binary(_, _, right) if matches!(&*right, Expr::Path(_, steps) if matches!(steps[0], Step::Index(_))))
    );
}

#[test]
fn an_empty_batch_has_no_cells_to_look_at() {
    let empty = batch(vec![("a", Column::new()), ("s", Column::new())]);
    for text in [
        "s = abs(a)",
        "'x' = (a + abs(0.5))",
        "s like 'x'",
        "'x' like s",
        "s in (a, 'x')",
        "case when s = 'x' then a end",
    ] {
        assert_eq!(run(text, &empty), Vec::<String>::new(), "{text}");
    }
}
