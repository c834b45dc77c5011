//! Where an instance keeps its files: `etc`, `data`, `log`, `plugins` under one home folder.

use std::path::{Path, PathBuf};

/// The home: as told, else `.thalweg` inside a checkout of ours, else the current folder (architecture 0.7).
pub fn find(told: Option<PathBuf>, current: &Path) -> PathBuf {
    let is_checkout = || current.join("crates/thalweg-server/Cargo.toml").is_file();
    told.unwrap_or_else(|| if is_checkout() { current.join(".thalweg") } else { current.to_owned() })
}

/// Makes what is missing and gives the absolute path.
///
/// # Errors
/// A folder cannot be made; the message names it.
pub fn prepare(home: &Path) -> Result<PathBuf, String> {
    for folder in ["etc", "data", "data/uploads", "log", "plugins/portable"] {
        let folder = home.join(folder);
        std::fs::create_dir_all(&folder).map_err(|why| {
            format!("cannot make {}: {why}; choose another home with --home", folder.display())
        })?;
    }
    home.canonicalize().map_err(|why| format!("cannot use {}: {why}", home.display()))
}
