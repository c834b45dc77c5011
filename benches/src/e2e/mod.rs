//! A load from end to end: a batching MQTT sender, an engine with eKuiper's API, an MQTT receiver that counts.
//!
//! `e2e --job filter --rate 0 --seconds 10 [--shapes N] [--engine URL --broker HOST:PORT --pid PID]`. Without `--engine`
//! it starts Mosquitto and the `thalweg` binary that lies beside it. It prints one JSON line. Delivered is counted at the
//! sink; every job knows what must arrive there, so `lost` is exact: results that are missing, and for windows the rows
//! that no result accounts for.

pub(crate) mod frame;
pub(crate) mod http;
mod job;
mod load;
pub(crate) mod mqtt;
pub(crate) mod payload;
mod plugin;
pub(crate) mod process;
mod system;
mod tally;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::Value as Json;

use crate::report::json_line;
use http::Api;
use job::Job;
use load::Plan;

const USAGE: &str = "\
e2e --job filter|project|window|session|join|rules300|rules3000|wide|udf [--rate N] [--seconds S] [--shapes N]
    [--engine URL --broker HOST:PORT --pid PID] [--silence S]
  --rate     rows a second; 0: as fast as the broker takes them (default)
  --seconds  how long (10)
  --shapes   how many different orders of keys and optional keys (1)
  --engine   an engine with eKuiper's API; without it, thalweg and mosquitto are started
  --pid      the engine's process, for CPU time and memory
  --silence  so many seconds without a result end the run (3)";

/// What was asked for on the command line.
struct Options {
    engine: Option<String>,
    broker: Option<String>,
    pid: Option<u32>,
    job: String,
    rate: u64,
    seconds: f64,
    shapes: usize,
    silence: Duration,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut this = Self {
            engine: None,
            broker: None,
            pid: None,
            job: "filter".to_owned(),
            rate: 0,
            seconds: 10.0,
            shapes: 1,
            silence: Duration::from_secs(3),
        };
        let mut args = args.iter();
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} has no value\n{USAGE}"))?;
            let number = || {
                let number = value.parse::<f64>().ok().filter(|number| (0.0..1e12).contains(number));
                number.ok_or_else(|| format!("{name} must be a number, not {value}"))
            };
            match name.as_str() {
                "--engine" => this.engine = Some(value.clone()),
                "--broker" => {
                    this.broker = Some(value.trim_start_matches("tcp://").to_owned());
                }
                "--pid" => this.pid = Some(number()? as u32),
                "--job" => value.clone_into(&mut this.job),
                "--rate" => this.rate = number()? as u64,
                "--seconds" => this.seconds = number()?,
                "--shapes" => this.shapes = (number()? as usize).clamp(1, 100_000),
                "--silence" => this.silence = Duration::from_secs_f64(number()?),
                _ => return Err(format!("unknown option {name}\n{USAGE}")),
            }
        }
        if this.engine.is_some() && this.broker.is_none() {
            return Err("--engine needs --broker HOST:PORT, which both of them use".to_owned());
        }
        Ok(this)
    }
}

/// Runs one job and prints its line.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    json_line(&line(args)?);
    Ok(())
}

/// Runs one job and gives its line.
pub(crate) fn line(args: &[String]) -> Result<Json, String> {
    let options = Options::parse(args)?;
    let job = Job::named(&options.job, options.shapes)?;
    let mut own = process::Started::default();
    let broker = match &options.broker {
        Some(broker) => broker.clone(),
        None => own.broker()?,
    };
    let (engine, pid) = match &options.engine {
        Some(engine) => (engine.clone(), options.pid),
        None => own.engine().map(|(engine, pid)| (engine, Some(pid)))?,
    };
    let api = Api::new(&engine);
    let prefix = format!("bench/{}", std::process::id());
    let plan = Plan {
        broker: &broker,
        prefix: &prefix,
        pid,
        rate: options.rate,
        seconds: options.seconds,
        silence: options.silence,
    };
    let outcome = job.install(&api, &broker, &prefix).and_then(|()| load::run(&job, &plan));
    let dropped = job.dropped_by_engine(&api);
    // What was started for this run is simply ended.
    if options.engine.is_some() || job.leaves_traces() {
        job.remove(&api);
    }
    let mut line = outcome?;
    line["job"] = Json::from(options.job);
    line["dropped_by_engine"] = dropped.map_or(Json::Null, |(messages, _)| Json::from(messages));
    line["results_dropped_by_engine"] = dropped.map_or(Json::Null, |(_, results)| Json::from(results));
    Ok(line)
}
