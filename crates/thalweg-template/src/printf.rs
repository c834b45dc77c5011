//! Go's `Sprintf` for the values that templates have.

use thalweg_core::Value;

use crate::Context;
use crate::funcs::text_of;

/// Width and precision that a format may ask for.
const MAX_WIDTH: usize = 10_000;

/// What stands between `%` and the verb.
#[derive(Default, Clone, Copy)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// `printf`.
pub(crate) fn sprintf(format: &str, args: &[Value], cx: &Context<'_>) -> String {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let flags = flags(&mut chars, &mut args);
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match args.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => pad(&one(verb, value, flags, cx), flags, &mut out),
            },
        }
    }
    let extra: Vec<String> = args.map(|value| described(value, cx)).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn flags(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    args: &mut std::slice::Iter<'_, Value>,
) -> Flags {
    let mut flags = Flags::default();
    while let Some(c) = chars.peek() {
        match c {
            '-' => flags.minus = true,
            '+' => flags.plus = true,
            '#' => flags.sharp = true,
            ' ' => flags.space = true,
            '0' => flags.zero = true,
            _ => break,
        }
        chars.next();
    }
    flags.width = number(chars, args).unwrap_or(0);
    if chars.next_if_eq(&'.').is_some() {
        flags.precision = Some(number(chars, args).unwrap_or(0));
    }
    flags
}

fn number(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    args: &mut std::slice::Iter<'_, Value>,
) -> Option<usize> {
    if chars.next_if_eq(&'*').is_some() {
        return match args.next() {
            Some(Value::Int(value)) => usize::try_from(*value).ok().map(|value| value.min(MAX_WIDTH)),
            _ => None,
        };
    }
    let mut value = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        value = Some((value.unwrap_or(0) * 10 + digit as usize).min(MAX_WIDTH));
    }
    value
}

fn pad(text: &str, flags: Flags, out: &mut String) {
    let missing = flags.width.saturating_sub(text.chars().count());
    if flags.minus {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', missing));
    } else if flags.zero && text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+') {
        let sign = usize::from(text.starts_with(['-', '+']));
        out.push_str(&text[..sign]);
        out.extend(std::iter::repeat_n('0', missing));
        out.push_str(&text[sign..]);
    } else {
        out.extend(std::iter::repeat_n(' ', missing));
        out.push_str(text);
    }
}

fn one(verb: char, value: &Value, flags: Flags, cx: &Context<'_>) -> String {
    let formatted = match (verb, value) {
        ('v', Value::Int(value)) => Some(signed(value.to_string(), flags)),
        ('v', Value::Str(_)) | ('s', Value::Str(_) | Value::Bytes(_)) => Some(cut(&plain(value), flags)),
        ('v', Value::Float(_)) if flags.precision.is_some() => float('g', value, flags),
        ('v', _) => Some(text_of(value, cx)),
        ('T', _) => Some(value.kind_name().to_owned()),
        ('t', Value::Bool(value)) => Some(value.to_string()),
        ('d', Value::Int(value)) => Some(signed(value.to_string(), flags)),
        ('b' | 'o' | 'x' | 'X' | 'c' | 'U' | 'q', Value::Int(value)) => integer(verb, *value, flags),
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(_)) => float(verb, value, flags),
        ('q', Value::Str(_) | Value::Bytes(_)) => Some(quote(&plain(value))),
        ('x' | 'X', Value::Str(_) | Value::Bytes(_)) => Some(hex(verb, plain(value).as_bytes())),
        ('s', Value::Time(_)) => Some(text_of(value, cx)),
        (_, Value::List(items)) => {
            let items: Vec<String> = items.iter().map(|item| one(verb, item, flags, cx)).collect();
            Some(format!("[{}]", items.join(" ")))
        }
        (_, Value::Map(fields)) => {
            let key = |key: &str| one(verb, &Value::text(key), flags, cx);
            let items: Vec<String> = fields
                .iter()
                .map(|(name, item)| format!("{}:{}", key(name), one(verb, item, flags, cx)))
                .collect();
            Some(format!("map[{}]", items.join(" ")))
        }
        _ => None,
    };
    formatted.unwrap_or_else(|| match value {
        Value::Null => format!("%!{verb}(<nil>)"),
        _ => format!("%!{verb}({})", described(value, cx)),
    })
}

/// As Go names a value that does not fit: `float64=3`.
fn described(value: &Value, cx: &Context<'_>) -> String {
    // A whole number in a template is Go's `int`; from a row it is an int64, which looks the same here.
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Int(value) => format!("int={value}"),
        other => format!("{}={}", other.kind_name(), text_of(other, cx)),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Str(text) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

fn cut(text: &str, flags: Flags) -> String {
    text.chars().take(flags.precision.unwrap_or(usize::MAX)).collect()
}

fn signed(text: String, flags: Flags) -> String {
    match text.starts_with('-') {
        false if flags.plus => format!("+{text}"),
        false if flags.space => format!(" {text}"),
        _ => text,
    }
}

fn integer(verb: char, value: i64, flags: Flags) -> Option<String> {
    let sign = if value < 0 { "-" } else { "" };
    let size = value.unsigned_abs();
    let as_char = || u32::try_from(value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
    Some(match verb {
        'b' => signed(format!("{sign}{size:b}"), flags),
        'o' => signed(format!("{sign}{}{size:o}", if flags.sharp { "0" } else { "" }), flags),
        'x' => signed(format!("{sign}{}{size:x}", if flags.sharp { "0x" } else { "" }), flags),
        'X' => signed(format!("{sign}{}{size:X}", if flags.sharp { "0X" } else { "" }), flags),
        'c' => as_char().to_string(),
        'q' => format!("'{}'", as_char()),
        'U' => format!("U+{value:04X}"),
        _ => return None,
    })
}

fn float(verb: char, value: &Value, flags: Flags) -> Option<String> {
    let Value::Float(value) = *value else { return None };
    if !value.is_finite() {
        return Some(
            if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "+Inf"
            } else {
                "-Inf"
            }
            .to_owned(),
        );
    }
    let text = match verb {
        'f' | 'F' => format!("{value:.*}", flags.precision.unwrap_or(6)),
        'e' | 'E' => exponent(&format!("{value:.*e}", flags.precision.unwrap_or(6))),
        _ => general(value, flags),
    };
    Some(signed(if verb.is_uppercase() { text.to_uppercase() } else { text }, flags))
}

/// `%g`: the shortest digits, or `precision` significant ones.
fn general(value: f64, flags: Flags) -> String {
    let scientific = match flags.precision {
        None => format!("{value:e}"),
        Some(precision) => format!("{value:.*e}", precision.max(1) - 1),
    };
    let (digits, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let significant = flags.precision.map_or(6, |precision| precision.max(1) as i32);
    let digits =
        if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    if power < -4 || power >= significant {
        return exponent(&format!("{digits}e{power}"));
    }
    let decimals = (digits.chars().filter(char::is_ascii_digit).count() as i32 - 1 - power).max(0);
    format!("{value:.*}", decimals as usize)
}

/// Rust's `1.5e7` as Go's `1.5e+07`.
fn exponent(scientific: &str) -> String {
    let (digits, power) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.unsigned_abs())
}

fn hex(verb: char, bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if verb == 'X' { text.to_uppercase() } else { text }
}

/// `%q` of text.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\x0b' => out.push_str("\\v"),
            c if c.is_control() && (c as u32) < 0x80 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
