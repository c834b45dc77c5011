//! The three roles on nng's own library (cargo feature `nng`), for comparing and as a way out should our own
//! implementation of the wire prove wrong somewhere.
//!
//! What is weaker than in `thalweg-sp`: nng may lose the message that it holds when a peer hangs up, or when we do,
//! so that the last message before the end of a source or a sink without acknowledgements may not arrive; a peer's
//! user is read from `/proc`, because the crate offers only its process id; a process that connects and hangs up without
//! a greeting, as an engine on nng does that looks whether somebody listens there, leaves a listener that accepts nobody
//! any more (ours look without connecting); and each call costs two hand-overs between threads.

mod pull;
mod push;
mod rep;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nng::options::{Options as _, RecvMaxSize, transport::ipc};
use nng::{ListenerBuilder, Pipe, Socket};
use thalweg_sp::{MAX_PATH, Options, Peer, remove_stale, socket_path_fits};

pub(crate) use self::pull::Pull;
pub(crate) use self::push::Push;
pub(crate) use self::rep::Rep;

fn url(path: &Path) -> String {
    format!("ipc://{}", path.display())
}

/// Listens with mode 0600. A file that nobody listens on is removed first.
fn listen(socket: &Socket, path: &Path, options: &Options) -> io::Result<()> {
    if !socket_path_fits(path) {
        let text = format!("socket path {} has more than {MAX_PATH} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // The library would look by connecting.
    match remove_stale(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let failed = |error: nng::Error| {
        let text = format!("cannot listen on {}: {error}", path.display());
        io::Error::new(io::Error::from(error).kind(), text)
    };
    let listener = ListenerBuilder::new(socket, &url(path)).map_err(failed)?;
    listener.set_opt::<RecvMaxSize>(options.max_message).map_err(failed)?;
    listener.set_opt::<ipc::Permissions>(0o600).map_err(failed)?;
    listener.start().map(drop).map_err(|(_, error)| failed(error))
}

/// Whether the process at the other end may be there.
fn is_welcome(pipe: Pipe, options: &Options) -> bool {
    let Some(check) = &options.peer_check else { return true };
    let Ok(pid) = pipe.get_opt::<ipc::PeerPid>() else { return false };
    let Ok(process) = fs::metadata(format!("/proc/{pid}")) else { return false };
    i32::try_from(pid).is_ok_and(|pid| check(&Peer { pid, uid: process.uid() }))
}
