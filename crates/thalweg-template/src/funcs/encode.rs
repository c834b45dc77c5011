//! JSON, base64, escapes, properties, identifiers.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thalweg_core::Value;
use thalweg_core::json::{self, Numbers};

use super::{ANY, Answer, Function, text, text_of};
use crate::Context;

pub(super) const TABLE: &[Function] = &[
    Function::informed("json", 1, 1, to_json),
    Function::informed("toJson", 1, 1, to_json),
    Function::informed("mustToJson", 1, 1, to_json),
    Function::informed("toRawJson", 1, 1, |a, cx| Ok(Value::text(raw(&to_text(&a[0], cx)?)))),
    Function::informed("toPrettyJson", 1, 1, |a, cx| pretty(&to_text(&a[0], cx)?)),
    Function::pure("fromJson", 1, 1, |a| {
        Ok(json::parse(text(&a[0])?.as_bytes(), Numbers::Float).unwrap_or_default())
    }),
    Function::pure("mustFromJson", 1, 1, |a| {
        json::parse(text(&a[0])?.as_bytes(), Numbers::Float).map_err(|error| error.to_string())
    }),
    Function::informed("base64", 1, 1, base64),
    Function::pure("b64enc", 1, 1, |a| Ok(Value::text(STANDARD.encode(text(&a[0])?)))),
    Function::pure("b64dec", 1, 1, |a| {
        Ok(Value::text(match STANDARD.decode(text(&a[0])?) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            // Sprig gives the error as the text.
            Err(error) => error.to_string(),
        }))
    }),
    Function::informed("html", 1, ANY, |a, cx| Ok(Value::text(html(&joined(a, cx))))),
    Function::informed("js", 1, ANY, |a, cx| Ok(Value::text(js(&joined(a, cx))))),
    Function::informed("urlquery", 1, ANY, |a, cx| Ok(Value::text(urlquery(&joined(a, cx))))),
    Function::informed("prop", 1, 1, prop),
    Function::pure("uuidv4", 0, 0, |_| Ok(Value::text(uuid()))),
];

fn to_json(args: &[Value], cx: &Context<'_>) -> Answer {
    to_text(&args[0], cx).map(Value::text)
}

fn to_text(value: &Value, cx: &Context<'_>) -> Result<String, String> {
    let mut out = Vec::new();
    json::write_value(&mut out, value, cx.zone).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Without the escapes that keep JSON safe inside HTML (T4.11).
fn raw(escaped: &str) -> String {
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (escape, plain) = match rest.get(at..at + 6) {
            Some("\\u003c") => (6, "<"),
            Some("\\u003e") => (6, ">"),
            Some("\\u0026") => (6, "&"),
            _ => (2.min(rest.len() - at), ""),
        };
        out.push_str(if plain.is_empty() { &rest[at..at + escape] } else { plain });
        rest = &rest[at + escape..];
    }
    out + rest
}

/// Two blanks a level. Works on the printed form, so that numbers and order stay as they are.
fn pretty(compact: &str) -> Answer {
    let mut out = String::with_capacity(compact.len() * 2);
    let mut depth = 0;
    let mut in_text = false;
    let mut chars = compact.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            _ if in_text => {
                out.push(c);
                match c {
                    '\\' => out.extend(chars.next()),
                    '"' => in_text = false,
                    _ => {}
                }
            }
            '"' => {
                in_text = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                let close = if c == '{' { '}' } else { ']' };
                if let Some(close) = chars.next_if_eq(&close) {
                    out.push(close);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = usize::saturating_sub(depth, 1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => out.push(c),
        }
    }
    Ok(Value::text(out))
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// T4.4: bool, numbers, text, and maps as JSON.
fn base64(args: &[Value], cx: &Context<'_>) -> Answer {
    let plain = match &args[0] {
        Value::Str(text) => text.to_string(),
        Value::Bool(_) | Value::Int(_) => text_of(&args[0], cx),
        // Upstream prints floats with `%f`-free shortest digits, as JSON does.
        Value::Float(_) | Value::Map(_) => to_text(&args[0], cx)?,
        other => return Err(format!("unsupported type {} for base64 encoding", other.kind_name())),
    };
    Ok(Value::text(STANDARD.encode(plain)))
}

/// One text as it is, anything else as `print` shows it.
fn joined(args: &[Value], cx: &Context<'_>) -> String {
    super::text::sprint(args, cx)
}

fn html(plain: &str) -> String {
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn js(plain: &str) -> String {
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

fn urlquery(plain: &str) -> String {
    let mut out = String::with_capacity(plain.len());
    for byte in plain.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// T4.4. An unknown name is an error that names it (decision S58).
fn prop(args: &[Value], cx: &Context<'_>) -> Answer {
    let name = text(&args[0])?;
    if name == "et" {
        return Ok(Value::text(cx.now.0.to_string()));
    }
    (cx.prop)(name).map(Value::text).ok_or_else(|| format!("property {name:?} is not set"))
}

/// A random (version 4) identifier. `RandomState` is keyed by the operating system's randomness.
fn uuid() -> String {
    let random = || RandomState::new().build_hasher().finish();
    let (high, low) = (random(), random());
    let high = (high & 0xffff_ffff_ffff_0fff) | 0x4000;
    let low = (low & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
    let text = format!("{high:016x}{low:016x}");
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}
