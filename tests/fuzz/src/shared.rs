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

/// The pass in question, and the others, so that it is also seen alone.
const PASS: &str = "commonSubexpressions";
const OTHERS: &[&str] =
    &["constantFolding", "predicatePushDown", "pathPruner", "columnPruner", "incrementalWindow"];

struct Shared {
    sql: String,
    rows: Vec<String>,
}

/// Expressions that statements are made of.
struct Parts<'a> {
    scope: Scope<'a>,
    parts: Vec<String>,
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
    let scope = Scope::plain(COLUMNS);
    let parts = c.many(1, 3, |c| scope.call(c, 2));
    let parts = Parts { scope, parts };
    let sql = statement(c, &parts);
    let columns: Vec<(&str, Kind)> = TYPED.iter().copied().filter(|(name, _)| sql.contains(name)).collect();
    let most = [6, 20, 140][c.index(3)];
    let rows = c.many(1, most, |c| format!("{{{}}}", members(c, &columns, 15).join(",")));
    Box::new(Shared { sql, rows })
}

fn statement(c: &mut Choices, parts: &Parts<'_>) -> String {
    let filter = if c.chance(60) { format!(" WHERE {}", parts.condition(c)) } else { String::new() };
    let plain = |c: &mut Choices| c.many(1, 4, |c| parts.place(c));
    let (fields, rest) = match c.below(4) {
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
    format!("SELECT {} FROM s{filter}{rest}", fields.join(", "))
}

impl Shared {
    /// What the rule sends and what its nodes count; `None`: it is refused.
    fn run(&self, batch: usize, disabled: &[&str]) -> Option<(Vec<String>, Vec<String>)> {
        let disabled = disabled.iter().map(|name| (*name).to_owned()).collect();
        let options = Options { send_error: true, late_tolerance: 1_000, disabled, ..Options::default() };
        let (mut rig, rule) = rig(&self.sql, &options, batch).ok()?;
        for row in &self.rows {
            rig.feed("s", row.as_bytes());
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
        format!("{}\n{}", self.sql, self.rows.join("\n"))
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
