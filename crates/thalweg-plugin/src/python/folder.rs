//! The folder of one environment: generations, each a virtual environment, and which of them is in force.
//!
//! `data/pyenvs/<env>/` holds `g1`, `g2` … and a symbolic link `current` to one of them. To move the link is what
//! commits a change; whatever the link and its record do not name is what an interrupted change has left, and goes at
//! the next start. What is not changed is shared by hard links: pip replaces files, it does not write into them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use super::name::normal;

const RECORD: &str = "thalweg.json";
/// Larger files in `bin` are programs, not scripts.
const LARGEST_SCRIPT: u64 = 256 << 10;

/// `data/pyenvs/<env>`.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) dir: PathBuf,
}

/// One virtual environment of the folder.
#[derive(Debug, Clone)]
pub(crate) struct Generation {
    pub(crate) number: u64,
    pub(crate) dir: PathBuf,
}

/// What is kept with a generation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// The generation to which a rollback leads.
    pub(crate) from: Option<u64>,
    /// By distribution, where they are not the usual ones.
    pub(crate) placements: BTreeMap<String, Placement>,
    /// Versions by distribution, when the description was made.
    pub(crate) installed: BTreeMap<String, String>,
    pub(crate) manifest: Manifest,
}

/// In which processes a distribution runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement {
    /// In a process of its own.
    pub(crate) isolate: bool,
    /// So many processes for functions that may be called in parallel.
    pub(crate) workers: u32,
}

impl Default for Placement {
    fn default() -> Self {
        Self { isolate: false, workers: 1 }
    }
}

impl Folder {
    fn link(&self) -> PathBuf {
        self.dir.join("current")
    }

    pub(crate) fn generation(&self, number: u64) -> Generation {
        Generation { number, dir: self.dir.join(format!("g{number}")) }
    }

    /// The generation in force.
    pub(crate) fn current(&self) -> Option<Generation> {
        let generation = self.generation(number_of(&fs::read_link(self.link()).ok()?)?);
        generation.dir.is_dir().then_some(generation)
    }

    /// The number for the next change. Nothing is there under this number.
    pub(crate) fn next(&self) -> u64 {
        self.numbers().into_iter().max().unwrap_or_default() + 1
    }

