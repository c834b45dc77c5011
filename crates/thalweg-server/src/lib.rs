//! The thalweg binary: REST, configuration, command line, demo.
//!
//! The only crate that reads files and variables for configuration, speaks HTTP to clients, and prints.

pub mod broker;
pub mod cli;
pub mod config;
mod data_port;
pub mod demo;
pub mod environment;
pub mod home;
mod logging;
mod machine;
mod metrics_dump;
mod profiles;
mod provision;
mod rest;
mod ruleset;
#[cfg(feature = "javascript")]
mod scripts;
pub mod secure;
mod server;
mod transfer;
mod uploads;
mod usage;
mod wiring;
pub mod yaml;

pub use server::{RunningServer, ServeOptions, start};

/// The version of eKuiper whose interface this is.
pub const UPSTREAM_VERSION: &str = "2.4.0";

#[cfg(test)]
mod tests;
