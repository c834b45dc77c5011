//! Built-in functions, one file a family. This file holds the table of tables and nothing else.

use crate::function::Function;

/// Every family's table.
pub const TABLES: &[&[Function]] = &[];
