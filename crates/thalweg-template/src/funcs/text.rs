//! Text. Places and lengths count characters.

use std::sync::Arc;

use regex::Regex;
use thalweg_core::{Fields, Value, go_regex};

use super::{ANY, Answer, Function, count, text, text_of};
use crate::Context;
use crate::printf::{quote, sprintf};

/// Bytes that one call may make.
const MAX_LENGTH: usize = 1 << 20;

pub(super) const TABLE: &[Function] = &[
    Function::informed("print", 0, ANY, |a, cx| Ok(Value::text(sprint(a, cx)))),
    Function::informed("println", 0, ANY, |a, cx| Ok(Value::text(spaced(a, cx) + "\n"))),
    Function::informed("printf", 1, ANY, |a, cx| Ok(Value::text(sprintf(text(&a[0])?, &a[1..], cx)))),
    Function::informed("toString", 1, 1, |a, cx| Ok(Value::text(strval(&a[0], cx)))),
    Function::informed("toStrings", 1, 1, |a, cx| {
        Ok(Value::list(strings(&a[0], cx).into_iter().map(Value::text).collect()))
    }),
    Function::pure("upper", 1, 1, |a| Ok(Value::text(text(&a[0])?.to_uppercase()))),
    Function::pure("lower", 1, 1, |a| Ok(Value::text(text(&a[0])?.to_lowercase()))),
    Function::pure("title", 1, 1, |a| Ok(Value::text(words(text(&a[0])?, |c| c.to_uppercase().collect())))),
    Function::pure("untitle", 1, 1, |a| Ok(Value::text(words(text(&a[0])?, |c| c.to_lowercase().collect())))),
    Function::pure("trim", 1, 1, |a| Ok(Value::text(text(&a[0])?.trim()))),
    Function::pure("trimAll", 2, 2, |a| trim(a, |text, set| text.trim_matches(set))),
    Function::pure("trimall", 2, 2, |a| trim(a, |text, set| text.trim_matches(set))),
    Function::pure("trimPrefix", 2, 2, |a| {
        on(a, |part, text| text.strip_prefix(part).unwrap_or(text).to_owned())
    }),
    Function::pure("trimSuffix", 2, 2, |a| {
        on(a, |part, text| text.strip_suffix(part).unwrap_or(text).to_owned())
    }),
    Function::pure("nospace", 1, 1, |a| {
        Ok(Value::text(text(&a[0])?.chars().filter(|c| !c.is_whitespace()).collect::<String>()))
    }),
    Function::pure("trunc", 2, 2, trunc),
    Function::pure("substr", 3, 3, substr),
    Function::pure("replace", 3, 3, |a| Ok(Value::text(text(&a[2])?.replace(text(&a[0])?, text(&a[1])?)))),
    Function::pure("contains", 2, 2, |a| test(a, |part, text| text.contains(part))),
    Function::pure("hasPrefix", 2, 2, |a| test(a, |part, text| text.starts_with(part))),
    Function::pure("hasSuffix", 2, 2, |a| test(a, |part, text| text.ends_with(part))),
    Function::pure("split", 2, 2, |a| Ok(numbered(text(&a[1])?.split(text(&a[0])?)))),
    Function::pure("splitn", 3, 3, |a| {
        let most = usize::try_from(count(&a[1])?).unwrap_or(usize::MAX);
        Ok(numbered(text(&a[2])?.splitn(most, text(&a[0])?)))
    }),
    Function::pure("splitList", 2, 2, |a| {
        Ok(Value::list(text(&a[1])?.split(text(&a[0])?).map(Value::text).collect()))
    }),
    Function::informed("join", 2, 2, |a, cx| Ok(Value::text(strings(&a[1], cx).join(text(&a[0])?)))),
    Function::pure("repeat", 2, 2, repeat),
    Function::informed("quote", 0, ANY, |a, cx| Ok(Value::text(each(a, |value| quote(&strval(value, cx)))))),
    Function::informed("squote", 0, ANY, |a, cx| {
        Ok(Value::text(each(a, |value| format!("'{}'", text_of(value, cx)))))
    }),
    Function::informed("cat", 0, ANY, |a, cx| Ok(Value::text(each(a, |value| text_of(value, cx))))),
    Function::pure("indent", 2, 2, |a| indent(a, "")),
    Function::pure("nindent", 2, 2, |a| indent(a, "\n")),
    Function::pure("regexMatch", 2, 2, |a| {
        Ok(Value::Bool(
            go_regex::compile(text(&a[0])?)
                .is_ok_and(|regex| text(&a[1]).is_ok_and(|text| regex.is_match(text))),
        ))
    }),
    Function::pure("regexFind", 2, 2, |a| {
        Ok(Value::text(pattern(&a[0])?.find(text(&a[1])?).map_or("", |found| found.as_str())))
    }),
    Function::pure("regexFindAll", 3, 3, |a| {
        let most = usize::try_from(count(&a[2])?).unwrap_or(usize::MAX);
        Ok(Value::list(
            pattern(&a[0])?.find_iter(text(&a[1])?).take(most).map(|it| Value::text(it.as_str())).collect(),
        ))
    }),
    Function::pure("regexReplaceAll", 3, 3, |a| {
        Ok(Value::text(pattern(&a[0])?.replace_all(text(&a[1])?, text(&a[2])?)))
    }),
    Function::pure("regexReplaceAllLiteral", 3, 3, |a| {
        Ok(Value::text(pattern(&a[0])?.replace_all(text(&a[1])?, regex::NoExpand(text(&a[2])?))))
    }),
    Function::pure("regexSplit", 3, 3, |a| {
        let most = usize::try_from(count(&a[2])?).unwrap_or(usize::MAX);
        Ok(Value::list(pattern(&a[0])?.splitn(text(&a[1])?, most).map(Value::text).collect()))
    }),
    Function::pure("regexQuoteMeta", 1, 1, |a| Ok(Value::text(regex::escape(text(&a[0])?)))),
];

