//! Passes over a plan: each gives an equal plan, and each can be left out by name
//! (`disableOptimizeRules`, X-4).

mod exprs;
mod fold_constants;
mod fold_windows;
mod prune_columns;
mod push_filter;
mod sides;

use crate::logical::Plan;

/// A pass and its names, upstream's first.
struct Pass {
    names: &'static [&'static str],
    run: fn(Plan) -> Plan,
}

/// Whoever renumbers slots comes before windows copy what they fold.
const PASSES: [Pass; 4] = [
    Pass { names: &["constantFolding", "fold_constants"], run: fold_constants::run },
    Pass { names: &["predicatePushDown", "push_filter"], run: push_filter::run },
    Pass { names: &["columnPruner", "prune_columns"], run: prune_columns::run },
    Pass { names: &["incrementalWindow", "fold_windows"], run: fold_windows::run },
];

/// Runs all passes but the disabled ones.
pub(crate) fn optimize(plan: Plan, disabled: &[String]) -> Plan {
    let is_on = |pass: &&Pass| !pass.names.iter().any(|name| disabled.iter().any(|off| off == name));
    PASSES.iter().filter(is_on).fold(plan, |plan, pass| (pass.run)(plan))
}
