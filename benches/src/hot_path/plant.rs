//! A real engine between the bench's broker and itself: streams, rules, and loads of which every message is accounted for.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::broker::{Blast, FakeBroker, Pace};
use super::cpu::Meter;
use crate::e2e::http::Api;

const LIMIT: Duration = Duration::from_secs(60);

/// An engine, the process whose CPU time counts, and its broker.
pub(crate) struct Plant {
    pub(crate) api: Api,
    pub(crate) pid: u32,
    pub(crate) broker: FakeBroker,
}

/// How much is sent, and how fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) n: u64,
    pub(crate) pace: Pace,
}

impl Load {
    /// For people.
    pub(crate) fn pace(self) -> String {
        match self.pace {
            Pace::Free => String::new(),
            Pace::PerSecond(pace) => format!(", sent at {:.0} k/s", pace / 1e3),
        }
    }
}

/// What one load came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// Messages that were decoded and went through the rule.
    pub(crate) processed: u64,
    /// Messages, and results, that the engine dropped, and said so.
    pub(crate) dropped: u64,
    /// Results that were neither dropped and counted nor arrived.
    pub(crate) lost: u64,
    /// CPU of the engine, all threads.
    pub(crate) cpu: f64,
    /// Real time.
    pub(crate) seconds: f64,
}

