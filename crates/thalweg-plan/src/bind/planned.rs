//! Functions that are the planner's own business: window bounds, metadata, row numbers.

use std::sync::Arc;

use thalweg_core::{Diagnostic, Span};
use thalweg_expr::expr::Context;
use thalweg_expr::{Expr, FunctionRef};
use thalweg_sql::ast::{self, ExprKind};

use super::function::in_parsing;
use super::{Binder, Clause, Place};

impl<'q> Binder<'q, '_> {
    pub(super) fn planned(
        &mut self,
        function: FunctionRef,
        call: &'q ast::Call,
        span: Span,
        place: Place<'q>,
    ) -> Option<Expr> {
        let context = |context| Some(Expr::Context(context));
        match function.name() {
            "meta" | "mqtt" => return self.meta(&function, call, place),
            "changed_cols" if place.clause != Clause::Select => {
                let message = "function changed_cols can only be used inside the select clause";
                return self.fail(in_parsing(message).at(span));
            }
            "last_hit_count" | "last_hit_time" if self.is_aggregate && place.clause != Clause::Window => {
                let message = format!("function {} is not allowed in an aggregate query", function.name());
                return self.fail(Diagnostic::plain(message).at(span));
            }
            _ => {}
        }
        self.check_args(&function, call)?;
        match function.name() {
            "window_start" => context(Context::WindowStart),
            "window_end" => context(Context::WindowEnd),
            "window_trigger" => context(Context::WindowTrigger),
            "rule_id" => context(Context::RuleId),
            "rule_start" => context(Context::RuleStart),
            "event_time" => {
                let is_result = matches!(place.clause, Clause::Select | Clause::Having | Clause::Order);
                let is_row = place.aggregate.is_some() || place.analytic.is_some();
                context(Context::EventTime { of_window: self.is_aggregate && is_result && !is_row })
            }
            "row_number" => self.row_number(call, place),
            name => self.fail(Diagnostic::plain(format!("function {name} is not supported yet")).at(span)),
        }
    }

    /// `meta(k)`, `meta(s.k)`, `meta(k->m)`, `meta(*)`, `mqtt(topic)` (P-21). A plain name is a key, not a column.
    fn meta(&mut self, function: &FunctionRef, call: &'q ast::Call, place: Place<'q>) -> Option<Expr> {
        let name = function.name();
        let wrong =
            |cause: String| in_parsing(format!("validate function {name} error: {cause}")).at(call.name.span);
        let [arg] = call.args.as_slice() else {
            return self.fail(wrong(format!("Expect 1 arguments but found {}.", call.args.len())));
        };
        let Some(mut path) = reference(arg) else {
            return self.fail(wrong("Expect meta reference type for parameter 1".to_owned()));
        };
        let source = match &arg.kind {
            ExprKind::Wildcard { qualifier, .. } => {
                qualifier.as_ref().and_then(|name| self.source_named(&name.text))
            }
            _ if path.len() > 1 => self.source_named(&path[0]),
            _ => None,
        };
        if source.is_some() && !path.is_empty() {
            path.remove(0);
        }
        if name == "mqtt" {
            // Upstream's own sources call the key messageId.
            path = match path.first().map(|key| key.to_lowercase()).as_deref() {
                Some("topic") => vec![Arc::from("topic")],
                Some("messageid") => vec![Arc::from("messageId")],
                _ => {
                    let cause = "Parameter of mqtt function can be only topic or messageid.".to_owned();
                    return self.fail(wrong(cause));
                }
            };
        }
        Some(self.metadata(source.or(place.only), &path))
    }
}

/// The names of a metadata reference; none for `*`.
fn reference(arg: &ast::Expr) -> Option<Vec<Arc<str>>> {
    match &arg.kind {
        ExprKind::Wildcard { .. } => Some(Vec::new()),
        ExprKind::Name(parts) => Some(parts.iter().map(|part| Arc::clone(&part.text)).collect()),
        ExprKind::Arrow(inner, name) => {
            let mut path = reference(inner)?;
            path.push(Arc::clone(&name.text));
            Some(path)
        }
        _ => None,
    }
}
