//! Rendering: walks the tree with a stack of variables.

use std::sync::Arc;

use thalweg_core::diagnostic::line_and_column;
use thalweg_core::{Fields, Span, Value};

use crate::funcs::{self, Function, Kind};
use crate::tree::{Arg, ArgKind, Command, Node, Pipe};
use crate::{Context, Template, TemplateError};

/// Bodies inside bodies, of which the innermost may still call a template.
const MAX_DEPTH: usize = 100;

type Eval<T> = Result<T, TemplateError>;

/// What a body ended with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Done,
    Break,
    Continue,
}

struct Renderer<'a> {
    template: &'a Template,
    cx: &'a Context<'a>,
    /// The whole data; a list of rows has a type name of its own in errors (T4.6).
    root: Value,
    /// Innermost last.
    variables: Vec<(Arc<str>, Value)>,
    /// Bodies around the current place.
    depth: usize,
    out: &'a mut String,
}

/// Renders the template's main body.
pub(crate) fn render(template: &Template, dot: Value, cx: &Context<'_>, out: &mut String) -> Eval<()> {
    let variables = vec![(Arc::from("$"), dot.clone())];
    let mut renderer = Renderer { template, cx, root: dot.clone(), variables, depth: 0, out };
    match template.bodies.get("") {
        Some(body) => renderer.body(body, &dot).map(drop),
        None => Ok(()),
    }
}

