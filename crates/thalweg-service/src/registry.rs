//! Schemas that are kept for formats (`rest-api.md` 9): `data/schemas/<type>/<name>[@version].proto`, and before them
//! those of `etc/schemas`, of which the higher version wins.
//!
//! The files are the store. A text is compiled before it is written; a file is whole or not there; of two versions that a
//! crash has left, the higher one counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde::Serialize;
use serde_json::json;
use tracing::{error, warn};

use crate::ServiceConfig;
use crate::archive::SchemaPackage;
use crate::folder::replace;
use crate::host::{fetch, is_url};
use crate::resolver::Resolver;
use crate::schema::Schema;

/// What schemas are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SchemaType {
    /// `.proto` texts.
    Protobuf,
    /// Native libraries; kept, and used by nobody here.
    Custom,
}

impl SchemaType {
    const ALL: [SchemaType; 2] = [Self::Protobuf, Self::Custom];

    /// The type of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name in paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::Protobuf => "protobuf",
            Self::Custom => "custom",
        }
    }
}

/// What is to become of a schema. The name is already checked to be an id.
#[derive(Debug, Clone, Default)]
pub struct SchemaRequest {
    /// Its name.
    pub name: String,
    /// Its text.
    pub content: String,
    /// Or the url of its text, or of a zip with `<name>.proto` and a folder `<name>`.
    pub file: String,
    /// The url of a library.
    pub so_file: String,
    /// Its version, if it has one.
    pub version: String,
}

/// A schema as `GET /schemas/{type}/{name}` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SchemaInfo {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    content: String,
    file: String,
    #[serde(rename = "soFile", skip_serializing_if = "String::is_empty")]
    so_file: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
}

/// Where a schema lies.
#[derive(Debug, Clone, Default)]
struct Entry {
    version: String,
    text: Option<PathBuf>,
    library: Option<PathBuf>,
    /// It came with `etc`, which is not ours to change.
    is_given: bool,
}

/// A new schema, checked, and not yet written.
#[derive(Default)]
struct Prepared {
    text: Option<Vec<u8>>,
    /// Files of the folder with the schema's name, by their paths below the type's folder.
    others: BTreeMap<String, Vec<u8>>,
    library: Option<Vec<u8>>,
}

type Entries = BTreeMap<(SchemaType, String), Entry>;

/// All schemas.
#[derive(Debug)]
pub struct SchemaRegistry {
    config: ServiceConfig,
    entries: RwLock<Entries>,
    /// Held by whoever changes something.
    changing: Mutex<()>,
}

/// The largest text of a schema.
const LARGEST: u64 = 4 << 20;

impl SchemaRegistry {
    /// Finds what there is in `etc/schemas` and `data/schemas`.
    pub fn open(config: ServiceConfig) -> Self {
        let mut entries = Entries::new();
        for (base, is_given) in [(&config.etc_dir, true), (&config.data_dir, false)] {
            for kind in SchemaType::ALL {
                find(&base.join("schemas").join(kind.name()), kind, is_given, &mut entries);
            }
        }
        Self { config, entries: RwLock::new(entries), changing: Mutex::default() }
    }

