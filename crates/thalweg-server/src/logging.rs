//! Log lines: to standard error, to `log/stream.log`, or both. The only place that sets up `tracing`.

use std::fs::OpenOptions;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriterExt};

use crate::config::Config;
use crate::home::Home;

/// Starts logging for the whole process. A second call changes nothing: engines side by side in one process share it.
///
/// # Errors
/// The log file cannot be opened.
pub(crate) fn start(config: &Config, home: &Home) -> Result<(), String> {
    // Chatty libraries speak up only when something is wrong.
    let filter = EnvFilter::new(format!("warn,{}", ours(&config.log_level)));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    let file = || {
        let path = home.join("log/stream.log");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.map(Mutex::new).map_err(|why| format!("cannot write {}: {why}", path.display()))
    };
    let writer = match (config.console_log, config.file_log) {
        (true, true) => BoxMakeWriter::new(std::io::stderr.and(file()?)),
        (true, false) => BoxMakeWriter::new(std::io::stderr),
        (false, true) => BoxMakeWriter::new(file()?),
        (false, false) => return Ok(()),
    };
    let _ = builder.with_ansi(false).with_writer(writer).try_init();
    Ok(())
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
