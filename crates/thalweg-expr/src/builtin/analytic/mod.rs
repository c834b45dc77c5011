//! Table: analytic functions and those that only the planner understands. In the examples each argument is the list
//! of its values over successive rows, and so is the result.

mod accumulate;
mod history;
mod incremental;
mod members;

use self::accumulate::{Accumulate, Average, Count, Greatest, Least, Sum};
use self::history::{ChangedCol, HadChanged, Lag, Latest};
use self::incremental::Running;
use self::members::{ChangedMembers, HadChangedMember};
use super::aggregate::extreme::Extreme;
use super::aggregate::moments;
use super::aggregate::rows::{Collect, LastValue, MergeAgg};
use super::{ANY, NUMBER};
use crate::analytic::Analytic;
use crate::function::{Arg, ArgKind, Doc, Family, Function, FunctionKind, Nulls};

const LAG: &[Arg] = &[
    Arg::new("x", ArgKind::Any),
    Arg::new("n", ArgKind::Int).optional(),
    Arg::new("default", ArgKind::Any).optional(),
    Arg::new("ignore_null", ArgKind::Bool).optional(),
];
const LATEST: &[Arg] = &[Arg::new("x", ArgKind::Any), Arg::new("default", ArgKind::Any).optional()];
const CHANGED: &[Arg] = &[Arg::new("ignore_null", ArgKind::Bool), Arg::new("x", ArgKind::Any)];
const CHANGED_ANY: &[Arg] = &[Arg::new("ignore_null", ArgKind::Bool), Arg::new("x", ArgKind::Any).repeated()];
const CHANGED_COLS: &[Arg] = &[
    Arg::new("prefix", ArgKind::Text),
    Arg::new("ignore_null", ArgKind::Bool),
    Arg::new("x", ArgKind::Any).repeated(),
];
const ACCUMULATE: &[Arg] = &[
    Arg::new("x", ArgKind::Any),
    Arg::new("begin", ArgKind::Any).optional(),
    Arg::new("reset", ArgKind::Any).optional(),
];

