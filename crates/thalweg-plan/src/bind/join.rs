//! Joins: streams and scan tables side by side, lookup tables row by row (chapter 8).

use std::collections::BTreeSet;
use std::sync::Arc;

use thalweg_core::projection::Want;
use thalweg_core::{BinaryOp, Diagnostic};
use thalweg_expr::Expr;
use thalweg_sql::ast::{self, JoinKind};

use super::scope::Role;
use super::{Binder, Clause, Place};
use crate::rewrite;

/// A bound join of a stream or scan table.
#[derive(Debug)]
pub(super) struct BoundJoin {
    pub source: usize,
    pub kind: JoinKind,
    pub on: Option<Expr>,
    /// Equalities of ON: what is there so far, and the right side.
    pub equi: Vec<(Expr, Expr)>,
}

/// A bound join of a lookup table.
#[derive(Debug)]
pub(super) struct BoundLookup {
    pub source: usize,
    pub kind: JoinKind,
    pub keys: Vec<(Arc<str>, Expr)>,
    pub on: Option<Expr>,
}

impl<'q> Binder<'q, '_> {
    /// The order in which unqualified names are looked up (J-6, J-16): as rows are put together, the right side
    /// of a RIGHT JOIN first, lookup tables last.
    pub(super) fn name_order(&self) -> Vec<usize> {
        let mut order = vec![0];
        let is_lookup = |source: &usize| self.sources[*source].role == Role::Lookup;
        for (index, join) in self.select.joins.iter().enumerate() {
            let source = index + 1;
            if join.kind == JoinKind::Right && !is_lookup(&source) {
                order.insert(0, source);
            } else {
                order.push(source);
            }
        }
        order.sort_by_key(is_lookup);
        order
    }

    /// Binds all joins; lookups come after the others whatever the order written (J-12).
    pub(super) fn joins(&mut self) -> (Vec<BoundJoin>, Vec<BoundLookup>) {
        let (mut joins, mut lookups) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::from([0]);
        let joined = self.select.joins.iter().enumerate();
        let (late, early): (Vec<_>, Vec<_>) =
            joined.partition(|(index, _)| self.sources[index + 1].role == Role::Lookup);
        for (index, join) in early {
            seen.insert(index + 1);
            joins.extend(self.join(join, index + 1, &seen));
        }
        for (index, join) in late {
            seen.insert(index + 1);
            lookups.extend(self.lookup(join, index + 1, &seen));
        }
        (joins, lookups)
    }

    fn on(&mut self, join: &'q ast::Join, seen: &BTreeSet<usize>) -> Option<Option<Expr>> {
        let Some(on) = &join.on else { return Some(None) };
        let bound = self.expr(on, Place::of(Clause::On))?;
        if let Some(&later) = self.sources_of([&bound]).difference(seen).next() {
            let message = format!("ON names {}, which is joined later", self.sources[later].alias);
            let help = "a condition may name what is joined so far; change the order of the joins";
            return self.fail(Diagnostic::plain(message).at(on.span).help(help));
        }
        Some(Some(bound))
    }

    fn join(&mut self, join: &'q ast::Join, source: usize, seen: &BTreeSet<usize>) -> Option<BoundJoin> {
        let on = self.on(join, seen)?;
        let mut equi = Vec::new();
        for part in on.clone().map(rewrite::conjuncts).unwrap_or_default() {
            let Expr::Binary(BinaryOp::Eq, left, right) = part else { continue };
            let (of_left, of_right) = (self.sources_of([&*left]), self.sources_of([&*right]));
            let is_own = |sources: &BTreeSet<usize>| sources.len() == 1 && sources.contains(&source);
            let is_other = |sources: &BTreeSet<usize>| !sources.is_empty() && !sources.contains(&source);
            if is_own(&of_right) && is_other(&of_left) {
                equi.push((*left, *right));
            } else if is_own(&of_left) && is_other(&of_right) {
                equi.push((*right, *left));
            }
        }
        Some(BoundJoin { source, kind: join.kind, on, equi })
    }

    fn lookup(&mut self, join: &'q ast::Join, source: usize, seen: &BTreeSet<usize>) -> Option<BoundLookup> {
        let on = self.on(join, seen)?;
        let (mut keys, mut rest) = (Vec::new(), Vec::new());
        for part in on.map(rewrite::conjuncts).unwrap_or_default() {
            match self.lookup_key(part, source) {
                Ok(key) => keys.push(key),
                Err(part) => rest.push(part),
            }
        }
        if keys.is_empty() {
            let alias = Arc::clone(&self.sources[source].alias);
            let message =
                format!("join condition of {alias} is invalid, at least one equi-join predicate is required");
            let help = format!("a lookup table needs ON stream.column = {alias}.column");
            return self.fail(Diagnostic::plain(message).at(join.span).help(help));
        }
        Some(BoundLookup { source, kind: join.kind, keys, on: rewrite::all_of(rest) })
    }

    /// `table.column = expression over the others`, either way round.
    fn lookup_key(&self, part: Expr, source: usize) -> Result<(Arc<str>, Expr), Expr> {
        let Expr::Binary(BinaryOp::Eq, left, right) = part else { return Err(part) };
        for (table, value) in [(&left, &right), (&right, &left)] {
            let Expr::Column(slot) = **table else { continue };
            let own = self.sources[source].slots.iter().position(|own| *own == slot);
            let is_free = !self.sources_of([&**value]).contains(&source);
            if let Some(local) = own
                && is_free
                && let Want::Column { path, .. } = &self.sources[source].projection.slots[local].want
                && let [column] = path.as_slice()
            {
                return Ok((Arc::clone(column), (**value).clone()));
            }
        }
        Err(Expr::Binary(BinaryOp::Eq, left, right))
    }
}
