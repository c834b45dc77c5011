//! Where the configuration comes from, layer by layer: what holds, who says so, and what is wrong with it.

use std::path::Path;

use serde_json::Value as Json;

use super::keys;
use crate::environment::{self, Environment};
use crate::yaml;

/// Everything that was said.
pub(crate) struct Layers(Vec<Layer>);

/// One file, or the variables that stand for it.
struct Layer {
    source: Source,
    tree: Json,
}

/// Who says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The file as shipped.
    Shipped,
    /// A file of the folder etc.
    File(String),
    /// Variables that begin like this.
    Environment(String),
    /// What is built in.
    BuiltIn,
}

/// A value that holds.
pub(crate) struct Setting {
    pub(crate) path: String,
    /// As it may be shown.
    pub(crate) value: String,
    pub(crate) source: Source,
}

impl Source {
    /// For people.
    pub(crate) fn text(&self, path: &str) -> String {
        match self {
            Self::Shipped => "as shipped".to_owned(),
            Self::BuiltIn => "built in".to_owned(),
            Self::File(name) => format!("etc/{name}"),
            Self::Environment(prefix) => {
                format!("{prefix}__{}", path.to_uppercase().replace('.', "__"))
            }
        }
    }
}

impl Layers {
    /// Reads the files of a folder and the variables.
    ///
    /// # Errors
    /// A file cannot be read; the message names it.
    pub(crate) fn read(etc: &Path, environment: &Environment) -> Result<Self, String> {
        let mut layers = vec![Layer { source: Source::Shipped, tree: yaml::parse(super::SHIPPED)? }];
        for file in ["kuiper.yaml", "thalweg.yaml"] {
            if let Some(tree) = yaml::read(&etc.join(file))? {
                layers.push(Layer { source: Source::File(file.to_owned()), tree });
            }
        }
        for prefix in ["KUIPER", "THALWEG"] {
            let tree = environment::tree(environment, prefix);
            layers.push(Layer { source: Source::Environment(prefix.to_owned()), tree });
        }
        Ok(Self(layers))
    }

    /// All of them laid over each other.
    pub(crate) fn merged(&self) -> Json {
        let mut tree = Json::Null;
        for layer in &self.0 {
            if tree.is_null() {
                tree = layer.tree.clone();
            } else {
                yaml::overlay(&mut tree, &layer.tree);
            }
        }
        tree
    }

    /// What is said and means nothing, or has no effect, each with the place.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for layer in &self.0 {
            for (path, _) in leaves(&layer.tree) {
                let place = layer.source.text(&path);
                match keys::find(&path) {
                    Some(key) if !key.idle.is_empty() && layer.source != Source::Shipped => {
                        warnings.push(format!("{place}: {path} has no effect: {}", key.idle));
                    }
                    Some(_) => {}
                    None if keys::is_rule_option(&path) => {}
                    None => warnings.push(format!("{place}: {}", keys::unknown(&path))),
                }
            }
        }
        warnings
    }

    /// What holds, in the order of the table; `all`: also what nobody says.
    pub(crate) fn settings(&self, all: bool) -> Vec<Setting> {
        let merged = self.merged();
        let mut settings = Vec::new();
        let said = leaves(&merged);
        for key in keys::KEYS.iter().filter(|key| key.idle.is_empty()) {
            let own = said.iter().filter(|(path, _)| keys::find(path).is_some_and(|of| of.path == key.path));
            let before = settings.len();
            settings.extend(own.map(|(path, value)| self.setting(path, value)));
            if settings.len() == before && (all || !key.built_in.is_empty()) {
                let value = if key.built_in.is_empty() { "-" } else { key.built_in };
                let (path, value) = (key.path.to_owned(), value.to_owned());
                settings.push(Setting { path, value, source: Source::BuiltIn });
            }
        }
        let rules = said.iter().filter(|(path, _)| keys::is_rule_option(path));
        settings.extend(rules.map(|(path, value)| self.setting(path, value)));
        settings
    }

    fn setting(&self, path: &str, value: &Json) -> Setting {
        let says = |layer: &&Layer| leaves(&layer.tree).iter().any(|(own, _)| own.eq_ignore_ascii_case(path));
        let source = self.0.iter().rev().find(says).map_or(Source::BuiltIn, |layer| layer.source.clone());
        Setting { path: path.to_owned(), value: shown(path, value), source }
    }

    /// What the environment says, for the log (configuration.md 3, rule 4).
    pub(crate) fn of_environment(&self) -> Vec<String> {
        let layers = self.0.iter().filter(|layer| matches!(layer.source, Source::Environment(_)));
        let told = layers.flat_map(|layer| {
            leaves(&layer.tree).into_iter().map(|(path, value)| {
                format!("Set config 'kuiper.{path}' to '{}' by environment variable", shown(&path, value))
            })
        });
        told.collect()
    }
}

