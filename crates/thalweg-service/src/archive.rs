//! The package of a service: a zip with `<name>.json` and `schemas/*.proto`. It is read as a whole before anything is
//! written.

use std::collections::BTreeMap;
use std::io::Read;
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
        let mut archive = ZipArchive::new(file).map_err(|why| format!("it is no zip file: {why}"))?;
        if archive.len() > MOST_FILES {
            return Err(format!("it has more than {MOST_FILES} files"));
        }
        let (mut package, mut has_definition, mut left) = (Self::default(), false, LARGEST);
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index).map_err(|why| why.to_string())?;
            let written = entry.name().unwrap_or_default().into_owned();
            let path = entry.enclosed_name().filter(|_| !written.starts_with(['/', '\\']));
            let Some(path) = path.and_then(|path| path.to_str().map(str::to_owned)) else {
                return Err(format!("invalid entry {written}: it would leave the services' folder"));
            };
            if entry.is_symlink() {
                return Err(format!("invalid entry {path}: symbolic links are not allowed"));
            }
            if entry.is_dir() {
                continue;
            }
            let schema = path.strip_prefix("schemas/").filter(|name| name.ends_with(".proto"));
            let is_definition = path.eq_ignore_ascii_case(&format!("{name}.json"));
            if schema.is_none() && !is_definition {
                tracing::info!(service = name, "{path} of its package is not used");
                continue;
            }
            let mut content = Vec::new();
            let read = entry.by_ref().take(left + 1).read_to_end(&mut content);
            read.map_err(|why| format!("cannot unpack {path}: {why}"))?;
            left = left
                .checked_sub(content.len() as u64)
                .ok_or_else(|| format!("its files are larger than {} MB", LARGEST >> 20))?;
            match schema {
                Some(schema) => _ = package.schemas.insert(schema.to_owned(), content),
                None => {
                    package.definition = content;
                    has_definition = true;
                }
            }
        }
        if has_definition {
            Ok(package)
        } else {
            Err(format!("cannot find the json descriptor file {name}.json for service"))
        }
    }
}
