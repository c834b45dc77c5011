//! A dead service costs its time-out once, not once a row: after failures calls are refused at once for a while.
//!
//! A connection that cannot be made closes the gate; so do three calls in a row without an answer. While it is closed
//! calls fail at once with the cause. Then one call may try; its success opens the gate, its failure doubles the pause.
//! The only file of this crate that asks for the time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Whoever tries and has not come back by then is forgotten.
const LONGEST_TRY: Duration = Duration::from_secs(60);
/// So many calls in a row without an answer close the gate.
const STRIKES: u32 = 3;

/// How a call failed on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failing {
    /// There was no connection.
    Connect,
    /// There was no answer.
    Answer,
}

/// A moment until which somebody waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    pub(crate) fn after(wait: Duration) -> Self {
        Self(Instant::now() + wait)
    }

    /// What is left of it.
    pub(crate) fn left(self) -> Option<Duration> {
        Some(self.0.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

/// Before an address.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    strikes: u32,
    /// All failures so far.
    failures: u64,
    closed: Option<Closed>,
}

#[derive(Debug)]
struct Closed {
    until: Instant,
    pause: Duration,
    /// Somebody tries since then.
    tried: Option<Instant>,
    why: String,
}

impl Closed {
    fn refusal(&self) -> String {
        let left = self.until.saturating_duration_since(Instant::now());
        format!("{}; next try in {} ms", self.why, left.as_millis())
    }
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks to pass. Whoever passes says later how it went. The number is for [`Gate::closed_since`].
    pub(crate) fn pass(&self) -> Result<u64, String> {
        let mut state = self.state();
        let failures = state.failures;
        let Some(closed) = &mut state.closed else { return Ok(failures) };
        let now = Instant::now();
        if closed.until <= now && closed.tried.is_none_or(|since| now.duration_since(since) > LONGEST_TRY) {
            closed.tried = Some(now);
            return Ok(failures);
        }
        Err(closed.refusal())
    }

    /// Whether it has closed after somebody passed who has waited since, and why.
    #[cfg(feature = "grpc")]
    pub(crate) fn closed_since(&self, passed: u64) -> Option<String> {
        let state = self.state();
        state.closed.as_ref().filter(|_| state.failures > passed).map(Closed::refusal)
    }

    /// There was an answer, be it an error.
    pub(crate) fn answered(&self) {
        let mut state = self.state();
        state.strikes = 0;
        state.closed = None;
    }

    /// There was none.
    pub(crate) fn failed(&self, failing: Failing, why: &str) {
        let mut state = self.state();
        state.strikes = state.strikes.saturating_add(1);
        state.failures = state.failures.wrapping_add(1);
        let was = state.closed.take();
        if failing == Failing::Answer && state.strikes < STRIKES && was.is_none() {
            return;
        }
        let pause = match was {
            // Calls that were under way when it closed do not prolong it.
            Some(closed) if closed.tried.is_none() => {
                state.closed = Some(closed);
                return;
            }
            Some(closed) => closed.pause.saturating_mul(2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        let until = Instant::now() + pause;
        state.closed = Some(Closed { until, pause, tried: None, why: why.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pause is over.
    fn later(gate: &Gate) {
        gate.state().closed.as_mut().unwrap().until = Instant::now();
    }

    fn pause(gate: &Gate) -> u128 {
        gate.state().closed.as_ref().unwrap().pause.as_millis()
    }

    #[test]
    fn a_refused_connection_closes_it_and_one_call_at_a_time_tries_again() {
        let gate = Gate::default();
        assert!(gate.pass().is_ok());
        gate.failed(Failing::Connect, "connection refused");
        let why = gate.pass().unwrap_err();
        assert!(why.starts_with("connection refused; next try in "), "{why}");
        later(&gate);
        assert!(gate.pass().is_ok());
        assert!(gate.pass().is_err());
        gate.failed(Failing::Connect, "connection refused");
        assert_eq!(pause(&gate), 400);
        // One that was under way all the time.
        gate.failed(Failing::Connect, "connection refused");
        assert_eq!(pause(&gate), 400);
        later(&gate);
        assert!(gate.pass().is_ok());
        gate.answered();
        assert!(gate.pass().is_ok() && gate.pass().is_ok());
        for _ in 0..20 {
            gate.failed(Failing::Connect, "x");
            later(&gate);
            assert!(gate.pass().is_ok());
        }
        assert_eq!(pause(&gate), LONGEST_PAUSE.as_millis());
    }

    #[test]
    fn one_slow_answer_closes_nothing_three_do() {
        let gate = Gate::default();
        gate.failed(Failing::Answer, "no answer");
        gate.failed(Failing::Answer, "no answer");
        gate.answered();
        gate.failed(Failing::Answer, "no answer");
        gate.failed(Failing::Answer, "no answer");
        assert!(gate.pass().is_ok());
        gate.failed(Failing::Answer, "no answer");
        assert!(gate.pass().is_err());
    }
}
