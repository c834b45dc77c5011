//! How many calls go into one message: few enough that it takes about two milliseconds of the function's time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::channel::Stopwatch;

/// The time that a message may take, in microseconds.
const BUDGET: f64 = 2000.0;
/// A message has at most so many times the values of the largest so far: one quick call says little about the next.
const GROWTH: usize = 16;
/// How much a new measurement counts.
const SHARE: f64 = 0.3;

/// What the calls of one function have taken.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    state: Mutex<State>,
}

#[derive(Debug, Default, Clone, Copy)]
struct State {
    /// Microseconds a value, and the most values that a message has had.
    micros: f64,
    most: usize,
}

impl Pace {
    /// How many values the next message may have. One call is always allowed.
    pub(crate) fn limit(&self) -> usize {
        let state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.most == 0 {
            return 1;
        }
        let by_time = if state.micros > 0.0 { (BUDGET / state.micros) as usize } else { usize::MAX };
        by_time.min(state.most.saturating_mul(GROWTH)).max(1)
    }

    /// A message of so many values took so long.
    pub(crate) fn note(&self, values: usize, micros: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let values = values.max(1);
        let each = (micros as f64).min(1e12) / values as f64;
        state.micros = if state.most == 0 { each } else { state.micros + SHARE * (each - state.micros) };
        state.most = state.most.max(values);
    }

    /// A message ran into the time-out: the next ones are small, so that only the slow call fails.
    pub(crate) fn start_over(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }
}

/// So many times in a row …
const TRIES: f64 = 60.0;
/// … and then once in so long.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// How often calls may be tried again in another process.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: f64,
    since: Stopwatch,
}

impl Allowance {
    pub(crate) fn new() -> Self {
        Self { left: TRIES, since: Stopwatch::start() }
    }

    /// Uses one up, if there is one.
    pub(crate) fn take(&mut self) -> bool {
        let earned = self.since.elapsed().as_secs_f64() / TRY_EVERY.as_secs_f64();
        self.since = Stopwatch::start();
        self.left = (self.left + earned).min(TRIES);
        let is_allowed = self.left >= 1.0;
        if is_allowed {
            self.left -= 1.0;
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_grow_until_they_take_their_time_and_start_over_after_a_time_out() {
        let pace = Pace::default();
        assert_eq!(pace.limit(), 1);
        pace.note(1, 0);
        assert_eq!(pace.limit(), 16);
        pace.note(16, 0);
        assert_eq!(pace.limit(), 256);
        (0..100).for_each(|_| pace.note(256, 2560));
        assert!((190..=210).contains(&pace.limit()), "{}", pace.limit());
        (0..100).for_each(|_| pace.note(1, u64::MAX));
        assert_eq!(pace.limit(), 1);
        pace.start_over();
        pace.note(0, 0);
        assert_eq!(pace.limit(), 16);
    }

    #[test]
    fn tries_run_out() {
        let mut allowance = Allowance::new();
        let n = (0..1000).filter(|_| allowance.take()).count();
        assert!((60..70).contains(&n), "{n}");
    }
}
