//! Table: aggregate functions. In the examples each argument is the list of a group's values.

pub(super) mod extreme;
pub(super) mod fold;
pub(super) mod moments;
mod rank;
pub(super) mod rows;

use thalweg_core::{RowError, Value};

use self::extreme::Extreme;
use self::fold::accumulator;
use self::moments::{Avg, Count, Spread, Sum};
use self::rank::{Median, Percentile};
use self::rows::{Collect, Deduplicate, LastValue, MergeAgg};
use crate::eval::named;
use crate::expr::EvalCx;
use crate::function::{Arg, ArgKind, Doc, Family, Function, FunctionKind, Nulls};

const NUMBER: &[Arg] = &[Arg::new("x", ArgKind::Number)];
const ANY: &[Arg] = &[Arg::new("x", ArgKind::Any)];
const RANK: &[Arg] = &[Arg::new("x", ArgKind::Number), Arg::new("p", ArgKind::Number)];

/// The table.
pub(super) const TABLE: &[Function] = &[
    row(
        "avg",
        NUMBER,
        FunctionKind::Aggregate(accumulator::<Avg>),
        Doc {
            family: Family::Aggregate,
            summary: "The mean of the numbers; of integers an integer.",
            examples: &[
                ("avg([1, 2, 4])", "2"),
                ("avg([1.0, 2.0, 4.0])", "2.3333333333333335"),
                ("avg([1, 2.5])", "1.75"),
                ("avg([-1, -2])", "-1"),
                ("avg([null])", "-"),
                ("avg([])", "-"),
            ],
        },
    ),
    row(
        "sum",
        NUMBER,
        FunctionKind::Aggregate(accumulator::<Sum>),
        Doc {
            family: Family::Aggregate,
            summary: "The sum of the numbers; integers stay integers as long as 64 bits hold them.",
            examples: &[
                ("sum([1, 2, 3])", "6"),
                ("sum([1, null, 2.5])", "3.5"),
                ("sum([1.5, 2])", "3.5"),
                ("sum([9223372036854775807, 1])", "9223372036854776000"),
                ("sum([null])", "-"),
            ],
        },
    ),
    row(
        "count",
        ANY,
        FunctionKind::Aggregate(accumulator::<Count>),
        Doc {
            family: Family::Aggregate,
            summary: "The number of values that are not null; count(*) counts rows.",
            examples: &[("count([1, null, \"x\"])", "2"), ("count([null])", "0"), ("count([])", "0")],
        },
    ),
    row(
        "max",
        NUMBER,
        FunctionKind::Aggregate(accumulator::<Extreme<true>>),
        Doc {
            family: Family::Aggregate,
            summary: "The largest number or text.",
            examples: &[
                ("max([3, 9, 4])", "9"),
                ("max([1, 3.9, 2])", "3.9"),
                ("max([1.5, 3])", "3"),
                ("max([\"b\", \"a\", null])", "\"b\""),
                ("max([null])", "-"),
            ],
        },
    ),
    row(
        "min",
        NUMBER,
        FunctionKind::Aggregate(accumulator::<Extreme<false>>),
        Doc {
            family: Family::Aggregate,
            summary: "The smallest number or text.",
            examples: &[
                ("min([3, 9, 4])", "3"),
                ("min([3, 1.2])", "1.2"),
                ("min([\"b\", \"a\", null])", "\"a\""),
            ],
        },
    ),
    row(
        "collect",
        ANY,
        FunctionKind::Aggregate(accumulator::<Collect>),
        Doc {
            family: Family::Aggregate,
            summary: "All values as a list in order of arrival; collect(*) collects whole rows.",
            examples: &[("collect([1, null, \"x\"])", "[1,null,\"x\"]"), ("collect([])", "-")],
        },
    ),
    row(
        "last_value",
        &[Arg::new("x", ArgKind::Any), Arg::new("ignore_null", ArgKind::Bool)],
        FunctionKind::Aggregate(accumulator::<LastValue>),
        Doc {
            family: Family::Aggregate,
            summary: "The value of the last row, or the last that is not null.",
            examples: &[
                ("last_value([1, 2, null], [true, true, true])", "2"),
                ("last_value([1, 2, null], [false, false, false])", "-"),
                ("last_value([null, null], [true, true])", "-"),
            ],
        },
    ),
    row(
        "merge_agg",
        ANY,
        FunctionKind::Aggregate(accumulator::<MergeAgg>),
        Doc {
            family: Family::Aggregate,
            summary: "One object of all objects; members of later ones win.",
            examples: &[
                ("merge_agg([{\"a\":1,\"b\":2}, {\"a\":3}])", "{\"a\":3,\"b\":2}"),
                ("merge_agg([{\"a\":1}, 5, null])", "{\"a\":1}"),
                ("merge_agg([5, 6])", "-"),
            ],
        },
    ),
    row(
        "deduplicate",
        &[Arg::new("key", ArgKind::Any), Arg::new("all", ArgKind::Bool)],
        FunctionKind::Aggregate(accumulator::<Deduplicate>),
        Doc {
            family: Family::Aggregate,
            summary: "The first row of each key as a list; with all = false the last row, if its key is new. The planner puts \
                  the whole row in front of the arguments, as here.",
            examples: &[
                (
                    "deduplicate([{\"a\":1},{\"a\":1,\"b\":1},{\"a\":2}], [1,1,2], [true,true,true])",
                    "[{\"a\":1},{\"a\":2}]",
                ),
                ("deduplicate([{\"a\":1},{\"a\":2}], [1,2], [false,false])", "{\"a\":2}"),
                ("deduplicate([{\"a\":1},{\"a\":1}], [1,1], [false,false])", "-"),
            ],
        },
    ),
    row(
        "median",
        NUMBER,
        FunctionKind::Aggregate(accumulator::<Median>),
        Doc {
            family: Family::Aggregate,
            summary: "The number in the middle, or the mean of the two in the middle.",
            examples: &[
                ("median([3, 1, 2])", "2"),
                ("median([4, 1, 2, 3])", "2.5"),
                ("median([1, null])", "1"),
                ("median([1.5, 2.5, null])", "2"),
            ],
        },
    ),
    row(
        "stddev",
        NUMBER,
        FunctionKind::Aggregate(accumulator::<Spread<false, true>>),
        Doc {
            family: Family::Aggregate,
            summary: "The standard deviation of the whole population.",
            examples: &[("stddev([3, 5, 5, 6, 6, 11])", "2.449489742783178"), ("stddev([10])", "0")],
        },
    ),
    row(
        "stddevs",
        NUMBER,
        FunctionKind::Aggregate(accumulator::<Spread<true, true>>),
        Doc {
            family: Family::Aggregate,
            summary: "The standard deviation of a sample; of one value null.",
            examples: &[("stddevs([3, 5, 5, 6, 6, 11])", "2.6832815729997477"), ("stddevs([10])", "-")],
        },
    ),
    row(
        "var",
        NUMBER,
        FunctionKind::Aggregate(accumulator::<Spread<false, false>>),
        Doc {
            family: Family::Aggregate,
            summary: "The variance of the whole population.",
            examples: &[("var([3, 5, 5, 6, 6, 11])", "6"), ("var([1, null, 3])", "1")],
        },
    ),
    row(
        "vars",
        NUMBER,
        FunctionKind::Aggregate(accumulator::<Spread<true, false>>),
        Doc {
            family: Family::Aggregate,
            summary: "The variance of a sample; of one value null.",
            examples: &[("vars([3, 5, 5, 6, 6, 11])", "7.2"), ("vars([10])", "-")],
        },
    ),
    row(
        "percentile_cont",
        RANK,
        FunctionKind::Aggregate(accumulator::<Percentile<true>>),
        Doc {
            family: Family::Aggregate,
            summary: "The value below which the share p of the numbers lies, interpolated linearly.",
            examples: &[
                ("percentile_cont([10, 20, 30, 40], [0.5, 0.5, 0.5, 0.5])", "25"),
                ("percentile_cont([10, 20], [0.25, 0.25])", "12.5"),
                ("percentile_cont([10], [0.1])", "10"),
            ],
        },
    ),
    row(
        "percentile_disc",
        RANK,
        FunctionKind::Aggregate(accumulator::<Percentile<false>>),
        Doc {
            family: Family::Aggregate,
            summary: "The smallest number that at least the share p of the numbers does not exceed.",
            examples: &[
                ("percentile_disc([10, 20, 30, 40], [0.5, 0.5, 0.5, 0.5])", "20"),
                ("percentile_disc([10, 20, 30, 40], [0.51, 0.51, 0.51, 0.51])", "30"),
                ("percentile_disc([10, 20, 30, 40], [0, 0, 0, 0])", "10"),
            ],
        },
    ),
    row(
        "last_agg_hit_count",
        &[],
        FunctionKind::Planned,
        Doc {
            family: Family::Aggregate,
            summary: "How many windows before this one passed HAVING.",
            examples: &[],
        },
    ),
    row(
        "last_agg_hit_time",
        &[],
        FunctionKind::Planned,
        Doc {
            family: Family::Aggregate,
            summary: "When the last window before this one passed HAVING, epoch ms; 0 at first.",
            examples: &[],
        },
    ),
];

const fn row(name: &'static str, args: &'static [Arg], kind: FunctionKind, doc: Doc) -> Function {
    Function { name, aliases: &[], args, kind, nulls: Nulls::Own, doc }
}

/// `max` of a list.
pub(super) fn greatest(items: &[Value], _cx: &EvalCx<'_>) -> Result<Value, RowError> {
    extreme::of::<true>(items)
}

/// `min` of a list.
pub(super) fn least(items: &[Value], _cx: &EvalCx<'_>) -> Result<Value, RowError> {
    extreme::of::<false>(items)
}

#[cfg(test)]
mod tests;
