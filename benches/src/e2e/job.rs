//! The jobs: a stream, a rule, and the rows that go in.

use std::time::{Duration, Instant};

use serde_json::json;

use super::http;
use super::mqtt::{Receiver, Sender};

/// One job.
pub(crate) struct Job {
    sql: &'static str,
    /// Whether a row with these two readings gives a message.
    passes: fn(u64, u64) -> bool,
    with_times: bool,
}

const STREAM: &str = "bench_in";
const RULE: &str = "bench_rule";

impl Job {
    /// The job of this name.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "filter" => Self {
                sql: "SELECT temperature*1.8+32 AS f, humidity, t FROM bench_in WHERE temperature > 50 AND humidity < 80",
                passes: |temperature, humidity| temperature > 50 && humidity < 80,
                with_times: true,
            },
            "project" => Self {
                sql: "SELECT temperature*1.8+32 AS f, humidity, t FROM bench_in",
                passes: |_, _| true,
                with_times: true,
            },
            "window" => Self {
                sql: "SELECT humidity, avg(temperature) AS t1, count(*) AS c FROM bench_in GROUP BY humidity, TUMBLINGWINDOW(ss, 1)",
                passes: |_, _| false,
                with_times: false,
            },
            other => return Err(format!("unknown job {other}: filter, project or window")),
        })
    }

    pub(crate) fn input_topic(&self) -> &'static str {
        "bench/in"
    }

    pub(crate) fn output_topic(&self) -> &'static str {
        "bench/out"
    }

    /// Creates stream and rule.
    pub(crate) fn install(&self, engine: &str, broker: &str) -> Result<(), String> {
        self.remove(engine);
        let server = format!("tcp://{broker}");
        let extra = json!({"server": server, "qos": 0}).to_string().replace('"', "\\\"");
        let ddl = format!(
            "CREATE STREAM {STREAM} () WITH (DATASOURCE=\"{}\", FORMAT=\"JSON\", TYPE=\"mqtt\", EXTRA=\"{extra}\")",
            self.input_topic()
        );
        http::expect(engine, "POST", "/streams", &json!({"sql": ddl}).to_string())?;
        let action =
            json!({"mqtt": {"server": server, "topic": self.output_topic(), "qos": 0, "sendSingle": true}});
        let rule = json!({"id": RULE, "sql": self.sql, "actions": [action]});
        http::expect(engine, "POST", "/rules", &rule.to_string()).map(drop)
    }

    /// What the engine says it dropped, over all nodes of the rule: the rest of what is lost was lost by the broker.
    pub(crate) fn dropped_by_engine(&self, engine: &str) -> Option<u64> {
        let status = http::expect(engine, "GET", &format!("/rules/{RULE}/status"), "").ok()?;
        let status: serde_json::Value = serde_json::from_str(&status).ok()?;
        let counters = status.as_object()?.iter().filter(|(key, _)| key.ends_with("_dropped_total"));
        Some(counters.filter_map(|(_, count)| count.as_u64()).sum())
    }

    /// Removes them again; missing ones are fine.
    pub(crate) fn remove(&self, engine: &str) {
        let _ = http::call(engine, "DELETE", &format!("/rules/{RULE}"), "");
        let _ = http::call(engine, "DELETE", &format!("/streams/{STREAM}"), "");
    }

    /// Sends single rows until the first result is there, so that connecting is not measured.
    pub(crate) fn warm_up(&self, sender: &mut Sender, receiver: &Receiver) -> Result<(), String> {
        let started = Instant::now();
        while receiver.delivered() == 0 {
            if started.elapsed() > Duration::from_secs(15) {
                return Err("no result within 15 s; is the rule connected?".to_owned());
            }
            self.push(sender, 45, receiver.micros());
            sender.flush()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        // What is still under way belongs to the warm-up.
        std::thread::sleep(Duration::from_millis(500));
        Ok(())
    }

    /// Adds row `number` to the sender's batch; true when it must give a message.
    pub(crate) fn push(&self, sender: &mut Sender, number: u64, micros: u64) -> bool {
        let (temperature, humidity) = (number % 90 + 10, number / 90 % 90 + 10);
        let payload = if self.with_times {
            format!("{{\"temperature\": {temperature}, \"humidity\": {humidity}, \"t\":{micros}}}")
        } else {
            format!("{{\"temperature\": {temperature}, \"humidity\": {humidity}}}")
        };
        sender.push(payload.as_bytes());
        (self.passes)(temperature, humidity)
    }
}
