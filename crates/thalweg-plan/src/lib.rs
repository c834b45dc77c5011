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
pub mod graph;
pub mod logical;
mod naming;
mod optimize;
pub mod remote;
mod rewrite;
pub mod split;
mod validate;

use thalweg_core::{Diagnostic, ErrorCode};
use thalweg_sql::ast;

pub use thalweg_sql::ast::{JoinKind, SourceKind, TimeUnit};

pub use optimize::names as pass_names;

pub use logical::{Kind, Node, Plan, PlanOptions, Resolver, SourceSteps, StreamDef};

/// All mistakes of a statement that has mistakes of grammar: those (in the order in which they are told), and those of
/// names and types in what could be read in spite of them. The first is the one that upstream tells.
pub fn search(
    recovered: &ast::Query,
    grammar: Vec<Diagnostic>,
    options: &PlanOptions,
    world: &dyn Resolver,
) -> Vec<Diagnostic> {
    let (first, mut all) = (grammar.first().cloned(), grammar);
    all.extend(bind::query::search(recovered, options, world));
    thalweg_core::diagnostic::sort(&mut all);
    let is_parsing = |mistake: &Diagnostic| mistake.code == ErrorCode::SqlParse;
    if !all.first().is_some_and(is_parsing)
        && let Some(found) = all.iter().position(|mistake| Some(mistake) == first.as_ref())
    {
        all[..=found].rotate_right(1);
    }
    all
}

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
    split::cuts(&plan.root).map_err(|why| vec![why])?;
    Ok(fingerprint::stamp(naming::name(plan)))
}
