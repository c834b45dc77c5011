//! Streams over several connections (`contracts.md` 8), in process, each connection with a shard of its own.

use serde_json::{Value as Json, json};
use thalweg_tests::case::{Case, Event};
use thalweg_tests::compare::agree;
use thalweg_tests::in_process::{Axis, counted};

pub(crate) const WHOLE: Axis =
    Axis { batch: 1, is_shared: false, is_restarted: false, neighbours: 0, split: 0 };

/// Rules that give on a split stream what they give on the whole.
const RULES: &[&str] = &[
    "SELECT k, count(*) AS c, sum(a) AS s, min(a) AS lo, max(a) AS hi, avg(a) AS m FROM s GROUP BY k, TUMBLINGWINDOW(ms, 20)",
    "SELECT count(*) AS c, sum(a) AS s, window_start() AS f, window_end() AS t FROM s GROUP BY TUMBLINGWINDOW(ms, 7)",
    "SELECT k, count(a) AS c, stddev(a) AS d, median(a) AS m, percentile_disc(a, 0.9) AS p FROM s WHERE a > 1 GROUP BY k, HOPPINGWINDOW(ms, 20, 5) HAVING count(*) > 1 ORDER BY c",
    "SELECT k, b, sum(a) AS s FROM s WHERE a / b > 1 GROUP BY k, b, HOPPINGWINDOW(ms, 5, 20)",
    "SELECT k, count(b) AS c FROM s GROUP BY k, TUMBLINGWINDOW(ms, 40) HAVING sum(a) > 3",
    "SELECT upper(k) AS u, sum(a + b) AS s FROM s GROUP BY upper(k), TUMBLINGWINDOW(ms, 10)",
    "SELECT * FROM s GROUP BY TUMBLINGWINDOW(ms, 10)",
    "SELECT k, count(*) AS c FROM s GROUP BY k, SLIDINGWINDOW(ms, 15)",
    "SELECT a + b AS x, k FROM s WHERE a > 2 OR k = \"x\"",
    "SELECT a / b AS x FROM s",
    "SELECT t.k AS k, t.n AS n FROM (SELECT k, count(*) AS n FROM s GROUP BY k, TUMBLINGWINDOW(ms, 10)) AS t",
    "SELECT unnest(l) AS x FROM s WHERE a > 3",
];

/// Numbers that look like chance and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A rule among messages that come now and then.
pub(crate) fn case(sql: &str, seed: u64) -> Case {
    let (mut dice, mut at) = (Dice(seed), 1_000);
    let mut event = |_| {
        at += [0, 0, 1, 1, 2, 3, 9, 60][dice.roll(8) as usize];
        let key = ["\"x\"", "\"y\"", "\"z\"", "null", "1", "1.0"][dice.roll(6) as usize];
        let (a, b) = (dice.roll(9), ["0", "1", "2", "\"no\""][dice.roll(4) as usize]);
        let text = match dice.roll(12) {
            0 => "no object".to_owned(),
            1 => format!("{{\"b\":{b}}}"),
            _ => format!("{{\"k\":{key},\"a\":{a},\"b\":{b},\"l\":[{a},{b}]}}"),
        };
        Event { stream: "s".to_owned(), payload: text.into_bytes(), at: Some(at) }
    };
    let events = (0..60).map(&mut event).collect();
    let mut options = serde_json::Map::new();
    options.insert("sendError".to_owned(), seed.is_multiple_of(2).into());
    Case {
        id: "split".to_owned(),
        streams: vec![(
            "s".to_owned(),
            "CREATE STREAM s () WITH (DATASOURCE=\"s\", FORMAT=\"json\")".to_owned(),
        )],
        sql: sql.to_owned(),
        options,
        events,
        start: 1_000,
        end: Some(at + 100),
        ..Case::default()
    }
}

