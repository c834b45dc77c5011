//! The SELECT list: output names (P-2 to P-6), wildcards (P-13 to P-17), set-returning calls (F-1).

use std::collections::BTreeSet;
use std::sync::Arc;

use thalweg_core::diagnostic::nearest;
use thalweg_core::{Diagnostic, Slot};
use thalweg_expr::{Expr, FunctionRef};
use thalweg_sql::ast::{self, ExprKind};

use super::function::CallKind;
use super::{Binder, Clause, Place};
use crate::logical::{Empty, OutputColumn};

/// The bound SELECT list.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub columns: Vec<OutputColumn>,
    /// The call that takes a column apart, and the column's index.
    pub set: Option<(usize, FunctionRef)>,
    /// Names so far, with wildcards and invisible fields left out (P-5).
    names: BTreeSet<Arc<str>>,
    /// Fields named `kuiper_field_N` so far.
    n_unnamed: usize,
}

impl<'q> Binder<'q, '_> {
    /// Binds the SELECT list.
    pub(super) fn output(&mut self) -> Output {
        let mut output = Output::default();
        let fields = &self.select.fields;
        let excepted: BTreeSet<Arc<str>> = fields.iter().flat_map(|field| excepted(&field.expr)).collect();
        for (index, field) in fields.iter().enumerate() {
            let name = output.name(field);
            let place = Place { field: Some(index), ..Place::of(Clause::Select) };
            if let ExprKind::Wildcard { qualifier, except, replace } = &field.expr.kind {
                self.wildcard(&mut output, qualifier.as_ref(), except, replace, place);
                continue;
            }
            if self.changed_field(&mut output, field, place) {
                continue;
            }
            let is_column = field.alias.is_none() && self.is_plain_column(&field.expr, place);
            let Some((expr, set)) = self.field(index, field, place) else { continue };
            if field.invisible || is_column && excepted.contains(&name) {
                continue;
            }
            if !self.claim(&mut output, &name, field) {
                continue;
            }
            if let Some(function) = set {
                if output.set.is_some() {
                    let message = "select clause shouldn't has multi set-returning-functions";
                    let help = "one such call per SELECT; take the second apart in an outer query";
                    let mistake = self.after_parsing(message).at(field.expr.span);
                    self.note(mistake.help(help));
                }
                output.set = Some((output.columns.len(), function));
            }
            let empty = self.empty(is_column || keeps_null(&field.expr), field.alias.is_some());
            output.columns.push(OutputColumn::One { name, expr, empty });
        }
        if self.options.send_meta {
            let expr = self.metadata(None, &[]);
            output.columns.push(OutputColumn::One { name: Arc::from("__meta"), expr, empty: Empty::Omit });
        }
        output
    }

    /// P-5: whether the name is still free.
    fn claim(&mut self, output: &mut Output, name: &Arc<str>, field: &ast::SelectField) -> bool {
        let is_free = output.names.insert(Arc::clone(name));
        if !is_free {
            let mistake = Diagnostic::plain(format!("duplicate field definition {name}")).at(field.expr.span);
            self.note(mistake.help("give one of them another name with AS"));
        }
        is_free
    }

    /// A field that is a call of changed_cols, which makes columns of its own.
    fn changed_field(&mut self, output: &mut Output, field: &'q ast::SelectField, place: Place<'q>) -> bool {
        let ExprKind::Call(call) = &field.expr.kind else { return false };
        if self.function(&call.name).is_none_or(|function| function.name() != "changed_cols") {
            return false;
        }
        if let Some(alias) = &field.alias {
            let mistake = Diagnostic::plain("changed_cols names its columns itself").at(alias.span);
            self.note(mistake.help("leave AS out; its first argument is the prefix of their names"));
        }
        for (name, expr) in self.changed_cols(call, place).unwrap_or_default() {
            if self.claim(output, &name, field) && !field.invisible {
                output.columns.push(OutputColumn::Keyed { expr });
            }
        }
        true
    }

    /// P-3 and R-6.
    fn empty(&self, is_column: bool, is_aliased: bool) -> Empty {
        match (is_column, is_aliased) {
            (true, _) if self.options.send_nil => Empty::Null,
            (true, _) => Empty::KeepNull,
            (false, true) if self.options.send_nil => Empty::Null,
            (false, _) => Empty::Omit,
        }
    }

    /// The value of one field, and the function if it is a set-returning call.
    fn field(
        &mut self,
        index: usize,
        field: &'q ast::SelectField,
        place: Place<'q>,
    ) -> Option<(Expr, Option<FunctionRef>)> {
        if let ExprKind::Call(call) = &field.expr.kind
            && let Some(function) = self.function(&call.name)
            && self.call_kind(&function, &call.name) == Some(CallKind::Set)
        {
            self.check_args(&function, call)?;
            let argument = self.expr(call.args.first()?, place)?;
            return Some((argument, Some(function)));
        }
        let expr = match self.alias_at(index) {
            Some((alias, _)) => self.alias_value(alias, field.expr.span, place)?,
            None => self.expr(&field.expr, place)?,
        };
        Some((expr, None))
    }

    fn is_plain_column(&self, expr: &ast::Expr, place: Place<'q>) -> bool {
        match &expr.kind {
            _ if expr.is_parenthesized => false,
            ExprKind::Name(parts) => match parts.as_slice() {
                [name] => self.alias_of(&name.text, place).is_none(),
                [source, _] => self.source_named(&source.text).is_some(),
                _ => false,
            },
            _ => false,
        }
    }

    fn wildcard(
        &mut self,
        output: &mut Output,
        qualifier: Option<&'q ast::Name>,
        except: &'q [ast::Name],
        replace: &'q [ast::SelectField],
        place: Place<'q>,
    ) {
        let Some(sources) = self.wildcard_sources(qualifier) else { return };
        let slots: Vec<(Arc<str>, Slot)> =
            sources.into_iter().flat_map(|source| self.all_columns(source)).collect();
        let mut slots_by_name: Vec<(Arc<str>, Slot)> = Vec::new();
        for (name, slot) in slots {
            if &*name == "*" || !slots_by_name.iter().any(|(known, _)| *known == name) {
                slots_by_name.push((name, slot));
            }
        }
        let except = except.iter().map(|name| Arc::clone(&name.text)).collect();
        output.columns.push(OutputColumn::Spread { slots: slots_by_name, except });
        for field in replace {
            let name = match (&field.alias, &field.expr.kind) {
                (Some(alias), _) => Arc::clone(&alias.text),
                (None, ExprKind::Name(parts)) => {
                    parts.last().map_or(Arc::from(""), |part| Arc::clone(&part.text))
                }
                _ => Arc::from(""),
            };
            // P-14: REPLACE sees column values, as if it stood left of all aliases.
            let Some(expr) = self.replacement(&field.expr, place) else { continue };
            output.columns.push(OutputColumn::One { name, expr, empty: self.empty(false, true) });
        }
    }

    fn replacement(&mut self, expr: &'q ast::Expr, place: Place<'q>) -> Option<Expr> {
        let aliases = std::mem::take(&mut self.aliases);
        let bound = self.expr(expr, place);
        self.aliases = aliases;
        bound
    }

    /// The sources that `*` or `s.*` means, in the order of J-6.
    pub(super) fn wildcard_sources(&mut self, qualifier: Option<&ast::Name>) -> Option<Vec<usize>> {
        let Some(name) = qualifier else { return Some(self.order.clone()) };
        match self.source_named(&name.text) {
            Some(source) => Some(vec![source]),
            None if self.may_name_lost() => None,
            None => {
                let mistake = Diagnostic::plain(format!("stream {} not found", name.text)).at(name.span);
                let known: Vec<&str> = self.sources.iter().map(|source| &*source.alias).collect();
                let help = match nearest(&name.text, known.iter().copied()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("the sources of this SELECT are {}", known.join(", ")),
                };
                self.fail(mistake.help(help))
            }
        }
    }

    /// tables are sources as well.
    pub(super) fn check_send_meta(&mut self) {
        if !self.options.send_meta {
            return;
        }
        let window = self.select.window.as_ref().map(|window| window.span);
        let key = self.select.group_by.first().map(|key| key.span);
        let second = self.sources.get(1).map(|source| source.span);
        if let Some(span) = window.or(key).or(second) {
            let mistake = Diagnostic::plain("Invalid option sendMetaToSink, it can not be applied to window");
            self.note(mistake.at(span).help("leave the option out, and select meta(key) as a column"));
        }
    }
}

