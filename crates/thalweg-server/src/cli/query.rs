//! `thalweg query`: SELECTs that run until the next one, with their results on the screen. They are trials
//! (`rest-api.md` 6): nobody lists them, nothing is stored, and one that nobody listens to ends by itself.

mod line;

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::client::{Client, Failure, Target};
use super::shown::parsed;

/// Words and flags of `thalweg query`.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// One SELECT, whose results are printed until Ctrl-C. Without it: a shell, which takes a SELECT a line, also from
    /// a pipe.
    #[arg(value_name = "SELECT")]
    pub sql: Vec<String>,
    /// End after so many results.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// End after so many seconds.
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// The engine.
    #[command(flatten)]
    pub target: Target,
}

/// What a query brings.
enum Event {
    /// A result: a JSON list of rows, or the text of an error.
    Rows(String),
    /// The engine has ended it.
    End,
}

/// A query that runs; it ends when this is dropped.
struct Query<'a> {
    client: &'a Client,
    id: String,
}

impl Drop for Query<'_> {
    fn drop(&mut self) {
        // The engine ends what nobody listens to.
        let _ = self.client.delete(&format!("/ruletest/{}", self.id));
    }
}

/// Runs the shell, or one SELECT.
///
/// # Errors
/// The engine refuses the one SELECT, or there is none.
pub fn run(args: &QueryArgs) -> Result<String, Failure> {
    let client = args.target.client();
    let until = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let bounds = Bounds { left: args.limit, until };
    if !args.sql.is_empty() {
        let (events, found) = channel();
        let query = start(&client, &args.sql.join(" "), 1, events)?;
        bounds.show(&found);
        drop(query);
        return Ok(String::new());
    }
    // No engine is told before the first prompt.
    client.get("/ping")?;
    match std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        true => line::shell(&client),
        false => piped(&client, Style::Ours, bounds),
    }
    Ok(String::new())
}

/// The shell of upstream's client.
pub(super) fn run_as_upstream(client: &Client) -> Result<String, Failure> {
    piped(client, Style::Upstreams, Bounds { left: None, until: None });
    Ok(String::new())
}

/// How long results are shown.
struct Bounds {
    left: Option<u64>,
    until: Option<Instant>,
}

impl Bounds {
    /// Prints results until the bounds or the end.
    fn show(mut self, found: &Receiver<Event>) {
        while self.left != Some(0) {
            let event = match self.until {
                None => found.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => found.recv_timeout(until.saturating_duration_since(Instant::now())),
            };
            match event {
                Ok(Event::Rows(rows)) => print(&rows),
                Ok(Event::End) => return print(ENDED),
                Err(_) => return,
            }
            self.left = self.left.map(|left| left - 1);
        }
    }
}

/// What is said of a query that ends by itself (`cli.md` 3).
const ENDED: &str = "query rule is stopped: its time is over, or its engine has ended";

fn print(text: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Ours,
    Upstreams,
}

/// Lines of a pipe, or of a terminal without editing.
fn piped(client: &Client, style: Style, bounds: Bounds) {
    let mut running: Option<Query<'_>> = None;
    let mut printing: Option<std::thread::JoinHandle<()>> = None;
    let mut shown = None;
    let prompt = || {
        let _ = std::io::stdout().write_all(b"kuiper > ").and_then(|()| std::io::stdout().flush());
    };
    let mut number = 0;
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        number += 1;
        if style == Style::Upstreams {
            prompt();
        }
        match said(client, &line, style) {
            Said::Nothing => continue,
            Said::Quit => return,
            Said::Answer(text) => {
                print(&text);
                continue;
            }
            Said::Query(sql) => {
                // The new one replaces the old one.
                drop(running.take());
                printing.take().map(std::thread::JoinHandle::join);
                let (events, found) = channel();
                match start(client, &sql, number, events) {
                    Err(failure) => print(failure.text()),
                    Ok(query) => {
                        print("Query was submit successfully.");
                        running = Some(query);
                        if style == Style::Upstreams {
                            printing = Some(std::thread::spawn(move || forward(&found, print)));
                        } else {
                            shown = Some(found);
                        }
                    }
                }
            }
        }
    }
    // At the end of a pipe the last query goes on.
    if let (Style::Ours, Some(_), Some(found)) = (style, &running, shown) {
        bounds.show(&found);
    }
}

/// Prints all that comes.
fn forward(found: &Receiver<Event>, mut print: impl FnMut(&str)) {
    while let Ok(Event::Rows(rows)) = found.recv() {
        print(&rows);
    }
}

/// What a line asks for.
enum Said {
    Nothing,
    Quit,
    Query(String),
    /// Of the engine, which has run a statement.
    Answer(String),
}

fn said(client: &Client, line: &str, style: Style) -> Said {
    let line = line.trim().trim_end_matches(';').trim_end();
    let first = line.split_whitespace().next().unwrap_or_default().to_lowercase();
    match first.as_str() {
        "" => Said::Nothing,
        "quit" | "exit" if line.len() == 4 => Said::Quit,
        "show" | "describe" | "create" | "drop" if style == Style::Ours => {
            let done = client.post("/streams", &json!({ "sql": line }).to_string());
            Said::Answer(done.unwrap_or_else(|failure| failure.text().to_owned()))
        }
        _ => Said::Query(line.to_owned()),
    }
}

/// Starts a query, whose results are sent on.
fn start<'a>(
    client: &'a Client,
    sql: &str,
    number: u32,
    events: Sender<Event>,
) -> Result<Query<'a>, Failure> {
    let id = format!("thalweg-query-{}-{number}", std::process::id());
    let body = json!({"id": id, "sql": sql, "attended": true}).to_string();
    let prefix = format!("fail to run rule {id}: ");
    let made = client.post("/ruletest", &body).map_err(|failure| match failure {
        Failure::Refused(why) => Failure::Refused(why.strip_prefix(&prefix).unwrap_or(&why).to_owned()),
        other => other,
    })?;
    let query = Query { client, id };
    let port = parsed(&made)?["port"].as_u64().unwrap_or_default();
    // Listening comes first, so that nothing is missed.
    let results = client.events(port, &format!("/test/{}", query.id))?;
    client.post(&format!("/ruletest/{}/start", query.id), "")?;
    std::thread::spawn(move || listen(results, &events));
    Ok(query)
}

/// Reads server-sent events until their end.
fn listen(results: impl Read, events: &Sender<Event>) {
    let mut data: Vec<String> = Vec::new();
    for line in BufReader::new(results).lines() {
        let Ok(line) = line else { break };
        match line.strip_prefix("data:") {
            Some(text) => data.push(text.strip_prefix(' ').unwrap_or(text).to_owned()),
            None if line.is_empty() && !data.is_empty() => {
                let sent = events.send(Event::Rows(std::mem::take(&mut data).join("\n")));
                if sent.is_err() {
                    return;
                }
            }
            None => {}
        }
    }
    let _ = events.send(Event::End);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_to_their_end() {
        let (sender, found) = channel();
        listen(&b": hello\n\ndata: [{\"a\":1}]\n\ndata: two\ndata: lines\n\nid: 4\n\n"[..], &sender);
        drop(sender);
        let found: Vec<String> = found
            .iter()
            .map(|event| match event {
                Event::Rows(rows) => rows,
                Event::End => "end".to_owned(),
            })
            .collect();
        assert_eq!(found, ["[{\"a\":1}]", "two\nlines", "end"]);
    }
}
