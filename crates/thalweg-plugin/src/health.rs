//! Whether a plugin is well, and which rules suffer when it is not (`portable-plugins.md` 9.1).
//!
//! A process that is alive may still do nothing: it hangs in a call, its main thread is stuck, somebody has stopped
//! it. What is known of that comes from answers that are owed, from `ping` where the process understands it, and from
//! the keepalives of the old SDK.

use std::time::Duration;

use serde::Serialize;
use thalweg_expr::registry::HostTrouble;
use tracing::{info, warn};

use crate::catalog::Catalog;
use crate::channel::{Deadline, Stopwatch};
use crate::control::Pulse;
use crate::manifest::Kind;
use crate::plugin::{Phase, Plugin};

/// The old SDK says something every five seconds; so long without a word is three of them missed.
const SILENCE: Duration = Duration::from_secs(16);

/// What is wrong with a plugin.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginTrouble {
    /// `plugin_down`, `plugin_hung` or `plugin_throttled`.
    pub cause: &'static str,
    /// The function concerned; otherwise all symbols are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// For so long, in milliseconds.
    pub for_ms: u64,
    /// For people.
    pub hint: String,
}

impl PluginTrouble {
    fn new(cause: &'static str, since: Duration, hint: String) -> Self {
        Self { cause, function: None, for_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX), hint }
    }

    /// Nothing gets through, rather than less.
    fn is_failing(&self) -> bool {
        self.cause != "plugin_throttled"
    }
}

/// In one word, for the status.
pub(crate) fn word(troubles: &[PluginTrouble]) -> &'static str {
    match troubles {
        [] => "ok",
        some if some.iter().any(PluginTrouble::is_failing) => "failing",
        _ => "degraded",
    }
}

/// A missing answer to `ping`.
#[derive(Debug, Clone)]
pub(crate) struct Missed {
    since: Stopwatch,
    why: String,
}

impl Plugin {
    /// What is wrong with it now.
    pub(crate) fn troubles(&self) -> Vec<PluginTrouble> {
        let (phase, since, error, control, missed) = {
            let state = self.state();
            let since = state.since.0.elapsed();
            (state.phase, since, state.error.clone(), state.control.clone(), state.missed.clone())
        };
        let name = &self.name;
        match phase {
            Phase::Running => {}
            // One that has failed before is starting once more.
            Phase::Error | Phase::Starting if !error.is_empty() => {
                let hint = format!("plugin {name} has ended ({error}); it is started again by itself");
                return vec![PluginTrouble::new("plugin_down", since, hint)];
            }
            Phase::Starting if since > self.config.heartbeat => {
                let hint = format!("plugin {name} is starting; see its logs for what it does");
                return vec![PluginTrouble::new("plugin_down", since, hint)];
            }
            Phase::Stop => {
                let hint = format!("plugin {name} is not installed any more");
                return vec![PluginTrouble::new("plugin_down", since, hint)];
            }
            _ => return Vec::new(),
        }
        let mut troubles = self.hung_calls();
        let is_stuck = |busy: &Duration| *busy > self.config.heartbeat * 2;
        if let Some(busy) = control.as_ref().and_then(|control| control.busy()).filter(is_stuck) {
            let hint =
                format!("plugin {name} has not answered on its control channel for {} s", busy.as_secs());
            troubles.push(PluginTrouble::new("plugin_hung", busy, hint));
        } else if let Some(missed) = missed {
            let hint = format!("plugin {name} gives no sign of life: {}", missed.why);
            troubles.push(PluginTrouble::new("plugin_hung", missed.since.elapsed(), hint));
        } else if let Some(silence) =
            control.and_then(|control| control.silence()).filter(|time| *time > SILENCE)
        {
            let hint = format!("plugin {name} has sent no keepalive for {} s", silence.as_secs());
            troubles.push(PluginTrouble::new("plugin_hung", silence, hint));
        }
        if let Some(pause) = self.throttled() {
            let hint = format!("plugin {name} is slowed down to its share of the processor (limits.cpu)");
            troubles.push(PluginTrouble::new("plugin_throttled", pause, hint));
        }
        troubles
    }

    /// Functions whose answers are owed for longer than a call may take.
    fn hung_calls(&self) -> Vec<PluginTrouble> {
        let patience = self.call_timeout();
        let mut troubles = Vec::new();
        for (busy, function) in self.calls_in_flight().into_iter().filter(|(busy, _)| *busy > patience) {
            let plugin = &self.name;
            let hint = format!("{function} of plugin {plugin} has not answered for {} s", busy.as_secs());
            let trouble = PluginTrouble::new("plugin_hung", busy, hint);
            troubles.push(PluginTrouble { function: Some(function), ..trouble });
        }
        troubles
    }

