//! Runs plans: shards, queues, operators, shared streams, checkpoints, metrics (`contracts.md`).
//!
//! Nothing here knows HTTP, SQL text, the catalog, the store or any connector by name.

pub mod op;
pub mod operator;
pub mod rule;

pub use rule::{ActionSpec, NodeSnapshot, Outcome, RuleSpec, RunOptions, Snapshot, SourceSpec, Topology};
