//! Operators, one file a kind. This file holds the table from plan nodes to operators and nothing else.

use thalweg_plan::logical::Lookup;
use thalweg_plan::{Kind, Node};

use crate::operator::{Operator, RuleInfo};

mod accumulated;
mod agg_func;
mod aggregate;
mod analytic;
mod calls;
mod compute;
mod condition;
mod dedup_trigger;
mod faults;
mod filter;
mod groups;
mod having;
mod hits;
mod join;
mod keys;
mod known;
mod limit;
mod lookup_join;
mod members;
mod order;
mod outlets;
mod pairs;
mod pass;
mod project;
mod project_set;
mod refuse;
mod reorder;
pub(crate) mod reshape;
mod row_number;
mod signals;
mod sort;
mod sub_query;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod union;
mod watermark;
mod window;

pub use lookup_join::{Ask, LookupRows, Take};

/// The operator of a lookup join, with the table to ask. It blocks.
pub fn build_lookup(node: &Node, lookup: &Lookup, table: Box<dyn LookupRows>) -> Box<dyn Operator> {
    Box::new(lookup_join::LookupJoin::new(node, lookup, table))
}

/// The operator of a plan node; lookup joins are built by [`build_lookup`]. A Scan's rows come from its source, so its operator hands everything on.
pub fn build(node: &Node, _rule: &RuleInfo) -> Box<dyn Operator> {
    let schema = &node.schema;
    if node.folded_by().is_some() {
        return Box::new(pass::Pass);
    }
    match &node.kind {
        Kind::Scan(_) => Box::new(pass::Pass),
        Kind::Watermark { late_tolerance, .. } => Box::new(watermark::Watermark::new(node, *late_tolerance)),
        Kind::Analytic(calls) => Box::new(analytic::Analytic::new(calls, schema)),
        Kind::WindowFilter(condition) | Kind::Filter(condition) => Box::new(filter::Filter::new(condition)),
        Kind::Window(window) => Box::new(window::Window::new(node, window)),
        Kind::Compute(exprs) => Box::new(compute::Compute::new(exprs, schema)),
        Kind::AggFunc(calls) => Box::new(agg_func::AggFunc::new(calls, schema)),
        Kind::Aggregate { keys, calls } => Box::new(aggregate::Aggregate::new(keys, calls, schema)),
        Kind::Having { condition, grouped } => Box::new(having::Having::new(condition, *grouped, schema)),
        Kind::RowNumber { partition_by, order_by } => {
            Box::new(row_number::RowNumber::new(partition_by, order_by, schema))
        }
        Kind::DedupTrigger(dedup) => {
            Box::new(dedup_trigger::DedupTrigger::new(dedup, &node.inputs[0].schema, schema))
        }
        Kind::Sort(keys) => Box::new(sort::Sort::new(keys)),
        Kind::Limit(rows) => Box::new(limit::Limit::new(*rows)),
        Kind::Project(columns) => Box::new(project::Project::new(node, columns)),
        Kind::ProjectSet { set, function, limit } => {
            Box::new(project_set::ProjectSet::new(node, *set, function, *limit))
        }
        Kind::Join(steps) => Box::new(join::Join::new(node, steps)),
        Kind::LookupJoin(lookup) => {
            let reason = format!("run Join error: lookup table {} is not connected", lookup.alias);
            Box::new(refuse::Refuse::new(&reason, schema))
        }
        Kind::SubQuery(query) => Box::new(sub_query::SubQuery::new(query, schema)),
        Kind::Outlets => Box::new(outlets::Outlets),
        Kind::Union => Box::new(union::Union::new(node.inputs.len())),
    }
}
