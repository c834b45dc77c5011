//! Table: functions of text. Other kinds are read as plain text; positions and lengths count characters (S25).

use std::borrow::Cow;
use std::sync::Arc;

use regex::Regex;
use thalweg_core::{Cell, Column, ColumnRef, RowError, Selection, Value, go_regex};

use super::args::{fail, float, int, text};
use super::{ANY, TEXT};
use crate::eval::is_empty;
use crate::expr::EvalCx;
use crate::function::{Arg, ArgKind, Doc, Family, Function, FunctionKind, Nulls};
use crate::patterns::Pattern;
use crate::texts::{lower_of, upper_of};

mod number_format;

const TEXTS: &[Arg] = &[Arg::new("text", ArgKind::Text).repeated()];
const PART: &[Arg] = &[Arg::new("text", ArgKind::Text), Arg::new("part", ArgKind::Text)];
const PAD: &[Arg] = &[Arg::new("text", ArgKind::Text), Arg::new("n", ArgKind::Int)];
const SUBSTRING: &[Arg] = &[
    Arg::new("text", ArgKind::Text),
    Arg::new("start", ArgKind::Int),
    Arg::new("end", ArgKind::Int).optional(),
];
const SPLIT: &[Arg] =
    &[Arg::new("text", ArgKind::Text), Arg::new("separator", ArgKind::Text), Arg::new("index", ArgKind::Int)];
const FORMAT: &[Arg] = &[
    Arg::new("x", ArgKind::Any),
    Arg::new("places", ArgKind::Int),
    Arg::new("locale", ArgKind::Text).optional(),
];

type Answer = Result<Value, RowError>;

