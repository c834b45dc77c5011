//! The jobs: streams, rules, the rows that go in, and what must come out of them.
//!
//! Nothing here is Thalweg's own: every engine with eKuiper's API and SQL can be asked to do it. Rows of the warm-up hold
//! a -1 that reaches their results; no row of the load does.

use serde_json::json;

use super::http::Api;
use super::payload::{self, Row};
use super::plugin::Plugin;

/// One job.
pub(crate) struct Job {
    name: &'static str,
    /// Streams by name; each has a topic of its own.
    streams: Vec<&'static str>,
    /// Options behind TYPE and EXTRA.
    with: &'static str,
    rules: Vec<Rule>,
    /// What is sent, over and over again.
    pub(crate) rows: Vec<Row>,
    warm_up: Vec<u8>,
    kind: Kind,
    /// What the rules call.
    plugin: Option<Plugin>,
}

struct Rule {
    sql: String,
    options: serde_json::Value,
    /// Otherwise `nop`.
    is_sent: bool,
}

/// What differs from message to message, and what a result says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The time of sending goes in and comes out: a result is a message.
    Timed,
    /// Results hold the number of rows they stand for.
    Counted,
    /// Rows go to two streams in turn, with a number and an event time.
    Paired,
}

/// The first event time of joins, a full minute.
const START: u64 = 1_709_212_440_000;

impl Job {
    /// The job of this name; its rows have so many shapes.
    pub(crate) fn named(name: &str, shapes: usize) -> Result<Self, String> {
        Ok(match name {
            "filter" => Self::timed(
                "filter",
                "SELECT temperature*1.8+32 AS f, humidity, t FROM bench_in WHERE temperature > 50 AND humidity < 80",
                readings(shapes, |temperature, humidity| temperature > 50 && humidity < 80),
            ),
            "project" => Self::timed(
                "project",
                "SELECT temperature*1.8+32 AS f, humidity, t FROM bench_in",
                readings(shapes, |_, _| true),
            ),
            "wide" => Self {
                warm_up: wide(0, "-1", 0),
                ..Self::timed(
                    "wide",
                    "SELECT key003, key250, key499, t FROM bench_in",
                    (0..64.max(shapes)).map(|row| one(wide(row, "5", row % shapes))).collect(),
                )
            },
            "window" => Self::counted("window", "TUMBLINGWINDOW(ss, 1)", shapes),
            "session" => Self::counted("session", "SESSIONWINDOW(ss, 10, 1)", shapes),
            "join" => Self::join(shapes),
            "rules300" => Self::rules("rules300", 300, shapes),
            "rules3000" => Self::rules("rules3000", 3_000, shapes),
            "udf" => Self::udf(shapes),
            other => {
                return Err(format!(
                    "unknown job {other}: filter, project, window, session, join, rules300, rules3000, wide or udf"
                ));
            }
        })
    }

    fn timed(name: &'static str, sql: &str, rows: Vec<Row>) -> Self {
        let rule = Rule { sql: sql.to_owned(), options: json!({}), is_sent: true };
        Self {
            name,
            streams: vec!["bench_in"],
            with: "",
            rules: vec![rule],
            rows,
            warm_up: payload::object(&reading("51", "-1"), 0),
            kind: Kind::Timed,
            plugin: None,
        }
    }

    /// Like `project`, with a function in Python.
    fn udf(shapes: usize) -> Self {
        let plugin = Plugin::new();
        let sql = format!("SELECT {}(temperature) AS f, humidity, t FROM bench_in", plugin.function());
        Self { plugin: Some(plugin), ..Self::timed("udf", &sql, readings(shapes, |_, _| true)) }
    }

    fn counted(name: &'static str, window: &str, shapes: usize) -> Self {
        let sql = format!(
            "SELECT humidity, avg(temperature) AS t1, count(*) AS c FROM bench_in GROUP BY humidity, {window}"
        );
        Self { kind: Kind::Counted, ..Self::timed(name, &sql, readings(shapes, |_, _| true)) }
    }

