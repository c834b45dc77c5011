//! Expressions over rows: the same result whatever surrounds the row.
//!
//! One expression is a rule's SELECT list and then its WHERE. The results of each row alone, at batch size 1, are what
//! larger batches, rules without optimiser passes, and selections of rows must agree with.

use crate::grammar::Scope;
use crate::rows::{Kind, TYPED, members};
use crate::rule::{Options, PASSES, rig, sent};
use crate::{Choices, Input, Target};

/// The row of the table.
pub(crate) const TARGET: Target = Target {
    name: "expr",
    claim: "all functions over any rows: the same alone and in batches, optimised or not, selected or not",
    draw,
};

const COLUMNS: &[&str] = &["a", "f", "t", "b", "l", "m", "o", "d", "id", "o->p", "l[0]", "nothing"];

struct Rows {
    stream: &'static str,
    expr: String,
    rows: Vec<String>,
}

fn draw(c: &mut Choices) -> Box<dyn Input> {
    let is_typed = c.chance(40);
    let scope = Scope { analytic: c.chance(10), ..Scope::plain(COLUMNS) };
    let expr = scope.expr(c, 3);
    let most = [6, 6, 6, 40, 140][c.index(5)];
    let columns: Vec<(&str, Kind)> = TYPED.iter().copied().filter(|(name, _)| expr.contains(name)).collect();
    let mut id = -1;
    let row = |c: &mut Choices| {
        id += 1;
        let mut all = vec![format!("\"id\":{id}")];
        all.extend(members(c, &columns, if is_typed { 2 } else { 15 }));
        format!("{{{}}}", all.join(","))
    };
    let rows = c.many(1, most, row);
    Box::new(Rows { stream: if is_typed { "typed" } else { "s" }, expr, rows })
}

impl Rows {
    /// What each row gives, fed one after the other in batches of `batch`; `None`: the rule is refused.
    fn alone(&self, sql: &str) -> Option<Vec<Vec<String>>> {
        let (mut rig, rule) = rig(sql, &options(&[]), 1).ok()?;
        let one = |row: &String| {
            rig.feed(self.stream, row.as_bytes());
            sent(&mut rig, rule)
        };
        Some(self.rows.iter().map(one).collect())
    }

    fn together(&self, sql: &str, batch: usize, disabled: &[&str]) -> Result<Vec<String>, String> {
        let (mut rig, rule) = rig(sql, &options(disabled), batch)
            .map_err(|why| format!("refused without the passes {disabled:?}, accepted with them: {why}"))?;
        self.rows.iter().for_each(|row| rig.feed(self.stream, row.as_bytes()));
        Ok(sent(&mut rig, rule))
    }

    /// The statement in batches and without passes gives what its rows give alone.
    fn agrees(&self, sql: &str, alone: &[Vec<String>]) -> Result<(), String> {
        let expected = alone.concat();
        for (batch, disabled) in
            [(1_024, &[] as &[&str]), (3, &[]), (1_024, PASSES), (2, &["predicatePushDown"])]
        {
            let what = format!("in batches of {batch} without {disabled:?}\n{sql}");
            let found = self.together(sql, batch, disabled)?;
            match disabled {
                [] => same(&what, &expected, &found)?,
                _ => same(&what, &blunt(&expected), &blunt(&found))?,
            }
        }
        Ok(())
    }
}

fn options(disabled: &[&str]) -> Options {
    let disabled = disabled.iter().map(|name| (*name).to_owned()).collect();
    Options { send_error: true, late_tolerance: 1_000, disabled, ..Options::default() }
}

/// Errors without their causes: folding may find another one first.
fn blunt(messages: &[String]) -> Vec<String> {
    let blunt = |message: &String| match message.find("{\"error\":\"run ") {
        Some(at) => format!("{}{{\"error\"}}", &message[..at]),
        None => message.clone(),
    };
    messages.iter().map(blunt).collect()
}

/// The first difference.
pub(crate) fn same(what: &str, expected: &[String], found: &[String]) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    let at = expected.iter().zip(found).take_while(|(left, right)| left == right).count();
    let show = |list: &[String]| list.get(at).map_or("(nothing)".to_owned(), Clone::clone);
    Err(format!("differs {what}\nmessage {at}\nexpected {}\nfound    {}", show(expected), show(found)))
}

impl Input for Rows {
    fn text(&self) -> String {
        format!("{}: {}\n{}", self.stream, self.expr, self.rows.join("\n"))
    }

    fn check(&self) -> Result<(), String> {
        let (stream, expr) = (self.stream, &self.expr);
        let select = format!("SELECT id, {expr} AS r FROM {stream}");
        let Some(results) = self.alone(&select) else { return Ok(()) };
        self.agrees(&select, &results)?;
        if expr.contains(" OVER ") || is_stateful(expr) {
            return Ok(());
        }
        let even = format!("SELECT id, {expr} AS r FROM {stream} WHERE id % 2 = 0");
        let chosen: Vec<String> = results.iter().step_by(2).flatten().cloned().collect();
        // Rows that a schema refuses are errors whatever their id.
        let bad = |message: &&String| !message.contains("{\"id\":") && !message.contains("run Select error");
        if results.iter().flatten().filter(bad).count() == 0 {
            same(&format!("in a selection\n{even}"), &chosen, &self.together(&even, 1_024, &[])?)?;
        }
        let condition = format!("SELECT id FROM {stream} WHERE {expr}");
        let Some(passed) = self.alone(&condition) else { return Ok(()) };
        self.agrees(&condition, &passed)?;
        for (result, passed) in results.iter().zip(&passed) {
            let is_true = result.iter().any(|message| message.ends_with(",\"r\":true}]"));
            let has_passed = passed.iter().any(|message| message.contains("[{\"id\":"));
            if is_true != has_passed {
                return Err(format!("WHERE and SELECT do not agree\n{expr}\n{passed:?}\n{result:?}"));
            }
        }
        Ok(())
    }
}

/// Whether an analytic function is called.
fn is_stateful(expr: &str) -> bool {
    crate::world::functions().analytic.iter().any(|function| expr.contains(&format!("{}(", function.name)))
}
