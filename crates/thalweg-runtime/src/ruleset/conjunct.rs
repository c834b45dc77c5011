//! Conjuncts that an index can answer: a column, or what is calculated from columns, against constants of one kind.
//!
//! On a *regular* cell, which is one of that kind or nothing at all, such a conjunct says true or false and can never
//! fail (O-4, O-6); null and missing are false. Rows with other cells are asked the rule's own expression.

use std::sync::Arc;

use thalweg_core::{BinaryOp, Slot, Value as Constant};
use thalweg_expr::{Expr, ExprKey};

/// Integers up to here are floats as well, so that all numbers of a column have one order (O-6).
const EXACT: i64 = 1 << 53;

/// A conjunct in its normal form.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Term {
    pub subject: Subject,
    pub test: Test,
}

/// What is compared.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Subject {
    Column(Slot),
    /// Arithmetic, compared with numbers only.
    Value(Box<Value>),
}

/// What rules that calculate the same have in common: it is evaluated once a batch.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub expr: Expr,
    key: ExprKey,
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Subject {
    /// Of an expression that is a column, or arithmetic with one: that neither calls anything nor depends on a zone.
    fn of(expr: &Expr) -> Option<Self> {
        if let Expr::Column(slot) = expr {
            return Some(Self::Column(*slot));
        }
        let value = || Box::new(Value { expr: expr.clone(), key: expr.key() });
        (is_arithmetic(expr) && !expr.is_constant()).then(|| Self::Value(value()))
    }

    /// The column that it is.
    pub(super) fn slot(&self) -> Option<Slot> {
        if let Self::Column(slot) = self { Some(*slot) } else { None }
    }
}

fn is_arithmetic(expr: &Expr) -> bool {
    use BinaryOp::{Divide, Minus, Modulo, Multiply, Plus};
    match expr {
        Expr::Column(_) | Expr::Literal(_) => true,
        Expr::Binary(Plus | Minus | Multiply | Divide | Modulo, left, right) => {
            is_arithmetic(left) && is_arithmetic(right)
        }
        _ => false,
    }
}

/// What a cell is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    /// `>` (strict), `>=`.
    Above { bound: f64, is_strict: bool },
    /// `<` (strict), `<=`.
    Below { bound: f64, is_strict: bool },
    /// `=`, IN: one of these, each once.
    Number(Box<[f64]>),
    /// `!=`.
    OtherNumber(f64),
    /// `=`, IN: one of these, each once.
    Text(Box<[Arc<str>]>),
    /// `!=`.
    OtherText(Arc<str>),
}

impl Test {
    /// Whether it is about numbers.
    pub(super) fn is_number(&self) -> bool {
        !matches!(self, Self::Text(_) | Self::OtherText(_))
    }

    /// What it says of a number; NaN stands for null and missing.
    #[inline]
    pub(super) fn number(&self, value: f64) -> bool {
        match self {
            Self::Above { bound, is_strict: true } => value > *bound,
            Self::Above { bound, is_strict: false } => value >= *bound,
            Self::Below { bound, is_strict: true } => value < *bound,
            Self::Below { bound, is_strict: false } => value <= *bound,
            Self::Number(wanted) => wanted.contains(&value),
            Self::OtherNumber(unwanted) => !value.is_nan() && value != *unwanted,
            Self::Text(_) | Self::OtherText(_) => false,
        }
    }

    /// What it says of a text.
    pub(super) fn text(&self, value: &str) -> bool {
        match self {
            Self::Text(wanted) => wanted.iter().any(|wanted| **wanted == *value),
            Self::OtherText(unwanted) => **unwanted != *value,
            _ => false,
        }
    }
}

/// An integer that is the same as a float.
#[inline]
pub(super) fn exact(value: i64) -> Option<f64> {
    (-EXACT..=EXACT).contains(&value).then_some(value as f64)
}

/// The conjuncts of an AND from left to right.
pub(super) fn flatten<'a>(expr: &'a Expr, into: &mut Vec<&'a Expr>) {
    match expr {
        Expr::Binary(BinaryOp::And, left, right) => {
            flatten(left, into);
            flatten(right, into);
        }
        other => into.push(other),
    }
}

/// The terms at the beginning of a condition, and whether that is all of it.
pub(super) fn leading_terms(expr: &Expr) -> (Vec<Term>, bool) {
    let (mut conjuncts, mut terms) = (Vec::new(), Vec::new());
    flatten(expr, &mut conjuncts);
    let read = conjuncts.iter().take_while(|conjunct| push_terms(conjunct, &mut terms)).count();
    (terms, read == conjuncts.len())
}

/// Adds what a conjunct is made of; false when no index can answer it.
fn push_terms(conjunct: &Expr, into: &mut Vec<Term>) -> bool {
    let before = into.len();
    match conjunct {
        Expr::Binary(op, left, right) => into.extend(comparison(*op, left, right)),
        Expr::Between { negated: false, parts } => {
            let [value, low, high] = &**parts;
            let low = comparison(BinaryOp::GtEq, value, low);
            let high = comparison(BinaryOp::LtEq, value, high);
            into.extend(low.zip(high).into_iter().flat_map(|(low, high)| [low, high]));
        }
        Expr::InList { negated: false, value, list } => into.extend(membership(value, list)),
        _ => {}
    }
    into.len() > before
}

