//! Random input for what the outside can reach: SQL text, expressions over rows, windows, JSON, data templates, MQTT.
//!
//! A target draws an input from [`Choices`] and checks it; the rest is here: seeds, time, a watchdog, shrinking. Every
//! input has a number, so `--target window --seed 1 --at 4711` repeats one, and a failing one is shrunk by drawing it
//! again from fewer and smaller choices.
//!
//! Why not cargo-fuzz: it needs a nightly compiler for its coverage counters, and this project builds on stable. These
//! inputs are made by grammars instead, which reach deeper than mutated bytes do in the same time.

mod choices;
mod corpus;
mod expr;
mod grammar;
mod json;
mod mqtt;
mod rows;
mod rule;
mod search;
mod shared;
mod sql;
mod template;
mod traffic;
mod window;
mod world;

pub use choices::Choices;
pub use search::{Finding, Outcome, Search, search};

/// One input, drawn and not yet checked.
pub trait Input: Send {
    /// What it is, for people.
    fn text(&self) -> String;

    /// What is wrong with how it is treated; a panic is found by whoever calls this.
    ///
    /// # Errors
    /// The difference, or what was expected.
    fn check(&self) -> Result<(), String>;
}

/// What is tried.
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// What must hold.
    pub claim: &'static str,
    /// Makes one input.
    pub draw: fn(&mut Choices) -> Box<dyn Input>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    sql::TARGET,
    expr::TARGET,
    shared::TARGET,
    window::TARGET,
    json::TARGET,
    template::TARGET,
    mqtt::TARGET,
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The same inputs on every machine, as many as a debug build tries in a few seconds.
    fn short(name: &str, inputs: u64) {
        let target = TARGETS.iter().find(|target| target.name == name).expect("the target exists");
        let search =
            Search { seed: 1, first: 0, inputs, time: None, patience: Duration::from_secs(60), note: None };
        let outcome = super::search(target, &search);
        let found: Vec<String> = outcome.findings.iter().map(|finding| finding.describe(target, 1)).collect();
        assert!(found.is_empty(), "{}", found.join("\n\n"));
        assert_eq!(outcome.inputs, inputs);
    }

    #[test]
    fn sql_text_of_any_kind_is_parsed_planned_and_printed_or_refused_with_a_place() {
        short("sql", 3_000);
    }

    #[test]
    fn expressions_give_the_same_row_by_row_in_batches_and_without_optimiser() {
        short("expr", 500);
    }

    #[test]
    fn what_is_computed_once_changes_neither_results_nor_counts() {
        short("shared", 150);
    }

    #[test]
    fn windows_give_the_same_in_any_batch_shared_and_restored() {
        short("window", 150);
    }

    #[test]
    fn json_is_read_as_serde_json_reads_it_and_written_so_that_it_reads_back() {
        short("json", 5_000);
    }

    #[test]
    fn templates_of_any_kind_are_rendered_or_refused() {
        short("template", 3_000);
    }

    #[test]
    fn mqtt_packets_of_any_kind_are_read_or_refused_and_buffers_hold_what_came() {
        short("mqtt", 5_000);
    }
}
