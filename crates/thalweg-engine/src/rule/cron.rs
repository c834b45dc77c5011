//! Cron expressions as upstream's library reads them (rules.md 2): five fields (minute, hour, day of the month, month, day
//! of the week), `@hourly` and its like, `@every 1h`, and `CRON_TZ=` before them.

use chrono::{DateTime, Datelike, Days, LocalResult, NaiveDate, NaiveTime, TimeZone, Timelike};
use chrono_tz::Tz;
use thalweg_core::Timestamp;
use thalweg_core::time::parse_duration;

/// When something happens again and again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cron {
    when: When,
    /// Of its own, instead of the configured one.
    zone: Option<Tz>,
}

#[derive(Debug, Clone, PartialEq)]
enum When {
    Fields(Box<Fields>),
    /// Milliseconds.
    Every(i64),
}

#[derive(Debug, Clone, PartialEq)]
struct Fields {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

/// The values of a field, as bits.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Field {
    bits: u64,
    /// Written as `*` or `?`: of the two fields of days the other one decides.
    is_any: bool,
}

impl Field {
    fn has(self, value: u32) -> bool {
        self.bits & (1 << value) != 0
    }
}

/// What a field may hold.
struct Span {
    what: &'static str,
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const SPANS: [Span; 5] = [
    Span { what: "minute", first: 0, last: 59, names: &[] },
    Span { what: "hour", first: 0, last: 23, names: &[] },
    Span { what: "day of month", first: 1, last: 31, names: &[] },
    Span { what: "month", first: 1, last: 12, names: &MONTHS },
    Span { what: "day of week", first: 0, last: 6, names: &WEEKDAYS },
];

/// A date that does not come within so many days never does.
const HORIZON: u64 = 366 * 8 + 31;

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        let mut zone = None;
        for prefix in ["CRON_TZ=", "TZ="] {
            if let Some(after) = rest.strip_prefix(prefix) {
                let (name, fields) = after.split_once(' ').unwrap_or((after, ""));
                zone = Some(name.parse().map_err(|_| format!("unknown time zone {name}"))?);
                rest = fields.trim();
            }
        }
        let when = match rest {
            "@yearly" | "@annually" => fields("0 0 1 1 *")?,
            "@monthly" => fields("0 0 1 * *")?,
            "@weekly" => fields("0 0 * * 0")?,
            "@daily" | "@midnight" => fields("0 0 * * *")?,
            "@hourly" => fields("0 * * * *")?,
            _ => match rest.strip_prefix("@every ") {
                Some(every) => {
                    let every = parse_duration(every.trim()).filter(|every| *every > 0);
                    let every = every.ok_or_else(|| format!("{rest} has no duration such as 1h30m"))?;
                    // Whole seconds, one at least.
                    When::Every((every / 1_000).max(1) * 1_000)
                }
                None if rest.starts_with('@') => return Err(format!("unknown descriptor {rest}")),
                None => fields(rest)?,
            },
        };
        Ok(Self { when, zone })
    }

    /// The first moment after `now`, if there is any.
    pub(super) fn next(&self, now: Timestamp, zone: Tz) -> Option<Timestamp> {
        match &self.when {
            When::Every(every) => Some(Timestamp(now.0.div_euclid(1_000) * 1_000).plus(*every)),
            When::Fields(fields) => {
                let zone = self.zone.unwrap_or(zone);
                let now = zone.timestamp_millis_opt(now.0).single()?;
                fields.next(now).map(|next| Timestamp(next.timestamp_millis()))
            }
        }
    }
}

impl Fields {
    fn next(&self, now: DateTime<Tz>) -> Option<DateTime<Tz>> {
        let mut date = now.date_naive();
        for _ in 0..HORIZON {
            if self.has_day(date)
                && let Some(found) = self.on(date, now)
            {
                return Some(found);
            }
            date = date.checked_add_days(Days::new(1))?;
        }
        None
    }

    /// The two fields of days: both must fit, unless both are restricted, when one is enough.
    fn has_day(&self, date: NaiveDate) -> bool {
        let day = self.day.has(date.day());
        let weekday = self.weekday.has(date.weekday().num_days_from_sunday());
        let is_either = !self.day.is_any && !self.weekday.is_any;
        self.month.has(date.month()) && if is_either { day || weekday } else { day && weekday }
    }

    /// The first moment of a day after `now`. A time that a clock skips is left out; of one that it shows twice the
    /// first counts.
    fn on(&self, date: NaiveDate, now: DateTime<Tz>) -> Option<DateTime<Tz>> {
        let is_today = date == now.date_naive();
        let first = if is_today { now.hour() } else { 0 };
        let hours = (first..24).filter(|hour| self.hour.has(*hour));
        let minutes =
            |hour| (0..60).filter(|minute| self.minute.has(*minute)).map(move |minute| (hour, minute));
        hours.flat_map(minutes).find_map(|(hour, minute)| {
            let time = date.and_time(NaiveTime::from_hms_opt(hour, minute, 0)?);
            let found = match now.timezone().from_local_datetime(&time) {
                LocalResult::Single(found) | LocalResult::Ambiguous(found, _) => found,
                LocalResult::None => return None,
            };
            (found > now).then_some(found)
        })
    }
}

fn fields(text: &str) -> Result<When, String> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = parts[..] else {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", parts.len(), parts.join(" ")));
    };
    Ok(When::Fields(Box::new(Fields {
        minute: field(minute, &SPANS[0])?,
        hour: field(hour, &SPANS[1])?,
        day: field(day, &SPANS[2])?,
        month: field(month, &SPANS[3])?,
        weekday: field(weekday, &SPANS[4])?,
    })))
}

