//! Where an instance keeps its files: `etc`, `data`, `log`, `plugins`, under one home folder or each in a place of its own.

use std::fmt;
use std::path::{Component, Path, PathBuf};

/// The folders of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Home {
    base: PathBuf,
    /// Folders that are somewhere else.
    places: Places,
}

/// Places of their own (`kuiperd -loadFileType absolute`, configuration.md 1.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Configuration.
    pub etc: Option<PathBuf>,
    /// Definitions and state.
    pub data: Option<PathBuf>,
    /// Logs.
    pub log: Option<PathBuf>,
    /// Plugins.
    pub plugins: Option<PathBuf>,
}

impl Home {
    /// All folders below this one, which are not made or looked at.
    pub fn under(base: &Path) -> Self {
        Self { base: base.to_owned(), places: Places::default() }
    }

    /// The home folder, to which relative paths of rules refer.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// A path below the home; `etc/…`, `data/…`, `log/…` and `plugins/…` are in their places.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        let mut parts = path.components();
        let place = match parts.next() {
            Some(Component::Normal(first)) => match first.to_str() {
                Some("etc") => self.places.etc.as_ref(),
                Some("data") => self.places.data.as_ref(),
                Some("log") => self.places.log.as_ref(),
                Some("plugins") => self.places.plugins.as_ref(),
                _ => None,
            },
            _ => None,
        };
        match place {
            None => self.base.join(path),
            Some(place) if parts.as_path().as_os_str().is_empty() => place.clone(),
            Some(place) => place.join(parts.as_path()),
        }
    }
}

impl fmt::Display for Home {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base.display().fmt(out)
    }
}

/// The home: as told, else `.thalweg` inside a checkout of ours, else the current folder (architecture 0.7).
pub fn find(told: Option<PathBuf>, current: &Path) -> PathBuf {
    let is_checkout = || current.join("crates/thalweg-server/Cargo.toml").is_file();
    told.unwrap_or_else(|| if is_checkout() { current.join(".thalweg") } else { current.to_owned() })
}

/// Makes what is missing; all paths become absolute.
///
/// # Errors
/// A folder cannot be made; the message names it.
pub fn prepare(base: &Path, places: &Places) -> Result<Home, String> {
    let home = Home { base: base.to_owned(), places: places.clone() };
    for folder in ["etc", "data", "data/uploads", "log", "plugins/portable"] {
        let folder = home.join(folder);
        std::fs::create_dir_all(&folder).map_err(|why| {
            format!("cannot make {}: {why}; choose another home with --home", folder.display())
        })?;
    }
    let absolute =
        |path: &Path| path.canonicalize().map_err(|why| format!("cannot use {}: {why}", path.display()));
    let place = |path: &Option<PathBuf>| path.as_deref().map(absolute).transpose();
    Ok(Home {
        base: absolute(base)?,
        places: Places {
            etc: place(&places.etc)?,
            data: place(&places.data)?,
            log: place(&places.log)?,
            plugins: place(&places.plugins)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_below_the_home_unless_they_have_places_of_their_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = folder.path().join("conf");
        let places = Places { etc: Some(told.clone()), ..Places::default() };
        let home = prepare(folder.path(), &places).expect("it can be made");
        assert_eq!(home.join("etc/x.yaml"), told.canonicalize().expect("it is there").join("x.yaml"));
        assert_eq!(home.join("etc"), told.canonicalize().expect("it is there"));
        assert_eq!(home.join("data/uploads"), home.base().join("data/uploads"));
        assert_eq!(home.join("etcetera"), home.base().join("etcetera"));
        assert!(home.join("plugins/portable").is_dir() && !home.base().join("etc").exists());
    }
}
