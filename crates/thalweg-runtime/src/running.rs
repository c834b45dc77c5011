//! A rule that runs: its status, checkpoints and end.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::attach::SharedStream;
use crate::checkpoint::Subject;
use crate::egress::delivery::Delivery;
use crate::ending::Ending;
use crate::ingest::port::Inlet;
use crate::metrics::{Beside, NodeView};
use crate::parts::RunningPart;
use crate::rule::{CheckpointStatus, Memory, NodeSnapshot, Outcome};
use crate::ruleset::cpu::Cpu;
use crate::runtime::{RunError, Runtime};
use crate::shard::inbox::{Checkpoint, Control, Inbox, Key};
use crate::snapshot::Snapshot;

/// A rule that was launched. Dropping it stops the rule without grace.
pub struct RunningRule {
    pub(crate) shared: Arc<Running>,
}

/// The shared streams that a rule reads, each with the rule or the part of it that does.
type Readings = Box<[(Arc<SharedStream>, Key)]>;

/// What a running rule and its own tasks share.
pub(crate) struct Running {
    pub runtime: Arc<Runtime>,
    pub id: Arc<str>,
    pub key: Key,
    pub home: Arc<Inbox>,
    pub nodes: Box<[NodeView]>,
    pub beside: Beside,
    pub ending: Arc<Ending>,
    pub cpu: Arc<Cpu>,
    pub own: Box<[Arc<Inlet>]>,
    pub streams: Mutex<Readings>,
    pub parts: Box<[RunningPart]>,
    pub deliveries: Box<[Arc<Delivery>]>,
    pub sources: Mutex<Box<[JoinHandle<()>]>>,
    pub sinks: Mutex<Box<[JoinHandle<()>]>>,
    /// Its checkpoints, if its options ask for any.
    pub saving: Option<Arc<Subject>>,
    pub save_before_stop: bool,
    pub is_stopping: AtomicBool,
    pub is_traced: AtomicBool,
}

impl RunningRule {
    /// The metrics of sources, operators and sinks, in topology order.
    pub fn metrics(&self) -> Vec<NodeSnapshot> {
        self.shared.nodes.iter().map(|node| node.snapshot(&self.shared.beside)).collect()
    }

    /// The time that its threads have spent for this run of it, its part of common work included.
    pub fn cpu(&self) -> Duration {
        let parts = self.shared.parts.iter().map(|part| part.cpu.nanos()).sum::<u64>();
        Duration::from_nanos(self.shared.cpu.nanos() + parts)
    }

    /// Its memory. `None` when its thread does not answer within `patience`, or the rule does not run any more.
    pub async fn memory(&self, patience: Duration) -> Option<Memory> {
        let shared = &self.shared;
        let parts = shared.parts.iter().map(|part| (&part.home, part.key));
        let asked = parts.chain([(&shared.home, shared.key)]).map(|(home, rule)| {
            let (done, answer) = oneshot::channel();
            home.send(Control::Weigh { rule, done });
            answer
        });
        let mut memory = Memory::default();
        for answer in asked.collect::<Vec<_>>() {
            memory.add(timeout(patience, answer).await.ok()?.ok()?);
        }
        let beside =
            size_of::<Running>() + size_of_val(&*shared.nodes) + size_of::<Cpu>() + size_of::<Ending>();
        memory.record += beside as u64;
        Some(memory)
    }

    /// Whether it still runs, and how it ended.
    pub fn ending(&self) -> &Arc<Ending> {
        &self.shared.ending
    }

    /// Stops gracefully: intake closed, what has arrived processed, an optional last checkpoint, sinks drained. After
    /// `grace` what is left is given up.
    pub async fn stop(&self, grace: Duration) {
        self.shared.stop(grace).await;
    }

    /// The rule will not come back: nothing is to be kept for it elsewhere. Called before [`RunningRule::stop`].
    pub fn part(&self) {
        self.shared.own.iter().for_each(|inlet| inlet.part());
    }

    /// A snapshot between two batches.
    ///
    /// # Errors
    /// The rule does not run any more.
    pub async fn checkpoint(&self) -> Result<Snapshot, RunError> {
        self.shared.checkpoint().await
    }

    /// Traces it from now on, or no longer ([`Runtime::traces`]).
    pub fn trace(&self, on: bool) {
        let shared = &self.shared;
        if shared.is_traced.swap(on, SeqCst) != on {
            let traces = on.then(|| Arc::clone(shared.runtime.traces()));
            shared.home.send(Control::Trace { rule: shared.key, traces });
        }
    }

    /// Whether it is traced.
    pub fn is_traced(&self) -> bool {
        self.shared.is_traced.load(SeqCst)
    }

    /// How its checkpoints fare; `None` for a rule without.
    pub fn checkpoints(&self) -> Option<CheckpointStatus> {
        self.shared.saving.as_ref().map(|subject| subject.lock().clone())
    }
}

