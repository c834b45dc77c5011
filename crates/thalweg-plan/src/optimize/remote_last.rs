//! Conditions with calls of other processes come behind those without (`portable-plugins.md` 12.6), so that rows which
//! drop out anyway are never sent. A function that may keep state sees every row that it would have seen: where one is
//! called, the order stays as written.

use thalweg_expr::{Expr, FunctionRef};

use crate::logical::{Kind, Node, Plan};
use crate::rewrite;

/// Runs the pass.
pub(super) fn run(mut plan: Plan) -> Plan {
    visit(&mut plan.root);
    plan
}

fn visit(node: &mut Node) {
    node.inputs.iter_mut().for_each(visit);
    if let Kind::Filter(condition) | Kind::WindowFilter(condition) = &mut node.kind
        && calls(condition) == Calls::Stateless
    {
        let parts = rewrite::conjuncts(condition.clone());
        let (near, remote): (Vec<Expr>, Vec<Expr>) =
            parts.into_iter().partition(|part| calls(part) == Calls::None);
        if let Some(ordered) = rewrite::all_of(near.into_iter().chain(remote)) {
            *condition = ordered;
        }
    }
}

/// What an expression calls of other processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Calls {
    None,
    Stateless,
    Stateful,
}

fn calls(expr: &Expr) -> Calls {
    let mut calls = Calls::None;
    expr.walk(&mut |part| {
        let Expr::Call { function, .. } = part else { return };
        calls = calls.max(match function {
            FunctionRef::Remote(remote) if remote.may_keep_state() => Calls::Stateful,
            FunctionRef::Remote(_) => Calls::Stateless,
            // `delay`, `get_keyed_state`: what they do depends on when they are asked.
            FunctionRef::Builtin(builtin) if !builtin.is_pure() => Calls::Stateful,
            FunctionRef::Builtin(_) => Calls::None,
        });
    });
    calls
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use thalweg_core::{BinaryOp, Column, Diagnostic, Schema, Slot, Value};
    use thalweg_expr::function::ArgShape;
    use thalweg_expr::{CallCx, Frame, RemoteFunction};

    use super::*;

    #[derive(Debug)]
    struct Far {
        keeps_state: bool,
    }

    impl RemoteFunction for Far {
        fn name(&self) -> &str {
            "far"
        }

        fn host(&self) -> &str {
            "plugin"
        }

        fn is_aggregate(&self) -> Result<bool, Diagnostic> {
            Ok(false)
        }

        fn validate(&self, _args: &[ArgShape]) -> Result<(), Diagnostic> {
            Ok(())
        }

        fn call(&self, _frame: &Frame<'_>, _out: &mut Column, _cx: &CallCx<'_>) {}

        fn may_keep_state(&self) -> bool {
            self.keeps_state
        }
    }

    fn above(value: Expr, number: i64) -> Expr {
        Expr::Binary(BinaryOp::Gt, Box::new(value), Box::new(Expr::literal(Value::Int(number))))
    }

    /// `far(a) > 1 AND a > 2 AND far(a) > 3 AND a > 4`, and the numbers in the order of the plan.
    fn order(keeps_state: bool) -> Vec<i64> {
        let column = || Expr::Column(Slot(0));
        let far = || {
            let function = FunctionRef::Remote(Arc::new(Far { keeps_state }));
            Expr::Call { function, args: vec![column()], call_id: 0 }
        };
        let parts = vec![above(far(), 1), above(column(), 2), above(far(), 3), above(column(), 4)];
        let kind = Kind::Filter(rewrite::all_of(parts).unwrap());
        let schema = Arc::new(Schema::computed(["a"]));
        let mut node = Node { name: Arc::from(""), kind, inputs: Vec::new(), schema };
        visit(&mut node);
        let Kind::Filter(condition) = node.kind else { return Vec::new() };
        let number = |part: Expr| match part {
            Expr::Binary(_, _, right) => match right.as_literal() {
                Some(Value::Int(number)) => Some(*number),
                _ => None,
            },
            _ => None,
        };
        rewrite::conjuncts(condition).into_iter().filter_map(number).collect()
    }

    #[test]
    fn rows_that_drop_out_anyway_are_not_sent_unless_the_function_may_keep_state() {
        assert_eq!(order(false), [2, 4, 1, 3]);
        assert_eq!(order(true), [1, 2, 3, 4]);
    }
}
