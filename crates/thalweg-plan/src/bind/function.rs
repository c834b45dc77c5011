//! Finding functions and checking their arguments.

use std::sync::Arc;

use thalweg_core::diagnostic::nearest;
use thalweg_core::{Diagnostic, ErrorCode, Value};
use thalweg_expr::function::{ArgKind, ArgShape, Function, FunctionKind};
use thalweg_expr::{FunctionRef, RemoteFunction};
use thalweg_sql::ast::{self, ExprKind};

use super::Binder;
use crate::ast_walk;

/// What the planner does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallKind {
    /// Stays a call.
    Scalar,
    /// Becomes a column of Aggregate or AggFunc.
    Aggregate,
    /// Becomes a column of Analytic.
    Analytic,
    /// Becomes a ProjectSet.
    Set,
    /// The planner's own business.
    Planned,
}

/// A mistake that upstream's parser finds: the engine prints `Parse SQL <sql> error: <message>.` around it.
pub(super) fn in_parsing(message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(ErrorCode::SqlParse, message)
}

impl<'q> Binder<'q, '_> {
    /// The function of this name; notes a mistake if there is none.
    pub(super) fn function(&mut self, name: &ast::Name) -> Option<FunctionRef> {
        if let Some(known) = self.functions.get(&name.text) {
            return known.clone();
        }
        let found = match self.world.function(&name.text) {
            Ok(Some(function)) => Some(function),
            Ok(None) => {
                let names = self.world.function_names();
                let mut mistake = in_parsing(format!("function {} not found", name.text)).at(name.span);
                if let Some(near) = nearest(&name.text, names.iter().map(String::as_str)) {
                    mistake = mistake.help(format!("did you mean {near}?"));
                }
                self.fail(mistake)
            }
            Err(mistake) => self.fail(if mistake.span.is_none() { mistake.at(name.span) } else { mistake }),
        };
        if let Some(FunctionRef::Remote(function)) = &found {
            self.hosts.insert(Arc::from(function.host()));
        }
        self.functions.insert(Arc::clone(&name.text), found.clone());
        found
    }

    /// What the planner does with a call of this function.
    pub(super) fn call_kind(&mut self, function: &FunctionRef, name: &ast::Name) -> Option<CallKind> {
        match function {
            FunctionRef::Builtin(function) => Some(match function.kind {
                FunctionKind::Row(_) | FunctionKind::Columns(_) => CallKind::Scalar,
                FunctionKind::Aggregate(_) => CallKind::Aggregate,
                FunctionKind::Analytic(_) => CallKind::Analytic,
                FunctionKind::Multi(_) => CallKind::Set,
                FunctionKind::Planned => CallKind::Planned,
            }),
            FunctionRef::Remote(function) => match function.is_aggregate() {
                Ok(true) => Some(CallKind::Aggregate),
                Ok(false) => Some(CallKind::Scalar),
                Err(mistake) => self.fail(mistake.at(name.span)),
            },
        }
    }

    /// Whether an expression calls an aggregate.
    pub(super) fn has_aggregate(&mut self, expr: &'q ast::Expr) -> bool {
        let mut names = Vec::new();
        ast_walk::walk(expr, &mut |expr| {
            if let ExprKind::Call(call) = &expr.kind {
                names.push(&call.name);
            }
        });
        names.into_iter().any(|name| {
            let function = self.function(name);
            function.and_then(|function| self.call_kind(&function, name)) == Some(CallKind::Aggregate)
        })
    }

    /// Checks number and literal arguments of a call.
    pub(super) fn check_args(&mut self, function: &FunctionRef, call: &ast::Call) -> Option<()> {
        let shapes: Vec<ArgShape> = call.args.iter().map(|arg| self.shape(arg)).collect();
        let checked = match function {
            FunctionRef::Builtin(function) => check_builtin(function, &shapes),
            FunctionRef::Remote(function) => check_remote(function.as_ref(), &shapes),
        };
        checked
            .map_err(|mistake| {
                self.note(if mistake.span.is_none() { mistake.at(call.name.span) } else { mistake })
            })
            .ok()
    }

    fn shape(&self, arg: &ast::Expr) -> ArgShape {
        match &arg.kind {
            ExprKind::Literal(value) => ArgShape::Literal(value.clone()),
            ExprKind::Name(parts) => match parts.as_slice() {
                [name] => ArgShape::Column { source: None, name: Arc::clone(&name.text) },
                [source, name] if self.source_named(&source.text).is_some() => {
                    ArgShape::Column { source: Some(Arc::clone(&source.text)), name: Arc::clone(&name.text) }
                }
                _ => ArgShape::Other,
            },
            _ => ArgShape::Other,
        }
    }
}

