//! A moment until which somebody is willing to wait, and how long something took. The only file of this crate that asks for the time.

use std::time::{Duration, Instant};

/// A moment in the future, or never.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// So long from now. A wait too long to be expressed is one without end.
    pub fn after(wait: Duration) -> Self {
        Self(Instant::now().checked_add(wait))
    }

    /// Waits for ever.
    pub fn never() -> Self {
        Self(None)
    }

    /// What is left; `None` means for ever.
    pub fn left(self) -> Option<Duration> {
        self.0.map(|when| when.saturating_duration_since(Instant::now()))
    }

    /// Whether the moment has come.
    pub fn is_over(self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// The earlier of this and `wait` from now, as a duration.
    pub fn left_at_most(self, wait: Duration) -> Duration {
        self.left().map_or(wait, |left| left.min(wait))
    }
}

/// Measures from its making.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
