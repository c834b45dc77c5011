//! When two results are the same: as `tests/conformance/run.py` compares.

use serde_json::Value as Json;

/// Deep equality in which 1 and 1.0 are one number and floats may differ by 1e-9 of their size. Error texts are
/// compared without the rendering of the expression, which is the engine's own.
pub fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a == b,
            _ => close(a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN)),
        },
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, value)| match b.get(key) {
                    Some(Json::String(other)) if key == "error" && a.len() == 1 => {
                        value.as_str().is_some_and(|value| error_text(value) == error_text(other))
                    }
                    Some(other) => same(value, other),
                    None => false,
                })
        }
        _ => a == b,
    }
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= (1e-9 * a.abs().max(b.abs())).max(1e-12)
}

fn error_text(text: &str) -> String {
    match (text.find("expr: "), text.find(" meet error, err:")) {
        (Some(start), Some(end)) if start < end => format!("{}expr: …{}", &text[..start], &text[end..]),
        _ => text.to_owned(),
    }
}

/// Whether the messages agree; with `unordered` the rows inside a message are a multiset.
pub fn agree(want: &[Json], got: &[Json], unordered: bool) -> bool {
    let sorted = |message: &Json| match message {
        Json::Array(rows) if unordered => {
            let mut rows = rows.clone();
            rows.sort_by_key(ToString::to_string);
            Json::Array(rows)
        }
        other => other.clone(),
    };
    want.len() == got.len() && want.iter().zip(got).all(|(want, got)| same(&sorted(want), &sorted(got)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_by_value_and_error_texts_without_the_expression() {
        assert!(same(&json!([{"a": 1}]), &json!([{"a": 1.0}])));
        assert!(!same(&json!({"a": 1}), &json!({"a": 2})));
        assert!(!same(&json!({"a": 1}), &json!({})));
        assert!(same(
            &json!({"error": "x expr: {a} meet error, err:y"}),
            &json!({"error": "x expr: a meet error, err:y"})
        ));
        assert!(agree(&[json!([1, 2])], &[json!([2, 1])], true));
        assert!(!agree(&[json!([1, 2])], &[json!([2, 1])], false));
    }
}
