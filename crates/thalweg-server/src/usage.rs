//! CPU time per rule over the last five intervals (`GET /rules/usage/cpu`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Intervals that are added up.
const INTERVALS: usize = 5;

/// The time spent for each rule since its run began.
pub(crate) type Times = BTreeMap<Arc<str>, Duration>;

/// What was read at the end of each interval, oldest first.
#[derive(Default)]
pub(crate) struct Usage {
    read: Mutex<VecDeque<Times>>,
}

impl Usage {
    /// An interval is over.
    pub(crate) fn note(&self, times: Times) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.len() > INTERVALS {
            read.pop_front();
        }
        read.push_back(times);
    }

    /// Milliseconds of each rule that runs; `None` before the first interval is over.
    pub(crate) fn window(&self) -> Option<BTreeMap<String, u64>> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, last) = (read.front()?, read.back().filter(|_| read.len() > 1)?);
        let spent = |(rule, now): (&Arc<str>, &Duration)| {
            // A rule that was started anew counts from there.
            let before = first.get(rule).copied().filter(|before| before <= now).unwrap_or_default();
            (rule.to_string(), (*now - before).as_millis() as u64)
        };
        Some(last.iter().map(spent).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(millis: u64) -> Times {
        Times::from([(Arc::from("r"), Duration::from_millis(millis))])
    }

    #[test]
    fn the_window_is_five_intervals_and_a_rule_that_was_started_anew_counts_from_there() {
        let usage = Usage::default();
        usage.note(Times::new());
        assert_eq!(usage.window(), None, "nothing is over yet");
        for millis in [10, 30, 60, 100, 150, 210] {
            usage.note(times(millis));
        }
        let spent = |millis: u64| Some(BTreeMap::from([("r".to_owned(), millis)]));
        assert_eq!(usage.window(), spent(200));
        usage.note(times(4));
        assert_eq!(usage.window(), spent(4));
    }
}
