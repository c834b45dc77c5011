//! `thalweg demo` as a user starts it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use thalweg_tests::processes::{program, python, signal, thalweg};
use thalweg_tests::wait;

/// What a demo printed and how it ended.
struct Shown {
    text: String,
    status: ExitStatus,
}

/// Runs the demo with a folder for temporary files of its own and checks that nothing of it is left.
fn demo(more: &[&str], path: Option<&Path>, interrupt_at: Option<&str>) -> Option<Shown> {
    let binary = thalweg()?;
    // The sockets of its plugin have one name on the whole machine.
    let turn = File::create(std::env::temp_dir().join("thalweg-tests-demo.lock")).expect("a lock file");
    turn.lock().expect("the lock of a file of ours");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let printed = folder.path().join("printed");
    let output = File::create(&printed).expect("the folder is ours");
    let temporary = folder.path().join("tmp");
    fs::create_dir(&temporary).expect("the folder is ours");
    let mark = format!("THALWEG_TEST_MARK={}", folder.path().display());
    let (name, value) = mark.split_once('=').expect("there is one");
    let mut command = Command::new(binary);
    command.arg("demo").args(["--port", "0"]).args(more).current_dir(&temporary).stdin(Stdio::null());
    command.env("TMPDIR", &temporary).env(name, value).env_remove("PYTHONPATH");
    command.stderr(output.try_clone().expect("an open file can be shared")).stdout(output);
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let mut process = command.spawn().expect("the binary starts");
    let text = || String::from_utf8_lossy(&fs::read(&printed).unwrap_or_default()).into_owned();
    if let Some(part) = interrupt_at {
        wait::until_true("the demo's results", || text().contains(part));
        signal("INT", process.id());
    }
    let status = wait::within(Duration::from_secs(60), || process.try_wait().ok().flatten());
    if status.is_none() {
        let _ = process.kill();
    }
    assert!(status.is_some(), "the demo does not end: {}", text());
    let status = status?;
    assert_eq!(marked(&mark), Vec::<String>::new(), "processes are left");
    assert!(!Path::new("/tmp/plugin_vibration.ipc").exists(), "a socket is left");
    let left: Vec<_> = fs::read_dir(&temporary).expect("it is there").collect();
    assert!(left.is_empty(), "files are left: {left:?}");
    Some(Shown { text: text(), status })
}

/// The commands of the processes that inherited this variable.
fn marked(mark: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("Linux").filter_map(|entry| Some(entry.ok()?.path()));
    let ours = processes.filter(|process| {
        let variables = fs::read(process.join("environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    });
    ours.map(|process| fs::read_to_string(process.join("cmdline")).unwrap_or_default()).collect()
}

#[test]
fn the_demo_shows_results_of_python_for_each_pump_and_leaves_nothing() {
    if python().is_none() {
        return;
    }
    let Some(shown) = demo(&["--seconds", "8"], None, None) else { return };
    assert!(shown.status.success(), "{}: {}", shown.status, shown.text);
    for pump in ["pump-1", "pump-2", "pump-3"] {
        let row = shown.text.lines().find(|line| line.trim_start().starts_with(pump));
        let rms = row.and_then(|row| row.split_whitespace().nth(1)?.parse::<f64>().ok());
        assert!(rms.is_some_and(|rms| rms > 0.1), "{pump}: {}", shown.text);
    }
    for part in ["curl -X POST", "/rules/vibration/status", "0 rows dropped, 0 errors"] {
        assert!(shown.text.contains(part), "{part} is missing: {}", shown.text);
    }
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    if python().is_none() {
        return;
    }
    let Some(shown) = demo(&[], None, Some("  pump-1 ")) else { return };
    assert!(shown.text.contains("readings published"), "it ends with a summary: {}", shown.text);
}

#[test]
fn without_python_the_demo_says_what_to_install_and_shows_a_rule() {
    let nothing = tempfile::tempdir().expect("a temporary folder can be made");
    assert!(program("sh").is_some(), "programs are found in PATH");
    let Some(shown) = demo(&["--seconds", "5"], Some(nothing.path()), None) else { return };
    assert!(!shown.status.success(), "no result of Python, no success: {}", shown.text);
    for part in ["sudo apt-get install -y python3", "pump-1", "°C on average"] {
        assert!(shown.text.contains(part), "{part} is missing: {}", shown.text);
    }
}
