use std::collections::HashSet;

use thalweg_core::{Batch, Column, ColumnRef, Selection, Value};

use super::TABLES;
use crate::expr::Expr;
use crate::function::{Function, FunctionKind, FunctionRef};
use crate::testing::{batch, cx, parse, run, show};

fn all() -> impl Iterator<Item = &'static Function> {
    TABLES.iter().copied().flatten()
}

#[test]
fn names_are_unique_without_case_and_everything_is_documented() {
    let mut names = HashSet::new();
    for function in all() {
        for name in function.aliases.iter().chain([&function.name]) {
            assert_eq!(**name, *name.to_lowercase());
            assert!(names.insert(*name), "{name} stands twice");
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
    for function in all() {
        for (text, expected) in function.doc.examples {
            let got = evaluate(function, text, &empty);
            let failed = *expected == "ERR" && got.starts_with("ERR ");
            assert!(failed || got == *expected, "{text}: expected {expected}, got {got}");
        }
    }
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
