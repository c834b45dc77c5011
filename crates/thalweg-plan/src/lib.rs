//! Names become slots, a SELECT becomes a plan: bind, validate, optimise, name, explain.
//!
//! Pure functions: no I/O, no clock, no connector's name. The outside is seen through [`Resolver`] only.
//!
//! Mistakes that upstream's parser finds (unknown functions, wrong arguments) have the code
//! [`thalweg_core::ErrorCode::SqlParse`]: whoever prints them puts `Parse SQL <sql> error: ` before and a dot behind.

mod ast_walk;
mod bind;
pub mod explain;
mod fingerprint;
pub mod logical;
mod naming;
mod optimize;
mod rewrite;
mod validate;

use thalweg_core::Diagnostic;
use thalweg_sql::ast;

pub use thalweg_sql::ast::{JoinKind, SourceKind, TimeUnit};

pub use optimize::names as pass_names;

pub use logical::{Kind, Node, Plan, PlanOptions, Resolver, SourceSteps, StreamDef};

/// Plans a query.
///
/// # Errors
/// All mistakes that were found, in the order in which they are told.
pub fn plan(
    query: &ast::Query,
    options: &PlanOptions,
    world: &dyn Resolver,
) -> Result<Plan, Vec<Diagnostic>> {
    let plan = bind::query::plan(query, options, world).map_err(|mut mistakes| {
        thalweg_core::diagnostic::sort(&mut mistakes);
        mistakes
    })?;
    let plan = optimize::optimize(plan, &options.disabled_passes);
    Ok(fingerprint::stamp(naming::name(plan)))
}
