//! Checkpoints of all rules: one task asks rules for their state when they are due, and writes everything that is ready
//! at once, so that thousands of rules share one fsync (R7.2, R7.5).
//!
//! The shard only copies: state is serialised between two batches of the rule, joined with what the sinks have not got
//! rid of, and written elsewhere. Nothing here waits on a shard and no shard waits on anything here. A checkpoint that
//! fails is counted and tried again; a rule whose state is as it was writes nothing.
//!
//! Messages that wait for an answer bring a checkpoint forward: within [`PAUSE`] of the first one, at once when there are
//! as many as a broker may stop at. In between a rule rests for some times what its last checkpoint cost, so that large
//! states do not eat the machine.

mod subject;
mod write;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use thalweg_core::Clock;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::shard::inbox::{Checkpoint, Control, Key};
use crate::snapshot::SnapshotStore;
pub(crate) use subject::Subject;
use write::{Job, Written, write};

/// How long a checkpoint waits for messages that are on their way out, so that it need not hold them.
const SETTLE: Duration = Duration::from_millis(100);
/// When a checkpoint that failed is tried again, if that is sooner than its interval.
const RETRY: Duration = Duration::from_secs(5);
/// How long a message waits for its answer at most, as far as the rule and the disk can follow.
const PAUSE: Duration = Duration::from_millis(50);
/// How long it may become while nothing can be answered.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A rule rests for so many times the cost of its last checkpoint before messages bring the next one forward.
const REST: u32 = 4;
/// A rule that has not answered for so long is reported. It still may.
const ANSWER: Duration = Duration::from_secs(10);

/// Talks to the task.
pub(crate) struct Coordinator {
    orders: mpsc::UnboundedSender<Order>,
    settled: Arc<Notify>,
}

/// Brings checkpoints of one run forward.
#[derive(Clone)]
pub(crate) struct Urge {
    key: Key,
    orders: mpsc::UnboundedSender<Order>,
}

impl Urge {
    /// The run.
    pub(crate) fn key(&self) -> Key {
        self.key
    }

    /// Messages wait for their answers; urgently, when more will not come before that.
    pub(crate) fn send(&self, is_urgent: bool) {
        let _ = self.orders.send(Order::Urge(self.key, is_urgent));
    }
}

enum Order {
    Add(Arc<Subject>),
    Urge(Key, bool),
    Taken(Key, Option<Box<Checkpoint>>),
    /// A run ends, perhaps with a last checkpoint; answered when nothing of it is under way any more.
    Part(Key, Option<Box<Checkpoint>>, oneshot::Sender<bool>),
    Written(Vec<Written>),
}

impl Coordinator {
    /// Starts the task on this runtime; it ends with it.
    pub(crate) fn start(io: &Handle, store: Arc<dyn SnapshotStore>, clock: Arc<dyn Clock>) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        let settled = Arc::new(Notify::new());
        let task = Task {
            orders: orders.clone(),
            store,
            clock,
            slots: HashMap::new(),
            timers: BTreeSet::new(),
            settling: BTreeSet::new(),
            ready: Vec::new(),
            is_writing: false,
        };
        io.spawn(task.run(inbox, Arc::clone(&settled)));
        Self { orders, settled }
    }

    /// Told by sinks when messages have left.
    pub(crate) fn settled(&self) -> &Arc<Notify> {
        &self.settled
    }

    /// Takes a rule's run over.
    pub(crate) fn add(&self, subject: Arc<Subject>) {
        let _ = self.orders.send(Order::Add(subject));
    }

    /// For the inlets that a run reads.
    pub(crate) fn urge(&self, key: Key) -> Urge {
        Urge { key, orders: self.orders.clone() }
    }

    /// Lets a run go. The answer comes when nothing of it is being written any more: whether `last` is durable.
    pub(crate) fn part(&self, key: Key, last: Option<Box<Checkpoint>>) -> oneshot::Receiver<bool> {
        let (done, answer) = oneshot::channel();
        let _ = self.orders.send(Order::Part(key, last, done));
        answer
    }
}

