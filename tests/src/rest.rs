//! Calls and their answers as text:
//!
//! ```text
//! # A stream is created once.
//! POST /streams {"sql":"CREATE STREAM demo () WITH (DATASOURCE=\"a\")"}
//!   201 Stream demo is created.
//! GET /streams/x
//!   400 error 3000 describe stream error: …
//! GET /streams/demo
//!   200 {"Name":"demo"}
//! ```
//!
//! An answer is a status and a body. A body that begins as JSON must be part of the answer: members that are not named
//! do not matter. `error` and a number: the error document with this message. `…` in a text stands for anything. The
//! calls of a file go to one instance, in order. `$FOLDER` is a folder with what the test has prepared.

use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use crate::compare::same;
use crate::http::{Answer, Api};

/// A call and what must come back.
#[derive(Debug)]
struct Call {
    line: usize,
    method: String,
    path: String,
    body: String,
    status: u16,
    expected: String,
}

/// Makes the calls of a file; a line for each wrong answer.
///
/// # Errors
/// The file cannot be read, or a line of it.
pub fn play(file: &Path, folder: &str, api: &Api) -> Result<Vec<String>, String> {
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|why| format!("{shown}: {why}"))?;
    let calls = parse(&text.replace("$FOLDER", folder)).map_err(|why| format!("{shown}:{why}"))?;
    let mut wrong = Vec::new();
    for call in calls {
        let answer = api.try_call(&call.method, &call.path, &call.body)?;
        if answer.status != call.status || !fits(&call.expected, &answer) {
            wrong.push(format!(
                "{shown}:{}: {} {}\n  wanted {} {}\n  got    {} {}",
                call.line,
                call.method,
                call.path,
                call.status,
                call.expected,
                answer.status,
                answer.body.trim_end()
            ));
        }
    }
    Ok(wrong)
}

fn parse(text: &str) -> Result<Vec<Call>, String> {
    let mut calls = Vec::new();
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let mut lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    while let Some((line, call)) = lines.next() {
        let mut words = call.splitn(3, ' ');
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().ok_or_else(|| format!("{line}: a call is a method and a path"))?.to_owned();
        let body = words.next().unwrap_or_default().to_owned();
        let (_, answer) = lines.next().ok_or_else(|| format!("{line}: the call has no answer"))?;
        let answer = answer
            .strip_prefix("  ")
            .ok_or_else(|| format!("{line}: an answer is indented by two blanks"))?;
        let (status, expected) = answer.split_once(' ').unwrap_or((answer, ""));
        let status = status.parse().map_err(|_| format!("{line}: the answer begins without a status"))?;
        calls.push(Call { line, method, path, body, status, expected: expected.to_owned() });
    }
    Ok(calls)
}

fn fits(expected: &str, answer: &Answer) -> bool {
    if let Some(error) = expected.strip_prefix("error ") {
        let document = answer.json();
        let (code, message) = error.split_once(' ').unwrap_or((error, "…"));
        let said = document["message"].as_str().unwrap_or_default();
        return document["error"].as_u64() == code.parse().ok() && fits_text(message, said);
    }
    match serde_json::from_str::<Json>(expected) {
        Ok(part) if expected.starts_with(['{', '[']) => is_part(&part, &answer.json()),
        _ => fits_text(expected, &answer.body),
    }
}

/// `…` stands for anything.
fn fits_text(expected: &str, text: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    if !expected.contains('…') {
        return rest.is_empty();
    }
    let parts: Vec<&str> = parts.collect();
    let (last, between) = parts.split_last().unwrap_or((&"", &[]));
    for part in between {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

fn is_part(part: &Json, whole: &Json) -> bool {
    match (part, whole) {
        (Json::Object(part), Json::Object(whole)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|other| is_part(value, other)))
        }
        (Json::Array(part), Json::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(part, whole)| is_part(part, whole))
        }
        (part, whole) => same(part, whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_with_gaps_and_documents_in_part() {
        assert!(fits_text("a … c", "a b c") && fits_text("a…", "abc") && fits_text("abc", "abc"));
        assert!(!fits_text("a…d", "abc") && !fits_text("ab", "abc") && !fits_text("…x…", "abc"));
        let part = |part: &str, whole: &str| {
            is_part(&serde_json::from_str(part).unwrap(), &serde_json::from_str(whole).unwrap())
        };
        assert!(part(r#"{"a":[{"b":1}]}"#, r#"{"a":[{"b":1.0,"c":2}],"d":3}"#));
        assert!(!part(r#"{"a":[]}"#, r#"{"a":[1]}"#));
    }

    #[test]
    fn a_file_is_calls_with_answers() {
        let calls = parse("# x\nGET /a\n  200 []\n\nPOST /b {\"c\": 1}\n  201 done\n").unwrap();
        assert_eq!((calls.len(), calls[1].body.as_str(), calls[1].status), (2, "{\"c\": 1}", 201));
        assert!(parse("GET /a\n200").is_err() && parse("GET /a").is_err() && parse("GET\n  200").is_err());
    }
}
