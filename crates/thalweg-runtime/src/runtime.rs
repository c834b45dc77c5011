//! The façade of this crate. Signatures are the contract with `thalweg-engine`; bodies are written by the runtime.
//!
//! ```text
//! impl Runtime {
//!     /// Starts the shards (threads) and the I/O runtime. `blocking` hosts get workers on demand.
//!     pub fn start(config: RuntimeConfig) -> Result<Arc<Runtime>, RunError>;
//!     /// Builds everything fallible: operators, sources, sinks, templates, encoders. Starts nothing.
//!     pub fn compile(&self, spec: RuleSpec) -> Result<CompiledRule, Diagnostic>;
//!     /// Starts it: sinks first, then the suffix joins its streams, then sources. Never waits for connections.
//!     pub fn launch(self: &Arc<Self>, rule: CompiledRule, restore: Option<Snapshot>) -> RunningRule;
//!     /// Stops all shards after their rules.
//!     pub async fn shutdown(&self);
//! }
//! pub struct RuntimeConfig { pub shards: usize, pub registry: Arc<Registry>, pub shared: Arc<Shared>,
//!     pub clock: Arc<dyn Clock>, pub home: PathBuf, pub snapshots: Arc<dyn SnapshotStore> }
//! /// Where checkpoints go; the engine implements it over its store, tests over a map.
//! pub trait SnapshotStore: Send + Sync {
//!     fn save(&self, rule: &str, snapshot: &Snapshot) -> Result<(), String>;
//!     fn newest(&self, rule: &str) -> Result<Option<Snapshot>, String>;
//!     fn remove(&self, rule: &str) -> Result<(), String>;
//! }
//! impl CompiledRule { pub fn topology(&self) -> Topology; }
//! impl RunningRule {
//!     pub fn metrics(&self) -> Vec<NodeSnapshot>;        // sources, operators, sinks in topology order
//!     pub fn topology(&self) -> Topology;
//!     pub fn outcome(&self) -> tokio::sync::watch::Receiver<Outcome>;
//!     /// Graceful: intake closed, optional state save, drained, at most `grace`.
//!     pub async fn stop(&self, grace: Duration);
//!     pub async fn checkpoint(&self) -> Result<Snapshot, RunError>;
//! }
//! ```
