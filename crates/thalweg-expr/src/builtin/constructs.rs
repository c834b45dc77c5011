//! Table: windows, which are written like calls but are part of GROUP BY; the parser knows them, not the registry.

use crate::function::{Arg, ArgKind, Doc, Family, Function, FunctionKind, Nulls};

const LENGTH: &[Arg] = &[Arg::new("unit", ArgKind::Any), Arg::new("length", ArgKind::LiteralInt)];
const HOPPING: &[Arg] = &[
    Arg::new("unit", ArgKind::Any),
    Arg::new("length", ArgKind::LiteralInt),
    Arg::new("hop", ArgKind::LiteralInt),
];
const SLIDING: &[Arg] = &[
    Arg::new("unit", ArgKind::Any),
    Arg::new("length", ArgKind::LiteralInt),
    Arg::new("delay", ArgKind::LiteralInt).optional(),
];
const SESSION: &[Arg] = &[
    Arg::new("unit", ArgKind::Any),
    Arg::new("length", ArgKind::LiteralInt),
    Arg::new("timeout", ArgKind::LiteralInt),
];
const COUNT: &[Arg] =
    &[Arg::new("rows", ArgKind::LiteralInt), Arg::new("interval", ArgKind::LiteralInt).optional()];
const STATE: &[Arg] = &[Arg::new("begin", ArgKind::Bool), Arg::new("emit", ArgKind::Bool).optional()];

/// The table.
pub(super) const TABLE: &[Function] = &[
    window("tumblingwindow", LENGTH, "Windows of a fixed length, one after the other."),
    window("hoppingwindow", HOPPING, "Windows of a fixed length that overlap."),
    window("slidingwindow", SLIDING, "A window around each row."),
    window("sessionwindow", SESSION, "Rows between two pauses."),
    window("countwindow", COUNT, "A fixed number of rows."),
    window("statewindow", STATE, "Rows from one condition to another."),
];

const fn window(name: &'static str, args: &'static [Arg], summary: &'static str) -> Function {
    let doc = Doc { family: Family::Window, summary, examples: &[] };
    Function { name, aliases: &[], args, kind: FunctionKind::Planned, nulls: Nulls::Own, doc }
}