impl Output {
    /// P-4. Fields that get a number take it even when they are invisible.
    fn name(&mut self, field: &ast::SelectField) -> Arc<str> {
        if let Some(alias) = &field.alias {
            return Arc::clone(&alias.text);
        }
        let named = match &field.expr.kind {
            _ if field.expr.is_parenthesized => None,
            ExprKind::Name(parts) if parts.len() <= 2 => parts.last().map(|part| Arc::clone(&part.text)),
            ExprKind::Call(call) => Some(call_name(call)),
            ExprKind::Wildcard { .. } => Some(Arc::from("*")),
            _ => None,
        };
        named.unwrap_or_else(|| {
            self.n_unnamed += 1;
            Arc::from(format!("kuiper_field_{}", self.n_unnamed - 1))
        })
    }
}

/// Built-ins are known in any case and named in lower case; other names are as they are.
fn call_name(call: &ast::Call) -> Arc<str> {
    match thalweg_expr::registry::builtin(&call.name.text) {
        Some(_) => Arc::from(call.name.text.to_lowercase()),
        None => Arc::clone(&call.name.text),
    }
}

fn excepted(expr: &ast::Expr) -> Vec<Arc<str>> {
    match &expr.kind {
        ExprKind::Wildcard { except, .. } => except.iter().map(|name| Arc::clone(&name.text)).collect(),
        _ => Vec::new(),
    }
}

/// `collect` of an empty window is null and stays in the result (W-5), unlike other aggregates; so does
/// `dedup_trigger` with nothing new (F-5).
fn keeps_null(expr: &ast::Expr) -> bool {
    let ExprKind::Call(call) = &expr.kind else { return false };
    ["collect", "dedup_trigger"].iter().any(|name| call.name.text.eq_ignore_ascii_case(name))
}
