//! Printing JSON as Go does: sorted keys, no blanks, escaped `< > &`, shortest floats.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono_tz::Tz;

use super::{Numbers, parse};
use crate::column::Cell;
use crate::datetime;
use crate::error::FormatError;
use crate::time::Timestamp;
use crate::value::{Fields, Value};

/// Appends a value.
///
/// # Errors
/// NaN, infinities and years past 9999; `out` then holds a part, which the caller cuts off.
pub fn write_value(out: &mut Vec<u8>, value: &Value, zone: Tz) -> Result<(), FormatError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => write_bool(out, *value),
        Value::Int(value) => write_int(out, *value),
        Value::Float(value) => return write_float(out, *value),
        Value::Str(text) => write_text(out, text),
        Value::Bytes(bytes) => write_bytes(out, bytes),
        Value::Time(time) => return write_time(out, *time, zone),
        Value::Map(fields) => return write_fields(out, fields, zone),
        Value::List(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, item, zone)?;
            }
            out.push(b']');
        }
    }
    Ok(())
}

/// Appends an object.
///
/// # Errors
/// As [`write_value`].
pub fn write_fields(out: &mut Vec<u8>, fields: &Fields, zone: Tz) -> Result<(), FormatError> {
    out.push(b'{');
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(out, name);
        out.push(b':');
        write_value(out, value, zone)?;
    }
    out.push(b'}');
    Ok(())
}

/// Appends a cell; missing and failed ones as null. Raw JSON is printed in canonical form.
///
/// # Errors
/// As [`write_value`].
pub fn write_cell(out: &mut Vec<u8>, cell: Cell<'_>, zone: Tz) -> Result<(), FormatError> {
    match cell {
        Cell::Missing | Cell::Null | Cell::Error(_) => out.extend_from_slice(b"null"),
        Cell::Bool(value) => write_bool(out, value),
        Cell::Int(value) => write_int(out, value),
        Cell::Float(value) => return write_float(out, value),
        Cell::Str(text) => write_text(out, text),
        Cell::Bytes(bytes) => write_bytes(out, bytes),
        Cell::Time(time) => return write_time(out, time, zone),
        Cell::Value(value) => return write_value(out, value, zone),
        Cell::Json(raw) => return write_value(out, &parse(raw, Numbers::Float)?, zone),
    }
    Ok(())
}

fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn write_int(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

fn write_time(out: &mut Vec<u8>, time: Timestamp, zone: Tz) -> Result<(), FormatError> {
    match datetime::rfc3339(time, zone) {
        Some(text) => {
            write_text(out, &text);
            Ok(())
        }
        None => Err(FormatError::new("json: unsupported value: year outside of range [0,9999]")),
    }
}

/// Appends a float in Go's form: shortest digits, plain from 1e-6 up to 1e21, no `.0` (F1.3).
///
/// # Errors
/// NaN and infinities.
pub fn write_float(out: &mut Vec<u8>, value: f64) -> Result<(), FormatError> {
    let size = value.abs();
    if size < 1e15 {
        if value.fract() == 0.0 && (value != 0.0 || value.is_sign_positive()) {
            write_int(out, value as i64);
            return Ok(());
        }
        if write_short_decimal(out, value) {
            return Ok(());
        }
    }
    if !value.is_finite() {
        let name = if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        };
        return Err(FormatError::new(format!("json: unsupported value: {name}")));
    }
    write_shortest(out, value);
    Ok(())
}

/// Prints numbers of at most two decimals without searching for the shortest digits: when rounding to hundredths
/// gives the number back, those are its digits, since the quotient is correctly rounded (hot-path.md 5).
#[inline]
fn write_short_decimal(out: &mut Vec<u8>, value: f64) -> bool {
    let size = value.abs();
    if !(0.01..1e13).contains(&size) {
        return false;
    }
    let hundredths = (size * 100.0).round();
    if hundredths / 100.0 != size {
        return false;
    }
    let whole = hundredths as u64;
    if value < 0.0 {
        out.push(b'-');
    }
    out.extend_from_slice(itoa::Buffer::new().format(whole / 100).as_bytes());
    let (tenths, rest) = ((whole / 10 % 10) as u8, (whole % 10) as u8);
    out.extend_from_slice(&[b'.', b'0' + tenths]);
    if rest != 0 {
        out.push(b'0' + rest);
    }
    true
}

/// Significant digits of a float at most, and the zeros that stand before or behind them in its shortest form.
const DIGITS: usize = 32;

