//! Table: JSON text.

use thalweg_core::json::{Numbers, parse, write_value};
use thalweg_core::{RowError, Value};

use super::args::{cannot, fail};
use super::{ANY, TEXT};
use crate::expr::EvalCx;

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
