//! Named sets of properties of sources and sinks (`CONF_KEY`, `resourceId`): those of files, and over them, property by
//! property, those that were stored over REST (`configuration.md` 4 and 5, `rest-api.md` 8.2).
//!
//! They are looked at whenever a rule is built, so that a change holds from a rule's next start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use serde_json::{Map, Value as Json};
use thalweg_core::connector::ConnectorKind;
use thalweg_core::registry::{ConnectorRef, Registry};
use thalweg_core::spec::{self, Roles};
use thalweg_core::time::format_duration;
use thalweg_core::{ErrorCode, Props};
use tracing::error;

use crate::error::EngineError;
use crate::id::check_id;
use crate::rule::without_meaning;
use crate::store::{Change, Store, Table};

/// The named property sections of source types in files: `etc/mqtt_source.yaml`, `etc/sources/<type>.yaml`, environment.
pub trait Profiles: Send + Sync {
    /// All sections of a type, with the environment laid over them. Nothing if there is no file for it.
    fn sections(&self, source_type: &str) -> Option<Map<String, Json>>;
}

/// No sections at all.
pub struct NoProfiles;

impl Profiles for NoProfiles {
    fn sections(&self, _: &str) -> Option<Map<String, Json>> {
        None
    }
}

/// Whose properties they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProfileKind {
    /// Of sources and lookups: `CONF_KEY`.
    Source,
    /// Of sinks: `resourceId`.
    Sink,
}

impl ProfileKind {
    /// The word in paths, keys and texts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "sources",
            Self::Sink => "sinks",
        }
    }
}

/// Kind, type, key.
type Name = (ProfileKind, String, String);

/// All profiles of an engine.
pub struct StoredProfiles {
    files: Arc<dyn Profiles>,
    registry: Arc<Registry>,
    store: Arc<dyn Store>,
    stored: RwLock<BTreeMap<Name, Props>>,
    /// Held by whoever writes.
    writing: Mutex<()>,
}

