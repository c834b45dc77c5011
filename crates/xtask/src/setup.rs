//! What the tests need beyond Rust: mosquitto, and a Python environment with the published SDK.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::root;

/// The published packages that tests use unmodified.
const PACKAGES: &[&str] = &["ekuiper>=2.4,<2.5", "pynng==0.8.1", "paho-mqtt>=2,<3", "pyarrow>=20"];

/// What [`run`] has set up.
pub(crate) struct Tools {
    /// The interpreter of `tests/.venv`.
    pub(crate) python: PathBuf,
}

/// Installs what is missing and says how; what it may not install it asks for.
pub(crate) fn run() -> Result<Tools, String> {
    mosquitto()?;
    python()
}

fn found(program: &str) -> bool {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&places).chain(sbin).any(|folder| folder.join(program).is_file())
}

fn mosquitto() -> Result<(), String> {
    if found("mosquitto") {
        return Ok(());
    }
    apt(&["mosquitto", "mosquitto-clients"])
}

/// For the feature `nng` only; everything else builds without.
pub(crate) fn cmake() -> Result<(), String> {
    if found("cmake") { Ok(()) } else { apt(&["cmake"]) }
}

fn apt(packages: &[&str]) -> Result<(), String> {
    let wanted = packages.join(" ");
    let by_hand = format!("please install: sudo apt-get install -y {wanted}");
    if !found("apt-get") || !is_root() {
        return Err(by_hand);
    }
    crate::run(Command::new("apt-get").args(["update", "-qq"])).map_err(|why| format!("{why}; {by_hand}"))?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive").args([
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
    ]);
    crate::run(install.args(packages)).map_err(|why| format!("{why}; {by_hand}"))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}

fn python() -> Result<Tools, String> {
    let python = environment(&root().join("tests/.venv"), PACKAGES)?;
    Ok(Tools { python })
}

/// A Python environment in a folder with these packages; its interpreter.
pub(crate) fn environment(folder: &Path, packages: &[&str]) -> Result<PathBuf, String> {
    let python = folder.join("bin/python");
    let stamp = folder.join("packages");
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(python);
    }
    if !found("python3") {
        return Err(
            "please install Python 3.9 or newer: sudo apt-get install -y python3 python3-venv".to_owned()
        );
    }
    if let Err(why) = crate::run(Command::new("python3").args(["-m", "venv"]).arg(folder)) {
        apt(&["python3-venv"]).map_err(|more| format!("{why}; {more}"))?;
        crate::run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    crate::run(pip.args(packages))?;
    std::fs::write(&stamp, wanted).map_err(|error| format!("cannot write {}: {error}", stamp.display()))?;
    Ok(python)
}
