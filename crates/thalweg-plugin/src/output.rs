//! What a plugin's process prints: into the log line by line, the last lines kept.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

const KEPT: usize = 200;
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
            output.lock().n_open -= 1;
            output.closed.notify_all();
        };
        if std::thread::Builder::new().name("plugin-output".to_owned()).spawn(read).is_err() {
            self.lock().n_open -= 1;
        }
    }

    fn note(&self, plugin: &str, line: &str, is_error: bool) {
        if is_error {
            warn!(plugin, "{line}");
        } else {
            info!(plugin, "{line}");
        }
        let mut lines = self.lock();
        if lines.kept.len() == KEPT {
            lines.kept.pop_front();
        }
        lines.kept.push_back(line.to_owned());
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
