//! Messages per second of engine CPU, from socket to socket: filter, passthrough and windows on one engine, their rounds
//! interleaved.

use super::broker::Blast;
use super::cpu::Meter;
use super::plain::{Plain, seconds_per_message};
use super::plant::{Load, Plant, Round};
use super::{ROUNDS, Sheet, median, rig};

/// One of the jobs.
struct Case {
    figure: &'static str,
    /// The figure that it stands beside when it has no goal of its own.
    beside: Option<&'static str>,
    stream: &'static str,
    qos: u8,
    /// Over how many connections, and shards.
    split: usize,
    select: &'static str,
    payloads: fn() -> Vec<String>,
    /// Whether a payload must give a result; windows tell nothing about single ones.
    passes: Option<fn(usize) -> bool>,
    plain: Plain,
    /// How long a round is to last.
    seconds: f64,
}

/// The filter job, on a stream still to be named.
pub(crate) const FILTER: &str =
    "SELECT temperature*1.8+32 AS f, humidity FROM {} WHERE temperature > 50 AND humidity < 80";
const WINDOW: &str =
    "SELECT device, avg(temperature) AS mean, count(*) AS c FROM {} GROUP BY device, TUMBLINGWINDOW(ss, 1)";

/// What is measured here.
pub(crate) const FIGURES: &[&str] =
    &["filter_mps", "passthrough_mps", "window_100_mps", "window_100k_mps", "qos1_mps"];

const CASES: &[Case] = &[
    Case {
        figure: "filter_mps",
        beside: None,
        stream: "filtered",
        qos: 0,
        split: 1,
        select: FILTER,
        payloads: readings,
        passes: Some(|row| temperature(row) > 50 && humidity(row) < 80),
        plain: Plain::Filter,
        seconds: 0.5,
    },
    Case {
        figure: "filter_split2_mps",
        beside: Some("filter_mps"),
        stream: "halved",
        qos: 0,
        split: 2,
        select: FILTER,
        payloads: readings,
        passes: Some(|row| temperature(row) > 50 && humidity(row) < 80),
        plain: Plain::Filter,
        seconds: 0.5,
    },
    Case {
        figure: "passthrough_mps",
        beside: None,
        stream: "passed",
        qos: 0,
        split: 1,
        select: "SELECT * FROM {} WHERE temperature > 50",
        payloads: readings,
        passes: Some(|row| temperature(row) > 50),
        plain: Plain::Pass,
        seconds: 0.5,
    },
    Case {
        figure: "window_100_mps",
        beside: None,
        stream: "hundred",
        qos: 0,
        split: 1,
        select: WINDOW,
        payloads: hundred,
        passes: None,
        plain: Plain::Window,
        seconds: 1.2,
    },
    Case {
        figure: "window_100k_mps",
        beside: None,
        stream: "thousands",
        qos: 0,
        split: 1,
        select: WINDOW,
        payloads: thousands,
        passes: None,
        plain: Plain::Window,
        seconds: 2.2,
    },
    Case {
        figure: "qos1_mps",
        beside: None,
        stream: "acknowledged",
        qos: 1,
        split: 1,
        select: FILTER,
        payloads: readings,
        passes: Some(|row| temperature(row) > 50 && humidity(row) < 80),
        plain: Plain::Filter,
        seconds: 0.5,
    },
];

/// `{"temperature": 57, "humidity": 72}`, every combination of two digits.
pub(crate) fn readings() -> Vec<String> {
    let row =
        |row: usize| format!("{{\"temperature\": {}, \"humidity\": {}}}", temperature(row), humidity(row));
    (0..8_100).map(row).collect()
}

fn temperature(row: usize) -> usize {
    row % 90 + 10
}

fn humidity(row: usize) -> usize {
    row / 90 % 90 + 10
}

fn keyed(keys: usize) -> Vec<String> {
    // Neighbours in time are not neighbours by key.
    let row = |row: usize| {
        format!("{{\"device\":\"d{:05}\",\"temperature\":{}}}", row * 7_919 % keys, row % 90 + 10)
    };
    (0..keys.max(10_000)).map(row).collect()
}

