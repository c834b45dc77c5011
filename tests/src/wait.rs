//! The one loop that waits for another process. Everything it waits for is a condition that can be seen; the pause is
//! only there to leave the machine to the others.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine with two cores.
pub const LIMIT: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(10);

/// What `look` finds, as soon as it finds something.
///
/// # Panics
/// When there is nothing within [`LIMIT`]; the message says what was waited for.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    match within(LIMIT, look) {
        Some(found) => found,
        None => panic!("waited {} s for {what}", LIMIT.as_secs()),
    }
}

/// Waits for a condition.
///
/// # Panics
/// As [`until`].
pub fn until_true(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, || holds().then_some(()));
}

/// What `look` finds within this time.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= end {
            return found;
        }
        thread::sleep(PAUSE);
    }
}
