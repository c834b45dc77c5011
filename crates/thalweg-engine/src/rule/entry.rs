//! What everybody may see of one rule. Written by the control task, read by anybody without waiting.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use thalweg_core::Timestamp;
use thalweg_runtime::{CheckpointStatus, Memory, NodeSnapshot};
use tokio::sync::Notify;

use super::build::Built;
use super::record::{Needs, Record};
use super::run::{Ready, Run};
use super::state::{Phase, State};

/// The published part of a rule's state.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Where it stands.
    pub phase: Phase,
    /// Why.
    pub message: Arc<str>,
    /// Whether no transition is under way.
    pub settled: bool,
    /// Epoch ms of the last start; 0: never.
    pub last_start: Timestamp,
    /// Epoch ms of the last stop; 0: never.
    pub last_stop: Timestamp,
}

/// A rule.
pub struct RuleEntry {
    /// Its id.
    pub id: Arc<str>,
    record: ArcSwap<Record>,
    needs: ArcSwapOption<Needs>,
    view: Mutex<View>,
    /// One for all rules: told when any of them comes to rest.
    settling: Arc<Notify>,
    /// Built by whoever asked for a start, so that mistakes are answered there; taken by the launch.
    ready: Mutex<Option<Box<dyn Ready>>>,
    run: Mutex<Option<Arc<dyn Run>>>,
    /// The figures of the last run, once it has ended.
    last: ArcSwapOption<Figures>,
}

/// What a run shows of itself.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// The metrics of its nodes.
    pub nodes: Vec<NodeSnapshot>,
    /// Its checkpoints, if it has any.
    pub checkpoints: Option<CheckpointStatus>,
}

impl Figures {
    fn of(run: &dyn Run) -> Self {
        Self { nodes: run.metrics(), checkpoints: run.checkpoints() }
    }
}

impl RuleEntry {
    /// A rule that does not run. `settling` is told when it, or any other rule, comes to rest.
    pub fn new(record: Record, settling: Arc<Notify>) -> Self {
        let state = State::default();
        let zero = Timestamp::default();
        let view = View {
            phase: state.phase,
            message: state.message,
            settled: true,
            last_start: zero,
            last_stop: zero,
        };
        Self {
            id: Arc::clone(&record.id),
            record: ArcSwap::from_pointee(record),
            needs: ArcSwapOption::empty(),
            view: Mutex::new(view),
            settling,
            ready: Mutex::new(None),
            run: Mutex::new(None),
            last: ArcSwapOption::empty(),
        }
    }

    /// What is kept of its definition.
    pub fn record(&self) -> Arc<Record> {
        self.record.load_full()
    }

    /// What it reads and uses, as of its last build; `None`: it was never built.
    pub fn needs(&self) -> Option<Arc<Needs>> {
        self.needs.load_full()
    }

    /// Its state.
    pub fn view(&self) -> View {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The figures of its run, of the last one if it does not run now.
    pub fn figures(&self) -> Figures {
        let run = self.run.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match run {
            Some(run) => Figures::of(run.as_ref()),
            None => self.last.load().as_deref().cloned().unwrap_or_default(),
        }
    }

    /// Its memory, with that of its run; `None` when the run's thread does not answer in time.
    pub async fn memory(&self) -> Option<Memory> {
        let needs = self.needs.load_full();
        let asks = needs.as_ref().map_or(0, |needs| size_of::<Needs>() + needs.memory());
        let own = size_of::<Self>() + self.id.len() + self.record().memory() + asks;
        let mut memory = match self.run() {
            Some(run) => run.memory().await?,
            None => Memory::default(),
        };
        memory.record += own as u64;
        Some(memory)
    }

    /// Waits until no transition is under way.
    pub async fn settled(&self) {
        loop {
            // Listens before it looks, so that nothing is missed in between.
            let told = self.settling.notified();
            let mut told = std::pin::pin!(told);
            told.as_mut().enable();
            if self.view().settled {
                return;
            }
            told.await;
        }
    }

    pub(super) fn set_record(&self, record: Record) {
        self.record.store(Arc::new(record));
    }

    pub(super) fn publish(&self, view: View) {
        let is_settled = view.settled;
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
        if is_settled {
            self.settling.notify_waiters();
        }
    }

    /// Puts a build where the next launch finds it.
    pub(super) fn offer(&self, built: Built) {
        self.needs.store(Some(Arc::new(built.needs)));
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(built.ready);
    }

    pub(super) fn take_ready(&self) -> Option<Box<dyn Ready>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn set_run(&self, run: Arc<dyn Run>) {
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
    }

    pub(super) fn run(&self) -> Option<Arc<dyn Run>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the last metrics and lets the run go.
    pub(super) fn end_run(&self) {
        let run = self.run.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(run) = run {
            self.last.store(Some(Arc::new(Figures::of(run.as_ref()))));
        }
    }
}