fn hundred() -> Vec<String> {
    keyed(100)
}

fn thousands() -> Vec<String> {
    keyed(100_000)
}

/// A case in work.
struct Job {
    case: &'static Case,
    blast: Blast,
    load: Load,
    rounds: Vec<Round>,
}

/// All of them that are wanted.
pub(crate) fn run(sheet: &mut Sheet, plant: &Plant) -> Result<(), String> {
    let wanted = CASES.iter().filter(|case| sheet.wants(case.beside.unwrap_or(case.figure)));
    let mut jobs = wanted.map(|case| start(plant, case)).collect::<Result<Vec<Job>, String>>()?;
    for _ in 0..ROUNDS {
        for job in &mut jobs {
            let expected = job.case.passes.map(|passes| {
                let passing = job.blast.upcoming(job.load.n).filter(|row| passes(*row));
                passing.count() as u64
            });
            job.rounds.push(plant.round(job.case.stream, &mut job.blast, job.load, expected)?);
        }
    }
    for job in &mut jobs {
        show(sheet, plant, job)?;
    }
    Ok(())
}

fn start(plant: &Plant, case: &'static Case) -> Result<Job, String> {
    let mut blast = Blast::new(case.stream, &(case.payloads)(), case.qos);
    plant.split_stream(case.stream, case.qos, "", case.split)?;
    plant.rule(case.stream, &case.select.replace("{}", case.stream), &plant.mqtt())?;
    plant.connected_by(case.stream, &mut blast, case.stream, case.split)?;
    // Also warms up.
    let load = plant.load(case.stream, &mut blast, case.seconds)?;
    Ok(Job { case, blast, load, rounds: Vec::new() })
}

fn show(sheet: &mut Sheet, plant: &Plant, job: &mut Job) -> Result<(), String> {
    let Job { case, rounds, .. } = job;
    let rate = median(rounds.iter().map(Round::per_second));
    let plain = 1.0 / seconds_per_message(case.plain, &(case.payloads)());
    let (dropped, lost) =
        rounds.iter().fold((0, 0), |sum, round| (sum.0 + round.dropped, sum.1 + round.lost));
    if lost > 0 {
        return Err(format!("{}: {lost} results never came and nobody counted them", case.figure));
    }
    let wall = median(rounds.iter().map(|round| round.processed as f64 / round.seconds));
    if case.beside.is_some() {
        sheet.extra(case.figure, rate, "msg/s/core");
        sheet.extra(&format!("{}_of_real_time", case.figure), wall, "msg/s");
        return Ok(());
    }
    // One round more says which threads the time goes to.
    let (meter, answered) = (Meter::start(plant.pid), plant.broker.acknowledged());
    plant.round(case.stream, &mut job.blast, job.load, None)?;
    let acknowledged = match case.qos {
        0 => String::new(),
        _ => format!(", {} acknowledged", plant.broker.acknowledged() - answered),
    };
    let all = meter.seconds();
    let threads = meter.by_name().into_iter().filter(|(_, used)| *used > 0.02 * all);
    let threads: Vec<String> =
        threads.map(|(name, used)| format!("{name} {:.0} %", 100.0 * used / all)).collect();
    let note = format!(
        "{:.1} x the plain way ({:.2} M); {:.2} M/s of real time{}; {dropped} dropped{acknowledged}; {}",
        rate / plain,
        plain / 1e6,
        wall / 1e6,
        job.load.pace(),
        threads.join(", ")
    );
    sheet.figure(case.figure, rate, &note);
    sheet.extra(&format!("{}_of_real_time", case.figure), wall, "msg/s");
    sheet.extra(&format!("{}_plain", case.figure), plain, "msg/s/core");
    let select = case.select.replace("{}", "demo");
    let (seconds, allocated) = rig::per_message(&[select], &(case.payloads)(), false)?;
    sheet.extra(&format!("{}_data_plane", case.figure), 1.0 / seconds, "msg/s/core, no sockets");
    sheet.extra(&format!("{}_data_plane_allocs", case.figure), allocated, "allocations/msg");
    sheet.extra(&format!("{}_dropped", case.figure), dropped as f64, "rows");
    Ok(())
}
