//! Common sub-expressions: computing them once changes neither results nor errors nor what any node counts.

use crate::expr::same;
use crate::grammar::{Scope, window};
use crate::rows::{Kind, TYPED, members};
use crate::rule::{Options, rig, sent};
use crate::{Choices, Input, Target};

/// The row of the table.
pub(crate) const TARGET: Target = Target {
    name: "shared",
    claim: "a few expressions in many places: results, errors and counts are those of computing each by itself",
    draw,
};

const COLUMNS: &[&str] = &["a", "f", "t", "b", "l", "m", "o", "d", "o->p", "l[0]", "l[a]"];

/// Of each side of a join, and of both.
const SIDES: [&[&str]; 2] =
    [&["l.a", "l.t", "l.l", "l.l[0]", "l.o->p", "l.b"], &["r.a", "r.t", "r.l", "r.l[0]", "r.o->p", "r.b"]];
const BOTH: &[&str] = &["l.a", "l.t", "l.b", "r.a", "r.t", "r.b"];

/// The pass in question, and the others, so that it is also seen alone.
const PASS: &str = "commonSubexpressions";
const OTHERS: &[&str] =
    &["constantFolding", "predicatePushDown", "pathPruner", "columnPruner", "incrementalWindow"];

struct Shared {
    sql: String,
    /// Each with the stream that it comes from.
    rows: Vec<(&'static str, String)>,
}

/// Expressions that statements are made of.
struct Parts<'a> {
    scope: Scope<'a>,
    parts: Vec<String>,
    from: String,
    is_joined: bool,
}

impl Parts<'_> {
    fn one(&self, c: &mut Choices) -> String {
        self.parts[c.index(self.parts.len())].clone()
    }

    /// A place where one is read, by each row or by some.
    fn place(&self, c: &mut Choices) -> String {
        let one = self.one(c);
        match c.below(8) {
            0..3 => one,
            3 => format!("concat({one}, 'x')"),
            4 => format!("CASE WHEN {} THEN {one} ELSE {} END", self.condition(c), self.one(c)),
            5 => format!("CASE WHEN {} THEN 1 WHEN {} THEN {one} END", self.condition(c), self.condition(c)),
            6 => format!("CASE {one} WHEN {} THEN {} ELSE {} END", self.one(c), self.one(c), self.one(c)),
            _ => self.condition(c),
        }
    }

    fn condition(&self, c: &mut Choices) -> String {
        let one = self.one(c);
        match c.below(6) {
            0 => self.scope.condition(c, 1),
            1 => format!("{one} = {}", self.one(c)),
            2 => format!("({one} IS NOT NULL)"),
            3 => format!("({} OR {one} != 'a')", self.condition(c)),
            _ => format!("({} AND {})", self.scope.condition(c, 1), self.condition(c)),
        }
    }

    fn aggregate(&self, c: &mut Choices) -> String {
        let function = c.pick(&["count", "collect", "max", "last_value", "sum"]).to_owned();
        let place = self.place(c);
        if function == "last_value" {
            format!("last_value({place}, true)")
        } else {
            format!("{function}({place})")
        }
    }
}

fn draw(c: &mut Choices) -> Box<dyn Input> {
    let is_joined = c.chance(35);
    let one = |c: &mut Choices| {
        let columns = if is_joined { SIDES[c.index(2)] } else { COLUMNS };
        Scope::plain(columns).call(c, 2)
    };
    let parts = c.many(1, 3, one);
    let scope = Scope::plain(if is_joined { BOTH } else { COLUMNS });
    let mut parts = Parts { scope, parts, from: "s".to_owned(), is_joined };
    if is_joined {
        let kind = c.pick(&["INNER", "INNER", "LEFT", "RIGHT", "FULL", "CROSS"]).to_owned();
        let on = match c.below(3) {
            0 => "l.a = r.a".to_owned(),
            1 => format!("{} = {}", parts.one(c), parts.one(c)),
            _ => format!("{} != {}", parts.one(c), c.pick(BOTH)),
        };
        let on = if kind == "CROSS" { String::new() } else { format!(" ON {on}") };
        parts.from = format!("s AS l {kind} JOIN r AS r{on}");
    }
    let sql = statement(c, &parts);
    let columns: Vec<(&str, Kind)> = TYPED.iter().copied().filter(|(name, _)| sql.contains(name)).collect();
    let most = [6, 20, if is_joined { 30 } else { 140 }][c.index(3)];
    let row = |c: &mut Choices| {
        let stream = if is_joined && c.chance(50) { "r" } else { "s" };
        (stream, format!("{{{}}}", members(c, &columns, 15).join(",")))
    };
    let rows = c.many(1, most, row);
    Box::new(Shared { sql, rows })
}

