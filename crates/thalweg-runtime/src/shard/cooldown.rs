//! A pause *after* a batch, never before one (`hot-path.md` 7.4).
//!
//! A broker that writes every message by itself wakes the reader for every message or two, and then nine tenths of the
//! cost is the kernel. Resting for a moment after a read lets the next one find many. A message that finds the shard
//! idle never waits, and below [`BUSY`] messages a second there is no pause at all.

use std::time::Duration;

/// Messages a second from which on pauses pay.
const BUSY: f64 = 5_000.0;
/// Messages that a read shall find.
const WANTED: f64 = 32.0;
/// No pause is longer, so that latency stays bounded.
const LONGEST_MICROS: f64 = 300.0;
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
    /// The pause after a round of reads that brought so many messages.
    pub(crate) fn after(&mut self, messages: usize, now_micros: u64) -> Option<Duration> {
        if messages == 0 {
            return None;
        }
        let passed = now_micros.saturating_sub(self.last_micros).max(1) as f64;
        self.last_micros = now_micros;
        let messages = messages as f64;
        // An exponential average over time: of a long silence nothing is left.
        let weight = 1.0 - (-passed / MEMORY_MICROS).exp();
        self.rate += (messages * 1e6 / passed - self.rate) * weight;
        self.per_read += (messages - self.per_read) / 8.0;
        // A sender that batches brings many at once by itself.
        if self.rate < BUSY || self.per_read > 4.0 * WANTED {
            return None;
        }
        let micros = (WANTED * 1e6 / self.rate).min(LONGEST_MICROS);
        (micros >= SHORTEST_MICROS).then(|| Duration::from_micros(micros as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pause after a second of rounds with so many messages and so many microseconds between them.
    fn pause(messages: usize, apart: u64) -> Option<Duration> {
        let mut cooldown = Cooldown::default();
        (0..1_000_000 / apart).fold(None, |_, round| cooldown.after(messages, (round + 1) * apart))
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
            let _paused = cooldown.after(2, round * 16);
        }
        assert!(cooldown.after(2, 16_016).is_some());
        assert_eq!(cooldown.after(1, 1_000_000), None);
    }
}
