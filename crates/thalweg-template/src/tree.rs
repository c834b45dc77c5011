//! The parsed form of a template.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::{Span, Value};

use crate::funcs::Function;

/// The bodies by name; the template itself has the empty name.
pub(crate) type Bodies = BTreeMap<Arc<str>, Arc<[Node]>>;

/// A piece of a body.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Text(Box<str>),
    Action(Pipe),
    If { test: Pipe, then: Box<[Node]>, otherwise: Box<[Node]> },
    With { value: Pipe, then: Box<[Node]>, otherwise: Box<[Node]> },
    Range { over: Pipe, body: Box<[Node]>, otherwise: Box<[Node]> },
    Call { name: Arc<str>, data: Option<Pipe>, span: Span },
    Break,
    Continue,
}

/// `$x := a | b`.
#[derive(Debug, Clone)]
pub(crate) struct Pipe {
    /// Variables it sets, with their `$`.
    pub(crate) variables: Vec<Arc<str>>,
    /// `=` instead of `:=`.
    pub(crate) assigns: bool,
    /// Never empty.
    pub(crate) commands: Vec<Command>,
    pub(crate) span: Span,
}

/// One stage of a pipe: a value, or a function with its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    /// Never empty.
    pub(crate) args: Vec<Arg>,
    pub(crate) span: Span,
}

/// An operand.
#[derive(Debug, Clone)]
pub(crate) struct Arg {
    pub(crate) kind: ArgKind,
    /// `.x.y` behind it.
    pub(crate) path: Vec<Arc<str>>,
    pub(crate) span: Span,
}

#[derive(Debug, Clone)]
pub(crate) enum ArgKind {
    Dot,
    Literal(Value),
    Variable(Arc<str>),
    Function(&'static Function),
    Pipe(Box<Pipe>),
}