    /// The names of all schemas of a type.
    pub fn list(&self, kind: SchemaType) -> Vec<String> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.keys().filter(|(of, _)| *of == kind).map(|(_, name)| name.clone()).collect()
    }

    /// One schema.
    ///
    /// # Errors
    /// There is none, or its file cannot be read.
    pub fn get(&self, kind: SchemaType, name: &str) -> Result<SchemaInfo, String> {
        let missing = || format!("schema type {} id {name} not found in registry", kind.name());
        let entry = self.find(kind, name).ok_or_else(missing)?;
        let shown = |path: &Option<PathBuf>| {
            path.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let content = match &entry.text {
            Some(path) => fs::read(path).map_err(|why| format!("cannot read {}: {why}", path.display()))?,
            None => Vec::new(),
        };
        Ok(SchemaInfo {
            kind: kind.name(),
            name: name.to_owned(),
            content: String::from_utf8_lossy(&content).into_owned(),
            file: shown(&entry.text),
            so_file: shown(&entry.library),
            version: entry.version,
        })
    }

    /// The requests that would make the stored schemas anew, as JSON texts by `<type>_<name>` (for export).
    pub fn exported(&self) -> BTreeMap<String, String> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner).clone();
        let stored = entries.into_iter().filter(|(_, entry)| !entry.is_given);
        let requests = stored.filter_map(|((kind, name), entry)| {
            let info = self.get(kind, &name).ok()?;
            let mut request = json!({"name": name});
            if entry.text.is_some() {
                request["content"] = info.content.into();
            }
            if entry.library.is_some() {
                request["soFile"] = format!("file://{}", info.so_file).into();
            }
            if !entry.version.is_empty() {
                request["version"] = entry.version.into();
            }
            Some((format!("{}_{name}", kind.name()), request.to_string()))
        });
        requests.collect()
    }

    /// Makes a schema.
    ///
    /// # Errors
    /// There is one of this name, or it is not right; then nothing has changed.
    pub fn create(&self, kind: SchemaType, request: &SchemaRequest) -> Result<(), String> {
        let turn = self.turn();
        check_version(&request.version)?;
        if self.find(kind, &request.name).is_some() {
            return Err(format!("schema {}.{} already registered", kind.name(), request.name));
        }
        let prepared = self.prepare(kind, request)?;
        self.put(kind, &request.name, &request.version, &prepared, &turn)
    }

    /// Replaces a schema, or makes it.
    ///
    /// # Errors
    /// There is a newer one, or it is not right; then nothing has changed.
    pub fn replace(&self, kind: SchemaType, request: &SchemaRequest) -> Result<(), String> {
        let turn = self.turn();
        self.check_version(kind, &request.name, &request.version)?;
        let prepared = self.prepare(kind, request)?;
        self.put(kind, &request.name, &request.version, &prepared, &turn)
    }

    /// Replaces a schema by an uploaded file, or makes it. Whether it is new.
    ///
    /// # Errors
    /// As for [`SchemaRegistry::replace`].
    pub fn upload(
        &self,
        kind: SchemaType,
        (name, version): (&str, &str),
        (file_name, content): (&str, &[u8]),
    ) -> Result<bool, String> {
        let turn = self.turn();
        self.check_version(kind, name, version)?;
        let mut prepared = match kind {
            SchemaType::Custom => Prepared { library: Some(content.to_vec()), ..Prepared::default() },
            SchemaType::Protobuf if file_name.ends_with(".zip") => packed(content, name)?,
            SchemaType::Protobuf => Prepared { text: Some(content.to_vec()), ..Prepared::default() },
        };
        self.compile(name, &mut prepared)?;
        let is_new = self.find(kind, name).is_none();
        self.put(kind, name, version, &prepared, &turn)?;
        Ok(is_new)
    }

    /// Deletes a schema.
    ///
    /// # Errors
    /// There is none, it came with `etc`, or its file cannot be removed.
    pub fn delete(&self, kind: SchemaType, name: &str) -> Result<(), String> {
        let _turn = self.turn();
        let entry =
            self.find(kind, name).ok_or_else(|| format!("schema {}.{name} not found", kind.name()))?;
        if entry.is_given {
            return Err(format!("schema {}.{name} is a file of etc/schemas; remove it there", kind.name()));
        }
        self.clear(kind, name, None).map_err(|why| format!("cannot remove its file: {why}"))?;
        let others = self.folder(kind).join(name);
        if others.is_dir()
            && let Err(why) = fs::remove_dir_all(&others)
        {
            warn!(schema = name, %why, "its folder is left behind");
        }
        // One of etc shows again.
        let mut given = Entries::new();
        find(&self.config.etc_dir.join("schemas").join(kind.name()), kind, true, &mut given);
        let key = (kind, name.to_owned());
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        match given.remove(&key) {
            Some(given) => drop(entries.insert(key, given)),
            None => drop(entries.remove(&key)),
        }
        Ok(())
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, kind: SchemaType, name: &str) -> Option<Entry> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(&(kind, name.to_owned())).cloned()
    }

    fn folder(&self, kind: SchemaType) -> PathBuf {
        self.config.data_dir.join("schemas").join(kind.name())
    }

    fn check_version(&self, kind: SchemaType, name: &str, version: &str) -> Result<(), String> {
        check_version(version)?;
        match self.find(kind, name).filter(|entry| entry.version.as_str() > version) {
            Some(newer) => {
                let kind = kind.name();
                Err(format!("schema {kind}.{name} already registered with a newer version {}", newer.version))
            }
            None => Ok(()),
        }
    }

    /// Everything that can fail before something is written: fetch, unpack, compile.
    fn prepare(&self, kind: SchemaType, request: &SchemaRequest) -> Result<Prepared, String> {
        let SchemaRequest { name, content, file, so_file, .. } = request;
        let mut prepared = match (content.as_str(), file.as_str()) {
            ("", "") => Prepared::default(),
            ("", url) if url.ends_with(".zip") => packed(&self.fetch(url)?, name)?,
            ("", url) => Prepared { text: Some(self.fetch(url)?), ..Prepared::default() },
            (content, _) => Prepared { text: Some(content.into()), ..Prepared::default() },
        };
        if kind == SchemaType::Protobuf {
            self.compile(name, &mut prepared)?;
        }
        if !so_file.is_empty() {
            prepared.library = Some(self.fetch(so_file)?);
        }
        Ok(prepared)
    }

    fn fetch(&self, url: &str) -> Result<Vec<u8>, String> {
        if !is_url(url) {
            return Err(format!("invalid file path {url}"));
        }
        let failed = |why: String| format!("fail to download file {url}: {why}");
        let folder = self.config.data_dir.join("schemas");
        fs::create_dir_all(&folder).map_err(|why| failed(why.to_string()))?;
        // Whoever fetches has the turn.
        let target = folder.join(".fetched");
        let fetched = fetch(&self.config)
            .download(url, &target)
            .and_then(|()| fs::read(&target).map_err(|why| why.to_string()));
        // It is made anew by the next one.
        let _ = fs::remove_file(&target);
        fetched.map_err(failed)
    }

    fn compile(&self, name: &str, prepared: &mut Prepared) -> Result<(), String> {
        let Some(text) = &prepared.text else { return Ok(()) };
        if text.len() as u64 > LARGEST {
            return Err(format!("its text is larger than {} MB", LARGEST >> 20));
        }
        let file = format!("{name}.proto");
        let mut files = prepared.others.clone();
        files.insert(file.clone(), text.clone());
        let folders = [&self.config.data_dir, &self.config.etc_dir].map(|base| base.join("schemas/protobuf"));
        let resolver = Resolver { packed: Arc::new(files), folders: folders.to_vec() };
        Schema::compile(&file, resolver).map(drop).map_err(|why| format!("invalid protobuf schema: {why}"))
    }

    fn put(
        &self,
        kind: SchemaType,
        name: &str,
        version: &str,
        prepared: &Prepared,
        _turn: &MutexGuard<'_, ()>,
    ) -> Result<(), String> {
        let folder = self.folder(kind);
        let stem = if version.is_empty() { name.to_owned() } else { format!("{name}@{version}") };
        let write = |path: PathBuf, content: &[u8]| {
            let written =
                replace(&path, content).map_err(|why| format!("cannot write {}: {why}", path.display()));
            written.map(|()| path)
        };
        for (path, content) in &prepared.others {
            write(folder.join(path), content)?;
        }
        let library =
            prepared.library.as_ref().map(|library| write(folder.join(format!("{stem}.so")), library));
        let library = library.transpose()?;
        let text = prepared.text.as_ref().map(|text| write(folder.join(format!("{stem}.proto")), text));
        let text = text.transpose()?;
        let entry = Entry { version: version.to_owned(), text, library, is_given: false };
        // What was there before lies under another version, or has a library that this one lacks.
        if let Err(why) = self.clear(kind, name, Some(&entry)) {
            warn!(schema = name, %why, "an older version is left behind");
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.insert((kind, name.to_owned()), entry);
        Ok(())
    }

    /// Removes all files of a schema but those of an entry.
    fn clear(&self, kind: SchemaType, name: &str, but: Option<&Entry>) -> std::io::Result<()> {
        let kept: Vec<&PathBuf> =
            but.into_iter().flat_map(|entry| entry.text.iter().chain(&entry.library)).collect();
        for entry in fs::read_dir(self.folder(kind))? {
            let path = entry?.path();
            let is_its = parts(&path).is_some_and(|parts| parts.name == name) && path.is_file();
            if is_its && !kept.contains(&&path) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

/// A version is a part of the names of files.
fn check_version(version: &str) -> Result<(), String> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | '+');
    if version.len() <= 64 && version.chars().all(is_plain) {
        return Ok(());
    }
    let shown: String = version.chars().take(64).collect();
    Err(format!("invalid version {shown:?}: letters, digits and . - _ + only, 64 at most"))
}

fn packed(zip: &[u8], name: &str) -> Result<Prepared, String> {
    let SchemaPackage { text, others } = SchemaPackage::read(zip, name)?;
    Ok(Prepared { text: Some(text), others, library: None })
}

/// What the name of a file says.
struct Parts<'a> {
    name: &'a str,
    version: &'a str,
    is_library: bool,
}

