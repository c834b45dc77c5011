//! Unpacking a package so that it can be taken back (`portable-plugins.md` 1 and 2).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use tracing::info;
use zip::ZipArchive;

use crate::config::HostConfig;
use crate::manifest::{Kind, Manifest};
use crate::package::Package;
use crate::sys;

/// An open package.
pub(crate) struct Archive {
    zip: ZipArchive<File>,
    /// The size of its file.
    size: u64,
}

/// Whatever unpacks to no more than this is no bomb …
const HARMLESS: u64 = 64 << 20;
/// … and whatever unpacks to more than so many times its size is one. Texts and models stay far below.
const LARGEST_RATIO: u64 = 100;
const MOST_ENTRIES: usize = 100_000;
/// `<name>.json` and the descriptions of symbols, which are held in memory.
const LARGEST_TEXT: u64 = 16 << 20;

/// Opens a package and checks what it says of itself.
pub(crate) fn open(zip: &Path, name: &str) -> Result<(Archive, Manifest), String> {
    let file = File::open(zip).map_err(|error| error.to_string())?;
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let zip = ZipArchive::new(file).map_err(|error| format!("the file is not a zip archive: {error}"))?;
    let mut archive = Archive { zip, size };
    let json = format!("{name}.json");
    let n_files = archive.zip.len();
    let mut text = Vec::new();
    match archive.zip.by_name(&json) {
        Ok(mut entry) => Budget(LARGEST_TEXT).copy(&mut entry, &mut text, Path::new(&json))?,
        Err(_) => {
            return Err(format!("missing or invalid json file {json}, found {n_files} files in total"));
        }
    }
    Ok((archive, Manifest::parse(&text, name)?))
}

/// What an installation has changed, so that it can be undone.
pub(crate) struct Installation {
    /// The plugin's folder.
    dir: PathBuf,
    /// Where the folder of the version before waits.
    old_dir: PathBuf,
    had_old: bool,
    /// Metadata files, each with its content before.
    files: Vec<(PathBuf, Option<Vec<u8>>)>,
    zip_size: u64,
}

/// How many bytes may still be unpacked. What an archive says of its sizes is not believed.
struct Budget(u64);

impl Budget {
    fn of(zip_size: u64, config: &HostConfig) -> Self {
        Self(zip_size.saturating_mul(LARGEST_RATIO).max(HARMLESS).min(config.max_unpacked))
    }

    fn copy(&mut self, from: &mut impl Read, to: &mut impl Write, path: &Path) -> Result<(), String> {
        let copied = io::copy(&mut from.take(self.0.saturating_add(1)), to);
        let copied = copied.map_err(|error| format!("cannot unpack {}: {error}", path.display()))?;
        let left = self.0.checked_sub(copied);
        self.0 = left.ok_or_else(|| {
            format!("{} unpacks to more than is allowed ({} bytes were left for it)", path.display(), self.0)
        })?;
        Ok(())
    }
}

impl Installation {
    /// Unpacks into the plugin's folder; one that is there is set aside. On failure everything is as before.
    pub(crate) fn unpack(
        archive: &mut Archive,
        manifest: &Manifest,
        config: &HostConfig,
    ) -> Result<Self, String> {
        let dir = config.plugin_dir.join(&manifest.name);
        let old_dir = config.plugin_dir.join(format!(".{}.old", manifest.name));
        let zip_size = archive.size;
        let mut this = Self { had_old: false, dir, old_dir, files: Vec::new(), zip_size };
        match this.fill(archive, manifest, config) {
            Ok(()) => Ok(this),
            Err(error) => {
                this.undo();
                Err(error)
            }
        }
    }

    fn fill(
        &mut self,
        archive: &mut Archive,
        manifest: &Manifest,
        config: &HostConfig,
    ) -> Result<(), String> {
        let entries = check_entries(archive)?;
        let mut required = vec![PathBuf::from(&manifest.executable)];
        required.extend(
            manifest.symbols(Kind::Source).iter().map(|name| PathBuf::from(format!("sources/{name}.yaml"))),
        );
        for required in required {
            let required: PathBuf = required.components().collect();
            if !entries.iter().any(|(_, path)| *path == required) {
                return Err(format!("missing {}", required.display()));
            }
        }
        self.set_old_aside().map_err(|error| format!("cannot replace {}: {error}", self.dir.display()))?;
        let mut budget = Budget::of(self.zip_size, config);
        for (index, path) in entries {
            let mut entry = archive.zip.by_index(index).map_err(|error| error.to_string())?;
            let mode = entry.unix_mode();
            let written = |target: &Path, done: io::Result<()>| {
                done.map_err(|error| format!("{}: {error}", target.display()))
            };
            if is_metadata(&path) {
                let mut content = Vec::new();
                Budget(LARGEST_TEXT.min(budget.0)).copy(&mut entry, &mut content, &path)?;
                budget.0 = budget.0.saturating_sub(content.len() as u64);
                for base in [&config.etc_dir, &config.data_dir] {
                    let target = base.join(&path);
                    self.files.push((target.clone(), fs::read(&target).ok()));
                    written(&target, create(&target).and_then(|mut file| file.write_all(&content)))?;
                    written(&target, set_mode(&target, mode))?;
                }
            } else {
                let target = self.dir.join(&path);
                let mut file = create(&target).map_err(|error| format!("{}: {error}", target.display()))?;
                budget.copy(&mut entry, &mut file, &path)?;
                written(&target, set_mode(&target, mode))?;
            }
        }
        Ok(())
    }

