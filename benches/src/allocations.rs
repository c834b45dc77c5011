//! Counts allocations: mimalloc behind a counter.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

static COUNT: AtomicU64 = AtomicU64::new(0);
/// Otherwise a look at this is all that an allocation costs more.
static IS_COUNTING: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Allocations of this thread.
    static HERE: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    if IS_COUNTING.load(Relaxed) {
        COUNT.fetch_add(1, Relaxed);
        HERE.with(|here| here.set(here.get() + 1));
    }
}

/// The allocator of the benches.
pub(crate) struct Counting;

// SAFETY: everything is passed on to mimalloc as it came; counting touches no memory that is handed out.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are mimalloc's.
        unsafe { mimalloc::MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.realloc(memory, layout, size) }
    }
}

/// What `work` gives and how often it (or any thread beside it) allocated, growing included.
pub(crate) fn counted<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = COUNT.load(Relaxed);
    IS_COUNTING.store(true, Relaxed);
    let result = work();
    IS_COUNTING.store(false, Relaxed);
    (result, COUNT.load(Relaxed) - before)
}

/// The same without other threads, whatever they do beside it.
#[cfg(test)]
pub(crate) fn counted_here<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = HERE.get();
    IS_COUNTING.store(true, Relaxed);
    let result = work();
    (result, HERE.get() - before)
}
