//! Packages made from `plugins/tests`, each under a name of its own, and a host for them.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::registry::Registry;
use thalweg_core::{Column, ColumnRef, Selection, Timestamp, Value};
use thalweg_expr::function::{CallCx, Frame, RemoteFunction};
use thalweg_expr::registry::RemoteFunctions;
use thalweg_plugin::{HostConfig, InstallRequest, PluginHost};

pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Which Python module the subjects run on.
#[derive(Debug, Clone)]
pub(crate) enum Sdk {
    Bundled,
    /// The package from PyPI, in this interpreter.
    Real(String),
}

impl Sdk {
    pub(crate) fn is_bundled(&self) -> bool {
        matches!(self, Self::Bundled)
    }
}

/// The interpreter with the package from PyPI, or nothing (said aloud) where there is none.
pub(crate) fn real_sdk() -> Option<Sdk> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let given = std::env::var("THALWEG_TEST_PYTHON").map(PathBuf::from).ok();
    let python = given.unwrap_or_else(|| repository.join("tests/.venv/bin/python"));
    if python.is_file() {
        return Some(Sdk::Real(python.display().to_string()));
    }
    let text = format!(
        "no {}: python3 -m venv tests/.venv && tests/.venv/bin/pip install 'ekuiper==2.4.*'",
        python.display()
    );
    assert_ne!(std::env::var("THALWEG_REQUIRE_SERVERS").as_deref(), Ok("1"), "{text}");
    eprintln!("skipped with the package from PyPI: {text}");
    None
}

/// Runs a test on the bundled module and, where it is installed, on the package from PyPI.
pub(crate) fn on_both(test: impl Fn(Sdk)) {
    test(Sdk::Bundled);
    if let Some(real) = real_sdk() {
        test(real);
    }
}

/// Removes the sockets of test processes that were killed: their names hold the process id.
fn remove_leftovers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for entry in fs::read_dir("/tmp").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(owner) = name.strip_suffix(".ipc").and_then(owner_of) else { continue };
            if !is_alive(owner) {
                // Another test process may have been faster.
                let _ = fs::remove_file(entry.path());
            }
        }
    });
}

/// The test process that made a name like `plugin_tw<process>x<n>`.
fn owner_of(name: &str) -> Option<u32> {
    let name = name.strip_prefix("plugin_").or_else(|| name.strip_prefix("func_")).unwrap_or(name);
    let name = name.strip_prefix('z').unwrap_or(name).strip_prefix("tw")?;
    let (process, rest) = name.split_once('x')?;
    rest.starts_with(|c: char| c.is_ascii_digit()).then(|| process.parse().ok())?
}

#[test]
fn sockets_of_killed_test_processes_are_told_from_all_others() {
    assert_eq!(owner_of("plugin_tw12x3"), Some(12));
    assert_eq!(owner_of("func_tw12x3_echo"), Some(12));
    assert_eq!(owner_of("tw12x3r_demo_0"), Some(12));
    assert_eq!(owner_of("plugin_ztw12x3"), Some(12));
    for name in ["plugin_vibration", "func_twice", "plugin_tw12", "plugin_twax1", "tw1xy_0"] {
        assert_eq!(owner_of(name), None, "{name}");
    }
}

/// A host in a folder of its own.
pub(crate) struct Bench {
    pub(crate) host: Arc<PluginHost>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) home: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(sdk: &Sdk) -> Self {
        Self::with(sdk, |_| {})
    }

    pub(crate) fn with(sdk: &Sdk, change: impl FnOnce(&mut HostConfig)) -> Self {
        remove_leftovers();
        let home = tempfile::tempdir().unwrap();
        let registry = Arc::new(Registry::new(&[], &[]));
        let host = PluginHost::new(Self::config(sdk, home.path(), change), Arc::clone(&registry));
        Self { host, registry, home }
    }

    pub(crate) fn config(sdk: &Sdk, home: &Path, change: impl FnOnce(&mut HostConfig)) -> HostConfig {
        let mut config = HostConfig::in_home(home);
        if let Sdk::Real(python) = sdk {
            config.use_bundled_sdk = false;
            config.python_bin = python.clone();
        }
        change(&mut config);
        config
    }

    /// Installs a fresh copy of a subject and returns its name.
    pub(crate) fn install(&self, subject: &Subject) -> String {
        self.host.install(&subject.request(self.home.path())).unwrap();
        subject.name.clone()
    }

    pub(crate) fn call(&self, function: &str, args: &[Value]) -> Result<Value, String> {
        call(&*self.host.resolve(function).unwrap().expect("the function is there"), args)
    }
}

/// One call for one row.
pub(crate) fn call(function: &dyn RemoteFunction, args: &[Value]) -> Result<Value, String> {
    call_counted(function, args, &NodeMetrics::default())
}

