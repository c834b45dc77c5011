//! Stands where the planner's calls go until the planner is in the workspace: every rule is refused with this reason.

use thalweg_core::Diagnostic;
use thalweg_plan::{Plan, PlanOptions, Resolver};
use thalweg_sql::Query;

pub(super) fn plan(_: &Query, _: &PlanOptions, _: &dyn Resolver) -> Result<Plan, Vec<Diagnostic>> {
    Err(vec![Diagnostic::plain("rules cannot be planned by this build yet")])
}

pub(super) fn explain(_: &Plan) -> String {
    String::new()
}
