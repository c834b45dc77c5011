//! Dates as text: patterns of letters (`YYYY-MM-dd HH:mm:ss`), the lenient forms of T-11, and RFC 3339.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Offset, TimeZone, Timelike, Utc};
use chrono_tz::Tz;

use crate::moment;
use crate::time::Timestamp;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The instant in a zone; `None` outside the years that a calendar can hold.
pub fn in_zone(time: Timestamp, zone: Tz) -> Option<DateTime<Tz>> {
    DateTime::<Utc>::from_timestamp_millis(time.0).map(|utc| utc.with_timezone(&zone))
}

/// RFC 3339 with a fraction without trailing zeros; `None` when the year is not 0 to 9999.
pub fn rfc3339(time: Timestamp, zone: Tz) -> Option<String> {
    let local = in_zone(time, zone).filter(|local| (0..=9999).contains(&local.year()))?;
    let mut text = local.format("%Y-%m-%dT%H:%M:%S").to_string();
    let millis = local.nanosecond() / 1_000_000;
    if millis > 0 {
        text.push_str(format!(".{millis:03}").trim_end_matches('0'));
    }
    text.push_str(&offset_text(&local, "Z", ":"));
    Some(text)
}

/// Parses text: by `pattern` when there is one, else leniently (T-11). Text without zone is meant in `zone`; text
/// without date is meant on the day of `now`.
pub fn parse(text: &str, pattern: Option<&str>, zone: Tz, now: Timestamp) -> Option<Timestamp> {
    match pattern.filter(|pattern| !pattern.is_empty()) {
        Some(pattern) => parse_pattern(text, pattern, zone),
        None => parse_lenient(text, zone, now),
    }
}

enum Part<'a> {
    Letters(&'a str),
    Text(&'a str),
}

/// Cuts a pattern into runs of one letter, quoted texts, and the rest.
fn parts(pattern: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let end = if first == '\'' {
            let close = rest[1..].find('\'').map_or(rest.len(), |at| at + 1);
            parts.push(Part::Text(if close == 1 { "'" } else { &rest[1..close] }));
            (close + 1).min(rest.len())
        } else if first.is_ascii_alphabetic() {
            let end = rest.find(|c| c != first).unwrap_or(rest.len());
            parts.push(Part::Letters(&rest[..end]));
            end
        } else {
            let end = rest.find(|c: char| c == '\'' || c.is_ascii_alphabetic()).unwrap_or(rest.len());
            parts.push(Part::Text(&rest[..end]));
            end
        };
        rest = &rest[end..];
    }
    parts
}

fn offset_text(local: &DateTime<Tz>, utc: &str, colon: &str) -> String {
    let minutes = local.offset().fix().local_minus_utc() / 60;
    if minutes == 0 {
        return utc.to_owned();
    }
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}{colon}{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

/// What has been read of a date so far.
#[derive(Clone, Copy)]
struct Read {
    year: i32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    nanos: u32,
    /// Seconds east of UTC, when the text says.
    offset: Option<i32>,
    afternoon: Option<bool>,
}

impl Read {
    fn midnight(year: i32, month: u32, day: u32) -> Self {
        Self { year, month, day, hour: 0, minute: 0, second: 0, nanos: 0, offset: None, afternoon: None }
    }

    fn instant(self, zone: Tz) -> Option<Timestamp> {
        let hour = match self.afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let date = NaiveDate::from_ymd_opt(self.year, self.month, self.day)?;
        let naive: NaiveDateTime = date.and_hms_nano_opt(hour, self.minute, self.second, self.nanos)?;
        let millis = match self.offset {
            Some(offset) => naive.and_utc().timestamp_millis() - i64::from(offset) * 1_000,
            None => zone.from_local_datetime(&naive).earliest()?.timestamp_millis(),
        };
        Some(Timestamp(millis))
    }
}

/// Reads from the front of a text.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    /// `min..=max` digits.
    fn number(&mut self, min: usize, max: usize) -> Option<u32> {
        let digits = self.0.bytes().take(max).take_while(u8::is_ascii_digit).count();
        if digits < min {
            return None;
        }
        let (head, rest) = self.0.split_at(digits);
        self.0 = rest;
        head.parse().ok()
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.0.strip_prefix(text);
        self.0 = found.unwrap_or(self.0);
        found.is_some()
    }

    fn one_of(&mut self, names: &[&'a str], len: Option<usize>) -> Option<u32> {
        let index = names.iter().position(|name| {
            let name = &name[..len.unwrap_or(name.len())];
            self.0.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name))
        })?;
        self.0 = &self.0[len.unwrap_or(names[index].len())..];
        Some(index as u32)
    }

    /// Up to nine digits as nanoseconds.
    fn fraction(&mut self) -> Option<u32> {
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (head, rest) = self.0.split_at(digits);
        self.0 = rest;
        let head = &head[..digits.min(9)];
        let number: u32 = head.parse().ok()?;
        Some(number * 10u32.pow(9 - head.len() as u32))
    }

    /// `Z`, `+02`, `+0200`, `+02:00`.
    fn offset(&mut self) -> Option<i32> {
        if self.eat("Z") || self.eat("UTC") {
            return Some(0);
        }
        let sign = if self.eat("+") {
            1
        } else if self.eat("-") {
            -1
        } else {
            return None;
        };
        let hours = self.number(2, 2)?;
        self.eat(":");
        let minutes = self.number(2, 2).unwrap_or(0);
        Some(sign * (hours * 3_600 + minutes * 60) as i32)
    }
}

