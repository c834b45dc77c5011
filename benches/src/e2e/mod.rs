//! A load from end to end: a batching MQTT sender, the engine, an MQTT receiver that counts.
//!
//! `e2e --job filter --rate 0 --seconds 10 [--engine URL --broker HOST:PORT --pid PID]`. Without `--engine` it starts
//! Mosquitto and the `thalweg` binary that lies beside it. It prints one JSON line; delivered is counted at the sink.

mod http;
mod job;
mod mqtt;
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::report::json_line;
use job::Job;

/// What was asked for on the command line.
struct Options {
    engine: Option<String>,
    broker: Option<String>,
    pid: Option<u32>,
    job: String,
    rate: u64,
    seconds: f64,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, String> {
        let value =
            |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned();
        let number = |name: &str, default: f64| match value(name) {
            None => Ok(default),
            Some(text) => text.parse::<f64>().map_err(|_| format!("{name} must be a number, not {text}")),
        };
        Ok(Self {
            engine: value("--engine"),
            broker: value("--broker"),
            pid: value("--pid").and_then(|text| text.parse().ok()),
            job: value("--job").unwrap_or_else(|| "filter".to_owned()),
            rate: number("--rate", 0.0)? as u64,
            seconds: number("--seconds", 10.0)?,
        })
    }
}

/// Runs one job and prints its line.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let options = Options::parse(args)?;
    let job = Job::named(&options.job)?;
    let mut own = process::Started::default();
    let broker = match &options.broker {
        Some(broker) => broker.clone(),
        None => own.broker()?,
    };
    let (engine, pid) = match &options.engine {
        Some(engine) => (engine.clone(), options.pid),
        None => own.engine()?,
    };
    job.install(&engine, &broker)?;
    let outcome = load(&job, &options, &broker, pid);
    let dropped = job.dropped_by_engine(&engine);
    job.remove(&engine);
    let mut line = outcome?;
    line["dropped_by_engine"] = dropped.map_or(serde_json::Value::Null, serde_json::Value::from);
    json_line(&line);
    Ok(())
}

fn load(job: &Job, options: &Options, broker: &str, pid: Option<u32>) -> Result<serde_json::Value, String> {
    let sent_all = Arc::new(AtomicBool::new(false));
    let receiver = mqtt::Receiver::start(broker, job.output_topic(), Arc::clone(&sent_all))?;
    let mut sender = mqtt::Sender::connect(broker, job.input_topic())?;
    job.warm_up(&mut sender, &receiver)?;
    let before = pid.and_then(process::cpu_seconds);
    let started = Instant::now();
    let base = receiver.delivered();
    let (mut offered, mut expected) = (0u64, 0u64);
    while started.elapsed().as_secs_f64() < options.seconds {
        let due = if options.rate == 0 {
            offered + 256
        } else {
            (started.elapsed().as_secs_f64() * options.rate as f64) as u64
        };
        while offered < due {
            let batch = (due - offered).min(256);
            for _ in 0..batch {
                expected += u64::from(job.push(&mut sender, offered, receiver.micros()));
                offered += 1;
            }
            sender.flush()?;
        }
        if options.rate > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let sending = started.elapsed().as_secs_f64();
    sent_all.store(true, Ordering::Relaxed);
    let received = receiver.finish()?;
    let cpu = match (before, pid.and_then(process::cpu_seconds)) {
        (Some(before), Some(after)) => Some(after - before),
        _ => None,
    };
    let delivered = received.delivered - base;
    Ok(json!({
        "job": options.job,
        "offered": offered,
        "delivered": delivered,
        "lost": expected.saturating_sub(delivered),
        "seconds": (received.last_at.max(sending) * 1e3).round() / 1e3,
        "offered_per_s": (offered as f64 / received.last_at.max(sending)).round(),
        "cpu_s_per_million": cpu.map(|cpu| (cpu / offered as f64 * 1e9).round() / 1e3),
        "rss_mb": pid.and_then(process::rss_mb),
        "p50_us": received.percentile(0.5),
        "p99_us": received.percentile(0.99),
        "p999_us": received.percentile(0.999),
    }))
}
