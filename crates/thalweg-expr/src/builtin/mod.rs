//! Built-in functions, one file a family. This file holds the table of tables and how its rows are written.

use crate::function::{Arg, ArgKind, Function};

/// Rows of scalar functions: name, aliases, arguments, null rule, function, summary, examples.
macro_rules! functions {
    ($family:ident $(
        $name:literal $([$($alias:literal),*])? ($args:expr) $nulls:ident $call:expr,
        $summary:literal, $examples:expr;
    )*) => {
        /// The table.
        pub(super) const TABLE: &[crate::function::Function] = &[$(
            crate::function::Function {
                name: $name,
                aliases: &[$($($alias),*)?],
                args: $args,
                kind: crate::function::FunctionKind::Row($call),
                nulls: crate::function::Nulls::$nulls,
                doc: crate::function::Doc {
                    family: crate::function::Family::$family,
                    summary: $summary,
                    examples: $examples,
                },
            },
        )*];
    };
}

mod aggregate;
mod analytic;
mod args;
mod array;
mod compress;
mod constructs;
mod convert;
mod datetime;
mod geohash;
mod hash;
mod image;
mod json;
mod math;
mod multi;
mod object;
mod other;
mod shipped;
mod text;

pub use other::property;

/// Every family's table.
pub const TABLES: &[&[Function]] = &[
    aggregate::TABLE,
    analytic::TABLE,
    math::TABLE,
    text::TABLE,
    text::PATTERNS,
    convert::TABLE,
    compress::TABLE,
    array::TABLE,
    object::TABLE,
    datetime::TABLE,
    hash::TABLE,
    json::TABLE,
    json::PATHS,
    multi::TABLE,
    other::TABLE,
];

/// Functions that upstream ships as plugins: found by their exact names, behind everybody else's.
pub const SHIPPED: &[&[Function]] = &[shipped::TABLE, geohash::TABLE];

/// What is written like a call and is none.
pub const CONSTRUCTS: &[Function] = constructs::TABLE;

pub use analytic::OVER_MEMBERS;

const NONE: &[Arg] = &[];
const ANY: &[Arg] = &[Arg::new("x", ArgKind::Any)];
const NUMBER: &[Arg] = &[Arg::new("x", ArgKind::Number)];
const TEXT: &[Arg] = &[Arg::new("text", ArgKind::Text)];

#[cfg(test)]
mod tests;
