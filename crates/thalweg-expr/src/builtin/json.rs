//! Table: JSON text.

mod path;

use thalweg_core::json::{Numbers, parse, write_value};
use thalweg_core::{Cell, Column, ColumnRef, RowError, Selection, Value};

use self::path::Path;
use super::args::{cannot, fail};
use super::{ANY, TEXT};
use crate::eval::named;
use crate::expr::EvalCx;
use crate::function::{Arg, ArgKind, ColumnsFn, Doc, Family, Function, FunctionKind, Nulls};

type Answer = Result<Value, RowError>;

functions! { Json
    "to_json" (ANY) Null |args, cx| to_json(&args[0], cx),
    "The value as JSON text.", &[("to_json({\"b\":1,\"a\":[1,2.5,null,\"x\"]})", "\"{\\\"a\\\":[1,2.5,null,\\\"x\\\"],\\\"b\\\":1}\""), ("to_json([])", "-")];
    "parse_json" (TEXT) Null |args, _| parse_json(&args[0]),
    "The value of JSON text; its numbers are floats.", &[("parse_json(\"{\\\"a\\\":1}\")", "{\"a\":1}"), ("parse_json(\"3\")", "3"), ("parse_json(\"{bad\")", "ERR"), ("parse_json(\"null\")", "-")];
}

fn to_json(value: &Value, cx: &EvalCx<'_>) -> Answer {
    let mut out = Vec::new();
    write_value(&mut out, value, cx.zone).map_err(|error| RowError::Text(error.message))?;
    match String::from_utf8(out) {
        Ok(text) => Ok(Value::text(text)),
        Err(_) => fail("the value is not text"),
    }
}

fn parse_json(value: &Value) -> Answer {
    let text: &[u8] = match value {
        Value::Str(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
        other => return Err(cannot(other, "string")),
    };
    parse(text, Numbers::Float).map_err(|error| RowError::Text(error.message))
}

/// Paths, which are read once a batch.
pub(super) const PATHS: &[Function] = &[
    by_path(
        "json_path_query",
        json_path_query,
        "What a path finds; an error where it does not exist.",
        &[
            ("json_path_query({\"a\":{\"b\":[1,2,3]}}, \"$.a.b[1]\")", "2"),
            ("json_path_query(\"{\\\"a\\\":[1,2]}\", \"$.a\")", "[1,2]"),
            ("json_path_query({\"a\":1}, \"$.z\")", "ERR"),
            ("json_path_query(null, \"$.a\")", "ERR"),
        ],
    ),
    by_path(
        "json_path_query_first",
        json_path_query_first,
        "The first item of the array that a path finds.",
        &[
            ("json_path_query_first({\"a\":[7,8]}, \"$.a\")", "7"),
            ("json_path_query_first({\"a\":5}, \"$.a\")", "ERR"),
            ("json_path_query_first({\"a\":[]}, \"$.a\")", "ERR"),
        ],
    ),
    by_path(
        "json_path_exists",
        json_path_exists,
        "Whether a path finds more than null and empty arrays.",
        &[
            ("json_path_exists({\"a\":1}, \"$.a\")", "true"),
            ("json_path_exists({\"a\":[]}, \"$.a\")", "false"),
            ("json_path_exists({\"a\":null}, \"$.a\")", "false"),
            ("json_path_exists({\"a\":1}, \"$.[\")", "false"),
            ("json_path_exists(null, \"$.a\")", "false"),
        ],
    ),
];

const PATH: &[Arg] = &[Arg::new("x", ArgKind::Any), Arg::new("path", ArgKind::LiteralText)];

const fn by_path(
    name: &'static str,
    call: ColumnsFn,
    summary: &'static str,
    examples: &'static [(&'static str, &'static str)],
) -> Function {
    let doc = Doc { family: Family::Json, summary, examples };
    Function { name, aliases: &[], args: PATH, kind: FunctionKind::Columns(call), nulls: Nulls::Own, doc }
}

fn json_path_query(args: &[ColumnRef<'_>], rows: &Selection, n_rows: usize, _cx: &mut EvalCx<'_>) -> Column {
    each("json_path_query", args, rows, n_rows, |found| found)
}

fn json_path_query_first(
    args: &[ColumnRef<'_>],
    rows: &Selection,
    n_rows: usize,
    _cx: &mut EvalCx<'_>,
) -> Column {
    each("json_path_query_first", args, rows, n_rows, |found| match found? {
        Value::List(items) => items.first().cloned().ok_or_else(|| RowError::text("the path finds nothing")),
        other => Err(cannot(&other, "[]interface {}")),
    })
}

fn json_path_exists(args: &[ColumnRef<'_>], rows: &Selection, n_rows: usize, _cx: &mut EvalCx<'_>) -> Column {
    each("json_path_exists", args, rows, n_rows, |found| {
        Ok(Value::Bool(match found {
            Err(_) | Ok(Value::Null) => false,
            Ok(Value::List(items)) => !items.is_empty(),
            Ok(_) => true,
        }))
    })
}

/// Keeps the last path parsed.
fn each(
    name: &str,
    args: &[ColumnRef<'_>],
    rows: &Selection,
    n_rows: usize,
    answer: impl Fn(Result<Value, RowError>) -> Answer,
) -> Column {
    let [value, path] = args else { return Column::missing(n_rows) };
    let mut parsed: Option<(String, Result<Path, String>)> = None;
    let mut column = Column::new();
    for row in rows {
        let (cell, text) = match (value.cell(row), path.cell(row)) {
            (Cell::Error(error), _) | (_, Cell::Error(error)) => {
                column.push_error(error.clone());
                continue;
            }
            (cell, Cell::Str(text)) => (cell, text),
            (cell, _) => (cell, ""),
        };
        let (_, path) = match parsed.take().filter(|(known, _)| known == text) {
            Some(known) => parsed.insert(known),
            None => parsed.insert((text.to_owned(), Path::parse(text))),
        };
        let found = document(cell).and_then(|root| {
            let path = path.as_ref().map_err(RowError::text)?;
            path.find(&root).map_err(RowError::text)
        });
        match answer(found) {
            Ok(value) => column.push_value(&value),
            Err(error) => column.push_error(named(name, &error)),
        }
    }
    column.spread(rows, n_rows)
}

/// An object or array, or the text of one.
fn document(cell: Cell<'_>) -> Answer {
    match cell {
        Cell::Str(text) => {
            parse(text.as_bytes(), Numbers::Float).map_err(|error| RowError::Text(error.message))
        }
        Cell::Json(_) | Cell::Value(_) => Ok(cell.to_value()),
        other => fail(format!("invalid data {} for a json path", thalweg_core::cast::described(&other))),
    }
}
