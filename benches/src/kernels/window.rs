//! Windows below aggregates in both forms, on whole rules: rows folded as they arrive, and rows kept until the window
//! closes. The time of decoding is in both.

use thalweg_plan::PlanOptions;

use super::pipeline::{spec, turns};
use crate::report::Report;

/// Rows that arrive in 100 ms.
const ROWS: usize = 256;

const FIELDS: &str = "avg(temperature) AS mean, max(humidity) AS most, count(*) AS n";

/// All windows.
pub(crate) fn run(report: &Report) {
    let row = |row: usize| {
        let (temperature, humidity) = (row % 90 + 10, row % 80 + 10);
        format!(
            "{{\"device\":\"dev-{:02}\",\"temperature\":{temperature},\"humidity\":{humidity}}}",
            row % 100
        )
    };
    let payloads: Vec<String> = (0..ROWS).map(row).collect();
    for (name, sql) in [
        (
            "tumbling_100_keys",
            format!("SELECT device, {FIELDS} FROM demo GROUP BY device, TUMBLINGWINDOW(ss, 10)"),
        ),
        (
            "hopping_100_keys",
            format!("SELECT device, {FIELDS} FROM demo GROUP BY device, HOPPINGWINDOW(ss, 10, 1)"),
        ),
        (
            "count_100_keys",
            format!("SELECT device, {FIELDS} FROM demo GROUP BY device, COUNTWINDOW(10000, 1000)"),
        ),
        ("sliding", format!("SELECT {FIELDS} FROM demo GROUP BY SLIDINGWINDOW(ss, 1)")),
        (
            "sliding_when",
            format!(
                "SELECT device, {FIELDS} FROM demo GROUP BY device, SLIDINGWINDOW(ss, 10) OVER (WHEN humidity > 85)"
            ),
        ),
    ] {
        for (form, disabled) in [("folded", None), ("kept", Some("incrementalWindow".to_owned()))] {
            let options =
                PlanOptions { disabled_passes: disabled.into_iter().collect(), ..PlanOptions::default() };
            let rules = spec("rule".to_owned(), &sql, false, &options).into_iter().collect();
            turns(report, &format!("window_{name}_{form}"), rules, &payloads, |rig| rig);
        }
    }
}
