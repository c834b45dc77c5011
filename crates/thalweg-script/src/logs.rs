//! `log(…)` and `console`: lines of scripts in the engine's log, a few a second.

use std::sync::{Arc, Mutex, PoisonError};

use rquickjs::{Ctx, Function, Result};
use tracing::{debug, error, info, warn};

use crate::tools::{Tools, own};

/// So many lines a second of a call site are written.
const LINES: u32 = 10;
/// What is longer is cut.
const LONGEST: usize = 1_000;

/// Where the lines of one call site go.
#[derive(Debug, Clone)]
pub(crate) struct Log(Option<Arc<Lines>>);

#[derive(Debug)]
struct Lines {
    rule: String,
    function: String,
    state: Mutex<Second>,
}

#[derive(Debug, Default)]
struct Second {
    number: i64,
    written: u32,
    left_out: u64,
}

impl Log {
    /// One that writes nothing: a script is only checked.
    pub(crate) fn silent() -> Self {
        Self(None)
    }

    pub(crate) fn of(rule: &str, function: &str) -> Self {
        let (rule, function) = (rule.to_owned(), function.to_owned());
        Self(Some(Arc::new(Lines { rule, function, state: Mutex::default() })))
    }

    /// It is this time (milliseconds) now.
    pub(crate) fn tick(&self, now: i64) {
        let Some(lines) = &self.0 else { return };
        let mut second = lines.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = now.div_euclid(1_000);
        if second.number == number {
            return;
        }
        if second.left_out > 0 {
            let (rule, function, lines) = (&lines.rule, &lines.function, second.left_out);
            warn!(%rule, %function, lines, "the script logs too much, lines were left out");
        }
        *second = Second { number, ..Second::default() };
    }

    fn write(&self, level: &str, text: &str) {
        let Some(lines) = &self.0 else { return };
        {
            let mut second = lines.state.lock().unwrap_or_else(PoisonError::into_inner);
            if second.written >= LINES {
                second.left_out += 1;
                return;
            }
            second.written += 1;
        }
        let text: String = text.chars().take(LONGEST).collect();
        let (rule, function) = (&lines.rule, &lines.function);
        match level {
            "debug" => debug!(%rule, %function, "{text}"),
            "warn" => warn!(%rule, %function, "{text}"),
            "error" => error!(%rule, %function, "{text}"),
            _ => info!(%rule, %function, "{text}"),
        }
    }

    /// Gives an interpreter `log` and `console`, which upstream's documentation uses.
    pub(crate) fn install<'js>(&self, ctx: &Ctx<'js>, tools: &Tools<'js>) -> Result<()> {
        let log = self.clone();
        let write = Function::new(ctx.clone(), move |level: String, text: String| log.write(&level, &text))?;
        let install: Function<'js> = own(ctx, include_str!("logs.js"))?;
        install.call((write, tools.show.clone()))
    }
}
