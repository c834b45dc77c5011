//! Number tokens: the digits eight at a time, the value exact.
//!
//! The digits are an integer while they fit; with a power of ten that a float holds exactly, one correctly rounded
//! division gives the value (hot-path.md 7.2). Everything else is left to the standard library's parser.

/// A number token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Without dot and exponent, and within 64 bits.
    Int(i64),
    /// Any other.
    Float(f64),
}

impl Number {
    /// As a float.
    #[inline]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

/// Why there is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// What should stand at this place.
    Expected(&'static str, usize),
    /// The number that ends here is no finite float.
    OutOfRange(usize),
}

/// Digits and decimals of a number under way.
#[derive(Clone, Copy)]
struct Digits {
    mantissa: u64,
    count: usize,
    negative: bool,
}

impl Digits {
    #[inline(always)]
    fn signed(self, value: f64) -> Number {
        Number::Float(if self.negative { -value } else { value })
    }
}

/// The number whose first byte stands at `start`, and the place behind it.
#[inline(always)]
pub(super) fn read(bytes: &[u8], start: usize) -> Result<(Number, usize), Refused> {
    let negative = bytes.get(start) == Some(&b'-');
    let first = start + usize::from(negative);
    let (mantissa, at) = digits(bytes, first, 0);
    let count = at - first;
    if count != 1 && (count == 0 || bytes[first] == b'0') {
        return Err(Refused::Expected("expected a number", first));
    }
    if let Some(b'.' | b'e' | b'E') = bytes.get(at) {
        return fraction(bytes, (start, at), Digits { mantissa, count, negative });
    }
    if count > 18 {
        return long_integer(bytes, start, at);
    }
    let value = mantissa as i64;
    let number = match (negative, value) {
        (false, value) => Number::Int(value),
        (true, 0) => Number::Float(-0.0),
        (true, value) => Number::Int(-value),
    };
    Ok((number, at))
}

/// So many bytes hold every number that [`quick_float`] reads.
const WINDOW: usize = 32;

/// As [`read`], as a float, for what devices mostly send: up to fifteen digits, or seven on each side of a dot, and
/// something behind them. `None` says nothing about other numbers.
#[inline(always)]
pub(super) fn quick_float(bytes: &[u8], start: usize) -> Option<(f64, usize)> {
    let window: &[u8; WINDOW] = bytes.get(start..)?.first_chunk()?;
    let negative = usize::from(window[0] == b'-');
    let head = word_of(window, negative);
    let (values, others) = split(head);
    let count = (others.trailing_zeros() / 8) as usize;
    if count == 0 || (count > 1 && head as u8 == b'0') {
        return None;
    }
    let (value, end) = match (head >> (8 * (count & 7))) as u8 {
        _ if count == 8 => long(window, (values, negative))?,
        b'.' => decimal(window, (leading(values, count), negative + count + 1))?,
        b'e' | b'E' => return None,
        _ => (leading(values, count) as f64, negative + count),
    };
    Some((f64::from_bits(value.to_bits() | (negative as u64) << 63), start + end))
}

/// Whether `bytes[from..to]` is a number, if it is a short one without sign and exponent. `false` says nothing.
#[inline(always)]
pub(super) fn is_short(bytes: &[u8], from: usize, to: usize) -> bool {
    let len = to.wrapping_sub(from);
    if !(1..=8).contains(&len) {
        return false;
    }
    let Some(word) = word(bytes, from) else { return false };
    let others = split(word).1 & (u64::MAX >> (64 - 8 * len));
    let whole = (others.trailing_zeros() as usize / 8).min(len);
    let starts_well = whole == 1 || (whole > 1 && word as u8 != b'0');
    let is_dot = (word >> (8 * (whole & 7))) as u8 == b'.';
    let is_decimal = is_dot && others & others.wrapping_sub(1) == 0 && whole + 1 < len;
    starts_well && (others == 0 || is_decimal)
}

/// The place behind the number at `start`, if it is a common one and stands as it is printed: up to fifteen
/// digits, or seven on each side of a dot, the last of which is no zero. With so few digits there are no shorter ones
/// for the same float. `None` says nothing.
#[inline(always)]
pub(super) fn printed_end(bytes: &[u8], start: usize) -> Option<usize> {
    let first = start + usize::from(*bytes.get(start)? == b'-');
    let head = word(bytes, first)?;
    let others = split(head).1;
    let count = (others.trailing_zeros() / 8) as usize;
    if count == 0 || (count > 1 && head as u8 == b'0') {
        return None;
    }
    let at = first + count;
    if count == 8 {
        let (end, behind) = seven_digits_end(bytes, at)?;
        return (behind != b'.').then_some(end);
    }
    match (head >> (8 * count)) as u8 {
        b'.' => {
            let (end, _) = seven_digits_end(bytes, at + 1)?;
            let is_small =
                count == 1 && head as u8 == b'0' && bytes[at + 1..end.min(at + 7)].iter().all(|b| *b == b'0');
            (bytes[end - 1] != b'0' && bytes[end - 1] != b'.' && !is_small).then_some(end)
        }
        b'e' | b'E' => None,
        _ => Some(at),
    }
}

/// The place behind at most seven digits, and what stands there, unless it is an exponent.
#[inline(always)]
fn seven_digits_end(bytes: &[u8], at: usize) -> Option<(usize, u8)> {
    let word = word(bytes, at)?;
    let count = (split(word).1.trailing_zeros() / 8) as usize;
    let behind = (word >> (8 * (count & 7))) as u8;
    (count < 8 && !matches!(behind, b'e' | b'E')).then_some((at + count, behind))
}

/// Eight digits were read; at most seven more, and no fraction.
#[inline]
fn long(window: &[u8; WINDOW], (values, negative): (u64, usize)) -> Option<(f64, usize)> {
    let word = word_of(window, negative + 8);
    let (more, others) = split(word);
    let count = (others.trailing_zeros() / 8) as usize;
    if count == 8 || matches!((word >> (8 * count)) as u8, b'.' | b'e' | b'E') {
        return None;
    }
    let mantissa = eight(values) * TENS[count] + leading(more, count);
    Some((mantissa as f64, negative + 8 + count))
}

/// What stands behind a dot at `at`: at most seven digits, and no exponent.
#[inline(always)]
fn decimal(window: &[u8; WINDOW], (whole, at): (u64, usize)) -> Option<(f64, usize)> {
    let word = word_of(window, at);
    let (values, others) = split(word);
    let count = (others.trailing_zeros() / 8) as usize;
    if count == 0 || count == 8 || matches!((word >> (8 * count)) as u8, b'e' | b'E') {
        return None;
    }
    let mantissa = whole * TENS[count] + leading(values, count);
    Some((mantissa as f64 / POWERS[count], at + count))
}

#[inline(always)]
fn word_of(window: &[u8; WINDOW], at: usize) -> u64 {
    // Every place that is asked for is in the window.
    word(window, at).unwrap_or_default()
}

/// The number that the first so many of eight digits make.
#[inline(always)]
fn leading(values: u64, count: usize) -> u64 {
    eight((values << (8 * ((7 - count) & 7))) << 8)
}

/// The part of a number from its dot or exponent on.
#[inline]
fn fraction(
    bytes: &[u8],
    (start, mut at): (usize, usize),
    mut digits_read: Digits,
) -> Result<(Number, usize), Refused> {
    let mut decimals = 0;
    if bytes[at] == b'.' {
        let first = at + 1;
        (digits_read.mantissa, at) = digits(bytes, first, digits_read.mantissa);
        decimals = at - first;
        if decimals == 0 {
            return Err(Refused::Expected("expected a digit", at));
        }
        digits_read.count += decimals;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let end = exponent(bytes, at)?;
        return slow_float(bytes, start, end);
    }
    if digits_read.count <= 19 && digits_read.mantissa < 1 << 53 && decimals < POWERS.len() {
        return Ok((digits_read.signed(digits_read.mantissa as f64 / POWERS[decimals]), at));
    }
    slow_float(bytes, start, at)
}

/// The place behind the exponent whose letter stands at `at`.
fn exponent(bytes: &[u8], at: usize) -> Result<usize, Refused> {
    let first = at + 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
    let (_, end) = digits(bytes, first, 0);
    if end == first { Err(Refused::Expected("expected a digit", end)) } else { Ok(end) }
}

#[cold]
fn long_integer(bytes: &[u8], start: usize, end: usize) -> Result<(Number, usize), Refused> {
    let text = std::str::from_utf8(&bytes[start..end]).unwrap_or_default();
    match text.parse::<i64>() {
        Ok(value) => Ok((Number::Int(value), end)),
        Err(_) => slow_float(bytes, start, end),
    }
}

#[cold]
fn slow_float(bytes: &[u8], start: usize, end: usize) -> Result<(Number, usize), Refused> {
    let text = std::str::from_utf8(&bytes[start..end]).unwrap_or_default();
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((Number::Float(value), end)),
        _ => Err(Refused::OutOfRange(end)),
    }
}

