//! Packages: of a service, a zip with `<name>.json` and `schemas/*.proto`; of a schema, one with `<name>.proto` and a
//! folder `<name>`. They are read as a whole before anything is written.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek};
use std::path::Path;

use zip::ZipArchive;

/// All files of a package together, unpacked.
const LARGEST: u64 = 16 << 20;
const MOST_FILES: usize = 1000;

/// What a package holds.
#[derive(Debug, Default)]
pub(crate) struct Package {
    /// `<name>.json`.
    pub(crate) definition: Vec<u8>,
    /// Schemas by their paths below `schemas`.
    pub(crate) schemas: BTreeMap<String, Vec<u8>>,
}

impl Package {
    /// Reads and checks a zip.
    pub(crate) fn read(zip: &Path, name: &str) -> Result<Self, String> {
        let file = std::fs::File::open(zip).map_err(|why| why.to_string())?;
        let definition = format!("{name}.json");
        let is_definition = |path: &str| path.eq_ignore_ascii_case(&definition);
        let is_schema = |path: &str| path.starts_with("schemas/") && path.ends_with(".proto");
        let (mut package, mut has_definition) = (Self::default(), false);
        for (path, content) in unpack(file, |path| is_definition(path) || is_schema(path))? {
            if let Some(schema) = path.strip_prefix("schemas/") {
                package.schemas.insert(schema.to_owned(), content);
            } else {
                package.definition = content;
                has_definition = true;
            }
        }
        if has_definition {
            Ok(package)
        } else {
            Err(format!("cannot find the json descriptor file {definition} for service"))
        }
    }
}

/// What a zip of a schema holds: `<name>.proto`, and a folder `<name>` with what it imports.
pub(crate) struct SchemaPackage {
    pub(crate) text: Vec<u8>,
    /// By their paths in the zip.
    pub(crate) others: BTreeMap<String, Vec<u8>>,
}

impl SchemaPackage {
    /// Reads and checks a zip.
    pub(crate) fn read(zip: &[u8], name: &str) -> Result<Self, String> {
        let (own, folder) = (format!("{name}.proto"), format!("{name}/"));
        let is_other = |path: &str| path.starts_with(&folder) && path.ends_with(".proto");
        let mut others = unpack(Cursor::new(zip), |path| path == own || is_other(path))?;
        let text =
            others.remove(&own).ok_or_else(|| format!("cannot find the schema file {own} in the zip"))?;
        Ok(Self { text, others })
    }
}

/// The wanted files of a zip by their paths.
fn unpack(
    zip: impl Read + Seek,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut archive = ZipArchive::new(zip).map_err(|why| format!("it is no zip file: {why}"))?;
    if archive.len() > MOST_FILES {
        return Err(format!("it has more than {MOST_FILES} files"));
    }
    let (mut files, mut left) = (BTreeMap::new(), LARGEST);
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|why| why.to_string())?;
        let written = entry.name().unwrap_or_default().into_owned();
        let path = entry.enclosed_name().filter(|_| !written.starts_with(['/', '\\']));
        let Some(path) = path.and_then(|path| path.to_str().map(str::to_owned)) else {
            return Err(format!("invalid entry {written}: it would leave its folder"));
        };
        if entry.is_symlink() {
            return Err(format!("invalid entry {path}: symbolic links are not allowed"));
        }
        if entry.is_dir() {
            continue;
        }
        if !is_wanted(&path) {
            tracing::info!("{path} of a package is not used");
            continue;
        }
        let mut content = Vec::new();
        let read = entry.by_ref().take(left + 1).read_to_end(&mut content);
        read.map_err(|why| format!("cannot unpack {path}: {why}"))?;
        left = left
            .checked_sub(content.len() as u64)
            .ok_or_else(|| format!("its files are larger than {} MB", LARGEST >> 20))?;
        files.insert(path, content);
    }
    Ok(files)
}