fn statement(c: &mut Choices, parts: &Parts<'_>) -> String {
    let filter = if c.chance(60) { format!(" WHERE {}", parts.condition(c)) } else { String::new() };
    let plain = |c: &mut Choices| c.many(1, 4, |c| parts.place(c));
    let form = if parts.is_joined { 2 + c.below(2) } else { c.below(4) };
    let (fields, rest) = match form {
        0 | 1 => (plain(c), String::new()),
        2 => (plain(c), format!(" GROUP BY {}", window(c, &parts.scope))),
        _ => {
            let key = if c.chance(50) { format!("{}, ", parts.one(c)) } else { String::new() };
            let window = window(c, &parts.scope);
            let having =
                if c.chance(40) { format!(" HAVING {} != 'a'", parts.aggregate(c)) } else { String::new() };
            let fields = c.many(1, 4, |c| if c.chance(70) { parts.aggregate(c) } else { parts.place(c) });
            let order =
                if c.chance(30) { format!(" ORDER BY {}", parts.aggregate(c)) } else { String::new() };
            (fields, format!(" GROUP BY {key}{window}{having}{order}"))
        }
    };
    let fields: Vec<String> =
        fields.iter().enumerate().map(|(n, field)| format!("{field} AS r{n}")).collect();
    format!("SELECT {} FROM {}{filter}{rest}", fields.join(", "), parts.from)
}

impl Shared {
    /// What the rule sends and what its nodes count; `None`: it is refused.
    fn run(&self, batch: usize, disabled: &[&str]) -> Option<(Vec<String>, Vec<String>)> {
        let disabled = disabled.iter().map(|name| (*name).to_owned()).collect();
        let options = Options { send_error: true, late_tolerance: 1_000, disabled, ..Options::default() };
        let (mut rig, rule) = rig(&self.sql, &options, batch).ok()?;
        for (stream, row) in &self.rows {
            rig.feed(stream, row.as_bytes());
            rig.advance(130);
        }
        rig.flush();
        let messages = sent(&mut rig, rule);
        let counts = rig.metrics(rule).into_iter().map(|node| {
            format!(
                "{}: {} in, {} out, {} exceptions",
                node.name, node.records_in, node.records_out, node.exceptions
            )
        });
        Some((messages, counts.collect()))
    }
}

impl Input for Shared {
    fn text(&self) -> String {
        let rows: Vec<String> = self.rows.iter().map(|(stream, row)| format!("{stream} {row}")).collect();
        format!("{}\n{}", self.sql, rows.join("\n"))
    }

    fn check(&self) -> Result<(), String> {
        for (batch, others) in [(1, &[] as &[&str]), (1_024, &[]), (3, OTHERS)] {
            let without: Vec<&str> = others.iter().copied().chain([PASS]).collect();
            let (expected, found) = (self.run(batch, &without), self.run(batch, others));
            let (Some(expected), Some(found)) = (expected, found) else { return Ok(()) };
            let what = format!("in batches of {batch} without {others:?}\n{}", self.sql);
            same(&what, &expected.0, &found.0)?;
            same(&format!("in counts {what}"), &expected.1, &found.1)?;
        }
        Ok(())
    }
}
