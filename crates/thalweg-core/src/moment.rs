//! The lenient reader of dates (T-11, functions.md 9.3), and moments that remember their offset.
//!
//! Text without a zone is read in the zone given; text with one keeps it, so that `hour()` of such a text answers
//! in its own zone. Patterns are `datetime.rs`.

use chrono::{
    DateTime, Datelike, FixedOffset, Months, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone,
};
use chrono_tz::Tz;

use crate::time::Timestamp;

/// The instant that a text names, when it names a date. Time-only texts need [`parse_near`].
pub fn parse(text: &str, zone: Tz) -> Option<Timestamp> {
    let parsed = with_offset(text).or_else(|| Some(in_zone(dated(text)?, zone)))?;
    Some(Timestamp(parsed.timestamp_millis()))
}

/// The moment that a text names; leading fields that it leaves out come from `now`.
pub fn parse_near(text: &str, zone: Tz, now: Timestamp) -> Option<DateTime<FixedOffset>> {
    with_offset(text).or_else(|| {
        let naive = dated(text).or_else(|| undated(text, local(now, zone)?.naive_local()))?;
        Some(in_zone(naive, zone))
    })
}

/// The moment in its zone; none outside the calendar's range.
pub fn local(time: Timestamp, zone: Tz) -> Option<DateTime<FixedOffset>> {
    let local = zone.timestamp_millis_opt(time.0).single()?;
    Some(local.with_timezone(&local.offset().fix()))
}

/// A wall-clock time in a zone: the earlier one when the clocks go back, one hour on when it is skipped.
pub fn in_zone(naive: NaiveDateTime, zone: Tz) -> DateTime<FixedOffset> {
    let found = zone.from_local_datetime(&naive).earliest().or_else(|| {
        let hour = TimeDelta::hours(1);
        Some(zone.from_local_datetime(&(naive - hour)).latest()? + hour)
    });
    match found {
        Some(local) => local.with_timezone(&local.offset().fix()),
        None => naive.and_utc().fixed_offset(),
    }
}

/// RFC 3339 with as many fraction digits as needed, in the moment's own zone.
pub fn rfc3339_of(moment: &DateTime<FixedOffset>) -> String {
    let offset =
        if moment.offset().local_minus_utc() == 0 { "Z".to_owned() } else { moment.offset().to_string() };
    format!("{}{}{offset}", moment.format("%Y-%m-%dT%H:%M:%S"), fraction(moment))
}

/// As Go prints a time: `2024-02-29 13:14:15.678 +0000 UTC`.
pub fn go_text(time: Timestamp, zone: Tz) -> String {
    let Some(moment) = zone.timestamp_millis_opt(time.0).single() else {
        return time.0.to_string();
    };
    let fixed = moment.with_timezone(&moment.offset().fix());
    format!("{}{}{}", moment.format("%Y-%m-%d %H:%M:%S"), fraction(&fixed), moment.format(" %z %Z"))
}

fn fraction(moment: &DateTime<FixedOffset>) -> String {
    match moment.timestamp_subsec_nanos() {
        0 => String::new(),
        nanos => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
    }
}

const WITH_OFFSET: &[&str] = &[
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f%z",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a %b %d %H:%M:%S %z %Y",
    "%d %b %y %H:%M %z",
];
const UTC_NAMED: &[&str] =
    &["%a, %d %b %Y %H:%M:%S", "%A, %d-%b-%y %H:%M:%S", "%d %b %y %H:%M", "%H:%M:%S %b %d, %Y"];
const DATED: &[&str] = &[
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y.%m.%d %H:%M:%S%.f",
    "%m/%d/%Y %H:%M:%S",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%a %b %e %H:%M:%S %Y",
];
const DATES: &[&str] = &["%Y-%m-%d", "%Y.%m.%d", "%m/%d/%Y", "%Y/%m/%d"];

/// Texts that carry an offset, or the name of one (all but UTC read as offset 0, 9.3).
fn with_offset(text: &str) -> Option<DateTime<FixedOffset>> {
    if let Some(parsed) = WITH_OFFSET.iter().find_map(|format| DateTime::parse_from_str(text, format).ok()) {
        return Some(parsed);
    }
    if let Some(naive) = text.strip_suffix('Z').filter(|rest| rest.contains('T')) {
        let naive = NaiveDateTime::parse_from_str(naive, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
        return Some(naive.and_utc().fixed_offset());
    }
    let (front, name) = text.rsplit_once(' ')?;
    let is_name = (3..=4).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_uppercase());
    if !is_name {
        return None;
    }
    if let Ok(parsed) = DateTime::parse_from_str(front, "%Y-%m-%d %H:%M:%S%.f %z") {
        return Some(parsed);
    }
    let naive = UTC_NAMED.iter().find_map(|format| NaiveDateTime::parse_from_str(front, format).ok())?;
    Some(naive.and_utc().fixed_offset())
}

