//! The test harness: cases as text, what they expect, and ways to run them.

// A harness says what is wrong by panicking.
#![allow(clippy::panic)]

pub mod case;
pub mod compare;
pub mod golden;
pub mod http;
pub mod in_process;
pub mod instance;
pub mod migration;
pub mod mqtt;
pub mod plugins;
pub mod processes;
pub mod reference;
pub mod rest;
mod tables;
pub mod wait;
