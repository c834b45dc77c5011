//! Finding functions and checking their arguments.

use std::sync::Arc;

use thalweg_core::diagnostic::nearest;
use thalweg_core::{Diagnostic, ErrorCode};
use thalweg_expr::function::{ArgShape, FunctionKind};
use thalweg_expr::{FunctionRef, RemoteFunction};
use thalweg_sql::ast::{self, ExprKind};

use super::{Binder, MAX_ERRORS};
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
    /// The same for what upstream's parser checks when it has read everything: never the first of several mistakes if
    /// there are some of grammar.
    pub(super) fn after_parsing(&self, message: impl Into<String>) -> Diagnostic {
        if self.scope.is_recovered { Diagnostic::plain(message) } else { in_parsing(message) }
    }

    /// The function of this name; notes a mistake if there is none.
    pub(super) fn function(&mut self, name: &ast::Name) -> Option<FunctionRef> {
        if let Some(known @ Some(_)) = self.functions.get(&name.text) {
            return known.clone();
        }
        if self.errors.len() >= MAX_ERRORS {
            return None;
        }
        let found = match self.world.function(&name.text) {
            Ok(Some(function)) => Some(function),
            Ok(None) => {
                let names = self.world.function_names();
                let mistake = in_parsing(format!("function {} not found", name.text)).at(name.span);
                self.fail(mistake.help(instead(&name.text, &names)))
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
            self.function(name).is_some_and(|function| {
                let is_table_row = matches!(&function, FunctionRef::Builtin(row) if row.is_aggregate());
                is_table_row || self.call_kind(&function, name) == Some(CallKind::Aggregate)
            })
        })
    }

    /// Checks number and literal arguments of a call.
    pub(super) fn check_args(&mut self, function: &FunctionRef, call: &ast::Call) -> Option<()> {
        let shapes: Vec<ArgShape> = call.args.iter().map(|arg| self.shape(arg)).collect();
        let checked = match function {
            FunctionRef::Builtin(function) => function.check_args(&shapes),
            FunctionRef::Remote(function) => {
                check_remote(function.as_ref(), &shapes).map_err(|mistake| (mistake, None))
            }
        };
        let Err((mut mistake, index)) = checked else { return Some(()) };
        let arg = index.and_then(|index| call.args.get(index));
        mistake.span.get_or_insert(arg.map_or(call.name.span, |arg| arg.span));
        self.fail(mistake)
    }

    fn shape(&self, arg: &ast::Expr) -> ArgShape {
        match &arg.kind {
            // Upstream's checks see a pair of parentheses, not the literal in them.
            _ if arg.is_parenthesized => ArgShape::Other,
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

/// What to write instead of a function that does not exist.
fn instead(name: &str, known: &[String]) -> String {
    let lower = name.to_lowercase();
    if let Some((_, help)) = ELSEWHERE.iter().find(|(words, _)| words.contains(&lower.as_str())) {
        return (*help).to_owned();
    }
    if WINDOWS.contains(&lower.as_str()) {
        return "a window stands in GROUP BY, by itself".to_owned();
    }
    if let Some(near) = nearest(&lower, WINDOWS.iter().copied()).filter(|_| lower.len() > 6) {
        return format!("did you mean {}?", near.to_uppercase());
    }
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None => "GET /metadata/functions lists those that there are".to_owned(),
    }
}

const WINDOWS: &[&str] =
    &["tumblingwindow", "hoppingwindow", "slidingwindow", "sessionwindow", "countwindow", "statewindow"];

/// Functions of other dialects of SQL, and what serves here.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (&["average", "mean"], "did you mean avg?"),
    (&["len", "char_length", "character_length", "strlen"], "did you mean length?"),
    (&["ucase", "toupper", "to_upper"], "did you mean upper?"),
    (&["lcase", "tolower", "to_lower"], "did you mean lower?"),
    (&["substr", "mid"], "did you mean substring?"),
    (&["ifnull", "nvl", "isnull_or"], "did you mean coalesce?"),
    (&["if", "iif", "decode", "switch"], "write CASE WHEN … THEN … ELSE … END"),
    (&["instr", "charindex", "position", "strpos", "locate"], "did you mean indexof?"),
    (&["array_agg", "string_agg", "group_concat", "listagg"], "did you mean collect?"),
    (&["current_timestamp", "getdate", "sysdate"], "did you mean now?"),
    (&["rank", "dense_rank"], "did you mean row_number?"),
    (&["stdev", "std"], "did you mean stddev?"),
    (&["var", "variance"], "did you mean var?"),
    (&["pow"], "did you mean power?"),
    (&["json_extract", "get_json_object", "json_value"], "did you mean json_path_query_first?"),
    (
        &["tumble", "hop", "session", "tumbling", "hopping", "sliding"],
        "windows are TUMBLINGWINDOW, HOPPINGWINDOW, SLIDINGWINDOW, SESSIONWINDOW, COUNTWINDOW and STATEWINDOW, in GROUP BY",
    ),
];