fn comparison(op: BinaryOp, left: &Expr, right: &Expr) -> Option<Term> {
    let (op, value, constant) = match (left, right) {
        (value, Expr::Literal(constant)) => (op, value, constant.value()),
        (Expr::Literal(constant), value) => (mirrored(op)?, value, constant.value()),
        _ => return None,
    };
    let subject = Subject::of(value)?;
    let test = match (number(constant), constant) {
        (Some(bound), _) => match op {
            BinaryOp::Gt | BinaryOp::GtEq => Test::Above { bound, is_strict: op == BinaryOp::Gt },
            BinaryOp::Lt | BinaryOp::LtEq => Test::Below { bound, is_strict: op == BinaryOp::Lt },
            BinaryOp::Eq => Test::Number(Box::new([bound])),
            BinaryOp::NotEq => Test::OtherNumber(bound),
            _ => return None,
        },
        (None, Constant::Str(text)) if subject.slot().is_some() => match op {
            BinaryOp::Eq => Test::Text(Box::new([Arc::from(&**text)])),
            BinaryOp::NotEq => Test::OtherText(Arc::from(&**text)),
            _ => return None,
        },
        _ => return None,
    };
    Some(Term { subject, test })
}

fn mirrored(op: BinaryOp) -> Option<BinaryOp> {
    Some(match op {
        BinaryOp::Lt => BinaryOp::Gt,
        BinaryOp::LtEq => BinaryOp::GtEq,
        BinaryOp::Gt => BinaryOp::Lt,
        BinaryOp::GtEq => BinaryOp::LtEq,
        BinaryOp::Eq | BinaryOp::NotEq => op,
        _ => return None,
    })
}

fn membership(value: &Expr, list: &[Expr]) -> Option<Term> {
    let subject = Subject::of(value)?;
    let constants = list.iter().map(Expr::as_literal).collect::<Option<Vec<_>>>()?;
    let numbers = constants.iter().map(|constant| number(constant)).collect::<Option<Vec<f64>>>();
    let test = match numbers {
        Some(mut numbers) => {
            numbers.sort_by(f64::total_cmp);
            numbers.dedup();
            Test::Number(numbers.into())
        }
        None => {
            subject.slot()?;
            let text = |constant: &&Constant| match constant {
                Constant::Str(text) => Some(Arc::from(&**text)),
                _ => None,
            };
            let mut texts = constants.iter().map(text).collect::<Option<Vec<Arc<str>>>>()?;
            texts.sort();
            texts.dedup();
            Test::Text(texts.into())
        }
    };
    Some(Term { subject, test })
}

/// A constant that can be put in order with the numbers of a column.
fn number(constant: &Constant) -> Option<f64> {
    match constant {
        Constant::Int(value) => exact(*value),
        Constant::Float(value) => Some(*value).filter(|value| !value.is_nan()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::Value;

    use super::{BinaryOp, Expr, leading_terms};
    use crate::testing::{and, binary, column, greater, literal};

    fn terms(expr: &Expr) -> (usize, bool) {
        let (terms, is_all) = leading_terms(expr);
        (terms.len(), is_all)
    }

    #[test]
    fn conjuncts_are_read_as_far_as_an_index_can_answer_them() {
        let text = || binary(BinaryOp::Lt, column(1), literal(Value::text("x")));
        assert_eq!(terms(&greater(0, 5)), (1, true));
        assert_eq!(terms(&and(and(greater(0, 5), greater(1, 2)), text())), (2, false));
        assert_eq!(terms(&and(text(), greater(0, 5))), (0, false), "what comes first may fail first");
        let between = |low: Value| Expr::Between {
            negated: false,
            parts: Box::new([column(0), literal(low), literal(Value::Int(9))]),
        };
        assert_eq!(terms(&between(Value::Int(3))), (2, true));
        assert_eq!(terms(&between(Value::text("3"))), (0, false), "its error is one of BETWEEN");
        let list = |list: Vec<Value>| Expr::InList {
            negated: false,
            value: Box::new(column(0)),
            list: list.into_iter().map(literal).collect(),
        };
        assert_eq!(terms(&list(vec![Value::Int(1), Value::Float(2.5)])), (1, true));
        assert_eq!(terms(&list(vec![Value::Int(1), Value::text("x")])), (0, false));
    }

    #[test]
    fn what_is_calculated_is_compared_like_a_column() {
        let sum = || binary(BinaryOp::Plus, column(0), literal(Value::Int(1)));
        let above = |value: Expr, bound: Value| binary(BinaryOp::Gt, value, literal(bound));
        assert_eq!(terms(&above(sum(), Value::Int(5))), (1, true));
        assert_eq!(
            leading_terms(&above(sum(), Value::Int(5))),
            leading_terms(&above(sum(), Value::Float(5.0)))
        );
        assert_eq!(terms(&above(sum(), Value::text("x"))), (0, false), "the index has columns of texts only");
        let constant = binary(BinaryOp::Plus, literal(Value::Int(1)), literal(Value::Int(1)));
        assert_eq!(terms(&above(constant, Value::Int(5))), (0, false));
    }

    #[test]
    fn a_constant_on_the_left_is_mirrored_and_large_integers_are_left_alone() {
        let mirrored = binary(BinaryOp::Lt, literal(Value::Int(5)), column(0));
        assert_eq!(leading_terms(&mirrored), leading_terms(&greater(0, 5)));
        assert_eq!(terms(&greater(0, (1 << 53) + 1)), (0, false));
    }
}
