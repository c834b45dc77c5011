//! A folder with a plugin as its author has it: what is wrong with it, and the package made of it.
//!
//! Everything is said before anything is installed, and all of it at once. Tests, caches and environments stay out of
//! the package: an environment holds links, which no engine unpacks; `install.sh` makes one where it is needed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::manifest::{Kind, Manifest};

/// The longest name that still makes a path of a socket.
const LONGEST_NAME: usize = 80;

/// A plugin's folder that has passed its checks.
#[derive(Debug)]
pub struct Bundle {
    manifest: Manifest,
    /// What goes into the package, by its path in there.
    files: Vec<(PathBuf, PathBuf)>,
}

impl Bundle {
    /// Looks at a folder.
    ///
    /// # Errors
    /// Everything that an engine would refuse, each with what to do.
    pub fn read(folder: &Path) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut files = Vec::new();
        collect(folder, Path::new(""), &mut files, &mut problems);
        let Some(manifest) = manifest(folder, &mut problems) else { return Err(problems) };
        let bundle = Self { manifest, files };
        bundle.check(folder, &mut problems);
        if problems.is_empty() { Ok(bundle) } else { Err(problems) }
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// What its author calls this version.
    pub fn version(&self) -> &str {
        &self.manifest.version
    }

    /// The functions that it offers.
    pub fn functions(&self) -> &[String] {
        self.manifest.symbols(Kind::Function)
    }

    /// The interpreter of its own environment, if it names one by its path.
    pub fn interpreter(&self, folder: &Path) -> Option<PathBuf> {
        (self.manifest.virtual_env_type == "venv").then(|| folder.join(&self.manifest.env).join("bin/python"))
    }

    /// The files with the defaults of sources, by their paths.
    pub fn defaults(&self) -> Vec<&Path> {
        let of = |symbol: &String| PathBuf::from(format!("sources/{symbol}.yaml"));
        let wanted: Vec<PathBuf> = self.manifest.symbols(Kind::Source).iter().map(of).collect();
        self.files.iter().filter(|(path, _)| wanted.contains(path)).map(|(_, file)| &**file).collect()
    }

    /// The paths of the package's files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| &**path)
    }

    /// Writes the package. The same folder makes the same bytes.
    ///
    /// # Errors
    /// A file cannot be read, or the package not be written.
    pub fn write(&self, target: &Path) -> io::Result<()> {
        let mut zip = ZipWriter::new(File::create(target)?);
        for (path, file) in &self.files {
            let mode = fs::metadata(file)?.permissions().mode() & 0o777;
            let options = SimpleFileOptions::default().unix_permissions(mode);
            zip.start_file(path.to_string_lossy(), options)?;
            io::copy(&mut File::open(file)?, &mut zip)?;
        }
        zip.finish().map(drop).map_err(io::Error::from)
    }

    fn check(&self, folder: &Path, problems: &mut Vec<String>) {
        let Self { manifest, .. } = self;
        if !is_name(&manifest.name) {
            problems.push(format!("the name {:?} {NAMES}", manifest.name));
        }
        for kind in Kind::ALL {
            let symbols = manifest.symbols(kind);
            for (index, symbol) in symbols.iter().enumerate() {
                if !is_name(symbol) {
                    problems.push(format!("the {} {symbol:?} {NAMES}", kind.noun()));
                } else if symbols[..index].contains(symbol) {
                    problems.push(format!("the {} {symbol} is listed twice", kind.noun()));
                }
            }
        }
        for source in manifest.symbols(Kind::Source).iter().filter(|source| is_name(source)) {
            let path = format!("sources/{source}.yaml");
            if !self.has(Path::new(&path)) {
                problems.push(format!(
                    "the source {source} needs a file {path} with its properties under \"default:\"; it may be empty"
                ));
            }
        }
        self.check_executable(folder, problems);
    }

    fn check_executable(&self, folder: &Path, problems: &mut Vec<String>) {
        let executable = &self.manifest.executable;
        let path: PathBuf = Path::new(executable).components().collect();
        if !self.has(&path) {
            let of_its_kind = |path: &Path| match self.manifest.language.as_str() {
                "python" => path.extension().is_some_and(|extension| extension == "py"),
                _ => path.extension().is_none(),
            };
            let there = self.paths().filter(|path| of_its_kind(path)).map(|path| path.display().to_string());
            let there: Vec<String> = there.take(5).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            problems.push(format!("the executable {executable} is not in the folder; candidates: {there}"));
        } else if self.manifest.language == "go" {
            let mode = fs::metadata(folder.join(&path)).map_or(0, |file| file.permissions().mode());
            if mode & 0o111 == 0 {
                problems
                    .push(format!("the executable {executable} may not be executed: chmod +x {executable}"));
            }
        }
    }

    fn has(&self, wanted: &Path) -> bool {
        self.paths().any(|path| path == wanted)
    }
}

