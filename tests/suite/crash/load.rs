//! `kill -9` under load: MQTT at QoS 1, rules of `qos` 2 of every kind of state, several kills at random moments.
//!
//! The ledger is the numbers 1 to [`LAST`] in order. Results may be repeated after a crash (R7.9); but whatever a rule
//! says must follow from each number counted exactly once (R7.3), and nothing may be missing in the end.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::thread;

use serde_json::{Value as Json, json};
use thalweg_tests::mqtt::Mqtt;
use thalweg_tests::plugins::echo;
use thalweg_tests::processes::{Engine, Mosquitto, python};
use thalweg_tests::wait;

const LAST: i64 = 600;
const KILLS: u64 = 3;

/// A rule and what its results must be.
struct Subject {
    id: &'static str,
    sql: String,
    /// Whether a result can only come about when every number counts once.
    is_right: fn(&Json) -> bool,
    /// What a result proves to have arrived.
    proves: fn(&Json) -> Vec<i64>,
    /// How many numbers must be proved in the end.
    up_to: i64,
    event_time: bool,
}

impl Subject {
    fn new(id: &'static str, sql: &str, is_right: fn(&Json) -> bool, proves: fn(&Json) -> Vec<i64>) -> Self {
        Self { id, sql: sql.to_owned(), is_right, proves, up_to: LAST, event_time: false }
    }
}

fn int(row: &Json, name: &str) -> i64 {
    row[name].as_f64().map_or(-1, |number| number as i64)
}

fn sum(range: std::ops::RangeInclusive<i64>) -> i64 {
    range.sum()
}

/// The ten numbers of a window, if `s` is the sum of ten in a row that begin where a window does.
fn ten(row: &Json) -> Vec<i64> {
    let first = (int(row, "s") - 45) / 10;
    if int(row, "s") == sum(first..=first + 9) && first % 10 == 1 {
        (first..=first + 9).collect()
    } else {
        Vec::new()
    }
}

/// The numbers of a second of event time.
fn second(row: &Json) -> std::ops::RangeInclusive<i64> {
    let until = int(row, "until") / 100;
    (until - 10).max(1)..=until - 1
}

fn parts(row: &Json) -> Vec<i64> {
    row["parts"].as_array().into_iter().flatten().filter_map(Json::as_i64).collect()
}

fn subjects(mean: Option<&str>) -> Vec<Subject> {
    let is_ten: fn(&Json) -> bool = |row| ten(row).len() == 10;
    let is_running: fn(&Json) -> bool = |row| {
        let a = int(row, "a");
        let before = if a == 1 { row["before"].is_null() } else { int(row, "before") == a - 1 };
        int(row, "total") == sum(1..=a) && int(row, "n") == a && before
    };
    let own: fn(&Json) -> Vec<i64> = |row| vec![int(row, "a")];
    let running = "SELECT a, acc_sum(a) AS total, acc_count(a) AS n, lag(a) AS before FROM";
    let mut subjects = vec![
        Subject::new("running", &format!("{running} demo"), is_running, own),
        Subject::new("counting", "SELECT sum(a) AS s FROM demo GROUP BY COUNTWINDOW(10)", is_ten, ten),
        Subject::new(
            "tumbling",
            "SELECT k, collect(a) AS parts FROM demo GROUP BY k, TUMBLINGWINDOW(ms, 300)",
            |row| parts(row).iter().all(|a| a % 3 == int(row, "k")),
            parts,
        ),
        Subject::new(
            "session",
            "SELECT collect(a) AS parts FROM demo GROUP BY SESSIONWINDOW(ss, 2, 1)",
            |row| parts(row).windows(2).all(|pair| pair[0] + 1 == pair[1]),
            parts,
        ),
        Subject::new(
            "nested",
            "SELECT sum(part) AS s FROM (SELECT sum(a) AS part FROM demo GROUP BY COUNTWINDOW(5)) AS t \
             GROUP BY COUNTWINDOW(2)",
            is_ten,
            ten,
        ),
        Subject::new("shared_running", &format!("{running} both"), is_running, own),
        Subject::new("shared_counting", "SELECT sum(a) AS s FROM both GROUP BY COUNTWINDOW(10)", is_ten, ten),
    ];
    // The numbers are a tenth of a second apart.
    let joined = "SELECT sum(timed.a) AS total, count(*) AS n, window_end() AS until FROM timed INNER JOIN other \
                  ON timed.a = other.b GROUP BY TUMBLINGWINDOW(ss, 1)";
    subjects.push(Subject {
        // The last window ends with the last number and does not hold it.
        up_to: LAST - 1,
        event_time: true,
        ..Subject::new(
            "joined",
            joined,
            |row| int(row, "n") == second(row).count() as i64 && int(row, "total") == sum(second(row)),
            |row| second(row).collect(),
        )
    });
    if let Some(mean) = mean {
        let sql = format!("SELECT {mean}(a) * 10 AS s FROM demo GROUP BY COUNTWINDOW(10)");
        subjects.push(Subject { sql, ..Subject::new("python", "", is_ten, ten) });
    }
    subjects
}

