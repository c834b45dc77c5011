//! The yardstick: the same jobs done the obvious way, a map of `serde_json` for each message and look-ups by name, in one
//! thread and without any socket, queue, status or window clock.

use std::collections::HashMap;
use std::hint::black_box;

use serde_json::{Map, Value as Json, json};

use super::cpu::own_seconds;

type Row = Map<String, Json>;

/// One of the jobs.
#[derive(Clone, Copy)]
pub(crate) enum Plain {
    /// Two comparisons, one computed field, a new object.
    Filter,
    /// One comparison, the object as it came.
    Pass,
    /// Average and count by key.
    Window,
    /// So many thresholds, one message for each that is passed.
    Rules(usize),
}

/// CPU seconds per message.
pub(crate) fn seconds_per_message(job: Plain, payloads: &[String]) -> f64 {
    let mut run = Run { out: Vec::new(), groups: HashMap::new() };
    let mut rounds: Vec<f64> = (0..5).map(|_| round(job, payloads, &mut run)).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[2]
}

struct Run {
    out: Vec<u8>,
    groups: HashMap<String, (f64, u64)>,
}

/// About 50 ms of work.
fn round(job: Plain, payloads: &[String], run: &mut Run) -> f64 {
    let (started, mut n) = (own_seconds(), 0);
    loop {
        for payload in (n..n + 500).map(|row| &payloads[row % payloads.len()]) {
            run.out.clear();
            if black_box(message(job, payload, run)).is_none() {
                return f64::NAN;
            }
        }
        n += 500;
        let used = own_seconds() - started;
        if used > 0.05 {
            return used / n as f64;
        }
    }
}

fn message(job: Plain, payload: &str, run: &mut Run) -> Option<usize> {
    let row: Row = serde_json::from_str(payload).ok()?;
    let temperature = row.get("temperature")?.as_f64()?;
    match job {
        Plain::Filter => {
            let humidity = row.get("humidity")?;
            if temperature > 50.0 && humidity.as_f64()? < 80.0 {
                let result = json!({"f": temperature * 1.8 + 32.0, "humidity": humidity});
                serde_json::to_writer(&mut run.out, &result).ok()?;
            }
        }
        Plain::Pass => {
            if temperature > 50.0 {
                serde_json::to_writer(&mut run.out, &row).ok()?;
            }
        }
        Plain::Window => {
            let device = row.get("device")?.as_str()?.to_owned();
            let group = run.groups.entry(device).or_default();
            *group = (group.0 + temperature, group.1 + 1);
        }
        Plain::Rules(n) => {
            for rule in 0..n {
                // Each rule looks its column up for itself.
                if row.get("temperature")?.as_f64()? > super::threshold(rule, n) {
                    let result =
                        json!({"temperature": row.get("temperature"), "humidity": row.get("humidity")});
                    serde_json::to_writer(&mut run.out, &result).ok()?;
                }
            }
        }
    }
    Some(run.out.len())
}
