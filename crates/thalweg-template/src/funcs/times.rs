//! Dates, printed and read by Go's layouts (T4.12).

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, Offset, Timelike};
use chrono_tz::Tz;
use thalweg_core::time::parse_duration;
use thalweg_core::{Timestamp, Value, moment};

use super::{Answer, Function, text};
use crate::Context;

pub(super) const TABLE: &[Function] = &[
    Function::informed("now", 0, 0, |_, cx| Ok(Value::Time(cx.now))),
    Function::informed("date", 2, 2, |a, cx| print(&a[0], &a[1], cx.zone, cx)),
    Function::informed("htmlDate", 1, 1, |a, cx| print(&Value::text("2006-01-02"), &a[0], cx.zone, cx)),
    Function::informed("dateInZone", 3, 3, date_in_zone),
    Function::informed("date_in_zone", 3, 3, date_in_zone),
    Function::informed("unixEpoch", 1, 1, |a, cx| {
        Ok(Value::text(instant(&a[0], cx).0.div_euclid(1_000).to_string()))
    }),
    Function::informed("toDate", 2, 2, |a, cx| {
        // Sprig gives Go's zero time for text that does not fit.
        let zero = Timestamp(-62_135_596_800_000);
        Ok(Value::Time(parse(text(&a[0])?, text(&a[1])?, cx.zone).unwrap_or(zero)))
    }),
    Function::informed("dateModify", 2, 2, modify),
    Function::informed("date_modify", 2, 2, modify),
];

/// An instant: a time, or whole seconds. Anything else, also a float, means now (T4.12).
fn instant(value: &Value, cx: &Context<'_>) -> Timestamp {
    match value {
        Value::Time(time) => *time,
        Value::Int(seconds) => Timestamp(seconds.saturating_mul(1_000)),
        _ => cx.now,
    }
}

/// An unknown zone is UTC.
fn date_in_zone(args: &[Value], cx: &Context<'_>) -> Answer {
    print(&args[0], &args[1], text(&args[2])?.parse().unwrap_or(Tz::UTC), cx)
}

fn print(layout: &Value, time: &Value, zone: Tz, cx: &Context<'_>) -> Answer {
    let time = instant(time, cx);
    let moment = moment::local(time, zone).ok_or("the time is outside of the calendar")?;
    let name = match chrono::TimeZone::timestamp_millis_opt(&zone, time.0) {
        chrono::LocalResult::Single(time) => time.format("%Z").to_string(),
        _ => String::new(),
    };
    let mut out = String::new();
    for piece in pieces(text(layout)?) {
        format_piece(piece, &moment, &name, &mut out);
    }
    Ok(Value::text(out))
}

fn modify(args: &[Value], cx: &Context<'_>) -> Answer {
    let by = text(&args[0])?;
    let millis = match by.strip_prefix('-') {
        Some(back) => parse_duration(back).map(|millis| -millis),
        None => parse_duration(by.trim_start_matches('+')),
    };
    let time = instant(&args[1], cx);
    Ok(Value::Time(Timestamp(time.0.saturating_add(millis.unwrap_or(0)))))
}

/// The words of Go's layouts, longer ones before their beginnings.
const WORDS: &[&str] = &[
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "PM",
    "pm",
    "-07:00:00",
    "-07:00",
    "-0700",
    "-07",
    "Z07:00",
    "Z0700",
    "Z07",
    "_2",
    "1",
    "2",
    "3",
    "4",
    "5",
];

#[derive(Clone, Copy)]
enum Piece<'a> {
    Word(&'static str),
    /// `.000` or `.999`: count of digits, and whether trailing zeros stay.
    Fraction(usize, bool),
    Text(&'a str),
}

fn pieces(layout: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        let (piece, length) = piece(rest, first);
        pieces.push(piece);
        rest = &rest[length..];
    }
    pieces
}

