//! Where the first boundary of a window lies (W-3), in the configured zone (T-12) and always ahead (W-4).

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;
use thalweg_core::Timestamp;
use thalweg_plan::TimeUnit;

/// The smallest instant after `now` that is a multiple of `interval` (milliseconds, whole units) within the clock
/// field of the unit: seconds of a minute, minutes of an hour, hours of a day, milliseconds of a second. Days count
/// from today's midnight.
pub(crate) fn boundary_after(now: Timestamp, unit: TimeUnit, interval: i64, zone: Tz) -> Timestamp {
    let interval = interval.max(1);
    let offset = offset_millis(now, zone);
    let local = now.0.saturating_add(offset);
    let enclosing = match unit {
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Second => 60_000,
        TimeUnit::Minute => 3_600_000,
        TimeUnit::Hour | TimeUnit::Day => 86_400_000,
    };
    let base = local.div_euclid(enclosing).saturating_mul(enclosing);
    let steps = (local - base) / interval + 1;
    Timestamp(base.saturating_add(steps.saturating_mul(interval)).saturating_sub(offset))
}

fn offset_millis(now: Timestamp, zone: Tz) -> i64 {
    let utc = DateTime::from_timestamp_millis(now.0).unwrap_or_default();
    i64::from(zone.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc()) * 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(now: i64, unit: TimeUnit, interval: i64, zone: Tz, expected: i64) {
        let found = boundary_after(Timestamp(now), unit, interval, zone);
        assert_eq!(found, Timestamp(expected), "{unit:?} {interval} after {now}");
    }

    #[test]
    fn w3_the_first_boundary_is_aligned_to_the_clock_field() {
        check(58_300, TimeUnit::Second, 7_000, Tz::UTC, 63_000);
        check(58_300, TimeUnit::Second, 90_000, Tz::UTC, 90_000);
        check(300, TimeUnit::Second, 2_000, Tz::UTC, 2_000);
        check(1_250, TimeUnit::Millisecond, 100, Tz::UTC, 1_300);
        check(3_600_000 * 5, TimeUnit::Hour, 3_600_000 * 6, Tz::UTC, 3_600_000 * 6);
    }

    #[test]
    fn w4_a_boundary_is_strictly_ahead() {
        check(2_300, TimeUnit::Second, 2_000, Tz::UTC, 4_000);
        check(4_000, TimeUnit::Second, 2_000, Tz::UTC, 6_000);
        check(10_000, TimeUnit::Second, 10_000, Tz::UTC, 20_000);
        check(-1, TimeUnit::Second, 1_000, Tz::UTC, 0);
    }

    #[test]
    fn t12_days_start_at_midnight_of_the_configured_zone() {
        check(0, TimeUnit::Day, 86_400_000, Tz::Asia__Shanghai, 16 * 3_600_000);
        check(0, TimeUnit::Day, 86_400_000, Tz::UTC, 86_400_000);
    }
}
