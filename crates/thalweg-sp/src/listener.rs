//! A listening socket: taking over stale files, refusing strangers, greeting newcomers.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::conn::Conn;
use crate::sys::{Poll, peer_of, readable};
use crate::{Options, Protocol};

/// The bytes that a socket's path may have.
pub const MAX_PATH: usize = 107;

/// Newcomers that may be greeting at one time; more push out the oldest.
const MAX_GREETING: usize = 16;

/// Whether a path is short enough to be a socket's.
pub fn socket_path_fits(path: &Path) -> bool {
    path.as_os_str().len() <= MAX_PATH
}

/// A bound socket. Its file goes with it.
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of our file: if somebody else's stands there later, it stays.
    identity: (u64, u64),
    ours: Protocol,
    options: Options,
    greeting: Vec<Conn>,
}

impl Listener {
    /// Binds with mode 0600. A file that nobody listens on is removed first.
    ///
    /// # Errors
    /// The path is too long, or somebody listens there already.
    pub(crate) fn bind(path: &Path, ours: Protocol, options: Options) -> io::Result<Self> {
        if !socket_path_fits(path) {
            let text = format!("socket path {} has more than {MAX_PATH} bytes", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let socket = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path)?;
                UnixListener::bind(path)
            }
            other => other,
        };
        let with_path = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {}: {error}", path.display()))
        };
        let socket = socket.map_err(with_path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(with_path)?;
        socket.set_nonblocking(true)?;
        let meta = fs::symlink_metadata(path).map_err(with_path)?;
        let identity = (meta.dev(), meta.ino());
        Ok(Self { socket, path: path.to_owned(), identity, ours, options, greeting: Vec::new() })
    }

    /// Adds the sockets to be watched; [`Listener::admit`] wants them back in this order.
    pub(crate) fn watch(&self, into: &mut Vec<Poll>) {
        into.push(readable(&self.socket));
        into.extend(self.greeting.iter().map(readable));
    }

    /// Accepts and greets what [`Listener::watch`] saw. Returns the peers whose greeting is complete.
    pub(crate) fn admit(&mut self, seen: &[Poll]) -> Vec<Conn> {
        let mut ready = Vec::new();
        let waiting = std::mem::take(&mut self.greeting);
        for (index, mut conn) in waiting.into_iter().enumerate() {
            if seen.get(1 + index).is_none_or(|poll| poll.revents == 0) {
                self.greeting.push(conn);
                continue;
            }
            // A peer that hangs up or greets wrongly is dropped.
            match conn.fill().and_then(|_| conn.greet()) {
                Ok(true) => ready.push(conn),
                Ok(false) => self.greeting.push(conn),
                Err(_) => {}
            }
        }
        if seen.first().is_some_and(|poll| poll.revents != 0) {
            while let Ok((stream, _)) = self.socket.accept() {
                self.welcome(stream);
            }
        }
        ready
    }

    fn welcome(&mut self, stream: UnixStream) {
        let allowed = match &self.options.peer_check {
            None => true,
            Some(check) => peer_of(&stream).is_ok_and(|peer| check(&peer)),
        };
        if !allowed {
            return;
        }
        if let Ok(conn) = Conn::new(stream, self.ours, &self.options) {
            if self.greeting.len() == MAX_GREETING {
                self.greeting.remove(0);
            }
            self.greeting.push(conn);
        }
    }

    /// How many sockets [`Listener::watch`] adds now.
    pub(crate) fn n_watched(&self) -> usize {
        1 + self.greeting.len()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity);
        if ours {
            // It may be gone already; then there is nothing to do.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

/// Removes the file of a socket that nobody listens on any more.
///
/// # Errors
/// There is no such file, it is no socket, or somebody listens there.
pub fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |why: &str| {
        let text = format!("cannot listen on {}: {why}", path.display());
        Err(io::Error::new(io::ErrorKind::AddrInUse, text))
    };
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return in_use("a file of this name exists and is no socket");
    }
    let live = "another process listens there; does another engine run a plugin of this name?";
    if is_listed(path) {
        return in_use(live);
    }
    // Whoever listens from another network namespace, a container perhaps, is not in the list.
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(_) => in_use(live),
        Err(error) => in_use(&error.to_string()),
    }
}

/// Whether the system's list has a listener on this path. Unlike a connection, looking there goes unnoticed: nng's own
/// listeners accept nobody any more after a peer that hangs up without a greeting.
fn is_listed(path: &Path) -> bool {
    let list = fs::read("/proc/net/unix").unwrap_or_default();
    list.split(|byte| *byte == b'\n').any(|line| is_listener(line, path))
}

/// Number, references, protocol, flags, type, state, inode and path; the flag is that of listening.
fn is_listener(line: &[u8], path: &Path) -> bool {
    const LISTENING: u32 = 1 << 16;
    let Some(before) =
        line.strip_suffix(path.as_os_str().as_bytes()).and_then(|line| str::from_utf8(line).ok())
    else {
        return false;
    };
    let fields: Vec<&str> = before.split_ascii_whitespace().collect();
    let flags = fields.get(3).and_then(|flags| u32::from_str_radix(flags, 16).ok());
    fields.len() == 7 && before.ends_with(' ') && flags.is_some_and(|flags| flags & LISTENING != 0)
}
