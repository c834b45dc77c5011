//! One plugin: its process, its control channel, and what is started in it.
//!
//! The object outlives processes and packages: an update or a crash changes the process behind it, and rules that
//! hold on to it find the new one. Each process is a *life* with a number, so that nobody takes the end of one life
//! for the end of the next.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::channel::{Deadline, ExchangeError, Limits, Options, PeerCheck, Rep, Stopwatch};
use thalweg_core::{Clock, SystemClock, Timestamp};
use tracing::{debug, info, warn};

use crate::config::HostConfig;
use crate::control::Peer;
use crate::group;
use crate::health::{self, Missed};
use crate::limits::PluginLimits;
use crate::manifest::Kind;
use crate::output::Output;
use crate::package::Package;
use crate::process;
use crate::sockets;
use crate::status::{PluginStatus, SymbolStatus};
use crate::symbol::{Symbol, SymbolState};
use crate::sys;
use crate::wire;

/// How long the end of a process may trail the end of its sockets.
const TRAIL: Duration = Duration::from_millis(500);
/// While a process starts, any process of the user may connect: its group is not known for some microseconds.
const GROUP_UNKNOWN: i32 = -1;

/// See the module's documentation.
pub(crate) struct Plugin {
    pub(crate) name: Arc<str>,
    pub(crate) config: Arc<HostConfig>,
    pub(crate) output: Arc<Output>,
    state: Mutex<State>,
    pub(crate) changed: Condvar,
    /// The process group that may connect; 0 for nobody.
    group: Arc<AtomicI32>,
    /// Where its sockets are.
    sockets: Mutex<PathBuf>,
    /// Those that were written down, in case nobody can remove them.
    noted: Mutex<BTreeSet<PathBuf>>,
    /// The time for which its processes were stopped because of their share of the processor.
    throttled_ms: AtomicU64,
    /// The length of the pause in which they are now, in milliseconds; 0 when in none.
    pause_ms: AtomicU64,
    /// Ordered as they are started again: functions, sinks, sources.
    symbols: Mutex<BTreeMap<(Kind, String), Arc<Symbol>>>,
}

/// Guarded by one lock; every change is announced on `changed`.
pub(crate) struct State {
    pub(crate) package: Option<Arc<Package>>,
    /// Those of the package over those of the configuration.
    pub(crate) limits: PluginLimits,
    /// The kernel keeps those of memory and processor as well.
    pub(crate) is_kept_by_kernel: bool,
    pub(crate) phase: Phase,
    /// Since when the phase is this one: for comparing, and for people.
    pub(crate) since: (Stopwatch, Timestamp),
    /// Processes since the last one that ran, which have all ended before they did.
    pub(crate) failed_starts: u32,
    /// The process does not answer to `ping`.
    pub(crate) missed: Option<Missed>,
    /// Whether the process is to be kept alive.
    pub(crate) wanted: bool,
    /// The phase after a stop: `Starting` when the next version is about to follow.
    pub(crate) after_stop: Phase,
    /// Start again without waiting for the back-off.
    pub(crate) hurry: bool,
    /// Counts processes from 1.
    pub(crate) life: u64,
    pub(crate) pid: Option<u32>,
    /// Why the phase is `Error`.
    pub(crate) error: String,
    /// Why we killed the process ourselves, unasked.
    pub(crate) kill_reason: Option<String>,
    pub(crate) restarts: u64,
    pub(crate) last_exit: Option<String>,
    /// Whether a thread looks after the process.
    pub(crate) is_supervised: bool,
    pub(crate) control: Option<Arc<Rep>>,
    /// Batches of calls that are under way ([`Plugin::enter`]).
    pub(crate) n_entered: usize,
    /// The process, as it has introduced itself in this life.
    pub(crate) peer: Arc<Peer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No process was started yet.
    Initializing,
    /// From the start of a process until its symbols run again.
    Starting,
    Running,
    /// Between two processes.
    Error,
    Stop,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "plugin {}", self.name)
    }
}

fn now() -> (Stopwatch, Timestamp) {
    (Stopwatch::start(), SystemClock::default().now())
}

