//! Calls: scalar ones stay, the others become columns of operators.

use std::collections::BTreeSet;
use std::sync::Arc;

use thalweg_core::{Diagnostic, Slot, Span, Value};
use thalweg_expr::builtin::OVER_MEMBERS;
use thalweg_expr::{Expr, FunctionRef};
use thalweg_sql::ast::{self, ExprKind};

use super::function::{CallKind, in_parsing};
use super::scope::Role;
use super::{Binder, Clause, Place, equal};
use crate::ast_walk;
use crate::logical::{AggregateCall, AnalyticCall, SortKey};
use crate::rewrite;

/// A call of an analytic function and where its value will stand. Equal calls are one, with one state.
#[derive(Debug)]
pub(super) struct AnalyticSite {
    /// Where it is written.
    sites: Vec<usize>,
    pub slot: Slot,
    pub call: AnalyticCall,
    /// The source whose events it sees.
    pub source: usize,
}

/// A call of an aggregate and where its value will stand. Equal calls are one.
#[derive(Debug)]
pub(super) struct AggregateSite {
    pub slot: Slot,
    pub call: AggregateCall,
}

impl AnalyticSite {
    /// Whether this call is written here, for the events of this source.
    fn is(&self, call: &ast::Call, source: usize) -> bool {
        self.source == source && self.sites.contains(&site(call))
    }
}

/// A `row_number()`.
#[derive(Debug)]
pub(super) struct RowNumberSite {
    site: usize,
    pub slot: Slot,
    pub partition_by: Vec<Expr>,
    pub order_by: Vec<SortKey>,
}

/// Tells calls apart: the place of the node in memory, which no other node has while the tree is borrowed.
pub(super) fn site(call: &ast::Call) -> usize {
    std::ptr::from_ref(call).addr()
}

