//! The reference of functions: its pages are current, and every statement in it and in `functions.json` is true.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use thalweg_tests::case::{Case, DEFAULT_START, Event, Expect};
use thalweg_tests::in_process::{AXES, is_right, run};
use thalweg_tests::{golden, reference};

fn top(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[test]
fn every_statement_of_the_manual_gives_what_is_printed() {
    let mut wrong = Vec::new();
    for function in reference::functions() {
        for statement in function.manual().statements {
            let stream = if statement.starts_with("stream") { "" } else { "stream demo ()\n" };
            let cases = golden::parse(function.name, &format!("{stream}{statement}"));
            for case in cases.expect("statements are written as golden cases") {
                let mut runs = AXES.iter().map(|axis| (axis, run(&case, *axis)));
                if let Some((axis, got)) = runs.find(|(_, got)| !is_right(&case, got)) {
                    wrong.push(format!("{axis:?}\n{statement}\n  got {got:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} are not true:\n{}", wrong.len(), wrong.join("\n"));
}

/// Where `decisions.md` says something else than upstream's run, by statement.
const DECIDED: &[(&str, &str)] = &[];

#[test]
fn statements_recorded_with_the_functions_give_the_same_rows() {
    let text = fs::read_to_string(top("docs/compat/functions.json")).expect("the file is there");
    let entries: Vec<Json> = serde_json::from_str(&text).expect("it is a JSON list");
    let mut wrong = Vec::new();
    let mut n_checked = 0;
    let list = |json: &Json| json.as_array().cloned().unwrap_or_default();
    for example in entries.iter().flat_map(|entry| list(&entry["sql_examples"])) {
        let select = example["sql"].as_str().expect("a statement");
        let (rows, is_window) = match example["window"].as_array() {
            Some(rows) => (rows.clone(), true),
            None => (list(&example["rows"]), false),
        };
        let window = if is_window { format!(" GROUP BY COUNTWINDOW({})", rows.len()) } else { String::new() };
        let output = list(&example["output"]);
        let messages = match is_window {
            true => vec![Json::from(output)],
            false => vec![Json::from(output.clone())],
        };
        let case = Case {
            id: select.to_owned(),
            streams: vec![("demo".to_owned(), DEMO.to_owned())],
            sql: format!("{select} FROM demo{window}"),
            events: rows.iter().map(event).collect(),
            start: DEFAULT_START,
            expect: Expect::Messages(messages),
            ..Case::default()
        };
        n_checked += 1;
        let got = flat(run(&case, AXES[0]));
        let decided = DECIDED.iter().any(|(statement, _)| *statement == select);
        if is_right(&case, &got) == decided {
            wrong.push(format!("{}: upstream {}, here {got:?}", case.sql, example["output"]));
        }
    }
    assert!(n_checked > 8 && wrong.is_empty(), "{n_checked} checked\n{}", wrong.join("\n"));
}

const DEMO: &str = r#"CREATE STREAM demo () WITH (DATASOURCE="demo", TYPE="mqtt", FORMAT="json")"#;

fn event(row: &Json) -> Event {
    Event { stream: "demo".to_owned(), payload: row.to_string().into_bytes(), at: None }
}

/// All rows as one message: the examples say nothing about messages.
fn flat(got: thalweg_tests::in_process::Got) -> thalweg_tests::in_process::Got {
    use thalweg_tests::in_process::Got;
    match got {
        Got::Sent(sent) => {
            let rows =
                sent.into_iter().flat_map(|(_, message)| message.as_array().cloned().unwrap_or_default());
            Got::Sent(vec![(DEFAULT_START, rows.collect())])
        }
        refused => refused,
    }
}

#[test]
fn the_pages_are_those_that_the_table_gives() {
    let folder = top("docs/reference/functions");
    let pages = reference::pages(&top("tests/conformance")).expect("the cases can be read");
    if std::env::var_os("THALWEG_WRITE_DOCS").is_some() {
        fs::create_dir_all(&folder).expect("the folder can be made");
        for (name, text) in &pages {
            fs::write(folder.join(name), text).expect("the page can be written");
        }
    }
    let mut stale: Vec<&str> = pages
        .iter()
        .filter(|(name, text)| fs::read_to_string(folder.join(name)).ok().as_ref() != Some(*text))
        .map(|(name, _)| name.as_str())
        .collect();
    let written = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let left_over: Vec<String> = written.filter(|name| !pages.contains_key(name)).collect();
    stale.extend(left_over.iter().map(String::as_str));
    assert!(
        stale.is_empty(),
        "docs/reference/functions is stale ({}); run: cargo xtask docs",
        stale.join(", ")
    );
}
