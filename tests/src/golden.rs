//! Hand-written cases as text (architecture, chapter 11):
//!
//! ```text
//! # A tumbling window closes on time even when no event follows.
//! stream demo (id STRING, temp FLOAT)
//! rule   SELECT id, avg(temp) AS t FROM demo GROUP BY id, TUMBLINGWINDOW(ss, 10)
//! at 1s  demo {"id":"a","temp":10}
//! at 10s out  [{"id":"a","t":10}]
//!
//! error  SELECT id
//!   | FRM demo
//!   Parse SQL … error: found "FRM", expected FROM.. (line 2, column 1; did you mean FROM?)
//! ```
//!
//! Behind `error` stands a rule's SQL, behind `ddlerror` a statement about streams, behind `jsonerror` a whole rule
//! document; lines with `|` continue it. The other lines are all that a user reads, with `…` for the SQL itself;
//! `THALWEG_BLESS=1` writes what is said now.
//!
//! Behind `graph` stands the `graph` of a rule document; `to NAME message` is what its sink of that name gets. Lines of
//! one moment stand in the order of these names.
//!
//! `stream`, `table`, `option name=value` and `action name=value` hold until the next blank line before a `#`, `rule`
//! or `error`. Times count from the start of the rule; a line without `at` happens at once. `runs to 30s` moves the
//! clock on after the last event. What the actions of `lateData` get is written as `late` behind all `out`.
//! A line of a table with `TYPE="memory", KIND="lookup"` puts a row into it.
//! `sink memory` sends to another type of sink, whose rows are printed as JSON; `instance name=value` sets
//! `ignoreCase`, `timezone` or a property that `props(name)` answers. A message that is no JSON is written `{"raw":"…"}`; one
//! with dynamic properties `{"props":{…},"message":…}`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value as Json};
use thalweg_core::time::parse_duration;

use crate::case::{Case, DEFAULT_START, Event, Expect, Form};

/// Golden cases start at a full minute, so that windows align with the times written.
const START: i64 = DEFAULT_START / 60_000 * 60_000;

/// Every case of the `.case` files below a folder.
///
/// # Errors
/// File and line of what cannot be read.
pub fn cases(folder: &Path) -> Result<Vec<Case>, String> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let area =
            file.strip_prefix(folder).unwrap_or(&file).with_extension("").to_string_lossy().into_owned();
        cases.extend(parse(&area, &text).map_err(|why| format!("{}: {why}", file.display()))?);
    }
    Ok(cases)
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "case") {
            files.push(path);
        }
    }
    Ok(())
}

/// The cases of one file.
///
/// # Errors
/// The line that cannot be read.
pub fn parse(area: &str, text: &str) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    for (first, block) in blocks(text) {
        let mut case = Case { area: area.to_owned(), start: START, ..Case::default() };
        case.id = format!("{area}:{first}");
        let mut messages = Vec::new();
        let mut timed = false;
        for (number, line) in block.lines().enumerate() {
            let fail = |why: &str| format!("line {}: {why}: {line}", first + number);
            read_line(&mut case, line, &mut messages, &mut timed).map_err(|why| fail(&why))?;
        }
        if case.sql.is_empty() {
            continue;
        }
        if !matches!(case.expect, Expect::Refused(_)) {
            case.expect = if timed {
                case.end.get_or_insert_with(|| messages.last().map_or(START, |(at, _)| *at));
                Expect::Timed(messages)
            } else {
                Expect::Messages(messages.into_iter().map(|(_, message)| message).collect())
            };
        }
        cases.push(case);
    }
    Ok(cases)
}

/// Writes into the files below a folder what is said now: texts by the ids of the cases.
///
/// # Errors
/// A file that cannot be read or written.
pub fn bless(folder: &Path, said: &BTreeMap<String, String>) -> Result<(), String> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    for file in files {
        let fail = |error: std::io::Error| format!("{}: {error}", file.display());
        let text = fs::read_to_string(&file).map_err(fail)?;
        let area = file.strip_prefix(folder).unwrap_or(&file).with_extension("");
        let blessed: Vec<String> = blocks(&text)
            .into_iter()
            .map(|(first, block)| match said.get(&format!("{}:{first}", area.to_string_lossy())) {
                Some(said) => {
                    let is_kept = |line: &&str| !line.starts_with("  ") || line.starts_with("  | ");
                    let kept: Vec<&str> = block.lines().filter(is_kept).collect();
                    format!("{}\n  {}", kept.join("\n"), said.replace('\n', "\n  "))
                }
                None => block,
            })
            .collect();
        fs::write(&file, blessed.join("\n\n") + "\n").map_err(fail)?;
    }
    Ok(())
}

/// Runs of lines between blank lines, each with the number of its first line.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            open = false;
        } else if open {
            if let Some((_, block)) = blocks.last_mut() {
                block.push('\n');
                block.push_str(line);
            }
        } else {
            blocks.push((index + 1, line.to_owned()));
            open = true;
        }
    }
    blocks
}

