//! The two system calls that the standard library lacks: `poll` and the credentials of a peer.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The process at the other end of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process id.
    pub pid: i32,
    /// User id.
    pub uid: u32,
}

/// What to wait for, and afterwards what happened.
pub(crate) type Poll = libc::pollfd;

pub(crate) fn readable(socket: &impl AsRawFd) -> Poll {
    interest(socket.as_raw_fd(), libc::POLLIN)
}

pub(crate) fn writable(socket: &impl AsRawFd) -> Poll {
    interest(socket.as_raw_fd(), libc::POLLOUT)
}

fn interest(fd: RawFd, events: libc::c_short) -> Poll {
    Poll { fd, events, revents: 0 }
}

/// Waits until something happens on one of the sockets; `None` waits for ever. Returns whether something did.
pub(crate) fn poll(sockets: &mut [Poll], wait: Option<Duration>) -> io::Result<bool> {
    // Rounded up, so that a wait never ends before its time and then spins.
    let millis =
        wait.map_or(-1, |wait| i32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
    // SAFETY: the pointer and the length are those of one live, exclusively borrowed slice of `pollfd`.
    let happened = unsafe { libc::poll(sockets.as_mut_ptr(), sockets.len() as libc::nfds_t, millis) };
    if happened < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) };
    }
    Ok(happened > 0)
}

/// Who is at the other end: for an accepted socket who connected, for a dialed one who listens.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn peer_of(stream: &UnixStream) -> io::Result<Peer> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the pointer is to a `ucred` of `len` bytes on this stack frame, which is what SO_PEERCRED writes.
    let done = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            std::ptr::from_mut(&mut credentials).cast(),
            &mut len,
        )
    };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(Peer { pid: credentials.pid, uid: credentials.uid })
    }
}

/// Who is at the other end.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn peer_of(_stream: &UnixStream) -> io::Result<Peer> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "the credentials of a peer cannot be read on this system"))
}
