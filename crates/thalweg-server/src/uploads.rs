//! Files that other definitions name (`rest-api.md` 13): kept in `data/uploads`, each with what was sent to make it.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use thalweg_core::Props;
use thalweg_engine::store::{Change, Store, StoreError, Table};
use thalweg_plugin::PluginHost;

use crate::server::App;

/// `{"name","content"}` or `{"name","file"}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) content: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) file: String,
}

impl Upload {
    /// Reads a document.
    ///
    /// # Errors
    /// With upstream's texts: a member of another type, or one that is missing.
    pub(crate) fn read(document: &Props) -> Result<Self, String> {
        let of = |name: &str| {
            let text =
                document.text(name).map_err(|why| format!("Error decoding file json: {}", why.message))?;
            Ok::<_, String>(text.unwrap_or_default().to_owned())
        };
        let upload = Self { name: of("name")?, content: of("content")?, file: of("file")? };
        let missing = |what: &str| Err(format!("missing necessary field: invalid body: {what}"));
        if upload.content.is_empty() && upload.file.is_empty() {
            return missing("content or FilePath is required");
        }
        if upload.name.is_empty() {
            return missing("name is required");
        }
        Ok(upload)
    }

    /// Makes the file and notes what made it. Waits for the disk or the network.
    ///
    /// # Errors
    /// The name leaves the folder, or the file cannot be had or written.
    pub(crate) fn store(&self, app: &App) -> Result<PathBuf, String> {
        let target = place(&folder(app), &self.name)?;
        let path = match self.file.as_str() {
            "" => write(&target, |target| fs::write(target, &self.content)),
            file => write(&target, |target| fetch(&app.plugins, file, target)),
        }
        .map_err(|why| format!("getFile has error: {why}"))?;
        self.note(app.engine.store().as_ref()).map_err(|why| why.to_string())?;
        Ok(path)
    }

    /// Notes what made a file, for export.
    pub(crate) fn note(&self, store: &dyn Store) -> Result<(), StoreError> {
        store.write(&[Change::Put(Table::Upload, self.name.clone(), self.text().into_bytes())])
    }

    /// As JSON.
    fn text(&self) -> String {
        // Texts, none of which can fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn fetch(plugins: &PluginHost, url: &str, target: &Path) -> io::Result<()> {
    plugins.fetch(url, target).map_err(io::Error::other)
}

/// Where uploads are.
pub(crate) fn folder(app: &App) -> PathBuf {
    app.home.join("data/uploads")
}

/// A place below the folder; names may have folders of their own but never leave it.
///
/// # Errors
/// The name is none.
pub(crate) fn place(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let is_inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || !is_inside || name.ends_with('/') || name.contains('\0') {
        return Err(format!("the name {name:?} must be a path below data/uploads"));
    }
    Ok(folder.join(name))
}

/// Writes beside the target first, so that nobody ever reads half a file.
pub(crate) fn write(target: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<PathBuf> {
    let folder = target.parent().unwrap_or(target);
    fs::create_dir_all(folder)?;
    let beside = tempfile::NamedTempFile::new_in(folder)?.into_temp_path();
    write(&beside)?;
    // A power cut must not leave the name with half of the content.
    fs::File::open(&beside)?.sync_all()?;
    fs::rename(&beside, target)?;
    // It has another name now and must not be removed.
    let _ = beside.keep();
    fs::File::open(folder)?.sync_all()?;
    target.canonicalize()
}

/// Notes a file that came as a form, if it is text: a document cannot hold anything else.
pub(crate) fn note_bytes(store: &dyn Store, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    match std::str::from_utf8(bytes) {
        Ok(content) if !content.is_empty() && content.len() <= LARGEST_NOTED => {
            Upload { name: name.to_owned(), content: content.to_owned(), file: String::new() }.note(store)
        }
        _ => store.write(&[Change::Delete(Table::Upload, name.to_owned())]),
    }
}

/// The largest form that goes into exports.
const LARGEST_NOTED: usize = 1 << 20;

/// What made each upload, as JSON by name.
pub(crate) fn noted(store: &dyn Store) -> Result<Vec<(String, String)>, StoreError> {
    let all = store.scan(Table::Upload, "")?;
    Ok(all.into_iter().map(|(name, bytes)| (name, String::from_utf8_lossy(&bytes).into_owned())).collect())
}

/// Forgets what made an upload, or all in a folder of uploads.
pub(crate) fn forget(store: &dyn Store, name: &str) -> Result<(), StoreError> {
    let inside = store.keys(Table::Upload, &format!("{name}/"))?;
    let all = inside.into_iter().chain([name.to_owned()]);
    store.write(&all.map(|name| Change::Delete(Table::Upload, name)).collect::<Vec<_>>())
}

/// The changes that forget what made any upload.
pub(crate) fn forget_all(store: &dyn Store) -> Result<Vec<Change>, StoreError> {
    let all = store.keys(Table::Upload, "")?;
    Ok(all.into_iter().map(|name| Change::Delete(Table::Upload, name)).collect())
}
