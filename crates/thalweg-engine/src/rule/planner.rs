//! Where rules meet the planner.

use thalweg_core::Diagnostic;
use thalweg_plan::{Plan, PlanOptions, Resolver};
use thalweg_sql::Query;

pub(super) fn plan(query: &Query, options: &PlanOptions, world: &dyn Resolver) -> Result<Plan, Vec<Diagnostic>> {
    thalweg_plan::plan(query, options, world)
}

pub(super) fn explain(plan: &Plan) -> String {
    thalweg_plan::explain::explain(plan)
}
