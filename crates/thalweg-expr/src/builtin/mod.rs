//! Built-in functions, one file a family. This file holds the table of tables and nothing else.

use crate::function::Function;

mod aggregate;
mod analytic;

/// Every family's table.
pub const TABLES: &[&[Function]] = &[aggregate::TABLE, analytic::TABLE];

#[cfg(test)]
mod tests;
