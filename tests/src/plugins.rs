//! Plugins for tests. The sockets of the plugin protocol are named after plugin and function in one folder for the whole
//! machine, so every copy that a test installs has names of its own.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use crate::http::Api;

/// A name that no other test of this machine uses.
pub fn own_name(stem: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("{stem}{}n{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// `plugins/vibration` under names of its own.
pub struct VibrationCopy {
    /// The plugin.
    pub name: String,
    /// What `vib_rms` is called.
    pub rms: String,
}

impl VibrationCopy {
    /// Chooses the names.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let name = own_name("vib");
        Self { rms: format!("{name}_rms"), name }
    }

    /// Packs and installs it.
    #[track_caller]
    pub fn install(&self, api: &Api, folder: &Path) {
        let rename = |text: &str| {
            text.replace("\"vib_", &format!("\"{}_", self.name))
                .replace("\"zscore\"", &format!("\"{}_zscore\"", self.name))
                .replace("\"vibration", &format!("\"{}", self.name))
        };
        let files = thalweg_plugin::VIBRATION;
        let files: Vec<(String, String)> =
            files.iter().map(|(path, text)| (path.replace("vibration", &self.name), rename(text))).collect();
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        install(api, folder, &self.name, &files);
    }
}

/// Installs the test subject of `plugins/tests/misbehave`; its name, which begins the name of its function `<name>_do`.
#[track_caller]
pub fn misbehaving(api: &Api, folder: &Path) -> String {
    let name = own_name("bad");
    let (manifest_path, code_path) = (format!("{name}.json"), format!("{name}.py"));
    let manifest = json!({
        "name": name, "version": "1", "language": "python", "executable": code_path,
        "functions": [format!("{name}_do")]
    });
    let code = include_str!("../../plugins/tests/misbehave/misbehave.py");
    install(api, folder, &name, &[(&manifest_path, &manifest.to_string()), (&code_path, code)]);
    name
}

/// Installs the test subject of `plugins/tests/echo`; its name, which begins the names of its source `<name>_count`, its
/// sink `<name>_lines` and its functions.
#[track_caller]
pub fn echo(api: &Api, folder: &Path) -> String {
    let name = own_name("echo");
    let (manifest_path, code_path) = (format!("{name}.json"), format!("{name}.py"));
    let named = |kind: &str| format!("{name}_{kind}");
    let manifest = json!({
        "name": name, "version": "1", "language": "python", "executable": code_path,
        "sources": [named("count")], "sinks": [named("lines")],
        "functions": [named("echo"), named("who"), named("mean")]
    });
    let source = format!("sources/{}.yaml", named("count"));
    let code = include_str!("../../plugins/tests/echo/echo.py");
    let files = [
        (&*manifest_path, &*manifest.to_string()),
        (&*code_path, code),
        (&*source, "default:\n  count: 3\n"),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    install(api, folder, &name, &files);
    name
}

/// Installs the test subject of `plugins/tests/flow`; its name, which begins the names of its source `<name>_walk` and its
/// sink `<name>_keep`.
#[track_caller]
pub fn flow(api: &Api, folder: &Path) -> String {
    let name = own_name("flow");
    let (manifest_path, code_path) = (format!("{name}.json"), format!("{name}.py"));
    let manifest = json!({
        "name": name, "version": "1", "language": "python", "executable": code_path,
        "sources": [format!("{name}_walk")], "sinks": [format!("{name}_keep")]
    });
    let source = format!("sources/{name}_walk.yaml");
    let code = include_str!("../../plugins/tests/flow/flow.py");
    let files = [(&*manifest_path, &*manifest.to_string()), (&*code_path, code), (&*source, "default: {}\n")];
    install(api, folder, &name, &files);
    name
}

/// Packs these files and installs them over REST.
#[track_caller]
pub fn install(api: &Api, folder: &Path, name: &str, files: &[(&str, &str)]) {
    let zip = folder.join(format!("{name}.zip"));
    thalweg_plugin::pack(files, &zip).expect("the zip can be written");
    let body = json!({"name": name, "file": format!("file://{}", zip.display())});
    api.post("/plugins/portables", &body).is(201, &format!("portable plugin {name} is created"));
}
