//! Calls one by one, in the protocol of old (`portable-plugins.md` 6).

use thalweg_core::{Column, Value};
use thalweg_expr::function::CallCx;
use tracing::debug;

use super::PluginFunction;
use super::channel::{Failure, FunctionChannel, Ready};
use crate::frame::encode::Arg;
use crate::frame::rows::Part;
use crate::wire::{self, Answer, ExecWriter};

/// Calls for each row or group of a part.
pub(super) struct Single<'a> {
    function: &'a PluginFunction,
    cx: &'a CallCx<'a>,
    writer: ExecWriter,
}

impl<'a> Single<'a> {
    pub(super) fn new(function: &'a PluginFunction, cx: &'a CallCx<'a>) -> Self {
        Self { function, cx, writer: ExecWriter::new(cx) }
    }

    /// One call: one cell. `ready` is the process for it, or why there is none.
    pub(super) fn call(
        &mut self,
        (channel, ready): (&FunctionChannel, Result<&Ready, Failure>),
        args: &[Arg<'_>],
        part: &Part<'_>,
        out: &mut Column,
    ) {
        self.writer.begin();
        for arg in args {
            match part.groups {
                None => self.writer.value(arg.values.cell(part.rows.at(0))),
                Some(_) => {
                    let rows = (0..part.rows.len()).map(|place| part.rows.at(place));
                    self.writer.list(rows.map(|row| arg.values.cell(row)));
                }
            }
        }
        if self.writer.lost_number {
            self.function.warn_not_finite("an argument", self.cx);
        }
        let answer = ready.and_then(|ready| {
            let message = channel.send(ready, self.writer.finish(), self.cx.rule, &mut || {})?;
            wire::answer(&message).map_err(Failure::Other)
        });
        match answer.map_err(Failure::into_text).and_then(|answer| self.value(answer)) {
            Ok(value) => out.push_value(&value),
            Err(text) => out.push_error(self.function.failed(&text)),
        }
    }

    fn value(&self, answer: Answer) -> Result<Value, String> {
        match (answer.state, answer.result) {
            (true, result) => {
                if answer.had_nan {
                    self.function.warn_not_finite("a result", self.cx);
                }
                Ok(wire::value(&result))
            }
            (false, serde_json::Value::Null) => Ok(Value::Null),
            (false, serde_json::Value::String(text)) => {
                debug!(rule = self.cx.rule, function = self.function.name, "{text}");
                Err(wire::last_line(&text).to_owned())
            }
            (false, other) => Err(other.to_string()),
        }
    }
}
