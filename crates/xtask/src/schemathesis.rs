//! `cargo xtask schemathesis`: requests made up from `/openapi.json`, against an engine with and without authentication.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{cargo, root, setup};

const PACKAGES: &[&str] = &["schemathesis>=4.32,<5"];

const TOKEN: &str = "for-a-trial";

/// How long the engine may take to come up.
const LIMIT: Duration = Duration::from_secs(60);

/// What is asked of every run. Not tried: what stops the engine, and what has pip look for packages of made-up names. Not
/// checked: that every request that fits the document is accepted, because no schema says which SQL, file or id is right.
const OPTIONS: &[&str] = &[
    "--exclude-path=/stop",
    "--exclude-path-regex=^/plugins/python($|/.dist)",
    "--exclude-checks=positive_data_acceptance",
    "--continue-on-failure",
    "--request-timeout=30",
    "--max-examples=30",
    "--warnings=off",
    "--no-color",
];

/// Runs it in both modes; arguments go to schemathesis and win.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let folder = target.join("schemathesis");
    let python = setup::environment(&folder, PACKAGES)?;
    crate::run(&mut cargo(&["build", "-p", "thalweg-server"]))?;
    let binary = target.join("debug/thalweg");
    let mut failed = Vec::new();
    for (mode, token) in [("open", None), ("authenticated", Some(TOKEN))] {
        crate::say(&format!("\n== {mode}\n"))?;
        let mut engine = Engine::start(&binary, &folder.join(mode), token)?;
        let mut command = Command::new(&python);
        // Its state and reports stay in its folder.
        command.args(["-m", "schemathesis.cli", "run"]).arg(format!("{}/openapi.json", engine.url));
        command.args(OPTIONS).args(args);
        if token.is_some() {
            command.arg(format!("--header=Authorization: Bearer {TOKEN}"));
        }
        let status = command.current_dir(&folder).status();
        let status = status.map_err(|error| format!("cannot run schemathesis: {error}"))?;
        if !status.success() {
            failed.push(format!("{mode}: {status}"));
        }
        if engine.process.try_wait().map_err(|error| error.to_string())?.is_some() {
            failed.push(format!("{mode}: the engine has ended"));
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("schemathesis found something: {}", failed.join(", ")))
    }
}

/// An engine on a free port, ended with this value.
struct Engine {
    process: Child,
    url: String,
}

impl Engine {
    fn start(binary: &Path, home: &Path, token: Option<&str>) -> Result<Self, String> {
        let wrong = |error: std::io::Error| format!("{}: {error}", home.display());
        if home.exists() {
            fs::remove_dir_all(home).map_err(wrong)?;
        }
        fs::create_dir_all(home).map_err(wrong)?;
        let printed = home.join("printed.txt");
        let mut command = Command::new(binary);
        command.args(["serve", "--port", "0", "--data-port", "0", "--home"]).arg(home);
        command.env("KUIPER__BASIC__RESTIP", "127.0.0.1").stdin(Stdio::null());
        command.stdout(File::create(&printed).map_err(wrong)?).stderr(Stdio::null());
        if let Some(token) = token {
            command.env("THALWEG_TOKEN", token);
        }
        let process = command.spawn().map_err(|error| format!("{}: {error}", binary.display()))?;
        let mut engine = Self { process, url: String::new() };
        let end = Instant::now() + LIMIT;
        while engine.url.is_empty() {
            let text = fs::read_to_string(&printed).unwrap_or_default();
            let line = text.split("API   ").nth(1).and_then(|rest| rest.split_once('\n'));
            if let Some((url, _)) = line {
                engine.url = url.to_owned();
            } else if Instant::now() > end {
                return Err(format!("the engine does not come up: {text}"));
            } else {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(engine)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