fn publish(mqtt: &Mqtt, range: std::ops::RangeInclusive<i64>) {
    let message = |a: i64| json!({"a": a, "k": a % 3, "ts": a * 100}).to_string();
    mqtt.publish("in", &range.clone().map(message).collect::<Vec<_>>());
    mqtt.publish("in2", &range.map(|b| json!({"b": b, "ts": b * 100}).to_string()).collect::<Vec<_>>());
}

#[test]
fn r7_3_each_message_counts_once_in_the_state_whenever_the_engine_is_killed() {
    let Some(broker) = Mosquitto::start() else { return };
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    let seed = RandomState::new().hash_one(0);
    println!("seed {seed}");
    let timed = r#", TIMESTAMP="ts""#;
    for (name, topic, more) in [
        ("demo", "in", ""),
        ("both", "in", r#", SHARED="true""#),
        ("timed", "in", timed),
        ("other", "in2", timed),
    ] {
        engine.api().sql(&broker.stream(name, topic, more));
    }
    let mean = python().map(|_| format!("{}_mean", echo(engine.api(), home.path())));
    let subjects = subjects(mean.as_deref());
    for Subject { id, sql, event_time, .. } in &subjects {
        let options =
            json!({"qos": 2, "checkpointInterval": "1h", "isEventTime": event_time, "lateTolerance": 0});
        engine.api().rule_with(id, sql, broker.action(&format!("out/{id}")), options);
    }
    subjects.iter().for_each(|subject| engine.api().connected(subject.id));
    let results = Mqtt::connect(broker.port(), "results");
    results.subscribe("out/#");
    let mut running = Some(engine);
    thread::scope(|scope| {
        let port = broker.port();
        scope.spawn(move || {
            let mqtt = Mqtt::connect(port, "load");
            (0..LAST / 20).for_each(|chunk| publish(&mqtt, 20 * chunk + 1..=20 * chunk + 20));
        });
        for kill in 0..KILLS {
            let share = LAST as u64 / KILLS;
            let moment = kill * share + seed.rotate_left(kill as u32 * 8) % share;
            let has_come = || results.messages("out/running").len() as u64 > moment;
            wait::until_true("results", has_come);
            running.take().into_iter().for_each(Engine::kill);
            running = Engine::start(home.path(), &[]);
        }
    });
    let engine = running.expect("the binary is still there");
    for subject in &subjects {
        let topic = format!("out/{}", subject.id);
        let missing = || {
            let rows = results.messages(&topic);
            let proved: BTreeSet<i64> = rows.iter().flat_map(|row| (subject.proves)(row)).collect();
            (1..=subject.up_to).filter(|number| !proved.contains(number)).collect::<Vec<_>>()
        };
        let complete = wait::within(wait::LIMIT, || missing().is_empty().then_some(()));
        let status = || engine.api().status(subject.id);
        assert!(complete.is_some(), "seed {seed}: {} lost {:?}; {:#}", subject.id, missing(), status());
        let wrong: Vec<Json> =
            results.messages(&topic).into_iter().filter(|row| !(subject.is_right)(row)).collect();
        assert!(wrong.is_empty(), "seed {seed}: {} says {wrong:?}", subject.id);
    }
}
