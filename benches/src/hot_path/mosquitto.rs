//! Behind a real broker that is saturated: what the engine costs, and who loses what.

use serde_json::Value as Json;

use super::{Sheet, median};
use crate::e2e;
use crate::e2e::process::Started;

/// The filter job as fast as Mosquitto takes it, three times.
pub(crate) fn run(sheet: &mut Sheet) -> Result<(), String> {
    if !sheet.wants("mosquitto_cpu_s_per_million") {
        return Ok(());
    }
    let mut own = Started::default();
    let broker = own.broker()?;
    let (engine, pid) = own.engine()?;
    let pid = pid.to_string();
    let args = ["--engine", &engine, "--broker", &broker, "--pid", &pid, "--job", "filter", "--seconds", "3"];
    let args = args.map(str::to_owned);
    let lines = (0..3).map(|_| e2e::line(&args)).collect::<Result<Vec<Json>, String>>()?;
    let of = |key: &str| lines.iter().map(|line| line[key].as_f64().unwrap_or(f64::NAN)).collect::<Vec<_>>();
    let sum = |key: &str| of(key).iter().sum::<f64>();
    let note = format!(
        "{:.0} k/s offered; lost {:.0} of {:.0}; dropped by engine {:.0}, by broker {:.0}",
        median(of("offered_per_s").into_iter()) / 1e3,
        sum("lost"),
        sum("expected"),
        sum("dropped_by_engine") + sum("results_dropped_by_engine"),
        sum("dropped_by_broker")
    );
    sheet.figure("mosquitto_cpu_s_per_million", median(of("cpu_s_per_million").into_iter()), &note);
    sheet.extra("mosquitto_offered_per_s", median(of("offered_per_s").into_iter()), "msg/s");
    for (name, key) in [
        ("mosquitto_lost", "lost"),
        ("mosquitto_dropped_by_engine", "dropped_by_engine"),
        ("mosquitto_results_dropped_by_engine", "results_dropped_by_engine"),
        ("mosquitto_dropped_by_broker", "dropped_by_broker"),
    ] {
        sheet.extra(name, sum(key), "rows");
    }
    Ok(())
}
