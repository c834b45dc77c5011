//! Binding: names become slots, calls become columns of operators.
//!
//! While a SELECT is bound, slots are numbers of the binder's own: each column of a source and each call that an
//! operator will compute gets the next one. Only when everything is known does `assemble.rs` lay the nodes out and
//! renumber. So an expression can be bound before it is known what else its input will hold.

mod advice;
mod alias;
mod assemble;
mod call;
mod equal;
mod expr;
mod function;
mod join;
mod planned;
pub(crate) mod query;
mod scope;
mod select;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use thalweg_core::{Diagnostic, Slot};
use thalweg_expr::{Expr, FunctionRef};
use thalweg_sql::ast;

use self::alias::{Alias, Computed};
use self::call::{AggregateSite, AnalyticSite, RowNumberSite};
use self::query::Scope;
use self::scope::{Role, Source};
use crate::logical::{AnalyticCall, Dedup, Plan, PlanOptions, Resolver};

fn bind_select(
    select: &ast::Select,
    options: &PlanOptions,
    world: &dyn Resolver,
    scope: &Scope,
) -> Result<Plan, Vec<Diagnostic>> {
    let mut binder = Binder::new(select, options, world, scope.clone());
    let plan = binder.select();
    match plan {
        Some(plan) if binder.errors.is_empty() => Ok(plan),
        _ if binder.scope.is_recovered => Err(binder.errors),
        _ if binder.errors.is_empty() => Err(vec![Diagnostic::plain("the statement cannot be planned")]),
        _ => Err(binder.errors),
    }
}

/// The clause that an expression belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clause {
    Select,
    Where,
    /// `FILTER(WHERE …)` of the window.
    WindowFilter,
    /// Conditions and partitions of the window.
    Window,
    Group,
    Having,
    Order,
    On,
}

/// Where an expression stands; decides what a name means and which calls are allowed.
#[derive(Debug, Clone, Copy)]
struct Place<'q> {
    clause: Clause,
    /// The SELECT field that it is part of, also when reached through an alias.
    field: Option<usize>,
    /// The aggregate function whose argument it is part of.
    aggregate: Option<&'q str>,
    /// The analytic function whose argument it is part of.
    analytic: Option<&'q str>,
    /// Bound for events of this source alone.
    only: Option<usize>,
}

impl Place<'_> {
    fn of(clause: Clause) -> Self {
        Self { clause, field: None, aggregate: None, analytic: None, only: None }
    }
}

/// What the SELECT needs, collected while it is bound.
struct Binder<'q, 'w> {
    world: &'w dyn Resolver,
    /// The names of WITH that may stand in FROM, and what all parts of the statement share.
    scope: Scope,
    options: &'w PlanOptions,
    select: &'q ast::Select,
    sources: Vec<Source>,
    /// The sources in the order in which unqualified names are looked up (J-6).
    order: Vec<usize>,
    aliases: Vec<Alias<'q>>,
    /// The aliases whose expressions are being bound.
    expanding: Vec<usize>,
    computed: Vec<Computed>,
    analytic: Vec<AnalyticSite>,
    /// Aggregates of WHERE, over the rows before WHERE.
    where_aggregates: Vec<AggregateSite>,
    aggregates: Vec<AggregateSite>,
    row_numbers: Vec<RowNumberSite>,
    /// The place of the call of `dedup_trigger`, its slot, and the call.
    dedup: Option<(usize, Slot, Dedup)>,
    /// Analytic calls over what is projected.
    late_analytic: Vec<(Slot, AnalyticCall)>,
    functions: HashMap<Arc<str>, Option<FunctionRef>>,
    /// The number of each call, by the place of its node in the tree.
    call_ids: HashMap<usize, u32>,
    hosts: BTreeSet<Arc<str>>,
    /// The source of each slot; absent for computed ones.
    slot_sources: Vec<Option<usize>>,
    /// What computed slots are called in schemas.
    slot_names: BTreeMap<Slot, Arc<str>>,
    /// A plain column in HAVING, which is a mistake.
    having_column: Option<&'q ast::Name>,
    ///
    is_aggregate: bool,
    is_collection: bool,
    /// Expressions still allowed, aliases counted where they are used.
    budget: u32,
    /// How many expressions are being bound, one in the other.
    depth: usize,
    /// A source is missing or wrong, which has been told; nothing that depends on what it is can be judged.
    is_partial: bool,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

/// How many expression nodes a statement may have after its aliases are replaced.
const MAX_NODES: u32 = 200_000;

/// More mistakes than this are not told at once.
const MAX_ERRORS: usize = 100;

impl<'q, 'w> Binder<'q, 'w> {
    fn new(select: &'q ast::Select, options: &'w PlanOptions, world: &'w dyn Resolver, scope: Scope) -> Self {
        Self {
            world,
            scope,
            options,
            select,
            sources: Vec::new(),
            order: Vec::new(),
            aliases: Vec::new(),
            expanding: Vec::new(),
            computed: Vec::new(),
            analytic: Vec::new(),
            where_aggregates: Vec::new(),
            aggregates: Vec::new(),
            row_numbers: Vec::new(),
            dedup: None,
            late_analytic: Vec::new(),
            functions: HashMap::new(),
            call_ids: HashMap::new(),
            hosts: BTreeSet::new(),
            slot_sources: Vec::new(),
            slot_names: BTreeMap::new(),
            having_column: None,
            is_aggregate: false,
            is_collection: false,
            budget: MAX_NODES,
            depth: 0,
            is_partial: false,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Notes a mistake, once.
    fn note(&mut self, mistake: Diagnostic) {
        if self.errors.len() < MAX_ERRORS && !self.errors.contains(&mistake) {
            self.errors.push(mistake);
        }
    }

    /// Notes a mistake and has no result.
    fn fail<T>(&mut self, mistake: Diagnostic) -> Option<T> {
        self.note(mistake);
        None
    }

    /// Whether one more expression may be bound.
    fn spend(&mut self) -> bool {
        self.budget = self.budget.saturating_sub(1);
        if self.budget == 0 {
            let mistake = Diagnostic::plain("the statement is too large").at(self.select.span);
            self.note(mistake.help("its aliases refer to each other too often"));
        }
        self.budget > 0
    }

    fn new_slot(&mut self) -> Slot {
        self.slot_sources.push(None);
        Slot(self.slot_sources.len() as u32 - 1)
    }

    fn new_named_slot(&mut self, name: &str) -> Slot {
        let slot = self.new_slot();
        self.slot_names.insert(slot, Arc::from(name));
        slot
    }

    /// The sources whose columns an expression reads.
    fn sources_of<'e>(&self, exprs: impl IntoIterator<Item = &'e Expr>) -> BTreeSet<usize> {
        let slots = exprs.into_iter().flat_map(crate::rewrite::slots);
        slots.filter_map(|slot| self.slot_sources[slot.index()]).collect()
    }

    fn streams(&self) -> Vec<usize> {
        (0..self.sources.len()).filter(|&source| self.sources[source].role == Role::Stream).collect()
    }
}
