//! `sqlparser`'s trees of operators to ours.

use sqlparser::ast::{self as sql, BinaryOperator};
use thalweg_core::BinaryOp;

use crate::ast::{Expr, ExprKind};
use crate::grammar::{Grammar, Parsed, syntax};

impl Grammar {
    /// Left-deep chains (`a OR b OR c …`) are walked in a loop: only what binds tighter on the right recurses.
    pub(crate) fn lower(&self, tree: sql::Expr) -> Parsed<Expr> {
        let mut spine = Vec::new();
        let mut left = tree;
        while let sql::Expr::BinaryOp { left: inner, op, right } = left {
            spine.push((op, right));
            left = *inner;
        }
        let mut result = self.leaf(&left)?;
        while let Some((op, right)) = spine.pop() {
            let op = binary(&op).ok_or_else(|| syntax(format!("unknown operator {op}")))?;
            let right = self.lower(*right)?;
            let span = result.span.to(right.span);
            result = Expr::new(ExprKind::Binary(op, Box::new(result), Box::new(right)), span);
        }
        Ok(result)
    }

    /// The hooks of [`Grammar`] hand over numbered parts. The library reads on only where a point follows a number.
    fn leaf(&self, tree: &sql::Expr) -> Parsed<Expr> {
        if let sql::Expr::CompoundFieldAccess { root, .. } = tree
            && let Some(part) = self.numbered(root)
        {
            let why = syntax("found \".\", expected EOF.").at(part.span);
            return Err(why.help("a value has no columns; members are written a->b"));
        }
        self.numbered(tree).ok_or_else(|| syntax("unknown expression"))
    }

    fn numbered(&self, tree: &sql::Expr) -> Option<Expr> {
        match tree {
            sql::Expr::Value(value) => match &value.value {
                sql::Value::Placeholder(number) => self.part(number),
                _ => None,
            },
            _ => None,
        }
    }
}

fn binary(op: &BinaryOperator) -> Option<BinaryOp> {
    Some(match op {
        BinaryOperator::Or => BinaryOp::Or,
        BinaryOperator::And => BinaryOp::And,
        BinaryOperator::Eq => BinaryOp::Eq,
        BinaryOperator::NotEq => BinaryOp::NotEq,
        BinaryOperator::Lt => BinaryOp::Lt,
        BinaryOperator::LtEq => BinaryOp::LtEq,
        BinaryOperator::Gt => BinaryOp::Gt,
        BinaryOperator::GtEq => BinaryOp::GtEq,
        BinaryOperator::Plus => BinaryOp::Plus,
        BinaryOperator::Minus => BinaryOp::Minus,
        BinaryOperator::Multiply => BinaryOp::Multiply,
        BinaryOperator::Divide => BinaryOp::Divide,
        BinaryOperator::Modulo => BinaryOp::Modulo,
        BinaryOperator::BitwiseAnd => BinaryOp::BitAnd,
        BinaryOperator::BitwiseOr => BinaryOp::BitOr,
        BinaryOperator::BitwiseXor => BinaryOp::BitXor,
        BinaryOperator::StringConcat => BinaryOp::Concat,
        _ => return None,
    })
}