fn piece(rest: &str, first: char) -> (Piece<'_>, usize) {
    let next = if first == '.' || first == ',' { rest[1..].chars().next() } else { None };
    if let Some(digit @ ('0' | '9')) = next {
        let digits = rest[1..].chars().take_while(|c| *c == digit).count();
        if !rest[1 + digits..].starts_with(|c: char| c.is_ascii_digit()) {
            return (Piece::Fraction(digits, digit == '0'), digits + 1);
        }
    }
    // `Jan` and `Mon` are no words where a longer one goes on in small letters: `Jane`.
    let goes_on = |word: &str| {
        matches!(word, "Jan" | "Mon") && rest[word.len()..].starts_with(|c: char| c.is_ascii_lowercase())
    };
    match WORDS.iter().find(|word| rest.starts_with(**word) && !goes_on(word)) {
        Some(word) => (Piece::Word(word), word.len()),
        None => (Piece::Text(&rest[..first.len_utf8()]), first.len_utf8()),
    }
}

fn format_piece(piece: Piece<'_>, time: &DateTime<FixedOffset>, zone: &str, out: &mut String) {
    let word = match piece {
        Piece::Text(text) => return out.push_str(text),
        Piece::Fraction(digits, keeps_zeros) => {
            let nanos = format!("{:09}", time.nanosecond() % 1_000_000_000);
            let digits = &nanos[..digits.min(9)];
            let digits = if keeps_zeros { digits } else { digits.trim_end_matches('0') };
            if !digits.is_empty() {
                out.push('.');
                out.push_str(digits);
            }
            return;
        }
        Piece::Word(word) => word,
    };
    let offset = time.offset().fix().local_minus_utc();
    let text = match word {
        "January" => time.format("%B").to_string(),
        "Jan" => time.format("%b").to_string(),
        "Monday" => time.format("%A").to_string(),
        "Mon" => time.format("%a").to_string(),
        "MST" => zone.to_owned(),
        "2006" => format!("{:04}", time.year()),
        "06" => format!("{:02}", time.year().rem_euclid(100)),
        "002" => format!("{:03}", time.ordinal()),
        "01" => format!("{:02}", time.month()),
        "1" => time.month().to_string(),
        "02" => format!("{:02}", time.day()),
        "_2" => format!("{:2}", time.day()),
        "2" => time.day().to_string(),
        "15" => format!("{:02}", time.hour()),
        "03" => format!("{:02}", time.hour12().1),
        "3" => time.hour12().1.to_string(),
        "04" => format!("{:02}", time.minute()),
        "4" => time.minute().to_string(),
        "05" => format!("{:02}", time.second()),
        "5" => time.second().to_string(),
        "PM" => if time.hour12().0 { "PM" } else { "AM" }.to_owned(),
        "pm" => if time.hour12().0 { "pm" } else { "am" }.to_owned(),
        word if word.starts_with('Z') && offset == 0 => "Z".to_owned(),
        word => offset_text(word.trim_start_matches(['Z', '-']), offset),
    };
    out.push_str(&text);
}

