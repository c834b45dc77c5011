//! What arrives at the sink: how many results, how many rows they stand for, how long they took.

/// Counts of results; those of the warm-up are not among them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Messages.
    pub(crate) delivered: u64,
    /// The sum of their counts of rows.
    pub(crate) rows: u64,
    /// When the newest came, in microseconds.
    pub(crate) last_at: u64,
    /// Rules whose first result of the warm-up has come.
    pub(crate) n_warm: usize,
}

/// Everything that has arrived.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    warm: Vec<bool>,
    latencies: Vec<u32>,
}

impl Tally {
    /// Notes a result.
    pub(crate) fn note(&mut self, topic: &[u8], payload: &[u8], now: u64) {
        if payload.windows(2).any(|window| window == b"-1") {
            return self.warm(topic);
        }
        self.counts.delivered += 1;
        self.counts.last_at = now;
        self.counts.rows += number_behind(payload, b"\"c\":").unwrap_or(0);
        if let Some(sent) = number_behind(payload, b"\"t\":") {
            self.latencies.push(u32::try_from(now.saturating_sub(sent)).unwrap_or(u32::MAX));
        }
    }

    /// A result of the warm-up; the last level of its topic is the rule.
    fn warm(&mut self, topic: &[u8]) {
        let level = topic.rsplit(|byte| *byte == b'/').next();
        let rule =
            level.and_then(|level| std::str::from_utf8(level).ok()?.parse::<usize>().ok()).unwrap_or(0);
        if self.warm.len() <= rule {
            self.warm.resize(rule + 1, false);
        }
        self.counts.n_warm += usize::from(!std::mem::replace(&mut self.warm[rule], true));
    }

    /// These percentiles of the latencies in microseconds; `None` when the results carry no times.
    pub(crate) fn percentiles(&mut self, shares: [f64; 3]) -> [Option<u32>; 3] {
        self.latencies.sort_unstable();
        let last = self.latencies.len().checked_sub(1);
        shares.map(|share| last.map(|last| self.latencies[(last as f64 * share) as usize]))
    }
}

/// The whole number behind a key.
fn number_behind(payload: &[u8], key: &[u8]) -> Option<u64> {
    let at = payload.windows(key.len()).position(|window| window == key)? + key.len();
    let digits = payload[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let (mut number, mut any) = (0u64, false);
    for digit in digits {
        (number, any) = (number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')), true);
    }
    any.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_the_warm_up_only_tell_which_rules_answer() {
        let mut tally = Tally::default();
        for (topic, payload) in
            [("x/out/0", r#"{"humidity":-1,"c":7}"#), ("x/out/20", r#"{"humidity":-1}"#), ("x/out/0", "[-1]")]
        {
            tally.note(topic.as_bytes(), payload.as_bytes(), 9);
        }
        tally.note(b"x/out/0", br#"{"humidity":1,"t":40,"c":3}"#, 100);
        tally.note(b"x/out/0", br#"{"c": 3}"#, 110);
        let Counts { delivered, rows, last_at, n_warm } = tally.counts;
        assert_eq!((delivered, rows, last_at, n_warm), (2, 3, 110, 2));
        assert_eq!(tally.percentiles([0.0, 0.5, 1.0]), [Some(60); 3]);
    }
}
