//! Runs plans: shards, queues, operators, shared streams, checkpoints, metrics (`contracts.md`).
//!
//! Nothing here knows HTTP, SQL text, the catalog, the store or any connector by name. A rule is compiled
//! ([`Runtime::compile`]: everything that can fail), launched onto a shard ([`Runtime::launch`]) and from then on
//! seen through its [`RunningRule`].

mod attach;
mod chain;
mod checkpoint;
mod compile;
mod egress;
mod ending;
mod event_groups;
mod ingest;
mod launch;
mod lookup;
mod metrics;
mod names;
pub mod op;
pub mod operator;
mod parts;
pub mod queue;
mod remote;
mod rig;
pub mod rule;
mod ruleset;
mod running;
mod runtime;
mod shard;
mod snapshot;
#[cfg(test)]
mod testing;
mod topology;
pub mod trace;
mod windows;

pub use compile::CompiledRule;
pub use egress::options::without_effect;
pub use egress::row::RowWriter;
pub use ending::{Ended, Ending, Tell};
pub use rig::{Rig, RigId, Sent};
pub use rule::{
    ActionSpec, CheckpointStatus, DrawnSink, Memory, NodeSnapshot, Outcome, RuleSpec, RunOptions, SourceSpec,
    Topology,
};
pub use running::RunningRule;
pub use runtime::{RunError, Runtime, RuntimeConfig};
pub use snapshot::{Entry, Offset, Snapshot, SnapshotStore};