/// `shape` is `07`, `0700`, `07:00` or `07:00:00`.
fn offset_text(shape: &str, offset: i32) -> String {
    let (sign, size) = (if offset < 0 { '-' } else { '+' }, offset.abs());
    let (hours, minutes, seconds) = (size / 3_600, size / 60 % 60, size % 60);
    match shape {
        "07" => format!("{sign}{hours:02}"),
        "0700" => format!("{sign}{hours:02}{minutes:02}"),
        "07:00" => format!("{sign}{hours:02}:{minutes:02}"),
        _ => format!("{sign}{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

/// What a text says by a layout.
struct Read {
    year: i32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    nanos: u32,
    is_afternoon: Option<bool>,
    offset: Option<i32>,
}

/// Reads `text` by a layout; without a zone of its own it is meant in `zone`.
fn parse(layout: &str, text: &str, zone: Tz) -> Option<Timestamp> {
    let mut read = Read {
        year: 0,
        month: 1,
        day: 1,
        hour: 0,
        minute: 0,
        second: 0,
        nanos: 0,
        is_afternoon: None,
        offset: None,
    };
    let mut rest = text;
    for piece in pieces(layout) {
        rest = match piece {
            Piece::Text(text) => rest.strip_prefix(text)?,
            Piece::Fraction(..) => read.fraction(rest),
            Piece::Word(word) => read.word(word, rest)?,
        };
        if let Piece::Word("05" | "5") = piece {
            // Go reads a fraction behind the seconds even if the layout has none.
            rest = read.fraction(rest);
        }
    }
    if !rest.is_empty() {
        return None;
    }
    if let Some(is_afternoon) = read.is_afternoon {
        read.hour = read.hour % 12 + if is_afternoon { 12 } else { 0 };
    }
    let date = NaiveDate::from_ymd_opt(read.year, read.month, read.day)?;
    let naive = date.and_hms_nano_opt(read.hour, read.minute, read.second, read.nanos)?;
    Some(Timestamp(match read.offset {
        Some(offset) => naive.and_utc().timestamp_millis() - i64::from(offset) * 1_000,
        None => moment::in_zone(naive, zone).timestamp_millis(),
    }))
}

impl Read {
    fn fraction<'a>(&mut self, rest: &'a str) -> &'a str {
        let Some(digits) = rest.strip_prefix(['.', ',']) else { return rest };
        let length = digits.bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 {
            return rest;
        }
        let kept = &digits[..length.min(9)];
        self.nanos = format!("{kept:0<9}").parse().unwrap_or(0);
        &digits[length..]
    }

    /// Reads one word of the layout and gives what follows it.
    fn word<'a>(&mut self, word: &str, rest: &'a str) -> Option<&'a str> {
        let (least, most) = match word {
            "2006" => (4, 4),
            "002" => (3, 3),
            "01" | "02" | "03" | "04" | "05" | "06" => (2, 2),
            "1" | "2" | "3" | "4" | "5" | "15" => (1, 2),
            "_2" => return self.word("2", rest.trim_start_matches(' ')),
            _ => return self.name(word, rest),
        };
        let length = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if length < least {
            return None;
        }
        let value: u32 = rest[..length].parse().ok()?;
        match word {
            "2006" => self.year = value as i32,
            "06" => self.year = value as i32 + if value >= 69 { 1900 } else { 2000 },
            "01" | "1" => self.month = value,
            "02" | "2" => self.day = value,
            "15" | "03" | "3" => self.hour = value,
            "04" | "4" => self.minute = value,
            "05" | "5" => self.second = value,
            _ => {
                let date = NaiveDate::from_yo_opt(self.year, value)?;
                (self.month, self.day) = (date.month(), date.day());
            }
        }
        Some(&rest[length..])
    }

    fn name<'a>(&mut self, word: &str, rest: &'a str) -> Option<&'a str> {
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
        const DAYS: [&str; 7] =
            ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
        let starts = |name: &str| rest.get(..name.len()).is_some_and(|text| text.eq_ignore_ascii_case(name));
        match word {
            "January" | "Jan" => {
                let length = |name: &str| if word == "Jan" { 3 } else { name.len() };
                let index = MONTHS.iter().position(|name| starts(&name[..length(name)]))?;
                self.month = index as u32 + 1;
                Some(&rest[length(MONTHS[index])..])
            }
            "Monday" | "Mon" => {
                let length = |name: &str| if word == "Mon" { 3 } else { name.len() };
                let name = DAYS.iter().find(|name| starts(&name[..length(name)]))?;
                Some(&rest[length(name)..])
            }
            "PM" | "pm" => {
                self.is_afternoon = Some(if starts("PM") {
                    true
                } else if starts("AM") {
                    false
                } else {
                    return None;
                });
                Some(&rest[2..])
            }
            "MST" => {
                let length = rest.bytes().take_while(u8::is_ascii_uppercase).count();
                self.offset = Some(0).filter(|_| matches!(&rest[..length], "UTC" | "GMT"));
                (length >= 3).then(|| &rest[length..])
            }
            _ => self.zone(word, rest),
        }
    }

    fn zone<'a>(&mut self, word: &str, rest: &'a str) -> Option<&'a str> {
        if let Some(rest) = rest.strip_prefix('Z').filter(|_| word.starts_with('Z')) {
            self.offset = Some(0);
            return Some(rest);
        }
        let sign = match rest.chars().next()? {
            '+' => 1,
            '-' => -1,
            _ => return None,
        };
        let shape = word.trim_start_matches(['Z', '-']);
        let text = rest.get(1..1 + shape.len())?;
        let mut units = [0i32; 3];
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        for (unit, pair) in units.iter_mut().zip(digits.as_bytes().chunks(2)) {
            *unit = std::str::from_utf8(pair).ok()?.parse().ok()?;
        }
        if text.contains(':') != shape.contains(':') || digits.len() != shape.replace(':', "").len() {
            return None;
        }
        self.offset = Some(sign * (units[0] * 3_600 + units[1] * 60 + units[2]));
        Some(&rest[1 + shape.len()..])
    }
}
