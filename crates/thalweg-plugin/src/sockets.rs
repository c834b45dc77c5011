//! Where the sockets of plugins lie, and what becomes of their files (`portable-plugins.md` 4.2).
//!
//! The SDKs look for fixed names in `/tmp`. When another engine has one of a plugin's names there, and the plugin runs
//! on the bundled SDK, all its sockets lie in a folder of our own instead, which the process is told in its
//! environment.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use thalweg_core::Diagnostic;

use crate::channel::{remove_stale, socket_path_fits};
use crate::config::HostConfig;
use crate::manifest::{Kind, Manifest};
use crate::sys;

/// Where the SDKs look for all sockets.
pub(crate) const USUAL: &str = "/tmp";

/// The variable by which a process on our SDK learns that its sockets are elsewhere.
pub(crate) const VARIABLE: &str = "THALWEG_SOCKETS";

/// Of a plugin's control channel.
pub(crate) fn control_file(plugin: &str) -> String {
    format!("plugin_{plugin}.ipc")
}

/// Of a plugin's control channel in the usual folder.
pub(crate) fn usual_control(plugin: &str) -> PathBuf {
    Path::new(USUAL).join(control_file(plugin))
}

/// Of a function.
pub(crate) fn function_file(symbol: &str) -> String {
    format!("func_{symbol}.ipc")
}

/// Of a source's or sink's data.
pub(crate) fn data_file(rule: &str, op: &str) -> String {
    format!("{rule}_{op}_0.ipc")
}

/// Of a sink's acknowledgements.
pub(crate) fn ack_file(rule: &str, op: &str) -> String {
    format!("{rule}_{op}_0_ack.ipc")
}

/// Checks the names that would become a path: their length, and that they stay in the folder.
pub(crate) fn check_names(folder: &Path, rule: &str, op: &str) -> Result<(), Diagnostic> {
    let path = folder.join(ack_file(rule, op));
    if rule.contains('/') || op.contains('/') {
        return Err(Diagnostic::plain(format!(
            "plugins cannot be used with the name {rule}_{op}, which contains a slash"
        )));
    }
    if !socket_path_fits(&path) {
        let text = format!(
            "the rule's id is too long for a plugin: the socket path {} has more than 107 bytes",
            path.display()
        );
        return Err(Diagnostic::plain(text));
    }
    Ok(())
}

/// Whether somebody listens on a name of this plugin's own in the usual folder. What nobody listens on is removed: a
/// killed engine has left it.
pub(crate) fn is_taken(plugin: &str, manifest: &Manifest) -> bool {
    let functions = manifest.symbols(Kind::Function).iter().map(|name| function_file(name));
    let files = functions.chain([control_file(plugin)]);
    let is_taken = |file: String| match remove_stale(&Path::new(USUAL).join(file)) {
        Err(error) => error.kind() == io::ErrorKind::AddrInUse,
        Ok(()) => false,
    };
    // All of them: each may be one to be removed.
    files.map(is_taken).fold(false, |any, one| any | one)
}

/// The folder of this engine, which nobody else can look into.
pub(crate) fn own_folder(config: &HostConfig) -> io::Result<PathBuf> {
    let path = own_folder_path(config);
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let meta = fs::symlink_metadata(&path)?;
            if !meta.is_dir() || meta.uid() != sys::own_user() || meta.mode() & 0o077 != 0 {
                let text = format!("{} is not a folder of this user alone", path.display());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
            }
        }
        done => done?,
    }
    Ok(path)
}

/// Short, because names of rules follow, and the same whenever an engine runs on this data.
fn own_folder_path(config: &HostConfig) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    config.engine().hash(&mut hasher);
    Path::new(USUAL).join(format!("thalweg-{:08x}", hasher.finish() as u32))
}

fn journal(config: &HostConfig) -> PathBuf {
    config.data_dir.join("plugin-sockets")
}

/// Writes down that there may be a socket, so that it can be removed should nobody else be able to.
pub(crate) fn note(config: &HostConfig, path: &Path) {
    let file = OpenOptions::new().create(true).append(true).open(journal(config));
    // Without the entry a file may be left over, which whoever wants the name removes.
    let _ = file.and_then(|mut file| writeln!(file, "{}", path.display()));
}

/// Removes the sockets of this engine that nobody listens on: those of a killed engine on the same data at its start,
/// those that killed plugins have left at its end.
pub(crate) fn sweep(config: &HostConfig) {
    let noted = fs::read_to_string(journal(config)).unwrap_or_default();
    for path in noted.lines() {
        // Most of them have gone with their listeners. One that somebody listens on is somebody else's.
        let _ = remove_stale(Path::new(path));
    }
    let _ = fs::remove_file(journal(config));
    // It is empty now, or still in use.
    let _ = fs::remove_dir(own_folder_path(config));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn what_was_noted_and_is_dead_is_swept_and_what_lives_stays() {
        let home = tempfile::tempdir().unwrap();
        let config = HostConfig::in_home(home.path());
        fs::create_dir_all(&config.data_dir).unwrap();
        let folder = own_folder(&config).unwrap();
        assert_eq!(own_folder(&config).unwrap(), folder);
        let (dead, alive, none) =
            (folder.join("dead.ipc"), home.path().join("alive.ipc"), home.path().join("none.ipc"));
        drop(UnixListener::bind(&dead).unwrap());
        let listener = UnixListener::bind(&alive).unwrap();
        [&dead, &alive, &none].into_iter().for_each(|path| note(&config, path));
        sweep(&config);
        assert_eq!((dead.exists(), alive.exists(), folder.exists()), (false, true, false));
        assert!(!journal(&config).exists());
        drop(listener);
    }

    #[test]
    fn a_folder_that_others_may_enter_is_not_used() {
        let home = tempfile::tempdir().unwrap();
        let config = HostConfig::in_home(home.path());
        let folder = own_folder_path(&config);
        DirBuilder::new().mode(0o755).create(&folder).unwrap();
        let error = own_folder(&config).unwrap_err();
        fs::remove_dir(&folder).unwrap();
        assert!(error.to_string().ends_with("is not a folder of this user alone"), "{error}");
    }
}
