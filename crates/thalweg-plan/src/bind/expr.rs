//! Expressions: written to bound.

use thalweg_core::{Diagnostic, Value};
use thalweg_expr::Expr;
use thalweg_expr::expr::Step;
use thalweg_sql::ast::{self, ExprKind};

use super::scope::step;
use super::{Binder, Place};

/// How deep expressions may be nested, aliases replaced: what later walks over them must have the stack for it.
const MAX_DEPTH: usize = 120;

impl<'q> Binder<'q, '_> {
    /// Binds an expression; `None` when it holds a mistake, which has been noted.
    pub(super) fn expr(&mut self, expr: &'q ast::Expr, place: Place<'q>) -> Option<Expr> {
        if !self.spend() {
            return None;
        }
        self.depth += 1;
        let bound = match self.depth > MAX_DEPTH {
            true => {
                let mistake = Diagnostic::plain("the expression is nested too deep").at(expr.span);
                self.fail(mistake.help("aliases count where they are used"))
            }
            false => self.expr_at_depth(expr, place),
        };
        self.depth -= 1;
        bound
    }

    fn expr_at_depth(&mut self, expr: &'q ast::Expr, place: Place<'q>) -> Option<Expr> {
        match &expr.kind {
            ExprKind::Literal(value) => Some(Expr::literal(value.clone())),
            ExprKind::Name(parts) => self.name(parts, place),
            ExprKind::Wildcard { .. } => {
                let mistake = Diagnostic::plain("unexpected wildcard").at(expr.span);
                self.fail(
                    mistake.help(
                        "* may stand alone in SELECT or as the argument of count, collect and the like",
                    ),
                )
            }
            ExprKind::Unary(op, value) => Some(Expr::Unary(*op, self.boxed(value, place)?)),
            ExprKind::Binary(..) => self.chain(expr, place),
            ExprKind::Between { negated, value, low, high } => {
                let parts = [value, low, high].map(|part| self.expr(part, place));
                let [value, low, high] = parts;
                Some(Expr::Between { negated: *negated, parts: Box::new([value?, low?, high?]) })
            }
            ExprKind::InList { negated, value, list } => {
                let (value, list) = (self.boxed(value, place), self.exprs(list, place));
                Some(Expr::InList { negated: *negated, value: value?, list: list? })
            }
            ExprKind::InArray { negated, value, array } => {
                let (value, array) = (self.boxed(value, place), self.boxed(array, place));
                Some(Expr::InArray { negated: *negated, value: value?, array: array? })
            }
            ExprKind::IsNull { negated, value } => {
                Some(Expr::IsNull { negated: *negated, value: self.boxed(value, place)? })
            }
            ExprKind::Arrow(value, name) => Some(step(self.expr(value, place)?, self.member(&name.text))),
            ExprKind::Index(value, index) => {
                let (value, index) = (self.expr(value, place), self.expr(index, place));
                Some(step(value?, Step::Index(index?)))
            }
            ExprKind::Slice { value, start, end } => {
                self.slice(expr, value, [start.as_deref(), end.as_deref()], place)
            }
            ExprKind::Case { value, arms, otherwise } => {
                self.case(value.as_deref(), arms, otherwise.as_deref(), place)
            }
            ExprKind::Call(call) => self.call(call, expr.span, place),
            ExprKind::Broken(operands) => {
                let values = operands.iter().filter(|it| !matches!(it.kind, ExprKind::Wildcard { .. }));
                values.for_each(|value| drop(self.expr(value, place)));
                None
            }
        }
    }

    /// `a AND b AND c …` is a tree as high as it is long, so its left side is not bound by recursion.
    fn chain(&mut self, expr: &'q ast::Expr, place: Place<'q>) -> Option<Expr> {
        let (mut first, mut rest) = (expr, Vec::new());
        while let ExprKind::Binary(op, left, right) = &first.kind {
            rest.push((*op, &**right));
            first = left;
        }
        let mut bound = self.expr(first, place);
        for (op, right) in rest.into_iter().rev() {
            let right = self.boxed(right, place);
            bound = bound.zip(right).map(|(left, right)| Expr::Binary(op, Box::new(left), right));
        }
        bound
    }

    fn boxed(&mut self, expr: &'q ast::Expr, place: Place<'q>) -> Option<Box<Expr>> {
        self.expr(expr, place).map(Box::new)
    }

    /// Binds all, so that each mistake is noted.
    pub(super) fn exprs(&mut self, list: &'q [ast::Expr], place: Place<'q>) -> Option<Vec<Expr>> {
        let bound: Vec<Option<Expr>> = list.iter().map(|expr| self.expr(expr, place)).collect();
        bound.into_iter().collect()
    }

    fn name(&mut self, parts: &'q [ast::Name], place: Place<'q>) -> Option<Expr> {
        let first = parts.first()?;
        let is_qualified = parts.len() > 1 && self.source_named(&first.text).is_some();
        if !is_qualified && let Some(alias) = self.alias_of(&first.text, place) {
            let value = self.alias_value(alias, first.span, place)?;
            return Some(self.members(value, &parts[1..]));
        }
        if place.clause == super::Clause::Having && place.aggregate.is_none() && place.analytic.is_none() {
            self.having_column.get_or_insert(first);
        }
        self.column(parts, place.only)
    }

    fn slice(
        &mut self,
        expr: &ast::Expr,
        value: &'q ast::Expr,
        bounds: [Option<&'q ast::Expr>; 2],
        place: Place<'q>,
    ) -> Option<Expr> {
        let literal = |bound: Option<&ast::Expr>| match bound.map(|bound| &bound.kind) {
            Some(ExprKind::Literal(Value::Int(number))) => Some(*number),
            _ => None,
        };
        if let [Some(start), Some(end)] = bounds.map(literal)
            && start >= 0
            && end >= 0
            && start >= end
        {
            let mistake =
                Diagnostic::plain("colon start value can't be greater than end value").at(expr.span);
            self.note(mistake.help("x[i:j] holds the elements i to j-1"));
        }
        let value = self.expr(value, place);
        let [start, end] = bounds.map(|bound| bound.map(|bound| self.expr(bound, place)));
        let opened = |bound: Option<Option<Expr>>| match bound {
            None => Some(None),
            Some(bound) => bound.map(Some),
        };
        Some(step(value?, Step::Slice(opened(start)?, opened(end)?)))
    }

    fn case(
        &mut self,
        value: Option<&'q ast::Expr>,
        arms: &'q [(ast::Expr, ast::Expr)],
        otherwise: Option<&'q ast::Expr>,
        place: Place<'q>,
    ) -> Option<Expr> {
        let has_value = value.is_some();
        let value = value.and_then(|value| self.boxed(value, place));
        let bound: Vec<_> =
            arms.iter().map(|(when, then)| (self.expr(when, place), self.expr(then, place))).collect();
        let has_otherwise = otherwise.is_some();
        let otherwise = otherwise.and_then(|otherwise| self.boxed(otherwise, place));
        let arms = bound.into_iter().map(|(when, then)| Some((when?, then?))).collect::<Option<Vec<_>>>()?;
        let is_whole = value.is_some() == has_value && otherwise.is_some() == has_otherwise;
        is_whole.then_some(Expr::Case { value, arms, otherwise })
    }
}
