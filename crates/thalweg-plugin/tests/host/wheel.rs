//! Distributions made here, and environments for them: nothing comes over a network.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::Value as Json;
use thalweg_core::Value;
use thalweg_core::registry::Registry;
use thalweg_expr::registry::RemoteFunctions;
use thalweg_plugin::{Changed, HostConfig, Install, PluginHost, PythonError, What};

use crate::subject::{Bench, Sdk, call};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A wheel to be.
#[derive(Clone)]
pub(crate) struct Wheel {
    name: String,
    version: String,
    entries: String,
    requires: String,
    files: Vec<(String, String)>,
}

impl Wheel {
    pub(crate) fn new(name: &str, version: &str) -> Self {
        let (name, version) = (name.to_owned(), version.to_owned());
        Self { name, version, entries: String::new(), requires: String::new(), files: Vec::new() }
    }

    /// A module, or any other file.
    pub(crate) fn file(mut self, path: &str, content: &str) -> Self {
        self.files.push((path.to_owned(), content.to_owned()));
        self
    }

    /// An entry point: `functions`, `f = module:f`.
    pub(crate) fn entry(mut self, group: &str, entry: &str) -> Self {
        self.entries += &format!("[thalweg.{group}]\n{entry}\n");
        self
    }

    pub(crate) fn requires(mut self, requirement: &str) -> Self {
        self.requires += &format!("Requires-Dist: {requirement}\n");
        self
    }

    /// Writes it and returns its path.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        fs::create_dir_all(folder).unwrap();
        let stem = format!("{}-{}", self.name.replace('-', "_"), self.version);
        let path = folder.join(format!("{stem}-py3-none-any.whl"));
        let info = format!("{stem}.dist-info");
        let metadata = format!(
            "Metadata-Version: 2.1\nName: {}\nVersion: {}\nSummary: a test\n{}",
            self.name, self.version, self.requires
        );
        let wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
        let mut files = self.files.clone();
        files.push((format!("{info}/METADATA"), metadata));
        files.push((format!("{info}/WHEEL"), wheel.to_owned()));
        files.push((format!("{info}/entry_points.txt"), self.entries.clone()));
        let record: String = files.iter().map(|(path, _)| format!("{path},,\n")).collect();
        files.push((format!("{info}/RECORD"), format!("{record}{info}/RECORD,,\n")));
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, content) in files {
            zip.start_file(name.as_str(), zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        path
    }
}

/// The interpreter of the tests.
pub(crate) fn python() -> String {
    std::env::var("THALWEG_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// One virtual environment, which is copied for each test: to make one takes seconds.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = TEMPLATE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let made =
            Command::new(python()).args(["-m", "venv"]).arg(folder.path().join("g1")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        folder
    });
    made.path()
}

/// An engine's plugins with one environment, whose names are nobody else's.
pub(crate) struct Yard {
    pub(crate) bench: Bench,
    pub(crate) env: String,
    /// Rules that use everything.
    pub(crate) rules: std::cell::RefCell<Vec<String>>,
}

impl Yard {
    /// With an environment in which nothing is installed.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut HostConfig)) -> Self {
        let this = Self::empty(change);
        let folder = this.folder();
        fs::create_dir_all(&folder).unwrap();
        let from = template().join("g1");
        let copied = Command::new("cp").arg("-a").arg(from).arg(folder.join("g1")).status().unwrap();
        assert!(copied.success());
        symlink("g1", folder.join("current")).unwrap();
        assert_eq!(this.bench.host.start_all(), Vec::<String>::new());
        this
    }

    /// Without any environment.
    pub(crate) fn empty(change: impl FnOnce(&mut HostConfig)) -> Self {
        let env = format!("tw{}x{}e", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let bench = Bench::with(&Sdk::Bundled, |config| {
            config.python_bin = python();
            config.python.offline = Some(config.data_dir.join("wheels"));
            change(config);
        });
        fs::create_dir_all(bench.home.path().join("data/wheels")).unwrap();
        Self { bench, env, rules: Default::default() }
    }

    /// The same engine, started anew.
    pub(crate) fn again(&mut self, change: impl FnOnce(&mut HostConfig)) -> Vec<String> {
        self.bench.host.shutdown();
        let config = Bench::config(&Sdk::Bundled, self.bench.home.path(), |config| {
            config.python_bin = python();
            config.python.offline = Some(config.data_dir.join("wheels"));
            change(config);
        });
        self.bench.registry = Arc::new(Registry::new(&[], &[]));
        self.bench.host = PluginHost::new(config, Arc::clone(&self.bench.registry));
        self.bench.host.start_all()
    }

    /// A name that no other test has.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}_{name}", self.env)
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.bench.home.path().join("data/pyenvs").join(&self.env)
    }

    pub(crate) fn wheels(&self) -> PathBuf {
        self.bench.home.path().join("data/wheels")
    }

    /// A distribution with one function of rows that returns this text. Its module is called like it.
    pub(crate) fn constant(&self, name: &str, version: &str, function: &str, text: &str) -> Wheel {
        let module = name.replace('-', "_");
        Wheel::new(name, version)
            .entry("functions", &format!("{function} = {module}:f"))
            .file(&format!("{module}.py"), &format!("def f():\n    return {text:?}\n"))
    }

    pub(crate) fn request(&self, what: What) -> Install {
        Install { env: self.env.clone(), what, ..Install::default() }
    }

    pub(crate) fn install(&self, wheel: &Wheel) -> Result<Changed, PythonError> {
        self.run(&self.request(What::File(wheel.write(&self.wheels()))))
    }

    pub(crate) fn run(&self, request: &Install) -> Result<Changed, PythonError> {
        self.bench.host.python().install(request, &|_, _| self.rules.borrow().clone())
    }

    pub(crate) fn remove(&self, name: &str, force: bool) -> Result<Changed, PythonError> {
        self.bench.host.python().remove(&self.env, name, force, &|_, _| self.rules.borrow().clone())
    }

    pub(crate) fn roll_back(&self) -> Result<Changed, PythonError> {
        self.bench.host.python().roll_back(&self.env, false, &|_, _| self.rules.borrow().clone())
    }

    pub(crate) fn list(&self) -> Json {
        let all = self.bench.host.python().list(&|_, _| self.rules.borrow().clone());
        all.as_array().unwrap().iter().find(|shown| shown["env"] == *self.env).cloned().unwrap_or_default()
    }

    /// The names and versions that offer symbols.
    pub(crate) fn installed(&self) -> Vec<String> {
        let list = self.list();
        let all = list["distributions"].as_array().cloned().unwrap_or_default();
        all.iter()
            .map(|d| format!("{} {}", d["name"].as_str().unwrap(), d["version"].as_str().unwrap()))
            .collect()
    }

    /// Calls a function without arguments.
    pub(crate) fn says(&self, function: &str) -> Result<String, String> {
        let function = self.bench.host.resolve(function).map_err(|error| error.message)?;
        match call(&*function.ok_or("nobody offers it")?, &[])? {
            Value::Str(text) => Ok(text.to_string()),
            other => Ok(format!("{other:?}")),
        }
    }
}