impl<'q> Binder<'q, '_> {
    pub(super) fn call(&mut self, call: &'q ast::Call, span: Span, place: Place<'q>) -> Option<Expr> {
        let function = self.function(&call.name)?;
        let kind = self.call_kind(&function, &call.name)?;
        let takes_over =
            kind == CallKind::Analytic && !has_scalar_state(&function) || function.name() == "row_number";
        if call.has_over && !takes_over {
            let mistake = in_parsing(format!("Found OVER after non analytic function {}", call.name.text));
            let help = "OVER goes with analytic functions such as lag and acc_sum, and with row_number";
            return self.fail(mistake.at(call.name.span).help(help));
        }
        match kind {
            CallKind::Scalar => self.scalar(function, call, place),
            CallKind::Aggregate => self.aggregate(function, call, span, place),
            CallKind::Analytic => self.analytic(function, call, place),
            CallKind::Set => {
                let message = match place.clause {
                    Clause::Select => "select clause shouldn't has nested set-returning-functions",
                    _ => "select statement shouldn't has srf except fields",
                };
                let help = "let it stand alone in SELECT, and work with its rows in an outer query";
                self.fail(self.after_parsing(message).at(span).help(help))
            }
            CallKind::Planned => self.planned(function, call, span, place),
        }
    }

    /// The number of a call: the same wherever an alias brings it.
    pub(super) fn call_id(&mut self, call: &ast::Call) -> u32 {
        let scope = &self.scope;
        *self.call_ids.entry(site(call)).or_insert_with(|| scope.next_call_id())
    }

    fn scalar(&mut self, function: FunctionRef, call: &'q ast::Call, place: Place<'q>) -> Option<Expr> {
        let call_id = self.call_id(call);
        let checked = self.check_args(&function, call);
        let args = self.exprs(&call.args, place)?;
        checked?;
        Some(Expr::Call { function, args, call_id })
    }

    /// Arguments of a function that takes `*`: it counts rows, or gets them whole.
    fn args_with_rows(
        &mut self,
        function: &FunctionRef,
        call: &'q ast::Call,
        place: Place<'q>,
    ) -> Option<Vec<Expr>> {
        let counts = matches!(function.name(), "count" | "acc_count" | "inc_count");
        let bind = |binder: &mut Self, arg: &'q ast::Expr| match &arg.kind {
            ExprKind::Wildcard { qualifier, .. } if counts && qualifier.is_none() => {
                Some(Expr::literal(Value::Int(1)))
            }
            ExprKind::Wildcard { qualifier, .. } => binder.whole_row(qualifier.as_ref(), place.only),
            _ => binder.expr(arg, place),
        };
        let bound: Vec<Option<Expr>> = call.args.iter().map(|arg| bind(self, arg)).collect();
        let mut args = bound.into_iter().collect::<Option<Vec<_>>>()?;
        // deduplicate(key, all) gives whole rows, which it gets as a first argument of its own.
        if function.name() == "deduplicate" {
            args.insert(0, self.whole_row(None, place.only)?);
        }
        Some(args)
    }

    /// All columns of a row as one object.
    pub(super) fn whole_row(&mut self, qualifier: Option<&ast::Name>, only: Option<usize>) -> Option<Expr> {
        let sources = self.wildcard_sources(qualifier)?;
        let sources = sources.into_iter().filter(|source| only.is_none_or(|only| only == *source));
        let members: Vec<(Arc<str>, Slot)> = sources.flat_map(|source| self.all_columns(source)).collect();
        Some(Expr::Object(members))
    }

    fn aggregate(
        &mut self,
        function: FunctionRef,
        call: &'q ast::Call,
        span: Span,
        place: Place<'q>,
    ) -> Option<Expr> {
        self.allow_aggregate(call, span, place)?;
        let call_id = self.call_id(call);
        let checked = self.check_args(&function, call);
        let inner = Place { aggregate: Some(&call.name.text), ..place };
        let args = self.args_with_rows(&function, call, inner);
        checked?;
        let args = args?;
        let bound = AggregateCall { function, args, filter: None, call_id };
        let in_where = place.clause == Clause::Where;
        let sites = if in_where { &self.where_aggregates } else { &self.aggregates };
        if let Some(site) = sites.iter().find(|site| equal::aggregates(&site.call, &bound)) {
            return Some(Expr::Column(site.slot));
        }
        let slot = self.new_named_slot(&call.name.text);
        let sites = if in_where { &mut self.where_aggregates } else { &mut self.aggregates };
        sites.push(AggregateSite { slot, call: bound });
        Some(Expr::Column(slot))
    }

    /// where aggregates may stand.
    fn allow_aggregate(&mut self, call: &ast::Call, span: Span, place: Place<'q>) -> Option<()> {
        let name = &call.name.text;
        if let Some(outer) = place.aggregate {
            let message = format!("invalid argument for func {outer}: aggregate argument is not allowed");
            let help = "aggregates do not nest; compute the inner one in a sub-query";
            return self.fail(Diagnostic::plain(message).at(span).help(help));
        }
        if let Some(outer) = place.analytic {
            let message = format!("invalid argument for func {outer}: aggregate argument is not allowed");
            let help = format!("{outer} looks at single events, before the window that {name} needs");
            return self.fail(Diagnostic::plain(message).at(span).help(help));
        }
        let message = match place.clause {
            Clause::Select | Clause::Where | Clause::Having | Clause::Order => return Some(()),
            Clause::Group => format!("Not allowed to call aggregate functions in GROUP BY clause: {name}."),
            Clause::WindowFilter => {
                format!("Not allowed to call aggregate functions in window FILTER: {name}.")
            }
            Clause::Window => {
                format!("Not allowed to call aggregate functions in a window condition: {name}.")
            }
            Clause::On => format!("Not allowed to call aggregate functions in ON: {name}."),
        };
        let help = match place.clause {
            Clause::Group => "group by columns; conditions on groups belong into HAVING",
            Clause::On => "conditions on groups belong into HAVING",
            _ => {
                "it is judged for single events, before there are groups; conditions on groups belong into HAVING"
            }
        };
        self.fail(self.after_parsing(message).at(span).help(help))
    }

    fn analytic(&mut self, function: FunctionRef, call: &'q ast::Call, place: Place<'q>) -> Option<Expr> {
        let name = &call.name.text;
        if place.clause == Clause::Having && place.aggregate.is_none() {
            let mistake = Diagnostic::plain(format!("analytic function {name} is not allowed in HAVING"));
            return self
                .fail(mistake.at(call.name.span).help("it has a value for each event, not for a group"));
        }
        let checked = self.check_args(&function, call);
        checked?;
        if has_scalar_state(&function) && place.clause == Clause::Select && is_bare(place) {
            if let Some(known) = self.analytic.iter().find(|known| known.sites.contains(&site(call))) {
                return Some(Expr::Column(known.slot));
            }
            // These are scalar upstream: they see the rows that are projected.
            let call = self.analytic_call(function, call, None, place)?;
            return Some(Expr::Column(self.late_slot(name, call)));
        }
        let mut values = Vec::new();
        for source in self.analytic_sources(&function, call, place)? {
            let slot = self.analytic_slot(&function, call, source, place)?;
            values.push((source, slot));
        }
        // Events of other streams do not have it.
        values.retain(|(source, _)| place.only.is_none_or(|only| only == *source));
        Some(self.of_its_side(call, values))
    }

    /// The call's value for the events of one source.
    fn analytic_slot(
        &mut self,
        function: &FunctionRef,
        call: &'q ast::Call,
        source: usize,
        place: Place<'q>,
    ) -> Option<Slot> {
        if let Some(known) = self.analytic.iter().find(|known| known.is(call, source)) {
            return Some(known.slot);
        }
        let only = (self.sources.len() > 1).then_some(source);
        let bound = self.analytic_call(function.clone(), call, only, place)?;
        let mut known = self.analytic.iter_mut().filter(|known| known.source == source);
        if let Some(known) = known.find(|known| equal::analytic(&known.call, &bound)) {
            known.sites.push(site(call));
            return Some(known.slot);
        }
        let slot = self.new_named_slot(&call.name.text);
        self.slot_sources[slot.index()] = Some(source);
        self.analytic.push(AnalyticSite { sites: vec![site(call)], slot, call: bound, source });
        Some(slot)
    }

    /// The value of a call that sees the rows that are projected.
    pub(super) fn late_slot(&mut self, name: &str, call: AnalyticCall) -> Slot {
        if let Some((slot, _)) = self.late_analytic.iter().find(|(_, known)| equal::analytic(known, &call)) {
            return *slot;
        }
        let slot = self.new_named_slot(name);
        self.late_analytic.push((slot, call));
        slot
    }

    fn analytic_call(
        &mut self,
        function: FunctionRef,
        call: &'q ast::Call,
        only: Option<usize>,
        place: Place<'q>,
    ) -> Option<AnalyticCall> {
        let inner = Place { analytic: Some(&call.name.text), aggregate: None, only, ..place };
        let args = self.args_with_rows(&function, call, inner);
        let function = self.over_members(function, call);
        let partition_by = self.exprs(&call.partition_by, inner);
        let when = call.when.as_deref().map(|when| self.expr(when, inner));
        let (args, partition_by) = (args?, partition_by?);
        let when = match when {
            None => None,
            Some(when) => Some(when?),
        };
        Some(AnalyticCall { function, args, partition_by, when })
    }

    /// `had_changed(ignoreNull, *)` compares the members of the row, each with what it was.
    fn over_members(&self, function: FunctionRef, call: &ast::Call) -> FunctionRef {
        let is_whole = |arg: &ast::Expr| matches!(arg.kind, ExprKind::Wildcard { .. });
        match function.name() {
            "had_changed" if call.args.iter().any(is_whole) => FunctionRef::Builtin(&OVER_MEMBERS[0]),
            _ => function,
        }
    }

    /// The sources whose events an analytic call sees: before a join there are only events of one source. Names
    /// without qualifier may be columns of several, so each of those has the call for itself.
    fn analytic_sources(
        &mut self,
        function: &FunctionRef,
        call: &'q ast::Call,
        place: Place<'q>,
    ) -> Option<Vec<usize>> {
        if self.sources.len() == 1 {
            return Some(vec![0]);
        }
        let bound = self.analytic_call(function.clone(), call, None, place)?;
        let parts = bound.args.iter().chain(&bound.partition_by).chain(&bound.when);
        let mut sources = self.sources_of(parts);
        let named = self.qualifiers(call);
        if named.len() == 1 {
            sources = named;
        } else if named.len() > 1 {
            sources.clear();
        }
        sources.retain(|source| self.sources[*source].role == Role::Stream);
        let sources: Vec<usize> =
            self.order.iter().copied().filter(|source| sources.contains(source)).collect();
        if sources.is_empty() && self.may_name_lost() {
            return None;
        }
        if sources.is_empty() {
            let name = &call.name.text;
            let mistake = Diagnostic::plain(format!("{name} must look at one stream of the join"));
            let help = format!(
                "it is evaluated on single events, before the join; write {name}({0}.column) or {name}({0}.*)",
                self.sources[0].alias
            );
            return self.fail(mistake.at(call.name.span).help(help));
        }
        Some(sources)
    }

    /// The sources that a call names, directly or through aliases.
    fn qualifiers(&self, call: &'q ast::Call) -> BTreeSet<usize> {
        let mut sources = BTreeSet::new();
        let parts = call.args.iter().chain(&call.partition_by).chain(call.when.as_deref());
        let (mut rest, mut seen) = (parts.collect::<Vec<_>>(), BTreeSet::new());
        while let Some(part) = rest.pop() {
            ast_walk::walk(part, &mut |expr| match &expr.kind {
                ExprKind::Name(parts) => match self.source_named(&parts[0].text) {
                    Some(source) if parts.len() > 1 => drop(sources.insert(source)),
                    _ => {
                        let alias = self.aliases.iter().position(|alias| alias.name.text == parts[0].text);
                        if let Some(alias) = alias.filter(|alias| seen.insert(*alias)) {
                            rest.push(self.aliases[alias].expr);
                        }
                    }
                },
                ExprKind::Wildcard { qualifier: Some(name), .. } => {
                    sources.extend(self.source_named(&name.text));
                }
                _ => {}
            });
        }
        sources
    }

    /// The value of the side whose column is meant: the first that has a value (J-6).
    fn of_its_side(&self, call: &ast::Call, mut values: Vec<(usize, Slot)>) -> Expr {
        let Some((_, last)) = values.pop() else { return Expr::literal(Value::Null) };
        values.into_iter().rev().fold(Expr::Column(last), |otherwise, (source, slot)| {
            let args = self.analytic.iter().find(|known| known.is(call, source));
            let args = args.map(|known| &known.call.args);
            let mut columns = args.into_iter().flatten().filter(|arg| !rewrite::slots(arg).is_empty());
            match columns.next() {
                None => otherwise,
                Some(column) => {
                    let there = Expr::IsNull { negated: true, value: Box::new(column.clone()) };
                    let arms = vec![(there, Expr::Column(slot))];
                    Expr::Case { value: None, arms, otherwise: Some(Box::new(otherwise)) }
                }
            }
        })
    }

    /// `row_number()`: numbers the rows of a result; a plain row is number 1 (F-4).
    pub(super) fn row_number(&mut self, call: &'q ast::Call, place: Place<'q>) -> Option<Expr> {
        let is_allowed = match place.clause {
            Clause::Select => true,
            Clause::Order => place.field.is_some(),
            _ => false,
        };
        if !is_allowed || place.aggregate.is_some() || place.analytic.is_some() {
            let mistake =
                self.after_parsing("window functions can only be in select fields").at(call.name.span);
            let help = "number the rows in a sub-query, FROM (SELECT …, row_number() AS n …) AS x";
            return self.fail(mistake.help(help));
        }
        if let Some(known) = self.row_numbers.iter().find(|known| known.site == site(call)) {
            return Some(Expr::Column(known.slot));
        }
        let partition_by = self.exprs(&call.partition_by, place);
        let order_by = self.sort_keys(&call.order_by, place);
        let (partition_by, order_by) = (partition_by?, order_by?);
        if !self.is_collection {
            return Some(Expr::literal(Value::Int(1)));
        }
        let slot = self.new_named_slot("row_number");
        self.row_numbers.push(RowNumberSite { site: site(call), slot, partition_by, order_by });
        Some(Expr::Column(slot))
    }

    pub(super) fn sort_keys(&mut self, keys: &'q [ast::OrderKey], place: Place<'q>) -> Option<Vec<SortKey>> {
        let bind = |binder: &mut Self, key: &'q ast::OrderKey| {
            Some(SortKey { expr: binder.expr(&key.expr, place)?, descending: key.descending })
        };
        let bound: Vec<Option<SortKey>> = keys.iter().map(|key| bind(self, key)).collect();
        bound.into_iter().collect()
    }
}

/// Whether a call keeps state and is scalar all the same.
fn has_scalar_state(function: &FunctionRef) -> bool {
    matches!(function, FunctionRef::Builtin(function) if function.is_scalar_with_state())
}

/// Whether a place is not within the arguments of an aggregate or analytic call.
pub(super) fn is_bare(place: Place<'_>) -> bool {
    place.aggregate.is_none() && place.analytic.is_none()
}