    fn set_old_aside(&mut self) -> io::Result<()> {
        remove_dir(&self.old_dir)?;
        if self.dir.exists() {
            fs::rename(&self.dir, &self.old_dir)?;
            self.had_old = true;
        }
        fs::create_dir_all(&self.dir)
    }

    /// Runs `install.sh` if the package brings one.
    pub(crate) fn run_script(&self, paras: &[String], config: &HostConfig) -> Result<(), String> {
        let script = self.dir.join("install.sh");
        if !script.is_file() {
            return Ok(());
        }
        let mut command = Command::new("/bin/sh");
        command.arg(&script).args(paras).current_dir(&self.dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        sys::detach(&mut command);
        let (sender, receiver) = mpsc::channel();
        // The thread that starts the script must outlive it.
        let mut run = move || {
            let child = command.spawn();
            // The receiver may have given up.
            let _ = sender.send(child.as_ref().map(|child| child.id()).ok());
            child.and_then(std::process::Child::wait_with_output)
        };
        let (done, output) = mpsc::channel();
        std::thread::Builder::new()
            .name("plugin-install".to_owned())
            .spawn(move || drop(done.send(run())))
            .map_err(|error| error.to_string())?;
        let output = match output.recv_timeout(config.install_timeout) {
            Ok(output) => output.map_err(|error| format!("cannot run install.sh: {error}"))?,
            Err(_) => {
                if let Ok(Some(pid)) = receiver.try_recv() {
                    sys::signal_group(pid as i32, sys::KILL);
                }
                return Err(format!(
                    "install.sh did not end within {}ms",
                    config.install_timeout.as_millis()
                ));
            }
        };
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            return Err(format!("err:{} stdout:{out} stderr:{err}", output.status));
        }
        info!("install script output: {out}");
        Ok(())
    }

    /// Puts everything back as it was.
    pub(crate) fn undo(self) {
        for (path, before) in self.files.iter().rev() {
            // What cannot be put back is no worse than what is there.
            let _ = match before {
                Some(content) => fs::write(path, content),
                None => fs::remove_file(path),
            };
        }
        if self.had_old || !self.old_dir.exists() {
            let _ = remove_dir(&self.dir);
        }
        if self.had_old {
            let _ = fs::rename(&self.old_dir, &self.dir);
        }
    }

    /// Removes what the version before has left.
    pub(crate) fn keep(self) {
        // The next installation tries again.
        let _ = remove_dir(&self.old_dir);
    }
}

/// Removes an installed plugin's files.
pub(crate) fn remove(package: &Package, config: &HostConfig) {
    for kind in Kind::ALL {
        for symbol in package.manifest.symbols(kind) {
            for (base, end) in [&config.etc_dir, &config.data_dir]
                .into_iter()
                .flat_map(|base| [(base, "yaml"), (base, "json")])
            {
                // Most of them were never there.
                let _ = fs::remove_file(base.join(kind.folder()).join(format!("{symbol}.{end}")));
            }
        }
    }
    let _ = remove_dir(&package.dir);
}

/// The files of the archive with their paths, all of which stay inside of their target folder.
fn check_entries(archive: &mut Archive) -> Result<Vec<(usize, PathBuf)>, String> {
    let mut files = Vec::new();
    if archive.zip.len() > MOST_ENTRIES {
        return Err(format!("the archive has {} entries; {MOST_ENTRIES} are allowed", archive.zip.len()));
    }
    for index in 0..archive.zip.len() {
        let entry = archive.zip.by_index(index).map_err(|error| error.to_string())?;
        let name = entry.name().unwrap_or_default().into_owned();
        let Some(path) = entry.enclosed_name().filter(|_| !name.starts_with(['/', '\\'])) else {
            return Err(format!("invalid entry {name}: it would leave the plugin's folder"));
        };
        if entry.is_symlink() {
            return Err(format!("invalid entry {}: symbolic links are not allowed", path.display()));
        }
        if !entry.is_dir() {
            files.push((index, path.components().collect()));
        }
    }
    Ok(files)
}

fn is_metadata(path: &Path) -> bool {
    Kind::ALL.iter().any(|kind| path.starts_with(kind.folder()))
}

/// A new file with its folders. One that is there is replaced, not written into, so that nothing is written through a
/// link.
fn create(target: &Path) -> io::Result<File> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::remove_file(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::create_new(target)
}

fn set_mode(target: &Path, mode: Option<u32>) -> io::Result<()> {
    match mode.map(|mode| mode & 0o777).filter(|mode| *mode != 0) {
        // The engine itself must be able to read and replace it.
        Some(mode) => fs::set_permissions(target, fs::Permissions::from_mode(mode | 0o600)),
        None => Ok(()),
    }
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
