//! Named property sections of source types, read from the home folder whenever a rule is planned (P1.1).

use std::path::Path;

use serde_json::{Map, Value as Json};
use thalweg_engine::Profiles;
use tracing::warn;

use crate::environment::{self, Environment};
use crate::home::Home;
use crate::yaml;

/// The files as shipped, used where the home has none.
const SHIPPED: [(&str, &str); 3] = [
    ("mqtt", include_str!("../../../etc/mqtt_source.yaml")),
    ("simulator", include_str!("../../../etc/sources/simulator.yaml")),
    ("file", include_str!("../../../etc/sources/file.yaml")),
];

/// `etc/mqtt_source.yaml`, `etc/sources/<type>.yaml`, `data/sources/<type>.yaml`, with the environment on top.
pub(crate) struct FileProfiles {
    home: Home,
    environment: Environment,
}

impl FileProfiles {
    /// The sections of a home folder.
    pub(crate) fn new(home: &Home, environment: Environment) -> Self {
        Self { home: home.clone(), environment }
    }

    fn tree(&self, source_type: &str) -> Json {
        let source_type = source_type.to_lowercase();
        let (etc, file) = match source_type.as_str() {
            "mqtt" => (self.home.join("etc/mqtt_source.yaml"), "mqtt_source".to_owned()),
            other => (self.home.join(format!("etc/sources/{other}.yaml")), other.to_owned()),
        };
        let installed = self.home.join(format!("data/sources/{source_type}.yaml"));
        let read = |path: &Path| {
            yaml::read(path).unwrap_or_else(|why| {
                warn!(why, "a file of source properties cannot be read and is left out");
                None
            })
        };
        let shipped = || {
            let (_, text) = SHIPPED.iter().find(|(name, _)| *name == source_type)?;
            yaml::parse(text).ok()
        };
        let mut tree = read(&etc).or_else(|| read(&installed)).or_else(shipped).unwrap_or_default();
        let overrides = environment::tree(&self.environment, &file);
        if tree.is_null() {
            tree = overrides;
        } else {
            yaml::overlay(&mut tree, &overrides);
        }
        tree
    }
}

impl Profiles for FileProfiles {
    fn sections(&self, source_type: &str) -> Option<Map<String, Json>> {
        // Types come from statements; a path must not leave the folder.
        if !source_type.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
            return None;
        }
        match self.tree(source_type) {
            Json::Object(sections) if !sections.is_empty() => Some(sections),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p1_7_a_section_comes_from_the_file_with_the_environment_on_top_and_a_missing_file_from_the_shipped_one()
     {
        let folder = tempfile::tempdir().expect("a folder");
        let variables = [("MQTT_SOURCE__DEFAULT__SERVER", "tcp://mq:1"), ("MQTT_SOURCE__DEMO__QOS", "0")];
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let profiles = FileProfiles::new(&Home::under(folder.path()), environment);
        let shipped = profiles.sections("mqtt").expect("it is shipped");
        assert_eq!(shipped["default"]["server"], "tcp://mq:1");
        assert_eq!((&shipped["default"]["qos"], &shipped["demo"]["qos"]), (&Json::from(1), &Json::from(0)));
        std::fs::create_dir_all(folder.path().join("etc/sources")).expect("made");
        std::fs::write(folder.path().join("etc/sources/own.yaml"), "default: {a: 1}").expect("written");
        assert_eq!(profiles.sections("own").map(|own| own["default"]["a"].clone()), Some(Json::from(1)));
        assert_eq!((profiles.sections("../own"), profiles.sections("none")), (None, None));
    }
}
