//! Kernels of the data plane, each beside the plain way of doing the same.

mod aggregate;
pub(crate) mod decode;
mod encode;
mod filter;
pub(crate) mod pipeline;
mod script;
mod share;
mod window;

use crate::report::Report;

/// What it is called and what runs it.
type Group = (&'static str, fn(&Report));

/// All kernels, or those of one group (`decode`, `encode`, `filter`, `share`, `aggregate`, `pipeline`, `rules`, `window`, `script`).
pub(crate) fn run(report: &Report, group: &str) {
    let groups: [Group; 9] = [
        ("decode", decode::run),
        ("encode", encode::run),
        ("filter", filter::run),
        ("share", share::run),
        ("aggregate", aggregate::run),
        ("pipeline", pipeline::run),
        ("rules", pipeline::rule_sets),
        ("window", window::run),
        ("script", script::run),
    ];
    let wanted = groups.iter().filter(|(name, _)| group.is_empty() || *name == group);
    wanted.for_each(|(_, run)| run(report));
}
