//! Looking at expressions from outside: their slots, hosts, parts, and their key for sharing equal ones.

use std::fmt::Write as _;

use thalweg_core::{Slot, Value};

use crate::expr::{Expr, Step};
use crate::function::FunctionRef;

/// What two expressions have in common if and only if they compute the same over any batch. Only for expressions
/// that are [`Expr::is_pure`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExprKey(String);

impl Expr {
    /// The parts right below this expression, in the order written.
    pub fn parts(&self) -> Vec<&Expr> {
        match self {
            Self::Column(_) | Self::Literal(_) | Self::Context(_) | Self::Object(_) => Vec::new(),
            Self::Unary(_, value) | Self::IsNull { value, .. } => vec![value],
            Self::Binary(_, left, right) => vec![left, right],
            Self::Between { parts, .. } => parts.iter().collect(),
            Self::InList { value, list, .. } => std::iter::once(&**value).chain(list).collect(),
            Self::InArray { value, array, .. } => vec![value, array],
            Self::Path(base, steps) => {
                std::iter::once(&**base).chain(steps.iter().flat_map(Step::exprs)).collect()
            }
            Self::Case { value, arms, otherwise } => {
                let arms = arms.iter().flat_map(|(when, then)| [when, then]);
                value.as_deref().into_iter().chain(arms).chain(otherwise.as_deref()).collect()
            }
            Self::First(values) => values.iter().collect(),
            Self::Call { args, .. } => args.iter().collect(),
            Self::Once(once) => vec![&once.expr],
        }
    }

    /// Calls `visit` for this expression and every one inside it, outer first.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        visit(self);
        self.parts().into_iter().for_each(|part| part.walk(visit));
    }

    /// Calls `visit` for every slot that is read, repeatedly if read repeatedly.
    pub fn slots(&self, visit: &mut dyn FnMut(Slot)) {
        self.walk(&mut |expr| match expr {
            Self::Column(slot) => visit(*slot),
            Self::Object(slots) => slots.iter().for_each(|(_, slot)| visit(*slot)),
            Self::Once(once) => visit(once.slot),
            _ => {}
        });
    }

    /// The hosts of calls that may block, each once.
    pub fn hosts(&self) -> Vec<&str> {
        let mut hosts = Vec::new();
        self.walk(&mut |expr| {
            if let Self::Call { function, .. } = expr
                && let Some(host) = function.host()
                && !hosts.contains(&host)
            {
                hosts.push(host);
            }
        });
        hosts
    }

    /// Whether equal input always gives equal results, whatever was evaluated before and whenever.
    pub fn is_pure(&self) -> bool {
        let mut pure = true;
        self.walk(&mut |expr| match expr {
            Self::Call { function: FunctionRef::Builtin(function), .. } => pure &= function.is_pure(),
            Self::Call { function: FunctionRef::Remote(_), .. } | Self::Context(_) => pure = false,
            _ => {}
        });
        pure
    }

    /// Whether evaluating counts nothing on the node, whatever the row holds: neither a domain error nor a null date
    /// that becomes null (S7, S45).
    pub fn is_quiet(&self) -> bool {
        let mut quiet = true;
        self.walk(&mut |expr| {
            if let Self::Call { function: FunctionRef::Builtin(function), .. } = expr {
                quiet &= !function.counts_nulls();
            }
        });
        quiet
    }

    /// Whether the value is the same for every row of every batch.
    pub fn is_constant(&self) -> bool {
        let mut reads = false;
        self.walk(&mut |expr| reads |= matches!(expr, Self::Column(_) | Self::Object(_)));
        !reads && self.is_pure()
    }

    /// The same expression over other slots.
    pub fn map_slots(&self, to: &dyn Fn(Slot) -> Slot) -> Expr {
        let mut copy = self.clone();
        copy.replace_slots(to);
        copy
    }

    fn replace_slots(&mut self, to: &dyn Fn(Slot) -> Slot) {
        match self {
            Self::Column(slot) => *slot = to(*slot),
            Self::Object(slots) => slots.iter_mut().for_each(|(_, slot)| *slot = to(*slot)),
            Self::Once(once) => {
                once.slot = to(once.slot);
                once.expr.replace_slots(to);
            }
            other => other.parts_mut(&mut |part| part.replace_slots(to)),
        }
    }

    /// Calls `visit` for the parts right below this expression.
    pub fn parts_mut(&mut self, visit: &mut dyn FnMut(&mut Expr)) {
        match self {
            Self::Column(_) | Self::Literal(_) | Self::Context(_) | Self::Object(_) => {}
            Self::Unary(_, value) | Self::IsNull { value, .. } => visit(value),
            Self::Binary(_, left, right) => [left, right].into_iter().for_each(|part| visit(part)),
            Self::Between { parts, .. } => parts.iter_mut().for_each(visit),
            Self::InList { value, list, .. } => {
                visit(value);
                list.iter_mut().for_each(visit);
            }
            Self::InArray { value, array, .. } => [value, array].into_iter().for_each(|part| visit(part)),
            Self::Path(base, steps) => {
                visit(base);
                steps.iter_mut().flat_map(Step::exprs_mut).for_each(visit);
            }
            Self::Case { value, arms, otherwise } => {
                value.iter_mut().for_each(|value| visit(value));
                arms.iter_mut().flat_map(|(when, then)| [when, then]).for_each(&mut *visit);
                otherwise.iter_mut().for_each(|otherwise| visit(otherwise));
            }
            Self::First(values) => values.iter_mut().for_each(visit),
            Self::Call { args, .. } => args.iter_mut().for_each(visit),
            Self::Once(once) => visit(&mut once.expr),
        }
    }

    /// See [`ExprKey`].
    pub fn key(&self) -> ExprKey {
        let mut key = String::new();
        write_key(&mut key, self);
        ExprKey(key)
    }
}

