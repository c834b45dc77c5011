//! A function, source or sink that was started in a plugin and is started again in its next process.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value as Json};

use crate::control::SymbolMetrics;
use crate::greeting::Caps;
use crate::manifest::Kind;

/// Further members of the control object for a process with these capabilities.
pub(crate) type Further = Box<dyn Fn(Caps) -> Map<String, Json> + Send + Sync>;

/// One started symbol.
pub(crate) struct Symbol {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// Empty for functions.
    pub(crate) rule: String,
    /// The rule's node; empty for functions.
    pub(crate) op: String,
    /// The control object as JSON text, which starts and stops it.
    pub(crate) control: String,
    state: Mutex<SymbolState>,
    /// What `start` says beyond the control object.
    further: OnceLock<Further>,
    /// What it has counted, and in which life.
    metrics: Mutex<(u64, SymbolMetrics)>,
    /// Tells how long it has been at work on a call.
    probe: OnceLock<Probe>,
}

/// See [`Symbol::set_probe`].
type Probe = Box<dyn Fn() -> Option<Duration> + Send + Sync>;

/// Where the symbol runs. The lock is held during `start` and `stop`, so that neither happens twice.
#[derive(Default)]
pub(crate) struct SymbolState {
    /// The life of the process in which it was started; 0 when in none.
    pub(crate) life: u64,
    /// Why the last start failed.
    pub(crate) error: Option<String>,
}

impl Symbol {
    pub(crate) fn new(kind: Kind, name: &str, rule: &str, control: String) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            rule: rule.to_owned(),
            op: String::new(),
            control,
            state: Mutex::default(),
            further: OnceLock::new(),
            metrics: Mutex::default(),
            probe: OnceLock::new(),
        }
    }

    /// The same at a node of the rule.
    pub(crate) fn at(mut self, op: &str) -> Self {
        op.clone_into(&mut self.op);
        self
    }

    /// Lets `start` say more than the control object, to a process with these capabilities.
    pub(crate) fn saying(self, further: Further) -> Self {
        self.further.get_or_init(|| further);
        self
    }

    /// What starts it in a process with these capabilities.
    pub(crate) fn start_control(&self, caps: Caps) -> String {
        let further = self.further.get().map(|further| further(caps)).unwrap_or_default();
        if further.is_empty() {
            return self.control.clone();
        }
        match serde_json::from_str(&self.control) {
            Ok(Json::Object(mut control)) => {
                control.extend(further);
                Json::Object(control).to_string()
            }
            _ => self.control.clone(),
        }
    }

    /// Takes in the totals that have changed in this life; each process counts from nothing.
    pub(crate) fn note_metrics(&self, life: u64, changed: &Json) {
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        if metrics.0 != life {
            *metrics = (life, SymbolMetrics::default());
        }
        metrics.1.update(changed);
    }

    /// What it has counted in its latest process; `None` when that is nothing.
    pub(crate) fn metrics(&self) -> Option<SymbolMetrics> {
        let metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        (metrics.1 != SymbolMetrics::default()).then(|| metrics.1.clone())
    }

    /// From now on `probe` tells how long the symbol has been at work on a call.
    pub(crate) fn set_probe(&self, probe: impl Fn() -> Option<Duration> + Send + Sync + 'static) {
        // The first one stays: a symbol has one channel.
        let _ = self.probe.set(Box::new(probe));
    }

    /// How long it has been at work on a call; `None` when on none.
    pub(crate) fn busy(&self) -> Option<Duration> {
        self.probe.get().and_then(|probe| probe())
    }

    /// What tells it from all others of its plugin.
    pub(crate) fn key(&self) -> (Kind, String) {
        (self.kind, self.control.clone())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, SymbolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same without waiting for a start in progress.
    pub(crate) fn try_state(&self) -> Option<MutexGuard<'_, SymbolState>> {
        self.state.try_lock().ok()
    }
}