fn parse_pattern(text: &str, pattern: &str, zone: Tz) -> Option<Timestamp> {
    let mut read = Read::midnight(1970, 1, 1);
    let mut cursor = Cursor(text);
    for part in parts(pattern) {
        match part {
            Part::Text(text) => cursor.eat(text).then_some(())?,
            Part::Letters(letters) => read_letters(letters, &mut cursor, &mut read)?,
        }
    }
    cursor.0.is_empty().then(|| read.instant(zone))?
}

fn read_letters(letters: &str, cursor: &mut Cursor<'_>, read: &mut Read) -> Option<()> {
    match letters {
        "yyyy" | "YYYY" => read.year = cursor.number(4, 4)? as i32,
        "yy" | "YY" => {
            let year = cursor.number(2, 2)? as i32;
            read.year = if year >= 69 { 1900 + year } else { 2000 + year };
        }
        "MMMM" => read.month = cursor.one_of(&MONTHS, None)? + 1,
        "MMM" => read.month = cursor.one_of(&MONTHS, Some(3))? + 1,
        "MM" => read.month = cursor.number(2, 2)?,
        "M" => read.month = cursor.number(1, 2)?,
        "dd" | "DD" => read.day = cursor.number(2, 2)?,
        "d" | "D" => read.day = cursor.number(1, 2)?,
        "HH" | "hh" => read.hour = cursor.number(2, 2)?,
        "H" | "h" => read.hour = cursor.number(1, 2)?,
        "mm" => read.minute = cursor.number(2, 2)?,
        "m" => read.minute = cursor.number(1, 2)?,
        "ss" => read.second = cursor.number(2, 2)?,
        "s" => read.second = cursor.number(1, 2)?,
        "a" | "A" => read.afternoon = Some(cursor.one_of(&["AM", "PM"], None)? == 1),
        "EEEE" => drop(cursor.one_of(&DAYS, None)?),
        "E" | "EE" | "EEE" => drop(cursor.one_of(&DAYS, Some(3))?),
        "z" | "Z" | "ZZ" | "ZZZ" | "X" | "XX" | "XXX" => read.offset = Some(cursor.offset()?),
        _ if letters.bytes().all(|letter| letter == b'S') => read.nanos = cursor.fraction()?,
        _ => cursor.eat(letters).then_some(())?,
    }
    Some(())
}

fn parse_lenient(text: &str, zone: Tz, now: Timestamp) -> Option<Timestamp> {
    let moment = moment::parse_near(text.trim(), zone, now)?;
    Some(Timestamp(moment.timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_709_212_455_678);

    #[test]
    fn lenient_forms_of_t_11_are_read() {
        for (text, expected) in [
            ("2024-02-29T13:14:15Z", Some(1_709_212_455_000)),
            ("2024-02-29T13:14:15.678Z", Some(1_709_212_455_678)),
            ("2024-02-29T14:14:15.678+01:00", Some(1_709_212_455_678)),
            ("2024-02-29 13:14:15", Some(1_709_212_455_000)),
            ("2024/2/29 13:14", Some(1_709_212_440_000)),
            ("2024-02-29", Some(1_709_164_800_000)),
            ("13:14:15", Some(1_709_212_455_000)),
            ("never", None),
            ("2024-02-30", None),
            ("2024-02-29T13:14:15Zx", None),
        ] {
            assert_eq!(parse(text, None, Tz::UTC, NOW), expected.map(Timestamp), "{text}");
        }
    }

    #[test]
    fn patterns_read_what_they_describe() {
        for (pattern, text, millis) in [
            ("YYYY-MM-dd HH:mm:ss.SSS", "2024-02-29 13:14:15.678", 1_709_212_455_678),
            ("dd/MM/yy h:mm a", "29/02/24 1:14 PM", 1_709_212_440_000),
            ("EEE, d MMM yyyy HH:mm:ss Z", "Thu, 29 Feb 2024 13:14:15 +0000", 1_709_212_455_000),
            ("YYYY-MM-dd'T'HH:mm:ssXXX", "2024-02-29T13:14:15Z", 1_709_212_455_000),
        ] {
            assert_eq!(parse(text, Some(pattern), Tz::UTC, NOW), Some(Timestamp(millis)), "{pattern}");
        }
        assert_eq!(parse("29/02/24 1:14", Some("dd/MM/yy h:mm a"), Tz::UTC, NOW), None);
    }

    #[test]
    fn zones_apply_where_the_text_has_none() {
        let berlin = Tz::Europe__Berlin;
        assert_eq!(parse("2024-02-29 14:14:15", None, berlin, NOW), Some(Timestamp(1_709_212_455_000)));
        assert_eq!(rfc3339(NOW, berlin).as_deref(), Some("2024-02-29T14:14:15.678+01:00"));
        assert_eq!(rfc3339(Timestamp(3_000), Tz::UTC).as_deref(), Some("1970-01-01T00:00:03Z"));
        assert_eq!(rfc3339(Timestamp(i64::MAX), Tz::UTC), None);
    }
}
