//! The patterns of `format_time` (functions.md 9.4): runs of one letter, quoted and escaped text. Literal text is
//! never read again (S40), and a run that means nothing is an error that names it (S39).

use std::fmt::Write as _;

use chrono::{DateTime, FixedOffset, Timelike};
use chrono_tz::Tz;
use thalweg_core::{RowError, Value};

use super::super::args::fail;

/// Prints a moment.
pub(super) fn format(moment: &DateTime<FixedOffset>, pattern: &str, zone: Tz) -> Result<Value, RowError> {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        let run = rest.chars().take_while(|char| *char == letter).count();
        match letter {
            '\\' => {
                let Some(literal) = rest.chars().nth(1) else {
                    return fail("the pattern ends in a backslash");
                };
                out.push(literal);
                rest = &rest[1 + literal.len_utf8()..];
                continue;
            }
            '\'' => {
                rest = quoted(&rest[1..], &mut out);
                continue;
            }
            _ if letter.is_ascii_alphabetic() => print(moment, (letter, run), zone, &mut out)?,
            _ => (0..run).for_each(|_| out.push(letter)),
        }
        rest = &rest[run * letter.len_utf8()..];
    }
    Ok(Value::text(out))
}

/// Behind an opening quote: two quotes are one, an open quotation runs to the end.
fn quoted<'a>(rest: &'a str, out: &mut String) -> &'a str {
    if let Some(rest) = rest.strip_prefix('\'') {
        out.push('\'');
        return rest;
    }
    match rest.split_once('\'') {
        Some((text, rest)) => {
            out.push_str(text);
            rest
        }
        None => {
            out.push_str(rest);
            ""
        }
    }
}

fn print(
    moment: &DateTime<FixedOffset>,
    token: (char, usize),
    zone: Tz,
    out: &mut String,
) -> Result<(), RowError> {
    let code = match token {
        ('Y' | 'y', 4) => "%Y",
        ('Y' | 'y', 2) => "%y",
        ('M', 1) => "%-m",
        ('M', 2) => "%m",
        ('M', 3) => "%b",
        ('M', 4) => "%B",
        ('d', 1) => "%-d",
        ('d', 2) => "%d",
        ('E', 3) => "%a",
        ('E', 4) => "%A",
        ('H', 2) => "%H",
        ('h', 1) => "%-I",
        ('h', 2) => "%I",
        ('m', 1) => "%-M",
        ('m', 2) => "%M",
        ('s', 1) => "%-S",
        ('s', 2) => "%S",
        ('Z', _) => "%z",
        ('X', 1) => {
            let text = moment.format("%z").to_string();
            out.push_str(&text[..3]);
            return Ok(());
        }
        ('X', 2) => "%z",
        ('X', 3) => "%:z",
        ('G', n) => {
            (0..n).for_each(|_| out.push_str("AD"));
            return Ok(());
        }
        ('a', n) => {
            let half = if moment.hour() < 12 { "AM" } else { "PM" };
            (0..n).for_each(|_| out.push_str(half));
            return Ok(());
        }
        // S38: the dot comes with the fraction.
        ('S', n) => {
            let digits = format!("{:09}", moment.timestamp_subsec_nanos());
            _ = write!(out, ".{}", &digits[..n.min(9)]);
            return Ok(());
        }
        ('z', _) => {
            let named = moment.with_timezone(&zone);
            let is_own = chrono::Offset::fix(named.offset()) == *moment.offset();
            let name = if is_own { named.format("%Z").to_string() } else { moment.format("%z").to_string() };
            out.push_str(&name);
            return Ok(());
        }
        ('Y' | 'y' | 'M' | 'd' | 'E' | 'H' | 'h' | 'm' | 's' | 'X', n) => {
            return fail(format!("the pattern has no meaning for {}", token.0.to_string().repeat(n)));
        }
        (other, n) => {
            (0..n).for_each(|_| out.push(other));
            return Ok(());
        }
    };
    _ = write!(out, "{}", moment.format(code));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_core::{Timestamp, moment};

    #[test]
    fn letters_of_section_9_4_print_as_listed() {
        let time = moment::local(Timestamp(1_709_212_455_678), Tz::UTC).expect("in the calendar");
        for (pattern, expected) in [
            ("YYYY yy M MM MMM MMMM", "2024 24 2 02 Feb February"),
            ("d dd EEE EEEE", "29 29 Thu Thursday"),
            ("HH h hh a m mm s ss", "13 1 01 PM 14 14 15 15"),
            ("ssSSS S SSSSSSSSS", "15.678 .6 .678000000"),
            ("ss.SSS", "15..678"),
            ("z Z X XX XXX G", "UTC +0000 +00 +0000 +00:00 AD"),
            ("YYYY-MM-dd'T'HH:mm:ssSSSXXX", "2024-02-29T13:14:15.678+00:00"),
            ("'2006' \\d ''", "2006 d '"),
            ("'open", "open"),
        ] {
            assert_eq!(format(&time, pattern, Tz::UTC), Ok(Value::text(expected)), "{pattern}");
        }
        for wrong in ["Y", "MMMMM", "ddd", "EE", "H", "hhh", "XXXX", "a\\"] {
            assert!(format(&time, wrong, Tz::UTC).is_err(), "{wrong}");
        }
    }
}