/// Texts with a date and no zone.
fn dated(text: &str) -> Option<NaiveDateTime> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits(text) {
        return match text.len() {
            4 => NaiveDate::from_ymd_opt(text.parse().ok()?, 1, 1)?.and_hms_opt(0, 0, 0),
            8 => NaiveDate::parse_from_str(text, "%Y%m%d").ok()?.and_hms_opt(0, 0, 0),
            _ => None,
        };
    }
    if let Some(found) = DATED.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok()) {
        return Some(found);
    }
    if let Some(date) = DATES.iter().find_map(|format| NaiveDate::parse_from_str(text, format).ok()) {
        return date.and_hms_opt(0, 0, 0);
    }
    match text.split_once(' ') {
        Some((date, hour)) if digits(hour) && hour.len() <= 2 => {
            NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?.and_hms_opt(hour.parse().ok()?, 0, 0)
        }
        Some(_) => None,
        None => {
            let (year, month) =
                text.split_once('-').filter(|(year, month)| year.len() == 4 && digits(month))?;
            NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, 1)?.and_hms_opt(0, 0, 0)
        }
    }
}

/// Texts that leave out the year or the whole date.
fn undated(text: &str, now: NaiveDateTime) -> Option<NaiveDateTime> {
    for format in ["%H:%M:%S%.f", "%H:%M"] {
        if let Ok(time) = NaiveTime::parse_from_str(text, format) {
            return Some(now.date().and_time(time));
        }
    }
    if let Ok(time) = NaiveTime::parse_from_str(text, "%I:%M%p") {
        // 9.3: the kitchen form falls on the first of January.
        return Some(NaiveDate::from_ymd_opt(now.year(), 1, 1)?.and_time(time));
    }
    if let Ok(hour) = text.parse::<u32>() {
        return if text.len() <= 2 { now.date().and_hms_opt(hour, 0, 0) } else { None };
    }
    if let Ok(parsed) =
        NaiveDateTime::parse_from_str(&format!("{} {text}", now.year()), "%Y %b %e %H:%M:%S%.f")
    {
        return Some(parsed);
    }
    let (month, day) = text.split_once('-')?;
    NaiveDate::from_ymd_opt(now.year(), month.parse().ok()?, day.parse().ok()?)?.and_hms_opt(0, 0, 0)
}

/// The last day of a date's month.
pub fn last_of_month(date: NaiveDate) -> Option<NaiveDate> {
    date.with_day(1)?.checked_add_months(Months::new(1))?.pred_opt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str, zone: Tz) -> Option<i64> {
        parse_near(text, zone, Timestamp(1_709_212_455_678)).map(|moment| moment.timestamp_millis())
    }

    #[test]
    fn texts_of_section_9_3_are_read() {
        for (text, expected) in [
            ("2024", 1_704_067_200_000),
            ("2024-2", 1_706_745_600_000),
            ("2024-02-29", 1_709_164_800_000),
            ("2024-2-29 13", 1_709_211_600_000),
            ("2024-02-29 13:14", 1_709_212_440_000),
            ("2024-02-29 13:14:15.678", 1_709_212_455_678),
            ("2024-02-29T13:14:15.678Z", 1_709_212_455_678),
            ("2024-02-29T22:14:15.678+09:00", 1_709_212_455_678),
            ("2024-02-29T22:14:15+09", 1_709_212_455_000),
            ("2024-02-29T13:14:15", 1_709_212_455_000),
            ("2024/02/29", 1_709_164_800_000),
            ("2/29/2024", 1_709_164_800_000),
            ("20240229", 1_709_164_800_000),
            ("2024.2.29", 1_709_164_800_000),
            ("Thu, 29 Feb 2024 13:14:15 GMT", 1_709_212_455_000),
            ("13:14", 1_709_212_440_000),
            ("2-3", 1_706_918_400_000),
            ("3:04PM", 1_704_121_440_000),
        ] {
            assert_eq!(millis(text, Tz::UTC), Some(expected), "{text}");
        }
        for text in ["2024-02-29 13:14:15Z", "2024-02-29T13:14", "1700000000", "2024-02-30", "x", ""] {
            assert_eq!(millis(text, Tz::UTC), None, "{text}");
        }
    }

    #[test]
    fn texts_without_zone_are_read_in_the_given_one_and_skipped_hours_move_on() {
        assert_eq!(millis("2024-02-29 22:14:15", Tz::Asia__Tokyo), Some(1_709_212_455_000));
        assert_eq!(
            parse("2024-03-31 02:30:00", Tz::Europe__Berlin),
            parse("2024-03-31 03:30:00", Tz::Europe__Berlin)
        );
    }

    #[test]
    fn printed_forms() {
        let time = Timestamp(1_709_212_455_678);
        assert_eq!(go_text(time, Tz::UTC), "2024-02-29 13:14:15.678 +0000 UTC");
        let shanghai = local(time, Tz::Asia__Shanghai).map(|moment| rfc3339_of(&moment));
        assert_eq!(shanghai.as_deref(), Some("2024-02-29T21:14:15.678+08:00"));
    }
}
