//! The façade: shards, the I/O runtime, and rules that are compiled and launched onto them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hashbrown::HashMap;
use thalweg_core::connector::Spawner;
use thalweg_core::polled::Poller;
use thalweg_core::registry::{Registry, Shared};
use thalweg_core::time::BoxFuture;
use thalweg_core::{Clock, Diagnostic, ErrorCode, Timestamp};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::attach::{Streams, known_as};
use crate::checkpoint::{Coordinator, Subject};
use crate::compile::{CompileCx, CompiledRule, compile};
use crate::ending::Ending;
use crate::ingest::beginning::Beginnings;
use crate::ingest::supervise::supervise;
use crate::launch::{Ground, Launched, NewSink, NewSource, fits, launch};
use crate::lookup::Waiter;
use crate::metrics::Beside;
use crate::op;
use crate::operator::RuleInfo;
use crate::rule::{CheckpointStatus, Outcome, RuleSpec};
use crate::running::{Running, RunningRule, lock};
use crate::shard::Shard;
use crate::shard::inbox::{Control, Inbox};
use crate::shard::poll::System;
use crate::snapshot::{Snapshot, SnapshotStore};
use crate::trace::Traces;

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
    /// Tells this engine from others, the same at every start; part of the names of sessions at brokers.
    pub instance: Arc<str>,
    /// Where checkpoints go.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// How many traces are kept.
    pub traces: usize,
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
    coordinator: Coordinator,
    shards: Vec<Arc<Inbox>>,
    next_shard: AtomicUsize,
    /// Workers by plugin host.
    workers: Mutex<HashMap<Arc<str>, Vec<Arc<Inbox>>>>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    io: Handle,
    io_runtime: Mutex<Option<tokio::runtime::Runtime>>,
    is_over: AtomicBool,
    beginnings: Beginnings,
    traces: Arc<Traces>,
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
            coordinator: Coordinator::start(
                io_runtime.handle(),
                Arc::clone(&config.snapshots),
                Arc::clone(&config.clock),
            ),
            traces: Arc::new(Traces::new(config.traces)),
            config,
            shards,
            next_shard: AtomicUsize::new(0),
            workers: Mutex::default(),
            threads: Mutex::new(threads),
            io: io_runtime.handle().clone(),
            io_runtime: Mutex::new(Some(io_runtime)),
            is_over: AtomicBool::new(false),
            beginnings: Beginnings::new(),
        }))
    }

    /// The traces of all rules.
    pub fn traces(&self) -> &Arc<Traces> {
        &self.traces
    }

    /// Lets the sources of shared streams wait, or go: when the engine starts, what a broker has kept must not come
    /// before all rules that read the stream are there.
    pub fn hold_shared(&self, waits: bool) {
        self.beginnings.hold(waits);
    }

    /// Resolves when the sources of all rules that were launched have had their first turn, in which they subscribe:
    /// whoever lets messages in earlier loses them.
    pub async fn sources_begun(&self) {
        self.beginnings.all().await;
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
            instance: &self.config.instance,
            spawner: Arc::new(IoSpawner(self.io.clone(), Arc::clone(&self.shards[0]))),
            waiter: Waiter::Io(self.io.clone()),
            operators: op::build,
        };
        // Connectors may look for the runtime while they are built.
        let _guard = self.io.enter();
        compile(spec, info, &cx)
    }

    /// Starts a rule: sinks first, then the operators join their streams, then sources. Never waits for connections;
    /// what goes wrong from here on is the rule's outcome. A snapshot of another plan, or one that cannot be read, is
    /// not used: the rule starts fresh, its log and its status say why (R7.6).
    pub fn launch(self: &Arc<Self>, rule: CompiledRule, restore: Option<Snapshot>) -> RunningRule {
        let (id, spec) = (Arc::clone(&rule.info.id), rule.spec.clone());
        let epoch = restore.as_ref().map_or(0, |snapshot| snapshot.epoch);
        let mut status = CheckpointStatus { restored: Timestamp(epoch), ..CheckpointStatus::default() };
        if restore.as_ref().is_some_and(|snapshot| !fits(snapshot, &rule)) {
            discard(&mut status, &id, "it belongs to another plan (the rule was changed)");
        }
        let first = self.try_launch(rule, restore.as_ref());
        let launched = match first {
            Err(why) if restore.is_some() && status.note.is_empty() => {
                discard(&mut status, &id, &why);
                self.compile(spec.clone())
                    .map_err(|why| why.to_string())
                    .and_then(|rule| self.try_launch(rule, None))
            }
            first => first,
        };
        match launched {
            Ok(launched) => self.run(&spec, launched, (status, epoch)),
            Err(why) => self.failed(id, &why),
        }
    }

    fn try_launch(&self, rule: CompiledRule, restore: Option<&Snapshot>) -> Result<Launched, String> {
        let (home, shared_at) = self.place(&rule).map_err(|why| why.to_string())?;
        let coordinator = (rule.spec.options.qos > 0).then_some(&self.coordinator);
        let now = self.config.clock.now();
        let (streams, shards) = (&self.streams, &self.shards[..]);
        let ground = Ground { home: &home, shared_at: &shared_at, streams, coordinator, now, shards };
        launch(rule, restore, ground).map_err(|why| why.to_string())
    }

    /// Starts the tasks of a rule that is on its shard.
    fn run(
        self: &Arc<Self>,
        spec: &RuleSpec,
        launched: Launched,
        (status, epoch): (CheckpointStatus, i64),
    ) -> RunningRule {
        let (id, options) = (Arc::clone(&spec.id), &spec.options);
        let deliveries = launched.sinks.iter().map(|sink| Arc::clone(&sink.delivery)).collect();
        let Launched { key, home, nodes, beside, ending, cpu, sources, sinks, own, shared, inlets, parts } =
            launched;
        let interval = if options.checkpoint_interval > 0 { options.checkpoint_interval } else { 300_000 };
        let saving = (options.qos > 0).then(|| {
            let (id, home, status) = (Arc::clone(&id), Arc::clone(&home), Mutex::new(status));
            let interval = Duration::from_millis(interval as u64);
            Arc::new(Subject { id, key, home, interval, epoch, inlets, is_exact: options.qos == 2, status })
        });
        // Known before the first message can ask for a checkpoint.
        if let Some(subject) = &saving {
            self.coordinator.add(Arc::clone(subject));
            subject.inlets.iter().for_each(|inlet| inlet.remind(key));
        }
        let sinks = sinks.into_iter().filter_map(|sink| self.start_sink(sink, key, &home)).collect();
        let mut source_tasks = Vec::new();
        for source in sources {
            let is_shared = source.is_shared;
            // The task of a shared stream ends with the stream, not with the rule that happened to start it.
            source_tasks.extend(self.start_source(source).filter(|_| !is_shared));
        }
        let shared = Arc::new(Running {
            runtime: Arc::clone(self),
            id,
            key,
            home,
            nodes: nodes.into(),
            beside,
            ending,
            cpu,
            own: own.into(),
            streams: Mutex::new(shared.into()),
            parts,
            deliveries,
            sources: Mutex::new(source_tasks.into()),
            sinks: Mutex::new(sinks),
            saving,
            save_before_stop: options.save_before_stop && options.qos > 0,
            is_stopping: AtomicBool::new(false),
            is_traced: AtomicBool::new(false),
        });
        RunningRule { shared }
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

    /// A thread that waits for sockets, for connections that belong to no rule.
    pub fn poller(&self) -> Arc<dyn Poller> {
        let next = self.next_shard.fetch_add(1, SeqCst);
        Arc::clone(&self.shards[next % self.shards.len()]) as Arc<dyn Poller>
    }

    pub(crate) fn now(&self) -> thalweg_core::Timestamp {
        self.config.clock.now()
    }

    pub(crate) fn streams(&self) -> &Streams {
        &self.streams
    }

    pub(crate) fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    pub(crate) fn snapshots(&self) -> &Arc<dyn SnapshotStore> {
        &self.config.snapshots
    }

    /// The shard of a rule, and the one for shared streams that it starts: a worker if the rule blocks, else where
    /// its first shared stream runs, else the next in turn.
    fn place(&self, rule: &CompiledRule) -> Result<(Arc<Inbox>, Arc<Inbox>), RunError> {
        let mut shared = rule.scans.iter().filter(|scan| scan.scan.stream.shared);
        let found = shared.find_map(|scan| {
            self.streams.home_of(&known_as(&scan.scan.stream.name, scan.is_split().then_some(0)))
        });
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
        let beginning = self.beginnings.enter(new.is_shared);
        Some(self.io.spawn(async move {
            let source = supervise(factory, Some(first), Arc::clone(&new.inlet), clock);
            if let Err(why) = beginning.run(source).await {
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
        let near = self.shards.iter().find(|shard| Arc::ptr_eq(shard, &home));
        let poller = Arc::clone(near.unwrap_or(&self.shards[0])) as Arc<dyn Poller>;
        Some(self.io.spawn(async move {
            if let Err(error) = new.delivery.run(sink, clock, Some(poller)).await {
                home.send(Control::FailRule { rule, why: error.message });
            }
        }))
    }

    /// A rule that did not come up.
    fn failed(self: &Arc<Self>, id: Arc<str>, why: &str) -> RunningRule {
        let ending = Ending::new(Outcome::Failed(Arc::from(why)));
        let shared = Arc::new(Running {
            runtime: Arc::clone(self),
            id,
            key: self.streams.key(),
            home: Arc::clone(&self.shards[0]),
            nodes: Box::default(),
            beside: Beside::default(),
            ending,
            cpu: Arc::default(),
            own: Box::default(),
            streams: Mutex::default(),
            parts: Box::default(),
            deliveries: Box::default(),
            sources: Mutex::default(),
            sinks: Mutex::default(),
            saving: None,
            save_before_stop: false,
            is_stopping: AtomicBool::new(true),
            is_traced: AtomicBool::new(false),
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

/// R7.6: never a wrong state, and never a silent loss of one.
fn discard(status: &mut CheckpointStatus, rule: &str, why: &str) {
    let epoch = std::mem::take(&mut status.restored);
    tracing::warn!(rule, epoch = epoch.0, why, "checkpoint discarded, the rule starts with empty state");
    status.note = Arc::from(format!("the checkpoint of {} was discarded: {why}", epoch.0));
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
        latency_budget: spec.options.latency_budget,
        instance: Arc::clone(&spec.options.instance),
        clock: Arc::clone(clock),
    })
}

fn start_shard(
    clock: &Arc<dyn Clock>,
    name: String,
) -> Result<(Arc<Inbox>, std::thread::JoinHandle<()>), RunError> {
    let (system, bell) = System::new().map_err(|error| RunError::Threads(error.to_string()))?;
    let inbox = Arc::new(Inbox::new(bell));
    let shard = Shard::polling(Arc::clone(clock), Arc::clone(&inbox), Box::new(system));
    let thread = std::thread::Builder::new().name(name).spawn(move || shard.run());
    thread.map(|thread| (inbox, thread)).map_err(|error| RunError::Threads(error.to_string()))
}

/// Tasks on the I/O runtime, sockets on a shard.
struct IoSpawner(Handle, Arc<Inbox>);

impl Spawner for IoSpawner {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }

    fn poller(&self) -> Option<Arc<dyn Poller>> {
        Some(Arc::clone(&self.1) as Arc<dyn Poller>)
    }
}

#[cfg(test)]
mod tests;
