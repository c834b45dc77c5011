//! Memory that is shared with the process behind a function channel (`portable-plugins.md` 12.4).
//!
//! It is written and read as a file, never mapped: the other side may change it or cut it off at any time, which is
//! then an error or other bytes, but never a signal or an undefined reference in the engine.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::frame::Place;

/// A file system in memory.
const FOLDER: &str = "/dev/shm";
/// While the process works in one half, the other is filled.
const HALF: usize = 2 << 20;
/// What is smaller travels in the message.
pub(super) const WORTH_IT: usize = 64 << 10;

/// A file without a name, once the other side has opened it.
#[derive(Debug)]
pub(crate) struct Region {
    file: File,
    path: PathBuf,
}

impl Region {
    /// Makes one; the memory is taken as it is used.
    pub(super) fn create() -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if !cfg!(target_os = "linux") {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let name = format!("thalweg-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = Path::new(FOLDER).join(name);
        // Of an engine that was killed, with our process id.
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let region = Self { file, path };
        region.file.set_len(2 * HALF as u64)?;
        Ok(region)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn size() -> usize {
        2 * HALF
    }

    /// Takes its name away.
    pub(super) fn unlink(&self) {
        // That it has none any more is as good.
        let _ = fs::remove_file(&self.path);
    }

    /// One of the two halves.
    pub(super) const fn half(turn: usize) -> Place {
        Place { offset: (turn % 2) * HALF, size: HALF }
    }

    pub(super) fn write(&self, place: Place, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(&bytes[..bytes.len().min(place.size)], place.offset as u64)
    }

    pub(super) fn read(&self, place: Place) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; place.size];
        let read = self.file.read_exact_at(&mut bytes, place.offset as u64);
        read.map(|()| bytes).map_err(|error| format!("invalid answer: the shared memory: {error}"))
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.unlink();
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_other_side_can_neither_keep_the_name_nor_end_us_by_cutting_it_off() {
        let region = Region::create().unwrap();
        let other = OpenOptions::new().write(true).open(region.path()).unwrap();
        assert_eq!(other.metadata().unwrap().len(), Region::size() as u64);
        region.unlink();
        assert!(!region.path().exists());
        let place = Place { offset: Region::half(1).offset, size: 3 };
        region.write(place, b"abcdef").unwrap();
        assert_eq!(region.read(place), Ok(b"abc".to_vec()));
        other.set_len(0).unwrap();
        assert!(region.read(place).unwrap_err().contains("the shared memory"));
        region.write(place, b"abc").unwrap();
    }
}
