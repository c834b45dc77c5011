//! The control task: it alone owns the states of all rules and performs the effects of [`step`].
//!
//! Launches and stops are futures that it polls beside its commands, and the ends of runs come over one channel, so a
//! rule that runs costs neither a task nor a future of its own (`contracts.md` 10).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use thalweg_core::time::BoxFuture;
use thalweg_core::{Clock, Props, Timestamp};
use thalweg_runtime::{Outcome, Tell};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::build::Builder;
use super::entry::{RuleEntry, View};
use super::run::Run;
use super::schedule::Due;
use super::state::{Effect, Phase, Signal, State, step};
use crate::error::EngineError;
use crate::store::{Change, Snapshots, Store, Table};

/// How long a run may take to drain (R4.4).
const GRACE: Duration = Duration::from_secs(5);

/// What the control task works with.
pub(super) struct Means {
    pub(super) builder: Arc<Builder>,
    pub(super) snapshots: Snapshots,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    /// The instance's `rule:` section.
    pub(super) defaults: Arc<Props>,
    /// How often schedules and restarts are looked at (R4.9).
    pub(super) patrol: Duration,
}

enum Command {
    Add(Arc<RuleEntry>),
    Signal(Arc<str>, Signal, oneshot::Sender<()>),
    Remove(Arc<str>, oneshot::Sender<()>),
    StopAll(oneshot::Sender<()>),
}

/// Talks to the control task.
#[derive(Clone)]
pub(super) struct Control {
    commands: mpsc::UnboundedSender<Command>,
}

impl Control {
    /// Starts the task. It ends after [`Control::stop_all`], or when the last handle is gone.
    pub(super) fn start(means: Means) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        let patrol = means.patrol;
        let (ends, ended) = mpsc::unbounded_channel();
        let actor = Actor {
            means: Arc::new(means),
            rules: HashMap::new(),
            jobs: FuturesUnordered::new(),
            stopping: Vec::new(),
            writing: Arc::new(()),
            ends,
        };
        tokio::spawn(actor.run(inbox, ended, patrol));
        Self { commands }
    }

    /// Takes over a rule, stopped.
    pub(super) fn add(&self, entry: Arc<RuleEntry>) {
        let _ = self.commands.send(Command::Add(entry));
    }

    /// Gives a rule a signal; resolves when it is performed or queued.
    pub(super) async fn signal(&self, id: &Arc<str>, signal: Signal) {
        self.ask(|done| Command::Signal(Arc::clone(id), signal, done)).await;
    }

    /// Stops a rule and forgets it; resolves when it is gone.
    pub(super) async fn remove(&self, id: &Arc<str>) {
        self.ask(|done| Command::Remove(Arc::clone(id), done)).await;
    }

    /// Stops all rules and ends the task; their `triggered` stays. Resolves when none is alive.
    pub(super) async fn stop_all(&self) {
        self.ask(Command::StopAll).await;
    }

    async fn ask(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, answer) = oneshot::channel();
        if self.commands.send(command(done)).is_ok() {
            let _ = answer.await;
        }
    }
}

/// Runs work that may block where that does no harm.
///
/// # Errors
/// The work's own, or that it panicked.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(why) => Err(EngineError::plain(format!("internal error: {why}"))),
    }
}

struct Slot {
    entry: Arc<RuleEntry>,
    state: State,
    /// Counts launches, so that results of an earlier run are told apart.
    launch: u64,
    last_start: Timestamp,
    last_stop: Timestamp,
    removing: Option<oneshot::Sender<()>>,
}

/// The result of a job: whose it is, of which launch, what it says, and the run it brought.
struct Report {
    id: Arc<str>,
    launch: u64,
    signal: Signal,
    run: Option<Arc<dyn Run>>,
}

struct Actor {
    means: Arc<Means>,
    rules: HashMap<Arc<str>, Box<Slot>>,
    jobs: FuturesUnordered<BoxFuture<'static, Option<Report>>>,
    stopping: Vec<oneshot::Sender<()>>,
    /// Every job that writes holds a copy: what is not stored yet must not be lost by the end.
    writing: Arc<()>,
    /// Where the ends of runs are told: a rule that runs costs no future.
    ends: mpsc::UnboundedSender<Report>,
}

