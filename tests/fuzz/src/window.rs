//! Whole rules over timed events: windows, groups, joins, analytic functions, sub-queries, unions.
//!
//! The rule is run at batch size 1 first. Larger batches, a shared stream, optimiser passes left out, and snapshots
//! with a restart at random places must give the same messages at the same times. Messages are compared as text, so
//! floats must agree to the last digit; only the buffered form of an incremental window may differ in the tenth one.

use serde_json::Value as Json;
use thalweg_core::Timestamp;

use crate::expr::same;
use crate::grammar::{self, Scope};
use crate::rule::{Options, PASSES, START, rig, sent};
use crate::{Choices, Input, Target};

/// The row of the table.
pub(crate) const TARGET: Target = Target {
    name: "window",
    claim: "rules give the same in batches of any size, shared, without optimiser, and restored at any place",
    draw,
};

/// Leaves out the incremental form of windows.
const BUFFERED: &str = "incrementalWindow";

const PLAIN: &[&str] = &["a", "id", "k", "f", "t", "o"];
const JOINED: &[&str] = &["l.a", "l.id", "l.k", "r.f", "r.k", "r.a", "l.t"];

struct Event {
    stream: &'static str,
    payload: String,
    /// Milliseconds after the one before.
    after: i64,
}

struct Rule {
    sql: String,
    event_time: bool,
    late_tolerance: i64,
    send_error: bool,
    events: Vec<Event>,
    /// How long time goes on after the last event.
    rest: i64,
    /// Restarts before these events.
    restarts: Vec<usize>,
}