/// Passes over the number whose first byte stands at `start`: refuses what [`read`] refuses, without its value.
#[inline(always)]
pub(super) fn skip(bytes: &[u8], start: usize) -> Result<usize, Refused> {
    let first = start + usize::from(bytes.get(start) == Some(&b'-'));
    let mut at = digits_end(bytes, first);
    let count = at - first;
    if count != 1 && (count == 0 || bytes[first] == b'0') {
        return Err(Refused::Expected("expected a number", first));
    }
    if bytes.get(at) == Some(&b'.') {
        let first = at + 1;
        at = digits_end(bytes, first);
        if at == first {
            return Err(Refused::Expected("expected a digit", at));
        }
    }
    // Only an exponent or very many digits can leave the range of floats.
    if matches!(bytes.get(at), Some(b'e' | b'E')) || count > 300 {
        return read(bytes, start).map(|(_, end)| end);
    }
    Ok(at)
}

const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

const TENS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

const ZEROS: u64 = 0x3030_3030_3030_3030;
const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
/// With this, numbers from ten on reach the high bit.
const UP_FROM_TEN: u64 = 0x7676_7676_7676_7676;

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk::<8>()?))
}

/// The digits of a word as numbers, and a bit at the top of every byte that is no digit.
#[inline(always)]
fn split(word: u64) -> (u64, u64) {
    let values = word ^ ZEROS;
    (values, (((values & LOW_BITS) + UP_FROM_TEN) | values) & HIGH_BITS)
}