/// The same with TIMESTAMP `t`, which stays about where it should be, in event time.
pub(crate) fn timed_case(sql: &str, seed: u64, tolerance: u64) -> Case {
    let mut dice = Dice(seed + 1_000);
    // Odd, so that nothing sends errors.
    let mut case = case(sql, 2 * seed + 1);
    for event in &mut case.events {
        let at = event.at.unwrap_or_default();
        let time = at + [0, 0, 0, 1, 2, 5, -1, -2, -4, -20, -60, 30][dice.roll(12) as usize];
        let time = if dice.roll(16) == 0 { "\"never\"".to_owned() } else { time.to_string() };
        let text = String::from_utf8_lossy(&event.payload).replacen('{', &format!("{{\"t\":{time},"), 1);
        event.payload = text.into_bytes();
    }
    case.streams[0].1 =
        "CREATE STREAM s () WITH (DATASOURCE=\"s\", FORMAT=\"json\", TIMESTAMP=\"t\")".to_owned();
    case.options.insert("isEventTime".to_owned(), true.into());
    case.options.insert("lateTolerance".to_owned(), tolerance.into());
    case
}

/// Messages with their times. What happened in the same millisecond has no order over several connections.
fn sorted(sent: &[(i64, Json)]) -> Vec<Json> {
    let mut sent: Vec<Json> = sent.iter().map(|(at, message)| json!([at, rows(message)])).collect();
    sent.sort_by_key(|message| (message[0].as_i64(), message.to_string()));
    sent
}

fn rows(message: &Json) -> Json {
    let mut rows = message.clone();
    if let Json::Array(rows) = &mut rows {
        rows.sort_by_key(Json::to_string);
    }
    rows
}

/// Also what the status counts is the same: of each node the sum over all connections.
#[test]
fn windows_of_a_split_stream_are_those_of_the_whole() {
    for sql in RULES {
        for seed in 0..12 {
            let case = case(sql, seed);
            let (whole, counts) = counted(&case, WHOLE).expect("the whole stream can be read");
            assert!(!whole.is_empty(), "{sql}: nothing comes out");
            for (split, is_shared) in [(2, false), (3, true)] {
                let (sent, own) = counted(&case, Axis { split, is_shared, ..WHOLE }).expect(sql);
                let place = format!("{sql}, seed {seed}, over {split}:\n{whole:?}\n{sent:?}");
                assert_eq!(counts, own, "{place}");
                assert!(agree(&sorted(&whole), &sorted(&sent), true), "{place}");
            }
        }
    }
}

#[test]
fn what_depends_on_the_order_of_rows_is_refused_by_its_name() {
    for (sql, name) in [
        ("SELECT lag(a) AS b FROM s", "which lag depends on"),
        ("SELECT acc_sum(a) AS b FROM s", "which acc_sum depends on"),
        ("SELECT count(*) AS c FROM s GROUP BY COUNTWINDOW(3)", "which a count window depends on"),
        ("SELECT count(*) AS c FROM s GROUP BY SESSIONWINDOW(ss, 5, 1)", "which a session window depends on"),
        ("SELECT count(*) AS c FROM s GROUP BY STATEWINDOW(a > 1, a < 1)", "which a state window depends on"),
        (
            "SELECT last_value(a, true) AS c FROM s GROUP BY TUMBLINGWINDOW(ss, 1)",
            "which last_value depends on",
        ),
        ("SELECT collect(a) AS c FROM s GROUP BY TUMBLINGWINDOW(ss, 1)", "which collect depends on"),
        (
            "SELECT k, b, count(*) AS c FROM s GROUP BY k, TUMBLINGWINDOW(ss, 1)",
            "which the plain column b of a group depends on",
        ),
        (
            "SELECT t.a FROM s AS t INNER JOIN s AS u ON t.a = u.a GROUP BY TUMBLINGWINDOW(ss, 1)",
            "reads it twice",
        ),
    ] {
        let refused = counted(&case(sql, 1), Axis { split: 2, ..WHOLE }).err();
        let refused = refused.unwrap_or_else(|| "not refused".to_owned());
        assert!(refused.contains(name) && refused.starts_with("stream s is split"), "{sql}: {refused}");
    }
    let mut qos = case("SELECT a FROM s", 1);
    qos.options.insert("qos".to_owned(), 1.into());
    let refused = counted(&qos, Axis { split: 2, ..WHOLE }).err().unwrap_or_default();
    assert!(refused.contains("no checkpoint can say"), "{refused}");
}
