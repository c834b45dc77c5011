//! What the life of a rule needs of the runtime, so that it can be tested without one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use thalweg_core::Diagnostic;
use thalweg_runtime::trace::Traces;
use thalweg_runtime::{
    CheckpointStatus, CompiledRule, Memory, NodeSnapshot, RuleSpec, RunningRule, Runtime, Snapshot, Tell,
    Topology,
};

/// How long an answer waits for what a rule's thread has to say.
const PATIENCE: Duration = Duration::from_millis(200);

/// Builds runs.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Builds everything that can fail; starts nothing.
    ///
    /// # Errors
    /// A source, sink or operator that cannot be built.
    fn compile(&self, spec: RuleSpec) -> Result<Box<dyn Ready>, Diagnostic>;

    /// Lets the sources of shared streams wait, or go.
    fn hold_shared(&self, waits: bool) {
        let _ = waits;
    }

    /// Resolves when the sources of all rules that were launched have had their first turn, in which they subscribe.
    async fn sources_begun(&self) {}

    /// Ends everything that is left.
    async fn shutdown(&self);

    /// The traces of all rules.
    fn traces(&self) -> Arc<Traces> {
        Arc::new(Traces::new(0))
    }
}

/// A rule that can be launched.
pub trait Ready: Send {
    /// Its graph.
    fn topology(&self) -> Topology;

    /// Starts it, from a checkpoint if there is one. Does not wait for connections.
    fn launch(self: Box<Self>, restore: Option<Snapshot>) -> Arc<dyn Run>;
}

/// A rule that was launched.
#[async_trait]
pub trait Run: Send + Sync {
    /// The metrics of its nodes: sources, operators, sinks.
    fn metrics(&self) -> Vec<NodeSnapshot>;

    /// The time that threads have spent for it.
    fn cpu(&self) -> Duration {
        Duration::ZERO
    }

    /// Its memory; `None` when its thread does not answer in time.
    async fn memory(&self) -> Option<Memory> {
        Some(Memory::default())
    }

    /// How its checkpoints fare; `None` for a rule without.
    fn checkpoints(&self) -> Option<CheckpointStatus> {
        None
    }

    /// Traces it from now on, or no longer.
    fn trace(&self, on: bool) {
        let _ = on;
    }

    /// Whether it is traced.
    fn is_traced(&self) -> bool {
        false
    }

    /// Has `tell` called when it no longer runs.
    fn when_ended(&self, tell: Tell);

    /// It will not come back: nothing is to be kept for it elsewhere. Called before it is stopped.
    fn part(&self) {}

    /// Stops it gracefully within `grace`.
    async fn stop(&self, grace: Duration);
}

/// The real one.
#[async_trait]
impl Runner for Arc<Runtime> {
    fn compile(&self, spec: RuleSpec) -> Result<Box<dyn Ready>, Diagnostic> {
        let rule = Runtime::compile(self, spec)?;
        Ok(Box::new(Compiled { runtime: Arc::clone(self), rule }))
    }

    fn hold_shared(&self, waits: bool) {
        Runtime::hold_shared(self, waits);
    }

    async fn sources_begun(&self) {
        Runtime::sources_begun(self).await;
    }

    async fn shutdown(&self) {
        Runtime::shutdown(self).await;
    }

    fn traces(&self) -> Arc<Traces> {
        Arc::clone(Runtime::traces(self))
    }
}

struct Compiled {
    runtime: Arc<Runtime>,
    rule: CompiledRule,
}

impl Ready for Compiled {
    fn topology(&self) -> Topology {
        self.rule.topology()
    }

    fn launch(self: Box<Self>, restore: Option<Snapshot>) -> Arc<dyn Run> {
        Arc::new(self.runtime.launch(self.rule, restore))
    }
}

#[async_trait]
impl Run for RunningRule {
    fn metrics(&self) -> Vec<NodeSnapshot> {
        RunningRule::metrics(self)
    }

    fn cpu(&self) -> Duration {
        RunningRule::cpu(self)
    }

    async fn memory(&self) -> Option<Memory> {
        RunningRule::memory(self, PATIENCE).await
    }

    fn checkpoints(&self) -> Option<CheckpointStatus> {
        RunningRule::checkpoints(self)
    }

    fn trace(&self, on: bool) {
        RunningRule::trace(self, on);
    }

    fn is_traced(&self) -> bool {
        RunningRule::is_traced(self)
    }

    fn when_ended(&self, tell: Tell) {
        self.ending().tell(tell);
    }

    fn part(&self) {
        RunningRule::part(self);
    }

    async fn stop(&self, grace: Duration) {
        RunningRule::stop(self, grace).await;
    }
}
