//! Table: from one kind, or one way of writing, to another.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use thalweg_core::{RowError, Value, moment};

use super::args::{cannot, fail, float, int, only_text, text, time};
use crate::expr::EvalCx;
use crate::function::{Arg, ArgKind};

const CAST: &[Arg] = &[Arg::new("x", ArgKind::Any), Arg::new("type", ArgKind::Any)];
const CODE: &[Arg] = &[Arg::new("text", ArgKind::Any), Arg::new("method", ArgKind::Text)];
const ZONE: &[Arg] = &[Arg::new("time", ArgKind::Time), Arg::new("zone", ArgKind::Text)];
const TIME: &[Arg] = &[Arg::new("time", ArgKind::Any)];
const TRUNC: &[Arg] = &[Arg::new("x", ArgKind::Number), Arg::new("places", ArgKind::Int)];
const CHR: &[Arg] = &[Arg::new("x", ArgKind::Any)];
const HEX: &[Arg] = &[Arg::new("hex", ArgKind::Text)];
const DEC: &[Arg] = &[Arg::new("x", ArgKind::Any)];

type Answer = Result<Value, RowError>;

functions! { Convert
    "cast" (CAST) Null |args, cx| cast(&args[0], only_text(&args[1])?, cx),
    "The value as a bigint, float, string, boolean, datetime or bytea.", &[("cast(\"0x1F\", \"bigint\")", "31"), ("cast(\"012\", \"bigint\")", "10"), ("cast(12.7, \"bigint\")", "12"), ("cast(\"12.7\", \"bigint\")", "ERR"), ("cast(\"12.5\", \"float\")", "12.5"), ("cast(12345678.0, \"string\")", "\"12345678\""), ("cast(\"T\", \"boolean\")", "true"), ("cast(1700000000123, \"datetime\")", "\"2023-11-14T22:13:20.123Z\""), ("cast(5, \"foo\")", "ERR")];
    "convert_tz" (ZONE) Null convert_tz,
    "The same moment in another time zone, as RFC 3339 text.", &[("convert_tz(1709212455678, \"Asia/Shanghai\")", "\"2024-02-29T21:14:15.678+08:00\""), ("convert_tz(1709212455678, \"Nope/Zone\")", "ERR")];
    "to_seconds" (TIME) Null |args, cx| Ok(Value::Int(time(&args[0], cx)?.timestamp_millis().div_euclid(1_000))),
    "Seconds since the epoch.", &[("to_seconds(1709212455678)", "1709212455"), ("to_seconds(-1500)", "-2"), ("to_seconds(\"2024-02-29 13:14:15\")", "1709212455")];
    "encode" (CODE) Null |args, _| encode(args),
    "Text or bytes in base64.", &[("encode(\"hello\", \"base64\")", "\"aGVsbG8=\""), ("encode(5, \"base64\")", "ERR")];
    "decode" (CODE) Null |args, _| decode(args),
    "The bytes of base64 text.", &[("decode(\"aGVsbG8=\", \"base64\")", "\"aGVsbG8=\""), ("decode(\"aGVsbG8\", \"base64\")", "ERR")];
    "trunc" (TRUNC) Null |args, _| trunc(args),
    "The number cut off after some decimals.", &[("trunc(3.14159, 2)", "3.14"), ("trunc(2.567, 1)", "2.5"), ("trunc(-2.567, 1)", "-2.5"), ("trunc(1234.5, -2)", "1200"), ("trunc(3, 2)", "3"), ("trunc(0.29, 2)", "0.29"), ("trunc(1e20, 2)", "100000000000000000000"), ("trunc(5, -400)", "0")];
    "chr" (CHR) Null |args, _| chr(&args[0]),
    "The character of a code point.", &[("chr(65)", "\"A\""), ("chr(8364)", "\"€\""), ("chr(\"A\")", "\"A\""), ("chr(\"AB\")", "ERR"), ("chr(-1)", "ERR")];
    "hex2dec" (HEX) Null |args, _| hex_to_dec(only_text(&args[0])?),
    "The number that hexadecimal text means.", &[("hex2dec(\"0x10\")", "16"), ("hex2dec(\"ff\")", "255"), ("hex2dec(\"-1f\")", "-31"), ("hex2dec(\"xyz\")", "ERR")];
    "dec2hex" (DEC) Null |args, _| dec_to_hex(int(&args[0])?),
    "An integer in hexadecimal.", &[("dec2hex(16)", "\"0x10\""), ("dec2hex(-16)", "\"0x-10\""), ("dec2hex(16.5)", "ERR")];
}

/// The table of functions.md 11.
pub(super) fn cast(value: &Value, to: &str, cx: &EvalCx<'_>) -> Answer {
    match to {
        "bigint" => to_int(value).map(Value::Int),
        "float" => to_float(value).map(Value::Float),
        "string" => Ok(Value::text(text(value, cx))),
        "boolean" => to_bool(value).map(Value::Bool),
        "datetime" => match value {
            Value::Time(time) => Ok(Value::Time(*time)),
            other => Ok(Value::Time(thalweg_core::Timestamp(time(other, cx)?.timestamp_millis()))),
        },
        "bytea" => match value {
            Value::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
            Value::Str(text) => {
                let bytes = STANDARD
                    .decode(&**text)
                    .map_or_else(|_| Bytes::copy_from_slice(text.as_bytes()), Bytes::from);
                Ok(Value::Bytes(bytes))
            }
            other => Err(cannot(other, "bytes")),
        },
        other => fail(format!(
            "unknow type, only support bigint, float, string, boolean, datetime and bytea, found {other}"
        )),
    }
}

