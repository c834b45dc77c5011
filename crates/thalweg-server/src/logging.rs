//! Log lines: to standard error, to `log/stream.log`, or both; level and targets can be changed while the engine runs
//! (`rest-api.md` 15). The only place that sets up `tracing`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::home::Home;

/// What is logged, and where to.
#[derive(Clone)]
struct Wanted {
    level: String,
    /// Debug whatever the level.
    debug: bool,
    console: bool,
}

/// Changes logging.
pub(crate) struct Logging {
    wanted: Mutex<Wanted>,
    targets: Arc<Targets>,
    path: PathBuf,
    apply: Box<dyn Fn(EnvFilter) + Send + Sync>,
}

#[derive(Default)]
struct Targets {
    console: AtomicBool,
    file: Mutex<Option<File>>,
}

/// One line to all targets.
struct Line(Arc<Targets>);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.console.load(Ordering::Relaxed) {
            // A console that is gone does not keep lines from the file.
            let _ = io::stderr().write_all(line);
        }
        if let Some(file) = &mut *self.0.file.lock().unwrap_or_else(PoisonError::into_inner) {
            file.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts logging for the whole process. A second call changes nothing: engines side by side in one process share what
/// the first one has set up.
///
/// # Errors
/// The log file cannot be opened.
pub(crate) fn start(config: &Config, home: &Home) -> Result<Logging, String> {
    let targets = Arc::<Targets>::default();
    let wanted = Wanted {
        level: config.log_level.clone(),
        debug: config.log_level == "debug",
        console: config.console_log,
    };
    let lines = Arc::clone(&targets);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("off"))
        .with_target(false)
        .with_ansi(false)
        .with_writer(move || Line(Arc::clone(&lines)))
        .with_filter_reloading();
    let handle = builder.reload_handle();
    // Whoever was first owns the log of the process.
    let apply = Box::new(move |filter| drop(handle.reload(filter)));
    let _ = builder.try_init();
    let logging = Logging { wanted: Mutex::new(wanted), targets, path: home.join("log/stream.log"), apply };
    logging.to_file(config.file_log)?;
    Ok(logging)
}

impl Logging {
    /// Sets the level, by one of upstream's names.
    pub(crate) fn level(&self, level: &str) {
        self.change(|wanted| level.clone_into(&mut wanted.level));
    }

    /// Debug, or what the level says.
    pub(crate) fn debug(&self, debug: bool) {
        self.change(|wanted| wanted.debug = debug);
    }

    /// Whether lines go to standard error.
    pub(crate) fn to_console(&self, console: bool) {
        self.change(|wanted| wanted.console = console);
    }

    /// Whether lines go to the file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn to_file(&self, to_file: bool) -> Result<(), String> {
        let open = || {
            let file = OpenOptions::new().create(true).append(true).open(&self.path);
            file.map_err(|why| format!("cannot write {}: {why}", self.path.display()))
        };
        let file = to_file.then(open).transpose()?;
        *self.targets.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        self.change(|_| {});
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut wanted);
        self.targets.console.store(wanted.console, Ordering::Relaxed);
        let has_file = self.targets.file.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        (self.apply)(match (wanted.console || has_file, wanted.debug) {
            // Lines that nobody reads are not made.
            (false, _) => EnvFilter::new("off"),
            // Chatty libraries speak up only when something is wrong.
            (true, true) => EnvFilter::new(format!("warn,{}", ours("debug"))),
            (true, false) => EnvFilter::new(format!("warn,{}", ours(&wanted.level))),
        });
    }
}

/// Whether a level has this name.
pub(crate) fn is_level(name: &str) -> bool {
    let known = ["trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"];
    known.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn ours(level: &str) -> String {
    let level = match level.to_lowercase().as_str() {
        known @ ("trace" | "debug" | "info" | "warn" | "error") => known.to_owned(),
        "warning" => "warn".to_owned(),
        "fatal" | "panic" => "error".to_owned(),
        _ => "info".to_owned(),
    };
    [
        "core",
        "connectors",
        "engine",
        "expr",
        "plan",
        "plugin",
        "runtime",
        "script",
        "server",
        "service",
        "sp",
        "sql",
        "template",
    ]
    .map(|part| format!("thalweg_{part}={level}"))
    .join(",")
}