fn read_line(
    case: &mut Case,
    line: &str,
    messages: &mut Vec<(i64, Json)>,
    timed: &mut bool,
) -> Result<(), String> {
    if let Some(text) = line.strip_prefix("  ") {
        match &mut case.expect {
            Expect::Refused(expected) => {
                if let Some(more) = text.strip_prefix("| ") {
                    case.sql.push('\n');
                    case.sql.push_str(more);
                    return Ok(());
                }
                let lines = expected.get_or_insert_default();
                lines.push_str(if lines.is_empty() { "" } else { "\n" });
                lines.push_str(text);
            }
            Expect::Messages(_) | Expect::Timed(_) => {
                case.sql.push('\n');
                case.sql.push_str(text);
            }
        }
        return Ok(());
    }
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    match word {
        "#" => {}
        "stream" | "table" => case.streams.push(stream(word, rest)?),
        "rule" => case.sql = rest.to_owned(),
        "graph" => (case.sql, case.form) = (rest.to_owned(), Form::Graph),
        "error" | "ddlerror" | "jsonerror" => {
            case.sql = rest.to_owned();
            case.expect = Expect::Refused(None);
            case.form = match word {
                "error" => Form::Sql,
                "ddlerror" => Form::Statement,
                _ => Form::Document,
            };
        }
        "option" => set(&mut case.options, rest)?,
        "action" => set(&mut case.action, rest)?,
        "sink" => case.sink = rest.to_owned(),
        "instance" => set(&mut case.instance, rest)?,
        "runs" => case.end = Some(START + duration(rest.trim_start_matches("to").trim())?),
        "at" => {
            let (when, rest) = rest.split_once(' ').ok_or("a time and what happens")?;
            *timed = true;
            happens(case, rest.trim(), Some(START + duration(when)?), messages)?;
        }
        _ => happens(case, line, None, messages)?,
    }
    Ok(())
}

fn happens(
    case: &mut Case,
    line: &str,
    at: Option<i64>,
    messages: &mut Vec<(i64, Json)>,
) -> Result<(), String> {
    let (name, payload) = line.split_once(' ').ok_or("a stream, or out, and a payload")?;
    if name == "to" {
        let (sink, message) = payload.trim().split_once(' ').ok_or("a sink and a message")?;
        let message: Json = serde_json::from_str(message.trim()).map_err(|error| error.to_string())?;
        messages.push((at.unwrap_or(START), Json::Object(Map::from_iter([(sink.to_owned(), message)]))));
    } else if name == "out" || name == "late" {
        let message: Json = serde_json::from_str(payload.trim()).map_err(|error| error.to_string())?;
        let message = if name == "late" { serde_json::json!({ "late": message }) } else { message };
        messages.push((at.unwrap_or(START), message));
    } else {
        case.events.push(Event { stream: name.to_owned(), payload: payload.trim().as_bytes().to_vec(), at });
    }
    Ok(())
}

/// `name (columns) [WITH-options]`.
fn stream(kind: &str, text: &str) -> Result<(String, String), String> {
    let (name, rest) = text.split_once(' ').unwrap_or((text, "()"));
    let close = rest.rfind(')').ok_or("columns in parentheses")?;
    let (columns, options) = rest.split_at(close + 1);
    let extra = if options.trim().is_empty() { String::new() } else { format!(", {}", options.trim()) };
    let kind = kind.to_uppercase();
    let ddl = format!(
        "CREATE {kind} {name} {columns} WITH (DATASOURCE=\"{name}\", TYPE=\"mqtt\", FORMAT=\"json\"{extra})"
    );
    Ok((name.to_owned(), ddl))
}

fn set(into: &mut Map<String, Json>, text: &str) -> Result<(), String> {
    let (name, value) = text.split_once('=').ok_or("name=value")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Json::from(value));
    into.insert(name.trim().to_owned(), value);
    Ok(())
}

fn duration(text: &str) -> Result<i64, String> {
    parse_duration(text).ok_or_else(|| format!("no duration: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_becomes_a_case() {
        let text = "# why\nstream demo (a BIGINT) SHARED=\"true\"\noption sendError=true\nrule SELECT a\n  FROM demo\n\
                    at 1s demo {\"a\":1}\nat 2s out [{\"a\":1}]\n\nerror SELECT\n  found \"EOF\"\n";
        let cases = parse("x", text).expect("both are cases");
        assert_eq!(cases[0].sql, "SELECT a\nFROM demo");
        assert_eq!(cases[0].options["sendError"], true);
        assert!(cases[0].streams[0].1.ends_with("FORMAT=\"json\", SHARED=\"true\")"));
        assert!(matches!(&cases[0].expect, Expect::Timed(messages) if messages[0].0 == START + 2_000));
        assert!(matches!(&cases[1].expect, Expect::Refused(Some(text)) if text == "found \"EOF\""));
    }
}
