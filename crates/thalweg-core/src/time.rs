//! Time is an object that is given. This is the only file that asks the system for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Later by so many milliseconds (earlier when negative), saturating.
    pub fn plus(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// A boxed future, as in `futures`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What time it is. Operators never see this: they are told the time with each call.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Microseconds since some fixed instant, for latencies.
    fn monotonic_micros(&self) -> u64;

    /// How long a thread has to wait in real time until `when`; `None` if only [`ManualClock::advance_to`] can
    /// bring that moment.
    fn until(&self, when: Timestamp) -> Option<Duration>;

    /// Lets so much time pass on the calling thread, which may block: only for work that stands where that is
    /// allowed (`contracts.md` 5). A [`ManualClock`] moves itself instead, as nobody else would.
    fn pass(&self, millis: u64);
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(since.as_millis() as i64)
    }

    fn monotonic_micros(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn until(&self, when: Timestamp) -> Option<Duration> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(Duration::from_millis(when.0.max(0) as u64).saturating_sub(since))
    }

    fn pass(&self, millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
    }
}

/// A clock that tests move by hand.
#[derive(Debug, Default)]
pub struct ManualClock {
    state: Mutex<ManualState>,
}

#[derive(Debug, Default)]
struct ManualState {
    now: i64,
    sleepers: BTreeMap<i64, Vec<Waker>>,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(ManualState { now: now.0, ..ManualState::default() }) })
    }

    /// Moves the clock forward and wakes the sleepers whose moment has come.
    pub fn advance_to(&self, when: Timestamp) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now = state.now.max(when.0);
        let next = state.now + 1;
        let later = state.sleepers.split_off(&next);
        let due = std::mem::replace(&mut state.sleepers, later);
        drop(state);
        due.into_values().flatten().for_each(Waker::wake);
    }

    /// Sleeps until the clock has been moved to `when`.
    pub fn sleep_until(self: &Arc<Self>, when: Timestamp) -> BoxFuture<'static, ()> {
        let clock = Arc::clone(self);
        Box::pin(std::future::poll_fn(move |cx| {
            let mut state = clock.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.now >= when.0 {
                return Poll::Ready(());
            }
            state.sleepers.entry(when.0).or_default().push(cx.waker().clone());
            Poll::Pending
        }))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.state.lock().unwrap_or_else(PoisonError::into_inner).now)
    }

    fn monotonic_micros(&self) -> u64 {
        self.now().0 as u64 * 1_000
    }

    fn until(&self, when: Timestamp) -> Option<Duration> {
        (when <= self.now()).then_some(Duration::ZERO)
    }

    fn pass(&self, millis: u64) {
        self.advance_to(self.now().plus(i64::try_from(millis).unwrap_or(i64::MAX)));
    }
}

/// Parses a Go duration (`300ms`, `1.5h`, `1h2m3s`, optional sign; units ns us µs ms s m h) into milliseconds (R1.7).
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let (mut nanos, mut rest) = (0f64, rest);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        nanos += number
            * match &rest[..unit] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 6e10,
                "h" => 3.6e12,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    let millis = (nanos / 1e6).round();
    (millis < 9e18).then_some(if negative { -millis as i64 } else { millis as i64 })
}

/// Prints milliseconds as Go does: `5m0s`, `1.5s`, `300ms`, `0s`.
pub fn format_duration(millis: i64) -> String {
    if millis == 0 {
        return "0s".to_owned();
    }
    let sign = if millis < 0 { "-" } else { "" };
    let millis = millis.unsigned_abs();
    if millis < 1_000 {
        return format!("{sign}{millis}ms");
    }
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    let mut seconds = format!("{}", millis / 1_000 % 60);
    if !millis.is_multiple_of(1_000) {
        seconds.push_str(format!(".{:03}", millis % 1_000).trim_end_matches('0'));
    }
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_as_go_does() {
        for (text, millis, printed) in [
            ("300ms", 300, "300ms"),
            ("1h2m3s", 3_723_000, "1h2m3s"),
            ("1.5h", 5_400_000, "1h30m0s"),
            ("-1.5s", -1_500, "-1.5s"),
            ("5m", 300_000, "5m0s"),
            ("0", 0, "0s"),
        ] {
            assert_eq!(parse_duration(text), Some(millis), "{text}");
            assert_eq!(format_duration(millis), printed);
        }
        for wrong in ["", "5", "x", "1y", "-", "1.2.3s"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_manual_clock_moves_only_forward() {
        let clock = ManualClock::at(Timestamp(10));
        clock.advance_to(Timestamp(5));
        assert_eq!(clock.now(), Timestamp(10));
        assert_eq!(clock.until(Timestamp(11)), None);
        assert_eq!(clock.until(Timestamp(9)), Some(Duration::ZERO));
    }
}
