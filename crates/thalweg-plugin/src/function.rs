//! Plugin functions as expressions see them, and the channel behind each (`portable-plugins.md` 6).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::channel::{Deadline, ExchangeError, Limits, Rep, Timing};
use thalweg_core::{Cell, Column, Diagnostic, ErrorCode, RowError};
use thalweg_expr::function::{ArgShape, CallCx, Frame, RemoteFunction};
use tracing::debug;

use crate::catalog::Catalog;
use crate::manifest::Kind;
use crate::plugin::Plugin;
use crate::symbol::{Symbol, function_path};
use crate::wire::{self, Answer, ExecWriter};

/// So many time-outs of one rule in a row make its calls fail fast …
const STRIKES: u32 = 3;
/// … for so long.
const FAIL_FAST: Duration = Duration::from_secs(1);

/// A function by its name. It finds its plugin anew with each call, because an update may have replaced it.
pub(crate) struct PluginFunction {
    catalog: Arc<Catalog>,
    name: String,
    plugin: Arc<str>,
    /// The rule that calls it, and at which node.
    caller: OnceLock<(String, String)>,
}

impl PluginFunction {
    pub(crate) fn new(catalog: Arc<Catalog>, name: &str, plugin: Arc<str>) -> Self {
        catalog.enter(name);
        Self { catalog, name: name.to_owned(), plugin, caller: OnceLock::new() }
    }

    /// Asks something that is not a call for a row.
    fn ask(&self, request: &[u8]) -> Result<Answer, Diagnostic> {
        let answer = self.catalog.channel(&self.name).and_then(|channel| {
            let life = channel.plugin.wait_ready(true)?;
            channel.exchange(request, life)
        });
        answer
            .map_err(|error| Diagnostic::new(ErrorCode::Executor, format!("function {}: {error}", self.name)))
    }
}

impl Drop for PluginFunction {
    fn drop(&mut self) {
        if let Some((rule, node)) = self.caller.get() {
            self.catalog.forget_caller(&self.name, rule, node);
        }
        self.catalog.leave(&self.name);
    }
}

impl fmt::Debug for PluginFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of plugin {}", self.name, self.plugin)
    }
}

impl RemoteFunction for PluginFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn host(&self) -> &str {
        &self.plugin
    }

    fn is_aggregate(&self) -> Result<bool, Diagnostic> {
        let channel = self.catalog.channel(&self.name);
        if let Some(known) = channel.as_ref().ok().and_then(|channel| *channel.is_aggregate()) {
            return Ok(known);
        }
        let answer = self.ask(wire::IS_AGGREGATE)?;
        match (answer.state, answer.result.as_bool()) {
            (true, Some(is_aggregate)) => {
                if let Ok(channel) = channel {
                    *channel.is_aggregate() = Some(is_aggregate);
                }
                Ok(is_aggregate)
            }
            _ => {
                let text = answer.result.as_str().map_or_else(|| answer.result.to_string(), str::to_owned);
                let text = format!("function {}: is_aggregate failed: {}", self.name, wire::last_line(&text));
                Err(Diagnostic::new(ErrorCode::Executor, text))
            }
        }
    }

    fn validate(&self, args: &[ArgShape]) -> Result<(), Diagnostic> {
        let answer = self.ask(&wire::validate(args))?;
        if answer.state {
            return Ok(());
        }
        let text = answer.result.as_str().map_or_else(|| answer.result.to_string(), str::to_owned);
        Err(Diagnostic::plain(wire::last_line(&text)))
    }

    fn call(&self, frame: &Frame<'_>, out: &mut Column, cx: &CallCx<'_>) {
        self.caller.get_or_init(|| {
            self.catalog.note_caller(&self.name, cx.rule, cx.node);
            (cx.rule.to_owned(), cx.node.to_owned())
        });
        let mut call = Call { function: self, frame, cx, writer: ExecWriter::new(cx), channel: None };
        match frame.groups {
            None => call.rows(out),
            Some((groups, n_groups)) => call.groups(groups, n_groups, out),
        }
    }
}

/// All calls of one frame.
struct Call<'a> {
    function: &'a PluginFunction,
    frame: &'a Frame<'a>,
    cx: &'a CallCx<'a>,
    writer: ExecWriter,
    channel: Option<Arc<FunctionChannel>>,
}

impl Call<'_> {
    fn rows(&mut self, out: &mut Column) {
        // Outside of a window an aggregate gets lists of one.
        let is_aggregate = self.function.is_aggregate().unwrap_or(false);
        for row in self.frame.rows {
            let failed = self.frame.args.iter().find_map(|arg| match arg.cell(row) {
                Cell::Error(error) => Some(error.clone()),
                _ => None,
            });
            if let Some(error) = failed {
                out.push_error(error);
                continue;
            }
            self.writer.begin();
            for arg in self.frame.args {
                if is_aggregate {
                    self.writer.list(std::iter::once(arg.cell(row)));
                } else {
                    self.writer.value(arg.cell(row));
                }
            }
            self.send(out);
        }
    }

    fn groups(&mut self, groups: &[u32], n_groups: usize, out: &mut Column) {
        let mut rows_of = vec![Vec::new(); n_groups];
        for (row, group) in self.frame.rows.iter().zip(groups) {
            if let Some(rows) = rows_of.get_mut(*group as usize) {
                rows.push(row);
            }
        }
        for rows in rows_of {
            self.writer.begin();
            for arg in self.frame.args {
                self.writer.list(rows.iter().map(|row| arg.cell(*row)));
            }
            self.send(out);
        }
    }

    /// One call: one cell.
    fn send(&mut self, out: &mut Column) {
        if self.writer.lost_number {
            self.warn_not_finite("an argument");
        }
        let answer = self.exchange().and_then(|answer| match (answer.state, answer.result) {
            (true, result) => {
                if answer.had_nan {
                    self.warn_not_finite("a result");
                }
                Ok(wire::value(&result))
            }
            (false, serde_json::Value::Null) => Ok(thalweg_core::Value::Null),
            (false, serde_json::Value::String(text)) => {
                debug!(rule = self.cx.rule, function = self.function.name, "{text}");
                Err(wire::last_line(&text).to_owned())
            }
            (false, other) => Err(other.to_string()),
        });
        match answer {
            Ok(value) => out.push_value(&value),
            Err(text) => {
                out.push_error(RowError::text(format!("call func {} error: {text}", self.function.name)))
            }
        }
    }

    fn warn_not_finite(&self, what: &str) {
        let name = &self.function.name;
        self.cx.warn(&format!("call func {name} error: {what} is not a finite number; it became null"));
    }

    fn exchange(&mut self) -> Result<Answer, String> {
        let channel = match self.channel.take() {
            Some(channel) if !channel.is_closed() => channel,
            _ => self.function.catalog.channel(&self.function.name)?,
        };
        let result = channel.call(self.writer.finish(), self.cx.rule);
        self.channel = Some(channel);
        result
    }
}

