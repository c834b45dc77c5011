//! SQL text to a tree with positions, and back to text (`sql.md` chapters 1, 2 and 5).
//!
//! Nothing here knows which streams, functions or columns exist.

pub mod ast;

pub use ast::{Query, Select, Statement};
