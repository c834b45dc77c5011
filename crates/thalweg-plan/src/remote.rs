//! The calls of a plan that others answer: plugins, scripts, services.

use std::sync::Arc;

use thalweg_expr::{Expr, FunctionRef, RemoteFunction};

use crate::logical::{Kind, Node};
use crate::optimize::exprs;

/// One of them, as its host knows it.
#[derive(Debug, Clone)]
pub struct RemoteCall {
    /// Who answers.
    pub function: Arc<dyn RemoteFunction>,
    /// The operator that calls.
    pub node: Arc<str>,
    /// The number of the call in the statement.
    pub call_id: u32,
}

/// All of them, each once, operators nearest to the streams first.
pub fn remote_calls(root: &Node) -> Vec<RemoteCall> {
    let mut found = Vec::new();
    collect(root, &mut found);
    found
}

fn collect(node: &Node, found: &mut Vec<RemoteCall>) {
    node.inputs.iter().for_each(|input| collect(input, found));
    let mut add = |function: &FunctionRef, call_id: u32| {
        let FunctionRef::Remote(function) = function else { return };
        if !found.iter().any(|call| call.node == node.name && call.call_id == call_id) {
            let (function, node) = (Arc::clone(function), Arc::clone(&node.name));
            found.push(RemoteCall { function, node, call_id });
        }
    };
    if let Kind::AggFunc(calls) | Kind::Aggregate { calls, .. } = &node.kind {
        calls.iter().for_each(|call| add(&call.function, call.call_id));
    }
    exprs::visit(&mut node.kind.clone(), &mut |expr| {
        expr.walk(&mut |part| {
            if let Expr::Call { function, call_id, .. } = part {
                add(function, *call_id);
            }
        });
    });
}
