//! Processes under load: started ones, and what they cost.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::http::Api;

/// What this run started; ended when it is dropped.
#[derive(Default)]
pub(crate) struct Started {
    children: Vec<Child>,
    home: Option<tempfile::TempDir>,
}

impl Started {
    /// Mosquitto on a free port.
    pub(crate) fn broker(&mut self) -> Result<String, String> {
        let port = free_port()?;
        let settings = self.home()?.join("mosquitto.conf");
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nsys_interval 1\n");
        std::fs::write(&settings, text).map_err(|error| format!("{}: {error}", settings.display()))?;
        let program = ["mosquitto", "/usr/sbin/mosquitto"].into_iter().find_map(|program| {
            Command::new(program)
                .arg("-c")
                .arg(&settings)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .ok()
        });
        self.children.push(program.ok_or("mosquitto is not installed: cargo xtask setup")?);
        let address = format!("127.0.0.1:{port}");
        wait(|| TcpStream::connect(&address).is_ok(), "mosquitto does not listen")?;
        Ok(address)
    }

    /// The `thalweg` binary beside this one, with a home of its own; its address and process id.
    pub(crate) fn engine(&mut self) -> Result<(String, u32), String> {
        let binary = binary()?;
        let home = self.home()?.join(format!("engine-{}", self.children.len()));
        let port = free_port()?;
        let mut command = Command::new(&binary);
        command.args(["serve", "--port", &port.to_string(), "--data-port", "0", "--home"]).arg(&home);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.map_err(|error| {
            format!(
                "{}: {error}; build it first, in the same profile: cargo build --release -p thalweg-server",
                binary.display()
            )
        })?;
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || BufReader::new(output).lines().for_each(drop));
        }
        let pid = child.id();
        self.children.push(child);
        let base = format!("http://127.0.0.1:{port}");
        let api = Api::new(&base);
        wait(|| api.call("GET", "/ping", "").is_ok_and(|(status, _)| status == 200), "no /ping")?;
        Ok((base, pid))
    }

    /// A folder that goes with this run.
    fn home(&mut self) -> Result<PathBuf, String> {
        if self.home.is_none() {
            let home = tempfile::Builder::new().prefix("thalweg-bench-").tempdir();
            self.home = Some(home.map_err(|error| format!("no temporary folder: {error}"))?);
        }
        Ok(self.home.as_ref().map(|home| home.path().to_owned()).unwrap_or_default())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The `thalweg` binary that was built with this one.
pub(crate) fn binary() -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|error| error.to_string())?;
    Ok(here.with_file_name("thalweg"))
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

fn wait(is_ready: impl Fn() -> bool, complaint: &str) -> Result<(), String> {
    let started = Instant::now();
    while !is_ready() {
        if started.elapsed() > Duration::from_secs(15) {
            return Err(complaint.to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// User and system time of a process (`/proc/PID/stat`, fields 14 and 15, in ticks of 10 ms).
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// Resident memory in MB (`/proc/PID/statm`, pages of 4 KiB).
pub(crate) fn rss_mb(pid: u32) -> Option<f64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: f64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some((pages * 4096.0 / 1e5).round() / 10.0)
}