/// The channel of one function: one thread and one instance in the plugin, shared by all rules.
pub(crate) struct FunctionChannel {
    name: String,
    plugin: Arc<Plugin>,
    symbol: Arc<Symbol>,
    rep: Arc<Rep>,
    is_aggregate: Mutex<Option<bool>>,
    strikes: Mutex<HashMap<String, Strikes>>,
}

/// The time-outs of one rule.
struct Strikes {
    count: u32,
    until: Deadline,
}

impl FunctionChannel {
    /// Listens. The plugin is told on the first call of each life.
    pub(crate) fn open(name: &str, plugin: Arc<Plugin>) -> Result<Self, String> {
        if name.contains('/') {
            return Err(format!("function name {name} contains a slash"));
        }
        let rep = Rep::listen(&function_path(name), plugin.socket_options(), wire::is_keepalive);
        let rep = rep.map_err(|error| error.to_string())?;
        let rep = Arc::new(rep);
        let symbol = Arc::new(Symbol::new(Kind::Function, name, "", wire::function_control(name)));
        let probed = Arc::downgrade(&rep);
        symbol.set_probe(move || probed.upgrade()?.busy());
        let name = name.to_owned();
        Ok(Self { name, plugin, symbol, rep, is_aggregate: Mutex::default(), strikes: Mutex::default() })
    }

    pub(crate) fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
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

    fn is_closed(&self) -> bool {
        self.rep.is_closed()
    }

    /// The package has changed.
    pub(crate) fn refresh(&self) {
        *self.is_aggregate() = None;
    }

    fn is_aggregate(&self) -> MutexGuard<'_, Option<bool>> {
        self.is_aggregate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strikes(&self) -> MutexGuard<'_, HashMap<String, Strikes>> {
        self.strikes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call for a rule. A rule whose calls keep running into the time-out does not hold up the others.
    fn call(&self, request: &[u8], rule: &str) -> Result<Answer, String> {
        if self
            .strikes()
            .get(rule)
            .is_some_and(|strikes| strikes.count >= STRIKES && !strikes.until.is_over())
        {
            return Err(format!(
                "plugin {} did not answer {STRIKES} times in a row; trying again soon",
                self.plugin.name
            ));
        }
        let life = self.plugin.life(self.plugin.config.send_timeout)?;
        let result = self.exchange_or_late(request, life);
        let mut strikes = self.strikes();
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
        result.map_err(Failure::into_text)
    }

    fn exchange(&self, request: &[u8], life: u64) -> Result<Answer, String> {
        self.exchange_or_late(request, life).map_err(Failure::into_text)
    }

    fn exchange_or_late(&self, request: &[u8], life: u64) -> Result<Answer, Failure> {
        self.plugin.start_symbol(&self.symbol, life).map_err(Failure::Other)?;
        let answer = self.plugin.call_timeout();
        let limits = Limits { hand_over: self.plugin.config.send_timeout, answer };
        let (plugin, function) = (&self.plugin.name, &self.name);
        let message = self.rep.exchange(request, limits).map_err(|error| match error {
            ExchangeError::Timeout => {
                Failure::Late(format!("plugin {plugin} did not answer within {}ms", answer.as_millis()))
            }
            ExchangeError::Late => {
                Failure::Late(format!("plugin {plugin} is still busy with an earlier call"))
            }
            ExchangeError::Closed => {
                Failure::Other(format!("plugin {plugin} was removed while calling {function}"))
            }
            ExchangeError::Gone(_) | ExchangeError::NoPeer => Failure::Other(self.why_gone(life)),
        })?;
        let answer = wire::answer(&message).map_err(Failure::Other)?;
        Ok(answer)
    }

    fn why_gone(&self, life: u64) -> String {
        let (plugin, function) = (&self.plugin.name, &self.name);
        match self.plugin.end_of(life) {
            Some(reason) => format!("plugin {plugin} ended ({reason}) while calling {function}"),
            None => {
                self.plugin.forget_start(&self.symbol, life);
                format!("plugin {plugin} closed the channel of function {function}")
            }
        }
    }
}

/// Why there is no answer.
enum Failure {
    /// The time-out, which counts towards failing fast.
    Late(String),
    Other(String),
}

impl Failure {
    fn into_text(self) -> String {
        match self {
            Self::Late(text) | Self::Other(text) => text,
        }
    }
}