    /// How long the process has owed an answer, whichever it is, with what it was asked.
    pub(crate) fn owes(&self) -> Option<(Duration, String)> {
        let (control, missed) = {
            let state = self.state();
            (state.control.clone(), state.missed.as_ref().map(|missed| missed.since.elapsed()))
        };
        let control = control.and_then(|control| control.busy()).max(missed);
        let calls = self.calls_in_flight().into_iter();
        let calls = calls.map(|(busy, function)| (busy, format!("in a call of {function}")));
        calls.chain(control.map(|busy| (busy, "on its control channel".to_owned()))).max()
    }

    /// The functions of the present process that are at work on a call, and for how long.
    fn calls_in_flight(&self) -> Vec<(Duration, String)> {
        let life = self.state().life;
        let mut calls = Vec::new();
        for symbol in self.all_symbols() {
            // What an earlier process was at work on is over, whether its end was noticed there or not.
            let is_present = symbol.try_state().is_some_and(|state| state.life == life);
            calls.extend(symbol.busy().filter(|_| is_present).map(|busy| (busy, symbol.name.clone())));
        }
        calls
    }

    /// Asks the process for signs of life until this life of it ends.
    pub(crate) fn feel_pulse(&self, life: u64) {
        let every = self.config.heartbeat;
        while self.pause_in(life, every) {
            match self.ping(every) {
                Ok(Pulse::Unknown) => return,
                Ok(Pulse::Beats) => self.note_pulse(life, None),
                Ok(Pulse::Busy) => {}
                Err(why) => self.note_pulse(life, Some(why)),
            }
        }
    }

    /// Waits; false when the life has ended or is about to.
    pub(crate) fn pause_in(&self, life: u64, wait: Duration) -> bool {
        let deadline = Deadline::after(wait);
        let mut state = self.state();
        loop {
            if state.life != life || state.pid.is_none() || !state.wanted {
                return false;
            }
            if deadline.is_over() {
                return true;
            }
            state = self.wait(state, deadline);
        }
    }

    fn note_pulse(&self, life: u64, missed: Option<String>) {
        let mut state = self.state();
        if state.life != life || state.pid.is_none() {
            return;
        }
        let name = &self.name;
        match (&mut state.missed, missed) {
            (Some(before), Some(why)) => before.why = why,
            (before @ None, Some(why)) => {
                warn!(plugin = %name, "plugin {name} gives no sign of life: {why}");
                *before = Some(Missed { since: Stopwatch::start(), why });
            }
            (before @ Some(_), None) => {
                info!(plugin = %name, "plugin {name} is well again");
                *before = None;
            }
            (None, None) => {}
        }
    }
}

impl Catalog {
    /// A function that was there, and is no more.
    fn missing(&self, node: &str, function: &str) -> Option<HostTrouble> {
        self.function_owner(function).is_none().then(|| HostTrouble {
            node: format!("op_{node}"),
            cause: "plugin_down",
            lasting: Duration::ZERO,
            is_failing: true,
            hint: format!("no plugin offers function {function} any more: install it again"),
        })
    }

    /// What is wrong with the plugins that a rule uses, each at the node that suffers from it.
    pub(crate) fn troubles(&self, rule: &str) -> Vec<HostTrouble> {
        let functions = self.functions_of(rule);
        let plugins: Vec<_> = self.read().plugins.values().cloned().collect();
        let mut found: Vec<HostTrouble> =
            functions.iter().filter_map(|(node, function)| self.missing(node, function)).collect();
        for plugin in plugins {
            // Where the rule uses it, and as which function.
            let mut nodes: Vec<(String, Option<&str>)> = Vec::new();
            for symbol in plugin.all_symbols().iter().filter(|symbol| symbol.rule == rule) {
                let op = &symbol.op;
                match symbol.kind {
                    Kind::Source => nodes.push((format!("source_{op}"), None)),
                    Kind::Sink => nodes.push((format!("sink_{op}"), None)),
                    Kind::Function => {}
                }
            }
            for (node, function) in &functions {
                let owner = self.function_owner(function);
                if owner.is_some_and(|owner| owner.name == plugin.name) {
                    nodes.push((format!("op_{node}"), Some(function)));
                }
            }
            if nodes.is_empty() {
                continue;
            }
            for trouble in plugin.troubles() {
                let wanted = trouble.function.as_deref();
                let node = nodes.iter().find(|(_, function)| wanted.is_none() || *function == wanted);
                let Some((node, _)) = node else { continue };
                found.push(HostTrouble {
                    node: node.clone(),
                    cause: trouble.cause,
                    lasting: Duration::from_millis(trouble.for_ms),
                    is_failing: trouble.is_failing(),
                    hint: trouble.hint,
                });
            }
        }
        found
    }
}