impl StoredProfiles {
    /// Reads what is stored. What cannot be understood is logged and left out, but stays stored.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn load(
        files: Arc<dyn Profiles>,
        registry: Arc<Registry>,
        store: Arc<dyn Store>,
    ) -> Result<Self, EngineError> {
        let mut stored = BTreeMap::new();
        for (key, bytes) in store.scan(Table::Profile, "")? {
            let members = serde_json::from_slice::<Map<String, Json>>(&bytes).ok();
            match name_of(&key).zip(members) {
                Some((name, members)) => drop(stored.insert(name, Props::from(members))),
                None => error!(profile = %key, "stored properties cannot be read"),
            }
        }
        Ok(Self { files, registry, store, stored: RwLock::new(stored), writing: Mutex::default() })
    }

    /// The properties of a profile: those of the file with the stored ones over them.
    pub(crate) fn get(&self, kind: ProfileKind, of: &str, key: &str) -> Option<Props> {
        let in_file = self.in_files(kind, of).and_then(|sections| match sections.get(key) {
            Some(Json::Object(members)) => Some(Props::from(members.clone())),
            _ => None,
        });
        let stored = self.stored();
        let stored = find(&stored, kind, of).find(|(name, _)| *name == key).map(|(_, props)| props);
        match (in_file, stored) {
            (Some(mut props), Some(stored)) => {
                props.merge(stored);
                Some(props)
            }
            (in_file, stored) => in_file.or_else(|| stored.cloned()),
        }
    }

    /// All profiles of a type, by name. Nothing if nobody knows the type.
    pub fn all(&self, kind: ProfileKind, of: &str) -> Option<Map<String, Json>> {
        let in_files = self.in_files(kind, of);
        let is_known = in_files.is_some() || self.is_known(kind, of);
        let mut all = in_files.unwrap_or_default();
        // A section without members is null in YAML.
        all.values_mut().filter(|section| section.is_null()).for_each(|empty| *empty = Map::new().into());
        let mut has_stored = false;
        for (name, props) in find(&self.stored(), kind, of) {
            has_stored = true;
            let mut under = match all.remove(name) {
                Some(Json::Object(members)) => Props::from(members),
                _ => Props::new(),
            };
            under.merge(props);
            all.insert(name.to_owned(), under.to_json());
        }
        (is_known || has_stored).then_some(all)
    }

    /// The stored profiles alone, by type and key.
    pub fn all_stored(&self, kind: ProfileKind) -> BTreeMap<String, BTreeMap<String, Props>> {
        let mut all: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for ((_, of, key), props) in self.stored().iter().filter(|(name, _)| name.0 == kind) {
            all.entry(of.clone()).or_default().insert(key.clone(), props.clone());
        }
        all
    }

    /// The types of sources that there are, and those that somebody has stored properties for.
    pub fn source_types(&self) -> BTreeSet<String> {
        let is_source = |connector: &dyn ConnectorKind| connector.has_source() || connector.has_lookup();
        let mut types: BTreeSet<String> = self.registry.names(is_source).into_iter().collect();
        types.extend(self.all_stored(ProfileKind::Source).into_keys());
        types
    }

    /// Stores a profile, in place of the one that is stored. Rules see it when they start next.
    ///
    /// # Errors
    /// The key is no id, or a value cannot be right for the connector (5000).
    pub fn put(&self, kind: ProfileKind, of: &str, key: &str, props: Props) -> Result<(), EngineError> {
        check_id(key).map_err(|why| why.prefixed("Invalid confKey: "))?;
        check_type(of)?;
        let props = normalized(of, props);
        self.check(kind, of, &props)?;
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = props.to_json().to_string().into_bytes();
        self.store.write(&[Change::Put(Table::Profile, store_key(kind, of, key), bytes)])?;
        let name = (kind, of.to_owned(), key.to_owned());
        self.stored.write().unwrap_or_else(PoisonError::into_inner).insert(name, props);
        Ok(())
    }

    /// Removes a stored profile. That of a file, if there is one, stays. Whether there was one.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn remove(&self, kind: ProfileKind, of: &str, key: &str) -> Result<bool, EngineError> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (kind, of.to_owned(), key.to_owned());
        if !self.stored().contains_key(&name) {
            return Ok(false);
        }
        self.store.write(&[Change::Delete(Table::Profile, store_key(kind, of, key))])?;
        self.stored.write().unwrap_or_else(PoisonError::into_inner).remove(&name);
        Ok(true)
    }

    /// What a stored profile says without effect here; also that nothing has its type.
    pub fn notes(&self, kind: ProfileKind, of: &str, key: &str) -> Vec<String> {
        let (connector, roles) = self.connector(kind, of);
        let Some(connector) = connector else {
            let what = kind.word().trim_end_matches('s');
            return vec![format!("there is no {what} of type {of} here; it is kept, and nothing uses it")];
        };
        let stored = self.stored();
        let Some((_, props)) = find(&stored, kind, of).find(|(name, _)| *name == key) else {
            return Vec::new();
        };
        let mut notes = self.registry.inert(&connector, roles, props);
        notes.extend(self.registry.unknown(&connector, roles, props).iter().map(without_meaning));
        notes
    }

    fn connector(&self, kind: ProfileKind, of: &str) -> (Option<ConnectorRef>, Roles) {
        match kind {
            ProfileKind::Sink => (self.registry.sink(of), Roles::SINK),
            ProfileKind::Source => match self.registry.source(of) {
                None => (self.registry.lookup(of), Roles::LOOKUP),
                source => (source, Roles::SOURCE),
            },
        }
    }

    fn in_files(&self, kind: ProfileKind, of: &str) -> Option<Map<String, Json>> {
        match kind {
            ProfileKind::Source => self.files.sections(of),
            // There are no files for sinks (configuration.md 5).
            ProfileKind::Sink => None,
        }
    }

    fn stored(&self) -> RwLockReadGuard<'_, BTreeMap<Name, Props>> {
        self.stored.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_known(&self, kind: ProfileKind, of: &str) -> bool {
        match kind {
            ProfileKind::Source => self.registry.source(of).is_some() || self.registry.lookup(of).is_some(),
            ProfileKind::Sink => self.registry.sink(of).is_some(),
        }
    }

    /// A value that no rule could use is refused here, where somebody looks. What is missing may come from elsewhere.
    fn check(&self, kind: ProfileKind, of: &str, props: &Props) -> Result<(), EngineError> {
        let (connector, roles) = match kind {
            ProfileKind::Source => (self.registry.source(of), Roles::SOURCE),
            ProfileKind::Sink => (self.registry.sink(of), Roles::SINK),
        };
        let Some(connector) = connector else { return Ok(()) };
        let owner = format!("{of} {}", kind.word().trim_end_matches('s'));
        spec::check(&owner, connector.props(), roles, props)
            .and_then(|()| self.registry.check_common(&owner, roles, props))
            .map_err(|why| EngineError::from(why).with_code(ErrorCode::ConfKey))
    }
}