    /// Pairs of one event time; each must meet, whatever order the two streams arrive in.
    fn join(shapes: usize) -> Self {
        let sql = "SELECT bench_left.id AS id, bench_left.temperature AS a, bench_right.humidity AS b FROM bench_left \
                   INNER JOIN bench_right ON bench_left.id = bench_right.id GROUP BY TUMBLINGWINDOW(ms, 100)";
        let mut rows = readings(shapes, |_, _| true);
        rows.iter_mut().enumerate().for_each(|(at, row)| row.n_results = at as u64 % 2);
        let options = json!({"isEventTime": true, "lateTolerance": "1s"});
        Self {
            streams: vec!["bench_left", "bench_right"],
            with: ", TIMESTAMP=\"ts\"",
            rules: vec![Rule { sql: sql.to_owned(), options, is_sent: true }],
            kind: Kind::Paired,
            ..Self::timed("join", "", rows)
        }
    }

    /// Different thresholds on one shared stream, each passed by one row of ten on average; the results of every tenth
    /// rule are sent, those of the others thrown away, as in the load test of eKuiper's README.
    fn rules(name: &'static str, n_rules: u32, shapes: usize) -> Self {
        let threshold = |rule: u32| 80.0 + 20.0 * (f64::from(rule) + 0.5) / f64::from(n_rules);
        let rule = |rule: u32| Rule {
            sql: format!(
                "SELECT temperature, humidity, t FROM bench_in WHERE temperature > {:.4}",
                threshold(rule)
            ),
            options: json!({}),
            is_sent: rule.is_multiple_of(10),
        };
        let row = |number: u32| {
            let temperature = f64::from(number * 37 % 1_000) / 10.0;
            let sent = (0..n_rules).step_by(10).map(threshold);
            let members = reading(&format!("{temperature:.1}"), &(number % 90 + 10).to_string());
            Row {
                text: payload::object(&members, number as usize % shapes),
                n_results: sent.filter(|threshold| temperature > *threshold).count() as u64,
            }
        };
        Self {
            with: ", SHARED=\"true\"",
            rules: (0..n_rules).map(rule).collect(),
            warm_up: payload::object(&reading("101", "-1"), 0),
            ..Self::timed(name, "", (0..1_000.max(shapes as u32)).map(row).collect())
        }
    }

    /// The topics that rows go to, in turn.
    pub(crate) fn inputs(&self, prefix: &str) -> Vec<String> {
        self.streams.iter().map(|stream| format!("{prefix}/{stream}")).collect()
    }

    /// Whether something outlives an engine that is simply ended.
    pub(crate) fn leaves_traces(&self) -> bool {
        self.plugin.is_some()
    }

    /// How many rules send their results, each to a topic of its own.
    pub(crate) fn n_sending(&self) -> usize {
        self.rules.iter().filter(|rule| rule.is_sent).count()
    }

    /// Whether results hold the number of rows they stand for.
    pub(crate) fn counts_rows(&self) -> bool {
        self.kind == Kind::Counted
    }

    /// Creates streams and rules, which read and write topics below `prefix`.
    pub(crate) fn install(&self, api: &Api, broker: &str, prefix: &str) -> Result<(), String> {
        self.remove(api);
        self.plugin.as_ref().map_or(Ok(()), |plugin| plugin.install(api))?;
        let server = format!("tcp://{broker}");
        let extra = json!({"server": server, "qos": 0}).to_string().replace('"', "\\\"");
        for (stream, topic) in self.streams.iter().zip(self.inputs(prefix)) {
            let ddl = format!(
                "CREATE STREAM {stream} () WITH (DATASOURCE=\"{topic}\", FORMAT=\"JSON\", TYPE=\"mqtt\", EXTRA=\"{extra}\"{})",
                self.with
            );
            api.expect("POST", "/streams", &json!({"sql": ddl}).to_string())?;
        }
        for (at, rule) in self.rules.iter().enumerate() {
            let topic = format!("{prefix}/out/{at}");
            let mqtt = json!({"mqtt": {"server": server, "topic": topic, "qos": 0, "sendSingle": true}});
            let action = if rule.is_sent { mqtt } else { json!({"nop": {}}) };
            let rule =
                json!({"id": self.rule(at), "sql": rule.sql, "actions": [action], "options": rule.options});
            api.expect("POST", "/rules", &rule.to_string())?;
        }
        Ok(())
    }

    fn rule(&self, at: usize) -> String {
        format!("bench_{}_{at}", self.name)
    }

