//! Bound expressions and their evaluation over batches; the table of functions.
//!
//! No names are left here: a column is a slot, a function is a row of the table. Nothing here knows SQL text,
//! streams, rules or the system's clock.

pub mod aggregate;
pub mod analytic;
pub mod builtin;
pub mod expr;
pub mod function;
pub mod registry;

pub use aggregate::{Accumulator, GroupId};
pub use analytic::Analytic;
pub use expr::{Context, EvalCx, Expr, Step};
pub use function::{Arg, ArgKind, CallCx, Doc, Family, Frame, Function, FunctionKind, FunctionRef, RemoteFunction};
pub use registry::{FunctionRegistry, RemoteFunctions};
