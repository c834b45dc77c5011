//! The channel of one function: one thread and one instance in the plugin, shared by all rules.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value as Json, json};
use thalweg_expr::function::CallSite;
use tracing::debug;

use super::pace::{Allowance, Pace};
use super::region::Region;
use super::terms::{OFFERED, OFFERED_WITH_MEMORY, Sites, Terms};
use crate::channel::{Deadline, ExchangeError, Limits, Rep, Timing};
use crate::entered::Entered;
use crate::greeting::{Cap, Caps, Greeting};
use crate::manifest::Kind;
use crate::plugin::Plugin;
use crate::sockets::function_file;
use crate::symbol::Symbol;
use crate::wire::{self, Answer};

/// So many time-outs of one rule in a row make its calls fail fast …
const STRIKES: u32 = 3;
/// … for so long.
const FAIL_FAST: Duration = Duration::from_secs(1);

/// See the module's documentation.
pub(crate) struct FunctionChannel {
    pub(super) name: String,
    pub(super) plugin: Arc<Plugin>,
    symbol: Arc<Symbol>,
    rep: Arc<Rep>,
    is_aggregate: Mutex<Option<bool>>,
    strikes: Mutex<HashMap<String, Strikes>>,
    /// With the process that is there.
    terms: Mutex<Option<Arc<Terms>>>,
    sites: Mutex<Sites>,
    pub(super) pace: Pace,
    seq: AtomicU64,
    again: Mutex<Allowance>,
    /// How many channels were opened before it.
    age: u64,
}

/// What a process was told of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// The number of the call.
    pub(super) number: u32,
    /// The call was known to an earlier process, with whatever a stateful function has remembered there.
    pub(super) is_lost: bool,
    /// Greater whenever that has happened; no two channels have the same.
    pub(super) memory: u64,
}

/// The time-outs of one rule.
struct Strikes {
    count: u32,
    until: Deadline,
}

/// A process that can be called.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    pub(crate) life: u64,
    pub(crate) terms: Arc<Terms>,
    /// It is not replaced while somebody holds this.
    _entered: Arc<Entered>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The time-out, which counts towards failing fast.
    Late(String),
    /// The process has ended while it was at work on the message, for this reason.
    Ended {
        reason: String,
        text: String,
    },
    /// There was no process to call.
    Down(String),
    Other(String),
}

