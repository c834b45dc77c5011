//! CPU time that the scheduler has counted for threads, in nanoseconds.

use std::collections::HashMap;

/// Starts counting the threads of a process.
pub(crate) struct Meter {
    pid: u32,
    before: HashMap<String, u64>,
}

impl Meter {
    /// From now on.
    pub(crate) fn start(pid: u32) -> Self {
        Self { pid, before: threads(pid) }
    }

    /// Seconds of CPU of all its threads since then. A thread that has ended meanwhile is left out.
    pub(crate) fn seconds(&self) -> f64 {
        let used = threads(self.pid).into_iter();
        let nanos = used.map(|(thread, now)| now - self.before.get(&thread).copied().unwrap_or(0).min(now));
        nanos.sum::<u64>() as f64 / 1e9
    }

    /// The same by thread.
    pub(crate) fn by_thread(&self) -> HashMap<String, f64> {
        let used = threads(self.pid).into_iter();
        let since = |thread: &str, now: u64| now - self.before.get(thread).copied().unwrap_or(0).min(now);
        used.map(|(thread, now)| (thread.clone(), since(&thread, now) as f64 / 1e9)).collect()
    }

    /// The same by name of thread, the busiest first.
    pub(crate) fn by_name(&self) -> Vec<(String, f64)> {
        let mut names: HashMap<String, u64> = HashMap::new();
        for (thread, now) in threads(self.pid) {
            let name = std::fs::read_to_string(format!("/proc/{}/task/{thread}/comm", self.pid));
            let used = now - self.before.get(&thread).copied().unwrap_or(0).min(now);
            *names.entry(name.unwrap_or_default().trim().to_owned()).or_default() += used;
        }
        let mut names: Vec<(String, f64)> =
            names.into_iter().map(|(name, nanos)| (name, nanos as f64 / 1e9)).collect();
        names.sort_by(|one, other| other.1.total_cmp(&one.1));
        names
    }
}

/// Nanoseconds on a CPU by thread (`/proc/PID/task/TID/schedstat`, first field).
fn threads(pid: u32) -> HashMap<String, u64> {
    let folder = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let used = folder.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanos = text.split_whitespace().next()?.parse().ok()?;
        Some((thread.file_name().to_string_lossy().into_owned(), nanos))
    });
    used.collect()
}

/// Seconds that this thread has used.
pub(crate) fn own_seconds() -> f64 {
    // Giving up the CPU brings the scheduler's account up to date.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}
