//! The façade: shards, the I/O runtime, and rules that are compiled and launched onto them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hashbrown::HashMap;
use thalweg_core::connector::Spawner;
use thalweg_core::registry::{Registry, Shared};
use thalweg_core::time::BoxFuture;
use thalweg_core::{Clock, Diagnostic, ErrorCode};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::attach::Streams;
use crate::compile::{CompileCx, CompiledRule, compile};
use crate::ingest::supervise::supervise;
use crate::launch::{Launched, NewSink, NewSource, launch};
use crate::lookup::Waiter;
use crate::op;
use crate::operator::RuleInfo;
use crate::rule::{Outcome, RuleSpec, Snapshot, Topology};
use crate::running::{Running, RunningRule, lock};
use crate::shard::Shard;
use crate::shard::inbox::{Control, Inbox};

/// Workers that one plugin host may keep busy. A rule stays on its worker, so a slow call holds up at most the rules
/// that share it.
const WORKERS_PER_HOST: usize = 4;

/// What a runtime needs.
#[derive(Clone)]
pub struct RuntimeConfig {
    /// Threads for streams and rules; at least one.
    pub shards: usize,
    /// Connectors and formats.
    pub registry: Arc<Registry>,
    /// What the connectors share.
    pub shared: Arc<Shared>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Relative paths start here.
    pub home: PathBuf,
    /// Where checkpoints go.
    pub snapshots: Arc<dyn SnapshotStore>,
}

/// Where checkpoints go; the engine implements it over its store, tests over a map.
pub trait SnapshotStore: Send + Sync {
    /// Stores a snapshot; the newest three of a rule are kept.
    ///
    /// # Errors
    /// Why it could not be stored.
    fn save(&self, rule: &str, snapshot: &Snapshot) -> Result<(), String>;

    /// The newest snapshot of a rule.
    ///
    /// # Errors
    /// Why the store cannot be read.
    fn newest(&self, rule: &str) -> Result<Option<Snapshot>, String>;

    /// Forgets a rule.
    ///
    /// # Errors
    /// Why the store cannot be written.
    fn remove(&self, rule: &str) -> Result<(), String>;
}

/// Why something cannot be run.
#[derive(Debug, Clone, Error)]
pub enum RunError {
    /// Threads cannot be started.
    #[error("cannot start threads: {0}")]
    Threads(String),
    /// The rule has ended.
    #[error("rule {0} is not running")]
    NotRunning(Arc<str>),
}

/// Runs rules.
pub struct Runtime {
    config: RuntimeConfig,
    streams: Streams,
    shards: Vec<Arc<Inbox>>,
    next_shard: AtomicUsize,
    /// Workers by plugin host.
    workers: Mutex<HashMap<Arc<str>, Vec<Arc<Inbox>>>>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    io: Handle,
    io_runtime: Mutex<Option<tokio::runtime::Runtime>>,
    is_over: AtomicBool,
}

