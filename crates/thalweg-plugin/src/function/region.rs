//! Memory that is shared with the process behind a function channel (`portable-plugins.md` 12.4).

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::terms::Terms;
use crate::frame::Place;
use crate::mapped::Mapped;

/// While the process works in one half, the other is filled.
const HALF: usize = 2 << 20;
/// What is smaller travels in the message.
pub(super) const WORTH_IT: usize = 64 << 10;

/// Two halves, for one caller at a time.
#[derive(Debug)]
pub(crate) struct Region {
    memory: Mapped,
    is_taken: AtomicBool,
}

impl Region {
    /// Makes one; the memory is taken as it is used.
    pub(super) fn create() -> io::Result<Self> {
        Ok(Self { memory: Mapped::create(2 * HALF / 8)?, is_taken: AtomicBool::new(false) })
    }

    /// Where the other side can open it.
    pub(super) fn path(&self) -> Option<String> {
        self.memory.path()
    }

    pub(super) const fn size() -> usize {
        2 * HALF
    }

    /// The other side has opened it, or will not.
    pub(super) fn hide(&self) {
        self.memory.hide();
    }

    /// One of the two halves.
    pub(super) const fn half(turn: usize) -> Place {
        Place { offset: (turn % 2) * HALF, size: HALF }
    }

    /// The words of a place; none if that is not within the region.
    pub(super) fn words(&self, place: Place) -> &[AtomicU64] {
        let (from, to) = (place.offset / 8, place.offset.saturating_add(place.size).div_ceil(8));
        self.memory.words().get(from..to).unwrap_or_default()
    }

    /// Copies bytes to the beginning of a place; those that do not fit are left out.
    pub(super) fn write(&self, place: Place, bytes: &[u8]) {
        let (whole, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let words = whole.iter().copied().chain((!rest.is_empty()).then_some(last));
        self.words(place)
            .iter()
            .zip(words)
            .for_each(|(room, word)| room.store(u64::from_le_bytes(word), Relaxed));
    }

    /// Copies the bytes of a place.
    pub(super) fn read(&self, place: Place) -> Result<Vec<u8>, String> {
        let words = self.words(place);
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
        if bytes.len() < place.size {
            return Err("invalid answer: it names shared memory that there is not".to_owned());
        }
        bytes.truncate(place.size);
        Ok(bytes)
    }
}

/// The right to use the region of a process; one caller has it.
#[derive(Debug)]
pub(super) struct Lease(Arc<Terms>);

impl Lease {
    /// Nothing where there is no region, or somebody else uses it.
    pub(super) fn take(terms: &Arc<Terms>) -> Option<Self> {
        let is_free = !terms.region.as_ref()?.is_taken.swap(true, AcqRel);
        is_free.then(|| Self(Arc::clone(terms)))
    }

    pub(super) fn region(&self) -> Option<&Region> {
        self.0.region.as_ref()
    }

    /// The process is still at work in the region, nobody knows how long: its memory is not used again.
    pub(super) fn abandon(self) {
        std::mem::forget(self);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(region) = self.region() {
            region.is_taken.store(false, Release);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::greeting::{Cap, Caps, FunctionTraits};

    #[test]
    fn the_other_side_can_neither_keep_the_name_nor_end_us_by_cutting_it_off() {
        let region = Region::create().unwrap();
        let path = region.path().unwrap();
        let other = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        assert_eq!(other.metadata().unwrap().len(), Region::size() as u64);
        region.hide();
        assert_eq!(region.path(), None);
        assert!(other.set_len(0).is_err() && other.set_len(8 << 20).is_err(), "the size is sealed");
        let place = Place { offset: Region::half(1).offset, size: 16 };
        region.write(place, b"abcdefghijk");
        let mut seen = [0; 12];
        other.read_exact_at(&mut seen, place.offset as u64).unwrap();
        assert_eq!(&seen, b"abcdefghijk\0");
        other.write_all_at(b"ABC", place.offset as u64).unwrap();
        assert_eq!(region.read(Place { size: 11, ..place }), Ok(b"ABCdefghijk".to_vec()));
        region.write(Place { size: 8, ..place }, &[b'x'; 64]);
        assert_eq!(region.read(place), Ok(b"xxxxxxxxijk\0\0\0\0\0".to_vec()), "only in its place");
        let beyond = Place { offset: Region::size() - 8, size: 16 };
        region.write(beyond, b"never");
        assert!(region.read(beyond).is_err());
    }

    #[test]
    fn one_caller_at_a_time_has_the_region_and_none_after_one_that_gave_up() {
        let caps = Caps::of(&[Cap::Shm, Cap::Cols]);
        let region = Some(Region::create().unwrap());
        let terms = Arc::new(Terms::new(1, caps, FunctionTraits::default(), region));
        let lease = Lease::take(&terms).unwrap();
        assert!(Lease::take(&terms).is_none());
        drop(lease);
        Lease::take(&terms).unwrap().abandon();
        assert!(Lease::take(&terms).is_none());
    }
}
