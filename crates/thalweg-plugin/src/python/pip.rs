//! Running the interpreter of an environment: `venv`, `pip`, and the host that describes what is there.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::folder::Generation;
use super::manifest::Manifest;
use crate::config::HostConfig;
use crate::sdk;
use crate::sys;

/// So many of the last lines say why something has failed.
const LAST_LINES: usize = 5;

/// Variables of pip and Python that would lead out of the environment.
const LEADING_AWAY: [&str; 8] = [
    "PIP_USER",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_REQUIRE_VIRTUALENV",
    "PYTHONHOME",
    "PYTHONPATH",
    "VIRTUAL_ENV",
];

/// What is to be done with pip.
#[derive(Debug, Default)]
pub(crate) struct Request<'a> {
    /// What follows `install`.
    pub(crate) args: Vec<String>,
    /// A list with hashes, which must hold for everything that is installed.
    pub(crate) lock: Option<&'a Path>,
    /// A further folder with wheels.
    pub(crate) wheels: Option<&'a Path>,
}

/// Makes a virtual environment with pip in it.
pub(crate) fn create(generation: &Generation, config: &HostConfig) -> Result<(), String> {
    let make = |python: &str| {
        let mut command = surrounded(Command::new(python));
        command.args(["-m", "venv"]).arg(&generation.dir);
        run(command, config.install_timeout)
    };
    let python = &config.python_bin;
    let made = match make(python) {
        Err(Failure::NotRun(error)) if error.kind() == io::ErrorKind::NotFound && python == "python" => {
            make("python3")
        }
        other => other,
    };
    made.map(drop).map_err(|failure| match failure {
        Failure::NotRun(error) if error.kind() == io::ErrorKind::NotFound => format!(
            "cannot find the Python interpreter {python}; install python3 and python3-venv, or set portable.pythonBin"
        ),
        Failure::Ended { lines, .. } if lacks_venv(&lines) => format!(
            "{python} cannot make virtual environments; install the package python3-venv (Debian, Ubuntu), \
             or set portable.pythonBin to an interpreter that has venv and ensurepip"
        ),
        other => format!("cannot make a virtual environment: {}", other.text("python -m venv")),
    })
}

fn lacks_venv(lines: &[String]) -> bool {
    let speaks_of = |what: &str| lines.iter().any(|line| line.contains(what));
    speaks_of("ensurepip") || speaks_of("No module named venv")
}

/// Installs with pip.
pub(crate) fn install(
    generation: &Generation,
    request: &Request<'_>,
    config: &HostConfig,
) -> Result<(), String> {
    let mut command = pip(generation, "install");
    command.args(["--no-warn-script-location", "--progress-bar=off"]);
    if let Some(wheels) = &config.python.offline {
        command.arg("--no-index").arg("--find-links").arg(wheels);
    }
    if let Some(wheels) = request.wheels {
        command.arg("--find-links").arg(wheels);
    }
    if let Some(lock) = request.lock {
        command.arg("--require-hashes").arg("-r").arg(lock);
    }
    command.args(&request.args);
    run(command, config.install_timeout).map(drop).map_err(|failure| failure.text("pip install"))
}

/// Removes with pip.
pub(crate) fn uninstall(generation: &Generation, name: &str, config: &HostConfig) -> Result<(), String> {
    let mut command = pip(generation, "uninstall");
    command.args(["--yes", name]);
    run(command, config.install_timeout).map(drop).map_err(|failure| failure.text("pip uninstall"))
}

fn pip(generation: &Generation, what: &str) -> Command {
    let mut command = surrounded(Command::new(generation.python()));
    command.args(["-m", "pip", what, "--no-input", "--disable-pip-version-check"]);
    command
}

/// Imports everything and says what is there.
pub(crate) fn describe(env: &str, generation: &Generation, config: &HostConfig) -> Result<Manifest, String> {
    let mut command = surrounded(Command::new(generation.python()));
    command.args(["-m", "thalweg_sdk.host", "--env", env, "--describe", "--load"]);
    alone(&mut command, config)?;
    let out =
        run(command, config.init_timeout).map_err(|failure| failure.text("loading what is installed"))?;
    Manifest::parse(&out)
}

/// The bundled SDK first, and nothing else from outside of the environment.
pub(crate) fn alone(command: &mut Command, config: &HostConfig) -> Result<(), String> {
    sdk::put_first(command, &HostConfig { python_path: None, ..config.clone() })?;
    command.env("PYTHONNOUSERSITE", "1").env("PYTHONSAFEPATH", "1").env_remove("PYTHONHOME");
    Ok(())
}

