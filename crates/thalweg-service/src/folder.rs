//! `data/services` on the disk: definitions, schemas, and the requests by which services were installed.
//!
//! An installation replaces several files. It writes each under another name first, and puts all back if one fails.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ServiceConfig;
use crate::archive::Package;

/// The request that installed a service, and the schemas that came with it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) file: String,
    #[serde(default)]
    pub(crate) schemas: Vec<String>,
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
}

impl Folder {
    pub(crate) fn new(config: &ServiceConfig) -> Self {
        Self { dir: config.data_dir.join("services") }
    }

    /// Where schemas are.
    pub(crate) fn schemas(&self) -> PathBuf {
        self.dir.join("schemas")
    }

    /// A name for a file that is being fetched.
    pub(crate) fn fetched(&self, name: &str) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.dir)?;
        Ok(self.dir.join(format!(".{name}.zip")))
    }

    /// The definitions, by name.
    pub(crate) fn definitions(&self) -> BTreeMap<String, io::Result<Vec<u8>>> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return BTreeMap::new() };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths
            .filter_map(|path| {
                let name = path.file_name()?.to_str()?.strip_suffix(".json")?.to_owned();
                (!name.starts_with('.')).then(|| (name, fs::read(&path)))
            })
            .collect()
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.dir.join(".installed").join(name)
    }

    /// The request that installed a service, if one did.
    pub(crate) fn record(&self, name: &str) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.record_path(name)).ok()?).ok()
    }

    /// The content of a schema that is there.
    pub(crate) fn schema(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.schemas().join(name)).ok()
    }

    /// Writes all files of a service.
    pub(crate) fn write(&self, record: &Record, package: &Package) -> Result<(), String> {
        let schemas = self.schemas();
        let mut files: Vec<(PathBuf, &[u8])> =
            package.schemas.iter().map(|(name, content)| (schemas.join(name), content.as_slice())).collect();
        let text = serde_json::to_vec(record).map_err(|why| why.to_string())?;
        files.push((self.record_path(&record.name), &text));
        files.push((self.dir.join(format!("{}.json", record.name)), &package.definition));
        let mut undo = Vec::new();
        for (path, content) in &files {
            undo.push((path, fs::read(path).ok()));
            if let Err(why) = replace(path, content) {
                for (path, before) in undo {
                    // What cannot be put back is no worse than what is there.
                    let _ = match before {
                        Some(content) => replace(path, &content),
                        None => fs::remove_file(path),
                    };
                }
                return Err(format!("cannot write {}: {why}", path.display()));
            }
        }
        Ok(())
    }

    /// Removes a service and those of its schemas that nobody else needs.
    pub(crate) fn remove(&self, name: &str, is_needed: impl Fn(&str) -> bool) -> io::Result<()> {
        fs::remove_file(self.dir.join(format!("{name}.json")))?;
        let brought = self.record(name).map(|record| record.schemas).unwrap_or_default();
        for schema in brought.iter().filter(|schema| crate::resolver::is_inside(schema) && !is_needed(schema))
        {
            // One that is left behind harms nobody.
            let _ = fs::remove_file(self.schemas().join(schema));
        }
        let _ = fs::remove_file(self.record_path(name));
        Ok(())
    }
}

/// Writes a file at once or not at all, also when the power fails.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = fs::File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
