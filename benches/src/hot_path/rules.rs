//! Many different rules on one shared stream, each passed by one message of ten on average.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::broker::{Blast, Pace};
use super::cpu::Meter;
use super::plain::{Plain, seconds_per_message};
use super::plant::{Load, Plant, Round};
use super::{ROUNDS, Sheet, median, rig, threshold};
use crate::e2e::process;

/// Figure, stream and number of rules; the most rules come first, so that their memory is seen alone.
const SETS: &[(&str, &str, usize)] = &[
    ("rules_10000_us", "ten_thousand", 10_000),
    ("rules_3000_us", "three_thousand", 3_000),
    ("rules_300_us", "three_hundred", 300),
];

/// A set in work.
struct Set {
    at: usize,
    blast: Blast,
    load: Load,
    rounds: Vec<Round>,
}

/// Temperatures of one decimal from 0 to 99.9, so that all thresholds make a difference.
fn readings() -> Vec<String> {
    let row = |row: usize| {
        let temperature = (row * 37 % 1_000) as f64 / 10.0;
        format!("{{\"temperature\": {temperature:.1}, \"humidity\": {}}}", row % 90 + 10)
    };
    (0..1_000).map(row).collect()
}

/// As the rules of the figures, on the stream `demo`.
fn one_condition(at: usize, n: usize) -> String {
    format!("SELECT temperature, humidity FROM demo WHERE temperature > {:.5}", threshold(at, n))
}

/// Two constants that differ in every rule; again one message of ten passes.
fn two(at: usize, n: usize) -> String {
    let temperature = threshold(at, n) - 10.0;
    let humidity = 40.0 + 30.0 * ((at * 7_919 % n) as f64 + 0.5) / n as f64;
    format!(
        "SELECT temperature, humidity FROM demo WHERE temperature > {temperature:.5} AND humidity < {humidity:.5}"
    )
}

/// Rules that calculate the same and compare it with constants of their own.
fn computed(at: usize, n: usize) -> String {
    let bound = threshold(at, n) * 1.8 + 32.0;
    format!(
        "SELECT temperature * 1.8 + 32 AS f, humidity FROM demo WHERE temperature * 1.8 + 32 > {bound:.5}"
    )
}

/// A shared stream with so many rules; the KB of memory that each took.
fn install(plant: &Plant, stream: &str, n: usize, action: &Json) -> Result<f64, String> {
    plant.stream(stream, 0, ", SHARED=\"true\"")?;
    let rule = |at: usize| {
        let sql =
            format!("SELECT temperature, humidity FROM {stream} WHERE temperature > {:.5}", threshold(at, n));
        plant.rule(&format!("{stream}_{at}"), &sql, action)
    };
    // What the first of all costs belongs to the engine.
    rule(0)?;
    std::thread::sleep(Duration::from_millis(500));
    let before = process::rss_mb(plant.pid);
    (1..n).try_for_each(rule)?;
    std::thread::sleep(Duration::from_millis(500));
    let grown = process::rss_mb(plant.pid).zip(before).map_or(f64::NAN, |(after, before)| after - before);
    Ok(grown * 1e6 / 1024.0 / (n - 1) as f64)
}