fn parts(path: &Path) -> Option<Parts<'_>> {
    let stem = path.file_stem()?.to_str()?;
    let is_library = match path.extension()?.to_str()? {
        "so" => true,
        "proto" => false,
        _ => return None,
    };
    let (name, version) = stem.split_once('@').unwrap_or((stem, ""));
    (!name.is_empty() && !name.starts_with('.')).then_some(Parts { name, version, is_library })
}

/// Adds the schemas of a folder; of several versions the highest counts.
fn find(folder: &Path, kind: SchemaType, is_given: bool, entries: &mut Entries) {
    let paths = match fs::read_dir(folder) {
        Ok(paths) => paths,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return,
        Err(why) => return error!(folder = %folder.display(), %why, "schemas cannot be read"),
    };
    for path in paths.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()) {
        let Some(Parts { name, version, is_library }) = parts(&path) else { continue };
        let key = (kind, name.to_owned());
        let there = entries.get(&key);
        let is_older = there.is_some_and(|there| there.version.as_str() > version);
        let is_same = there.is_some_and(|there| there.version == version && there.is_given == is_given);
        if is_older {
            continue;
        }
        let version = version.to_owned();
        if !is_same {
            entries.insert(key.clone(), Entry { version, is_given, ..Entry::default() });
        }
        if let Some(entry) = entries.get_mut(&key) {
            *(if is_library { &mut entry.library } else { &mut entry.text }) = Some(path);
        }
    }
}

#[cfg(test)]
mod tests;
