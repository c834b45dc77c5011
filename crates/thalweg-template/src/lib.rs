//! Data templates: a subset of Go's text/template with the functions rules use, over rows (`connectors.md` chapter 4).
//!
//! A [`Template`] is parsed once, when the rule is planned, and rendered for each output. It reads nothing but its
//! data and what the caller puts into [`Context`]: no environment, no clock, no network (T4.5). Rows are never changed
//! in place; `set` and `unset` work on copies.

mod eval;
mod funcs;
mod lex;
mod parse;
mod printf;
mod tree;

use std::fmt;
use std::sync::Arc;

use chrono_tz::Tz;
use thalweg_core::{Diagnostic, Fields, Timestamp, Value};

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    /// Named in error texts; upstream calls sinks' templates `sink`.
    name: Arc<str>,
    text: Arc<str>,
    bodies: tree::Bodies,
}

/// What a template is rendered over.
#[derive(Debug, Clone, Copy)]
pub enum Data<'a> {
    /// One row (`sendSingle`).
    Row(&'a Arc<Fields>),
    /// A message of several rows.
    Rows(&'a [Arc<Fields>]),
    /// Anything else: token fields of OAuth, states of an HTTP source.
    Value(&'a Value),
}

/// What functions may know about the world.
pub struct Context<'a> {
    /// For `now`, and `prop "et"`.
    pub now: Timestamp,
    /// For dates without a zone of their own.
    pub zone: Tz,
    /// `prop "key"`: the environment's `KUIPER_PROPS_<KEY>` (the key in lower case), and `snowflake` (T4.4).
    pub prop: &'a dyn Fn(&str) -> Option<String>,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("now", &self.now).field("zone", &self.zone).finish_non_exhaustive()
    }
}

/// Why one rendering failed; the text is Go's, with the place in the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError(pub String);

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Parses a template, named `sink` in its errors.
    ///
    /// # Errors
    /// Go's text: `template: sink:1: function "nope" not defined`, with the place.
    pub fn parse(text: &str) -> Result<Self, Diagnostic> {
        Self::parse_named("sink", text)
    }

    /// Parses a template with another name in its errors.
    ///
    /// # Errors
    /// As [`Template::parse`].
    pub fn parse_named(name: &str, text: &str) -> Result<Self, Diagnostic> {
        let bodies = parse::parse(name, text)?;
        Ok(Self { name: name.into(), text: text.into(), bodies })
    }

    /// Whether a text has no action, so that it renders as itself.
    pub fn is_plain(text: &str) -> bool {
        !text.contains("{{")
    }

    /// Appends the result to `out`.
    ///
    /// # Errors
    /// The first action that fails; `out` then holds a part, which the caller cuts off.
    pub fn render(&self, data: Data<'_>, cx: &Context<'_>, out: &mut String) -> Result<(), TemplateError> {
        let dot = match data {
            Data::Row(fields) => Value::Map(Arc::clone(fields)),
            Data::Rows(rows) => Value::list(rows.iter().map(|row| Value::Map(Arc::clone(row))).collect()),
            Data::Value(value) => value.clone(),
        };
        eval::render(self, dot, cx, out)
    }

    /// The result as text.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_text(&self, data: Data<'_>, cx: &Context<'_>) -> Result<String, TemplateError> {
        let mut out = String::new();
        self.render(data, cx, &mut out)?;
        Ok(out)
    }
}
