//! Plugin functions as expressions see them (`portable-plugins.md` 6, 12).

mod batched;
mod channel;
mod document;
mod pace;
mod region;
mod single;
mod terms;

use std::fmt;
use std::sync::{Arc, OnceLock};

use thalweg_core::{Column, Diagnostic, ErrorCode, RowError};
use thalweg_expr::function::{ArgShape, CallCx, CallSite, Frame, RemoteFunction};
use thalweg_expr::{AccumulatorStep, Accumulators};

pub(crate) use self::channel::FunctionChannel;

use self::batched::Batched;
use self::channel::{Failure, Ready};
use crate::catalog::Catalog;
use crate::wire::{self, Answer};

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

    /// The channel, in a process that can be asked. One that waits for its next try gets it now.
    fn ready(&self) -> Result<(Arc<FunctionChannel>, Ready), Failure> {
        let channel = self.catalog.channel(&self.name).map_err(Failure::Other)?;
        let ready = channel.ready_at_once()?;
        Ok((channel, ready))
    }

    /// Who calls; the first time it is noted.
    fn note_caller(&self, cx: &CallCx<'_>) {
        self.caller.get_or_init(|| {
            self.catalog.note_caller(&self.name, cx.rule, cx.node);
            (cx.rule.to_owned(), cx.node.to_owned())
        });
    }

    /// Asks something that is not a call for a row.
    fn ask(&self, request: &[u8]) -> Result<Answer, Diagnostic> {
        let answer = self.ready().and_then(|(channel, ready)| channel.exchange(request, &ready));
        answer.map_err(|failure| self.diagnostic(failure.text()))
    }

    fn diagnostic(&self, text: &str) -> Diagnostic {
        Diagnostic::new(ErrorCode::Executor, format!("function {}: {text}", self.name))
    }

    /// The error of a call for a row.
    fn failed(&self, text: &str) -> RowError {
        RowError::text(format!("call func {} error: {text}", self.name))
    }

    fn warn_not_finite(&self, what: &str, cx: &CallCx<'_>) {
        let name = &self.name;
        cx.warn(&format!("call func {name} error: {what} is not a finite number; it became null"));
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
        if let Ok(channel) = self.catalog.channel(&self.name)
            && let Some(known) = channel.is_aggregate()
        {
            return Ok(known);
        }
        let (channel, ready) = self.ready().map_err(|failure| self.diagnostic(failure.text()))?;
        if let Some(said) = ready.terms.function.is_aggregate {
            channel.set_aggregate(said);
            return Ok(said);
        }
        let answer = channel.exchange(wire::IS_AGGREGATE, &ready);
        let answer = answer.map_err(|failure| self.diagnostic(failure.text()))?;
        match (answer.state, answer.result.as_bool()) {
            (true, Some(is_aggregate)) => {
                channel.set_aggregate(is_aggregate);
                Ok(is_aggregate)
            }
            _ => {
                let text = answer.result.as_str().map_or_else(|| answer.result.to_string(), str::to_owned);
                Err(self.diagnostic(&format!("is_aggregate failed: {}", wire::last_line(&text))))
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
        self.note_caller(cx);
        Batched::new(self, frame, cx).run(out);
    }

    fn accumulators(&self) -> Option<Accumulators> {
        self.ready().ok()?.1.terms.accumulators()
    }

    fn accumulate(
        &self,
        step: &AccumulatorStep<'_>,
        frame: &Frame<'_>,
        expected: Option<u64>,
        out: &mut Column,
        cx: &CallCx<'_>,
    ) -> Option<u64> {
        self.note_caller(cx);
        Batched::new(self, frame, cx).accumulate(step, expected, out)
    }

    fn may_keep_state(&self) -> bool {
        !self.catalog.channel(&self.name).is_ok_and(|channel| channel.is_parallel())
    }

    fn save(&self, site: &CallSite<'_>) -> Result<Option<Vec<u8>>, String> {
        let channel = self.catalog.channel(&self.name)?;
        channel.save(site).map_err(Failure::into_text)
    }

    fn restore(&self, site: &CallSite<'_>, saved: &[u8]) -> Result<(), String> {
        let (channel, ready) = self.ready().map_err(Failure::into_text)?;
        channel.restore(&ready, site, saved).map_err(Failure::into_text)
    }

    fn forget(&self, site: &CallSite<'_>) {
        self.catalog.forget_site(&self.name, site);
    }
}