/// Rewrites the shortest digits (zmij) into Go's form.
fn write_shortest(out: &mut Vec<u8>, value: f64) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value.abs()).as_bytes();
    if value.is_sign_negative() {
        out.push(b'-');
    }
    // Digits without the dot, how many stand before it, and the exponent behind them.
    let (mut all, mut count, mut whole, mut written) = ([0; DIGITS], 0, None, 0);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'.' => whole = Some(count),
            b'e' => {
                written = std::str::from_utf8(&text[at + 1..]).ok().and_then(|e| e.parse().ok()).unwrap_or(0);
                break;
            }
            digit => {
                all[count.min(DIGITS - 1)] = *digit;
                count += 1;
            }
        }
    }
    let all = &all[..count.min(DIGITS)];
    let zeros = all.iter().take_while(|digit| **digit == b'0').count();
    let used = all.iter().rposition(|digit| *digit != b'0').map_or(zeros, |last| last + 1);
    let digits = &all[zeros..used];
    // The number is 0.DIGITS times ten to `point`.
    let point = whole.unwrap_or(count) as i32 + written - zeros as i32;
    if digits.is_empty() {
        out.push(b'0');
    } else if (-5..=21).contains(&point) {
        write_plain(out, digits, point);
    } else {
        write_scientific(out, digits, point - 1);
    }
}

fn write_plain(out: &mut Vec<u8>, digits: &[u8], point: i32) {
    if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', point.unsigned_abs() as usize));
        out.extend_from_slice(digits);
    } else if (point as usize) < digits.len() {
        out.extend_from_slice(&digits[..point as usize]);
        out.push(b'.');
        out.extend_from_slice(&digits[point as usize..]);
    } else {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', point as usize - digits.len()));
    }
}

/// Go's JSON drops a leading zero of the exponent: `1e-7`, `1e+21`.
fn write_scientific(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
}

/// Appends text in quotes, escaped as Go does.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if PLAIN[byte as usize] {
            continue;
        }
        // U+2028 and U+2029 are E2 80 A8 and E2 80 A9; other text with E2 stays as it is.
        if byte == 0xe2 && !matches!(bytes.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9])) {
            continue;
        }
        out.extend_from_slice(&bytes[done..at]);
        done = at + write_escape(out, &bytes[at..]);
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}

/// Writes the escape of the character at the front and gives its length.
fn write_escape(out: &mut Vec<u8>, bytes: &[u8]) -> usize {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match bytes[0] {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        0xe2 => {
            out.extend_from_slice(if bytes[2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
            return 3;
        }
        byte => {
            out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[(byte >> 4) as usize],
                HEX[(byte & 15) as usize],
            ]);
            return 1;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
    1
}

/// Bytes that are printed as they are.
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        plain[byte] = false;
        byte += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    plain[b'<' as usize] = false;
    plain[b'>' as usize] = false;
    plain[b'&' as usize] = false;
    plain[0xe2] = false;
    plain
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn float(value: f64) -> String {
        let mut out = Vec::new();
        write_float(&mut out, value).expect("finite");
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn floats_print_as_in_go() {
        for (value, text) in [
            (1.0, "1"),
            (0.0, "0"),
            (-0.0, "-0"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e21, "1.5e+21"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.25e-7, "1.25e-7"),
            (-2.5, "-2.5"),
            (96.08, "96.08"),
            (0.1 + 0.2, "0.30000000000000004"),
            (12345678901234567890.0, "12345678901234567000"),
            (1e15, "1000000000000000"),
            (1234567.125, "1234567.125"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (0.05, "0.05"),
        ] {
            assert_eq!(float(value), text);
        }
        assert_eq!(
            write_float(&mut Vec::new(), f64::NAN),
            Err(FormatError::new("json: unsupported value: NaN"))
        );
    }

    #[test]
    fn text_is_escaped_as_in_go() {
        let mut out = Vec::new();
        write_text(&mut out, "a\"b\\<>&\n\u{1}\u{2028}é\u{2026}😀");
        let expected = "\"a\\\"b\\\\\\u003c\\u003e\\u0026\\n\\u0001\\u2028é\u{2026}😀\"";
        assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
            prop_assert_eq!(float(value).parse::<f64>(), Ok(value));
        }

        #[test]
        fn decimals_read_back(cents in -10_000_000i64..10_000_000) {
            let value = cents as f64 / 100.0;
            prop_assert_eq!(float(value).parse::<f64>(), Ok(value));
        }
    }
}