impl Round {
    /// Messages per second of CPU.
    pub(crate) fn per_second(&self) -> f64 {
        self.processed as f64 / self.cpu
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Counters {
    /// Decoded.
    taken: u64,
    /// Dropped before that.
    missed: u64,
    /// Dropped anywhere.
    dropped: u64,
}

impl Plant {
    /// The engine at this address.
    pub(crate) fn new(engine: &str, pid: u32) -> Result<Self, String> {
        Ok(Self { api: Api::new(engine), pid, broker: FakeBroker::start()? })
    }

    /// A stream of the topic of the same name.
    pub(crate) fn stream(&self, name: &str, qos: u8, more: &str) -> Result<(), String> {
        self.split_stream(name, qos, more, 1)
    }

    /// The same over so many connections.
    pub(crate) fn split_stream(&self, name: &str, qos: u8, more: &str, split: usize) -> Result<(), String> {
        let mut extra = json!({"server": format!("tcp://{}", self.broker.address()), "qos": qos});
        if split > 1 {
            extra["split"] = split.into();
        }
        let extra = extra.to_string().replace('"', "\\\"");
        let sql = format!(
            "CREATE STREAM {name} () WITH (DATASOURCE=\"{name}\", FORMAT=\"json\", TYPE=\"mqtt\"{more}, EXTRA=\"{extra}\")"
        );
        self.api.expect("POST", "/streams", &json!({"sql": sql}).to_string()).map(drop)
    }

    /// Publishes to the bench's broker, one message a row.
    pub(crate) fn mqtt(&self) -> Json {
        let server = format!("tcp://{}", self.broker.address());
        json!({"mqtt": {"server": server, "topic": "out", "qos": 0, "sendSingle": true}})
    }

    /// A rule with one action.
    pub(crate) fn rule(&self, id: &str, sql: &str, action: &Json) -> Result<(), String> {
        let rule = json!({"id": id, "sql": sql, "actions": [action]});
        self.api.expect("POST", "/rules", &rule.to_string()).map(drop)
    }

    /// Waits until the engine reads the topic and the first message has gone through.
    pub(crate) fn connected(&self, rule: &str, blast: &mut Blast, topic: &str) -> Result<(), String> {
        self.connected_by(rule, blast, topic, 1)
    }

    /// The same for a stream over so many connections.
    pub(crate) fn connected_by(
        &self,
        rule: &str,
        blast: &mut Blast,
        topic: &str,
        split: usize,
    ) -> Result<(), String> {
        self.until("the engine does not subscribe", || Ok(self.broker.subscribers(topic) == split))?;
        self.round(rule, blast, Load { n: 500, pace: Pace::Free }, None).map(drop)
    }

    /// Sends so many messages and waits until the engine has dealt with all of them; `expected` results must arrive
    /// unless something is dropped.
    pub(crate) fn round(
        &self,
        rule: &str,
        blast: &mut Blast,
        load: Load,
        expected: Option<u64>,
    ) -> Result<Round, String> {
        let (before, published) = (self.counters(rule)?, self.broker.published());
        let (meter, started) = (Meter::start(self.pid), Instant::now());
        self.broker.blast(blast, load.n, load.pace)?;
        let mut after = before;
        self.until("messages are neither processed nor dropped", || {
            after = self.counters(rule)?;
            Ok(after.taken + after.missed >= before.taken + before.missed + load.n)
        })?;
        let seconds = started.elapsed().as_secs_f64();
        self.settled()?;
        let cpu = meter.seconds();
        let dropped = self.counters(rule)?.dropped - before.dropped;
        let missing = || expected.unwrap_or(0).saturating_sub(self.broker.published() - published);
        if dropped == 0 {
            // A sink may be slow; what never comes is told as lost.
            let _ = self.until("results are missing", || Ok(missing() == 0));
        }
        let lost = if dropped == 0 { missing() } else { 0 };
        Ok(Round { processed: after.taken - before.taken, dropped, lost, cpu, seconds })
    }

    /// How many messages a rule has taken so far.
    pub(crate) fn processed(&self, rule: &str) -> Result<u64, String> {
        self.counters(rule).map(|counters| counters.taken)
    }

    /// The load that fills so many seconds: free if the engine then slows the sender down, else at a pace at which it
    /// drops nothing, for what it costs to drop messages says nothing.
    pub(crate) fn load(&self, rule: &str, blast: &mut Blast, seconds: f64) -> Result<Load, String> {
        let mut load = Load { n: 5_000, pace: Pace::Free };
        for _ in 0..12 {
            let round = self.round(rule, blast, load, None)?;
            let per_second = round.processed as f64 / round.seconds;
            if round.dropped * 1_000 > load.n {
                let before = if let Pace::PerSecond(pace) = load.pace { pace } else { f64::INFINITY };
                let pace = (before / 1.5).min(per_second);
                load = Load { n: ((pace * 0.3) as u64).max(1_000), pace: Pace::PerSecond(pace) };
                continue;
            }
            let n = (per_second * seconds) as u64;
            if load.n * 2 >= n {
                return Ok(Load { n: n.max(1_000), ..load });
            }
            // A longer try: short ones fit into queues.
            load.n = n.min(load.n * 20);
        }
        Ok(load)
    }

    /// Waits until nothing has been published for a moment.
    pub(crate) fn settled(&self) -> Result<(), String> {
        let (mut seen, mut times) = (self.broker.published(), 0);
        self.until("results do not end", || {
            let now = self.broker.published();
            times = if now == seen { times + 1 } else { 0 };
            seen = now;
            Ok(times == 5)
        })
    }

    /// Of the rule's source and of all its nodes.
    fn counters(&self, rule: &str) -> Result<Counters, String> {
        let status = self.api.expect("GET", &format!("/rules/{rule}/status"), "")?;
        let status: Json = serde_json::from_str(&status).map_err(|why| format!("status: {why}"))?;
        if status["status"] != "running" {
            return Err(format!("rule {rule} is {}: {}", status["status"], status["message"]));
        }
        let mut counters = Counters::default();
        for (key, value) in status.as_object().into_iter().flatten() {
            let value = value.as_u64().unwrap_or(0);
            let is_source = key.starts_with("source_");
            if is_source && key.ends_with("_records_in_total") {
                counters.taken += value;
            }
            if key.ends_with("_dropped_total") {
                counters.dropped += value;
                counters.missed += if is_source { value } else { 0 };
            }
        }
        Ok(counters)
    }

    fn until(&self, complaint: &str, mut holds: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(10));
            if holds()? {
                return Ok(());
            }
        }
        Err(format!("{complaint} within {} s", LIMIT.as_secs()))
    }
}
