//! What surrounds SELECTs: WITH, UNION ALL, sub-queries (beyond upstream, `decisions.md`).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_core::{Diagnostic, Schema};
use thalweg_sql::ast;

use super::bind_select;
use crate::logical::{Kind, Node, Plan, PlanOptions, Resolver};

/// What a query sees of the statement around it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    /// The names of WITH, later ones last. Each is planned once; who reads it gets a copy. None: it is wrong.
    names: Vec<(Arc<str>, Option<Rc<Plan>>)>,
    /// Calls are numbered through the whole statement.
    n_calls: Rc<Cell<u32>>,
    /// The statement has mistakes of grammar: it is only searched for others, and never planned.
    pub(super) is_recovered: bool,
}

impl Scope {
    /// The plan of a WITH name; `Some(None)` if the name is known but its query is wrong, which has been told.
    pub(super) fn plan(&self, name: &str) -> Option<Option<Plan>> {
        let (_, plan) = self.names.iter().rfind(|(known, _)| &**known == name)?;
        Some(plan.as_deref().cloned())
    }

    /// The names of WITH.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| &**name)
    }

    /// The number of one more call.
    pub(super) fn next_call_id(&self) -> u32 {
        let next = self.n_calls.get();
        self.n_calls.set(next.saturating_add(1));
        next
    }
}

/// Plans a statement without optimizing it. Node names are still missing.
pub(crate) fn plan(
    query: &ast::Query,
    options: &PlanOptions,
    world: &dyn Resolver,
) -> Result<Plan, Vec<Diagnostic>> {
    bind(query, options, world, &Scope::default())
}

/// The mistakes in what could be read of a statement.
pub(crate) fn search(query: &ast::Query, options: &PlanOptions, world: &dyn Resolver) -> Vec<Diagnostic> {
    let scope = Scope { is_recovered: true, ..Scope::default() };
    bind(query, options, world, &scope).err().unwrap_or_default()
}

/// Plans a query that sees the names of a scope.
pub(crate) fn bind(
    query: &ast::Query,
    options: &PlanOptions,
    world: &dyn Resolver,
    outer: &Scope,
) -> Result<Plan, Vec<Diagnostic>> {
    let (mut scope, mut mistakes) = (outer.clone(), Vec::new());
    let n_outer = scope.names.len();
    for (name, part) in &query.with {
        if scope.names[n_outer..].iter().any(|(known, _)| *known == name.text) {
            let mistake = Diagnostic::plain(format!("{} occurs twice in WITH", name.text)).at(name.span);
            mistakes.push(mistake.help("give one of them another name"));
        }
        let plan = bind(part, &inner(options), world, &scope).map_err(|wrong| mistakes.extend(wrong));
        scope.names.push((Arc::clone(&name.text), plan.ok().map(Rc::new)));
    }
    let mut plans = Vec::new();
    for select in &query.selects {
        match bind_select(select, options, world, &scope) {
            Ok(plan) => plans.push(plan),
            Err(wrong) => mistakes.extend(wrong),
        }
    }
    match plans.len() {
        _ if !mistakes.is_empty() || scope.is_recovered => Err(mistakes),
        0 => Err(vec![Diagnostic::plain("the statement has no SELECT")]),
        1 => Ok(plans.remove(0)),
        _ => Ok(union(plans)),
    }
}

/// The options of a query whose results are events: those that are about sinks do not hold.
pub(super) fn inner(options: &PlanOptions) -> PlanOptions {
    PlanOptions { send_meta: false, send_nil: false, ..options.clone() }
}

/// The inputs' columns, by name.
fn union(plans: Vec<Plan>) -> Plan {
    let mut names: Vec<Arc<str>> = Vec::new();
    for field in plans.iter().flat_map(|plan| &plan.root.schema.fields) {
        if !names.contains(&field.name) {
            names.push(Arc::clone(&field.name));
        }
    }
    let schema = Arc::new(Schema::computed(names.iter().map(|name| &**name)));
    let is_collection = plans.iter().any(|plan| plan.is_collection);
    let mut hosts: Vec<Arc<str>> = plans.iter().flat_map(|plan| plan.hosts.iter().cloned()).collect();
    hosts.sort();
    hosts.dedup();
    let warnings = plans.iter().flat_map(|plan| plan.warnings.iter().cloned()).collect();
    let inputs = plans.into_iter().map(|plan| plan.root).collect();
    let root = Node { name: Arc::from(""), kind: Kind::Union, inputs, schema };
    Plan { root, fingerprint: 0, is_collection, hosts, warnings, drawn: None }
}