/// The name of the plugin in a zip: that of the only description at its top.
///
/// # Errors
/// The file is no zip, or describes no plugin or several.
pub fn name_in(zip: &Path) -> Result<String, String> {
    let file = File::open(zip).map_err(|why| format!("{}: {why}", zip.display()))?;
    let mut archive = ZipArchive::new(file).map_err(|why| format!("{} is no zip: {why}", zip.display()))?;
    let mut names = Vec::new();
    for index in 0..archive.len() {
        let Ok(mut entry) = archive.by_index(index) else { continue };
        let path = entry.name().map(|name| name.into_owned()).unwrap_or_default();
        let Some(stem) = path.strip_suffix(".json").filter(|stem| !stem.contains('/')) else { continue };
        let mut text = Vec::new();
        let read = entry.by_ref().take(LARGEST_DESCRIPTION).read_to_end(&mut text);
        if read.is_ok() && is_description(&text) {
            names.push(stem.to_owned());
        }
    }
    match names.as_slice() {
        [name] => Ok(name.clone()),
        [] => Err(format!("{} holds no <name>.json with the key \"executable\"", zip.display())),
        several => Err(format!("{} describes several plugins: {}", zip.display(), several.join(", "))),
    }
}

const LARGEST_DESCRIPTION: u64 = 1 << 20;

const NAMES: &str = "may only hold letters, digits, \"_\", \"-\" and \".\", begin with none of the last two, and have at most 80 bytes";

fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.bytes().all(is_allowed)
        && !name.starts_with(['-', '.'])
}

/// The description of the package: `<folder>.json`, else the only JSON file that names an executable.
fn manifest(folder: &Path, problems: &mut Vec<String>) -> Option<Manifest> {
    let mut found: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| describes(path)).collect(),
        Err(why) => {
            problems.push(format!("cannot read the folder {}: {why}", folder.display()));
            return None;
        }
    };
    let own_name = folder.canonicalize().ok().and_then(|path| path.file_name().map(|name| name.to_owned()));
    found.sort_by_key(|path| (path.file_stem().map(|stem| stem.to_owned()) != own_name, path.clone()));
    let Some(file) = found.first() else {
        problems.push(format!(
            "{} has no <name>.json with the key \"executable\"; `thalweg plugin new` writes a folder to start from",
            folder.display()
        ));
        return None;
    };
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let parsed = fs::read(file).map_err(|why| why.to_string()).and_then(|text| Manifest::parse(&text, &stem));
    parsed.map_err(|why| problems.push(format!("{}: {why}", file.display()))).ok()
}

/// Whether a file is meant as a package's description. One that cannot be parsed is, unless it holds test cases.
fn describes(path: &Path) -> bool {
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    is_json && is_description(&fs::read(path).unwrap_or_default())
}

fn is_description(text: &[u8]) -> bool {
    match serde_json::from_slice::<serde_json::Value>(text) {
        Ok(document) => document.get("executable").is_some(),
        Err(_) => String::from_utf8_lossy(text).contains("\"executable\""),
    }
}

fn collect(folder: &Path, below: &Path, files: &mut Vec<(PathBuf, PathBuf)>, problems: &mut Vec<String>) {
    let entries = match fs::read_dir(folder.join(below)) {
        Ok(entries) => entries,
        Err(_) if below.as_os_str().is_empty() => return,
        Err(why) => {
            problems.push(format!("cannot read {}: {why}", below.display()));
            return;
        }
    };
    let mut entries: Vec<fs::DirEntry> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            problems.push(format!("{} is not named in UTF-8", below.join(&name).display()));
            continue;
        };
        let (path, file) = (below.join(name), entry.path());
        if is_left_out(name, &file) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_symlink() => problems
                .push(format!("{} is a symbolic link, which engines refuse; copy the file", path.display())),
            Ok(kind) if kind.is_dir() => collect(folder, &path, files, problems),
            Ok(kind) if kind.is_file() => files.push((path, file)),
            _ => problems.push(format!("{} is no file", path.display())),
        }
    }
}

