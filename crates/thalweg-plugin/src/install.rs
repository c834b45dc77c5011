//! Unpacking a package so that it can be taken back (`portable-plugins.md` 1 and 2).

use std::fs::{self, File};
use std::io::{self, Read};
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

type Archive = ZipArchive<File>;

/// Opens a package and checks what it says of itself.
pub(crate) fn open(zip: &Path, name: &str) -> Result<(Archive, Manifest), String> {
    let file = File::open(zip).map_err(|error| error.to_string())?;
    let mut archive =
        ZipArchive::new(file).map_err(|error| format!("the file is not a zip archive: {error}"))?;
    let json = format!("{name}.json");
    let n_files = archive.len();
    let mut text = Vec::new();
    match archive.by_name(&json) {
        Ok(mut entry) => drop(entry.read_to_end(&mut text).map_err(|error| error.to_string())?),
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
        let mut this = Self { had_old: false, dir, old_dir, files: Vec::new() };
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
        for (index, path) in entries {
            let mut entry = archive.by_index(index).map_err(|error| error.to_string())?;
            let (mode, mut content) = (entry.unix_mode(), Vec::new());
            let read = entry.read_to_end(&mut content);
            read.map_err(|error| format!("cannot unpack {}: {error}", path.display()))?;
            let write = |target: &Path| {
                write(target, &content, mode).map_err(|error| format!("{}: {error}", target.display()))
            };
            if is_metadata(&path) {
                for base in [&config.etc_dir, &config.data_dir] {
                    let target = base.join(&path);
                    self.files.push((target.clone(), fs::read(&target).ok()));
                    write(&target)?;
                }
            } else {
                write(&self.dir.join(&path))?;
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
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| error.to_string())?;
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

fn write(target: &Path, content: &[u8], mode: Option<u32>) -> io::Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(target, content)?;
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
