//! What a plugin's process prints: into the log line by line, the last lines kept.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use crate::channel::Deadline;

const KEPT: usize = 200;
/// More lines than these are not logged but counted; the last lines are kept all the same.
const LOGGED_A_SECOND: u32 = 100;
/// Longer lines are cut into pieces of this size.
const LONGEST: u64 = 16 << 10;

/// The output of all lives of one plugin.
#[derive(Default)]
pub(crate) struct Output {
    lines: Mutex<Lines>,
    closed: Condvar,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<String>,
    n_open: usize,
    gate: Gate,
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

impl Output {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the lines of an earlier process.
    pub(crate) fn clear(&self) {
        self.lock().kept.clear();
    }

    /// Reads a pipe until its end, on a thread of its own.
    pub(crate) fn follow(
        self: &Arc<Self>,
        plugin: &Arc<str>,
        pipe: impl Read + Send + 'static,
        is_error: bool,
    ) {
        self.lock().n_open += 1;
        let (output, plugin) = (Arc::clone(self), Arc::clone(plugin));
        let read = move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while (&mut pipe).take(LONGEST).read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                output.note(&plugin, String::from_utf8_lossy(&line).trim_end(), is_error);
                line.clear();
            }
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

    fn note(&self, plugin: &str, line: &str, is_error: bool) {
        let mut lines = self.lock();
        if lines.kept.len() == KEPT {
            lines.kept.pop_front();
        }
        lines.kept.push_back(line.to_owned());
        let (n_suppressed, is_logged) = (lines.gate.turn(), lines.gate.admits());
        drop(lines);
        report(plugin, n_suppressed);
        match is_logged {
            true if is_error => warn!(plugin, "{line}"),
            true => info!(plugin, "{line}"),
            false => {}
        }
    }

    /// The last line that says something, once the pipes are closed (or have had a moment to be).
    pub(crate) fn last_words(&self) -> Option<String> {
        let lines = self.lock();
        let waited =
            self.closed.wait_timeout_while(lines, Duration::from_millis(200), |lines| lines.n_open > 0);
        let lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        lines.kept.iter().rev().find(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned())
    }

    /// The lines kept, oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lock().kept.iter().cloned().collect()
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
}
