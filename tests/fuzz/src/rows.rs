//! Rows as JSON text: what devices send, and what nobody should.

use crate::Choices;

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "-1",
    "0.5",
    "10",
    "-2.5",
    "100",
    "1e3",
    "1709212455678",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "1e19",
    "1.7976931348623157e308",
    "-1e308",
    "5e-324",
    "-0.0",
    "0.1",
    "2147483648",
    "1e-7",
    "255",
];
const WHOLE: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "-1",
    "10",
    "100",
    "255",
    "1709212455678",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "4294967296",
];
const TEXTS: &[&str] = &[
    "",
    "a",
    "abc",
    "A b",
    "1",
    "-2.5",
    "true",
    "2024-02-29",
    "2024-02-29 13:14:15",
    "2024-02-29T13:14:15.678Z",
    "äöü€😀",
    "é",
    "hello world hello",
    "{\\\"a\\\":[1,{\\\"b\\\":2}]}",
    "[1,2]",
    "aGVsbG8=",
    "\\u0000",
    "\\ud83d\\ude00",
    "<&>",
    "9999999999999999999",
    "NaN",
    "null",
    "0x1f",
    "%_%",
    "(",
    "\\\\",
    "\\n\\t",
    "UTC",
    "1h",
    "a,b,c",
];

/// The kinds of columns of the stream `typed`.
pub(crate) const TYPED: &[(&str, Kind)] = &[
    ("a", Kind::Whole),
    ("f", Kind::Number),
    ("t", Kind::Text),
    ("b", Kind::Bool),
    ("l", Kind::Wholes),
    ("m", Kind::Texts),
    ("o", Kind::Object),
    ("d", Kind::Time),
];

/// What a column mostly holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Whole,
    Number,
    Text,
    Bool,
    Wholes,
    Texts,
    Object,
    Time,
}

/// The members of a row of these columns, without braces; some columns may be null, missing, or of another kind.
pub(crate) fn members(c: &mut Choices, columns: &[(&str, Kind)], strange: u64) -> Vec<String> {
    let mut members = Vec::new();
    for (name, kind) in columns {
        let value = match c.below(100) {
            0..8 => continue,
            8..16 => "null".to_owned(),
            n if n >= 100 - strange => value(c, 3),
            _ => of_kind(c, *kind),
        };
        members.push(format!("\"{name}\":{value}"));
    }
    members
}

fn of_kind(c: &mut Choices, kind: Kind) -> String {
    match kind {
        Kind::Whole => c.pick(WHOLE).to_owned(),
        Kind::Number => c.pick(NUMBERS).to_owned(),
        Kind::Text => text(c),
        Kind::Bool => c.pick(&["true", "false"]).to_owned(),
        Kind::Wholes => list(c, |c| c.pick(WHOLE).to_owned()),
        Kind::Texts => list(c, text),
        Kind::Object => format!("{{\"p\":{},\"q\":{}}}", c.pick(WHOLE), text(c)),
        Kind::Time if c.chance(50) => c.pick(WHOLE).to_owned(),
        Kind::Time => {
            c.pick(&["\"2024-02-29\"", "\"2024-02-29 13:14:15\"", "\"2024-02-29T13:14:15.678Z\""]).to_owned()
        }
    }
}

fn list(c: &mut Choices, one: impl Fn(&mut Choices) -> String) -> String {
    format!("[{}]", c.many(0, 4, one).join(","))
}

fn text(c: &mut Choices) -> String {
    let text = c.pick(TEXTS);
    let times = if c.chance(3) { 300 } else { 1 };
    format!("\"{}\"", text.repeat(times))
}

/// Any value, nested so deep.
pub(crate) fn value(c: &mut Choices, depth: u32) -> String {
    match c.below(if depth == 0 { 6 } else { 8 }) {
        0 => "null".to_owned(),
        1 | 2 => c.pick(NUMBERS).to_owned(),
        3 | 4 => text(c),
        5 => c.pick(&["true", "false"]).to_owned(),
        6 => list(c, |c| value(c, depth - 1)),
        _ => {
            let member = |c: &mut Choices| {
                let name = c.pick(&["p", "q", "x", "a", "", "é", "a b", "\\u0061"]).to_owned();
                format!("\"{name}\":{}", value(c, depth - 1))
            };
            format!("{{{}}}", c.many(0, 3, member).join(","))
        }
    }
}
