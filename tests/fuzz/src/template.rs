//! Data templates over rows: rendered or refused, twice the same.

use std::sync::Arc;

use chrono_tz::Tz;
use thalweg_core::json::{Numbers, parse};
use thalweg_core::{Fields, Timestamp, Value};
use thalweg_template::{Context, Data, Template};

use crate::rows::value;
use crate::rule::START;
use crate::{Choices, Input, Target};

/// The row of the table.
pub(crate) const TARGET: Target = Target {
    name: "template",
    claim: "any text is a template or refused, any data is rendered or refused, the same each time",
    draw,
};

const FUNCTIONS: &[&str] = &[
    "json",
    "toJson",
    "toPrettyJson",
    "fromJson",
    "base64",
    "b64dec",
    "html",
    "js",
    "urlquery",
    "prop",
    "list",
    "len",
    "index",
    "slice",
    "first",
    "last",
    "rest",
    "initial",
    "append",
    "prepend",
    "concat",
    "has",
    "without",
    "compact",
    "uniq",
    "sortAlpha",
    "reverse",
    "chunk",
    "and",
    "or",
    "not",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "default",
    "empty",
    "coalesce",
    "all",
    "any",
    "ternary",
    "deepEqual",
    "kindOf",
    "kindIs",
    "typeOf",
    "fail",
    "call",
    "dict",
    "get",
    "hasKey",
    "keys",
    "values",
    "pick",
    "omit",
    "set",
    "unset",
    "merge",
    "pluck",
    "dig",
    "add",
    "add1",
    "sub",
    "mul",
    "div",
    "mod",
    "max",
    "min",
    "addf",
    "subf",
    "mulf",
    "divf",
    "floor",
    "ceil",
    "round",
    "int",
    "int64",
    "float64",
    "atoi",
    "until",
    "untilStep",
    "print",
    "println",
    "printf",
    "toString",
    "toStrings",
    "upper",
    "lower",
    "title",
    "untitle",
    "trim",
    "trimAll",
    "trimPrefix",
    "nospace",
    "trunc",
    "substr",
    "replace",
    "contains",
    "split",
    "splitn",
    "splitList",
    "join",
    "repeat",
    "quote",
    "squote",
    "cat",
    "indent",
    "nindent",
    "regexMatch",
    "regexFind",
    "regexFindAll",
    "regexReplaceAll",
    "regexSplit",
    "now",
    "date",
    "htmlDate",
    "dateInZone",
    "unixEpoch",
    "toDate",
    "dateModify",
    "nope",
];
const ATOMS: &[&str] = &[
    ".",
    ".a",
    ".p",
    ".x.p",
    "$",
    "$.a",
    "$v",
    "1",
    "-1",
    "0",
    "2.5",
    "9223372036854775807",
    "1e400",
    "\"a\"",
    "\"%d|%s|%v|%5.2f|%x|%q|%-8s|%T\"",
    "\"%!\"",
    "`raw`",
    "\"2006-01-02\"",
    "\"(a)(b)\"",
    "\"é😀\"",
    "true",
    "nil",
    "'a'",
    "\"-3h\"",
    "100001",
];
const PIECES: &[&str] = &[
    "{{", "}}", "{{-", "-}}", "{{/*", "*/}}", "|", "(", ")", ":=", "=", ",", "\"", "`", "end", "else",
    "range", ".",
];

struct Rendering {
    template: String,
    data: String,
}

fn draw(c: &mut Choices) -> Box<dyn Input> {
    let mut template = body(c, 3);
    if c.chance(25) {
        let letters: Vec<char> = template.chars().collect();
        let at = c.index(letters.len() + 1);
        let (before, behind) = letters.split_at(at);
        let piece = c.pick(PIECES);
        let skip = c.index(4).min(behind.len());
        template =
            before.iter().chain(piece.chars().collect::<Vec<_>>().iter()).chain(&behind[skip..]).collect();
    }
    Box::new(Rendering { template, data: value(c, 3) })
}

