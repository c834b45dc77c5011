//! The process itself: how big its file is, how soon it takes a rule, what it holds when idle.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{ROUNDS, Sheet, median};
use crate::e2e::http::Api;
use crate::e2e::process::{Started, binary, free_port, rss_mb};

/// All three.
pub(crate) fn run(sheet: &mut Sheet) -> Result<(), String> {
    if sheet.wants("rss_idle_mb") {
        let mut own = Started::default();
        let (_, pid) = own.engine()?;
        std::thread::sleep(Duration::from_secs(2));
        sheet.figure("rss_idle_mb", rss_mb(pid).unwrap_or(f64::NAN), "2 s after the start, no rule");
    }
    if sheet.wants("cold_start_ms") {
        let starts = (0..ROUNDS).map(|_| cold_start()).collect::<Result<Vec<f64>, String>>()?;
        let slowest = starts.iter().copied().fold(0.0, f64::max);
        let note = format!("in an empty home; the slowest of {ROUNDS}: {slowest:.0} ms");
        sheet.figure("cold_start_ms", median(starts.into_iter()), &note);
    }
    if sheet.wants("binary_mb") {
        let binary = binary()?;
        let size = std::fs::metadata(&binary).map_err(|why| format!("{}: {why}", binary.display()))?.len();
        let is_dist = binary.components().any(|part| part.as_os_str() == "dist");
        let note = if is_dist { "profile dist, stripped" } else { "not of profile dist: not stripped" };
        sheet.figure("binary_mb", size as f64 / 1e6, note);
    }
    Ok(())
}

/// Milliseconds from the start of the process to the answer that a rule is accepted.
fn cold_start() -> Result<f64, String> {
    let home = tempfile::tempdir().map_err(|why| format!("no temporary folder: {why}"))?;
    let (binary, port) = (binary()?, free_port()?);
    let api = Api::new(&format!("http://127.0.0.1:{port}"));
    let mut command = Command::new(&binary);
    command.args(["serve", "--port", &port.to_string(), "--data-port", "0", "--home"]).arg(home.path());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let mut process = command.spawn().map_err(|why| format!("{}: {why}", binary.display()))?;
    let accepted = first_rule(&api, port, started);
    let taken = started.elapsed();
    let _ = process.kill();
    let _ = process.wait();
    accepted.map(|()| taken.as_secs_f64() * 1e3)
}

fn first_rule(api: &Api, port: u16, started: Instant) -> Result<(), String> {
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if started.elapsed() > Duration::from_secs(15) {
            return Err("the engine does not listen within 15 s".to_owned());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let stream = "CREATE STREAM first () WITH (DATASOURCE=\"first\", TYPE=\"memory\", FORMAT=\"json\")";
    api.expect("POST", "/streams", &json!({"sql": stream}).to_string())?;
    let rule = json!({"id": "first", "sql": "SELECT * FROM first WHERE a > 1", "actions": [{"nop": {}}]});
    api.expect("POST", "/rules", &rule.to_string()).map(drop)
}
