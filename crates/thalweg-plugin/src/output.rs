//! What a plugin's processes print: into the log line by line, the last lines kept.
//!
//! A plugin may print anything, and as much as it likes: it is never held up, nothing of it grows here without bound,
//! and what is left out is counted.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tracing::{debug, error, info, warn};

use crate::channel::Deadline;

const KEPT: usize = 200;
/// More lines than these are not logged but counted; the last lines are kept all the same.
const LOGGED_A_SECOND: u32 = 100;
/// So much of a line is kept; the rest is counted.
const LONGEST: usize = 2 << 10;
const CHUNK: usize = 32 << 10;

/// The last lines of a plugin or distribution (`GET /plugins/portables/{name}/logs`, `/plugins/python/{dist}/logs`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginLog {
    /// Oldest first.
    pub lines: Vec<LogLine>,
    /// Lines that did not go into the engine's log because there were too many in their second.
    pub suppressed_lines: u64,
    /// Bytes behind the part of a line that is kept.
    pub cut_bytes: u64,
}

/// One line that a process printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// The process.
    pub pid: u32,
    /// `stdout` or `stderr`.
    pub stream: &'static str,
    /// `debug`, `info`, `warn` or `error`: what the line says of itself, else by its stream.
    pub level: &'static str,
    /// The line; what cannot be shown stands as U+FFFD.
    pub text: String,
}

/// The output of all lives of one plugin.
#[derive(Default)]
pub(crate) struct Output {
    lines: Mutex<Lines>,
    closed: Condvar,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<Kept>,
    /// The pipes that are open.
    n_open: usize,
    /// The present process.
    pid: u32,
    suppressed: u64,
    cut: u64,
    gate: Gate,
}

#[derive(Default)]
struct Kept {
    pid: u32,
    is_error: bool,
    bytes: Vec<u8>,
}

impl Kept {
    fn line(&self) -> LogLine {
        let text = shown(&self.bytes);
        let level = level(&text, self.is_error);
        LogLine { pid: self.pid, stream: if self.is_error { "stderr" } else { "stdout" }, level, text }
    }
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end();
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// The level that a line begins with (`WARNING name: …`) or has as a field (`{"level":"warn",…}`).
fn level(text: &str, is_error: bool) -> &'static str {
    let word = match text.starts_with('{') {
        true => text.split_once(r#""level""#).and_then(|(_, rest)| rest.split('"').nth(1)),
        false => text.split([' ', ':']).next(),
    };
    match word.unwrap_or_default() {
        "debug" | "DEBUG" => "debug",
        "info" | "INFO" => "info",
        "warn" | "WARN" | "WARNING" => "warn",
        "error" | "ERROR" | "critical" | "CRITICAL" => "error",
        _ if is_error => "warn",
        _ => "info",
    }
}

/// Keeps a plugin that prints without end from filling the log.
#[derive(Default)]
struct Gate {
    /// The end of the second that is being counted.
    until: Option<Deadline>,
    n_logged: u32,
    n_suppressed: u64,
}

impl Gate {
    /// Whether the next line may be logged.
    fn admits(&mut self) -> bool {
        let admits = self.n_logged < LOGGED_A_SECOND;
        if admits {
            self.n_logged += 1;
        } else {
            self.n_suppressed += 1;
        }
        admits
    }

    /// At the end of a second, begins the next and tells how many lines were not logged.
    fn turn(&mut self) -> u64 {
        if self.until.is_some_and(|until| !until.is_over()) {
            return 0;
        }
        self.until = Some(Deadline::after(Duration::from_secs(1)));
        self.n_logged = 0;
        std::mem::take(&mut self.n_suppressed)
    }
}

/// Cuts a stream of bytes into lines of which only the beginning is kept.
#[derive(Default)]
struct Splitter {
    line: Vec<u8>,
    /// The line was told already because it is too long; what follows of it is cut.
    is_told: bool,
}

impl Splitter {
    /// Tells each line that ends, or gets too long, in these bytes. Returns how many bytes were cut.
    fn take(&mut self, bytes: &[u8], mut tell: impl FnMut(&[u8])) -> u64 {
        let mut n_cut = 0;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let n_kept = if self.is_told { 0 } else { text.len().min(LONGEST - self.line.len()) };
            self.line.extend_from_slice(&text[..n_kept]);
            n_cut += (text.len() - n_kept) as u64;
            if !self.is_told && (ends || self.line.len() == LONGEST) {
                tell(&self.line);
                self.line.clear();
                self.is_told = true;
            }
            self.is_told &= !ends;
        }
        n_cut
    }