    fn numbers(&self) -> Vec<u64> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| number_of(Path::new(&entry.file_name()))).collect()
    }

    /// Puts a generation in force: before or after, never between.
    pub(crate) fn switch(&self, number: u64) -> io::Result<()> {
        let aside = self.dir.join("current.next");
        // One may be left from before.
        let _ = fs::remove_file(&aside);
        symlink(format!("g{number}"), &aside)?;
        fs::rename(&aside, self.link())
    }

    /// Removes all generations but the one in force and the one before it, and the folder if that leaves nothing.
    pub(crate) fn tidy(&self) {
        let current = self.current();
        let before = current.as_ref().and_then(|current| current.record().ok()?.from);
        for number in self.numbers() {
            if current.as_ref().is_none_or(|current| current.number != number) && Some(number) != before {
                self.generation(number).remove();
            }
        }
        // Most often there is none. A folder with something in it that is not ours stays.
        let _ = fs::remove_file(self.dir.join("current.next"));
        if current.is_none() {
            let _ = fs::remove_file(self.link());
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

fn number_of(path: &Path) -> Option<u64> {
    path.to_str()?.strip_prefix('g')?.parse().ok()
}

impl Generation {
    pub(crate) fn python(&self) -> PathBuf {
        self.dir.join("bin").join("python")
    }

    pub(crate) fn record(&self) -> Result<Record, String> {
        let path = self.dir.join(RECORD);
        let wrong = |error: String| format!("cannot read {}: {error}", path.display());
        let text = fs::read(&path).map_err(|error| wrong(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))
    }

    /// Writes the record so that it is the old or the new one, never half of one.
    pub(crate) fn write_record(&self, record: &Record) -> Result<(), String> {
        let path = self.dir.join(RECORD);
        let aside = self.dir.join("thalweg.json.next");
        // The record holds texts and numbers, which cannot fail.
        let text = serde_json::to_vec(record).unwrap_or_default();
        let written = fs::write(&aside, text).and_then(|()| fs::rename(&aside, &path));
        written.map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    /// `lib/python3.x/site-packages`.
    pub(crate) fn site_packages(&self) -> Result<PathBuf, String> {
        let lib = self.dir.join("lib");
        let entries = fs::read_dir(&lib).into_iter().flatten().flatten();
        let mut found = entries.map(|entry| entry.path().join("site-packages")).filter(|path| path.is_dir());
        found.next().ok_or_else(|| format!("{} is no virtual environment", self.dir.display()))
    }

    /// Versions by the one spelling of the distributions' names, as the names of metadata folders have them.
    pub(crate) fn installed(&self) -> BTreeMap<String, String> {
        let entries =
            self.site_packages().and_then(|dir| fs::read_dir(dir).map_err(|error| error.to_string()));
        let names =
            entries.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let of_folder = |name: String| {
            let stem = name.strip_suffix(".dist-info").or_else(|| name.strip_suffix(".egg-info"))?;
            let (name, version) = stem.split_once('-')?;
            Some((normal(name), version.to_owned()))
        };
        names.filter_map(of_folder).collect()
    }

    /// Makes this one a copy of another.
    pub(crate) fn copy_from(&self, other: &Self) -> Result<(), String> {
        let copied = copy(&other.dir, &self.dir, true).and_then(|()| adopt_scripts(&other.dir, &self.dir));
        copied.map_err(|error| format!("cannot copy {}: {error}", other.dir.display()))
    }

    pub(crate) fn remove(&self) {
        // What stays is removed at the next start.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn copy(from: &Path, to: &Path, is_top: bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type()?);
        if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_dir() {
            copy(&source, &target, false)?;
        } else if is_top || is_written_to(&source) || fs::hard_link(&source, &target).is_err() {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

/// Scripts are changed below; of old tools it is known that they write into path files.
fn is_written_to(file: &Path) -> bool {
    file.parent().is_some_and(|folder| folder.ends_with("bin"))
        || file.extension().is_some_and(|ending| ending == "pth" || ending == "egg-link")
}

/// Scripts name the interpreter, and so the folder, for which they were made.
fn adopt_scripts(from: &Path, to: &Path) -> io::Result<()> {
    let (Some(old), Some(new)) = (from.to_str(), to.to_str()) else { return Ok(()) };
    for entry in fs::read_dir(to.join("bin"))? {
        let entry = entry?;
        let is_script = entry.file_type()?.is_file() && entry.metadata()?.len() <= LARGEST_SCRIPT;
        let text = if is_script { fs::read_to_string(entry.path()).ok() } else { None };
        if let Some(text) = text.filter(|text| text.contains(old)) {
            fs::write(entry.path(), text.replace(&format!("{old}/"), &format!("{new}/")).replace(old, new))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(folder: &Folder, number: u64, from: Option<u64>) -> Generation {
        let generation = folder.generation(number);
        fs::create_dir_all(generation.dir.join("bin")).unwrap();
        fs::create_dir_all(generation.dir.join("lib/python3.11/site-packages/a_b-1.0.dist-info")).unwrap();
        fs::write(generation.dir.join("lib/m.py"), "1").unwrap();
        fs::write(generation.dir.join("lib/m.pth"), "1").unwrap();
        let script = format!("#!{}/bin/python\n", generation.dir.display());
        fs::write(generation.dir.join("bin/tool"), script).unwrap();
        generation.write_record(&Record { from, ..Record::default() }).unwrap();
        generation
    }

    #[test]
    fn a_copy_shares_modules_and_has_scripts_and_path_files_of_its_own() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder { dir: home.path().join("e") };
        let (one, two) = (made(&folder, 1, None), folder.generation(2));
        two.copy_from(&one).unwrap();
        let inode = |path: PathBuf| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        assert_eq!(inode(one.dir.join("lib/m.py")), inode(two.dir.join("lib/m.py")));
        assert_ne!(inode(one.dir.join("lib/m.pth")), inode(two.dir.join("lib/m.pth")));
        let script = fs::read_to_string(two.dir.join("bin/tool")).unwrap();
        assert_eq!(script, format!("#!{}/bin/python\n", two.dir.display()));
        assert_eq!(two.installed(), BTreeMap::from([("a-b".to_owned(), "1.0".to_owned())]));
        assert!(two.record().is_ok(), "the record is copied");
    }

    #[test]
    fn a_start_removes_what_an_interrupted_change_has_left_and_keeps_two_generations() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder { dir: home.path().join("e") };
        for number in 1..=4 {
            made(&folder, number, Some(number - 1));
        }
        folder.switch(3).unwrap();
        symlink("g4", folder.dir.join("current.next")).unwrap();
        folder.tidy();
        let mut numbers = folder.numbers();
        numbers.sort_unstable();
        assert_eq!((numbers, folder.current().map(|g| g.number)), (vec![2, 3], Some(3)));
        assert_eq!(folder.next(), 4);
        // Nothing was ever put in force: nothing is kept.
        let other = Folder { dir: home.path().join("f") };
        made(&other, 1, None);
        other.tidy();
        assert!(!other.dir.exists());
    }
}
