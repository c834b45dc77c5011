//! A plugin host with the bench's plugin, and interpreters for it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::registry::Registry;
use thalweg_core::{Cell, Column, ColumnRef, Selection, Timestamp};
use thalweg_expr::registry::RemoteFunctions;
use thalweg_expr::{CallCx, Frame, RemoteFunction};
use thalweg_plugin::{HostConfig, InstallRequest, PluginHost, pack};

/// Files of the package, which is called by this process's number because sockets have fixed places.
pub(super) fn package(name: &str, target: &Path) -> Result<(), String> {
    let functions =
        ["inc", "bundled", "list", "group", "all"].map(|function| format!("\"{name}_{function}\""));
    let manifest = format!(
        "{{\"version\":\"v1.0.0\",\"language\":\"python\",\"executable\":\"{name}.py\",\"functions\":[{}]}}",
        functions.join(",")
    );
    let (json, script) = (format!("{name}.json"), format!("{name}.py"));
    let files = [(json.as_str(), manifest.as_str()), (script.as_str(), include_str!("subject.py"))];
    pack(&files, target).map_err(|why| format!("{}: {why}", target.display()))
}

/// A host with the plugin installed, in a folder of its own.
pub(super) struct Workshop {
    pub(super) host: Arc<PluginHost>,
    pub(super) name: String,
    _home: tempfile::TempDir,
}

impl Workshop {
    pub(super) fn open(label: &str, python: &Path, use_bundled_sdk: bool) -> Result<Self, String> {
        let home = tempfile::tempdir().map_err(|why| format!("no temporary folder: {why}"))?;
        let mut config = HostConfig::in_home(home.path());
        python.to_string_lossy().as_ref().clone_into(&mut config.python_bin);
        config.use_bundled_sdk = use_bundled_sdk;
        let host = PluginHost::new(config, Arc::new(Registry::new(&[], &[])));
        let name = format!("twb{}{label}", std::process::id());
        let zip = home.path().join("package.zip");
        package(&name, &zip)?;
        let file = format!("file://{}", zip.display());
        let request = InstallRequest { name: name.clone(), file, ..InstallRequest::default() };
        host.install(&request).map_err(|why| why.to_string())?;
        Ok(Self { host, name, _home: home })
    }

    /// One of the plugin's functions.
    pub(super) fn function(&self, name: &str) -> Result<Arc<dyn RemoteFunction>, String> {
        let function = self.host.resolve(&format!("{}_{name}", self.name)).map_err(|why| why.to_string())?;
        function.ok_or_else(|| format!("no function {name}"))
    }

    /// The process of the plugin.
    pub(super) fn pid(&self) -> Result<u32, String> {
        self.host.status(&self.name).and_then(|status| status.pid).ok_or_else(|| "no plugin".to_owned())
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        self.host.shutdown();
    }
}

/// Arguments of one call of the engine: a batch of rows or a window's groups.
pub(super) struct Load {
    column: Column,
    rows: Selection,
    groups: Option<(Vec<u32>, usize)>,
    /// Results that must come out.
    expected: Vec<f64>,
}

impl Load {
    /// So many numbers, whole ones, as they come out of schemaless JSON: as floats.
    pub(super) fn numbers(n: usize) -> Self {
        let values: Vec<f64> = (0..n).map(|i| (i * 7919 % 100_000) as f64).collect();
        let expected = values.iter().map(|value| value + 1.0).collect();
        Self { column: Column::from_floats(values), rows: Selection::all(n), groups: None, expected }
    }

    /// So many groups of 1,000 values, one of each group after the other as sensors send them.
    pub(super) fn groups(n_groups: usize) -> Self {
        let value =
            |i: usize, group: usize| ((i * 7919 + group * 104_729) % 100_000) as f64 / 1000.0 + 0.0001;
        let n = n_groups * 1000;
        let column = Column::from_floats((0..n).map(|row| value(row / n_groups, row % n_groups)));
        let mean = |group: usize| (0..1000).map(|i| value(i, group)).sum::<f64>() / 1000.0;
        Self {
            column,
            rows: Selection::all(n),
            groups: Some(((0..n).map(|row| (row % n_groups) as u32).collect(), n_groups)),
            expected: (0..n_groups).map(mean).collect(),
        }
    }

    /// How many results it has.
    pub(super) fn n(&self) -> usize {
        self.expected.len()
    }

    /// Calls the function once for all of it; nanoseconds. Every result is looked at.
    pub(super) fn call(&self, function: &dyn RemoteFunction, out: &mut Column) -> Result<f64, String> {
        let metrics = NodeMetrics::default();
        let cx =
            CallCx { rule: "bench", node: "2_project", call_id: 0, now: Timestamp(0), metrics: &metrics };
        let args = [ColumnRef::borrowed(&self.column)];
        let groups = self.groups.as_ref().map(|(groups, n)| (&groups[..], *n));
        out.clear(None);
        let start = Instant::now();
        function.call(&Frame { args: &args, rows: &self.rows, groups }, out, &cx);
        let nanos = start.elapsed().as_nanos() as f64;
        let is_right = |(row, expected): (usize, &f64)| match out.cell(row) {
            Cell::Float(value) => (value - expected).abs() <= 1e-9 * expected.abs(),
            _ => false,
        };
        if out.len() == self.n() && self.expected.iter().enumerate().all(is_right) {
            return Ok(nanos);
        }
        let wrong = (0..out.len()).find(|row| !is_right((*row, &self.expected[*row])));
        Err(format!("{}: wrong result {:?}", function.name(), wrong.map(|row| out.cell(row))))
    }
}

/// The interpreter with the published SDK, which `cargo xtask setup` installs.
pub(super) fn python_with_old_sdk() -> Result<PathBuf, String> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/.venv/bin/python");
    if python.is_file() { Ok(python) } else { Err(format!("no {}: cargo xtask setup", python.display())) }
}

/// An interpreter with numpy, in an environment beside the binaries that is made the first time.
pub(super) fn python_with_numpy() -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|why| why.to_string())?;
    let folder = here.with_file_name("plugins-venv");
    let python = folder.join("bin/python");
    let has_numpy = || {
        let import = Command::new(&python).args(["-c", "import numpy"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    if has_numpy() {
        return Ok(python);
    }
    let run = |command: &mut Command| {
        let output = command.output().map_err(|why| format!("{command:?}: {why}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {said}")) }
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "numpy"]))?;
    if has_numpy() { Ok(python) } else { Err(format!("{} has no numpy", python.display())) }
}
