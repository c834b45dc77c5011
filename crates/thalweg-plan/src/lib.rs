//! Names become slots, a SELECT becomes a plan: bind, validate, optimise, name, explain.
//!
//! Pure functions: no I/O, no clock, no connector's name. The outside is seen through [`Resolver`] only.

pub mod logical;

pub use thalweg_sql::ast::{JoinKind, TimeUnit};

pub use logical::{Kind, Node, Plan, PlanOptions, Resolver, StreamDef};