/// Appends the digits from `at` on to `value`, which wraps; also the place behind them.
#[inline(always)]
fn digits(bytes: &[u8], mut at: usize, mut value: u64) -> (u64, usize) {
    while let Some(word) = word(bytes, at) {
        let (values, others) = split(word);
        if others == 0 {
            value = value.wrapping_mul(100_000_000).wrapping_add(eight(values));
            at += 8;
            continue;
        }
        let n = (others.trailing_zeros() / 8) as usize;
        return (value.wrapping_mul(TENS[n]).wrapping_add(leading(values, n)), at + n);
    }
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (value, at)
}

/// The place behind the digits from `at` on.
#[inline(always)]
fn digits_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = word(bytes, at) {
        let (_, others) = split(word);
        if others != 0 {
            return at + (others.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

/// The number that eight digits make, the first one in the lowest byte: pairs, fours, all.
#[inline(always)]
fn eight(values: u64) -> u64 {
    let pairs = (values.wrapping_mul(10) + (values >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_quick_reading_is_the_exact_one(
            text in "-?[0-9]{1,18}(\\.[0-9]{0,10})?([eE][+-]?[0-9]{0,2})?[ ,}x]{0,12}"
        ) {
            let exact = read(text.as_bytes(), 0);
            if let Some((value, end)) = quick_float(text.as_bytes(), 0) {
                let same = exact.map(|(number, end)| (number.as_f64().to_bits(), end));
                prop_assert_eq!(same, Ok((value.to_bits(), end)), "{}", text);
            }
            for to in 0..text.len() {
                if is_short(text.as_bytes(), 0, to) {
                    prop_assert!(skip(&text.as_bytes()[..to], 0) == Ok(to), "{} to {}", text, to);
                }
            }
            prop_assert_eq!(skip(text.as_bytes(), 0), exact.map(|(_, end)| end), "{}", text);
        }
    }
}
