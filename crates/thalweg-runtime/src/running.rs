//! A rule that runs: its status, checkpoints and end.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thalweg_core::Value;
use thalweg_core::state::StateReader;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::attach::SharedStream;
use crate::egress::delivery::Delivery;
use crate::ingest::port::Inlet;
use crate::metrics::NodeView;
use crate::rule::{NodeSnapshot, Outcome, Snapshot, Topology};
use crate::runtime::{RunError, Runtime};
use crate::shard::inbox::{Checkpoint, Control, Inbox, Key};

/// A rule that was launched. Dropping it stops the rule without grace.
pub struct RunningRule {
    pub(crate) shared: Arc<Running>,
}

/// What a running rule and its own tasks share.
pub(crate) struct Running {
    pub runtime: Arc<Runtime>,
    pub id: Arc<str>,
    pub key: Key,
    pub home: Arc<Inbox>,
    pub nodes: Vec<NodeView>,
    pub topology: Topology,
    pub outcome: Arc<watch::Sender<Outcome>>,
    pub own: Vec<Arc<Inlet>>,
    /// The node of each own inlet, for offsets.
    pub own_nodes: Vec<Arc<str>>,
    pub streams: Mutex<Vec<Arc<SharedStream>>>,
    pub deliveries: Vec<Arc<Delivery>>,
    pub sources: Mutex<Vec<JoinHandle<()>>>,
    pub sinks: Mutex<Vec<JoinHandle<()>>>,
    pub checkpoints: Mutex<Option<JoinHandle<()>>>,
    pub save_before_stop: bool,
    pub is_stopping: AtomicBool,
}

impl RunningRule {
    /// The metrics of sources, operators and sinks, in topology order.
    pub fn metrics(&self) -> Vec<NodeSnapshot> {
        self.shared.nodes.iter().map(NodeView::snapshot).collect()
    }

    /// The printable graph.
    pub fn topology(&self) -> Topology {
        self.shared.topology.clone()
    }

    /// Whether it still runs, and how it ended.
    pub fn outcome(&self) -> watch::Receiver<Outcome> {
        self.shared.outcome.subscribe()
    }

    /// Stops gracefully: intake closed, what has arrived processed, an optional last checkpoint, sinks drained. After
    /// `grace` what is left is given up.
    pub async fn stop(&self, grace: Duration) {
        self.shared.stop(grace).await;
    }

    /// A snapshot between two batches.
    ///
    /// # Errors
    /// The rule does not run any more.
    pub async fn checkpoint(&self) -> Result<Snapshot, RunError> {
        self.shared.checkpoint().await.map(|checkpoint| checkpoint.snapshot)
    }
}

impl Drop for RunningRule {
    fn drop(&mut self) {
        if !self.shared.is_stopping.swap(true, SeqCst) {
            self.shared.close_intake();
            let (done, _) = oneshot::channel();
            self.shared.home.send(Control::StopRule { rule: self.shared.key, save: false, done });
            // A rule that is done may still have messages on their way out; its sink tasks end by themselves.
            if *self.shared.outcome.borrow() != Outcome::Done {
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
        let sources = std::mem::take(&mut *lock(&self.sources));
        for source in sources {
            let abort = source.abort_handle();
            if timeout_at(deadline, source).await.is_err() {
                abort.abort();
            }
        }
        let (done, stopped) = oneshot::channel();
        self.home.send(Control::StopRule { rule: self.key, save: self.save_before_stop, done });
        let snapshot = timeout_at(deadline, stopped).await.ok().and_then(Result::ok).flatten();
        let sinks = std::mem::take(&mut *lock(&self.sinks));
        for sink in sinks {
            let abort = sink.abort_handle();
            if timeout_at(deadline, sink).await.is_err() {
                abort.abort();
            }
        }
        let left: u64 = self.deliveries.iter().map(|delivery| delivery.give_up(self.runtime.now())).sum();
        if left > 0 {
            tracing::warn!(rule = %self.id, messages = left, "sinks did not get everything out before the rule stopped");
        }
        if let Some(snapshot) = snapshot {
            self.store(&snapshot);
        }
        self.abort();
        self.outcome.send_if_modified(|outcome| {
            let runs = *outcome == Outcome::Running;
            if runs {
                *outcome = Outcome::Stopped;
            }
            runs
        });
    }

    /// Tells the sources to stop and leaves shared streams.
    fn close_intake(&self) {
        self.own.iter().for_each(|inlet| inlet.queue.stop());
        for stream in std::mem::take(&mut *lock(&self.streams)) {
            self.runtime.streams().leave(&stream, self.key);
        }
    }

    fn abort(&self) {
        let tasks = lock(&self.checkpoints).take().into_iter();
        let sources = std::mem::take(&mut *lock(&self.sources));
        let sinks = std::mem::take(&mut *lock(&self.sinks));
        tasks.chain(sources).chain(sinks).for_each(|task| task.abort());
    }

    async fn checkpoint(&self) -> Result<Checkpoint, RunError> {
        let (reply, answer) = oneshot::channel();
        self.home.send(Control::Checkpoint { rule: self.key, reply });
        answer.await.map_err(|_| RunError::NotRunning(Arc::clone(&self.id)))
    }

    /// Takes a checkpoint every `interval` and stores it once the sinks have everything that belongs before it, so
    /// that a crash can repeat messages and never lose them.
    pub(crate) async fn checkpoint_often(self: Arc<Self>, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let Ok(checkpoint) = self.checkpoint().await else { return };
            while !self.is_settled(&checkpoint.positions) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // Storing waits for the disk, which tasks must not.
            let running = Arc::clone(&self);
            let stored = tokio::task::spawn_blocking(move || running.store(&checkpoint.snapshot)).await;
            if stored.is_err() {
                tracing::error!(rule = %self.id, "storing a checkpoint panicked");
            }
        }
    }

    fn is_settled(&self, positions: &[u64]) -> bool {
        self.deliveries.iter().zip(positions).all(|(delivery, position)| delivery.is_settled(*position))
    }

    fn store(&self, snapshot: &Snapshot) {
        if let Err(error) = self.runtime.snapshots().save(&self.id, snapshot) {
            tracing::error!(rule = %self.id, error, "checkpoint was not stored");
            return;
        }
        for (inlet, node) in self.own.iter().zip(&self.own_nodes) {
            let offset: Option<Value> =
                snapshot.offsets.get(&**node).and_then(|bytes| StateReader::new(bytes).value().ok());
            if let Some(offset) = offset {
                inlet.commit(offset);
            }
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
