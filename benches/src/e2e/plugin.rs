//! The plugin of the job `udf`: a package for eKuiper's own protocol and Python module, so that either engine takes it.

use serde_json::json;

use super::http::Api;

/// A function of rows; its name holds this process's number, because sockets of plugins have fixed places.
pub(crate) struct Plugin {
    name: String,
}

impl Plugin {
    pub(crate) fn new() -> Self {
        Self { name: format!("bench{}", std::process::id()) }
    }

    /// The function's name: degrees of Celsius in, of Fahrenheit out.
    pub(crate) fn function(&self) -> String {
        format!("{}_fahrenheit", self.name)
    }

    /// Has the engine install it, which reads the package from a file of this machine.
    pub(crate) fn install(&self, api: &Api) -> Result<(), String> {
        let Self { name } = self;
        let manifest = json!({
            "version": "v1.0.0",
            "language": "python",
            "executable": format!("{name}.py"),
            "functions": [self.function()],
        });
        let files = [(format!("{name}.json"), manifest.to_string()), (format!("{name}.py"), self.script())];
        let files = files.each_ref().map(|(path, content)| (path.as_str(), content.as_str()));
        let folder = tempfile::tempdir().map_err(|why| format!("no temporary folder: {why}"))?;
        let zip = folder.path().join(format!("{name}.zip"));
        thalweg_plugin::pack(&files, &zip).map_err(|why| format!("{}: {why}", zip.display()))?;
        let request = json!({"name": name, "file": format!("file://{}", zip.display())});
        api.expect("POST", "/plugins/portables", &request.to_string()).map(drop)
    }

    fn script(&self) -> String {
        format!(
            "{}\n\nplugin.start(PluginConfig(\"{}\", {{}}, {{}}, {{\"{}\": Fahrenheit}}))\n",
            SCRIPT,
            self.name,
            self.function()
        )
    }

    /// Takes it away again; a missing one is fine.
    pub(crate) fn remove(&self, api: &Api) {
        let _ = api.call("DELETE", &format!("/plugins/portables/{}", self.name), "");
    }
}

const SCRIPT: &str = r#"from ekuiper import Function, PluginConfig, plugin


class Fahrenheit(Function):
    def validate(self, args):
        return ""

    def exec(self, args, ctx):
        return args[0] * 1.8 + 32

    def is_aggregate(self):
        return False"#;
