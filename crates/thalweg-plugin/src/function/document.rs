//! JSON batches (`portable-plugins.md` 12.2), for plugins that know no frames.

use std::fmt::Write as _;

use serde_json::Value as Json;
use thalweg_core::{Column, RowError};

use crate::frame::decode::Said;
use crate::frame::encode::Arg;
use crate::frame::rows::Part;
use crate::wire;

/// Writes the arguments of some calls; `accumulate` is what accumulators are to do, empty for whole groups. True with it when some argument was a number that JSON lacks.
pub(super) fn write(
    out: &mut String,
    (seq, context): (u64, u32),
    args: &[Arg<'_>],
    part: &Part<'_>,
    accumulate: &str,
) -> bool {
    out.clear();
    let (is_groups, mut lost) = (part.groups.is_some(), false);
    let name = if is_groups { "ExecGroups" } else { "ExecBatch" };
    // Writing to a string cannot fail.
    let _ = write!(out, r#"{{"func":"{name}","arg":{{"seq":{seq},"ctx":{context},"#);
    if !accumulate.is_empty() {
        let _ = write!(out, r#""acc":{accumulate},"#);
    }
    let mut list = |out: &mut String, arg: &Arg<'_>, places: std::ops::Range<usize>| {
        out.push('[');
        for (index, place) in places.enumerate() {
            if index > 0 {
                out.push(',');
            }
            let row = part.rows.at(place);
            lost |= arg.is_lost(row);
            wire::write_cell_as(out, arg.values.cell(row), arg.numbers);
        }
        out.push(']');
    };
    if is_groups {
        out.push_str(r#""groups":["#);
        for group in 0..part.n() {
            out.push_str(if group > 0 { ",[" } else { "[" });
            for (index, arg) in args.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                list(out, arg, part.places(group));
            }
            out.push(']');
        }
    } else {
        let _ = write!(out, r#""n":{},"cols":["#, part.n());
        for (index, arg) in args.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            list(out, arg, 0..part.n());
        }
    }
    out.push_str("]}}");
    lost
}

/// Reads an answer: exactly `n` cells are added to `out`, unless it is an error.
pub(super) fn answer(
    message: &[u8],
    seq: u64,
    n: usize,
    failed: &dyn Fn(&str) -> RowError,
    out: &mut Column,
) -> Result<Said, String> {
    let (mut document, had_nan) = wire::parse(message)?;
    if document.get("state").and_then(Json::as_bool) != Some(true) {
        return Err(refusal(message, &document));
    }
    if document.get("seq").and_then(Json::as_u64) != Some(seq) {
        return Err(format!("invalid answer {}: it answers another message", wire::excerpt(message)));
    }
    let micros = document.get("us").and_then(Json::as_u64).unwrap_or(0);
    let metrics = document.get_mut("metrics").map(Json::take);
    let errors = document.get_mut("errors").map(Json::take).unwrap_or_default();
    let Some(Json::Array(results)) = document.get_mut("result").map(Json::take) else {
        return Err(format!("invalid answer {}: no list of results", wire::excerpt(message)));
    };
    if results.len() != n {
        return Err(format!("invalid answer: {} results for {n}", results.len()));
    }
    let mut texts: Vec<Option<&str>> = vec![None; n];
    for error in errors.as_array().into_iter().flatten() {
        let place = error.get(0).and_then(Json::as_u64).and_then(|place| usize::try_from(place).ok());
        match (place.and_then(|place| texts.get_mut(place)), error.get(1).and_then(Json::as_str)) {
            (Some(text), Some(error)) => *text = Some(error),
            _ => return Err(format!("invalid answer {}: errors", wire::excerpt(message))),
        }
    }
    for (result, error) in results.iter().zip(texts) {
        match error {
            Some(text) => out.push_error(failed(text)),
            None => out.push_value(&wire::value(result)),
        }
    }
    Ok(Said { micros, n_lost: usize::from(had_nan), metrics })
}

/// What an answer says that refuses the whole message.
pub(super) fn refusal(message: &[u8], document: &Json) -> String {
    match (document.get("state").and_then(Json::as_bool), document.get("result")) {
        (Some(false), Some(Json::String(text))) => wire::last_line(text).to_owned(),
        (Some(false), Some(other)) => other.to_string(),
        _ => format!("invalid answer {}: no state", wire::excerpt(message)),
    }
}