    /// What the engine says it dropped: messages on their way to the first rule (others of a shared stream name the same
    /// ones), and results of all rules. The rest of what is lost was lost by the broker. `None` when it does not say.
    pub(crate) fn dropped_by_engine(&self, api: &Api) -> Option<(u64, u64)> {
        let (mut messages, mut results) = (None, 0);
        for at in 0..self.rules.len() {
            let status = api.expect("GET", &format!("/rules/{}/status", self.rule(at)), "").ok()?;
            let status: serde_json::Value = serde_json::from_str(&status).ok()?;
            let counters = status.as_object()?.iter().filter(|(key, _)| key.ends_with("_dropped_total"));
            let (of_sinks, before): (Vec<_>, Vec<_>) =
                counters.partition(|(key, _)| key.starts_with("sink_"));
            let sum = |counters: Vec<(&String, &serde_json::Value)>| {
                counters.iter().filter_map(|(_, count)| count.as_u64()).sum::<u64>()
            };
            if !before.is_empty() {
                messages.get_or_insert(sum(before));
            }
            results += sum(of_sinks);
        }
        messages.map(|messages| (messages, results))
    }

    /// Removes them again; missing ones are fine.
    pub(crate) fn remove(&self, api: &Api) {
        for at in 0..self.rules.len() {
            let _ = api.call("DELETE", &format!("/rules/{}", self.rule(at)), "");
        }
        for stream in &self.streams {
            let _ = api.call("DELETE", &format!("/streams/{stream}"), "");
        }
        self.plugin.iter().for_each(|plugin| plugin.remove(api));
    }

    /// Writes row `number` to the end of `out`; gives the stream it is for.
    pub(crate) fn write(&self, number: u64, micros: u64, out: &mut Vec<u8>) -> usize {
        let row = &self.rows[number as usize % self.rows.len()];
        match self.kind {
            Kind::Timed => end(out, &row.text, &format!(", \"t\":{micros}}}")),
            Kind::Counted => end(out, &row.text, "}"),
            Kind::Paired => {
                let pair = number / 2;
                end(out, &row.text, &format!(", \"id\":{pair}, \"ts\":{}}}", START + 3_600_000 + pair));
                return number as usize % 2;
            }
        }
        0
    }

    /// Writes a row of the warm-up. With every turn event time goes on by a second.
    pub(crate) fn write_warm_up(&self, turn: u64, out: &mut Vec<u8>) {
        let end_with = match self.kind {
            Kind::Timed => ", \"t\":0}".to_owned(),
            Kind::Counted => "}".to_owned(),
            Kind::Paired => format!(", \"id\":-1, \"ts\":{}}}", START + turn * 1_000),
        };
        end(out, &self.warm_up, &end_with);
    }

    /// Writes what lets event time go on behind row `number`, so that the last window closes; false when none waits.
    pub(crate) fn write_end(&self, number: u64, out: &mut Vec<u8>) -> bool {
        if self.kind == Kind::Paired {
            let time = START + 3_600_000 + number / 2 + 5_000;
            end(out, &self.warm_up, &format!(", \"id\":-1, \"ts\":{time}}}"));
        }
        self.kind == Kind::Paired
    }
}

fn end(out: &mut Vec<u8>, text: &[u8], end: &str) {
    out.extend_from_slice(text);
    out.extend_from_slice(end.as_bytes());
}

fn one(text: Vec<u8>) -> Row {
    Row { text, n_results: 1 }
}

fn wide(number: usize, last: &str, shape: usize) -> Vec<u8> {
    let mut members = payload::wide(number);
    last.clone_into(&mut members[499].1);
    let members: Vec<(&str, String)> =
        members.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    payload::object(&members, shape)
}

fn reading(temperature: &str, humidity: &str) -> [(&'static str, String); 2] {
    [("temperature", temperature.to_owned()), ("humidity", humidity.to_owned())]
}

/// Every temperature with every humidity.
fn readings(shapes: usize, passes: fn(usize, usize) -> bool) -> Vec<Row> {
    let row = |number: usize| {
        let (temperature, humidity) = (number % 90 + 10, number / 90 % 90 + 10);
        let members = reading(&temperature.to_string(), &humidity.to_string());
        Row {
            text: payload::object(&members, number % shapes),
            n_results: u64::from(passes(temperature, humidity)),
        }
    };
    // An even number: rows of joins take turns.
    (0..8_100.max(shapes).next_multiple_of(2)).map(row).collect()
}