/// A value as it may be shown.
pub(crate) fn shown(path: &str, value: &Json) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if keys::is_secret(path) && !text.is_empty() { "***".to_owned() } else { text }
}

/// The values of a tree that are no sections, each with its path.
pub(crate) fn leaves(tree: &Json) -> Vec<(String, &Json)> {
    let mut found = Vec::new();
    gather(tree, String::new(), &mut found);
    found
}

fn gather<'a>(tree: &'a Json, path: String, found: &mut Vec<(String, &'a Json)>) {
    match tree {
        Json::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                gather(value, path, found);
            }
        }
        Json::Null => {}
        other => found.push((path, other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(written: &str, variables: &[(&str, &str)]) -> Layers {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("kuiper.yaml"), written).expect("written");
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Layers::read(folder.path(), &variables.collect()).expect("it can be read")
    }

    #[test]
    fn every_value_says_where_it_comes_from() {
        let layers = layers(
            "basic: {restPort: 1, logLevel: warn}\nportable: {secrets: {p: {pin: 12}}}\nrule: {qos: 1}",
            &[("THALWEG__BASIC__RESTPORT", "2")],
        );
        let settings = layers.settings(false);
        let of = |path: &str| {
            let setting = settings.iter().find(|setting| setting.path.eq_ignore_ascii_case(path));
            setting.map(|setting| (setting.value.clone(), setting.source.text(&setting.path)))
        };
        let said = |value: &str, place: &str| Some((value.to_owned(), place.to_owned()));
        assert_eq!(of("basic.restPort"), said("2", "THALWEG__BASIC__RESTPORT"));
        assert_eq!(of("basic.logLevel"), said("warn", "etc/kuiper.yaml"));
        assert_eq!(of("basic.restIp"), said("0.0.0.0", "as shipped"));
        assert_eq!(of("basic.authentication"), said("false", "built in"));
        assert_eq!(of("portable.secrets.p.pin"), said("***", "etc/kuiper.yaml"));
        assert_eq!(of("rule.qos"), said("1", "etc/kuiper.yaml"));
        assert_eq!(of("basic.restTls.certfile"), None);
        assert!(layers.settings(true).len() > settings.len());
    }

    #[test]
    fn what_means_nothing_and_what_does_nothing_is_told_with_its_place() {
        let layers = layers(
            "basic: {restProt: 1, pprof: true}\nstore: {redis: {password: x}}",
            &[("KUIPER__BASIC__DEBUGG", "1")],
        );
        let expected = [
            "etc/kuiper.yaml: basic.pprof has no effect: there is no Go profiler",
            "etc/kuiper.yaml: basic.restProt is no key; did you mean basic.restPort?",
            "etc/kuiper.yaml: store.redis.password has no effect: there is one store, data/thalweg.redb",
            "KUIPER__BASIC__DEBUGG: basic.debugg is no key; did you mean basic.debug?",
        ];
        assert_eq!(layers.warnings(), expected);
    }

    #[test]
    fn the_shipped_file_has_no_unknown_key() {
        assert_eq!(layers("", &[]).warnings(), Vec::<String>::new());
    }

    #[test]
    fn variables_are_told_without_secrets() {
        let layers =
            layers("", &[("KUIPER__BASIC__RESTPORT", "9082"), ("KUIPER__STORE__REDIS__PASSWORD", "p=1")]);
        let expected = [
            "Set config 'kuiper.basic.restport' to '9082' by environment variable",
            "Set config 'kuiper.store.redis.password' to '***' by environment variable",
        ];
        assert_eq!(layers.of_environment(), expected);
    }
}