impl Runtime {
    /// Starts the shards and the I/O runtime. Workers for blocking rules are started on demand.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn start(config: RuntimeConfig) -> Result<Arc<Self>, RunError> {
        // One worker: sockets on a work-stealing runtime cost up to twice the CPU per message (hot-path.md 6.2).
        let io_runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("thalweg-io")
            .enable_all()
            .build()
            .map_err(|error| RunError::Threads(error.to_string()))?;
        let mut threads = Vec::new();
        let mut shards = Vec::new();
        for number in 0..config.shards.max(1) {
            let (inbox, thread) = start_shard(&config.clock, format!("thalweg-shard-{number}"))?;
            shards.push(inbox);
            threads.push(thread);
        }
        Ok(Arc::new(Self {
            streams: Streams::new(Arc::clone(&config.clock)),
            config,
            shards,
            next_shard: AtomicUsize::new(0),
            workers: Mutex::default(),
            threads: Mutex::new(threads),
            io: io_runtime.handle().clone(),
            io_runtime: Mutex::new(Some(io_runtime)),
            is_over: AtomicBool::new(false),
        }))
    }

    /// Builds everything that can fail: operators, sources, sinks, encoders. Starts nothing.
    ///
    /// # Errors
    /// What the rule asks for and cannot have.
    pub fn compile(&self, spec: RuleSpec) -> Result<CompiledRule, Diagnostic> {
        let info = rule_info(&spec, &self.config.clock)?;
        let cx = CompileCx {
            registry: &self.config.registry,
            shared: &self.config.shared,
            clock: &self.config.clock,
            home: &self.config.home,
            spawner: Arc::new(IoSpawner(self.io.clone())),
            waiter: Waiter::Io(self.io.clone()),
            operators: op::build,
        };
        // Connectors may look for the runtime while they are built.
        let _guard = self.io.enter();
        compile(spec, info, &cx)
    }

    /// Starts a rule: sinks first, then the operators join their streams, then sources. Never waits for connections;
    /// what goes wrong from here on is the rule's outcome.
    pub fn launch(self: &Arc<Self>, rule: CompiledRule, restore: Option<Snapshot>) -> RunningRule {
        let (id, options) = (Arc::clone(&rule.info.id), rule.spec.options.clone());
        let topology = rule.topology();
        let own_nodes =
            rule.scans.iter().filter(|scan| !scan.scan.stream.shared).map(|scan| Arc::clone(&scan.node));
        let own_nodes = own_nodes.collect();
        let home = match self.place(&rule) {
            Ok(home) => home,
            Err(error) => return self.failed(id, topology, &error.to_string()),
        };
        let launched = match launch(rule, restore, (&home.0, &home.1), &self.streams, self.config.clock.now())
        {
            Ok(launched) => launched,
            Err(diagnostic) => return self.failed(id, topology, &diagnostic.to_string()),
        };
        let deliveries = launched.sinks.iter().map(|sink| Arc::clone(&sink.delivery)).collect();
        let Launched { key, home, nodes, topology, outcome, sources, sinks, own, shared } = launched;
        let sinks = sinks.into_iter().filter_map(|sink| self.start_sink(sink, key, &home)).collect();
        let mut source_tasks = Vec::new();
        for source in sources {
            let is_shared = source.is_shared;
            // The task of a shared stream ends with the stream, not with the rule that happened to start it.
            source_tasks.extend(self.start_source(source).filter(|_| !is_shared));
        }
        let running = Arc::new(Running {
            runtime: Arc::clone(self),
            id,
            key,
            home,
            nodes,
            topology,
            outcome,
            own,
            own_nodes,
            streams: Mutex::new(shared),
            deliveries,
            sources: Mutex::new(source_tasks),
            sinks: Mutex::new(sinks),
            checkpoints: Mutex::default(),
            save_before_stop: options.save_before_stop && options.qos > 0,
            is_stopping: AtomicBool::new(false),
        });
        if options.qos > 0 {
            let interval =
                if options.checkpoint_interval > 0 { options.checkpoint_interval } else { 300_000 };
            let often = Arc::clone(&running).checkpoint_often(Duration::from_millis(interval as u64));
            *lock(&running.checkpoints) = Some(self.io.spawn(often));
        }
        RunningRule { shared: running }
    }

    /// Stops all threads. Rules are to be stopped before; what still runs is given up.
    pub async fn shutdown(&self) {
        if self.is_over.swap(true, SeqCst) {
            return;
        }
        let workers: Vec<Arc<Inbox>> = lock(&self.workers).drain().flat_map(|(_, workers)| workers).collect();
        self.shards.iter().chain(&workers).for_each(|inbox| inbox.send(Control::Shutdown));
        // A worker may hang in a plugin, so only the shards are waited for.
        let threads = std::mem::take(&mut *lock(&self.threads));
        let wait =
            tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        let _ = wait.await;
        if let Some(runtime) = lock(&self.io_runtime).take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn now(&self) -> thalweg_core::Timestamp {
        self.config.clock.now()
    }

    pub(crate) fn streams(&self) -> &Streams {
        &self.streams
    }

    pub(crate) fn snapshots(&self) -> &Arc<dyn SnapshotStore> {
        &self.config.snapshots
    }

    /// The shard of a rule, and the one for shared streams that it starts: a worker if the rule blocks, else where
    /// its first shared stream runs, else the next in turn.
    fn place(&self, rule: &CompiledRule) -> Result<(Arc<Inbox>, Arc<Inbox>), RunError> {
        let mut shared = rule.scans.iter().filter(|scan| scan.scan.stream.shared);
        let found = shared.find_map(|scan| self.streams.home_of(&scan.scan.stream.name));
        let shard = found.unwrap_or_else(|| {
            let next = self.next_shard.fetch_add(1, SeqCst);
            Arc::clone(&self.shards[next % self.shards.len()])
        });
        if !rule.is_blocking() {
            return Ok((Arc::clone(&shard), shard));
        }
        let host = rule.spec.plan.hosts.first().cloned().unwrap_or_else(|| Arc::from("lookup"));
        Ok((self.worker(&host)?, shard))
    }

    fn worker(&self, host: &Arc<str>) -> Result<Arc<Inbox>, RunError> {
        let mut workers = lock(&self.workers);
        let pool = workers.entry(Arc::clone(host)).or_default();
        if pool.len() < WORKERS_PER_HOST {
            let (inbox, _detached) =
                start_shard(&self.config.clock, format!("thalweg-{host}-{}", pool.len()))?;
            pool.push(Arc::clone(&inbox));
            return Ok(inbox);
        }
        let next = self.next_shard.fetch_add(1, SeqCst);
        Ok(Arc::clone(&pool[next % pool.len()]))
    }

    fn start_source(&self, new: NewSource) -> Option<JoinHandle<()>> {
        let (factory, first) = new.source?;
        let clock = Arc::clone(&self.config.clock);
        Some(self.io.spawn(async move {
            if let Err(why) = supervise(factory, Some(first), Arc::clone(&new.inlet), clock).await {
                new.inbox.send(Control::FailStream { stream: new.stream, why });
            }
        }))
    }

    fn start_sink(
        &self,
        new: NewSink,
        rule: crate::shard::inbox::Key,
        home: &Arc<Inbox>,
    ) -> Option<JoinHandle<()>> {
        let sink = new.sink?;
        let (clock, home) = (Arc::clone(&self.config.clock), Arc::clone(home));
        Some(self.io.spawn(async move {
            if let Err(error) = new.delivery.run(sink, clock).await {
                home.send(Control::FailRule { rule, why: error.message });
            }
        }))
    }

    /// A rule that did not come up.
    fn failed(self: &Arc<Self>, id: Arc<str>, topology: Topology, why: &str) -> RunningRule {
        let outcome = Arc::new(tokio::sync::watch::Sender::new(Outcome::Failed(Arc::from(why))));
        let shared = Arc::new(Running {
            runtime: Arc::clone(self),
            id,
            key: self.streams.key(),
            home: Arc::clone(&self.shards[0]),
            nodes: Vec::new(),
            topology,
            outcome,
            own: Vec::new(),
            own_nodes: Vec::new(),
            streams: Mutex::default(),
            deliveries: Vec::new(),
            sources: Mutex::default(),
            sinks: Mutex::default(),
            checkpoints: Mutex::default(),
            save_before_stop: false,
            is_stopping: AtomicBool::new(true),
        });
        RunningRule { shared }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.shards.iter().for_each(|inbox| inbox.send(Control::Shutdown));
        lock(&self.workers).values().flatten().for_each(|inbox| inbox.send(Control::Shutdown));
        // Dropping a runtime waits for its tasks, which an async caller must not do.
        if let Some(runtime) = lock(&self.io_runtime).take() {
            runtime.shutdown_background();
        }
    }
}

/// What is the same for all operators of a rule.
pub(crate) fn rule_info(spec: &RuleSpec, clock: &Arc<dyn Clock>) -> Result<RuleInfo, Diagnostic> {
    let zone = spec.options.zone.parse().map_err(|_| {
        Diagnostic::new(ErrorCode::Executor, format!("unknown time zone \"{}\"", spec.options.zone))
    })?;
    Ok(RuleInfo {
        id: Arc::clone(&spec.id),
        started: clock.now(),
        zone,
        send_error: spec.options.send_error,
        instance: Arc::clone(&spec.options.instance),
        clock: Arc::clone(clock),
    })
}

fn start_shard(
    clock: &Arc<dyn Clock>,
    name: String,
) -> Result<(Arc<Inbox>, std::thread::JoinHandle<()>), RunError> {
    let inbox = Arc::new(Inbox::default());
    let shard = Shard::new(Arc::clone(clock), Arc::clone(&inbox));
    let thread = std::thread::Builder::new().name(name).spawn(move || shard.run());
    thread.map(|thread| (inbox, thread)).map_err(|error| RunError::Threads(error.to_string()))
}

struct IoSpawner(Handle);

impl Spawner for IoSpawner {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }
}

#[cfg(test)]
mod tests;
