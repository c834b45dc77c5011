//! The harness against an engine and a broker in this process. No claim here depends on how fast the machine is: so few
//! rows go out that they fit into every queue, and a run ends when all results have come.

use serde_json::Value as Json;
use thalweg_server::{RunningServer, ServeOptions};

const NAMES: [&str; 10] = [
    "job",
    "offered",
    "delivered",
    "lost",
    "seconds",
    "cpu_s_per_million",
    "rss_mb",
    "p50_us",
    "p99_us",
    "p999_us",
];

/// An engine with its embedded broker.
struct Plant {
    runtime: tokio::runtime::Runtime,
    server: Option<RunningServer>,
    /// Holds its home until the end.
    _home: tempfile::TempDir,
}

impl Plant {
    fn start() -> Self {
        let home = tempfile::tempdir().expect("a temporary folder can be made");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads can be started");
        let variables = [("KUIPER__BASIC__RESTIP", "127.0.0.1"), ("KUIPER__BASIC__TIMEZONE", "UTC")];
        let options = ServeOptions {
            home: home.path().to_owned(),
            port: Some(0),
            data_port: Some(0),
            mqtt: Some(0),
            environment: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into_iter()
                .collect(),
            ..ServeOptions::default()
        };
        let server = runtime.block_on(thalweg_server::start(options)).expect("it starts");
        Self { runtime, server: Some(server), _home: home }
    }

    /// Runs a job of half a thousand rows within about a second.
    fn line(&self, job: &str, more: &[&str]) -> Json {
        let server = self.server.as_ref().expect("it runs until the end");
        let engine = format!("http://127.0.0.1:{}", server.port());
        let broker = format!("127.0.0.1:{}", server.mqtt_port().expect("it has a broker"));
        let pid = std::process::id().to_string();
        let args = ["--engine", &engine, "--broker", &broker, "--pid", &pid, "--job", job];
        let load = ["--rate", "500", "--seconds", "1", "--silence", "60"];
        let args: Vec<String> =
            [&args[..], &load, more].concat().iter().map(|arg| (*arg).to_owned()).collect();
        let line = super::line(&args).unwrap_or_else(|why| panic!("{job}: {why}"));
        let line: Json = serde_json::from_str(&line.to_string()).expect("a line of JSON");
        for name in NAMES {
            assert!(line.get(name).is_some(), "{name} is missing: {line}");
        }
        assert_eq!(line["job"], job);
        assert_eq!(line["offered"], 500, "{line}");
        assert_eq!((&line["lost"], &line["twice"]), (&0.into(), &0.into()), "{line}");
        line
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }
}

#[test]
fn every_result_of_a_filter_is_counted_whatever_the_shapes() {
    let plant = Plant::start();
    let line = plant.line("filter", &["--shapes", "20"]);
    // Temperatures go round from 10 to 99, humidity is below 80 for all 500 rows.
    let passing = (0..500).filter(|row| row % 90 + 10 > 50).count();
    assert_eq!(line["delivered"], passing, "{line}");
    assert!(line["p50_us"].as_u64() <= line["p999_us"].as_u64() && line["p50_us"].is_u64(), "{line}");
}

#[test]
fn results_of_windows_and_joins_account_for_every_row() {
    let plant = Plant::start();
    let line = plant.line("window", &[]);
    assert!(line["p50_us"].is_null() && line["delivered"].as_u64() >= Some(6), "{line}");
    assert_eq!(plant.line("join", &[])["delivered"], 250);
}

#[test]
fn every_row_comes_back_from_a_python_function_that_the_harness_installs() {
    let plant = Plant::start();
    let line = plant.line("udf", &[]);
    assert_eq!(line["delivered"], 500, "{line}");
    assert!(line["p50_us"].is_u64(), "{line}");
}

#[test]
fn three_hundred_rules_give_exactly_the_results_of_their_thresholds() {
    let plant = Plant::start();
    let line = plant.line("rules300", &[]);
    assert_eq!(line["delivered"], line["expected"], "{line}");
    assert!(line["expected"].as_u64() > Some(1_000), "{line}");
}

#[test]
fn what_is_not_there_is_refused_with_a_reason() {
    for (args, part) in [
        (["--job", "nothing"], "filter, project"),
        (["--engine", "http://127.0.0.1:1"], "--broker"),
        (["--rate", "fast"], "must be a number"),
        (["--speed", "1"], "unknown option"),
    ] {
        let why = super::line(&args.map(str::to_owned)).expect_err("it is refused");
        assert!(why.contains(part), "{args:?}: {why}");
    }
}
