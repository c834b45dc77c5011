//! What is defined, as a document (`rest-api.md` 14.2).

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};
use thalweg_engine::store::{StoreError, Table};
use thalweg_engine::{EngineError, ProfileKind};
use thalweg_sql::ast::SourceKind;

use super::items::{Items, Section};
use crate::server::App;
use crate::uploads;

/// Everything.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn all(app: &App) -> Result<Items, EngineError> {
    let mut items = common(app)?;
    let catalog = app.engine.catalog();
    for kind in [SourceKind::Stream, SourceKind::Table] {
        for name in catalog.names(kind, None) {
            definition(app, &name, &mut items);
        }
    }
    for (id, text) in app.engine.rules().exported() {
        items.put(Section::Rules, id, text);
    }
    for (kind, section) in
        [(ProfileKind::Source, Section::SourceConfig), (ProfileKind::Sink, Section::SinkConfig)]
    {
        for (of, keys) in app.engine.profiles().all_stored(kind) {
            let keys: Map<String, Json> =
                keys.into_iter().map(|(key, props)| (key, props.to_json())).collect();
            items.put(section, of, Json::Object(keys).to_string());
        }
    }
    for (name, text) in plugins(app)? {
        items.put(Section::PortablePlugins, name, text);
    }
    for (name, text) in app.services.installed() {
        items.put(Section::Service, name, text);
    }
    for (key, text) in app.schemas.exported() {
        items.put(Section::Schema, key, text);
    }
    for (name, text) in scripts(app) {
        items.put(Section::Scripts, name, text);
    }
    Ok(items)
}

/// What every export has: all connections and uploads.
fn common(app: &App) -> Result<Items, EngineError> {
    let mut items = Items::default();
    for (of, ids) in app.engine.connections().all_stored()? {
        items.put(Section::ConnectionConfig, of, Json::Object(ids).to_string());
    }
    for (name, text) in uploads::noted(app.engine.store().as_ref())? {
        items.put(Section::Uploads, name, text);
    }
    Ok(items)
}

/// A stream or table that is kept.
fn definition(app: &App, name: &str, items: &mut Items) {
    let Some(entry) = app.engine.catalog().get(name).filter(|entry| !entry.def.temp) else { return };
    let section = if entry.def.kind == SourceKind::Table { Section::Tables } else { Section::Streams };
    items.put(section, name, entry.statement.as_str());
}

/// How each plugin was installed that was installed over REST.
fn plugins(app: &App) -> Result<Vec<(String, String)>, StoreError> {
    let noted = app.engine.store().scan(Table::Plugin, "")?.into_iter();
    let there = noted.filter(|(name, _)| app.plugins.describe(name).is_some());
    Ok(there.map(|(name, bytes)| (name, String::from_utf8_lossy(&bytes).into_owned())).collect())
}

#[cfg(feature = "javascript")]
fn scripts(app: &App) -> Vec<(String, String)> {
    let all = app.scripts.list().into_iter().filter_map(|name| app.scripts.describe(&name));
    // Texts and a boolean, none of which can fail.
    all.map(|script| (script.id.clone(), serde_json::to_string(&script).unwrap_or_default())).collect()
}

#[cfg(not(feature = "javascript"))]
fn scripts(_: &App) -> Vec<(String, String)> {
    Vec::new()
}

/// These rules with what they use: streams and tables, their profiles, and the plugins, services, schemas and scripts that
/// they mention. Of a rule that does not exist the text is empty.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn of_rules(app: &App, ids: &[String]) -> Result<Items, EngineError> {
    let mut items = common(app)?;
    let mut used = Used::default();
    for id in ids {
        let text = app.engine.rules().describe(id).unwrap_or_default();
        used.mention(&text);
        if let Ok(definition) = app.engine.rules().definition(id) {
            for name in definition.sources() {
                used.stream(app, &name, &mut items);
            }
        }
        if let Ok(document) = serde_json::from_str(&text) {
            used.resources(app, &document, &mut items);
        }
        items.put(Section::Rules, id, text);
    }
    for (name, text) in plugins(app)? {
        let Some(plugin) = app.plugins.describe(&name) else { continue };
        let symbols = [plugin.sources, plugin.sinks, plugin.functions];
        if symbols.iter().flatten().flatten().any(|symbol| used.mentions(symbol)) {
            items.put(Section::PortablePlugins, name, text);
        }
    }
    let installed = app.services.installed();
    for function in app.services.functions().iter().filter(|function| used.mentions(&function.func_name)) {
        if let Some(text) = installed.get(&function.service_name) {
            items.put(Section::Service, function.service_name.as_str(), text.as_str());
        }
    }
    for (key, text) in app.schemas.exported() {
        if key.split_once('_').is_some_and(|(_, name)| used.mentions(name)) {
            items.put(Section::Schema, key, text);
        }
    }
    for (name, text) in scripts(app).into_iter().filter(|(name, _)| used.mentions(name)) {
        items.put(Section::Scripts, name, text);
    }
    Ok(items)
}

/// What rules and their streams mention. Plugins and functions are found by the words of texts: one too many does no harm.
#[derive(Default)]
struct Used {
    words: BTreeSet<String>,
}

impl Used {
    fn mention(&mut self, text: &str) {
        let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != '-');
        self.words.extend(words.filter(|word| !word.is_empty()).map(str::to_lowercase));
    }

    fn mentions(&self, symbol: &str) -> bool {
        self.words.contains(&symbol.to_lowercase())
    }

    fn stream(&mut self, app: &App, name: &str, items: &mut Items) {
        let Some(entry) = app.engine.catalog().get(name) else { return };
        definition(app, name, items);
        self.mention(&entry.statement);
        self.mention(&entry.def.source_type);
        if let Some(key) = entry.option("CONF_KEY") {
            profile(app, ProfileKind::Source, &entry.def.source_type, key, items);
        }
    }

    /// The profiles that actions name, wherever they stand in a document.
    fn resources(&self, app: &App, document: &Json, items: &mut Items) {
        match document {
            Json::Object(members) => {
                for (name, value) in members {
                    let key = value.as_object().and_then(|props| {
                        let found = props.iter().find(|(name, _)| name.eq_ignore_ascii_case("resourceId"));
                        found.and_then(|(_, value)| value.as_str())
                    });
                    if let Some(key) = key {
                        profile(app, ProfileKind::Sink, name, key, items);
                    }
                    self.resources(app, value, items);
                }
            }
            Json::Array(members) => members.iter().for_each(|value| self.resources(app, value, items)),
            _ => {}
        }
    }
}

/// Adds a stored profile to those of its type.
fn profile(app: &App, kind: ProfileKind, of: &str, key: &str, items: &mut Items) {
    let section = if kind == ProfileKind::Source { Section::SourceConfig } else { Section::SinkConfig };
    let stored = app.engine.profiles().all_stored(kind);
    for (stored_of, keys) in stored.iter().filter(|(stored_of, _)| stored_of.eq_ignore_ascii_case(of)) {
        let found = keys.iter().filter(|(name, _)| name.eq_ignore_ascii_case(key));
        for (name, props) in found {
            let there = items.of(section).find(|(of, _)| of == stored_of).map(|(_, text)| text.to_owned());
            let mut keys: Map<String, Json> =
                there.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            keys.insert(name.clone(), props.to_json());
            items.put(section, stored_of.as_str(), Json::Object(keys).to_string());
        }
    }
}
