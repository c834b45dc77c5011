//! Aliases: who sees them (P-7 to P-12), and which are computed once instead of wherever they are named.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use thalweg_core::{Diagnostic, Slot, Span};
use thalweg_expr::{Expr, FunctionRef};
use thalweg_sql::ast;

use super::scope::same;
use super::{Binder, Clause, Place};
use crate::ast_walk;
use crate::rewrite;

/// `expr AS name`.
#[derive(Debug)]
pub(super) struct Alias<'q> {
    pub name: &'q ast::Name,
    pub field: usize,
    pub expr: &'q ast::Expr,
    pub is_aggregate: bool,
}

/// How far a row has come; a computed alias is added before the first stage that uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Single events: arguments of analytic functions, conditions of windows.
    Event,
    /// WHERE.
    Where,
    /// GROUP BY and the arguments of aggregates.
    Group,
    /// HAVING, ORDER BY, SELECT.
    Result,
}

/// An alias whose value is computed once and kept in a slot.
#[derive(Debug)]
pub(super) struct Computed {
    /// `None`: not an alias, needed in a slot for another reason.
    alias: Option<usize>,
    pub slot: Slot,
    pub expr: Expr,
    pub stage: Stage,
    pub n_uses: usize,
    /// Reads an analytic call's value, so it cannot be an argument of one.
    pub reads_analytic: bool,
    /// Holds aggregates, and those of WHERE at that: their values differ from those elsewhere.
    aggregates: Option<Clause>,
}

/// An alias with more nodes than this is worth a slot when it is used twice.
const DEAR: usize = 40;

/// An alias that cannot have a slot where it is used may have so many nodes: later walks recurse.
const LARGEST: usize = 1_500;

/// An alias with more nodes than this keeps its slot even when it is used once.
const LARGEST_ONCE: usize = 200;

