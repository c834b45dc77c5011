//! Memory that another process can open and write, mapped here without danger: its size is sealed, so that touching
//! it never ends in a signal, and it is seen as atomic words only, so that whatever the other side does there is other
//! numbers and nothing worse.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Mapped {
    at: NonNull<AtomicU64>,
    n_words: usize,
    /// Until nobody is to open it any more.
    descriptor: Mutex<Option<OwnedFd>>,
}

// SAFETY: the mapping belongs to this value alone until it is dropped, and is reached through atomics only.
unsafe impl Send for Mapped {}
// SAFETY: as above; atomics may be used by many threads.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// So many words of zeros, taken as they are used. Their number cannot be changed by anybody.
    #[cfg(target_os = "linux")]
    pub(crate) fn create(n_words: usize) -> io::Result<Self> {
        let (size, checked) = (n_words * 8, |result: i32| match result {
            -1 => Err(io::Error::last_os_error()),
            result => Ok(result),
        });
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: the name is text that ends with a zero.
        let descriptor = checked(unsafe { libc::memfd_create(c"thalweg".as_ptr(), flags) })?;
        // SAFETY: the descriptor was made just now and is nobody else's.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let length = libc::off_t::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the calls take a descriptor that is open, and numbers.
        unsafe {
            checked(libc::ftruncate(descriptor.as_raw_fd(), length))?;
            let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
            checked(libc::fcntl(descriptor.as_raw_fd(), libc::F_ADD_SEALS, seals))?;
        }
        let (access, descriptor_now) = (libc::PROT_READ | libc::PROT_WRITE, descriptor.as_raw_fd());
        // SAFETY: a mapping at a place of the system's choice touches no memory that is in use.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), size, access, libc::MAP_SHARED, descriptor_now, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { at, n_words, descriptor: Mutex::new(Some(descriptor)) })
    }

    /// Only Linux has what it takes.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn create(_n_words: usize) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Where another process of the same user can open it, until [`Mapped::hide`].
    pub(crate) fn path(&self) -> Option<String> {
        let descriptor = self.descriptor.lock().unwrap_or_else(PoisonError::into_inner);
        let descriptor = descriptor.as_ref()?.as_raw_fd();
        Some(format!("/proc/{}/fd/{descriptor}", std::process::id()))
    }

    /// From now on nobody can open it.
    pub(crate) fn hide(&self) {
        *self.descriptor.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// All of it.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has so many words, aligned to a page, until `self` is dropped; no seal lets it shrink,
        // and any bits are a number.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.n_words) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this size, and nobody has a reference to it any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.n_words * 8) };
    }
}
