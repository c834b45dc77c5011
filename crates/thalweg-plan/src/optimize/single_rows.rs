//! Where a collection of one row may travel as a single row, many of which fit into one batch.

use crate::logical::{Kind, Node};

/// Marks the lookup joins above which every node does the same to both: what is computed or judged row by row, up to
/// the sinks, which write both as one message.
pub(super) fn mark(node: &mut Node) {
    match &mut node.kind {
        Kind::Project(_) | Kind::Filter(_) | Kind::Compute(_) | Kind::Union => {}
        Kind::LookupJoin(lookup) => lookup.gives_rows = true,
        _ => return,
    }
    node.inputs.iter_mut().for_each(mark);
}
