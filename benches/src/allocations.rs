//! Counts allocations: mimalloc behind a counter.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// The allocator of the benches.
pub(crate) struct Counting;

// SAFETY: everything is passed on to mimalloc as it came; counting touches no memory that is handed out.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.store(COUNT.load(Relaxed) + 1, Relaxed);
        // SAFETY: the caller's promises are mimalloc's.
        unsafe { mimalloc::MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.store(COUNT.load(Relaxed) + 1, Relaxed);
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.realloc(memory, layout, size) }
    }
}

/// What `work` gives and how often it (or any thread beside it) allocated, growing included.
pub(crate) fn counted<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = COUNT.load(Relaxed);
    let result = work();
    (result, COUNT.load(Relaxed) - before)
}