/// The figures of all sets and the memory of a rule.
pub(crate) fn run(sheet: &mut Sheet, plant: &Plant) -> Result<(), String> {
    let mut sets = Vec::new();
    for (at, (figure, stream, n)) in SETS.iter().enumerate() {
        let measures_memory = at == 0 && sheet.wants("rule_kb");
        if !sheet.wants(figure) && !measures_memory {
            continue;
        }
        let started = Instant::now();
        let kb = install(plant, stream, *n, &json!({"nop": {}}))?;
        if measures_memory {
            let note = format!("{n} rules over REST in {:.1} s", started.elapsed().as_secs_f64());
            sheet.figure("rule_kb", kb, &note);
            sheet.extra(
                "rule_create_us",
                started.elapsed().as_secs_f64() * 1e6 / *n as f64,
                "us of real time",
            );
        }
        if sheet.wants(figure) {
            let mut blast = Blast::new(stream, &readings(), 0);
            plant.connected(&format!("{stream}_0"), &mut blast, stream)?;
            let load = plant.load(&format!("{stream}_0"), &mut blast, 0.6)?;
            sets.push(Set { at, blast, load, rounds: Vec::new() });
        }
    }
    for _ in 0..ROUNDS {
        for set in &mut sets {
            let rule = format!("{}_0", SETS[set.at].1);
            set.rounds.push(plant.round(&rule, &mut set.blast, set.load, None)?);
        }
    }
    for set in sets.iter().rev() {
        let (figure, _, n) = SETS[set.at];
        let micros = 1e6 / median(set.rounds.iter().map(Round::per_second));
        let plain = seconds_per_message(Plain::Rules(n), &readings()) * 1e6;
        let dropped = set.rounds.iter().map(|round| round.dropped).sum::<u64>();
        let note = format!(
            "the plain way {plain:.1} us, {:.0} times{}; {dropped} dropped",
            plain / micros,
            set.load.pace()
        );
        sheet.figure(figure, micros, &note);
        sheet.extra(&format!("{figure}_plain"), plain, "us/msg");
        for (name, rule) in [
            ("data_plane_one", one_condition as fn(usize, usize) -> String),
            ("data_plane_two", two),
            ("data_plane_computed", computed),
        ] {
            let rules: Vec<String> = (0..n).map(|at| rule(at, n)).collect();
            for batch in [1, 16, 256, rig::BATCH] {
                let (seconds, _) = rig::per_message_of(&rules, &readings(), (true, batch))?;
                let figure = format!("{figure}_{name}_{batch}");
                sheet.extra(&figure, seconds * 1e6, &format!("us/msg in batches of {batch}, no sockets"));
            }
        }
        let rules: Vec<String> = (0..n).map(|at| one_condition(at, n)).collect();
        let (change, after) = rig::change_us(&rules, &readings())?;
        let note =
            format!("us to add and remove one among {n}; the next batch of 64 takes {after:.1} us more");
        sheet.extra(&format!("rule_change_us_{n}"), change, &note);
    }
    publishing(sheet, plant)
}

/// Rules that swallow what they find are only counted; these publish it, thirty results a message.
fn publishing(sheet: &mut Sheet, plant: &Plant) -> Result<(), String> {
    const STREAM: &str = "published";
    if !sheet.wants("rules_300_us") {
        return Ok(());
    }
    install(plant, STREAM, 300, &plant.mqtt())?;
    let (rule, mut blast) = (format!("{STREAM}_0"), Blast::new(STREAM, &readings(), 0));
    plant.connected(&rule, &mut blast, STREAM)?;
    let load = plant.load(&rule, &mut blast, 0.6)?;
    let rounds = (0..ROUNDS).map(|_| plant.round(&rule, &mut blast, load, None));
    let rounds = rounds.collect::<Result<Vec<_>, _>>()?;
    let micros = 1e6 / median(rounds.iter().map(Round::per_second));
    let dropped = rounds.iter().map(|round| round.dropped).sum::<u64>();
    let note = format!("us/msg, all 300 publish: 30 results a message{}; {dropped} dropped", load.pace());
    sheet.extra("rules_300_us_published", micros, &note);
    Ok(())
}

/// 300 rules at 500 messages a second, as in the load test of eKuiper's README: every tenth publishes its results.
pub(crate) fn steady(sheet: &mut Sheet, plant: &Plant) -> Result<(), String> {
    const N: usize = 300;
    const GAP: Duration = Duration::from_millis(2);
    const SECONDS: f64 = 2.0;
    if !sheet.wants("rules_300x500_core_pct") {
        return Ok(());
    }
    plant.stream("steady", 0, ", SHARED=\"true\"")?;
    for at in 0..N {
        let sql =
            format!("SELECT temperature, humidity FROM steady WHERE temperature > {:.5}", threshold(at, N));
        let action = if at.is_multiple_of(10) { plant.mqtt() } else { json!({"nop": {}}) };
        plant.rule(&format!("steady_{at}"), &sql, &action)?;
    }
    let mut blast = Blast::new("steady", &readings(), 0);
    plant.connected("steady_0", &mut blast, "steady")?;
    let mut shares = Vec::new();
    for _ in 0..ROUNDS {
        let (meter, started) = (Meter::start(plant.pid), Instant::now());
        let mut sent = 0;
        while started.elapsed().as_secs_f64() < SECONDS {
            let due = (started.elapsed().as_secs_f64() / GAP.as_secs_f64()) as u64;
            for _ in sent..due {
                plant.broker.blast(&mut blast, 1, Pace::Free)?;
            }
            sent = due;
            std::thread::sleep(GAP);
        }
        shares.push(100.0 * meter.seconds() / started.elapsed().as_secs_f64());
    }
    let note = format!("every tenth rule publishes; {} results so far", plant.broker.published());
    sheet.figure("rules_300x500_core_pct", median(shares.into_iter()), &note);
    Ok(())
}
