//! What functions of other processes keep for a rule: part of its checkpoints, and gone with it.
//!
//! The functions are asked between two batches, on the worker on which the rule calls them, so what they give is their
//! state behind exactly the rows that the operators have seen.

use std::sync::Arc;

use thalweg_core::state::StateError;
use thalweg_expr::CallSite;
use thalweg_plan::Node;
use thalweg_plan::remote::{RemoteCall, remote_calls};

use crate::snapshot::Snapshot;

/// The calls of one rule that others answer.
pub(crate) struct RemoteCalls {
    rule: Arc<str>,
    calls: Vec<RemoteCall>,
}

impl RemoteCalls {
    /// Those of a plan, if there are any.
    pub(crate) fn of(rule: &str, root: &Node) -> Option<Box<Self>> {
        let calls = remote_calls(root);
        (!calls.is_empty()).then(|| Box::new(Self { rule: Arc::from(rule), calls }))
    }

    fn site<'a>(&'a self, call: &'a RemoteCall) -> CallSite<'a> {
        CallSite { rule: &self.rule, node: &call.node, call_id: call.call_id }
    }

    /// Adds the states to a snapshot.
    ///
    /// # Errors
    /// The first host that does not give one.
    pub(crate) fn save(&self, into: &mut Snapshot) -> Result<(), String> {
        for call in &self.calls {
            let saved = call.function.save(&self.site(call)).map_err(|why| in_function(call, &why))?;
            into.nodes.extend(saved.map(|bytes| (key(call), bytes)));
        }
        Ok(())
    }

    /// Gives the functions what they had. Called before the first row.
    pub(crate) fn restore(&self, from: &Snapshot) -> Result<(), StateError> {
        for call in &self.calls {
            if let Some(saved) = from.nodes.get(&key(call)) {
                let restored = call.function.restore(&self.site(call), saved);
                restored.map_err(|why| StateError(in_function(call, &why)))?;
            }
        }
        Ok(())
    }

    /// The rule has ended.
    pub(crate) fn forget(&self) {
        self.calls.iter().for_each(|call| call.function.forget(&self.site(call)));
    }
}

/// No operator's name has a blank.
fn key(call: &RemoteCall) -> String {
    format!("call {} {}", call.call_id, call.node)
}

fn in_function(call: &RemoteCall, why: &str) -> String {
    format!("function {}: {why}", call.function.name())
}