impl Actor {
    async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Command>,
        mut ended: mpsc::UnboundedReceiver<Report>,
        patrol: Duration,
    ) {
        let mut patrol = tokio::time::interval(patrol);
        patrol.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                Some(report) = self.jobs.next(), if !self.jobs.is_empty() => {
                    if let Some(report) = report {
                        self.report(report);
                    }
                }
                Some(report) = ended.recv() => self.report(report),
                _ = patrol.tick() => self.patrol(),
            }
            if self.has_stopped() {
                // What the task holds (the store, say) is free before anybody hears that it has ended.
                let waiting = std::mem::take(&mut self.stopping);
                drop(self);
                for done in waiting {
                    let _ = done.send(());
                }
                return;
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Add(entry) => {
                let zero = Timestamp::default();
                let state = State::default();
                let slot =
                    Slot { state, launch: 0, last_start: zero, last_stop: zero, removing: None, entry };
                self.rules.insert(Arc::clone(&slot.entry.id), Box::new(slot));
            }
            Command::Signal(id, signal, done) => {
                let is_parked = signal == Signal::Park;
                self.signal(&id, signal);
                let now = self.means.clock.now();
                let due = self.rules.get(&id).filter(|_| is_parked).and_then(|slot| self.due(slot, now));
                if let Some(due) = due {
                    self.signal(&id, due);
                }
                let _ = done.send(());
            }
            Command::Remove(id, done) => match self.rules.get_mut(&id) {
                Some(slot) => {
                    slot.removing = Some(done);
                    self.signal(&id, Signal::Stop(Arc::from("deleted")));
                }
                None => {
                    let _ = done.send(());
                }
            },
            Command::StopAll(done) => {
                let ids: Vec<Arc<str>> = self.rules.keys().cloned().collect();
                for id in ids {
                    self.signal(&id, Signal::Stop(Arc::from("the engine stops")));
                }
                self.stopping.push(done);
            }
        }
    }

    fn report(&mut self, report: Report) {
        let Some(slot) = self.rules.get_mut(&report.id).filter(|slot| slot.launch == report.launch) else {
            return;
        };
        if let Some(run) = report.run {
            slot.entry.set_run(Arc::clone(&run));
            run.when_ended(watch(Arc::clone(&report.id), report.launch, self.ends.clone()));
        }
        if report.signal == Signal::Closed {
            slot.entry.end_run();
        }
        self.signal(&report.id, report.signal);
    }

    fn signal(&mut self, id: &Arc<str>, signal: Signal) {
        let Some(slot) = self.rules.get_mut(id) else { return };
        let was = slot.state.phase;
        let (state, effects) = step(std::mem::take(&mut slot.state), signal);
        slot.state = state;
        let now = self.means.clock.now();
        if was.is_live() && !slot.state.phase.is_live() {
            slot.last_stop = now;
        }
        if was != slot.state.phase {
            tell(id, &slot.state);
        }
        for effect in effects {
            let job = match effect {
                Effect::Launch => {
                    slot.launch += 1;
                    slot.last_start = now;
                    launch(Arc::clone(&slot.entry), Arc::clone(&self.means), slot.launch)
                }
                Effect::Halt => halt(Arc::clone(&slot.entry), slot.launch, slot.removing.is_some()),
                Effect::ForgetTrigger => {
                    let writing = Arc::clone(&self.writing);
                    forget_trigger(&slot.entry, Arc::clone(&self.means.store), writing)
                }
            };
            self.jobs.push(job);
        }
        slot.entry.publish(View {
            phase: slot.state.phase,
            message: Arc::clone(&slot.state.message),
            settled: slot.state.is_settled(),
            last_start: slot.last_start,
            last_stop: slot.last_stop,
        });
        if slot.state.is_settled() && slot.removing.is_some() {
            let removed = self.rules.remove(id).and_then(|slot| slot.removing);
            if let Some(done) = removed {
                let _ = done.send(());
            }
        }
    }

    /// What the patrol has to tell a rule. R4.12: failed rules that want it are started again. R4.10, R4.11: schedules
    /// hold for rules that nobody has stopped.
    fn due(&self, slot: &Slot, now: Timestamp) -> Option<Signal> {
        let record = slot.entry.record();
        if !self.stopping.is_empty() || slot.removing.is_some() {
            return None;
        }
        let schedule = record.schedule.as_ref().filter(|_| record.triggered);
        let due = schedule.and_then(|schedule| {
            schedule.due(slot.state.phase, slot.last_start, now, self.means.builder.zone.get())
        });
        match due {
            Some(Due::Start) => Some(Signal::ScheduledStart),
            Some(Due::Park) => Some(Signal::ScheduledStop),
            Some(Due::End) => Some(Signal::Stop(Arc::from("duration terminated"))),
            None if schedule.is_some_and(|schedule| schedule.is_calendar()) => None,
            None => (slot.state.phase == Phase::StoppedByError && record.restarts).then_some(Signal::Start),
        }
    }

    /// Looks after all rules (R4.9).
    fn patrol(&mut self) {
        let now = self.means.clock.now();
        let signals: Vec<(Arc<str>, Signal)> = self
            .rules
            .iter()
            .filter_map(|(id, slot)| self.due(slot, now).map(|signal| (Arc::clone(id), signal)))
            .collect();
        for (id, signal) in signals {
            self.signal(&id, signal);
        }
    }

    /// Whether the end was asked for, every rule has come to rest, and that is stored.
    fn has_stopped(&self) -> bool {
        let is_stored = Arc::strong_count(&self.writing) == 1;
        is_stored && !self.stopping.is_empty() && !self.rules.values().any(|slot| slot.state.phase.is_live())
    }
}