fn check_remote(function: &dyn RemoteFunction, shapes: &[ArgShape]) -> Result<(), Diagnostic> {
    function.validate(shapes).map_err(|mistake| {
        let message = format!("validate function {} error: {}", function.name(), mistake.message);
        Diagnostic { code: ErrorCode::SqlParse, message, ..mistake }
    })
}

fn check_builtin(function: &Function, shapes: &[ArgShape]) -> Result<(), Diagnostic> {
    let wrong =
        |cause: String| Err(in_parsing(format!("validate function {} error: {cause}", function.name)));
    let required = function.args.iter().filter(|arg| !arg.optional).count();
    let most =
        if function.args.last().is_some_and(|arg| arg.repeated) { usize::MAX } else { function.args.len() };
    let found = shapes.len();
    let is_odd_pair = function.name.starts_with("acc_") && found == 2;
    if found < required || found > most || is_odd_pair {
        return wrong(arity_text(function.name, required, most, found));
    }
    // A computed distance is fine, a column is not: it is fixed at the first event.
    if let ("lag", Some(ArgShape::Column { .. })) = (function.name, shapes.get(1)) {
        return wrong("Expect int type for parameter 2".to_owned());
    }
    for (index, shape) in shapes.iter().enumerate() {
        let Some(arg) = function.args.get(index).or(function.args.last()) else { break };
        if let Some(expected) = refuses(arg.kind, shape) {
            return wrong(format!("Expect {expected} type for parameter {}", index + 1));
        }
    }
    range_text(function.name, shapes).map_or(Ok(()), |cause| wrong(cause.to_owned()))
}

/// Upstream's text for literal positions that cannot be.
fn range_text(name: &str, shapes: &[ArgShape]) -> Option<&'static str> {
    let int = |index: usize| match shapes.get(index) {
        Some(ArgShape::Literal(Value::Int(number))) => Some(*number),
        _ => None,
    };
    match (name, int(1), int(2)) {
        ("substring", Some(start), _) if start < 0 => {
            Some("The start index should not be a nagtive integer.")
        }
        ("substring", Some(start), Some(end)) if end < start => {
            Some("The end index should be larger than start index.")
        }
        ("split_value", _, Some(index)) if index < 0 => Some("The index should not be a nagtive integer."),
        _ => None,
    }
}

/// Upstream's text for a wrong number of arguments.
fn arity_text(name: &str, required: usize, most: usize, found: usize) -> String {
    match name {
        "substring" => "the arguments for substring should be 2 or 3".to_owned(),
        "lag" => format!("expect one two or three args but got {found}"),
        "latest" => format!("expect one or two args but got {found}"),
        "had_changed" => format!("expect more than one arg but got {found}"),
        "changed_cols" => format!("expect more than two args but got {found}"),
        _ if name.starts_with("acc_") => format!("Expect 1/3 arguments but found {found}."),
        _ if most == required => format!("Expect {required} arguments but found {found}."),
        _ if most == usize::MAX => format!("Expect at least {required} arguments but found {found}."),
        _ if most == required + 1 => format!("Expect {required} or {most} arguments only."),
        _ => format!("Expect {required} to {most} arguments but found {found}."),
    }
}

/// What the argument should be, if it is a literal of another kind. Only literals are judged (functions.md 1.2).
fn refuses(kind: ArgKind, shape: &ArgShape) -> Option<&'static str> {
    let ArgShape::Literal(value) = shape else {
        let needs_literal = matches!(kind, ArgKind::LiteralInt | ArgKind::LiteralText | ArgKind::LiteralBool);
        return needs_literal.then(|| name_of(kind));
    };
    let is_fine = match (kind, value) {
        (_, Value::Null) | (ArgKind::Any, _) => true,
        (ArgKind::Number, value) => matches!(value, Value::Int(_) | Value::Float(_)),
        (ArgKind::Int | ArgKind::LiteralInt, value) => matches!(value, Value::Int(_)),
        (ArgKind::Text | ArgKind::LiteralText, value) => matches!(value, Value::Str(_)),
        (ArgKind::Bool | ArgKind::LiteralBool, value) => matches!(value, Value::Bool(_)),
        (ArgKind::Array | ArgKind::Object | ArgKind::Time, _) => true,
    };
    (!is_fine).then(|| name_of(kind))
}

fn name_of(kind: ArgKind) -> &'static str {
    match kind {
        ArgKind::Any => "any",
        ArgKind::Number => "number - float or int",
        ArgKind::Int | ArgKind::LiteralInt => "int",
        ArgKind::Text | ArgKind::LiteralText => "string",
        ArgKind::Bool | ArgKind::LiteralBool => "bool",
        ArgKind::Array => "array",
        ArgKind::Object => "object",
        ArgKind::Time => "datetime",
    }
}
