//! Passes over a plan: each gives an equal plan, and each can be left out by name
//! (`disableOptimizeRules`, X-4).

mod carry;
mod checked_types;
pub(crate) mod exprs;
mod fold_constants;
mod fold_windows;
mod origins;
mod prune_columns;
mod prune_paths;
mod push_filter;
mod remote_last;
mod share;
mod sides;
mod single_rows;

use thalweg_core::Diagnostic;
use thalweg_core::diagnostic::nearest;

use crate::logical::Plan;

pub(crate) use exprs::each_read;

/// A pass and its names, the one that is told first.
struct Pass {
    names: &'static [&'static str],
    run: fn(Plan) -> Plan,
}

/// In the order in which they run: whoever renumbers slots comes before windows copy what they fold.
const PASSES: [Pass; 7] = [
    Pass { names: &["constantFolding", "fold_constants"], run: fold_constants::run },
    Pass { names: &["predicatePushDown", "push_filter"], run: push_filter::run },
    Pass { names: &["remoteLast", "remote_last"], run: remote_last::run },
    Pass { names: &["pathPruner", "prune_paths"], run: prune_paths::run },
    Pass { names: &["commonSubexpressions", "share"], run: share::run },
    Pass { names: &["columnPruner", "prune_columns"], run: prune_columns::run },
    Pass { names: &["incrementalWindow", "fold_windows"], run: fold_windows::run },
];

/// Upstream's names of what is no pass here: an alias of a column *is* the column's slot from binding on, so that
/// there is nothing to push and nothing to switch off.
const BOUND: [&str; 1] = ["push_alias"];

/// The names that `disableOptimizeRules` may hold, in the order in which the passes run.
pub fn names() -> impl Iterator<Item = &'static str> {
    PASSES.iter().map(|pass| pass.names[0]).chain(BOUND)
}

/// Runs all passes but the disabled ones. A disabled name that no pass has is worth a warning.
pub(crate) fn optimize(plan: Plan, disabled: &[String]) -> Plan {
    let is_on = |pass: &&Pass| !pass.names.iter().any(|name| disabled.iter().any(|off| off == name));
    let plan = push_filter::place(checked_types::run(plan));
    let mut plan = PASSES.iter().filter(is_on).fold(plan, |plan, pass| (pass.run)(plan));
    single_rows::mark(&mut plan.root);
    plan.warnings.extend(disabled.iter().filter_map(|name| unknown(name)));
    plan
}

/// What to say of a name in `disableOptimizeRules` that means nothing.
fn unknown(name: &str) -> Option<Diagnostic> {
    let known = || PASSES.iter().flat_map(|pass| pass.names.iter().copied()).chain(BOUND);
    if known().any(|known| known == name) {
        return None;
    }
    let warning = Diagnostic::plain(format!("disableOptimizeRules names {name}, which is no optimizer rule"));
    Some(match nearest(name, known()) {
        Some(near) => warning.help(format!("did you mean {near}?")),
        None => warning.help(format!("known are {}", names().collect::<Vec<_>>().join(", "))),
    })
}
