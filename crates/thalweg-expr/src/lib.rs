//! Bound expressions and their evaluation over batches; the table of functions.
//!
//! No names are left here: a column is a slot, a function is a row of the table. Nothing here knows SQL text,
//! streams, rules or the system's clock.

pub mod aggregate;
pub mod analytic;
mod arith;
pub mod builtin;
pub mod codec;
mod compare;
pub mod eval;
pub mod expr;
pub mod filter;
pub mod function;
pub mod instance;
mod kernel;
mod like;
mod logic;
pub mod manual;
mod numbers;
mod path;
mod patterns;
pub mod registry;
#[cfg(test)]
mod testing;
mod texts;
pub mod walk;

pub use aggregate::{Accumulator, GroupId};
pub use analytic::Analytic;
/// The zone in [`EvalCx`], for those who make one.
pub use chrono_tz::Tz;
pub use eval::eval_all;
pub use expr::{Context, EvalCx, Expr, Literal, Once, Step};
pub use filter::Filtered;
pub use function::{
    Accumulate, AccumulatorStep, Accumulators, Arg, ArgKind, CallCx, CallSite, Doc, Family, Frame, Function,
    FunctionKind, FunctionRef, Nulls, RemoteFunction,
};
pub use instance::{Instance, KeyedState};
pub use patterns::Patterns;
pub use registry::{FunctionRegistry, RemoteFunctions};
pub use walk::ExprKey;