fn surrounded(mut command: Command) -> Command {
    for name in LEADING_AWAY {
        command.env_remove(name);
    }
    command.env("PYTHONNOUSERSITE", "1").env("PYTHONIOENCODING", "utf-8");
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    sys::detach(&mut command);
    command
}

/// Why a command has not done what it should.
#[derive(Debug)]
enum Failure {
    NotRun(io::Error),
    TookTooLong(Duration),
    Ended { how: String, lines: Vec<String> },
}

impl Failure {
    fn text(&self, what: &str) -> String {
        match self {
            Self::NotRun(error) => format!("{what} cannot be run: {error}"),
            Self::TookTooLong(patience) => format!("{what} did not end within {}ms", patience.as_millis()),
            Self::Ended { how, lines } if lines.is_empty() => format!("{what} failed ({how})"),
            Self::Ended { lines, .. } => format!("{what} failed: {}", telling(lines).join(" | ")),
        }
    }
}

/// The lines that pip marks as errors, else the last ones.
fn telling(lines: &[String]) -> Vec<&str> {
    let marked: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("ERROR: ")).collect();
    let chosen = if marked.is_empty() { lines.iter().map(String::as_str).collect() } else { marked };
    chosen.into_iter().rev().take(LAST_LINES).rev().collect()
}

/// Runs a command to its end on this thread, with which it would die. Returns what it has printed.
fn run(mut command: Command, patience: Duration) -> Result<Vec<u8>, Failure> {
    let mut child = command.spawn().map_err(Failure::NotRun)?;
    let (done, closed) = mpsc::channel();
    let follow = |pipe: Option<Box<dyn Read + Send>>| {
        let done = done.clone();
        let read = move || {
            let mut text = Vec::new();
            // A pipe that breaks has ended.
            let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut text));
            // Nobody listens after the time-out.
            let _ = done.send(());
            text
        };
        thread::Builder::new().name("plugin-pip".to_owned()).spawn(read)
    };
    let out = follow(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let err = follow(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    drop(done);
    let deadline = crate::channel::Deadline::after(patience);
    let is_late = (0..2).any(|_| closed.recv_timeout(deadline.left_at_most(patience)).is_err());
    if is_late {
        sys::signal_group(child.id() as i32, sys::KILL);
    }
    let status = child.wait();
    // Whatever it has started goes with it.
    sys::signal_group(child.id() as i32, sys::KILL);
    if is_late {
        return Err(Failure::TookTooLong(patience));
    }
    let [out, err] =
        [out, err].map(|reader| reader.ok().and_then(|reader| reader.join().ok()).unwrap_or_default());
    let status = status.map_err(Failure::NotRun)?;
    if status.success() {
        return Ok(out);
    }
    let texts = [out, err].map(|text| String::from_utf8_lossy(&text).into_owned());
    let lines = texts.iter().flat_map(|text| text.lines()).map(str::trim).filter(|line| !line.is_empty());
    Err(Failure::Ended { how: status.to_string(), lines: lines.map(str::to_owned).collect() })
}

/// Tells pip that the SDK is there, so that what requires it can be installed, and lets people's own interpreters find
/// it. A real one that somebody has installed stays.
pub(crate) fn note_sdk(generation: &Generation, config: &HostConfig) -> Result<(), String> {
    let site = generation.site_packages()?;
    let version = sdk::version();
    let entries = fs::read_dir(&site).into_iter().flatten().flatten();
    let notes = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("thalweg_sdk-") && name.ends_with(".dist-info")
    });
    for note in notes {
        if fs::read_to_string(note.join("INSTALLER")).unwrap_or_default().trim() != "thalweg" {
            return Ok(());
        }
        // An older one of ours.
        let _ = fs::remove_dir_all(&note);
    }
    let name = format!("thalweg_sdk-{version}.dist-info");
    let note = site.join(&name);
    let record = format!("thalweg_sdk.pth,,\n{name}/METADATA,,\n{name}/INSTALLER,,\n{name}/RECORD,,\n");
    let metadata = format!(
        "Metadata-Version: 2.1\nName: thalweg-sdk\nVersion: {version}\nSummary: Bundled with the engine Thalweg\n"
    );
    let folder = sdk::unpacked(config)?;
    let written = fs::create_dir_all(&note)
        .and_then(|()| fs::write(note.join("METADATA"), metadata))
        .and_then(|()| fs::write(note.join("INSTALLER"), "thalweg\n"))
        .and_then(|()| fs::write(note.join("RECORD"), record))
        .and_then(|()| fs::write(site.join("thalweg_sdk.pth"), format!("{}\n", folder.display())));
    written.map_err(|error| format!("cannot write {}: {error}", note.display()))
}