    /// What the stream ended with, without a line's end.
    fn rest(&mut self, tell: impl FnOnce(&[u8])) {
        if !self.line.is_empty() {
            tell(&self.line);
        }
    }
}

impl Lines {
    fn keep(&mut self, pid: u32, is_error: bool, line: &[u8]) {
        // The buffers go round: a plugin that prints a hundred million lines costs no memory.
        let oldest = if self.kept.len() == KEPT { self.kept.pop_front() } else { None };
        let mut kept = oldest.unwrap_or_default();
        kept.bytes.clear();
        kept.bytes.extend_from_slice(line);
        (kept.pid, kept.is_error) = (pid, is_error);
        self.kept.push_back(kept);
    }

    /// Keeps a line, and returns it if it is to be logged.
    fn note(&mut self, pid: u32, is_error: bool, line: &[u8], n_suppressed: &mut u64) -> Option<LogLine> {
        self.keep(pid, is_error, line);
        *n_suppressed += self.gate.turn();
        if !self.gate.admits() {
            self.suppressed += 1;
            return None;
        }
        self.kept.back().map(Kept::line)
    }
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is printed from now on comes from another process.
    pub(crate) fn begin(&self, pid: u32) {
        self.lock().pid = pid;
    }

    /// Reads a pipe until its end, on a thread of its own.
    pub(crate) fn follow(
        self: &Arc<Self>,
        plugin: &Arc<str>,
        pipe: impl Read + Send + 'static,
        is_error: bool,
    ) {
        let mut lines = self.lock();
        lines.n_open += 1;
        let pid = lines.pid;
        drop(lines);
        let (output, plugin) = (Arc::clone(self), Arc::clone(plugin));
        let read = move || {
            output.read(&plugin, pid, pipe, is_error);
            let mut lines = output.lock();
            lines.n_open -= 1;
            let n_suppressed = std::mem::take(&mut lines.gate.n_suppressed);
            drop(lines);
            report(&plugin, n_suppressed);
            output.closed.notify_all();
        };
        if std::thread::Builder::new().name("plugin-output".to_owned()).spawn(read).is_err() {
            self.lock().n_open -= 1;
        }
    }

    fn read(&self, plugin: &str, pid: u32, mut pipe: impl Read, is_error: bool) {
        let (mut splitter, mut chunk) = (Splitter::default(), vec![0; CHUNK]);
        loop {
            let (mut logged, mut n_suppressed) = (Vec::new(), 0);
            let read = match pipe.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other.unwrap_or(0),
            };
            let mut lines = self.lock();
            if read == 0 {
                splitter.rest(|line| logged.extend(lines.note(pid, is_error, line, &mut n_suppressed)));
            } else {
                let n_cut = splitter.take(&chunk[..read], |line| {
                    logged.extend(lines.note(pid, is_error, line, &mut n_suppressed));
                });
                lines.cut += n_cut;
            }
            drop(lines);
            report(plugin, n_suppressed);
            logged.iter().for_each(|line| write(plugin, line));
            if read == 0 {
                return;
            }
        }
    }

    /// The last line of the present process that says something, once the pipes are closed (or have had a moment to
    /// be).
    pub(crate) fn last_words(&self) -> Option<String> {
        let lines = self.lock();
        let waited =
            self.closed.wait_timeout_while(lines, Duration::from_millis(200), |lines| lines.n_open > 0);
        let lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        let own = lines.kept.iter().rev().filter(|line| line.pid == lines.pid);
        own.map(|line| shown(&line.bytes).trim().to_owned()).find(|line| !line.is_empty())
    }

    /// The texts of the lines kept, oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lock().kept.iter().map(|line| shown(&line.bytes)).collect()
    }

    /// The last lines, at most so many.
    pub(crate) fn tail(&self, n_lines: usize) -> PluginLog {
        let lines = self.lock();
        let skipped = lines.kept.len().saturating_sub(n_lines);
        PluginLog {
            lines: lines.kept.iter().skip(skipped).map(Kept::line).collect(),
            suppressed_lines: lines.suppressed,
            cut_bytes: lines.cut,
        }
    }
}

