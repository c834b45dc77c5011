//! What single functions ask of literal arguments beyond their kind, in upstream's words (with its slips).

use super::ArgShape;
use thalweg_core::Value;

/// What is wrong with the arguments of a built-in that fit the table.
pub(super) fn mistake(name: &str, args: &[ArgShape]) -> Option<&'static str> {
    let literal = |index: usize| match args.get(index) {
        Some(ArgShape::Literal(value)) => Some(value),
        _ => None,
    };
    let int = |index: usize| match literal(index) {
        Some(Value::Int(number)) => Some(*number),
        _ => None,
    };
    match name {
        // A computed distance is fine, a column is not: it is fixed at the first event.
        "lag" if matches!(args, [_, ArgShape::Column { .. }, ..]) => Some("Expect int type for parameter 2"),
        "lag" if int(1).is_some_and(|n| n < 0) => Some("the index should not be a nagtive integer"),
        _ if name.starts_with("acc_") && args.len() == 2 => Some("Expect 1/3 arguments but found 2."),
        "substring" if int(1).is_some_and(|start| start < 0) => {
            Some("The start index should not be a nagtive integer.")
        }
        "substring" if int(1).zip(int(2)).is_some_and(|(start, end)| end < start) => {
            Some("The end index should be larger than start index.")
        }
        "split_value" if int(2).is_some_and(|index| index < 0) => {
            Some("The index should not be a nagtive integer.")
        }
        "cast" => cast(literal(1)?),
        "get_keyed_state" => keyed(literal(1)?),
        "encode" | "decode" => match literal(1)? {
            Value::Str(method) if &**method == "base64" => None,
            Value::Str(_) => Some("Only base64 is supported for the 2nd parameter."),
            _ => Some("Expect string type for parameter 2"),
        },
        "chr" if matches!(literal(0), Some(Value::Float(_))) => Some("Expect int type for parameter 1"),
        "object_construct" if args.len() % 2 == 1 => Some("the args must be key value pairs"),
        "object_construct" => (0..args.len()).step_by(2).find_map(|index| match literal(index)? {
            Value::Str(_) | Value::Null => None,
            _ => Some("Expect string type for parameter 1"),
        }),
        _ => None,
    }
}

fn keyed(target: &Value) -> Option<&'static str> {
    const KINDS: [&str; 5] = ["bigint", "float", "string", "boolean", "datetime"];
    match target {
        Value::Str(kind) if KINDS.contains(&&**kind) => None,
        Value::Str(_) => Some(
            "expect one of following value for the 2nd parameter: bigint, float, string, boolean, datetime",
        ),
        _ => None,
    }
}

fn cast(target: &Value) -> Option<&'static str> {
    const KINDS: [&str; 6] = ["bigint", "float", "string", "boolean", "datetime", "bytea"];
    match target {
        Value::Str(kind) if KINDS.contains(&&**kind) => None,
        Value::Str(_) => Some(
            "Expect one of following value for the 2nd parameter: bigint, float, string, boolean, datetime, bytea.",
        ),
        _ => Some("Expect string type for parameter 1"),
    }
}