fn body(c: &mut Choices, depth: u32) -> String {
    c.many(1, 4, |c| action(c, depth)).concat()
}

fn action(c: &mut Choices, depth: u32) -> String {
    let inner = |c: &mut Choices| body(c, depth.saturating_sub(1));
    match c.below(if depth == 0 { 4 } else { 11 }) {
        0 => c.pick(&["text ", "{", " } ", "é", "\n", ""]).to_owned(),
        1..4 => format!("{{{{{}}}}}", pipe(c, 2)),
        4 => format!("{{{{if {}}}}}{}{{{{else}}}}{}{{{{end}}}}", pipe(c, 1), inner(c), inner(c)),
        5 => format!("{{{{range {}}}}}{}{{{{end}}}}", pipe(c, 1), inner(c)),
        6 => format!("{{{{range $i, $v := {}}}}}{}{{{{else}}}}{}{{{{end}}}}", pipe(c, 1), inner(c), inner(c)),
        7 => format!("{{{{with $v := {}}}}}{}{{{{end}}}}", pipe(c, 1), inner(c)),
        8 => format!("{{{{$v := {}}}}}{}", pipe(c, 1), inner(c)),
        9 => format!("{{{{- {} -}}}} ", pipe(c, 1)),
        _ => format!("{{{{define \"t\"}}}}{}{{{{end}}}}{{{{template \"t\" {}}}}}", inner(c), atom(c, 1)),
    }
}

fn pipe(c: &mut Choices, depth: u32) -> String {
    let mut out = command(c, depth);
    while c.chance(25) {
        out += &format!(" | {}", command(c, depth));
    }
    out
}

fn command(c: &mut Choices, depth: u32) -> String {
    if c.chance(35) {
        return atom(c, depth);
    }
    let mut out = c.pick(FUNCTIONS).to_owned();
    for argument in c.many(0, 3, |c| atom(c, depth)) {
        out += &format!(" {argument}");
    }
    out
}

fn atom(c: &mut Choices, depth: u32) -> String {
    if depth > 0 && c.chance(20) {
        return format!("({})", pipe(c, depth - 1));
    }
    c.pick(ATOMS).to_owned()
}

impl Input for Rendering {
    fn text(&self) -> String {
        format!("{}\nover {}", self.template, self.data)
    }

    fn check(&self) -> Result<(), String> {
        let template = match Template::parse(&self.template) {
            Ok(template) => template,
            Err(why) if why.message.is_empty() => return Err("refused without a word".to_owned()),
            Err(_) => return Ok(()),
        };
        let data = parse(self.data.as_bytes(), Numbers::Float).map_err(|why| why.to_string())?;
        let first = render(&template, &data);
        if first != render(&template, &data) {
            return Err("renders differently the second time".to_owned());
        }
        if Template::is_plain(&self.template) && first.as_deref() != Ok(self.template.as_str()) {
            return Err(format!("a text without actions becomes {first:?}"));
        }
        Ok(())
    }
}

fn render(template: &Template, data: &Value) -> Result<String, String> {
    let prop = |name: &str| (name == "a").then(|| "value".to_owned());
    let cx = Context { now: Timestamp(START), zone: Tz::UTC, prop: &prop };
    let rows: Vec<Arc<Fields>> = match data {
        Value::List(items) => items.iter().filter_map(row).collect(),
        _ => Vec::new(),
    };
    let data = match data {
        Value::Map(row) => Data::Row(row),
        Value::List(items) if items.len() == rows.len() => Data::Rows(&rows),
        other => Data::Value(other),
    };
    template.render_text(data, &cx).map_err(|why| why.to_string())
}

fn row(value: &Value) -> Option<Arc<Fields>> {
    match value {
        Value::Map(row) => Some(Arc::clone(row)),
        _ => None,
    }
}