fn to_int(value: &Value) -> Result<i64, RowError> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    match value {
        Value::Int(value) => Ok(*value),
        // Out of range is the smallest integer, as upstream (functions.md 11).
        Value::Float(value) if (-LIMIT..LIMIT).contains(value) => Ok(*value as i64),
        Value::Float(_) => Ok(i64::MIN),
        Value::Bool(value) => Ok(i64::from(*value)),
        Value::Str(text) => go_integer(text).ok_or_else(|| cannot(value, "int64")),
        other => Err(cannot(other, "int64")),
    }
}

/// Go's integer syntax: `0x`, `0o`, `0b` and a leading 0 set the base, `_` may stand between digits (S60).
fn go_integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let prefixed =
        |prefix: &str| digits.get(..2).filter(|head| head.eq_ignore_ascii_case(prefix)).map(|_| &digits[2..]);
    let (base, digits) = if let Some(rest) = prefixed("0x") {
        (16, rest)
    } else if let Some(rest) = prefixed("0b") {
        (2, rest)
    } else if let Some(rest) = prefixed("0o") {
        (8, rest)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, &digits[1..])
    } else {
        (10, digits)
    };
    let misplaced = digits.ends_with('_') || digits.contains("__") || base == 10 && digits.starts_with('_');
    let plain = digits.replace('_', "");
    if misplaced || plain.is_empty() || plain.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(&plain, base).ok()?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

fn to_float(value: &Value) -> Result<f64, RowError> {
    match value {
        Value::Bool(value) => Ok(f64::from(u8::from(*value))),
        Value::Str(text) => match text.parse::<f64>() {
            Ok(number) if number.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) => {
                Err(cannot(value, "float64"))
            }
            Ok(number) => Ok(number),
            Err(_) => Err(cannot(value, "float64")),
        },
        other => float(other),
    }
}

fn to_bool(value: &Value) -> Result<bool, RowError> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::Int(value) => Ok(*value != 0),
        Value::Float(value) => Ok(*value != 0.0),
        Value::Str(text) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(cannot(value, "bool")),
        },
        other => Err(cannot(other, "bool")),
    }
}

/// Values of time have no zone of their own here, so the result is the text that a sink would print.
fn convert_tz(args: &[Value], cx: &mut EvalCx<'_>) -> Answer {
    let moment = time(&args[0], cx)?;
    let name = text(&args[1], cx);
    let zone = match &*name {
        "" => chrono_tz::Tz::UTC,
        "Local" => cx.zone,
        name => name.parse().map_err(|_| RowError::text(format!("unknown time zone {name}")))?,
    };
    let local = moment.with_timezone(&zone);
    let fixed = local.with_timezone(&chrono::Offset::fix(local.offset()));
    Ok(Value::text(moment::rfc3339_of(&fixed)))
}

fn base64_only(method: &Value) -> Result<(), RowError> {
    match only_text(method)? {
        "base64" => Ok(()),
        other => fail(format!("unsupported type: {other}; only base64 is supported")),
    }
}

fn encode(args: &[Value]) -> Answer {
    base64_only(&args[1])?;
    match &args[0] {
        // S29: upstream refuses bytes.
        Value::Bytes(bytes) => Ok(Value::text(STANDARD.encode(bytes))),
        other => Ok(Value::text(STANDARD.encode(only_text(other)?))),
    }
}

fn decode(args: &[Value]) -> Answer {
    base64_only(&args[1])?;
    match STANDARD.decode(only_text(&args[0])?) {
        Ok(bytes) => Ok(Value::Bytes(Bytes::from(bytes))),
        Err(error) => fail(format!("illegal base64 data: {error}")),
    }
}

/// S21.
fn trunc(args: &[Value]) -> Answer {
    let x = float(&args[0])?;
    let places = int(&args[1])?.clamp(-400, 400) as i32;
    if places >= 0 {
        return Ok(Value::Float(cut(x, places as usize)));
    }
    let scale = 10f64.powi(-places);
    let cut = (x / scale).trunc() * scale;
    // A scale beyond all floats leaves nothing.
    Ok(Value::Float(if cut.is_finite() { cut } else { 0.0 }))
}

/// Cuts the decimals as they are written: 0.29 times 100 is less than 29.
fn cut(x: f64, places: usize) -> f64 {
    let text = format!("{x}");
    match text.split_once('.') {
        Some((_, decimals)) if decimals.len() > places => {
            text[..text.len() - decimals.len() + places].parse().unwrap_or(x)
        }
        _ => x,
    }
}

/// S27.
fn chr(value: &Value) -> Answer {
    if let Value::Str(text) = value {
        let mut chars = text.chars();
        return match (chars.next(), chars.next()) {
            (Some(_), None) => Ok(value.clone()),
            _ => fail(format!("chr wants one character, not {text:?}")),
        };
    }
    match u32::try_from(int(value)?).ok().and_then(char::from_u32) {
        Some(char) => Ok(Value::text(char.to_string())),
        None => Err(cannot(value, "character")),
    }
}

fn hex_to_dec(hex: &str) -> Answer {
    let digits = hex.strip_prefix("0x").unwrap_or(hex);
    match i64::from_str_radix(digits, 16) {
        Ok(number) => Ok(Value::Int(number)),
        Err(_) => fail(format!("{hex:?} is not a hexadecimal number of 63 bits")),
    }
}

fn dec_to_hex(number: i64) -> Answer {
    let sign = if number < 0 { "-" } else { "" };
    Ok(Value::text(format!("0x{sign}{:x}", number.unsigned_abs())))
}
