//! Each operator as text: SQL and rows in, messages out.

use super::testing::{Options, Rig, check, check_event_time, check_with, messages, plan};

mod accumulators;
mod corpus;
mod folds;
mod joins;
mod memory;
mod rows;
mod states;
mod windows;