functions! { Text
    "concat" (TEXTS) Own |args, cx| Ok(Value::text(args.iter().map(|arg| text(arg, cx)).collect::<String>())),
    "All texts joined; null adds nothing.", &[("concat(\"a\", \"b\")", "\"ab\""), ("concat(\"a\", 1, 2.5, true, null)", "\"a12.5true\""), ("concat(12345678.0)", "\"12345678\""), ("concat(null)", "\"\"")];
    "startswith" (PART) False |args, cx| Ok(Value::Bool(text(&args[0], cx).starts_with(&*text(&args[1], cx)))),
    "Whether the text begins with the part.", &[("startswith(\"thalweg\", \"tha\")", "true"), ("startswith(\"a\", null)", "false")];
    "endswith" (PART) False |args, cx| Ok(Value::Bool(text(&args[0], cx).ends_with(&*text(&args[1], cx)))),
    "Whether the text ends with the part.", &[("endswith(\"thalweg\", \"weg\")", "true")];
    "indexof" (PART) MinusOne |args, cx| Ok(index_of(&text(&args[0], cx), &text(&args[1], cx))),
    "Where the part begins, from 0; -1 if nowhere.", &[("indexof(\"thalweg\", \"l\")", "3"), ("indexof(\"héllo\", \"l\")", "2"), ("indexof(\"abc\", \"z\")", "-1"), ("indexof(\"abc\", null)", "-1")];
    "length" (ANY) Zero |args, cx| Ok(length(&args[0], cx)),
    "The number of characters, items or members.", &[("length(\"héllo\")", "5"), ("length([1,2,null])", "3"), ("length({\"a\":1})", "1"), ("length(12345)", "5"), ("length(decode(\"/w8=\", \"base64\"))", "2"), ("length(null)", "0")];
    "numbytes" (TEXT) Zero |args, cx| Ok(Value::Int(n_bytes(&args[0], cx) as i64)),
    "The number of UTF-8 bytes.", &[("numbytes(\"héllo\")", "6"), ("numbytes(12.5)", "4"), ("numbytes(decode(\"/w8=\", \"base64\"))", "2")];
    "lower" (TEXT) Null |args, cx| Ok(Value::text(text(&args[0], cx).chars().map(lower_of).collect::<String>())),
    "The text in lower case.", &[("lower(\"ÄBc\")", "\"äbc\""), ("lower(true)", "\"true\"")];
    "upper" (TEXT) Null |args, cx| Ok(Value::text(text(&args[0], cx).chars().map(upper_of).collect::<String>())),
    "The text in upper case.", &[("upper(\"straße\")", "\"STRAßE\"")];
    "lpad" (PAD) Null |args, cx| Ok(Value::text(format!("{}{}", spaces(&args[1])?, text(&args[0], cx)))),
    "n spaces and the text.", &[("lpad(\"ab\", 3)", "\"   ab\""), ("lpad(\"ab\", 2.5)", "ERR"), ("lpad(\"ab\", -1)", "ERR")];
    "rpad" (PAD) Null |args, cx| Ok(Value::text(format!("{}{}", text(&args[0], cx), spaces(&args[1])?))),
    "The text and n spaces.", &[("rpad(\"ab\", 3)", "\"ab   \"")];
    "ltrim" (TEXT) Null |args, cx| Ok(Value::text(text(&args[0], cx).trim_start())),
    "The text without blanks before it.", &[("ltrim(\" ab \")", "\"ab \"")];
    "rtrim" (TEXT) Null |args, cx| Ok(Value::text(text(&args[0], cx).trim_end())),
    "The text without blanks behind it.", &[("rtrim(\" ab \")", "\" ab\"")];
    "trim" (TEXT) Null |args, cx| Ok(Value::text(text(&args[0], cx).trim())),
    "The text without blanks around it.", &[("trim(\"\\t  ab \\n\")", "\"ab\"")];
    "reverse" (TEXT) Null |args, cx| Ok(Value::text(text(&args[0], cx).chars().rev().collect::<String>())),
    "The characters backwards.", &[("reverse(\"héllo\")", "\"olléh\""), ("reverse(123)", "\"321\"")];
    "substring" (SUBSTRING) Null substring,
    "The characters from start to before end.", &[("substring(\"thalweg\", 2)", "\"alweg\""), ("substring(\"thalweg\", 2, 4)", "\"al\""), ("substring(\"thalweg\", 2, 100)", "\"alweg\""), ("substring(\"thalweg\", 100)", "\"\""), ("substring(\"thalweg\", 3, 1)", "ERR"), ("substring(\"héllo\", 1, 3)", "\"él\"")];
    "split_value" (SPLIT) Null split_value,
    "One of the parts between separators; a negative index counts from the end.", &[("split_value(\"plant/line3/temp\", \"/\", 2)", "\"temp\""), ("split_value(\"plant/line3/temp\", \"/\", -1)", "\"temp\""), ("split_value(\"a,b\", \",\", 5)", "ERR"), ("split_value(\"a,b\", \",\", 1.5)", "\"a\"")];
    "format" (FORMAT) Null format,
    "A number with that many decimals, rounded half to even, written as the locale does.", &[("format(98765.43219, 3)", "\"98765.432\""), ("format(98765.43219, 3, \"en_US\")", "\"98,765.432\""), ("format(98765.43219, 2, \"de_DE\")", "\"98.765,43\""), ("format(1234567.891, 2, \"en_IN\")", "\"12,34,567.89\""), ("format(2.5, 0)", "\"2\""), ("format(3.5, 0)", "\"4\""), ("format(\"abc\", 2)", "\"0.00\""), ("format(1, 2, \"en\")", "ERR")];
}

fn index_of(text: &str, part: &str) -> Value {
    let at = text.find(part).map_or(-1, |at| text[..at].chars().count() as i64);
    Value::Int(at)
}

fn length(value: &Value, cx: &EvalCx<'_>) -> Value {
    Value::Int(match value {
        Value::List(items) => items.len(),
        Value::Map(fields) => fields.len(),
        // S29: upstream counts the characters of the printed form.
        Value::Bytes(bytes) => bytes.len(),
        other => text(other, cx).chars().count(),
    } as i64)
}