impl State {
    /// Changes the phase. From one try to start to the next it is the same state that lasts.
    pub(crate) fn enter(&mut self, phase: Phase) {
        let is_down = |phase| matches!(phase, Phase::Initializing | Phase::Starting | Phase::Error);
        if self.phase != phase && !(is_down(self.phase) && is_down(phase)) {
            self.since = now();
        }
        self.phase = phase;
        if phase != Phase::Running {
            self.missed = None;
        }
    }
}

impl Plugin {
    pub(crate) fn new(name: &str, config: Arc<HostConfig>) -> Arc<Self> {
        let limits = config.limits;
        Arc::new(Self {
            name: Arc::from(name),
            config,
            output: Arc::default(),
            state: Mutex::new(State {
                package: None,
                limits,
                is_kept_by_kernel: false,
                phase: Phase::Initializing,
                since: now(),
                failed_starts: 0,
                missed: None,
                wanted: false,
                after_stop: Phase::Stop,
                hurry: false,
                life: 0,
                pid: None,
                error: String::new(),
                kill_reason: None,
                restarts: 0,
                last_exit: None,
                is_supervised: false,
                control: None,
                n_entered: 0,
                peer: Arc::default(),
            }),
            changed: Condvar::new(),
            group: Arc::new(AtomicI32::new(0)),
            sockets: Mutex::new(PathBuf::from(sockets::USUAL)),
            noted: Mutex::default(),
            throttled_ms: AtomicU64::new(0),
            pause_ms: AtomicU64::new(0),
            symbols: Mutex::default(),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait<'a>(&self, state: MutexGuard<'a, State>, deadline: Deadline) -> MutexGuard<'a, State> {
        let wait = deadline.left_at_most(Duration::from_secs(3600));
        self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Everything that is started.
    pub(crate) fn all_symbols(&self) -> Vec<Arc<Symbol>> {
        self.symbols().values().cloned().collect()
    }

    fn symbols(&self) -> MutexGuard<'_, BTreeMap<(Kind, String), Arc<Symbol>>> {
        self.symbols.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The installed package; `None` after a delete.
    pub(crate) fn package(&self) -> Option<Arc<Package>> {
        self.state().package.clone()
    }

    /// Starts the process of this package and keeps it alive. Returns before the handshake.
    pub(crate) fn start(self: &Arc<Self>, package: Arc<Package>) -> Result<(), String> {
        let limits = self.config.limits.changed_by(&package.manifest.limits)?;
        let mut state = self.state();
        if state.control.is_none() {
            state.control = Some(Arc::new(self.listen(&package)?));
        }
        (state.package, state.limits, state.failed_starts) = (Some(package), limits, 0);
        state.wanted = true;
        state.enter(Phase::Starting);
        state.error.clear();
        if !state.is_supervised {
            process::supervise(self).map_err(|error| format!("cannot start a thread: {error}"))?;
            state.is_supervised = true;
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Opens the control channel, in the usual folder or, if another engine is there, in our own.
    fn listen(&self, package: &Package) -> Result<Rep, String> {
        let mut folder = PathBuf::from(sockets::USUAL);
        if sockets::is_taken(&self.name, &package.manifest) && package.is_on_bundled_sdk(&self.config) {
            folder = sockets::own_folder(&self.config).map_err(|error| error.to_string())?;
            let (name, folder) = (&self.name, folder.display());
            info!(plugin = %name, "another engine has plugin {name} or one of its functions; ours are in {folder}");
        }
        *self.sockets.lock().unwrap_or_else(PoisonError::into_inner) = folder;
        let path = self.socket(&sockets::control_file(&self.name));
        Rep::listen(&path, self.socket_options(), wire::is_keepalive).map_err(|error| error.to_string())
    }

    /// Whether the last process has ended before it ran: the next one is not worth waiting for.
    pub(crate) fn fails_to_start(&self) -> bool {
        self.state().failed_starts > 0
    }

    /// Where its sockets are.
    pub(crate) fn socket_folder(&self) -> PathBuf {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The path of a socket about to be made.
    pub(crate) fn socket(&self, file: &str) -> PathBuf {
        let path = self.socket_folder().join(file);
        let is_new = self.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
        if is_new {
            sockets::note(&self.config, &path);
        }
        path
    }

    /// Ends the process, first gently. The control channel stays, for the next process.
    pub(crate) fn stop(&self) {
        self.stop_before(Phase::Stop);
    }

    /// The same when another version is about to start: who needs the plugin waits for that.
    pub(crate) fn stop_for_next(&self) {
        self.stop_before(Phase::Starting);
    }

    fn stop_before(&self, next: Phase) {
        let mut state = self.state();
        state.wanted = false;
        state.after_stop = next;
        let group = state.pid.map_or(0, |pid| pid as i32);
        drop(state);
        self.changed.notify_all();
        // One that is stopped, by its limits or by somebody else, would hear nothing.
        sys::signal_group(group, sys::CONTINUE);
        if self.ask_to_end() && self.wait_unsupervised(Deadline::after(self.config.stop_timeout)) {
            self.state().enter(next);
            self.changed.notify_all();
            return;
        }
        sys::signal_group(group, sys::TERMINATE);
        if !self.wait_unsupervised(Deadline::after(self.config.stop_timeout)) {
            sys::signal_group(group, sys::KILL);
            self.wait_unsupervised(Deadline::after(Duration::from_secs(5)));
        }
        self.state().enter(next);
        self.changed.notify_all();
    }

    /// What every process of this plugin carries in its environment.
    pub(crate) fn mark(&self) -> String {
        group::mark(&self.config.engine(), &self.name)
    }

    /// How long a call may take.
    pub(crate) fn call_timeout(&self) -> Duration {
        self.state().limits.call_timeout.unwrap_or(self.config.recv_timeout)
    }

    /// Notes that the processes are stopped for so long because of their share of the processor; zero when they go on.
    pub(crate) fn set_throttled(&self, pause: Duration) {
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.pause_ms.store(pause, SeqCst);
        self.throttled_ms.fetch_add(pause, SeqCst);
    }

    /// The pause in which the processes are now because of their share of the processor.
    pub(crate) fn throttled(&self) -> Option<Duration> {
        let pause = self.pause_ms.load(SeqCst);
        (pause > 0).then(|| Duration::from_millis(pause))
    }

    fn wait_unsupervised(&self, deadline: Deadline) -> bool {
        let mut state = self.state();
        while state.is_supervised {
            if deadline.is_over() {
                return false;
            }
            state = self.wait(state, deadline);
        }
        true
    }

    /// After a delete: no package, no sockets. What is held by rules stays, and fails until the next install.
    pub(crate) fn remove(&self) {
        let control = {
            let mut state = self.state();
            state.package = None;
            state.enter(Phase::Stop);
            state.control.take()
        };
        if let Some(control) = control {
            control.close();
        }
    }

    /// Who may connect to, or listen on, this plugin's channels.
    pub(crate) fn socket_options(&self) -> Options {
        let (user, group) = (sys::own_user(), Arc::clone(&self.group));
        let check: PeerCheck = Arc::new(move |peer| {
            let group = group.load(SeqCst);
            peer.uid == user
                && (group == GROUP_UNKNOWN || (group != 0 && sys::group_of(peer.pid) == Some(group)))
        });
        Options { max_message: self.config.max_message, peer_check: Some(check) }
    }

    /// Opens the channels for a process about to be started, narrows them to it, or closes them.
    pub(crate) fn set_group(&self, pid: Option<u32>, is_starting: bool) {
        let group = if is_starting { GROUP_UNKNOWN } else { pid.map_or(0, |pid| pid as i32) };
        self.group.store(group, SeqCst);
    }

    /// The life of the running process. One that is just starting is given `patience`; one that waits for its next
    /// try is not.
    pub(crate) fn life(&self, patience: Duration) -> Result<u64, String> {
        let mut state = self.state();
        if state.phase == Phase::Running {
            return Ok(state.life);
        }
        let deadline = Deadline::after(patience);
        while state.phase == Phase::Starting && !deadline.is_over() {
            state = self.wait(state, deadline);
        }
        if state.phase == Phase::Running { Ok(state.life) } else { Err(self.why_not(&state)) }
    }

    /// The same with patience also for a process that waits for its next try.
    pub(crate) fn next_life(&self, patience: Duration) -> Result<u64, String> {
        let deadline = Deadline::after(patience);
        let mut state = self.state();
        while state.wanted && state.phase != Phase::Running && !deadline.is_over() {
            state = self.wait(state, deadline);
        }
        if state.phase == Phase::Running { Ok(state.life) } else { Err(self.why_not(&state)) }
    }

    pub(crate) fn why_not(&self, state: &State) -> String {
        match state.phase {
            Phase::Error => format!("plugin {} is not running ({})", self.name, state.error),
            Phase::Stop => format!("plugin {} is not installed", self.name),
            _ => format!("plugin {} is starting", self.name),
        }
    }

    /// Waits for the outcome of a start in progress. `hurry`: a process that waits for its next try gets it now.
    pub(crate) fn wait_ready(&self, hurry: bool) -> Result<u64, String> {
        // The handshake has its own time-out; this one only guards against waiting for ever on symbols.
        let deadline = Deadline::after(self.config.init_timeout + self.config.control_timeout);
        let mut state = self.state();
        if hurry && state.phase == Phase::Error && state.wanted {
            state.hurry = true;
            state.enter(Phase::Starting);
            self.changed.notify_all();
        }
        loop {
            match state.phase {
                Phase::Running => return Ok(state.life),
                Phase::Error | Phase::Stop => return Err(self.why_not(&state)),
                _ if deadline.is_over() => return Err(self.why_not(&state)),
                _ => state = self.wait(state, deadline),
            }
        }
    }

    /// Why a life ended, if it ends within the moment by which the news may trail the closing of its sockets.
    pub(crate) fn end_of(&self, life: u64) -> Option<String> {
        let deadline = Deadline::after(TRAIL);
        let mut state = self.state();
        while state.life == life && state.pid.is_some() {
            if deadline.is_over() {
                return None;
            }
            state = self.wait(state, deadline);
        }
        Some(state.last_exit.clone().unwrap_or_else(|| "stopped".to_owned()))
    }

    /// One command on the control channel.
    fn command(&self, name: &str, symbol: &Symbol, arg: &str) -> Result<(), String> {
        let (control, life) = {
            let state = self.state();
            (state.control.clone(), state.life)
        };
        let Some(control) = control else {
            return Err(format!("plugin {} is not installed", self.name));
        };
        let limits = Limits { hand_over: self.config.control_timeout, answer: self.config.control_timeout };
        let what = format!("to {name} {} {}", symbol.kind.noun(), symbol.name);
        match control.exchange(&wire::command(name, arg), limits) {
            Ok(answer) if answer == b"ok" => Ok(()),
            Ok(answer) => {
                let text = String::from_utf8_lossy(&answer);
                debug!(plugin = %self.name, "refused {what}: {text}");
                Err(format!("plugin {} refused {what}: {}", self.name, wire::last_line(&text)))
            }
            Err(ExchangeError::Gone(why)) => {
                let reason = self.end_of(life).unwrap_or(why);
                Err(format!("plugin {} ended ({reason}) when asked {what}", self.name))
            }
            Err(ExchangeError::Closed) => Err(format!("plugin {} is not installed", self.name)),
            Err(_) => {
                let wait = self.config.control_timeout.as_millis();
                Err(format!("plugin {} did not answer within {wait}ms when asked {what}", self.name))
            }
        }
    }

    /// Starts a symbol in this life, unless it runs there, and remembers it for the next ones.
    pub(crate) fn start_symbol(&self, symbol: &Arc<Symbol>, life: u64) -> Result<(), String> {
        let mut state = symbol.state();
        if state.life == life {
            return Ok(());
        }
        self.symbols().insert(symbol.key(), Arc::clone(symbol));
        self.launch(symbol, &mut state, life)
    }

    /// The same for one that was started in an earlier life, unless it was forgotten meanwhile.
    fn start_again(&self, symbol: &Symbol, life: u64) -> Result<(), String> {
        let mut state = symbol.state();
        if state.life == life || !self.symbols().contains_key(&symbol.key()) {
            return Ok(());
        }
        self.launch(symbol, &mut state, life)
    }

    fn launch(&self, symbol: &Symbol, state: &mut SymbolState, life: u64) -> Result<(), String> {
        let control = symbol.start_control(self.peer(life).caps);
        let started = self.command("start", symbol, &control);
        state.error = started.clone().err();
        state.life = if started.is_ok() { life } else { 0 };
        started
    }

    /// Starts a symbol anew that has ended by itself within a life.
    pub(crate) fn restart_symbol(&self, symbol: &Arc<Symbol>, life: u64) -> Result<(), String> {
        if std::mem::take(&mut symbol.state().life) == life {
            // What has ended cannot be stopped; that it says so does not matter.
            let _ = self.command("stop", symbol, &symbol.control);
        }
        self.start_symbol(symbol, life)
    }

    /// Notes that a symbol does not run any more, so that the next start is a real one.
    pub(crate) fn forget_start(&self, symbol: &Symbol, life: u64) {
        let mut state = symbol.state();
        if state.life == life {
            state.life = 0;
        }
    }

    /// Forgets a symbol, which ends by itself. Does not wait for a start in progress.
    pub(crate) fn forget_symbol(&self, symbol: &Symbol) {
        self.symbols().remove(&symbol.key());
    }

    /// Stops a symbol and forgets it.
    pub(crate) fn stop_symbol(&self, symbol: &Symbol) {
        self.symbols().remove(&symbol.key());
        let life = std::mem::take(&mut symbol.state().life);
        if life != 0
            && self.life(Duration::ZERO) == Ok(life)
            && let Err(error) = self.command("stop", symbol, &symbol.control)
        {
            warn!(plugin = %self.name, "{error}");
        }
    }

    /// Starts everything again after the handshake of a new process.
    pub(crate) fn replay(&self, life: u64) {
        let symbols: Vec<Arc<Symbol>> = self.symbols().values().cloned().collect();
        for symbol in symbols {
            if self.state().life != life || self.state().pid.is_none() {
                return;
            }
            if let Err(error) = self.start_again(&symbol, life) {
                warn!(plugin = %self.name, rule = symbol.rule, "after a restart: {error}");
            }
        }
    }

    /// The source or sink at a node of a rule.
    pub(crate) fn symbol_of(&self, rule: &str, op: &str) -> Option<Arc<Symbol>> {
        let symbols = self.symbols();
        let mut flows = symbols.values().filter(|symbol| symbol.kind != Kind::Function);
        flows.find(|symbol| symbol.rule == rule && symbol.op == op).cloned()
    }

    /// What the API shows; `None` before the first process.
    pub(crate) fn status(&self) -> Option<PluginStatus> {
        let symbols: Vec<Arc<Symbol>> = self.symbols().values().cloned().collect();
        // The channel asks this plugin questions while it holds its own lock, so it is asked before ours is taken.
        let control = self.state().control.clone();
        let queue = control.map_or(0, |control| control.n_callers());
        let health_reasons = self.troubles();
        let usage = self.state().pid.map(|pid| group::usage(&group::members(pid as i32)));
        let state = self.state();
        let mut ref_count = BTreeMap::new();
        for symbol in symbols.iter().filter(|symbol| symbol.kind != Kind::Function) {
            *ref_count.entry(symbol.rule.clone()).or_default() += 1;
        }
        let status = match state.phase {
            Phase::Initializing | Phase::Starting => "initializing",
            Phase::Running => "running",
            Phase::Error => "error",
            Phase::Stop => "stop",
        };
        let life = if state.pid.is_some() { state.life } else { 0 };
        let describe = |symbol: &Arc<Symbol>| {
            // A symbol that is being started now is not running yet, and is not waited for.
            let running = symbol.try_state().is_some_and(|state| state.life != 0 && state.life == life);
            SymbolStatus {
                kind: symbol.kind.noun().to_owned(),
                name: symbol.name.clone(),
                rule: symbol.rule.clone(),
                running,
                error: symbol.try_state().and_then(|state| state.error.clone()),
                times: None,
                metrics: symbol.metrics(),
            }
        };
        (state.life > 0 || state.phase != Phase::Initializing).then(|| PluginStatus {
            ref_count,
            status: status.to_owned(),
            err_msg: state.error.clone(),
            pid: state.pid,
            version: state
                .package
                .as_ref()
                .map(|package| package.manifest.version.clone())
                .unwrap_or_default(),
            restarts: state.restarts,
            last_exit: state.last_exit.clone(),
            queue,
            symbols: symbols.iter().map(describe).collect(),
            since: state.since.1.0,
            health: health::word(&health_reasons),
            health_reasons,
            limits: state.limits,
            limits_by: if state.is_kept_by_kernel { "cgroup" } else { "engine" },
            usage,
            throttled_ms: self.throttled_ms.load(SeqCst),
            log: self.output.lines(),
            sdk: Some(state.peer.greeting.sdk.clone()).filter(|sdk| !sdk.is_empty()),
            caps: state.peer.caps.names(),
        })
    }
}