/// The table.
pub(super) const TABLE: &[Function] = &[
    row(
        "lag",
        LAG,
        fresh::<Lag>,
        "The value n valid rows ago (1 if not given), or the default.",
        &[
            ("lag([1, 2, 3, null])", "[null,1,2,3]"),
            ("lag([1, 2, 3, 4], [2, 2, 2, 2], [0, 0, 0, 0])", "[0,0,1,2]"),
            (
                "lag([1, null, 3, 4], [1, 1, 1, 1], [99, 99, 99, 99], [false, false, false, false])",
                "[99,1,null,3]",
            ),
            ("lag([1, 2], [0, 0])", "[null,null]"),
        ],
    ),
    row(
        "latest",
        LATEST,
        fresh::<Latest>,
        "The last value that is not null, or the default.",
        &[
            ("latest([null, 1, null, 2], [7, 7, 7, 7])", "[7,1,1,2]"),
            ("latest([null, 1, null])", "[null,1,1]"),
        ],
    ),
    row(
        "changed_col",
        CHANGED,
        fresh::<ChangedCol>,
        "The value if it differs from the last one, else null.",
        &[
            ("changed_col([true, true, true, true, true], [1, 1, 2, null, 2])", "[1,null,2,null,null]"),
            ("changed_col([true, true], [1, 1.0])", "[1,null]"),
            ("changed_col([false, false, false], [1, null, 1])", "[1,null,1]"),
        ],
    ),
    row(
        "had_changed",
        CHANGED_ANY,
        fresh::<HadChanged>,
        "Whether any of the values differs from its last one.",
        &[
            (
                "had_changed([true, true, true, true, true], [1, 1, 1, 1, 2], [1, 1, 2, null, 3])",
                "[true,false,true,false,true]",
            ),
            ("had_changed([false, false, false, false], [null, null, 1, null])", "[false,false,true,true]"),
        ],
    ),
    row(
        "acc_sum",
        ACCUMULATE,
        fresh::<Accumulate<Sum>>,
        "The sum of all values so far.",
        &[
            ("acc_sum([null, 1, 2, null, 3.5])", "[0,1,3,3,6.5]"),
            (
                "acc_sum([4, 12, 6, 15, -2, 9, 20], [false, true, false, true, false, false, true], \
             [false, false, false, false, true, false, false])",
                "[0,12,18,33,31,0,20]",
            ),
        ],
    ),
    row(
        "acc_count",
        ACCUMULATE,
        fresh::<Accumulate<Count>>,
        "How many values that are not null came so far.",
        &[("acc_count([null, 4, null, \"x\"])", "[0,1,1,2]")],
    ),
    row(
        "acc_avg",
        ACCUMULATE,
        fresh::<Accumulate<Average>>,
        "The mean of all values so far.",
        &[("acc_avg([null, 1, 2, 3.5])", "[0,1,1.5,2.1666666666666665]")],
    ),
    row(
        "acc_min",
        ACCUMULATE,
        fresh::<Accumulate<Least>>,
        "The smallest value so far.",
        &[("acc_min([null, 4, 2, 9])", "[0,4,2,2]")],
    ),
    row(
        "acc_max",
        ACCUMULATE,
        fresh::<Accumulate<Greatest>>,
        "The largest value so far.",
        &[("acc_max([null, -4, -9, 2])", "[0,-4,-4,2]")],
    ),
    row(
        "inc_sum",
        NUMBER,
        fresh::<Running<moments::Sum, true>>,
        "The sum so far.",
        &[("inc_sum([1, 2, null, 3])", "[1,3,null,6]"), ("inc_sum([1, \"2.5\", true])", "[1,3.5,4.5]")],
    ),
    row(
        "inc_avg",
        NUMBER,
        fresh::<Running<moments::Avg, true>>,
        "The mean so far.",
        &[("inc_avg([1, 2, 6])", "[1,1.5,3]")],
    ),
    row(
        "inc_count",
        ANY,
        fresh::<Running<moments::Count, false>>,
        "How many values came so far.",
        &[("inc_count([1, null, \"x\"])", "[1,null,2]")],
    ),
    row(
        "inc_max",
        NUMBER,
        fresh::<Running<Extreme<true>, false>>,
        "The largest value so far.",
        &[("inc_max([1, 5, 3])", "[1,5,5]"), ("inc_max([1, \"x\", 3])", "[1,null,3]")],
    ),
    row(
        "inc_min",
        NUMBER,
        fresh::<Running<Extreme<false>, false>>,
        "The smallest value so far.",
        &[("inc_min([4, 5, 3])", "[4,4,3]")],
    ),
    row(
        "inc_collect",
        ANY,
        fresh::<Running<Collect, false>>,
        "All values so far.",
        &[("inc_collect([1, null, \"x\"])", "[[1],null,[1,\"x\"]]")],
    ),
    row(
        "inc_merge_agg",
        ANY,
        fresh::<Running<MergeAgg, false>>,
        "One object of all objects so far.",
        &[("inc_merge_agg([{\"a\":1}, {\"b\":2}])", "[{\"a\":1},{\"a\":1,\"b\":2}]")],
    ),
    row(
        "inc_last_value",
        LAST,
        fresh::<Running<LastValue, false>>,
        "The last value.",
        &[("inc_last_value([1, null, 3], [true, true, true])", "[1,null,3]")],
    ),
    planned(
        "changed_cols",
        CHANGED_COLS,
        Family::Multi,
        "Only the columns that changed, under prefix and name.",
    ),
    planned("last_hit_count", &[], Family::Analytic, "How many rows before this one passed the condition."),
    planned(
        "last_hit_time",
        &[],
        Family::Analytic,
        "When the last row before this one passed, epoch ms; 0 at first.",
    ),
    planned(
        "dedup_trigger",
        DEDUP_TRIGGER,
        Family::Multi,
        "The parts of [start, end) that no row before has covered; the row waits until now has come to end.",
    ),
    planned("row_number", &[], Family::Analytic, "The number of the row in its result, from 1."),
    planned("window_start", &[], Family::Meta, "Where the window begins, epoch ms; null outside windows."),
    planned("window_end", &[], Family::Meta, "Where the window ends, epoch ms; null outside windows."),
    planned("window_trigger", &[], Family::Meta, "When the window fired, epoch ms; null outside windows."),
    planned("event_time", &[], Family::Meta, "The row's time, epoch ms; of a group the window's trigger."),
    planned("rule_id", &[], Family::Meta, "The name of the rule."),
    planned("rule_start", &[], Family::Meta, "When the rule was started, epoch ms."),
    planned("meta", META, Family::Meta, "A member of the message's metadata; meta(*) is all of it."),
    planned("mqtt", META, Family::Meta, "The topic or messageid of an MQTT message."),
];

/// What the planner puts for had_changed and changed_cols over `*` of a stream without schema: the row is their last
/// argument, one object.
pub static OVER_MEMBERS: [Function; 2] = [
    row("had_changed", CHANGED, fresh::<HadChangedMember>, "Whether any member of the row has changed.", &[]),
    row("changed_cols", CHANGED, fresh::<ChangedMembers>, "The members of the row that have changed.", &[]),
];

const LAST: &[Arg] = &[Arg::new("x", ArgKind::Any), Arg::new("ignore_null", ArgKind::Number)];
const DEDUP_TRIGGER: &[Arg] = &[
    Arg::new("start", ArgKind::Any),
    Arg::new("end", ArgKind::Any),
    Arg::new("now", ArgKind::Any),
    Arg::new("expire", ArgKind::Number),
];
const META: &[Arg] = &[Arg::new("key", ArgKind::Any)];

fn fresh<A: Analytic + Default + 'static>() -> Box<dyn Analytic> {
    Box::new(A::default())
}

const fn row(
    name: &'static str,
    args: &'static [Arg],
    new: fn() -> Box<dyn Analytic>,
    summary: &'static str,
    examples: &'static [(&'static str, &'static str)],
) -> Function {
    let doc = Doc { family: Family::Analytic, summary, examples };
    Function { name, aliases: &[], args, kind: FunctionKind::Analytic(new), nulls: Nulls::Own, doc }
}

const fn planned(
    name: &'static str,
    args: &'static [Arg],
    family: Family,
    summary: &'static str,
) -> Function {
    let doc = Doc { family, summary, examples: &[] };
    Function { name, aliases: &[], args, kind: FunctionKind::Planned, nulls: Nulls::Own, doc }
}

#[cfg(test)]
mod tests;