/// Go's `Sprint`: blanks between two operands of which neither is text.
pub(super) fn sprint(args: &[Value], cx: &Context<'_>) -> String {
    let is_text = |value: &Value| matches!(value, Value::Str(_));
    let mut out = String::new();
    for (index, value) in args.iter().enumerate() {
        if index > 0 && !is_text(value) && !is_text(&args[index - 1]) {
            out.push(' ');
        }
        out.push_str(&text_of(value, cx));
    }
    out
}

fn spaced(args: &[Value], cx: &Context<'_>) -> String {
    args.iter().map(|value| text_of(value, cx)).collect::<Vec<_>>().join(" ")
}

/// Sprig's conversion to text: bytes are text.
pub(super) fn strval(value: &Value, cx: &Context<'_>) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => text_of(other, cx),
    }
}

/// The items of a list as texts, nulls left out; anything else is a list of one.
pub(super) fn strings(value: &Value, cx: &Context<'_>) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::List(items) => {
            items.iter().filter(|item| !item.is_null()).map(|item| strval(item, cx)).collect()
        }
        other => vec![strval(other, cx)],
    }
}

fn each(args: &[Value], one: impl Fn(&Value) -> String) -> String {
    args.iter().filter(|value| !value.is_null()).map(one).collect::<Vec<_>>().join(" ")
}

/// A function of (part, text) with text as its result.
fn on(args: &[Value], call: fn(&str, &str) -> String) -> Answer {
    Ok(Value::text(call(text(&args[0])?, text(&args[1])?)))
}

/// A function of (part, text) with a truth as its result.
fn test(args: &[Value], call: fn(&str, &str) -> bool) -> Answer {
    Ok(Value::Bool(call(text(&args[0])?, text(&args[1])?)))
}

fn trim(args: &[Value], call: for<'a> fn(&'a str, &[char]) -> &'a str) -> Answer {
    let set: Vec<char> = text(&args[0])?.chars().collect();
    Ok(Value::text(call(text(&args[1])?, &set)))
}

/// Changes the first letter of each word.
fn words(plain: &str, change: fn(char) -> String) -> String {
    let mut out = String::with_capacity(plain.len());
    let mut is_first = true;
    for c in plain.chars() {
        if is_first {
            out.push_str(&change(c));
        } else {
            out.push(c);
        }
        is_first = !(c.is_alphanumeric() || c == '_' || c == '\'');
    }
    out
}

/// `trunc 3` keeps the first three, `trunc -3` the last three.
fn trunc(args: &[Value]) -> Answer {
    let (keep, plain) = (count(&args[0])?, text(&args[1])?);
    let length = plain.chars().count();
    let n = usize::try_from(keep.unsigned_abs()).unwrap_or(usize::MAX).min(length);
    Ok(Value::text(match keep < 0 {
        true => plain.chars().skip(length - n).collect::<String>(),
        false => plain.chars().take(n).collect(),
    }))
}

fn substr(args: &[Value]) -> Answer {
    let (start, end, plain) = (count(&args[0])?, count(&args[1])?, text(&args[2])?);
    let length = plain.chars().count();
    let start = usize::try_from(start).unwrap_or(0);
    let end = usize::try_from(end).unwrap_or(length).min(length);
    Ok(Value::text(plain.chars().take(end).skip(start).collect::<String>()))
}

/// Sprig's `split`: a map with the keys `_0`, `_1` …
fn numbered<'a>(parts: impl Iterator<Item = &'a str>) -> Value {
    let name = |index: usize| Arc::<str>::from(format!("_{index}"));
    Value::map(parts.enumerate().map(|(index, part)| (name(index), Value::text(part))).collect::<Fields>())
}

fn repeat(args: &[Value]) -> Answer {
    let (times, plain) = (count(&args[0])?, text(&args[1])?);
    let times = usize::try_from(times).map_err(|_| "strings: negative Repeat count".to_owned())?;
    match plain.len().checked_mul(times) {
        Some(length) if length <= MAX_LENGTH => Ok(Value::text(plain.repeat(times))),
        _ => Err(format!("the result is longer than {MAX_LENGTH} bytes")),
    }
}

fn indent(args: &[Value], before: &str) -> Answer {
    let blanks = " ".repeat(usize::try_from(count(&args[0])?).unwrap_or(0).min(1_000));
    let plain = text(&args[1])?;
    let length = plain.matches('\n').count().saturating_mul(blanks.len());
    if length > MAX_LENGTH {
        return Err(format!("the result is longer than {MAX_LENGTH} bytes"));
    }
    Ok(Value::text(format!("{before}{blanks}{}", plain.replace('\n', &format!("\n{blanks}")))))
}

fn pattern(value: &Value) -> Result<Regex, String> {
    go_regex::compile(text(value)?)
}
