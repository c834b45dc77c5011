//! SQL text: by grammar, from cases with something changed, and plain noise.

use thalweg_core::Diagnostic;
use thalweg_plan::PlanOptions;
use thalweg_sql::ast::Statement;
use thalweg_sql::print;

use crate::grammar::{self, Scope};
use crate::world::World;
use crate::{Choices, Input, Target, corpus, world};

/// The row of the table.
pub(crate) const TARGET: Target = Target {
    name: "sql",
    claim: "parses, plans, explains; prints to what parses to the same tree; every mistake has a place in the text",
    draw,
};

const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "HAVING",
    "ORDER BY",
    "LIMIT",
    "AS",
    "AND",
    "OR",
    "NOT",
    "(",
    ")",
    ",",
    "*",
    "[",
    "]",
    "->",
    ".",
    "'",
    "\"",
    "`",
    ";",
    "--",
    "/*",
    "*/",
    "=",
    "<>",
    "!",
    "- ",
    "1",
    "1.2.3",
    ".5",
    "a",
    "s",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "IN",
    "BETWEEN",
    "LIKE",
    "IS",
    "NULL",
    "INNER JOIN",
    "ON",
    "OVER",
    "PARTITION BY",
    "FILTER",
    "TUMBLINGWINDOW(ss, 1)",
    "COUNTWINDOW(2)",
    "UNION ALL",
    "WITH",
    "EXCEPT",
    "REPLACE",
    "INVISIBLE",
    "count(*)",
    "é",
    "😀",
    "\u{0}",
    "\n",
    "99999999999999999999",
    "ss",
    "a/b/#",
    "||",
    "CREATE STREAM",
    "STRUCT(",
    "ARRAY(",
    "DATETIME",
    "DEFAULT",
    "TRUE",
    "\\",
    "1h",
    ":",
    "{",
    "}",
    "s.",
    "DROP TABLE",
    "SHOW",
];

struct Text(String);