fn draw(c: &mut Choices) -> Box<dyn Input> {
    let event_time = c.chance(35);
    let names: [&'static str; 2] = if event_time { ["e", "e2"] } else { ["s", "r"] };
    let (sql, n_streams) = statement(c, names);
    let most = [25, 25, 25, 80][c.index(4)];
    let mut time = START;
    let events: Vec<Event> = c.many(1, most, |c| event(c, &names[..n_streams], &mut time));
    let mut restarts = c.many(1, 4, |c| c.index(events.len() + 1));
    restarts.sort_unstable();
    restarts.dedup();
    Box::new(Rule {
        sql,
        event_time,
        late_tolerance: c.between(0, 3) * 200,
        send_error: c.chance(30),
        events,
        rest: c.between(0, 30) * 100,
        restarts,
    })
}

fn event(c: &mut Choices, streams: &[&'static str], time: &mut i64) -> Event {
    let after = match c.below(10) {
        0..4 => 0,
        4..8 => c.between(1, 200),
        8 => c.between(200, 1_200),
        _ => 100,
    };
    // Event time goes on with the clock, now and then back or far ahead.
    *time += match c.below(10) {
        0 => -c.between(0, 900),
        1 => c.between(500, 3_000),
        _ => after + c.between(0, 40),
    };
    let mut all = vec![format!("\"ts\":{time}")];
    for (name, values) in [
        ("id", &["1", "2", "3"] as &[&str]),
        ("k", &["\"x\"", "\"y\"", "\"z\"", "null", "1", "\"1\"", "1.0"]),
        ("a", &["1", "2", "3", "0", "-4", "10", "7", "9007199254740993", "null", "\"7\"", "true"]),
        ("f", &["0.1", "0.2", "0.3", "1e15", "-2.75", "1e-9", "3", "1e300", "null"]),
        ("t", &["\"a\"", "\"b\"", "\"äö\"", "\"\"", "null"]),
        ("o", &["{\"p\":1}", "{\"p\":2,\"q\":\"x\"}", "[1,2,3]", "[{\"p\":1},{\"p\":2}]", "null", "5"]),
    ] {
        if !c.chance(10) {
            // Mostly the tame values in front.
            let most = if c.chance(15) { values.len() } else { values.len().min(3) };
            all.push(format!("\"{name}\":{}", values[c.index(most)]));
        }
    }
    let payload = if c.chance(2) { "{\"a\":".to_owned() } else { format!("{{{}}}", all.join(",")) };
    Event { stream: streams[c.index(streams.len())], payload, after }
}

/// A statement, and how many streams it reads.
fn statement(c: &mut Choices, names: [&str; 2]) -> (String, usize) {
    match c.below(12) {
        0..7 => (select(c, names[0], PLAIN, true), 1),
        7 | 8 => {
            let kind = c.pick(&["INNER", "LEFT", "RIGHT", "FULL"]);
            let on = c.pick(&["l.id = r.id", "l.id = r.id AND l.a > r.a", "l.k = r.k", "l.a < r.f"]);
            let from = format!("{} AS l {kind} JOIN {} AS r ON {on}", names[0], names[1]);
            (select(c, &from, JOINED, true), 2)
        }
        9 => {
            let (inside, outside) = (c.chance(60), c.chance(60));
            let inner = select(c, names[0], PLAIN, inside);
            (select(c, &format!("({inner}) AS sub"), &["c0", "c1", "c2", "id"], outside), 1)
        }
        10 => {
            let windowed = c.chance(50);
            let (left, right) = (select(c, names[0], PLAIN, windowed), select(c, names[1], PLAIN, windowed));
            (format!("{left} UNION ALL {right}"), 2)
        }
        _ => (select(c, names[0], PLAIN, false), 1),
    }
}

fn select(c: &mut Choices, from: &str, columns: &[&str], windowed: bool) -> String {
    let plain = Scope::plain(columns);
    let grouped = windowed && c.chance(70);
    let scope = Scope { analytic: !grouped, ..Scope::plain(columns) };
    let mut at = 0;
    let mut fields = c.many(1, 4, |c| {
        at += 1;
        let field = match c.below(10) {
            0..5 if grouped => scope.aggregate(c, 1),
            5 if windowed => {
                c.pick(&["window_start()", "window_end()", "event_time()", "row_number()"]).to_owned()
            }
            6 if !grouped => scope.analytic_call(c, 1),
            7 | 8 => c.pick(columns).to_owned(),
            _ if grouped => format!("{} + {}", scope.aggregate(c, 1), c.pick(&["1", "0.5", "a"])),
            _ => scope.expr(c, 2),
        };
        format!("{field} AS c{}", at - 1)
    });
    if !grouped && c.chance(10) {
        fields.push("*".to_owned());
    }
    let mut out = format!("SELECT {} FROM {from}", fields.join(", "));
    if c.chance(30) {
        out += &format!(" WHERE {}", plain.condition(c, 1));
    }
    if !windowed {
        return out;
    }
    let mut groups = Vec::new();
    if grouped && c.chance(60) {
        groups.push(if c.chance(80) { c.pick(columns).to_owned() } else { plain.expr(c, 1) });
    }
    groups.push(grammar::window(c, &plain));
    out += &format!(" GROUP BY {}", groups.join(", "));
    if c.chance(15) {
        out += &format!(
            " HAVING {} {} {}",
            plain.aggregate(c, 1),
            c.pick(&[">", "<", "!="]),
            c.pick(&["1", "0", "2.5"])
        );
    }
    if c.chance(25) {
        out += &format!(" ORDER BY {}{}", c.pick(&["c0", "c1", columns[0]]), c.pick(&["", " DESC"]));
    }
    if c.chance(10) {
        out += &format!(" LIMIT {}", c.between(1, 3));
    }
    out
}

impl Rule {
    fn options(&self, is_shared: bool, disabled: &[&str]) -> Options {
        Options {
            event_time: self.event_time,
            late_tolerance: self.late_tolerance,
            send_error: self.send_error,
            is_shared,
            disabled: disabled.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// Everything the rule sends; restarts only where the rule is told to.
    fn play(&self, options: &Options, batch: usize, restarts: &[usize]) -> Result<Vec<String>, String> {
        let (mut rig, rule) = rig(&self.sql, options, batch)?;
        let mut now = START;
        for (at, event) in self.events.iter().enumerate() {
            if event.after > 0 {
                now += event.after;
                rig.advance_to(Timestamp(now));
            }
            if restarts.contains(&at) {
                rig.restart(rule).map_err(|why| format!("cannot be restored: {why}"))?;
            }
            rig.feed(event.stream, event.payload.as_bytes());
        }
        if restarts.contains(&self.events.len()) {
            rig.restart(rule).map_err(|why| format!("cannot be restored: {why}"))?;
        }
        rig.advance_to(Timestamp(now + self.rest));
        Ok(sent(&mut rig, rule))
    }
}

impl Rule {
    /// Without optimiser passes the same comes out. Where rows fail there is a difference that upstream has too: one
    /// that WHERE fails for in front of a window is lost alone, behind it with the whole collection (X-3, Z-2).
    fn optimised_or_not(&self) -> Result<(), String> {
        let loud = |disabled| Options { send_error: true, ..self.options(false, disabled) };
        let expected = self.play(&loud(&[]), 1, &[])?;
        let found = self.play(&loud(PASSES), 1, &[])?;
        let fails = |messages: &[String]| messages.iter().any(|message| message.contains(" {\"error\""));
        if !fails(&expected) && !fails(&found) {
            same("without optimiser", &expected, &found)?;
        }
        Ok(())
    }

    /// The largest number that comes in: sums lose digits behind it.
    fn scale(&self) -> f64 {
        let row = |event: &Event| serde_json::from_str::<Json>(&event.payload).unwrap_or_default();
        let number = |event: &Event| row(event)["f"].as_f64().unwrap_or(0.0).abs();
        self.events.iter().map(number).fold(100.0, f64::max)
    }
}

impl Input for Rule {
    fn text(&self) -> String {
        let mut now = 0;
        let line = |event: &Event| {
            now += event.after;
            format!("@{now} {} {}", event.stream, event.payload)
        };
        let events: Vec<String> = self.events.iter().map(line).collect();
        format!(
            "{}\nevent time {}, late tolerance {}, send errors {}\n{}\n@{} end, restarts before {:?}",
            self.sql,
            self.event_time,
            self.late_tolerance,
            self.send_error,
            events.join("\n"),
            now + self.rest,
            self.restarts
        )
    }

    fn check(&self) -> Result<(), String> {
        let usual = self.options(false, &[]);
        let Ok(expected) = self.play(&usual, 1, &[]) else { return Ok(()) };
        for batch in [3, 1_024] {
            same(&format!("in batches of {batch}"), &expected, &self.play(&usual, batch, &[])?)?;
        }
        let shared = self.options(true, &[]);
        same("shared", &expected, &self.play(&shared, 3, &[])?)?;
        same("restored", &expected, &self.play(&usual, 1, &self.restarts)?)?;
        same("restored, in batches of 3", &expected, &self.play(&usual, 3, &self.restarts)?)?;
        self.optimised_or_not()?;
        let buffered = self.options(false, &[BUFFERED]);
        let found = self.play(&buffered, 1, &[])?;
        if !nearly(&expected, &found, self.scale()) {
            same("buffered instead of incremental", &expected, &found)?;
        }
        Ok(())
    }
}

/// Equal messages, floats within 1e-9 (`contracts.md` 5) of themselves or of the largest number of their sum. A float
/// without fraction is printed as an integer, so what may be the mean of a sum beyond 2^53 is taken for one.
fn nearly(left: &[String], right: &[String], scale: f64) -> bool {
    let near = |(left, right): (&String, &String)| {
        let parts = |text: &str| text.split_once(' ').map(|(at, json)| (at.to_owned(), json.to_owned()));
        match (parts(left), parts(right)) {
            (Some((at, left)), Some((when, right))) if at == when => {
                let parse = |text: &str| serde_json::from_str::<Json>(text).ok();
                left == right
                    || parse(&left)
                        .zip(parse(&right))
                        .is_some_and(|(left, right)| close(&left, &right, scale))
            }
            _ => false,
        }
    };
    left.len() == right.len() && left.iter().zip(right).all(near)
}

fn may_be_float(number: &serde_json::Number) -> bool {
    number.is_f64() || number.as_i64().is_none_or(|whole| whole.unsigned_abs() > 1 << 46)
}

fn close(left: &Json, right: &Json, scale: f64) -> bool {
    match (left, right) {
        (Json::Number(left), Json::Number(right)) if may_be_float(left) || may_be_float(right) => {
            let (left, right) = (left.as_f64().unwrap_or(f64::NAN), right.as_f64().unwrap_or(f64::NAN));
            left == right || (left - right).abs() <= 1e-9 * left.abs().max(right.abs()).max(scale)
        }
        (Json::Array(left), Json::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| close(left, right, scale))
        }
        (Json::Object(left), Json::Object(right)) => {
            let same = |(name, value): (&String, &Json)| {
                right.get(name).is_some_and(|found| close(value, found, scale))
            };
            left.len() == right.len() && left.iter().all(same)
        }
        _ => left == right,
    }
}