struct Slot {
    subject: Arc<Subject>,
    phase: Phase,
    due: Option<Instant>,
    /// A checksum of the content that is on disk, and its barrier.
    stored: Option<u64>,
    epoch: i64,
    parting: Option<(Option<Box<Checkpoint>>, oneshot::Sender<bool>)>,
    /// When messages may bring a checkpoint forward again.
    rested: Instant,
    /// The messages that the last checkpoint held, counted over all inputs.
    progress: u64,
    /// How long messages wait, which grows while nothing can be answered.
    pause: Duration,
    /// Whether messages wait that came during a checkpoint, and whether they are many.
    urged: Option<bool>,
}

enum Phase {
    Idle,
    Asked(Instant),
    Settling(Box<Checkpoint>, Instant),
    Writing,
}

struct Task {
    orders: mpsc::UnboundedSender<Order>,
    store: Arc<dyn SnapshotStore>,
    clock: Arc<dyn Clock>,
    slots: HashMap<Key, Slot>,
    timers: BTreeSet<(Instant, Key)>,
    settling: BTreeSet<Key>,
    ready: Vec<Job>,
    is_writing: bool,
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Order>, settled: Arc<Notify>) {
        loop {
            let due = self.timers.first().map(|(due, _)| *due);
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(order) => self.take(order),
                    None => return,
                },
                () = settled.notified(), if !self.settling.is_empty() => self.look(),
                () = sleep_until(due) => self.tick(),
            }
            // What arrived together is written together.
            while let Ok(order) = inbox.try_recv() {
                self.take(order);
            }
            self.write_ready();
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Add(subject) => {
                let (key, due) = (subject.key, Instant::now() + subject.interval);
                self.slots.insert(key, Slot::new(subject));
                self.set_due(key, Some(due));
            }
            Order::Urge(key, is_urgent) => self.urge(key, is_urgent),
            Order::Taken(key, Some(checkpoint)) => self.taken(key, checkpoint),
            // The rule has ended by itself; whoever takes it apart says so.
            Order::Taken(key, None) => self.set_due(key, None),
            Order::Part(key, last, done) => self.part(key, last, done),
            Order::Written(written) => {
                self.is_writing = false;
                written.into_iter().for_each(|written| self.written(written));
            }
        }
    }

    fn set_due(&mut self, key: Key, due: Option<Instant>) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if let Some(before) = std::mem::replace(&mut slot.due, due) {
            self.timers.remove(&(before, key));
        }
        self.timers.extend(due.map(|due| (due, key)));
    }

    fn urge(&mut self, key: Key, is_urgent: bool) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if !matches!(slot.phase, Phase::Idle) {
            slot.urged = Some(is_urgent || slot.urged == Some(true));
            return;
        }
        // While nothing can be answered, hurry does not help.
        let wait = if is_urgent && slot.pause == PAUSE { Duration::ZERO } else { slot.pause };
        let due = (Instant::now() + wait).max(slot.rested);
        if slot.due.is_none_or(|have| due < have) {
            self.set_due(key, Some(due));
        }
    }

    /// Something is due: a checkpoint, an answer, or the end of waiting for sinks.
    fn tick(&mut self) {
        let now = Instant::now();
        while let Some((_, key)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            let Some(slot) = self.slots.get_mut(&key) else {
                self.timers.pop_first();
                continue;
            };
            match &slot.phase {
                Phase::Idle => {
                    slot.phase = Phase::Asked(now);
                    self.ask(key);
                    self.set_due(key, Some(now + ANSWER));
                }
                Phase::Asked(since) => {
                    let why = format!(
                        "the rule has not come to a point between two batches for {:?}",
                        now - *since
                    );
                    slot.subject.failed(&why, self.clock.now());
                    self.set_due(key, Some(now + ANSWER));
                }
                Phase::Settling(..) => self.go(key),
                Phase::Writing => self.set_due(key, None),
            }
        }
    }

    fn ask(&self, key: Key) {
        let Some(slot) = self.slots.get(&key) else { return };
        let orders = self.orders.clone();
        let reply = Box::new(move |checkpoint: Option<Checkpoint>| {
            let _ = orders.send(Order::Taken(key, checkpoint.map(Box::new)));
        });
        slot.subject.home.send(Control::Checkpoint { rule: key, reply });
    }

    fn taken(&mut self, key: Key, checkpoint: Box<Checkpoint>) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let Phase::Asked(since) = slot.phase else { return };
        let waits =
            checkpoint.outputs.iter().any(|outputs| !outputs.is_settled() && !outputs.delivery.is_down());
        slot.phase = Phase::Settling(checkpoint, since);
        if waits {
            self.settling.insert(key);
            self.set_due(key, Some(Instant::now() + SETTLE));
        } else {
            self.go(key);
        }
    }

    /// Some sink has got rid of messages.
    fn look(&mut self) {
        let is_settled = |key: &&Key| {
            let slot = self.slots.get(key);
            slot.is_some_and(|slot| match &slot.phase {
                Phase::Settling(checkpoint, _) => {
                    checkpoint.outputs.iter().all(|outputs| outputs.is_settled())
                }
                _ => true,
            })
        };
        let settled: Vec<Key> = self.settling.iter().filter(is_settled).copied().collect();
        settled.into_iter().for_each(|key| self.go(key));
    }

    /// A checkpoint is to be written.
    fn go(&mut self, key: Key) {
        self.settling.remove(&key);
        self.set_due(key, None);
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if let Phase::Settling(checkpoint, since) = std::mem::replace(&mut slot.phase, Phase::Writing) {
            self.ready.push(slot.job(checkpoint, since, None));
        }
    }

    fn part(&mut self, key: Key, last: Option<Box<Checkpoint>>, done: oneshot::Sender<bool>) {
        self.settling.remove(&key);
        self.set_due(key, None);
        let Some(slot) = self.slots.get_mut(&key) else {
            let _ = done.send(false);
            return;
        };
        if matches!(slot.phase, Phase::Writing) {
            slot.parting = Some((last, done));
            return;
        }
        let Some(slot) = self.slots.remove(&key) else { return };
        match last {
            Some(last) => self.ready.push(slot.job(last, Instant::now(), Some(done))),
            None => drop(done.send(true)),
        }
    }

    fn written(&mut self, written: Written) {
        let Written { key, subject, positions, result, since, cost, done } = written;
        let (now, next) = (self.clock.now(), Instant::now());
        let is_durable = result.is_ok();
        match &result {
            Ok(stored) => subject.completed(stored.bytes, since.elapsed(), now, &positions),
            Err(why) => subject.failed(why, now),
        }
        let progress: u64 = positions.iter().map(|position| position.upto).sum();
        if let Some(done) = done {
            let _ = done.send(is_durable);
        }
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.phase = Phase::Idle;
        slot.rested = next + cost * REST;
        if let Ok(stored) = result {
            (slot.stored, slot.epoch) = (Some(stored.content), stored.epoch);
            let has_moved = std::mem::replace(&mut slot.progress, progress) != progress;
            slot.pause = if has_moved { PAUSE } else { (slot.pause * 2).min(LONGEST_PAUSE) };
        }
        if let Some((last, done)) = slot.parting.take() {
            return self.part(key, last, done);
        }
        let pause = if is_durable { subject.interval } else { subject.interval.min(RETRY) };
        let urged = slot.urged.take();
        self.set_due(key, Some(next + pause));
        if let Some(is_urgent) = urged.filter(|_| is_durable) {
            self.urge(key, is_urgent);
        }
    }

    fn write_ready(&mut self) {
        if self.is_writing || self.ready.is_empty() {
            return;
        }
        self.is_writing = true;
        let jobs = std::mem::take(&mut self.ready);
        let (store, orders) = (Arc::clone(&self.store), self.orders.clone());
        tokio::task::spawn_blocking(move || {
            let _ = orders.send(Order::Written(write(jobs, store.as_ref())));
        });
    }
}

impl Slot {
    fn new(subject: Arc<Subject>) -> Self {
        let epoch = subject.epoch;
        Self {
            subject,
            phase: Phase::Idle,
            due: None,
            stored: None,
            epoch,
            parting: None,
            rested: Instant::now(),
            progress: 0,
            pause: PAUSE,
            urged: None,
        }
    }

    fn job(&self, checkpoint: Box<Checkpoint>, since: Instant, done: Option<oneshot::Sender<bool>>) -> Job {
        let subject = Arc::clone(&self.subject);
        Job { key: subject.key, subject, checkpoint, since, stored: self.stored, epoch: self.epoch, done }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