/// The same on an operator with these metrics.
pub(crate) fn call_counted(
    function: &dyn RemoteFunction,
    args: &[Value],
    metrics: &NodeMetrics,
) -> Result<Value, String> {
    let columns: Vec<Column> = args.iter().map(|value| Column::from_values([value])).collect();
    let args: Vec<ColumnRef<'_>> = columns.iter().map(ColumnRef::borrowed).collect();
    let (rows, mut out) = (Selection::all(1), Column::new());
    let cx = CallCx { rule: "rule1", node: "2_project", call_id: 0, now: Timestamp(0), metrics };
    function.call(&Frame { args: &args, rows: &rows, groups: None }, &mut out, &cx);
    assert_eq!(out.len(), 1);
    match out.cell(0) {
        thalweg_core::Cell::Error(error) => Err(error.to_string()),
        cell => Ok(cell.to_value()),
    }
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A package to be: its manifest and its files.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) manifest: Json,
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

impl Subject {
    fn new(script: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/tests").join(script);
        let name = format!("tw{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let manifest = json!({"version": "v1.0.0", "language": "python", "executable": format!("{name}.py")});
        Self { files: vec![(format!("{name}.py"), fs::read(path).unwrap())], name, manifest }
    }

    pub(crate) fn echo() -> Self {
        let mut this = Self::new("echo/echo.py");
        let name = this.name.clone();
        this.manifest["sources"] = json!([format!("{name}_count")]);
        this.manifest["sinks"] = json!([format!("{name}_lines")]);
        this.manifest["functions"] =
            json!([format!("{name}_echo"), format!("{name}_who"), format!("{name}_mean")]);
        this.file(&format!("sources/{name}_count.yaml"), "default: {}\n")
    }

    /// On our own SDK.
    pub(crate) fn flow() -> Self {
        let mut this = Self::new("flow/flow.py");
        let name = this.name.clone();
        this.manifest["sources"] = json!([format!("{name}_walk"), format!("{name}_columns")]);
        this.manifest["sinks"] = json!([format!("{name}_keep")]);
        this.manifest["functions"] = json!([format!("{name}_known")]);
        this.file(&format!("sources/{name}_walk.yaml"), "default: {}\n")
            .file(&format!("sources/{name}_columns.yaml"), "default: {}\n")
    }

    /// With all capabilities of our SDK, or only these.
    pub(crate) fn kinds(caps: Option<&[&str]>) -> Self {
        let mut this = Self::new("kinds/kinds.py");
        let functions = ["tell", "tellall", "back", "count", "joined"];
        this.manifest["functions"] = json!(functions.map(|name| format!("{}_{name}", this.name)));
        match caps {
            None => this,
            Some(caps) => this.file("caps", &json!(caps).to_string()),
        }
    }

    /// The same for functions of pyarrow's arrays.
    pub(crate) fn arrays(caps: Option<&[&str]>) -> Self {
        let mut this = Self::new("arrays/arrays.py");
        let functions = ["streams", "kind", "back", "twice", "small", "picky", "total", "lists"];
        this.manifest["functions"] = json!(functions.map(|name| format!("{}_{name}", this.name)));
        match caps {
            None => this,
            Some(caps) => this.file("caps", &json!(caps).to_string()),
        }
    }

    pub(crate) fn misbehave() -> Self {
        let mut this = Self::new("misbehave/misbehave.py");
        this.manifest["functions"] = json!([format!("{}_do", this.name)]);
        this
    }

    pub(crate) fn file(mut self, path: &str, content: &str) -> Self {
        self.files.push((path.to_owned(), content.as_bytes().to_vec()));
        self
    }

    /// A program instead of a script.
    pub(crate) fn program(content: &str) -> Self {
        let mut this = Self::misbehave();
        this.manifest["language"] = json!("go");
        this.manifest["executable"] = json!("program");
        this.files = vec![("program".to_owned(), content.as_bytes().to_vec())];
        this
    }

    pub(crate) fn without(mut self, path: &str) -> Self {
        self.files.retain(|(there, _)| there != path);
        self
    }

    /// Writes the zip and returns the request for it.
    pub(crate) fn request(&self, folder: &Path) -> InstallRequest {
        self.request_with(folder, |_| {})
    }

    /// The same with something more in the zip.
    pub(crate) fn request_with(
        &self,
        folder: &Path,
        add: impl FnOnce(&mut zip::ZipWriter<File>),
    ) -> InstallRequest {
        let path = folder.join(format!("{}-{}.zip", self.name, NEXT.fetch_add(1, Ordering::Relaxed)));
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        let json = (format!("{}.json", self.name), self.manifest.to_string().into_bytes());
        let manifest = (!self.manifest.is_null()).then_some(&json);
        for (path, content) in manifest.into_iter().chain(&self.files) {
            zip.start_file(path.as_str(), options).unwrap();
            zip.write_all(content).unwrap();
        }
        add(&mut zip);
        zip.finish().unwrap();
        let file = format!("file://{}", path.display());
        InstallRequest { name: self.name.clone(), file, ..InstallRequest::default() }
    }
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "not within {LONG:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(status.unwrap().success(), "kill -{name} {pid}");
}

/// Whether a process runs.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}