fn write(plugin: &str, line: &LogLine) {
    let text = &line.text;
    match line.level {
        "debug" => debug!(plugin, "{text}"),
        "warn" => warn!(plugin, "{text}"),
        "error" => error!(plugin, "{text}"),
        _ => info!(plugin, "{text}"),
    }
}

fn report(plugin: &str, n_suppressed: u64) {
    if n_suppressed > 0 {
        warn!(
            plugin,
            suppressed = n_suppressed,
            "plugin {plugin} prints more than {LOGGED_A_SECOND} lines a second"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_of_a_second_are_counted_and_told_once() {
        let mut gate = Gate::default();
        assert_eq!(gate.turn(), 0);
        gate.until = Some(Deadline::never());
        let n_logged = (0..250).filter(|_| gate.turn() == 0 && gate.admits()).count();
        assert_eq!(n_logged, 100);
        gate.until = Some(Deadline::after(Duration::ZERO));
        assert_eq!(gate.turn(), 150);
        assert!(gate.admits());
        assert_eq!(gate.turn(), 0);
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive_and_long_ones_are_cut() {
        let mut bytes = b"one\n\ntwo\r\n".to_vec();
        bytes.extend([b'x'; LONGEST + 700]);
        bytes.extend(b"\nthree");
        for size in [1, 3, 1_000, bytes.len()] {
            let (mut splitter, mut lines, mut n_cut) = (Splitter::default(), Vec::new(), 0);
            for part in bytes.chunks(size) {
                n_cut += splitter.take(part, |line| lines.push(shown(line)));
            }
            splitter.rest(|line| lines.push(shown(line)));
            let long = "x".repeat(LONGEST);
            assert_eq!(lines, ["one", "", "two", long.as_str(), "three"], "{size}");
            assert_eq!(n_cut, 700, "{size}");
        }
    }

    #[test]
    fn an_endless_line_without_an_end_is_seen_at_once_and_costs_nothing_more() {
        let output = Output::default();
        output.begin(7);
        output.read("p", 7, std::io::repeat(0xff).take(50 << 20), false);
        let log = output.tail(10);
        assert_eq!((log.lines.len(), log.cut_bytes), (1, (50 << 20) - LONGEST as u64));
        assert_eq!(log.lines[0].text, "\u{fffd}".repeat(LONGEST));
        assert_eq!(output.lock().kept.iter().map(|line| line.bytes.capacity()).sum::<usize>(), LONGEST);
    }

    #[test]
    fn a_flood_of_lines_leaves_the_last_ones_and_a_count() {
        let output = Output::default();
        output.begin(7);
        let text = (0..100_000).map(|i| format!("line {i}\n")).collect::<String>();
        output.read("p", 7, text.as_bytes(), true);
        let log = output.tail(KEPT);
        assert_eq!((log.lines.len(), log.lines[KEPT - 1].text.as_str()), (KEPT, "line 99999"));
        assert!(log.suppressed_lines >= 99_000, "{}", log.suppressed_lines);
        assert_eq!(output.tail(3).lines[0].text, "line 99997");
        assert_eq!(output.last_words().as_deref(), Some("line 99999"));
        // The next process has said nothing yet.
        output.begin(8);
        assert_eq!(output.last_words(), None);
    }

    #[test]
    fn a_line_says_its_own_level_or_has_that_of_its_stream() {
        for (text, is_error, expected) in [
            (r#"{"time":"t","level":"error","message":"\"level\""}"#, true, "error"),
            ("WARNING root: x", false, "warn"),
            ("DEBUG: x", true, "debug"),
            ("CRITICAL root: x", false, "error"),
            ("plain", false, "info"),
            ("plain", true, "warn"),
            ("", false, "info"),
            ("{", true, "warn"),
        ] {
            assert_eq!(level(text, is_error), expected, "{text}");
        }
        assert_eq!(shown(b"a\x1b[31mb\0\tc\r"), "a\u{fffd}[31mb\u{fffd}\tc");
    }
}
