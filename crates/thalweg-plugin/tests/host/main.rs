//! The acceptance tests of `docs/compat/portable-plugins.md` 14 that concern sections 1 to 10, on the bundled module
//! and on the unmodified package from PyPI.

// Everything here is a test, also what has no attribute of one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod accumulators;
mod arrow;
mod batches;
mod control;
mod faults;
mod feeds;
mod flows;
mod functions;
mod health;
mod life;
mod limits;
mod ports;
mod python;
mod python_run;
mod subject;
mod two_engines;
mod wheel;