impl Failure {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Late(text) | Self::Ended { text, .. } | Self::Down(text) | Self::Other(text) => text,
        }
    }

    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Late(text) | Self::Ended { text, .. } | Self::Down(text) | Self::Other(text) => text,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FunctionChannel {
    /// Listens. The plugin is told on the first call of each life.
    /// Its socket has this address, which is the name unless several processes serve the function.
    pub(crate) fn open(name: &str, address: &str, plugin: Arc<Plugin>, age: u64) -> Result<Self, String> {
        if name.contains('/') {
            return Err(format!("function name {name} contains a slash"));
        }
        let rep =
            Rep::listen(&plugin.socket(&function_file(address)), plugin.socket_options(), wire::is_keepalive);
        let rep = Arc::new(rep.map_err(|error| error.to_string())?);
        let control = wire::function_control(name, address);
        let symbol = Arc::new(Symbol::new(Kind::Function, name, "", control));
        let probed = Arc::downgrade(&rep);
        symbol.set_probe(move || probed.upgrade()?.busy());
        Ok(Self {
            name: name.to_owned(),
            plugin,
            symbol,
            rep,
            is_aggregate: Mutex::default(),
            strikes: Mutex::default(),
            terms: Mutex::default(),
            sites: Mutex::default(),
            pace: Pace::default(),
            seq: AtomicU64::new(0),
            again: Mutex::new(Allowance::new()),
            age,
        })
    }

    pub(crate) fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// The function's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether its calls may go to another process than those before: it keeps nothing from call to call.
    pub(super) fn may_spread(&self) -> bool {
        lock(&self.terms).as_ref().is_some_and(|terms| terms.is_batched() && !terms.function.is_stateful)
    }

    /// Asks the process that is about to end what a stateful function remembers, so that the next one goes on with it.
    pub(crate) fn hand_down(&self) -> Result<(), String> {
        let terms = lock(&self.terms).clone().filter(|terms| terms.is_stateful());
        let Some(terms) = terms.filter(|terms| self.rep.connection() == Some(terms.connection)) else {
            return Ok(());
        };
        let life = self.plugin.state().life;
        let numbers: Vec<u32> = terms.bound().iter().copied().collect();
        for number in numbers {
            let save = json!({"func": "Save", "arg": {"ctx": number}});
            let saved = self.command(&save, terms.connection, life).map_err(Failure::into_text)?;
            let saved = (!saved.is_null()).then(|| saved.to_string().into_bytes());
            lock(&self.sites).hand_down(number, saved);
        }
        Ok(())
    }

    /// How long its calls have waited and taken so far.
    pub(crate) fn timing(&self) -> Timing {
        self.rep.timing()
    }

    /// Ends the channel and forgets that the function was started.
    pub(crate) fn close(&self) {
        self.plugin.stop_symbol(&self.symbol);
        self.rep.close();
    }

    /// Ends the channel without a word to the plugin, whose thread for the function ends with it; `stop` does not end
    /// functions.
    pub(crate) fn abandon(&self) {
        self.plugin.forget_symbol(&self.symbol);
        self.rep.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.rep.is_closed()
    }

    /// The package has changed.
    pub(crate) fn refresh(&self) {
        *lock(&self.is_aggregate) = None;
    }

    /// Whether the function is an aggregate, if it has been asked.
    pub(crate) fn is_aggregate(&self) -> Option<bool> {
        *lock(&self.is_aggregate)
    }

    pub(crate) fn set_aggregate(&self, is_aggregate: bool) {
        *lock(&self.is_aggregate) = Some(is_aggregate);
    }

    /// Whether the process that is connected has said that rows do not depend on each other.
    pub(crate) fn is_parallel(&self) -> bool {
        lock(&self.terms).as_ref().is_some_and(|terms| terms.function.is_parallel)
    }

    /// A process for a call of a rule. A rule whose calls keep running into the time-out does not hold up the others.
    pub(super) fn ready(&self, rule: &str) -> Result<Ready, Failure> {
        let strikes = lock(&self.strikes);
        if strikes.get(rule).is_some_and(|strikes| strikes.count >= STRIKES && !strikes.until.is_over()) {
            return Err(Failure::Other(format!(
                "plugin {} did not answer {STRIKES} times in a row; trying again soon",
                self.plugin.name
            )));
        }
        drop(strikes);
        self.ready_in(self.plugin.enter(self.plugin.config.send_timeout).map_err(Failure::Down)?)
    }

    /// The same for nobody in particular. A process that waits for its next try gets it now.
    pub(super) fn ready_at_once(&self) -> Result<Ready, Failure> {
        self.plugin.wait_ready(true).map_err(Failure::Down)?;
        self.ready_in(self.plugin.enter(self.plugin.config.send_timeout).map_err(Failure::Down)?)
    }

    fn ready_in(&self, entered: Entered) -> Result<Ready, Failure> {
        let life = entered.life;
        self.plugin.start_symbol(&self.symbol, life).map_err(|text| {
            let is_over = self.plugin.life(Duration::ZERO) != Ok(life);
            if is_over { Failure::Down(text) } else { Failure::Other(text) }
        })?;
        Ok(Ready { life, terms: self.terms(life)?, _entered: Arc::new(entered) })
    }

    /// What is agreed with the process that is connected.
    fn terms(&self, life: u64) -> Result<Arc<Terms>, Failure> {
        let mut held = lock(&self.terms);
        let connection = self.rep.connection();
        if let Some(terms) = held.as_ref().filter(|terms| Some(terms.connection) == connection) {
            return Ok(Arc::clone(terms));
        }
        // The plugin has dialled before it said that the function is started; what it says first may trail that.
        let is_over = || self.plugin.life(Duration::ZERO) != Ok(life);
        let deadline = Deadline::after(self.plugin.config.send_timeout);
        while self.rep.greeting().is_none() && self.rep.wait_request(deadline, &is_over) {}
        let Some(first) = self.rep.greeting() else {
            return Err(self.gone(life));
        };
        let greeting = Greeting::parse(&first.message);
        let (caps, region) = if greeting.caps.is_empty() {
            (Caps::default(), None)
        } else {
            self.agree(greeting.caps, first.connection, life)?
        };
        let terms = Arc::new(Terms::new(first.connection, caps, greeting.function, region));
        *held = Some(Arc::clone(&terms));
        Ok(terms)
    }

    /// Offers what we can do; returns what is in force.
    fn agree(&self, advertised: Caps, connection: u64, life: u64) -> Result<(Caps, Option<Region>), Failure> {
        let region = if advertised.has(Cap::Shm) && self.plugin.config.shared_memory {
            let region = Region::create();
            region.inspect_err(|why| debug!(function = self.name, "no shared memory: {why}")).ok()
        } else {
            None
        };
        let offered = if region.is_some() { OFFERED_WITH_MEMORY } else { OFFERED };
        let mut hello = self.plugin.settings().hello(offered, self.plugin.config.max_message);
        if let Some(region) = &region {
            hello["shm"] = json!({"path": region.path(), "size": Region::size()});
        }
        let answer = self.command(&json!({"func": "Hello", "arg": hello}), connection, life);
        if let Some(region) = &region {
            region.hide();
        }
        Ok((Caps::read(answer?.get("caps")).and(offered).and(advertised), region))
    }

    /// One of Thalweg's own commands.
    fn command(&self, command: &Json, connection: u64, life: u64) -> Result<Json, Failure> {
        let message = self.transfer(Some(connection), command.to_string().as_bytes(), life, &mut || {})?;
        let answer = wire::answer(&message).map_err(Failure::Other)?;
        if answer.state {
            return Ok(answer.result);
        }
        let text = answer.result.as_str().map_or_else(|| answer.result.to_string(), str::to_owned);
        let name = command.get("func").and_then(Json::as_str).unwrap_or_default();
        Err(Failure::Other(format!("plugin {} refused {name}: {}", self.plugin.name, wire::last_line(&text))))
    }

    /// A message for a rule. `meanwhile` is run while the plugin is at work on it.
    pub(super) fn send(
        &self,
        ready: &Ready,
        request: &[u8],
        rule: &str,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Vec<u8>, Failure> {
        let result = self.transfer(Some(ready.terms.connection), request, ready.life, meanwhile);
        let mut strikes = lock(&self.strikes);
        match &result {
            Err(Failure::Late(_)) => {
                let entry =
                    strikes.entry(rule.to_owned()).or_insert(Strikes { count: 0, until: Deadline::never() });
                entry.count += 1;
                entry.until = Deadline::after(FAIL_FAST);
            }
            _ if strikes.is_empty() => {}
            _ => drop(strikes.remove(rule)),
        }
        drop(strikes);
        result
    }

    /// A question whose answer is one of the old protocol.
    pub(super) fn exchange(&self, request: &[u8], ready: &Ready) -> Result<Answer, Failure> {
        let message = self.transfer(Some(ready.terms.connection), request, ready.life, &mut || {})?;
        wire::answer(&message).map_err(Failure::Other)
    }

    fn transfer(
        &self,
        connection: Option<u64>,
        request: &[u8],
        life: u64,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Vec<u8>, Failure> {
        let answer = self.plugin.call_timeout();
        let limits = Limits { hand_over: self.plugin.config.send_timeout, answer };
        let (plugin, function) = (&self.plugin.name, &self.name);
        self.rep.exchange_on(connection, request, limits, meanwhile).map_err(|error| match error {
            ExchangeError::Timeout => {
                Failure::Late(format!("plugin {plugin} did not answer within {}ms", answer.as_millis()))
            }
            ExchangeError::Late => {
                Failure::Late(format!("plugin {plugin} is still busy with an earlier call"))
            }
            ExchangeError::Closed => {
                Failure::Other(format!("plugin {plugin} was removed while calling {function}"))
            }
            ExchangeError::Gone(_) | ExchangeError::NoPeer => self.gone(life),
        })
    }

    fn gone(&self, life: u64) -> Failure {
        let (plugin, function) = (&self.plugin.name, &self.name);
        match self.plugin.end_of(life) {
            Some(reason) => {
                let text = format!("plugin {plugin} ended ({reason}) while calling {function}");
                Failure::Ended { reason, text }
            }
            None => {
                self.plugin.forget_start(&self.symbol, life);
                Failure::Other(format!("plugin {plugin} closed the channel of function {function}"))
            }
        }
    }

    /// The number of the next message.
    pub(super) fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Relaxed) + 1
    }

    /// Whether the process that was there last takes many calls in a message.
    pub(super) fn was_batched(&self) -> bool {
        lock(&self.terms).as_ref().is_some_and(|terms| terms.is_batched())
    }

    /// Whether calls may be tried again in another process: not if processes keep ending.
    pub(super) fn may_try_again(&self) -> bool {
        lock(&self.again).take()
    }

    /// The number under which the process knows a call, after it has been told of it, and of those that are gone.
    pub(super) fn context(&self, ready: &Ready, site: &CallSite<'_>) -> Result<Bound, Failure> {
        let (number, gone) = {
            let mut sites = lock(&self.sites);
            (sites.number(site), std::mem::take(&mut sites.gone))
        };
        let (connection, life) = (ready.terms.connection, ready.life);
        for number in gone {
            if ready.terms.bound().remove(&number) {
                self.command(&json!({"func": "Forget", "arg": {"ctx": number}}), connection, life)?;
            }
        }
        if ready.terms.bound().contains(&number) {
            return Ok(Bound { number, is_lost: false, memory: self.memory(&mut lock(&self.sites), site) });
        }
        let bind = json!({"func": "Ctx", "arg": {"id": number, "meta": wire::meta(site)}});
        self.command(&bind, connection, life)?;
        let saved = lock(&self.sites).saved(site);
        if let Some(saved) = saved {
            self.send_restore(ready, number, &saved)?;
        }
        ready.terms.bound().insert(number);
        let mut sites = lock(&self.sites);
        let was_known = sites.note_bound(site);
        let memory = self.memory(&mut sites, site);
        Ok(Bound { number, is_lost: was_known && ready.terms.is_stateful(), memory })
    }

    fn memory(&self, sites: &mut Sites, site: &CallSite<'_>) -> u64 {
        (self.age << 32) | sites.n_lost(site)
    }

    /// What a stateful function remembers for a call; `None` for one that keeps nothing.
    pub(super) fn save(&self, site: &CallSite<'_>) -> Result<Option<Vec<u8>>, Failure> {
        let ready = self.ready(site.rule)?;
        if !ready.terms.is_stateful() {
            return Ok(None);
        }
        let number = self.context(&ready, site)?.number;
        let save = json!({"func": "Save", "arg": {"ctx": number}});
        let saved = self.command(&save, ready.terms.connection, ready.life)?;
        let saved = (!saved.is_null()).then(|| saved.to_string().into_bytes());
        lock(&self.sites).set_saved(site, saved.clone());
        Ok(saved)
    }

    /// Takes a call back to what was saved.
    pub(super) fn restore(&self, ready: &Ready, site: &CallSite<'_>, saved: &[u8]) -> Result<(), Failure> {
        if !ready.terms.is_stateful() {
            return Err(Failure::Other(format!("function {} keeps no state", self.name)));
        }
        let number = self.context(ready, site)?.number;
        self.send_restore(ready, number, saved)?;
        lock(&self.sites).set_saved(site, Some(saved.to_vec()));
        Ok(())
    }

    fn send_restore(&self, ready: &Ready, number: u32, saved: &[u8]) -> Result<(), Failure> {
        let saved: Json = serde_json::from_slice(saved)
            .map_err(|error| Failure::Other(format!("the saved state is no JSON: {error}")))?;
        let restore = json!({"func": "Restore", "arg": {"ctx": number, "saved": saved}});
        self.command(&restore, ready.terms.connection, ready.life).map(drop)
    }

    /// The rule of a call has ended. The process hears of it with the next message.
    pub(crate) fn forget(&self, site: &CallSite<'_>) {
        lock(&self.sites).forget(site);
    }

    /// Takes in what the function has counted.
    pub(super) fn note_metrics(&self, life: u64, changed: &Json) {
        self.symbol.note_metrics(life, changed);
    }
}