impl<'q> Binder<'q, '_> {
    /// Collects the aliases and refuses duplicates (P-9).
    pub(super) fn collect_aliases(&mut self) {
        for (field, written) in self.select.fields.iter().enumerate() {
            let Some(name) = &written.alias else { continue };
            if let Some(alias) = self.aliases.iter().find(|alias| same(&alias.name.text, &name.text, true)) {
                let (earlier, field) = (Arc::clone(&alias.name.text), &self.select.fields[alias.field]);
                let is_guess = [field, written].iter().any(|field| is_broken(&field.expr));
                // Two visible fields of one name are told as such (P-5).
                if !is_guess && (earlier != name.text || field.invisible || written.invisible) {
                    let mistake = Diagnostic::plain(format!("duplicate alias {}", name.text)).at(name.span);
                    self.note(
                        mistake.help(format!("{earlier} is one already; the case of letters does not count")),
                    );
                }
            } else {
                let is_aggregate = self.has_aggregate(&written.expr);
                self.aliases.push(Alias { name, field, expr: &written.expr, is_aggregate });
            }
        }
    }

    pub(super) fn alias_names(&self) -> impl Iterator<Item = &'q str> {
        self.aliases.iter().map(|alias| &*alias.name.text)
    }

    /// The alias that an unqualified name means here, if it does not mean a column.
    pub(super) fn alias_of(&self, name: &str, place: Place<'q>) -> Option<usize> {
        let ignore_case = self.options.ignore_case;
        let index = self.aliases.iter().position(|alias| same(&alias.name.text, name, ignore_case))?;
        let alias = &self.aliases[index];
        let is_visible = match place.field {
            None => true,
            Some(field) if alias.field == field => false,
            Some(field) if alias.field < field => true,
            Some(_) => !self.is_column(name, alias),
        };
        // Where no aggregate may stand, the name of one means the column, if there is one: avg(a) AS a, max(a) AS b.
        let is_refused = alias.is_aggregate && !allows_aggregate(place) && self.is_column(name, alias);
        (is_visible && !is_refused).then_some(index)
    }

    /// P-11: whether a column of an alias's name exists. On a stream without schema it does if the alias's own
    /// expression reads it (P-10).
    fn is_column(&self, name: &str, alias: &Alias<'_>) -> bool {
        self.declared_anywhere(name) || self.any_schemaless() && ast_walk::mentions(alias.expr, name)
    }

    /// The value of an alias.
    pub(super) fn alias_value(&mut self, index: usize, span: Span, place: Place<'q>) -> Option<Expr> {
        if let Some(slot) = self.computed_alias(index, place) {
            return Some(Expr::Column(slot));
        }
        let value = self.alias_body(index, span, place)?;
        // HAVING binds anew each time, because it must see the columns in the alias.
        if let Some(slot) = self.use_computed(index, place) {
            return Some(Expr::Column(slot));
        }
        if self.is_worth_a_slot(&value) && self.may_compute(&value, place) {
            return Some(Expr::Column(self.compute(index, value, place)));
        }
        if rewrite::size(&value) > LARGEST {
            let name = &self.aliases[index].name.text;
            let mistake = Diagnostic::plain(format!("alias {name} is too large to be used here")).at(span);
            return self.fail(mistake.help("it stands for all the aliases that it names"));
        }
        Some(value)
    }

    /// Binds the alias's expression as if it stood here.
    pub(super) fn alias_body(&mut self, index: usize, span: Span, place: Place<'q>) -> Option<Expr> {
        let Alias { name, field, expr, .. } = self.aliases[index];
        if self.expanding.contains(&index) {
            let message = "select fields have cycled alias";
            if self.errors.iter().any(|known| known.message == message) {
                return None;
            }
            let mistake = Diagnostic::plain(message).at(span);
            return self.fail(mistake.help(format!("{} is defined by itself", name.text)));
        }
        self.expanding.push(index);
        let value = self.expr(expr, Place { field: Some(field), ..place });
        self.expanding.pop();
        value
    }

    fn computed_alias(&mut self, index: usize, place: Place<'q>) -> Option<Slot> {
        if place.clause == Clause::Having {
            return None;
        }
        self.use_computed(index, place)
    }

    fn use_computed(&mut self, index: usize, place: Place<'q>) -> Option<Slot> {
        if !self.may_use(place) {
            return None;
        }
        let stage = stage(place);
        let in_where = place.clause == Clause::Where;
        let is_same = |computed: &Computed| match computed.aggregates {
            None => true,
            Some(clause) => {
                (clause == Clause::Where) == in_where
                    && place.aggregate.is_none()
                    && (in_where || stage == Stage::Result)
            }
        };
        let is_ready = |computed: &Computed| !(computed.reads_analytic && place.analytic.is_some());
        let mut own = self.computed.iter_mut().filter(|computed| computed.alias == Some(index));
        let found = own.find(|computed| is_same(computed) && is_ready(computed))?;
        found.stage = found.stage.min(stage);
        found.n_uses += 1;
        Some(found.slot)
    }

    /// Whether a computed slot can be read here at all: not where rows of one source are looked at before a join.
    fn may_use(&self, place: Place<'q>) -> bool {
        place.clause != Clause::On && (stage(place) != Stage::Event || self.sources.len() == 1)
    }

    fn may_compute(&self, value: &Expr, place: Place<'q>) -> bool {
        let slots = rewrite::slots(value);
        let reads_analytic = self.reads_analytic(&slots);
        let numbers = self.row_numbers.iter().map(|site| site.slot);
        let dedup = self.dedup.iter().map(|(_, slot, _)| *slot);
        let mut late = numbers.chain(dedup).chain(self.late_analytic.iter().map(|(slot, _)| *slot));
        let reads_late = late.any(|slot| slots.contains(&slot));
        let asks_for_window = rewrite::asks_for_window(value) || rewrite::asks_for_hits(value);
        let is_too_early = reads_analytic && place.analytic.is_some();
        self.may_use(place) && !(reads_late || asks_for_window || is_too_early)
    }

    fn reads_analytic(&self, slots: &BTreeSet<Slot>) -> bool {
        let computed = self.computed.iter().filter(|computed| computed.reads_analytic);
        let mut analytic =
            self.analytic.iter().map(|site| site.slot).chain(computed.map(|computed| computed.slot));
        analytic.any(|slot| slots.contains(&slot))
    }

    fn is_worth_a_slot(&self, value: &Expr) -> bool {
        let mut is_unsteady = false;
        value.walk(&mut |expr| {
            if let Expr::Call { function, .. } = expr {
                is_unsteady |= match function {
                    FunctionRef::Remote(_) => true,
                    FunctionRef::Builtin(function) => !function.is_pure(),
                };
            }
        });
        is_unsteady || rewrite::size(value) > DEAR
    }

    fn compute(&mut self, index: usize, expr: Expr, place: Place<'q>) -> Slot {
        let slots = rewrite::slots(&expr);
        let aggregates = self.aggregates.iter().chain(&self.where_aggregates);
        let has_aggregates = aggregates.map(|site| site.slot).any(|slot| slots.contains(&slot));
        let has_aggregates = has_aggregates
            || self
                .computed
                .iter()
                .any(|computed| computed.aggregates.is_some() && slots.contains(&computed.slot));
        let reads_analytic = self.reads_analytic(&slots);
        let name = Arc::clone(&self.aliases[index].name.text);
        let slot = self.new_named_slot(&name);
        self.computed.push(Computed {
            alias: Some(index),
            slot,
            expr,
            stage: stage(place),
            n_uses: 1,
            reads_analytic,
            aggregates: has_aggregates.then_some(place.clause),
        });
        slot
    }

    /// A slot for a value of the result.
    pub(super) fn compute_result(&mut self, name: &str, expr: Expr) -> Slot {
        let slot = self.new_named_slot(name);
        let (stage, aggregates) = (Stage::Result, None);
        let n_uses = 1;
        self.computed.push(Computed {
            alias: None,
            slot,
            expr,
            stage,
            n_uses,
            reads_analytic: false,
            aggregates,
        });
        slot
    }

    /// Settles what is computed: aliases used once go back to where they are used, and what an early one reads is
    /// early too. Gives the replacements.
    pub(super) fn settle_computed(&mut self) -> BTreeMap<Slot, Expr> {
        for later in (0..self.computed.len()).rev() {
            let (slots, stage) = (rewrite::slots(&self.computed[later].expr), self.computed[later].stage);
            for earlier in
                self.computed.iter_mut().take(later).filter(|earlier| slots.contains(&earlier.slot))
            {
                earlier.stage = earlier.stage.min(stage);
            }
        }
        let mut inlined = BTreeMap::new();
        for mut computed in std::mem::take(&mut self.computed) {
            computed.expr = rewrite::substitute(computed.expr, &inlined);
            let is_small = rewrite::size(&computed.expr) <= LARGEST_ONCE;
            if computed.n_uses == 1 && computed.alias.is_some() && is_small {
                inlined.insert(computed.slot, computed.expr);
            } else {
                self.computed.push(computed);
            }
        }
        inlined
    }

    /// The output name of an alias's slot is its own.
    pub(super) fn alias_at(&self, field: usize) -> Option<(usize, Arc<str>)> {
        let index = self.aliases.iter().position(|alias| alias.field == field)?;
        Some((index, Arc::clone(&self.aliases[index].name.text)))
    }
}

/// Whether the expression was lost, so that its name may be a guess.
pub(super) fn is_broken(expr: &ast::Expr) -> bool {
    matches!(expr.kind, ast::ExprKind::Broken(_))
}

fn allows_aggregate(place: Place<'_>) -> bool {
    let is_free = place.aggregate.is_none() && place.analytic.is_none();
    is_free && matches!(place.clause, Clause::Select | Clause::Where | Clause::Having | Clause::Order)
}

fn stage(place: Place<'_>) -> Stage {
    if place.analytic.is_some() {
        return Stage::Event;
    }
    match place.clause {
        Clause::WindowFilter | Clause::Window | Clause::On => Stage::Event,
        Clause::Where => Stage::Where,
        Clause::Group => Stage::Group,
        Clause::Select | Clause::Having | Clause::Order if place.aggregate.is_some() => Stage::Group,
        Clause::Select | Clause::Having | Clause::Order => Stage::Result,
    }
}