fn n_bytes(value: &Value, cx: &EvalCx<'_>) -> usize {
    match value {
        Value::Bytes(bytes) => bytes.len(),
        other => text(other, cx).len(),
    }
}

/// More spaces than this are a mistake.
const MAX_SPACES: i64 = 1 << 20;

fn spaces(n: &Value) -> Result<String, RowError> {
    match int(n)? {
        n if (0..=MAX_SPACES).contains(&n) => Ok(" ".repeat(n as usize)),
        n => fail(format!("the number of spaces must be from 0 to {MAX_SPACES}, not {n}")),
    }
}

fn substring(args: &[Value], cx: &mut EvalCx<'_>) -> Answer {
    let text = text(&args[0], cx);
    let start = int(&args[1])?;
    let end = match args.get(2) {
        Some(end) => int(end)?,
        None => i64::MAX,
    };
    if start < 0 || end < start {
        return fail(format!("invalid start or end of substring: {start} {end}"));
    }
    Ok(Value::text(text.chars().skip(start as usize).take((end - start) as usize).collect::<String>()))
}

fn split_value(args: &[Value], cx: &mut EvalCx<'_>) -> Answer {
    let (text, separator) = (text(&args[0], cx), text(&args[1], cx));
    // K: an index that is no integer is 0.
    let index = int(&args[2]).unwrap_or(0);
    let parts: Vec<Cow<'_, str>> = match separator.is_empty() {
        true => text.chars().map(|char| Cow::Owned(char.to_string())).collect(),
        false => text.split(&*separator).map(Cow::Borrowed).collect(),
    };
    let at = if index < 0 { index.checked_add(parts.len() as i64) } else { Some(index) };
    match at.and_then(|at| parts.get(usize::try_from(at).ok()?)) {
        Some(part) => Ok(Value::text(part)),
        None => fail(format!("{index} out of index array (size = {})", parts.len())),
    }
}

fn format(args: &[Value], cx: &mut EvalCx<'_>) -> Answer {
    // S26: what is no number is 0.
    let x = float(&args[0]).unwrap_or(0.0);
    let places = int(&args[1])?;
    let Some(places) = usize::try_from(places).ok().filter(|places| *places <= 100) else {
        return fail(format!("the number of decimals must be from 0 to 100, not {places}"));
    };
    let plain = format!("{x:.places$}");
    match args.get(2) {
        None => Ok(Value::text(plain)),
        Some(locale) => number_format::localized(&plain, &text(locale, cx)).map(Value::text),
    }
}

/// The functions with regular expressions (RE2 syntax), which compile a constant pattern once a batch.
pub(super) const PATTERNS: &[Function] = &[
    pattern(
        "regexp_matches",
        (PART, Nulls::False),
        regexp_matches,
        "Whether the pattern occurs in the text.",
        &[
            ("regexp_matches(\"sensor-12\", \"[0-9]+\")", "true"),
            ("regexp_matches(\"sensor\", \"(\")", "ERR"),
            ("regexp_matches(null, \"a\")", "false"),
            ("regexp_matches([], \"[\")", "false"),
            ("regexp_matches(\"é\", \"\\\\w\")", "false"),
            ("regexp_matches(\"{\\\"id\\\":1}\", \"{\\\"id\")", "true"),
        ],
    ),
    pattern(
        "regexp_replace",
        (REPLACE, Nulls::Null),
        regexp_replace,
        "The text with every occurrence of the pattern replaced.",
        &[
            ("regexp_replace(\"a1b22\", \"[0-9]+\", \"#\")", "\"a#b#\""),
            ("regexp_replace(\"k=v\", \"(\\\\w)=(\\\\w)\", \"${2}_$1\")", "\"v_k\""),
            ("regexp_replace(\"k=v\", \"(\\\\w)=(\\\\w)\", \"$2_$1\")", "\"k\""),
        ],
    ),
    pattern(
        "regexp_substr",
        (PART, Nulls::Null),
        regexp_substr,
        "The first occurrence of the pattern, or the empty text.",
        &[("regexp_substr(\"a1b22\", \"[0-9]+\")", "\"1\""), ("regexp_substr(\"abc\", \"[0-9]+\")", "\"\"")],
    ),
];

