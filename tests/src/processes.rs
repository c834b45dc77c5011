//! Real processes: mosquitto and `thalweg`, on ports of their own, ended when the test ends.
//!
//! What the machine lacks is said and the test skipped; with `THALWEG_REQUIRE_SERVERS=1`, as `cargo xtask test` sets it,
//! it fails instead.

use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::http::Api;
use crate::wait;

/// Says why a test is skipped.
///
/// # Panics
/// When nothing may be skipped.
pub fn skip(why: &str) {
    let must_run = std::env::var("THALWEG_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
    assert!(!must_run, "{why} (THALWEG_REQUIRE_SERVERS=1)");
    let _ = writeln!(std::io::stderr(), "skipped: {why}; `cargo xtask test` sets up what is needed");
}

/// A program of `PATH` or of the folders for servers.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let servers = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(servers).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The interpreter that plugins run with, or `None` with the reason said.
pub fn python() -> Option<PathBuf> {
    let found = program("python3");
    if found.is_none() {
        skip("python3 is not installed");
    }
    found
}

/// The interpreter whose environment holds the published SDK, or `None` with the reason said.
pub fn python_with_sdk() -> Option<PathBuf> {
    let told = std::env::var_os("THALWEG_TEST_PYTHON").map(PathBuf::from);
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let found = Some(told.unwrap_or_else(own)).filter(|python| python.is_file());
    if found.is_none() {
        skip("there is no Python environment with the published SDK in tests/.venv");
    }
    found
}

/// The binary under test, or `None` with the reason said: `THALWEG_BIN`, else the one beside this test.
pub fn thalweg() -> Option<PathBuf> {
    let told = std::env::var_os("THALWEG_BIN").map(PathBuf::from);
    let beside = || std::env::current_exe().ok()?.ancestors().nth(2).map(|folder| folder.join("thalweg"));
    let found = told.or_else(beside).filter(|binary| binary.is_file());
    if found.is_none() {
        skip("the binary is not built: cargo build -p thalweg-server");
    }
    found
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the system has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Sends a signal by the command `kill`.
pub fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {pid}");
}

/// Whether a process exists and has not ended.
pub fn is_alive(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// A mosquitto that can be killed and started again on the same port.
pub struct Mosquitto {
    port: u16,
    folder: tempfile::TempDir,
    process: Option<Child>,
}

impl Mosquitto {
    /// Starts one, or says why not.
    pub fn start() -> Option<Self> {
        let broker = Self::prepared();
        broker.map(|mut broker| {
            broker.run();
            broker
        })
    }

    /// One that does not run yet.
    pub fn prepared() -> Option<Self> {
        if program("mosquitto").is_none() {
            skip("mosquitto is not installed");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Some(Self { port: free_port(), folder, process: None })
    }

    /// Runs it and waits until it listens.
    pub fn run(&mut self) {
        let settings = self.folder.path().join("mosquitto.conf");
        let listener =
            format!("listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n", self.port);
        fs::write(&settings, listener).expect("the folder is ours");
        let mut command = Command::new(program("mosquitto").expect("it was there"));
        command.arg("-c").arg(&settings).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("mosquitto starts"));
        wait::until_true("mosquitto", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// As connectors write it.
    pub fn url(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// A schemaless stream of one of its topics.
    pub fn stream(&self, name: &str, topic: &str, more: &str) -> String {
        format!(
            r#"CREATE STREAM {name} () WITH (DATASOURCE="{topic}", FORMAT="json", TYPE="mqtt"{more}, EXTRA="{{\"server\":\"{}\",\"qos\":1}}")"#,
            self.url()
        )
    }

    /// An action that publishes to one of its topics.
    pub fn action(&self, topic: &str) -> serde_json::Value {
        serde_json::json!({"mqtt": {"server": self.url(), "topic": topic, "sendSingle": true, "qos": 1}})
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A running `thalweg serve`.
pub struct Engine {
    process: Child,
    api: Api,
}

impl Engine {
    /// Starts one in this home with these environment variables, or says why not.
    ///
    /// # Panics
    /// When it does not come up; with what it printed.
    pub fn start(home: &Path, variables: &[(&str, &str)]) -> Option<Self> {
        let mut command = Command::new(thalweg()?);
        command.args(["serve", "--port", "0", "--data-port", "0", "--home"]).arg(home);
        Some(Self::run(command, home, variables))
    }

    /// Starts one by the name of another program, in this folder, on a port of its own.
    ///
    /// # Panics
    /// When it does not come up; with what it printed.
    pub fn start_as(program: &Path, words: &[&str], folder: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command.args(words).current_dir(folder);
        command.envs([("KUIPER__BASIC__RESTPORT", "0"), ("KUIPER__SOURCE__HTTPSERVERPORT", "0")]);
        Self::run(command, folder, variables)
    }

    fn run(mut command: Command, folder: &Path, variables: &[(&str, &str)]) -> Self {
        let printed = folder.join("printed.txt");
        let output = File::create(&printed).expect("the folder is ours");
        command.envs([("KUIPER__BASIC__RESTIP", "127.0.0.1"), ("KUIPER__BASIC__TIMEZONE", "UTC")]);
        command.envs(variables.iter().copied()).stdin(Stdio::null());
        command.stderr(output.try_clone().expect("an open file can be shared")).stdout(output);
        let mut process = command.spawn().expect("the binary starts");
        let port = wait::within(wait::LIMIT, || {
            let text = fs::read_to_string(&printed).unwrap_or_default();
            let port = text.split("API   http://127.0.0.1:").nth(1)?.split('\n').next()?.parse().ok();
            if port.is_none() && process.try_wait().is_ok_and(|ended| ended.is_some()) {
                panic!("thalweg serve ended: {text}");
            }
            port
        });
        let Some(port) = port else {
            let _ = process.kill();
            panic!("thalweg serve does not come up: {}", fs::read_to_string(&printed).unwrap_or_default());
        };
        Self { process, api: Api::new(port) }
    }

    /// Its management interface.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.try_wait().is_ok_and(|ended| ended.is_none())
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// How it ends by itself.
    ///
    /// # Panics
    /// When it does not end.
    pub fn end(mut self) -> ExitStatus {
        wait::until("the engine's end", || self.process.try_wait().ok().flatten())
    }

    /// SIGTERM, and how it ends.
    ///
    /// # Panics
    /// When it does not end.
    pub fn terminate(mut self) -> ExitStatus {
        signal("TERM", self.pid());
        wait::until("the engine's end", || self.process.try_wait().ok().flatten())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.is_alive() {
            return;
        }
        // Asked first, so that its plugins end with it.
        let _ = Command::new("kill").arg(self.pid().to_string()).status();
        let ended = wait::within(Duration::from_secs(10), || self.process.try_wait().ok().flatten());
        if ended.is_none() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
