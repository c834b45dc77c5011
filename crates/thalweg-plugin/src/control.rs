//! What is said on the control channel beyond `start` and `stop`, to processes that understand it
//! (`portable-plugins.md` 12.1, 12.7, 12.8).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value as Json, json};
use tracing::debug;

use crate::channel::{ExchangeError, Limits, Rep};
use crate::greeting::{Cap, Caps, Greeting, PluginSettings};
use crate::plugin::Plugin;
use crate::symbol::Symbol;
use crate::wire;

/// What we can do on control, source and sink channels.
const OFFERED: Caps =
    Caps::of(&[Cap::Batch, Cap::Cols, Cap::Ping, Cap::State, Cap::Credit, Cap::Eof, Cap::Shutdown]);

/// The process behind a plugin, as it has introduced itself.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// What it has said.
    pub(crate) greeting: Greeting,
    /// What is in force on its control, source and sink channels.
    pub(crate) caps: Caps,
}

/// What came of a `ping`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulse {
    /// The process has answered.
    Beats,
    /// It works on a command, which has its own time-out.
    Busy,
    /// It cannot be asked.
    Unknown,
}

/// Totals that a symbol has counted, by the names that its author has given them.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct SymbolMetrics {
    /// `ctx.metrics.count`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, f64>,
    /// `ctx.metrics.gauge`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gauges: BTreeMap<String, f64>,
}

impl SymbolMetrics {
    /// Takes in what has changed.
    pub(crate) fn update(&mut self, changed: &Json) {
        for (kind, totals) in [("counters", &mut self.counters), ("gauges", &mut self.gauges)] {
            let changed = changed.get(kind).and_then(Json::as_object);
            for (name, total) in changed.into_iter().flatten() {
                let Some(total) = total.as_f64() else { continue };
                // Names made from data must not fill the memory.
                if totals.len() < MOST_METRICS || totals.contains_key(name) {
                    totals.insert(name.clone(), total);
                }
            }
        }
    }
}

/// More counters, or gauges, of one symbol are not kept.
const MOST_METRICS: usize = 256;

impl Plugin {
    /// The process of this life; one of old when that is over.
    pub(crate) fn peer(&self, life: u64) -> Arc<Peer> {
        let state = self.state();
        if state.life == life { Arc::clone(&state.peer) } else { Arc::default() }
    }

    /// Tells a source that there is room for so many rows more; false if it has not heard that and may live.
    pub(crate) fn grant(&self, symbol: &Symbol, rows: i64) -> bool {
        let Some(control) = self.state().control.clone() else { return true };
        let grant =
            json!({"meta": {"ruleId": symbol.rule, "opId": symbol.op, "instanceId": 0}, "rows": rows});
        let limit = self.config.control_timeout;
        let limits = Limits { hand_over: limit, answer: limit };
        let heard = control.exchange(&wire::command("credit", &grant.to_string()), limits);
        if let Err(error) = &heard {
            debug!(plugin = %self.name, rule = symbol.rule, "credit was not heard: {error:?}");
        }
        // Of a time-out it will hear later, and after its end it will be told anew.
        !matches!(heard, Err(ExchangeError::Late | ExchangeError::NoPeer))
    }

    /// What the engine's configuration says for it.
    pub(crate) fn settings(&self) -> &PluginSettings {
        static NOTHING: PluginSettings = PluginSettings::nothing();
        self.config.settings.get(&*self.name).unwrap_or(&NOTHING)
    }

    /// After the handshake: reads what the process has said about itself, and answers if it has said anything.
    pub(crate) fn greet(&self, control: &Rep, life: u64, limit: Duration) -> Result<(), String> {
        let greeting =
            control.greeting().map(|greeting| Greeting::parse(&greeting.message)).unwrap_or_default();
        if greeting.caps.is_empty() {
            return Ok(());
        }
        debug!(plugin = %self.name, sdk = greeting.sdk, caps = ?greeting.caps, "greeted");
        if let Some(name) = greeting.plugin.as_ref().filter(|name| **name != *self.name) {
            return Err(format!(
                "the process calls itself {name}: the name in its main program must be that of the package"
            ));
        }
        let hello = self.settings().hello(OFFERED, self.config.max_message);
        let limits = Limits { hand_over: limit, answer: limit };
        match control.exchange(&wire::command("hello", &hello.to_string()), limits) {
            Ok(answer) if answer == b"ok" => {}
            Ok(answer) => {
                let text = String::from_utf8_lossy(&answer);
                return Err(format!("refused hello: {}", wire::last_line(&text)));
            }
            Err(ExchangeError::Gone(why)) => return Err(format!("ended when greeted: {why}")),
            Err(_) => return Err(format!("no answer to hello within {}ms", limit.as_millis())),
        }
        let caps = greeting.caps.and(OFFERED);
        let mut state = self.state();
        if state.life == life {
            state.peer = Arc::new(Peer { greeting, caps });
        }
        Ok(())
    }

    /// Asks the process for a sign of life, if it can be asked and has nothing else to do. What its sources and sinks
    /// have counted comes along and goes into the status.
    ///
    /// # Errors
    /// There was none within the time, or the process has just ended.
    pub(crate) fn ping(&self, limit: Duration) -> Result<Pulse, String> {
        let (control, life, caps) = {
            let state = self.state();
            (state.control.clone(), state.life, state.peer.caps)
        };
        let Some(control) = control.filter(|_| caps.has(Cap::Ping)) else { return Ok(Pulse::Unknown) };
        if control.n_callers() > 0 {
            return Ok(Pulse::Busy);
        }
        let limits = Limits { hand_over: limit, answer: limit };
        match control.exchange(&wire::command("ping", "{}"), limits) {
            Ok(answer) => {
                self.take_metrics(&answer, life);
                Ok(Pulse::Beats)
            }
            Err(ExchangeError::Gone(why)) => Err(why),
            Err(_) => Err(format!("no answer to ping within {}ms", limit.as_millis())),
        }
    }

    /// Reads `ok {"metrics":[…]}`.
    fn take_metrics(&self, answer: &[u8], life: u64) {
        let document = answer.strip_prefix(b"ok ").and_then(|text| serde_json::from_slice::<Json>(text).ok());
        let Some(Json::Array(changed)) = document.as_ref().and_then(|document| document.get("metrics"))
        else {
            return;
        };
        for changed in changed {
            let meta = |name: &str| changed.get(name).and_then(Json::as_str);
            if let (Some(rule), Some(op)) = (meta("ruleId"), meta("opId"))
                && let Some(symbol) = self.symbol_of(rule, op)
            {
                symbol.note_metrics(life, changed);
            }
        }
    }

    /// Asks the process to finish what it has in hand, close its symbols and end; false if it does not understand
    /// that. Does not wait for it.
    pub(crate) fn ask_to_end(&self) -> bool {
        let (control, caps) = {
            let state = self.state();
            (state.control.clone(), state.peer.caps)
        };
        let Some(control) = control.filter(|_| caps.has(Cap::Shutdown)) else { return false };
        let limit = self.config.stop_timeout;
        // The channel may be busy with a command that never ends, which is not waited for.
        let ask = move || {
            let limits = Limits { hand_over: limit, answer: limit };
            // Whether it has understood is seen by its end.
            let _ = control.exchange(&wire::command("shutdown", "{}"), limits);
        };
        // Without a thread it is asked by signal.
        std::thread::Builder::new().name("plugin-shutdown".to_owned()).spawn(ask).is_ok()
    }
}