const REPLACE: &[Arg] = &[
    Arg::new("text", ArgKind::Text),
    Arg::new("pattern", ArgKind::Text),
    Arg::new("replacement", ArgKind::Text),
];

const fn pattern(
    name: &'static str,
    (args, nulls): (&'static [Arg], Nulls),
    call: crate::function::ColumnsFn,
    summary: &'static str,
    examples: &'static [(&'static str, &'static str)],
) -> Function {
    let doc = Doc { family: Family::Text, summary, examples };
    Function { name, aliases: &[], args, kind: FunctionKind::Columns(call), nulls, doc }
}

fn regexp_matches(args: &[ColumnRef<'_>], rows: &Selection, n_rows: usize, cx: &mut EvalCx<'_>) -> Column {
    with_pattern("regexp_matches", args, (rows, n_rows), (Value::Bool(false), cx), |regex, texts| {
        Value::Bool(regex.is_match(&texts[0]))
    })
}

fn regexp_replace(args: &[ColumnRef<'_>], rows: &Selection, n_rows: usize, cx: &mut EvalCx<'_>) -> Column {
    with_pattern("regexp_replace", args, (rows, n_rows), (Value::Null, cx), |regex, texts| {
        Value::text(regex.replace_all(&texts[0], &*texts[2]))
    })
}

fn regexp_substr(args: &[ColumnRef<'_>], rows: &Selection, n_rows: usize, cx: &mut EvalCx<'_>) -> Column {
    with_pattern("regexp_substr", args, (rows, n_rows), (Value::Null, cx), |regex, texts| {
        Value::text(regex.find(&texts[0]).map_or("", |found| found.as_str()))
    })
}

/// Keeps the last pattern compiled, and one that is a literal for later batches too.
fn with_pattern(
    name: &str,
    args: &[ColumnRef<'_>],
    (rows, n_rows): (&Selection, usize),
    (of_null, cx): (Value, &EvalCx<'_>),
    call: impl Fn(&Regex, &[String]) -> Value,
) -> Column {
    let literals = cx.instance.filter(|_| args.get(1).is_some_and(ColumnRef::is_constant));
    let compile = |pattern: &str| match literals {
        Some(instance) => instance.patterns.get(pattern),
        None => Arc::new(go_regex::compile(pattern)),
    };
    let mut compiled: Option<(String, Arc<Pattern>)> = None;
    let mut column = Column::new();
    for row in rows {
        if let Some(Cell::Error(error)) =
            args.iter().map(|arg| arg.cell(row)).find(|cell| matches!(cell, Cell::Error(_)))
        {
            column.push_error(error.clone());
            continue;
        }
        let values: Vec<Value> = args.iter().map(|arg| arg.cell(row).to_value()).collect();
        if values.iter().any(is_empty) {
            column.push_value(&of_null);
            continue;
        }
        let texts: Vec<String> = values.iter().map(|value| text(value, cx).into_owned()).collect();
        let pattern = texts.get(1).map_or("", String::as_str);
        let (_, regex) = match compiled.take().filter(|(known, _)| known == pattern) {
            Some(known) => compiled.insert(known),
            None => compiled.insert((pattern.to_owned(), compile(pattern))),
        };
        match &**regex {
            Ok(regex) => column.push_value(&call(regex, &texts)),
            Err(why) => column.push_error(crate::eval::named(name, &RowError::text(why))),
        }
    }
    column.spread(rows, n_rows)
}
