//! What the demo prints.

use std::io::Write;

use serde_json::Value as Json;

/// Prints to standard output; a closed pipe is no reason to panic.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// The head of the table of results.
pub(super) fn head() {
    line("");
    line("  pump      RMS m/s²   peak Hz   kurtosis   readings   verdict");
    line("  ────────  ─────────  ────────  ─────────  ─────────  ────────────────────");
}

/// One row of the table of results.
pub(super) fn result(row: &Json) {
    let number = |key: &str| row[key].as_f64();
    let shown = |key: &str, width: usize, decimals: usize| match number(key) {
        Some(value) => format!("{value:>width$.decimals$}"),
        None => format!("{:>width$}", "–"),
    };
    line(&format!(
        "  {:<8}  {}  {}  {}  {}  {}",
        row["pump"].as_str().unwrap_or("?"),
        shown("rms", 9, 2),
        shown("peak_hz", 8, 1),
        shown("kurtosis", 9, 1),
        shown("readings", 9, 0),
        verdict(number("rms"), number("kurtosis"))
    ));
}

/// Rules of thumb: strikes of a worn bearing raise the kurtosis above 4 (3 is noise, 1.5 a sine); an unbalanced
/// shaft raises the RMS.
fn verdict(rms: Option<f64>, kurtosis: Option<f64>) -> &'static str {
    match (rms, kurtosis) {
        (_, Some(kurtosis)) if kurtosis > 4.0 => "bearing: look at it",
        (Some(rms), _) if rms > 1.5 => "out of balance",
        (Some(_), _) => "fine",
        _ => "",
    }
}

/// One row of the table without Python.
pub(super) fn plain_result(row: &Json) {
    let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
    line(&format!(
        "  {:<8}  {:>7.1} °C on average  {:>7.2} m/s² at most  {:>5} readings",
        row["pump"].as_str().unwrap_or("?"),
        number("temp"),
        number("peak"),
        number("readings")
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_rules_of_thumb() {
        assert_eq!(verdict(Some(0.8), Some(1.6)), "fine");
        assert_eq!(verdict(Some(2.8), Some(1.5)), "out of balance");
        assert_eq!(verdict(Some(1.9), Some(7.0)), "bearing: look at it");
    }
}
