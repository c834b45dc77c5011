//! Property tables: one row a property, from which checks, defaults, hints and metadata documents are derived.

use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, ErrorCode, nearest};
use crate::props::Props;

/// What a property's value must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PropKind {
    /// Any text.
    Text,
    /// Text that is masked when shown.
    Secret,
    /// `scheme://host:port/path`.
    Url,
    /// A whole number in a range.
    Int {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// Any number.
    Float,
    /// True or false.
    Bool,
    /// Milliseconds or Go duration text.
    Duration,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list.
    List,
    /// An object.
    Object,
}

/// Where a property may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Sources.
    pub const SOURCE: Roles = Roles(1);
    /// Sinks.
    pub const SINK: Roles = Roles(2);
    /// Lookup sources.
    pub const LOOKUP: Roles = Roles(4);
    /// Sources and sinks.
    pub const BOTH: Roles = Roles(3);
    /// Everywhere.
    pub const ALL: Roles = Roles(7);

    /// Whether all roles of `other` are in this set.
    pub fn contains(self, other: Roles) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One property.
#[derive(Debug, Clone, Copy)]
pub struct PropSpec {
    /// Its name as documented.
    pub name: &'static str,
    /// What its value must be.
    pub kind: PropKind,
    /// The default as JSON text.
    pub default: Option<&'static str>,
    /// Where it may be used.
    pub roles: Roles,
    /// One sentence for people.
    pub help: &'static str,
    /// Whether the value may be a data template, evaluated for each output (C3.9, C3.11).
    pub dynamic: bool,
    /// Accepted because upstream knows it, but it changes nothing; `help` says what holds instead.
    pub inert: bool,
    /// Whether nothing can be built without it. What is needed together with another one only is not.
    pub required: bool,
    /// Whether it is about the connection to the other side, so that a named connection may bring it.
    pub of_connection: bool,
}

impl PropSpec {
    /// A property without default that is no template.
    pub const fn new(name: &'static str, kind: PropKind, roles: Roles, help: &'static str) -> Self {
        Self {
            name,
            kind,
            default: None,
            roles,
            help,
            dynamic: false,
            inert: false,
            required: false,
            of_connection: false,
        }
    }

    /// The same with a default (JSON text).
    pub const fn default(mut self, json: &'static str) -> Self {
        self.default = Some(json);
        self
    }

    /// The same, accepted without effect. Its sentence is `Accepted for compatibility; <what holds instead>.`
    pub const fn inert(mut self) -> Self {
        self.inert = true;
        self
    }

    /// The same, without which nothing can be built.
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The same, as a property of the connection.
    pub const fn of_connection(mut self) -> Self {
        self.of_connection = true;
        self
    }

    /// The same, evaluated as a template for each output.
    pub const fn dynamic(mut self) -> Self {
        self.dynamic = true;
        self
    }
}

/// Checks the written properties against a table. `owner` begins the messages: `mqtt sink`.
///
/// # Errors
/// The first value whose type or range is wrong.
pub fn check(owner: &str, specs: &[PropSpec], role: Roles, props: &Props) -> Result<(), Diagnostic> {
    for spec in specs.iter().filter(|spec| spec.roles.contains(role)) {
        check_one(spec, props)
            .map_err(|why| Diagnostic::new(ErrorCode::Executor, format!("{owner}: {why}")))?;
    }
    Ok(())
}

/// The names that no table knows, each with the nearest known one. They are accepted (R1.1) and worth a warning.
pub fn unknown<'p>(specs: &[PropSpec], props: &'p Props) -> Vec<(&'p str, Option<&'static str>)> {
    let known = |name: &str| specs.iter().any(|spec| spec.name.eq_ignore_ascii_case(name));
    let hint = |name: &'p str| (name, nearest(name, specs.iter().map(|spec| spec.name)));
    props.iter().map(|(name, _)| name).filter(|name| !known(name)).map(hint).collect()
}

/// What is written, known, and has no effect: the name and what holds instead. Defaults are not worth telling.
pub fn inert(specs: &[PropSpec], props: &Props) -> Vec<String> {
    let asks = |spec: &&PropSpec| {
        let default = spec.default.and_then(|default| serde_json::from_str::<Json>(default).ok());
        let value = props.get(spec.name);
        let is_empty = |value: &Json| matches!(value, Json::Null | Json::Bool(false)) || value == "";
        value.is_some_and(|value| !is_empty(value) && Some(value) != default.as_ref())
    };
    let why = |spec: &PropSpec| {
        let instead = spec.help.split_once("; ").map_or(spec.help, |(_, instead)| instead);
        format!("property {} has no effect: {}", spec.name, instead.trim_end_matches('.'))
    };
    specs.iter().filter(|spec| spec.inert).filter(asks).map(why).collect()
}

fn check_one(spec: &PropSpec, props: &Props) -> Result<(), String> {
    let text = |error: Diagnostic| error.message;
    match spec.kind {
        // What was meant as a secret is not shown, whatever it is.
        PropKind::Secret => match props.get(spec.name) {
            None | Some(Json::Null | Json::String(_)) => Ok(()),
            Some(_) => Err(format!("property \"{}\" must be a string, not ***", spec.name)),
        },
        PropKind::Text | PropKind::Url => props.text(spec.name).map(drop).map_err(text),
        PropKind::Bool => props.bool(spec.name).map(drop).map_err(text),
        PropKind::Duration => props.millis(spec.name).map(drop).map_err(text),
        PropKind::Int { min, max } => match props.int(spec.name).map_err(text)? {
            Some(value) if value < min || value > max => {
                Err(format!("property \"{}\" must be {min} to {max}, not {value}", spec.name))
            }
            _ => Ok(()),
        },
        PropKind::OneOf(names) => match props.text(spec.name).map_err(text)? {
            Some(value) if !names.iter().any(|name| name.eq_ignore_ascii_case(value)) => Err(format!(
                "property \"{}\" must be one of {}, not \"{value}\"",
                spec.name,
                names.join(", ")
            )),
            _ => Ok(()),
        },
        PropKind::Float => expect(spec, props, "a number", serde_json::Value::is_number),
        PropKind::List => expect(spec, props, "a list", serde_json::Value::is_array),
        PropKind::Object => expect(spec, props, "an object", serde_json::Value::is_object),
    }
}

fn expect(
    spec: &PropSpec,
    props: &Props,
    expected: &str,
    holds: impl Fn(&serde_json::Value) -> bool,
) -> Result<(), String> {
    match props.get(spec.name) {
        Some(value) if !value.is_null() && !holds(value) => {
            Err(format!("property \"{}\" must be {expected}, not {value}", spec.name))
        }
        _ => Ok(()),
    }
}
