//! Analytic functions row by row, and through their snapshots.

use thalweg_core::state::{StateReader, StateWriter};
use thalweg_core::{Column, ColumnRef, Selection, Value};

use super::*;
use crate::registry::builtin;
use crate::testing::cx;

fn new(name: &str) -> Box<dyn Analytic> {
    match builtin(name).map(|function| function.kind) {
        Some(FunctionKind::Analytic(new)) => new(),
        _ => panic!("{name} is not analytic"),
    }
}

#[test]
fn when_false_leaves_the_state_and_answers_as_a5_says() {
    let one = [Value::Float(1.0)];
    for (name, answers) in [
        // lag(a) OVER (WHEN a > 1) over 1,2,1,3,0,5.
        ("lag", ["null", "null", "2", "2", "3", "3"]),
        ("latest", ["null", "2", "2", "3", "3", "5"]),
        ("acc_sum", ["0", "2", "2", "5", "5", "10"]),
        ("acc_count", ["0", "1", "1", "2", "2", "3"]),
    ] {
        let mut state = new(name);
        for (value, answer) in [1.0, 2.0, 1.0, 3.0, 0.0, 5.0].into_iter().zip(answers) {
            let got = state.next(&[Value::Float(value)], value > 1.0, &mut cx()).expect("numbers are fine");
            let shown = if got.is_null() {
                "null".to_owned()
            } else {
                crate::testing::show(thalweg_core::Cell::of(&got))
            };
            assert_eq!(shown, answer, "{name} of {value}");
        }
    }
    let flagged = [Value::Bool(true), one[0].clone()];
    assert_eq!(new("changed_col").next(&flagged, false, &mut cx()), Ok(Value::Null));
    assert_eq!(new("had_changed").next(&flagged, false, &mut cx()), Ok(Value::Bool(false)));
}

#[test]
fn arguments_that_do_not_fit_are_errors_and_leave_the_state() {
    let mut sum = new("acc_sum");
    assert!(sum.next(&[Value::text("x")], true, &mut cx()).is_err());
    assert!(sum.next(&[Value::Int(1), Value::Int(1), Value::Bool(false)], true, &mut cx()).is_err());
    assert_eq!(sum.next(&[Value::Int(2)], true, &mut cx()), Ok(Value::Float(2.0)));
    assert!(new("changed_col").next(&[Value::Int(1), Value::Int(1)], true, &mut cx()).is_err());
    assert!(new("lag").next(&[Value::Int(1), Value::Int(-1)], true, &mut cx()).is_err());
}

#[test]
fn every_state_survives_a_snapshot() {
    let rows: Vec<[Value; 3]> = [4.0, 12.0, 6.0, -2.0, 9.0, 20.0, 1.0]
        .map(|value: f64| [Value::Float(value), Value::Bool(value > 10.0), Value::Bool(value < 0.0)])
        .to_vec();
    for function in TABLE {
        let FunctionKind::Analytic(new) = function.kind else { continue };
        let args = |row: &[Value; 3]| match function.name {
            "lag" => vec![row[0].clone(), Value::Int(2)],
            "latest" => vec![row[0].clone()],
            "inc_last_value" => vec![row[0].clone(), Value::Bool(true)],
            name if name.starts_with("inc_") => vec![row[0].clone()],
            "changed_col" | "had_changed" => vec![Value::Bool(true), row[0].clone()],
            _ => row.to_vec(),
        };
        for cut in 0..rows.len() {
            let (mut whole, mut before) = (new(), new());
            for row in &rows[..cut] {
                assert_eq!(whole.next(&args(row), true, &mut cx()), before.next(&args(row), true, &mut cx()));
            }
            let mut writer = StateWriter::new();
            before.save(&mut writer);
            let bytes = writer.finish();
            let mut after = new();
            after.load(&mut StateReader::new(&bytes)).expect("what was saved is read");
            for row in &rows[cut..] {
                let expected = whole.next(&args(row), true, &mut cx());
                assert_eq!(expected, after.next(&args(row), true, &mut cx()), "{}", function.name);
            }
            assert!(new().load(&mut StateReader::new(&bytes[..bytes.len() - 1])).is_err());
        }
    }
}

#[test]
fn lag_of_many_rows_at_once_is_lag_of_each() {
    let mut x = Column::from_values([&Value::Int(1), &Value::Null, &Value::text("a"), &Value::Float(2.5)]);
    x.push_missing();
    x.push_json(br#"{"a":[1]}"#);
    x.push_bool(true);
    let values = |values: &[Value]| values.iter().map(|value| Column::from_values([value])).collect();
    let more: [Vec<Column>; 5] = [
        Vec::new(),
        values(&[Value::Int(2), Value::text("none")]),
        values(&[Value::Int(3), Value::Int(0), Value::Bool(false)]),
        values(&[Value::Int(0)]),
        values(&[Value::Int(5), Value::Null, Value::Bool(true)]),
    ];
    for more in &more {
        let mut args = vec![ColumnRef::borrowed(&x)];
        args.extend(more.iter().map(|one| ColumnRef::Constant(std::borrow::Cow::Borrowed(one))));
        let (mut each, mut all) = (new("lag"), new("lag"));
        for picked in [vec![0, 1, 2, 3, 4, 5, 6], vec![1, 3], vec![0, 2, 4, 5], vec![0, 1, 5, 6]] {
            let rows = Selection::rows(picked);
            let mut out = Column::new();
            let next = |row: usize| {
                let args: Vec<Value> = args.iter().map(|arg| arg.cell(row).to_value()).collect();
                each.next(&args, true, &mut cx()).expect("any value may be lagged")
            };
            let expected: Vec<Value> = rows.iter().map(next).collect();
            if !all.next_rows(&args, &rows, &mut out) {
                let mut next = |row: usize| {
                    let args: Vec<Value> = args.iter().map(|arg| arg.cell(row).to_value()).collect();
                    all.next(&args, true, &mut cx())
                };
                rows.iter().for_each(|row| drop(next(row)));
                continue;
            }
            let got: Vec<Value> = rows.iter().map(|row| out.value(row)).collect();
            assert_eq!(got, expected, "{more:?}");
        }
    }
}
