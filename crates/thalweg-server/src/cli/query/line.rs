//! The shell at a terminal: editing, history, completion of names. Results appear above the line that is being typed.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::channel;

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, ExternalPrinter, Helper};

use super::{ENDED, Event, Query, Said, Style, print, said, start};
use crate::cli::client::Client;
use crate::cli::shown::{array, parsed, text};

/// Lines of history that are kept.
const HISTORY: usize = 1_000;

/// Words that queries are made of.
const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "HAVING",
    "ORDER BY",
    "LIMIT",
    "AS",
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "LIKE",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "INNER JOIN",
    "LEFT JOIN",
    "ON",
    "FILTER",
    "TUMBLINGWINDOW(ss, 10)",
    "HOPPINGWINDOW(ss, 10, 5)",
    "SLIDINGWINDOW(ss, 10)",
    "SESSIONWINDOW(ss, 10, 5)",
    "COUNTWINDOW(10)",
    "SHOW STREAMS",
    "SHOW TABLES",
    "DESCRIBE STREAM",
    "CREATE STREAM",
    "DROP STREAM",
    "quit",
];

/// Runs it until `quit`, Ctrl-D or Ctrl-C.
pub(super) fn shell(client: &Client) {
    print("One SELECT a line runs until the next one; Tab completes names; quit leaves.");
    let config =
        Config::builder().max_history_size(HISTORY).map(|builder| builder.auto_add_history(true).build());
    let config = config.unwrap_or_default();
    let history = MemHistory::with_config(&config);
    let Ok(mut editor) = Editor::<Names, MemHistory>::with_history(config, history) else {
        return print("this terminal cannot be used; pipe the queries in instead");
    };
    editor.set_helper(Some(Names(names(client))));
    let mut kept = History::open();
    for line in &kept.lines {
        let _ = editor.add_history_entry(line);
    }
    let mut running: Option<Query<'_>> = None;
    for number in 1.. {
        let Ok(line) = editor.readline("thalweg > ") else { return };
        kept.add(&line);
        match said(client, &line, Style::Ours) {
            Said::Nothing => {}
            Said::Quit => return,
            Said::Answer(text) => {
                print(&text);
                editor.set_helper(Some(Names(names(client))));
            }
            Said::Query(sql) => {
                drop(running.take());
                let (events, found) = channel();
                match start(client, &sql, number, events) {
                    Err(failure) => print(failure.text()),
                    Ok(query) => {
                        print("Query was submit successfully.");
                        running = Some(query);
                        let mut printer = editor.create_external_printer().ok();
                        std::thread::spawn(move || {
                            found.iter().for_each(|event| show(printer.as_mut(), &event));
                        });
                    }
                }
            }
        }
    }
}

/// Shows something above the line.
fn show(printer: Option<&mut impl ExternalPrinter>, event: &Event) {
    let text = match event {
        Event::Rows(rows) => rows,
        Event::End => ENDED,
    };
    match printer {
        None => print(text),
        Some(printer) => drop(printer.print(format!("{text}\n"))),
    }
}

/// Streams, tables and functions of the engine, and the words of the language.
fn names(client: &Client) -> Vec<String> {
    let mut names: Vec<String> = WORDS.iter().map(|word| (*word).to_owned()).collect();
    for path in ["/streams", "/tables", "/plugins/udfs", "/udf/javascript"] {
        let listed = client.get(path).and_then(|body| parsed(&body)).unwrap_or_default();
        names.extend(array(listed).iter().map(text));
    }
    let functions = client.get("/metadata/functions").and_then(|body| parsed(&body)).unwrap_or_default();
    for group in array(functions) {
        names.extend(array(group["functions"].clone()).iter().map(|function| text(&function["name"])));
    }
    names.sort();
    names.dedup();
    names
}

/// What may be completed.
struct Names(Vec<String>);

impl Completer for Names {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(candidates(&self.0, line.get(..at).unwrap_or_default()))
    }
}

impl Hinter for Names {
    type Hint = String;
}
impl Highlighter for Names {}
impl Validator for Names {}
impl Helper for Names {}

/// Where the word before the cursor begins, and what it may become.
fn candidates(names: &[String], before: &str) -> (usize, Vec<String>) {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let begin = before
        .char_indices()
        .rev()
        .take_while(|(_, c)| is_part(*c))
        .last()
        .map_or(before.len(), |(at, _)| at);
    let word = before[begin..].to_lowercase();
    let fits = |name: &&String| !word.is_empty() && name.to_lowercase().starts_with(&word);
    (begin, names.iter().filter(fits).cloned().collect())
}

/// The lines typed before: `THALWEG_HISTORY`, else `.thalweg_history` in the user's folder.
struct History {
    file: Option<PathBuf>,
    lines: Vec<String>,
}

impl History {
    fn open() -> Self {
        let told = std::env::var_os("THALWEG_HISTORY").map(PathBuf::from);
        let file = told.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".thalweg_history")));
        let text = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() > HISTORY {
            lines.drain(..lines.len() - HISTORY);
            // The file grows by what is typed; it is cut when it is opened.
            let _ = file.as_ref().map(|file| std::fs::write(file, lines.join("\n") + "\n"));
        }
        Self { file, lines }
    }

    fn add(&mut self, line: &str) {
        let Some(file) = self.file.as_ref().filter(|_| !line.trim().is_empty()) else { return };
        // A history that cannot be kept is no reason to stop.
        if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(file) {
            let _ = writeln!(file, "{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_before_the_cursor_is_completed_in_any_case() {
        let names = ["demo", "demo_two", "SELECT"].map(str::to_owned);
        assert_eq!(candidates(&names, "sel"), (0, vec!["SELECT".to_owned()]));
        assert_eq!(
            candidates(&names, "SELECT a FROM de"),
            (14, vec!["demo".to_owned(), "demo_two".to_owned()])
        );
        assert_eq!(candidates(&names, "SELECT é, "), (11, Vec::<String>::new()));
    }
}
