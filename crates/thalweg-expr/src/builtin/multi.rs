//! Table: several rows from one (F-1 to F-3). In the examples the argument and the result are lists.

use std::sync::Arc;

use thalweg_core::{RowError, Value};

use crate::function::{Arg, ArgKind, Doc, Family, Function, FunctionKind, Nulls};

/// The table.
pub(super) const TABLE: &[Function] = &[
    row(
        "unnest",
        &[Arg::new("list", ArgKind::Any)],
        unnest,
        "A row for each item; objects spread their members.",
        &[("unnest([1, {\"a\":2}])", "[1,{\"a\":2}]"), ("unnest([])", "[]")],
    ),
    row("extract", &[Arg::new("object", ArgKind::Any)], extract, "The members of an object as columns.", &[]),
];

const fn row(
    name: &'static str,
    args: &'static [Arg],
    call: fn(&Value) -> Result<Vec<Value>, RowError>,
    summary: &'static str,
    examples: &'static [(&'static str, &'static str)],
) -> Function {
    let doc = Doc { family: Family::Multi, summary, examples };
    Function { name, aliases: &[], args, kind: FunctionKind::Multi(call), nulls: Nulls::Own, doc }
}

/// S54: null, missing and the empty list give no rows.
fn unnest(value: &Value) -> Result<Vec<Value>, RowError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::List(items) => Ok(items.to_vec()),
        _ => Err(RowError::text("should be array")),
    }
}

fn extract(value: &Value) -> Result<Vec<Value>, RowError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Map(fields) => Ok(vec![Value::Map(Arc::clone(fields))]),
        _ => Err(RowError::text("should be object")),
    }
}
