//! Passes over a plan: each gives an equal plan, and each can be left out by name
//! (`disableOptimizeRules`, X-4).

mod push_filter;

use crate::logical::Plan;

/// A pass and its names, upstream's first.
struct Pass {
    names: &'static [&'static str],
    run: fn(Plan) -> Plan,
}

const PASSES: [Pass; 1] = [Pass { names: &["predicatePushDown", "push_filter"], run: push_filter::run }];

/// Runs all passes but the disabled ones.
pub(crate) fn optimize(plan: Plan, disabled: &[String]) -> Plan {
    let is_on = |pass: &&Pass| !pass.names.iter().any(|name| disabled.iter().any(|off| off == name));
    PASSES.iter().filter(is_on).fold(plan, |plan, pass| (pass.run)(plan))
}
