//! Rules: their documents, their life, their status.

mod actor;
mod build;
mod cron;
mod definition;
mod entry;
mod explain;
mod filled;
mod graph;
mod hints;
mod inert;
mod options;
mod record;
mod rules;
mod run;
mod schedule;
mod state;
mod status;
mod trial;
mod zone;

pub(crate) use actor::blocking;
pub(crate) use build::without_meaning;
pub use build::{Builder, Built};
pub use definition::{Action, RuleDefinition};
pub use entry::{RuleEntry, View};
pub use options::RuleOptions;
pub use record::{Asks, Needs, Record, Shape, Shapes};
pub(crate) use rules::RulesConfig;
pub use rules::{Observed, Rules};
pub use run::{Ready, Run, Runner};
pub use state::{Effect, Phase, Signal, State, step};
pub use trial::{Place, Trials};
pub use zone::Zone;

#[cfg(test)]
mod life_tests;
#[cfg(test)]
mod tests;
