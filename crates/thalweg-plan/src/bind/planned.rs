//! Functions that are the planner's own business: window bounds, metadata, row numbers.

use std::sync::Arc;

use thalweg_core::{BinaryOp, Diagnostic, Fields, Slot, Span, Value};
use thalweg_expr::builtin::OVER_MEMBERS;
use thalweg_expr::expr::Context;
use thalweg_expr::{Expr, FunctionRef};
use thalweg_sql::ast::{self, ExprKind};

use super::call::{is_bare, site};
use super::function::in_parsing;
use super::{Binder, Clause, Place};
use crate::logical::{AnalyticCall, Dedup};

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
                return self
                    .fail(self.after_parsing(message).at(span).help("had_changed serves in conditions"));
            }
            "last_hit_count" | "last_hit_time" if self.is_collection && place.clause != Clause::Window => {
                let message = format!("function {} is not allowed in an aggregate query", function.name());
                let help = "it counts single rows; last_agg_hit_count and last_agg_hit_time count windows";
                return self.fail(Diagnostic::plain(message).at(span).help(help));
            }
            _ => {}
        }
        self.check_args(&function, call)?;
        self.advise_on_context(function.name(), span);
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
            "dedup_trigger" => self.dedup_trigger(call, span, place),
            "last_hit_count" | "last_hit_time" | "last_agg_hit_count" | "last_agg_hit_time" => {
                self.hit(function.name(), call, span, place)
            }
            name => self.fail(Diagnostic::plain(format!("function {name} is not supported yet")).at(span)),
        }
    }

    /// `dedup_trigger(start, end, now, expire)` (F-5): of single rows, once in a statement.
    fn dedup_trigger(&mut self, call: &'q ast::Call, span: Span, place: Place<'q>) -> Option<Expr> {
        if let Some((known, slot, _)) = &self.dedup
            && *known == site(call)
        {
            return Some(Expr::Column(*slot));
        }
        let problem = if place.clause != Clause::Select || !is_bare(place) {
            "function dedup_trigger can only be used inside the select clause"
        } else if self.is_collection {
            "function dedup_trigger is not allowed with a window or a join: it looks at single rows"
        } else if self.dedup.is_some() {
            "function dedup_trigger can only be used once"
        } else {
            ""
        };
        if !problem.is_empty() {
            return self.fail(self.after_parsing(problem).at(span));
        }
        let [start, end, now, expire] = call.args.as_slice() else { return None };
        let columns = [start, end, now];
        if let Some(wrong) = columns.iter().find(|arg| !matches!(arg.kind, ExprKind::Name(_))) {
            let mistake = in_parsing("the first three arguments of dedup_trigger must be columns");
            return self.fail(mistake.at(wrong.span));
        }
        let ExprKind::Literal(Value::Int(expire)) = expire.kind else {
            let mistake =
                in_parsing("the last argument of dedup_trigger must be a whole number of milliseconds");
            return self.fail(mistake.at(expire.span));
        };
        let [start, end, now] = columns.map(|column| self.expr(column, place));
        let slot = self.new_named_slot("dedup_trigger");
        self.dedup = Some((site(call), slot, Dedup { start: start?, end: end?, now: now?, expire }));
        Some(Expr::Column(slot))
    }

    /// In a condition a hit is a row, or a window, for which the whole condition is true: the condition's
    /// operator knows. In SELECT it is a row that is projected, or a window of an ungrouped aggregate query.
    fn hit(&mut self, name: &str, call: &'q ast::Call, span: Span, place: Place<'q>) -> Option<Expr> {
        let of_window = name.starts_with("last_agg");
        let is_count = name.ends_with("count");
        let is_bare = is_bare(place);
        let is_asked = match place.clause {
            Clause::Where | Clause::Window => !of_window,
            Clause::Having => of_window,
            _ => false,
        };
        if is_bare && is_asked {
            return Some(Expr::Context(if is_count { Context::HitCount } else { Context::HitTime }));
        }
        let is_window = self.is_aggregate && self.select.group_by.is_empty();
        if !is_bare || place.clause != Clause::Select || of_window && !is_window {
            let places = match of_window {
                true => "HAVING, and in SELECT of an aggregate query without GROUP BY columns",
                false => "SELECT, WHERE and OVER(WHEN ...)",
            };
            let message = format!("function {name} is supported only in {places}");
            return self.fail(Diagnostic::plain(message).at(span));
        }
        let one = Expr::literal(Value::Int(1));
        if is_count {
            let so_far = self.late_analytic("acc_count", vec![one.clone()], &call.name)?;
            return Some(Expr::Binary(BinaryOp::Minus, Box::new(Expr::Column(so_far)), Box::new(one)));
        }
        let time = Expr::Context(Context::EventTime { of_window });
        let before = self.late_analytic("lag", vec![time, one, Expr::literal(Value::Int(0))], &call.name)?;
        Some(Expr::Column(before))
    }

    /// An analytic call over the rows that are projected.
    fn late_analytic(&mut self, function: &str, args: Vec<Expr>, name: &ast::Name) -> Option<Slot> {
        let function = self.function(&ast::Name { text: Arc::from(function), span: name.span })?;
        Some(self.late_call(function, args, name))
    }

    fn late_call(&mut self, function: FunctionRef, args: Vec<Expr>, name: &ast::Name) -> Slot {
        let call = AnalyticCall { function, args, partition_by: Vec::new(), when: None };
        self.late_slot(&name.text, call)
    }

    /// `changed_cols(prefix, ignoreNull, x…)` as a SELECT field (A-11, S53): each column that changed since it was
    /// last projected, under its name behind the prefix. A change to nothing is a null.
    pub(super) fn changed_cols(
        &mut self,
        call: &'q ast::Call,
        place: Place<'q>,
    ) -> Option<Vec<(Arc<str>, Expr)>> {
        let function = self.function(&call.name)?;
        self.check_args(&function, call)?;
        let [prefix, ignore_null, columns @ ..] = call.args.as_slice() else { return None };
        let ExprKind::Literal(Value::Str(prefix)) = &prefix.kind else {
            let mistake =
                Diagnostic::plain("the prefix of changed_cols must be a text in quotes").at(prefix.span);
            return self.fail(mistake.help("such as 'c_', or '' for none"));
        };
        let ignore_null = self.expr(ignore_null, place)?;
        let mut changed = Vec::new();
        for column in columns {
            if let ExprKind::Wildcard { qualifier, .. } = &column.kind {
                let sources = self.wildcard_sources(qualifier.as_ref())?;
                if sources.iter().any(|source| self.sources[*source].stream.columns.is_none()) {
                    // Which columns there are only the rows tell.
                    let row = self.whole_row(qualifier.as_ref(), place.only)?;
                    let args = vec![ignore_null.clone(), Expr::literal(Value::Str(Arc::clone(prefix))), row];
                    let slot = self.late_call(FunctionRef::Builtin(&OVER_MEMBERS[1]), args, &call.name);
                    changed.push((Arc::from(format!("{prefix}*")), Expr::Column(slot)));
                    continue;
                }
                for (name, slot) in
                    sources.into_iter().flat_map(|source| self.all_columns(source)).collect::<Vec<_>>()
                {
                    let name = Arc::from(format!("{prefix}{name}"));
                    changed.push(self.changed(name, Expr::Column(slot), ignore_null.clone(), &call.name)?);
                }
                continue;
            }
            let name = match &column.kind {
                ExprKind::Name(parts) => parts.last().map(|part| Arc::clone(&part.text)),
                ExprKind::Call(call) => Some(Arc::from(call.name.text.to_lowercase())),
                _ => None,
            };
            let name = name.unwrap_or_else(|| Arc::from(format!("kuiper_field_{}", changed.len())));
            let value = self.expr(column, place)?;
            let name = Arc::from(format!("{prefix}{name}"));
            changed.push(self.changed(name, value, ignore_null.clone(), &call.name)?);
        }
        Some(changed)
    }

    fn changed(
        &mut self,
        name: Arc<str>,
        value: Expr,
        ignore_null: Expr,
        function: &ast::Name,
    ) -> Option<(Arc<str>, Expr)> {
        let slot = match value {
            Expr::Column(slot) => slot,
            other => self.compute_result(&name, other),
        };
        let has_changed =
            self.late_analytic("had_changed", vec![ignore_null, Expr::Column(slot)], function)?;
        let has_changed = Box::new(Expr::Column(has_changed));
        let there = Expr::IsNull { negated: true, value: Box::new(Expr::Column(slot)) };
        let to_value = Expr::Binary(BinaryOp::And, has_changed.clone(), Box::new(there));
        let nothing = Value::map(Fields::from([(Arc::clone(&name), Value::Null)]));
        let arms = vec![
            (to_value, Expr::Object(vec![(Arc::clone(&name), slot)])),
            (*has_changed, Expr::literal(nothing)),
        ];
        Some((name, Expr::Case { value: None, arms, otherwise: None }))
    }

    /// `meta(k)`, `meta(s.k)`, `meta(k->m)`, `meta(*)`, `mqtt(topic)` (P-21). A plain name is a key, not a column.
    fn meta(&mut self, function: &FunctionRef, call: &'q ast::Call, place: Place<'q>) -> Option<Expr> {
        let name = function.name();
        let wrong = |cause: String| {
            let mistake = in_parsing(format!("validate function {name} error: {cause}")).at(call.name.span);
            mistake.help(if name == "meta" {
                "write meta(key), meta(stream.key) or meta(*)"
            } else {
                "write mqtt(topic)"
            })
        };
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