fn draw(c: &mut Choices) -> Box<dyn Input> {
    let text = match c.below(10) {
        0..4 => query(c, 2),
        4..8 => changed(c),
        8 => c.many(0, 40, |c| c.pick(WORDS).to_owned() + c.pick(&[" ", ""])).concat(),
        _ => {
            let bytes: Vec<u8> = (0..c.below(60)).map(|_| c.below(256) as u8).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
    };
    Box::new(Text(text))
}

/// A statement of the cases with a few words lost, doubled, moved or put in.
fn changed(c: &mut Choices) -> String {
    let known = corpus::statements();
    let Some(text) = known.get(c.index(known.len())) else { return String::new() };
    let mut parts = split(text);
    c.many(0, 5, |c| {
        let at = c.index(parts.len());
        match c.below(6) {
            0 if at < parts.len() => drop(parts.remove(at)),
            1 if at < parts.len() => parts.insert(at, parts[at].clone()),
            2 => parts.insert(at, format!(" {} ", c.pick(WORDS))),
            3 if at < parts.len() => parts[at] = c.pick(WORDS).to_owned(),
            4 => {
                let other = c.index(parts.len());
                if other < parts.len() {
                    parts.swap(at, other);
                }
            }
            5 => parts.truncate(at),
            _ => {}
        }
    });
    parts.concat()
}

/// Words, blanks, and single other characters.
fn split(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for letter in text.chars() {
        let sort = |c: char| {
            if c.is_alphanumeric() || c == '_' {
                0
            } else if c == ' ' {
                1
            } else {
                2
            }
        };
        match parts.last_mut() {
            Some(last) if sort(letter) < 2 && last.chars().last().map(sort) == Some(sort(letter)) => {
                last.push(letter);
            }
            _ => parts.push(letter.to_string()),
        }
    }
    parts
}

const COLUMNS: &[&str] =
    &["a", "id", "t", "b", "l", "o", "s.a", "typed.a", "o.p", "`x y`", "f", "d", "x", "ts", "s.o.p", "j.a"];

/// A query that mostly can be planned.
fn query(c: &mut Choices, depth: u32) -> String {
    let with = match depth > 0 && c.chance(8) {
        true => format!("WITH w AS ({}) ", query(c, depth - 1)),
        false => String::new(),
    };
    let mut out = with + &select(c, depth);
    while c.chance(8) {
        out += &format!(" UNION ALL {}", select(c, depth));
    }
    out
}

fn select(c: &mut Choices, depth: u32) -> String {
    let scope =
        Scope { columns: COLUMNS, aggregates: c.chance(30), analytic: c.chance(20), anything: c.chance(20) };
    let plain = Scope::plain(COLUMNS);
    let fields: Vec<String> = (0..=c.below(3)).map(|at| field(c, &scope, at)).collect();
    let mut out = format!("SELECT {} FROM {}", fields.join(", "), source(c, depth));
    if c.chance(25) {
        let kind = c.pick(&[
            "INNER JOIN",
            "LEFT JOIN",
            "RIGHT JOIN",
            "FULL JOIN",
            "CROSS JOIN",
            "JOIN",
            "LEFT OUTER JOIN",
        ]);
        out += &format!(" {kind} {}", source(c, depth));
        if c.chance(85) {
            out += &format!(
                " ON {}",
                if c.chance(50) { "s.id = r.id".to_owned() } else { plain.condition(c, 2) }
            );
        }
    }
    if c.chance(40) {
        out += &format!(" WHERE {}", scope.condition(c, 2));
    }
    if c.chance(50) {
        let mut groups: Vec<String> = (0..c.below(3)).map(|_| plain.expr(c, 1)).collect();
        groups.push(grammar::window(c, &plain));
        out += &format!(" GROUP BY {}", groups.join(", "));
    }
    if c.chance(15) {
        let inner = Scope { aggregates: true, ..Scope::plain(COLUMNS) };
        out += &format!(" HAVING {} > {}", inner.aggregate(c, 1), plain.expr(c, 0));
    }
    if c.chance(20) {
        let keys: Vec<String> =
            (0..=c.below(2)).map(|_| c.pick(COLUMNS).to_owned() + c.pick(&["", " DESC", " ASC"])).collect();
        out += &format!(" ORDER BY {}", keys.join(", "));
    }
    if c.chance(10) {
        out += &format!(" LIMIT {}", c.between(0, 3));
    }
    out
}

fn field(c: &mut Choices, scope: &Scope<'_>, at: u64) -> String {
    match c.below(20) {
        0 => "*".to_owned(),
        1 => "* EXCEPT(a, b)".to_owned(),
        2 => format!("* REPLACE({} AS a)", scope.expr(c, 1)),
        3 => "s.*".to_owned(),
        4 => format!("unnest({})", c.pick(COLUMNS)),
        5 => format!(
            "row_number() OVER (PARTITION BY {} ORDER BY {} DESC) AS n{at}",
            c.pick(COLUMNS),
            c.pick(COLUMNS)
        ),
        6 => format!("{} AS f{at} INVISIBLE", scope.expr(c, 2)),
        7 => c.pick(COLUMNS).to_owned(),
        8 => format!("meta({}) AS f{at}", c.pick(COLUMNS)),
        _ => format!("{} AS f{at}", scope.expr(c, 3)),
    }
}

fn source(c: &mut Choices, depth: u32) -> String {
    let name = match c.below(12) {
        10 if depth > 0 => return format!("({}) AS j", query(c, depth - 1)),
        11 => "w".to_owned(),
        _ => c.pick(&["s", "s", "typed", "r", "e", "tab", "look", "a/b/#", "nowhere"]).to_owned(),
    };
    if c.chance(10) { format!("{name} AS j") } else { name }
}

impl Input for Text {
    fn text(&self) -> String {
        self.0.clone()
    }

    fn check(&self) -> Result<(), String> {
        let text = self.0.as_str();
        drop(thalweg_sql::parse_expr(text).map(|expr| print::expr(&expr)));
        match thalweg_sql::parse(text) {
            Err(mistakes) => {
                placed(text, &mistakes)?;
                searched(text, &mistakes)?;
                match mistakes.iter().all(|mistake| mistake.span.is_some()) {
                    true => Ok(()),
                    false => Err(format!("a mistake without a place: {mistakes:?}")),
                }
            }
            Ok(Statement::Query(query)) => {
                printed(&query)?;
                let options = PlanOptions::default();
                match thalweg_plan::plan(&query, &options, &World::usual()) {
                    Ok(plan) => {
                        placed(text, &plan.warnings)?;
                        let explained =
                            thalweg_plan::explain::explain(&plan) + &thalweg_plan::explain::tree(&plan);
                        if explained.is_empty() { Err("explained by nothing".to_owned()) } else { Ok(()) }
                    }
                    Err(mistakes) => placed(text, &mistakes),
                }
            }
            Ok(Statement::Create(_)) => {
                drop(world::define(text));
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }
}

/// Every place lies inside the text, between characters.
fn placed(text: &str, mistakes: &[Diagnostic]) -> Result<(), String> {
    for mistake in mistakes {
        let Some(span) = mistake.span else { continue };
        let (start, end) = (span.start as usize, span.end as usize);
        let is_inside = start <= end && end <= text.len();
        if !is_inside || !text.is_char_boundary(start) || !text.is_char_boundary(end) {
            return Err(format!("a place outside the text of {} bytes: {mistake:?}", text.len()));
        }
        drop(mistake.render(text));
    }
    Ok(())
}

/// What could be read is searched for more mistakes, which have places; and none of the others is lost.
fn searched(text: &str, mistakes: &[Diagnostic]) -> Result<(), String> {
    let (Some(query), again) = thalweg_sql::recover_query(text) else { return Ok(()) };
    if again != mistakes {
        return Err(format!("other mistakes when recovered: {again:?}"));
    }
    let all = thalweg_plan::search(&query, again, &PlanOptions::default(), &World::usual());
    placed(text, &all)?;
    let places: Vec<_> = all.iter().map(|mistake| mistake.span).collect();
    match mistakes.iter().find(|mistake| !places.contains(&mistake.span)) {
        None => Ok(()),
        Some(lost) => Err(format!("not told any more: {lost:?}")),
    }
}

/// Printing and parsing again gives the same tree.
fn printed(query: &thalweg_sql::Query) -> Result<(), String> {
    let text = print::query(query);
    match thalweg_sql::parse_query(&text) {
        Err(mistakes) => Err(format!(
            "prints as what does not parse\n{text}\n{}",
            thalweg_sql::parse_error(&text, &mistakes)
        )),
        Ok(again) if without_places(&again) != without_places(query) => {
            Err(format!("prints as another tree\n{text}\nwhich prints as\n{}", print::query(&again)))
        }
        Ok(_) => Ok(()),
    }
}

/// The tree as text, without what belongs to the writing: the places of its parts, and parentheses without effect.
fn without_places(query: &thalweg_sql::Query) -> String {
    let full = format!("{query:?}");
    let mut out = String::with_capacity(full.len());
    let mut rest = full.as_str();
    while let Some(at) = rest.find("span: Span {") {
        out.push_str(&rest[..at]);
        rest = rest[at..].find('}').map_or("", |end| &rest[at + end + 1..]);
    }
    (out + rest).replace("is_parenthesized: true", "is_parenthesized: false")
}
