//! One load: warmed up, sent, and waited for until everything has come or nothing comes any more.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::job::Job;
use super::mqtt::{BATCH, Receiver, Sender};
use super::process;
use super::system::System;
use super::tally::Tally;

/// How long the first results may take.
const WARM_UP: Duration = Duration::from_secs(60);

/// How much is sent, and whom it costs.
pub(crate) struct Plan<'a> {
    pub(crate) broker: &'a str,
    /// Topics begin with it.
    pub(crate) prefix: &'a str,
    pub(crate) pid: Option<u32>,
    /// Rows a second; 0: as fast as the broker takes them.
    pub(crate) rate: u64,
    pub(crate) seconds: f64,
    /// So long a silence at the sink ends the run.
    pub(crate) silence: Duration,
}

/// What was sent.
#[derive(Default)]
struct Sent {
    offered: u64,
    /// Results that must come, or rows that they must stand for.
    expected: u64,
}

/// Runs the load of an installed job and gives its line.
pub(crate) fn run(job: &Job, plan: &Plan<'_>) -> Result<Json, String> {
    let mut system = System::watch(plan.broker)?;
    let dropped = system.dropped();
    let receiver = Receiver::start(plan.broker, &format!("{}/out/#", plan.prefix), Tally::default())?;
    let mut sender = Sender::connect(plan.broker, job.inputs(plan.prefix))?;
    warm_up(job, &mut sender, &receiver)?;
    let before = plan.pid.and_then(process::cpu_seconds);
    let started = receiver.micros();
    let sent = send(job, plan, &mut sender, &receiver)?;
    let sending = receiver.micros();
    wait(job, &sent, &receiver, plan.silence);
    let cpu = before.and_then(|before| Some(plan.pid.and_then(process::cpu_seconds)? - before));
    let rss = plan.pid.and_then(process::rss_mb);
    let mut tally = receiver.finish()?;
    let counts = tally.counts;
    let seconds = (counts.last_at.max(sending) - started) as f64 / 1e6;
    let got = if job.counts_rows() { counts.rows } else { counts.delivered };
    let [p50, p99, p999] = tally.percentiles([0.5, 0.99, 0.999]);
    let dropped = dropped.and_then(|before| Some(system.next_dropped()?.saturating_sub(before)));
    let rounded = |value: f64| (value * 1e3).round() / 1e3;
    Ok(json!({
        "offered": sent.offered,
        "delivered": counts.delivered,
        "lost": sent.expected.saturating_sub(got),
        "seconds": rounded(seconds),
        "cpu_s_per_million": cpu.map(|cpu| rounded(cpu / sent.offered.max(1) as f64 * 1e6)),
        "rss_mb": rss,
        "p50_us": p50,
        "p99_us": p99,
        "p999_us": p999,
        "expected": sent.expected,
        "twice": got.saturating_sub(sent.expected),
        "offered_per_s": (sent.offered as f64 / seconds.max(1e-6)).round(),
        "dropped_by_broker": dropped,
    }))
}

/// Sends single rows until every rule has answered, so that connecting is not measured.
fn warm_up(job: &Job, sender: &mut Sender, receiver: &Receiver) -> Result<(), String> {
    let (started, mut turn, mut row) = (Instant::now(), 0, Vec::new());
    loop {
        let n_warm = receiver.counts().n_warm;
        if n_warm >= job.n_sending() {
            return Ok(());
        }
        if started.elapsed() > WARM_UP {
            return Err(format!(
                "{n_warm} of {} rules gave a result within {} s; are engine and broker connected?",
                job.n_sending(),
                WARM_UP.as_secs()
            ));
        }
        row.clear();
        job.write_warm_up(turn, &mut row);
        (0..sender.n_topics()).try_for_each(|topic| sender.push(topic, &row))?;
        sender.flush()?;
        turn += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// With a rate exactly rate × seconds rows, else as many as go out in that time.
fn send(job: &Job, plan: &Plan<'_>, sender: &mut Sender, receiver: &Receiver) -> Result<Sent, String> {
    let (started, mut sent, mut row) = (Instant::now(), Sent::default(), Vec::new());
    let all = if plan.rate == 0 { u64::MAX } else { (plan.rate as f64 * plan.seconds).round() as u64 };
    while sent.offered < all {
        let elapsed = started.elapsed().as_secs_f64();
        if plan.rate == 0 && elapsed >= plan.seconds {
            break;
        }
        let due = match plan.rate {
            0 => sent.offered + BATCH as u64,
            rate => all.min((elapsed * rate as f64) as u64),
        };
        while sent.offered < due {
            row.clear();
            let topic = job.write(sent.offered, receiver.micros(), &mut row);
            sender.push(topic, &row)?;
            sent.expected += job.rows[sent.offered as usize % job.rows.len()].n_results;
            sent.offered += 1;
        }
        sender.flush()?;
        if plan.rate > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    row.clear();
    if job.write_end(sent.offered, &mut row) {
        (0..sender.n_topics()).try_for_each(|topic| sender.push(topic, &row))?;
        sender.flush()?;
    }
    Ok(sent)
}

/// Until everything is there, or nothing has come for a while.
fn wait(job: &Job, sent: &Sent, receiver: &Receiver, silence: Duration) {
    let sent_at = receiver.micros();
    loop {
        let counts = receiver.counts();
        let got = if job.counts_rows() { counts.rows } else { counts.delivered };
        let silent = receiver.micros().saturating_sub(counts.last_at.max(sent_at));
        if got >= sent.expected || u128::from(silent) > silence.as_micros() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
