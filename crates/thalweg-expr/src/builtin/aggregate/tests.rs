//! Aggregates in one pass, split and merged, saved and loaded.

use proptest::prelude::*;
use thalweg_core::state::{StateReader, StateWriter};
use thalweg_core::{Cell, Column, ColumnRef, Selection, Value};

use super::*;
use crate::aggregate::{Accumulator, GroupId};
use crate::registry::builtin;
use crate::testing::{cx, show};

fn new(name: &str) -> Box<dyn Accumulator> {
    match builtin(name).map(|function| function.kind) {
        Some(FunctionKind::Aggregate(new)) => new(),
        _ => panic!("{name} is no aggregate"),
    }
}

fn finish(accumulator: &mut dyn Accumulator, groups: u32) -> Vec<String> {
    let mut out = Column::new();
    let groups: Vec<GroupId> = (0..groups).collect();
    accumulator.finish(&groups, &mut out, &mut cx());
    (0..out.len()).map(|row| show(out.cell(row))).collect()
}

fn over(name: &str, values: &[Value]) -> String {
    let column = Column::from_values(values);
    let mut accumulator = new(name);
    let rows = Selection::all(values.len());
    accumulator.update(&vec![0; values.len()], &[ColumnRef::borrowed(&column)], &rows, &mut cx());
    finish(&mut *accumulator, 1).remove(0)
}

#[test]
fn kinds_that_do_not_go_together_are_errors_of_the_group() {
    let text = "ERR call func sum error: requires float64 but found string(x)";
    assert_eq!(over("sum", &[Value::Float(1.0), Value::text("x")]), text);
    for (name, values) in [
        ("max", vec![Value::Bool(true)]),
        ("max", vec![Value::Int(1), Value::text("x")]),
        ("min", vec![Value::text("x"), Value::Float(1.0)]),
        ("stddev", vec![Value::text("a")]),
        ("median", vec![Value::text("a")]),
        ("avg", vec![Value::text("a")]),
    ] {
        assert!(over(name, &values).starts_with("ERR call func"), "{name}");
    }
}

#[test]
fn groups_are_told_apart_and_nothing_gives_the_aggregate_of_nothing() {
    let column = Column::from_floats([1.0, 2.0, 4.0, 8.0]);
    let mut sum = new("sum");
    sum.update(&[0, 2, 0], &[ColumnRef::borrowed(&column)], &Selection::rows(vec![0, 1, 3]), &mut cx());
    assert_eq!(finish(&mut *sum, 4), ["9", "-", "2", "-"]);
    let mut other = new("sum");
    other.merge_some(&*sum, &[(2, 0), (0, 1), (7, 1)]);
    assert_eq!(finish(&mut *other, 2), ["2", "9"]);
    other.merge_within(&[(1, 0), (0, 2)]);
    assert_eq!(finish(&mut *other, 3), ["11", "9", "11"]);
    let mut count = new("count");
    count.update(&[1, 1], &[], &Selection::all(2), &mut cx());
    assert_eq!(finish(&mut *count, 3), ["0", "2", "0"]);
}

#[test]
fn nothing_merged_with_a_huge_value_is_that_value() {
    let column = Column::from_floats([1e300]);
    for (name, expected) in [("var", "0"), ("stddev", "0"), ("avg", "1e+300"), ("vars", "-")] {
        let (mut nothing, mut one) = (new(name), new(name));
        one.update(&[0], &[ColumnRef::borrowed(&column)], &Selection::all(1), &mut cx());
        nothing.merge(&*one, &[0], &mut cx());
        assert_eq!(finish(&mut *nothing, 1), [expected], "{name}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        12 => (-50i64..50).prop_map(Value::Int),
        12 => (-50i32..50).prop_map(|quarter| Value::Float(f64::from(quarter) / 4.0)),
        6 => Just(Value::Null),
        2 => "[xy]".prop_map(Value::text),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => Just(Value::Float(f64::NAN)),
    ]
}

fn close(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0),
        _ => a == b,
    }
}

proptest! {
    #[test]
    fn split_and_merged_or_saved_and_loaded_equals_one_pass(
        rows in prop::collection::vec((value(), 0u32..3), 0..30),
        cut in 0usize..30,
    ) {
        let cut = cut.min(rows.len());
        let values: Vec<Value> = rows.iter().map(|(value, _)| value.clone()).collect();
        let objects = Column::from_values(&values);
        let column = Column::from_values(&values);
        let flag = Column::from_bools([true]);
        let half = Column::from_floats([0.5]);
        let groups: Vec<GroupId> = rows.iter().map(|(_, group)| *group).collect();
        let first = Selection::rows((0..cut as u32).collect());
        let second = Selection::rows((cut as u32..rows.len() as u32).collect());
        for function in TABLE {
            let FunctionKind::Aggregate(new) = function.kind else { continue };
            let constant = |column| ColumnRef::Constant(std::borrow::Cow::Borrowed(column));
            let args = match function.name {
                "deduplicate" => vec![ColumnRef::borrowed(&objects), ColumnRef::borrowed(&column), constant(&flag)],
                "last_value" => vec![ColumnRef::borrowed(&column), constant(&flag)],
                "percentile_cont" | "percentile_disc" => vec![ColumnRef::borrowed(&column), constant(&half)],
                _ => vec![ColumnRef::borrowed(&column)],
            };
            let mut whole = new();
            whole.update(&groups, &args, &Selection::all(rows.len()), &mut cx());
            let expected = finish(&mut *whole, 3);

            let (mut left, mut right) = (new(), new());
            left.update(&groups[..cut], &args, &first, &mut cx());
            right.update(&groups[cut..], &args, &second, &mut cx());
            left.merge(&*right, &[0, 1, 2], &mut cx());
            for (a, b) in expected.iter().zip(finish(&mut *left, 3)) {
                prop_assert!(close(a, &b), "{} merged: {a} {b}", function.name);
            }

            let mut before = new();
            before.update(&groups[..cut], &args, &first, &mut cx());
            let mut writer = StateWriter::new();
            before.save(&mut writer);
            let bytes = writer.finish();
            let mut after = new();
            after.load(&mut StateReader::new(&bytes)).expect("what was saved is read");
            after.update(&groups[cut..], &args, &second, &mut cx());
            prop_assert_eq!(&expected, &finish(&mut *after, 3), "{} restored", function.name);
            for end in 0..bytes.len() {
                prop_assert!(new().load(&mut StateReader::new(&bytes[..end])).is_err());
            }
        }
    }

    #[test]
    fn uniform_columns_and_mixed_ones_fold_alike(values in prop::collection::vec(-1e6f64..1e6, 1..20)) {
        let uniform = Column::from_floats(values.iter().copied());
        // A string that is not selected makes the column mixed.
        let mut mixed = Column::from_floats(values.iter().copied());
        mixed.push_str("x");
        for name in ["sum", "avg", "max", "min", "stddev", "count"] {
            let mut results = Vec::new();
            for column in [&uniform, &mixed] {
                let rows = Selection::rows((0..values.len() as u32).collect());
                let mut accumulator = new(name);
                accumulator.update(&vec![0; values.len()], &[ColumnRef::borrowed(column)], &rows, &mut cx());
                results.push(finish(&mut *accumulator, 1));
            }
            prop_assert_eq!(&results[0], &results[1]);
        }
        prop_assert!(matches!(mixed.cell(values.len()), Cell::Str("x")));
    }
}