fn field(text: &str, span: &Span) -> Result<Field, String> {
    let mut field = Field { bits: 0, is_any: false };
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step, part, span)?)),
            None => (part, None),
        };
        if step == Some(0) {
            return Err(format!("step of range should be a positive number: {part}"));
        }
        let (first, last) = match range.split_once('-') {
            _ if range == "*" || range == "?" => {
                field.is_any |= step.unwrap_or(1) == 1;
                (span.first, span.last)
            }
            Some((first, last)) => (value(first, part, span)?, value(last, part, span)?),
            None => {
                let first = value(range, part, span)?;
                (first, if step.is_some() { span.last } else { first })
            }
        };
        if first < span.first || last > span.last {
            let Span { what, first, last, .. } = span;
            return Err(format!("{what} must be {first} to {last}: {part}"));
        }
        if first > last {
            return Err(format!("beginning of range ({first}) beyond end of range ({last}): {part}"));
        }
        let step = step.unwrap_or(1).min(64) as usize;
        (first..=last).step_by(step).for_each(|value| field.bits |= 1 << value);
    }
    Ok(field)
}

fn value(text: &str, part: &str, span: &Span) -> Result<u32, String> {
    let named = span.names.iter().position(|name| text.eq_ignore_ascii_case(name));
    match named {
        Some(at) => Ok(at as u32 + span.first),
        None => number(text, part, span),
    }
}

fn number(text: &str, part: &str, span: &Span) -> Result<u32, String> {
    text.parse().map_err(|_| format!("failed to parse {} {part}: {text} is no number", span.what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, zone: Tz) -> Timestamp {
        let time = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").expect("a time");
        Timestamp(zone.from_local_datetime(&time).earliest().expect("it exists").timestamp_millis())
    }

    fn next(cron: &str, now: &str, zone: Tz) -> Option<String> {
        let cron = Cron::parse(cron).expect(cron);
        let next = cron.next(at(now, zone), zone)?;
        let next = zone.timestamp_millis_opt(next.0).single()?;
        Some(next.format("%Y-%m-%d %H:%M:%S").to_string())
    }

    #[test]
    fn the_next_moment_is_the_first_that_all_fields_allow() {
        for (cron, now, then) in [
            ("* * * * *", "2026-01-01 10:00:00", "2026-01-01 10:01:00"),
            ("*/15 * * * *", "2026-01-01 10:16:30", "2026-01-01 10:30:00"),
            ("0 9-17/4 * * *", "2026-01-01 14:00:00", "2026-01-01 17:00:00"),
            ("30 4 1,15 * *", "2026-01-01 05:00:00", "2026-01-15 04:30:00"),
            ("0 0 * feb mon-fri", "2026-01-31 00:00:00", "2026-02-02 00:00:00"),
            ("0 0 29 2 *", "2026-03-01 00:00:00", "2028-02-29 00:00:00"),
            ("5/20 * * * *", "2026-01-01 10:25:00", "2026-01-01 10:45:00"),
            ("@hourly", "2026-12-31 23:30:00", "2027-01-01 00:00:00"),
            ("@weekly", "2026-11-22 00:00:00", "2026-11-29 00:00:00"),
            ("@every 1h30m", "2026-01-01 10:00:10", "2026-01-01 11:30:10"),
            ("CRON_TZ=Asia/Tokyo 0 9 * * *", "2026-01-01 10:00:00", "2026-01-02 00:00:00"),
        ] {
            assert_eq!(next(cron, now, Tz::UTC).as_deref(), Some(then), "{cron}");
        }
        assert_eq!(next("0 0 31 2 *", "2026-01-01 00:00:00", Tz::UTC), None);
    }

    #[test]
    fn days_of_month_and_week_are_alternatives_when_both_are_restricted() {
        // 2026-11-22 is a Sunday.
        assert_eq!(
            next("0 0 13 * 5", "2026-11-08 00:00:00", Tz::UTC).as_deref(),
            Some("2026-11-13 00:00:00")
        );
        assert_eq!(
            next("0 0 13 * 1", "2026-11-08 00:00:00", Tz::UTC).as_deref(),
            Some("2026-11-09 00:00:00")
        );
        assert_eq!(next("0 0 * * 0", "2026-11-16 00:00:00", Tz::UTC).as_deref(), Some("2026-11-22 00:00:00"));
    }

    #[test]
    fn a_time_that_the_clock_skips_is_left_out_and_one_that_it_shows_twice_comes_once() {
        let zone = Tz::Europe__Berlin;
        assert_eq!(next("30 2 * * *", "2026-03-28 12:00:00", zone).as_deref(), Some("2026-03-30 02:30:00"));
        assert_eq!(next("30 2 * * *", "2026-10-25 02:30:00", zone).as_deref(), Some("2026-10-26 02:30:00"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (cron, why) in [
            ("", "expected exactly 5 fields, found 0"),
            ("* * * *", "expected exactly 5 fields, found 4"),
            ("60 * * * *", "minute must be 0 to 59: 60"),
            ("* * 0 * *", "day of month must be 1 to 31: 0"),
            ("* * * * 7", "day of week must be 0 to 6: 7"),
            ("a * * * *", "failed to parse minute a: a is no number"),
            ("9-5 * * * *", "beginning of range (9) beyond end of range (5): 9-5"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("@often", "unknown descriptor @often"),
            ("@every x", "has no duration"),
            ("CRON_TZ=Mars/Base * * * * *", "unknown time zone Mars/Base"),
        ] {
            let refused = Cron::parse(cron).expect_err(cron);
            assert!(refused.contains(why), "{cron}: {refused}");
        }
    }
}