/// Types match in any case, as TYPE and the names of actions do.
fn find<'a>(
    stored: &'a BTreeMap<Name, Props>,
    kind: ProfileKind,
    of: &'a str,
) -> impl Iterator<Item = (&'a str, &'a Props)> {
    let is_of = move |name: &Name| name.0 == kind && name.1.eq_ignore_ascii_case(of);
    stored.iter().filter(move |(name, _)| is_of(name)).map(|(name, props)| (name.2.as_str(), props))
}

/// Types that nobody knows are accepted, but not what could be no name at all.
pub(crate) fn check_type(of: &str) -> Result<(), EngineError> {
    let is_name = !of.is_empty() && of.len() <= 128 && !of.contains(['/', '\\']) && !of.contains("..");
    if is_name && !of.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        return Ok(());
    }
    let text = format!("Invalid type: {of:?} cannot be the name of a source, sink or connection");
    Err(EngineError::new(ErrorCode::ConfKey, text))
}

/// A key has no dot, so that the last one stands before it; a type may have some.
fn store_key(kind: ProfileKind, of: &str, key: &str) -> String {
    format!("{}.{of}.{key}", kind.word())
}

fn name_of(store_key: &str) -> Option<Name> {
    let (word, rest) = store_key.split_once('.')?;
    let (of, key) = rest.rsplit_once('.')?;
    let kind = [ProfileKind::Source, ProfileKind::Sink].into_iter().find(|kind| kind.word() == word)?;
    Some((kind, of.to_owned(), key.to_owned()))
}

/// Whole milliseconds that become texts when they are stored.
const DURATIONS: [&str; 4] = ["interval", "timeout", "cacheTtl", "expiration"];

/// As clients get it back (8.2): durations as text, old names of properties as the new ones.
pub(crate) fn normalized(of: &str, props: Props) -> Props {
    let Json::Object(mut members) = props.to_json() else { return props };
    if let Some(password) = members.remove("saslPassword") {
        members.insert("password".to_owned(), password);
    }
    if of == "sql"
        && let Some(url) = members.remove("url")
    {
        members.insert("dburl".to_owned(), url);
    }
    for name in DURATIONS {
        members.get_mut(name).into_iter().for_each(as_duration);
    }
    if let Some(Json::Object(lookup)) = members.get_mut("lookup") {
        lookup.get_mut("cacheTtl").into_iter().for_each(as_duration);
    }
    Props::from(members)
}

fn as_duration(value: &mut Json) {
    let millis = match &*value {
        Json::Number(number) => number.as_i64(),
        Json::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    if let Some(millis) = millis {
        *value = format_duration(millis).into();
    }
}

#[cfg(test)]
mod tests;
