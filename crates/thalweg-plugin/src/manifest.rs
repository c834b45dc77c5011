//! `<name>.json`: what a package says about itself (`portable-plugins.md` 1), and what the API shows of it.

use serde::{Deserialize, Serialize};

use crate::limits::PluginLimits;

/// The description of an installed plugin. The order of the fields is that of the API, where a test of eKuiper
/// compares the text; absent lists are `null`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginInfo {
    /// The plugin's name.
    pub name: String,
    /// Free text.
    pub version: String,
    /// `python` or `go`.
    pub language: String,
    /// The absolute path of the executable.
    pub executable: String,
    /// `conda` or `venv`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_env_type: Option<String>,
    /// The environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Source symbols.
    pub sources: Option<Vec<String>>,
    /// Sink symbols.
    pub sinks: Option<Vec<String>>,
    /// Function symbols.
    pub functions: Option<Vec<String>>,
}

/// The file as written.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) language: String,
    pub(crate) executable: String,
    pub(crate) virtual_env_type: String,
    pub(crate) env: String,
    pub(crate) sources: Option<Vec<String>>,
    pub(crate) sinks: Option<Vec<String>>,
    pub(crate) functions: Option<Vec<String>>,
    pub(crate) use_bundled_sdk: Option<bool>,
    /// See [`PluginLimits`].
    pub(crate) limits: serde_json::Value,
}

/// The kinds of symbols, in the order in which they are started again after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Function,
    Sink,
    Source,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Function, Self::Sink, Self::Source];

    /// As the control channel says it.
    pub(crate) fn wire_name(self) -> &'static str {
        match self {
            Self::Function => "func",
            Self::Sink => "sink",
            Self::Source => "source",
        }
    }

    /// As people say it.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Function => "function",
            other => other.wire_name(),
        }
    }

    /// The folder of the symbols' metadata.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Function => "functions",
            Self::Sink => "sinks",
            Self::Source => "sources",
        }
    }
}

impl Manifest {
    /// Reads and checks the file of the plugin `name`.
    pub(crate) fn parse(text: &[u8], name: &str) -> Result<Self, String> {
        let mut manifest: Self =
            serde_json::from_slice(text).map_err(|error| format!("invalid {name}.json: {error}"))?;
        if manifest.name.is_empty() {
            manifest.name = name.to_owned();
        }
        manifest.check(name)?;
        Ok(manifest)
    }

    fn check(&self, name: &str) -> Result<(), String> {
        if self.name != name {
            return Err(format!("invalid plugin, expect name '{name}' but got '{}'", self.name));
        }
        if self.language.is_empty() {
            return Err("invalid plugin, missing language".to_owned());
        }
        if self.executable.is_empty() {
            return Err("invalid plugin, missing executable".to_owned());
        }
        if Kind::ALL.iter().all(|kind| self.symbols(*kind).is_empty()) {
            return Err("invalid plugin, must define at lease one source, sink or function".to_owned());
        }
        if self.language != "go" && self.language != "python" {
            return Err(format!("invalid plugin, language '{}' is not supported", self.language));
        }
        PluginLimits::default()
            .changed_by(&self.limits)
            .map_err(|error| format!("invalid plugin, {error}"))?;
        match (self.virtual_env_type.as_str(), self.env.as_str()) {
            ("", _) => Ok(()),
            ("conda" | "venv", "") => {
                Err(format!("invalid plugin, virtualEnvType '{}' needs env", self.virtual_env_type))
            }
            ("conda" | "venv", _) => Ok(()),
            (other, _) => Err(format!("invalid plugin, virtualEnvType '{other}' is not supported")),
        }
    }

    /// The symbols of a kind.
    pub(crate) fn symbols(&self, kind: Kind) -> &[String] {
        let list = match kind {
            Kind::Function => &self.functions,
            Kind::Sink => &self.sinks,
            Kind::Source => &self.sources,
        };
        list.as_deref().unwrap_or_default()
    }

    /// As the API shows it.
    pub(crate) fn info(&self, executable: &std::path::Path) -> PluginInfo {
        let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        PluginInfo {
            name: self.name.clone(),
            version: self.version.clone(),
            language: self.language.clone(),
            executable: executable.display().to_string(),
            virtual_env_type: optional(&self.virtual_env_type),
            env: optional(&self.env),
            sources: self.sources.clone(),
            sinks: self.sinks.clone(),
            functions: self.functions.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_has_upstreams_text() {
        for (text, expected) in [
            (r#"{"name":"b"}"#, "invalid plugin, expect name 'a' but got 'b'"),
            (r#"{"executable":"x"}"#, "invalid plugin, missing language"),
            (r#"{"language":"go"}"#, "invalid plugin, missing executable"),
            (
                r#"{"language":"go","executable":"x"}"#,
                "invalid plugin, must define at lease one source, sink or function",
            ),
            (
                r#"{"language":"rust","executable":"x","sinks":["s"]}"#,
                "invalid plugin, language 'rust' is not supported",
            ),
            (
                r#"{"language":"python","executable":"x","sinks":["s"],"virtualEnvType":"conda"}"#,
                "invalid plugin, virtualEnvType 'conda' needs env",
            ),
        ] {
            assert_eq!(Manifest::parse(text.as_bytes(), "a").unwrap_err(), expected);
        }
    }

    #[test]
    fn the_text_of_a_description_has_upstreams_keys_in_upstreams_order() {
        let text = br#"{"version":"v1.0.0","language":"python","executable":"pysam.py","sources":["pyjson"],"extra":1}"#;
        let manifest = Manifest::parse(text, "pysam").unwrap();
        let shown = serde_json::to_string(&manifest.info(std::path::Path::new("/p/pysam.py"))).unwrap();
        assert_eq!(
            shown,
            r#"{"name":"pysam","version":"v1.0.0","language":"python","executable":"/p/pysam.py","sources":["pyjson"],"sinks":null,"functions":null}"#
        );
    }
}
