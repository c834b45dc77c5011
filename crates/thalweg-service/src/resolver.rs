//! Where imports of schemas are found: in the package, in `data/services/schemas`, in `etc/services/schemas`, in us.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use protox::Error;
use protox::file::{File, FileResolver, GoogleFileResolver};

/// The annotation that maps an rpc to HTTP. Numbers and names are Google's; comments are in `http_rule.rs`.
const ANNOTATIONS: &str = include_str!("annotations.proto");
const HTTP: &str = include_str!("http.proto");

/// Finds files by the name that imports write.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    /// Files of a package that is not yet on the disk, by their names below `schemas`.
    pub(crate) packed: Arc<BTreeMap<String, Vec<u8>>>,
    pub(crate) folders: Vec<PathBuf>,
}

impl FileResolver for Resolver {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        path.to_str().map(str::to_owned)
    }

    fn open_file(&self, name: &str) -> Result<File, Error> {
        if !is_inside(name) {
            return Err(Error::new(format!(
                "{name}: schema files are named by their path below \"schemas\""
            )));
        }
        if let Some(content) = self.packed.get(name) {
            return source(name, content);
        }
        for folder in &self.folders {
            match fs::read(folder.join(name)) {
                Ok(content) => return source(name, &content),
                Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
                Err(why) => return Err(Error::new(format!("cannot read {name}: {why}"))),
            }
        }
        match name {
            "google/api/annotations.proto" => File::from_source(name, ANNOTATIONS),
            "google/api/http.proto" => File::from_source(name, HTTP),
            _ => GoogleFileResolver::new().open_file(name),
        }
    }
}

fn source(name: &str, content: &[u8]) -> Result<File, Error> {
    match std::str::from_utf8(content) {
        Ok(text) if is_too_deep(text) => {
            Err(Error::new(format!("{name}: its braces are nested more than {DEEPEST} deep")))
        }
        Ok(text) => File::from_source(name, text),
        Err(_) => Err(Error::new(format!("{name} is not UTF-8"))),
    }
}

/// Messages within messages; whoever parses them calls itself for each.
const DEEPEST: usize = 64;

/// Counts all brackets, also those in texts and comments, which do not nest so deeply either.
fn is_too_deep(text: &str) -> bool {
    let mut depth = 0usize;
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'(' | b'<' => depth += 1,
            b'}' | b']' | b')' | b'>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return true;
        }
    }
    false
}

/// Whether a path stays below the folder that it is relative to.
pub(crate) fn is_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}