impl Renderer<'_> {
    fn error(&self, span: Span, what: impl std::fmt::Display) -> TemplateError {
        let Template { name, text, .. } = self.template;
        let (line, column) = line_and_column(text, span.start as usize);
        let shown = &text[span.start as usize..span.end as usize];
        let column = column - 1;
        TemplateError(format!("template: {name}:{line}:{column}: executing {name:?} at <{shown}>: {what}"))
    }

    fn body(&mut self, nodes: &[Node], dot: &Value) -> Eval<Flow> {
        self.depth += 1;
        let mut flow = Flow::Done;
        for node in nodes {
            flow = self.node(node, dot)?;
            if flow != Flow::Done {
                break;
            }
        }
        self.depth -= 1;
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Eval<Flow> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    funcs::print(&value, "<no value>", self.cx, self.out);
                }
            }
            Node::If { test: pipe, then, otherwise } => {
                let n_variables = self.variables.len();
                let body = if funcs::truth(&self.pipe(pipe, dot)?) { then } else { otherwise };
                return self.scoped(n_variables, |it| it.body(body, dot));
            }
            Node::With { value: pipe, then, otherwise } => {
                let n_variables = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                return match funcs::truth(&value) {
                    true => self.scoped(n_variables, |it| it.body(then, &value)),
                    false => self.scoped(n_variables, |it| it.body(otherwise, dot)),
                };
            }
            Node::Range { over, body, otherwise } => {
                let n_variables = self.variables.len();
                return self.scoped(n_variables, |it| it.range(over, body, otherwise, dot));
            }
            Node::Call { name, data, span } => self.call(name, data.as_ref(), *span, dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Done)
    }

    /// Forgets the variables that `part` declared.
    fn scoped<T>(&mut self, n_variables: usize, part: impl FnOnce(&mut Self) -> Eval<T>) -> Eval<T> {
        let result = part(self);
        self.variables.truncate(n_variables);
        result
    }

    fn range(&mut self, over: &Pipe, body: &[Node], otherwise: &[Node], dot: &Value) -> Eval<Flow> {
        let value = self.commands(over, dot)?;
        let pairs: Vec<(Value, Value)> = match &value {
            Value::Null => Vec::new(),
            Value::List(items) => {
                items.iter().enumerate().map(|(i, item)| (Value::Int(i as i64), item.clone())).collect()
            }
            Value::Map(fields) => {
                fields.iter().map(|(key, item)| (Value::Str(Arc::clone(key)), item.clone())).collect()
            }
            Value::Int(n) if *n <= funcs::MAX_ITEMS => {
                (0..*n).map(|i| (Value::Int(i), Value::Int(i))).collect()
            }
            other => {
                return Err(self.error(
                    over.span,
                    format!("range can't iterate over {}", funcs::text_of(other, self.cx)),
                ));
            }
        };
        if pairs.is_empty() {
            return self.body(otherwise, dot);
        }
        for (index, item) in pairs {
            let n_variables = self.variables.len();
            match over.variables.as_slice() {
                [one] => self.set(one, item.clone(), over.assigns),
                [first, second] => {
                    self.set(first, index, over.assigns);
                    self.set(second, item.clone(), over.assigns);
                }
                _ => {}
            }
            let flow = self.scoped(n_variables, |it| it.body(body, &item))?;
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Done)
    }

    fn call(&mut self, name: &str, data: Option<&Pipe>, span: Span, dot: &Value) -> Eval<()> {
        let value = match data {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Null,
        };
        let Some(body) = self.template.bodies.get(name) else {
            return Err(self.error(span, format!("template {name:?} not defined")));
        };
        if self.depth >= MAX_DEPTH {
            return Err(self.error(span, format!("exceeded maximum template depth ({MAX_DEPTH})")));
        }
        let outer = std::mem::replace(&mut self.variables, vec![(Arc::from("$"), value.clone())]);
        let result = self.body(body, &value);
        self.variables = outer;
        result.map(drop)
    }

    fn set(&mut self, name: &Arc<str>, value: Value, assigns: bool) {
        let known = self.variables.iter_mut().rev().find(|(known, _)| assigns && known == name);
        match known {
            Some((_, place)) => *place = value,
            None => self.variables.push((Arc::clone(name), value)),
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Eval<Value> {
        let value = self.commands(pipe, dot)?;
        for name in &pipe.variables {
            self.set(name, value.clone(), pipe.assigns);
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &Pipe, dot: &Value) -> Eval<Value> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or_default())
    }

    fn command(&mut self, command: &Command, dot: &Value, last: Option<Value>) -> Eval<Value> {
        let (first, rest) = match command.args.as_slice() {
            [first, rest @ ..] => (first, rest),
            [] => return Ok(Value::Null),
        };
        let ArgKind::Function(function) = first.kind else {
            if !rest.is_empty() || last.is_some() {
                let shown = &self.template.text[first.span.start as usize..first.span.end as usize];
                return Err(self.error(first.span, format!("can't give argument to non-function {shown}")));
            }
            return self.arg(first, dot);
        };
        let value = self.invoke(function, first.span, rest, dot, last)?;
        self.path(value, &first.path, first.span)
    }

    fn invoke(
        &mut self,
        function: &Function,
        span: Span,
        args: &[Arg],
        dot: &Value,
        last: Option<Value>,
    ) -> Eval<Value> {
        let count = args.len() + usize::from(last.is_some());
        if let Err(wanted) = function.takes(count) {
            let name = function.name;
            return Err(
                self.error(span, format!("wrong number of args for {name}: want {wanted} got {count}"))
            );
        }
        if let Kind::ShortCircuit(stops_at) = function.kind {
            return self.short_circuit(stops_at, args, dot, last);
        }
        let mut values = Vec::with_capacity(count);
        for arg in args {
            values.push(self.arg(arg, dot)?);
        }
        values.extend(last);
        let result = match function.kind {
            Kind::Pure(function) => function(&values),
            Kind::Informed(function) => function(&values, self.cx),
            Kind::ShortCircuit(_) => Ok(Value::Null),
        };
        result.map_err(|why| self.error(span, format!("error calling {}: {why}", function.name)))
    }

    /// `and` stops at the first false value, `or` at the first true one (T4.3).
    fn short_circuit(
        &mut self,
        stops_at: bool,
        args: &[Arg],
        dot: &Value,
        last: Option<Value>,
    ) -> Eval<Value> {
        let mut value = Value::Null;
        for arg in args {
            value = self.arg(arg, dot)?;
            if funcs::truth(&value) == stops_at {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn arg(&mut self, arg: &Arg, dot: &Value) -> Eval<Value> {
        let value = match &arg.kind {
            ArgKind::Dot => dot.clone(),
            ArgKind::Literal(value) => value.clone(),
            ArgKind::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found.map(|(_, value)| value.clone()).unwrap_or_default()
            }
            ArgKind::Function(function) => self.invoke(function, arg.span, &[], dot, None)?,
            ArgKind::Pipe(pipe) => self.pipe(pipe, dot)?,
        };
        self.path(value, &arg.path, arg.span)
    }

    /// T4.6: absent and null are the same, and a path through them too.
    fn path(&self, mut value: Value, path: &[Arc<str>], span: Span) -> Eval<Value> {
        for name in path {
            value = match &value {
                Value::Null => Value::Null,
                Value::Map(fields) => field(fields, name),
                other => return Err(self.error(span, self.no_field(name, other))),
            };
        }
        Ok(value)
    }

    fn no_field(&self, name: &str, value: &Value) -> String {
        let is_root = matches!((value, &self.root), (Value::List(a), Value::List(b)) if Arc::ptr_eq(a, b));
        let of = if is_root { "[]map[string]interface {}" } else { "interface {}" };
        format!("can't evaluate field {name} in type {of}")
    }
}

fn field(fields: &Fields, name: &str) -> Value {
    fields.get(name).cloned().unwrap_or_default()
}
