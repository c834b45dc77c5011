//! Finding functions and checking their arguments.

use std::sync::Arc;

use thalweg_core::diagnostic::nearest;
use thalweg_core::{Diagnostic, ErrorCode};
use thalweg_expr::function::{ArgShape, FunctionKind};
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
        self.hosts.extend(found.iter().filter_map(FunctionRef::host).map(Arc::from));
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
            FunctionRef::Builtin(function) => function.check_args(&shapes),
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