impl Drop for RunningRule {
    fn drop(&mut self) {
        if !self.shared.is_stopping.swap(true, SeqCst) {
            self.shared.close_intake();
            drop(self.shared.stop_parts());
            let (done, _) = oneshot::channel();
            self.shared.home.send(Control::StopRule { rule: self.shared.key, save: false, done });
            if let Some(subject) = &self.shared.saving {
                drop(self.shared.runtime.coordinator().part(self.shared.key, None));
                subject.leave();
            }
            self.shared.own.iter().for_each(|inlet| inlet.abandon());
            // A rule that is done may still have messages on their way out; its sink tasks end by themselves.
            if self.shared.ending.outcome() != Outcome::Done {
                self.shared.abort();
            }
        }
    }
}

impl Running {
    async fn stop(&self, grace: Duration) {
        if self.is_stopping.swap(true, SeqCst) {
            return;
        }
        let deadline = Instant::now() + grace;
        self.close_intake();
        if !self.save_before_stop {
            self.own.iter().for_each(|inlet| inlet.abandon());
            join_all(&self.sources, deadline).await;
        }
        // What has arrived at the parts goes through the rule before that is stopped.
        for stopped in self.stop_parts() {
            let _ = timeout_at(deadline, stopped).await;
        }
        let (done, stopped) = oneshot::channel();
        self.home.send(Control::StopRule { rule: self.key, save: self.save_before_stop, done });
        let last = timeout_at(deadline, stopped).await.ok().and_then(Result::ok).flatten();
        join_all(&self.sinks, deadline).await;
        if !self.part(last).await {
            let left: u64 = self.deliveries.iter().map(|delivery| delivery.give_up(self.runtime.now())).sum();
            if left > 0 {
                tracing::warn!(rule = %self.id, messages = left, "sinks did not get everything out before the rule stopped");
            }
        }
        // Sources that were waiting have had their answers by now, or will not get any.
        self.own.iter().for_each(|inlet| inlet.abandon());
        join_all(&self.sources, deadline).await;
        self.abort();
        self.ending.stop();
    }

    /// Tells the sources to stop and leaves shared streams.
    fn close_intake(&self) {
        self.own.iter().for_each(|inlet| inlet.queue.stop());
        for (stream, reader) in std::mem::take(&mut *lock(&self.streams)) {
            self.runtime.streams().leave(&stream, reader);
        }
    }

    /// Stops what runs beside the connections of split streams; each tells when it has.
    fn stop_parts(&self) -> Vec<oneshot::Receiver<Option<Box<Checkpoint>>>> {
        let stop = |part: &RunningPart| {
            let (done, stopped) = oneshot::channel();
            part.home.send(Control::StopRule { rule: part.key, save: false, done });
            stopped
        };
        self.parts.iter().map(stop).collect()
    }

    fn abort(&self) {
        let sources = std::mem::take(&mut *lock(&self.sources));
        let sinks = std::mem::take(&mut *lock(&self.sinks));
        sources.into_iter().chain(sinks).for_each(|task| task.abort());
    }

    async fn checkpoint(&self) -> Result<Snapshot, RunError> {
        let (sender, answer) = oneshot::channel();
        let reply = Box::new(move |checkpoint: Option<Checkpoint>| drop(sender.send(checkpoint)));
        self.home.send(Control::Checkpoint { rule: self.key, reply });
        let checkpoint = answer.await.ok().flatten();
        checkpoint
            .map(|checkpoint| checkpoint.finish().0)
            .ok_or_else(|| RunError::NotRunning(Arc::clone(&self.id)))
    }

    /// Ends the run's part in checkpoints: nothing of it is written any more when this returns. Whether `last`, if
    /// given, is durable.
    async fn part(&self, last: Option<Box<Checkpoint>>) -> bool {
        let Some(subject) = &self.saving else { return false };
        let is_last = last.is_some();
        let is_saved = self.runtime.coordinator().part(self.key, last).await.unwrap_or_default() && is_last;
        subject.leave();
        // R4.6: a run that has read everything is over; the next one begins anew.
        if self.ending.outcome() == Outcome::Done {
            let (runtime, id) = (Arc::clone(&self.runtime), Arc::clone(&self.id));
            let forgotten = tokio::task::spawn_blocking(move || runtime.snapshots().remove(&id)).await;
            if let Ok(Err(error)) = forgotten {
                tracing::error!(rule = %self.id, error, "the checkpoint of a finished run was not removed");
            }
        }
        is_saved
    }
}

/// Waits for tasks, and ends those that take too long.
async fn join_all(tasks: &Mutex<Box<[JoinHandle<()>]>>, deadline: Instant) {
    let tasks = std::mem::take(&mut *lock(tasks));
    for task in tasks {
        let abort = task.abort_handle();
        if timeout_at(deadline, task).await.is_err() {
            abort.abort();
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
