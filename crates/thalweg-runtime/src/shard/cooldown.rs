//! A pause *after* a batch, never before one (`hot-path.md` 7.4).
//!
//! A broker that writes every message by itself wakes the reader for every message or two, and then nine tenths of the
//! cost is the kernel. Resting for a moment after a read lets the next one find many. A message that finds the shard
//! idle never waits, and below [`BUSY`] messages a second there is no pause at all. A rule may bound the pauses of its
//! shard, or forbid them ([`Budgets`]).

use std::collections::BTreeMap;
use std::time::Duration;

/// Messages a second from which on pauses pay.
const BUSY: f64 = 5_000.0;
/// Messages that a read shall find.
const WANTED: f64 = 32.0;
/// No pause is longer, so that latency stays bounded.
const LONGEST_MICROS: u64 = 300;
/// A shorter one costs more than it saves.
const SHORTEST_MICROS: f64 = 30.0;
/// Over which time the rate is averaged.
const MEMORY_MICROS: f64 = 50_000.0;

/// What is known of the traffic of one shard.
#[derive(Debug, Default)]
pub(crate) struct Cooldown {
    /// Messages a second, a moving average.
    rate: f64,
    /// Messages of one read, a moving average.
    per_read: f64,
    last_micros: u64,
}

impl Cooldown {
    /// The pause after a round of reads that brought so many messages, of no more than `most` microseconds.
    pub(crate) fn after(&mut self, messages: usize, now_micros: u64, most: u64) -> Option<Duration> {
        if messages == 0 {
            return None;
        }
        let passed = now_micros.saturating_sub(self.last_micros).max(1) as f64;
        self.last_micros = now_micros;
        let messages = messages as f64;
        // An average over time: of what was before a long silence nothing is left. The beginning of the series of e^x is
        // near enough, and a lone message needs no mathematical library.
        let age = passed / MEMORY_MICROS;
        let weight = 1.0 - 1.0 / (1.0 + age * (1.0 + age * (0.5 + age / 6.0)));
        self.rate += (messages * 1e6 / passed - self.rate) * weight;
        self.per_read += (messages - self.per_read) / 8.0;
        // A sender that batches brings many at once by itself.
        if self.rate < BUSY || self.per_read > 4.0 * WANTED {
            return None;
        }
        let micros = (WANTED * 1e6 / self.rate).min(most as f64);
        (micros >= SHORTEST_MICROS).then(|| Duration::from_micros(micros as u64))
    }
}

/// What the rules of a shard allow.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    /// How many rules allow so many microseconds and no more; those that allow the longest pause are left out.
    tight: BTreeMap<u64, usize>,
}

impl Budgets {
    /// A rule has come.
    pub(crate) fn add(&mut self, micros: u64) {
        if micros < LONGEST_MICROS {
            *self.tight.entry(micros).or_default() += 1;
        }
    }

    /// It has gone.
    pub(crate) fn remove(&mut self, micros: u64) {
        if let Some(count) = self.tight.get_mut(&micros) {
            *count -= 1;
            if *count == 0 {
                self.tight.remove(&micros);
            }
        }
    }

    /// The longest pause that all of them allow.
    pub(crate) fn most(&self) -> u64 {
        self.tight.first_key_value().map_or(LONGEST_MICROS, |(micros, _)| *micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pause after a second of rounds with so many messages and so many microseconds between them.
    fn bounded(messages: usize, apart: u64, most: u64) -> Option<Duration> {
        let mut cooldown = Cooldown::default();
        (0..1_000_000 / apart).fold(None, |_, round| cooldown.after(messages, (round + 1) * apart, most))
    }

    fn pause(messages: usize, apart: u64) -> Option<Duration> {
        bounded(messages, apart, LONGEST_MICROS)
    }

    #[test]
    fn the_tightest_budget_of_the_rules_bounds_the_pause_until_its_rule_goes() {
        let mut budgets = Budgets::default();
        for micros in [300, 5_000, 100, 0, 100] {
            budgets.add(micros);
        }
        assert_eq!((budgets.most(), bounded(1, 100, budgets.most())), (0, None));
        budgets.remove(0);
        budgets.remove(100);
        assert_eq!(bounded(1, 100, budgets.most()), Some(Duration::from_micros(100)));
        budgets.remove(100);
        budgets.remove(300);
        assert_eq!(budgets.most(), LONGEST_MICROS);
    }

    #[test]
    fn below_five_thousand_messages_a_second_nothing_waits() {
        assert_eq!(pause(1, 2_000), None);
        assert_eq!(pause(1, 250), None);
        assert_eq!(pause(0, 10), None);
    }

    #[test]
    fn a_busy_socket_with_few_messages_a_read_is_left_alone_for_a_moment() {
        assert_eq!(pause(1, 100), Some(Duration::from_micros(300)), "10,000 a second");
        let at_rest = pause(2, 16).unwrap().as_micros();
        assert!((240..=270).contains(&at_rest), "125,000 a second: {at_rest}");
    }

    #[test]
    fn a_sender_that_batches_is_read_on_at_once() {
        assert_eq!(pause(3_000, 1_000), None);
    }

    #[test]
    fn after_a_silence_the_first_message_does_not_wait() {
        let mut cooldown = Cooldown::default();
        for round in 1..1_000 {
            let _paused = cooldown.after(2, round * 16, LONGEST_MICROS);
        }
        assert!(cooldown.after(2, 16_016, LONGEST_MICROS).is_some());
        assert_eq!(cooldown.after(1, 1_000_000, LONGEST_MICROS), None);
    }
}