/// What belongs to the author's work and not to the plugin.
fn is_left_out(name: &str, file: &Path) -> bool {
    name.starts_with('.')
        || (name.starts_with("test_") && name.ends_with(".py"))
        || ["__pycache__", "tests", "cases.json", "dist", "build"].contains(&name)
        || [".pyc", ".zip", ".whl", ".egg-info"].iter().any(|ending| name.ends_with(ending))
        || file.join("pyvenv.cfg").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn problems(files: &[(&str, &str)]) -> Vec<String> {
        Bundle::read(folder(files).path()).unwrap_err()
    }

    const GOOD: &str = r#"{"language":"python","executable":"a.py","functions":["f"],"sources":["s"]}"#;

    #[test]
    fn tests_caches_and_environments_stay_out() {
        let folder = folder(&[
            ("a.json", GOOD),
            ("a.py", ""),
            ("sources/s.yaml", ""),
            ("lib/b.py", ""),
            ("data.json", "{}"),
            ("cases.json", "[]"),
            ("test_a.py", ""),
            ("tests/x.py", ""),
            ("__pycache__/a.pyc", ""),
            (".git/config", ""),
            ("env/pyvenv.cfg", ""),
            ("env/bin/python", ""),
            ("a.zip", ""),
        ]);
        let bundle = Bundle::read(folder.path()).unwrap();
        let paths: Vec<String> = bundle.paths().map(|path| path.display().to_string()).collect();
        assert_eq!(paths, ["a.json", "a.py", "data.json", "lib/b.py", "sources/s.yaml"]);
        assert_eq!((bundle.name(), bundle.defaults().len()), ("a", 1));
    }

    #[test]
    fn the_package_is_what_engines_open_and_the_same_each_time() {
        let folder = folder(&[("a.json", GOOD), ("a.py", "x"), ("sources/s.yaml", "")]);
        let bundle = Bundle::read(folder.path()).unwrap();
        let zips = ["1.zip", "2.zip"].map(|name| folder.path().join(name));
        zips.iter().for_each(|zip| bundle.write(zip).unwrap());
        assert_eq!(fs::read(&zips[0]).unwrap(), fs::read(&zips[1]).unwrap());
        let (_, manifest) = crate::install::open(&zips[0], "a").unwrap();
        let n_files = ZipArchive::new(File::open(&zips[0]).unwrap()).unwrap().len();
        assert_eq!((n_files, manifest.name.as_str()), (3, "a"));
        assert_eq!(name_in(&zips[0]), Ok("a".to_owned()));
        let none = name_in(&folder.path().join("a.py")).unwrap_err();
        assert!(none.contains("a.py is no zip"), "{none}");
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let text = r#"{"language":"python","executable":"b.py","functions":["f","f","g h"],"sources":["s"]}"#;
        let found = problems(&[("a.json", text), ("a.py", "")]);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].starts_with("the function f is listed twice"), "{found:?}");
        assert!(found[1].starts_with("the function \"g h\" may only hold letters"), "{found:?}");
        assert!(found[2].starts_with("the source s needs a file sources/s.yaml"), "{found:?}");
        assert_eq!(found[3], "the executable b.py is not in the folder; candidates: a.py");
    }

    #[test]
    fn a_folder_without_a_description_or_with_a_wrong_one_says_so() {
        assert!(problems(&[("a.py", "")])[0].contains("has no <name>.json with the key \"executable\""));
        let broken = problems(&[("a.json", r#"{"executable": "a.py","#)]);
        assert!(broken[0].contains("a.json: invalid a.json: EOF"), "{broken:?}");
        let renamed = problems(&[(
            "a.json",
            r#"{"name":"b","language":"python","executable":"a.py","functions":["f"]}"#,
        )]);
        assert!(renamed[0].ends_with("invalid plugin, expect name 'a' but got 'b'"), "{renamed:?}");
        assert!(
            Bundle::read(Path::new("/nowhere")).unwrap_err()[0]
                .starts_with("cannot read the folder /nowhere")
        );
    }

    #[test]
    fn links_and_programs_that_may_not_run_are_refused() {
        let go = r#"{"language":"go","executable":"a","functions":["f"]}"#;
        let folder = folder(&[("a.json", go), ("a", "")]);
        std::os::unix::fs::symlink("a", folder.path().join("b")).unwrap();
        let found = Bundle::read(folder.path()).unwrap_err();
        let expected = [
            "b is a symbolic link, which engines refuse; copy the file",
            "the executable a may not be executed: chmod +x a",
        ];
        assert_eq!(found, expected);
    }
}
