//! Functions and aggregates: values, errors, time-outs, death.

use std::time::Duration;

use thalweg_core::{Cell, Column, ColumnRef, Selection, Value};
use thalweg_expr::function::{ArgShape, CallCx, Frame};
use thalweg_expr::registry::RemoteFunctions;

use crate::subject::*;

#[test]
fn a_function_gets_values_and_its_caller_and_returns_any_json() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let name = bench.install(&Subject::echo());
        let echo = format!("{name}_echo");
        for value in [
            Value::Null,
            Value::Bool(true),
            Value::Float(0.5),
            Value::text("ü\"\n"),
            Value::Int(i64::MAX),
            Value::list(vec![Value::Float(1.0), Value::text("a")]),
        ] {
            assert_eq!(bench.call(&echo, std::slice::from_ref(&value)), Ok(value));
        }
        let Ok(Value::Map(who)) = bench.call(&format!("{name}_who"), &[Value::Float(2.0), Value::text("x")])
        else {
            panic!("no object");
        };
        let caller = Value::list(vec![
            Value::text("rule1"),
            Value::text("2_project"),
            Value::Float(0.0),
        ]);
        assert_eq!(who["caller"], caller);
        // Trap 12: a whole float is an int in Python.
        assert_eq!(
            who["args"],
            Value::list(vec![Value::text("2"), Value::text("'x'")])
        );
    });
}