impl Step {
    fn exprs(&self) -> impl Iterator<Item = &Expr> {
        let (one, two) = match self {
            Self::Member(_) | Self::AnyCase(_) => (None, None),
            Self::Index(index) => (Some(index), None),
            Self::Slice(start, end) => (start.as_ref(), end.as_ref()),
        };
        one.into_iter().chain(two)
    }

    fn exprs_mut(&mut self) -> impl Iterator<Item = &mut Expr> {
        let (one, two) = match self {
            Self::Member(_) | Self::AnyCase(_) => (None, None),
            Self::Index(index) => (Some(index), None),
            Self::Slice(start, end) => (start.as_mut(), end.as_mut()),
        };
        one.into_iter().chain(two)
    }
}

/// Every part in brackets, so that different trees never read alike.
fn write_key(key: &mut String, expr: &Expr) {
    _ = match expr {
        Expr::Once(once) => return write_key(key, &once.expr),
        Expr::Column(slot) => write!(key, "c{}", slot.0),
        Expr::Literal(literal) => write!(key, "l{}", LiteralKey(literal.value())),
        Expr::Unary(op, _) => write!(key, "{op:?}"),
        Expr::Binary(op, _, _) => write!(key, "{op:?}"),
        Expr::Between { negated, .. } => write!(key, "between {negated}"),
        Expr::InList { negated, .. } => write!(key, "in {negated}"),
        Expr::InArray { negated, .. } => write!(key, "in array {negated}"),
        Expr::IsNull { negated, .. } => write!(key, "null {negated}"),
        Expr::First(values) => write!(key, "first {}", values.len()),
        Expr::Path(_, steps) => write!(key, "path {}", steps.iter().map(step_key).collect::<String>()),
        Expr::Case { value, arms, otherwise } => {
            write!(key, "case {} {} {}", value.is_some(), arms.len(), otherwise.is_some())
        }
        Expr::Call { function, .. } => write!(key, "call {:?}", function.name()),
        Expr::Context(context) => write!(key, "{context:?}"),
        Expr::Object(slots) => write!(key, "object {slots:?}"),
    };
    key.push('(');
    for part in expr.parts() {
        write_key(key, part);
        key.push(',');
    }
    key.push(')');
}

fn step_key(step: &Step) -> String {
    match step {
        Step::Member(name) => format!("->{name:?}"),
        Step::AnyCase(name) => format!("->any case {name:?}"),
        Step::Index(_) => "[]".to_owned(),
        Step::Slice(start, end) => format!("[{}:{}]", start.is_some(), end.is_some()),
    }
}

/// A literal with its kind, floats bit for bit.
struct LiteralKey<'a>(&'a Value);

impl std::fmt::Display for LiteralKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Value::Float(value) => write!(f, "f{:x}", value.to_bits()),
            other => write!(f, "{other:?}"),
        }
    }
}