fn tell(id: &str, state: &State) {
    match state.phase {
        Phase::StoppedByError => error!(rule = id, why = %state.message, "rule stopped by error"),
        phase => info!(rule = id, status = phase.text(), message = %state.message, "rule"),
    }
}

fn launch(entry: Arc<RuleEntry>, means: Arc<Means>, launch: u64) -> BoxFuture<'static, Option<Report>> {
    Box::pin(async move {
        let id = Arc::clone(&entry.id);
        let launched = blocking(move || build_and_launch(&entry, &means)).await;
        let (signal, run) = match launched {
            Ok(run) => (Signal::Launched, Some(run)),
            Err(why) => (Signal::LaunchFailed(Arc::from(why.message)), None),
        };
        Some(Report { id, launch, signal, run })
    })
}

fn build_and_launch(entry: &RuleEntry, means: &Means) -> Result<Arc<dyn Run>, EngineError> {
    let record = entry.record();
    let ready = match entry.take_ready() {
        Some(ready) => ready,
        None => {
            entry.offer(means.builder.build(&record.definition(&means.defaults)?)?);
            entry.take_ready().ok_or_else(|| EngineError::plain("internal error: the build is gone"))?
        }
    };
    let restore = if record.qos == 0 {
        // R7.1; a checkpoint from an earlier time would be a wrong state once qos is raised again.
        if let Err(why) = means.snapshots.remove(&entry.id) {
            warn!(rule = %entry.id, %why, "old checkpoints cannot be removed");
        }
        None
    } else {
        means.snapshots.newest(&entry.id).unwrap_or_else(|why| {
            warn!(rule = %entry.id, %why, "no checkpoint can be read; the rule starts fresh");
            None
        })
    };
    Ok(ready.launch(restore))
}

/// Tells the control task how a run has ended by itself.
fn watch(id: Arc<str>, launch: u64, ends: mpsc::UnboundedSender<Report>) -> Tell {
    Box::new(move |outcome| {
        let signal = match outcome {
            Outcome::Done => Signal::Done,
            Outcome::Failed(why) => Signal::Failed(why),
            // Whoever stopped it reports that itself.
            Outcome::Stopped | Outcome::Running => return,
        };
        // A control task that is gone has stopped all rules.
        let _ = ends.send(Report { id, launch, signal, run: None });
    })
}

fn halt(entry: Arc<RuleEntry>, launch: u64, is_parting: bool) -> BoxFuture<'static, Option<Report>> {
    Box::pin(async move {
        if let Some(run) = entry.run() {
            if is_parting {
                run.part();
            }
            run.stop(GRACE).await;
        }
        Some(Report { id: Arc::clone(&entry.id), launch, signal: Signal::Closed, run: None })
    })
}

fn forget_trigger(
    entry: &RuleEntry,
    store: Arc<dyn Store>,
    writing: Arc<()>,
) -> BoxFuture<'static, Option<Report>> {
    let record = entry.record().with_triggered(false);
    let (id, temp) = (entry.id.to_string(), record.temp);
    let change = Change::Put(Table::Rule, id.clone(), record.text.as_bytes().to_vec());
    entry.set_record(record);
    Box::pin(async move {
        if !temp && let Err(why) = blocking(move || store.write(&[change]).map_err(EngineError::from)).await {
            error!(rule = %id, %why, "the end of the rule could not be stored");
        }
        drop(writing);
        None
    })
}
