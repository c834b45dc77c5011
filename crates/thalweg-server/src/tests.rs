//! The REST interface over a real socket, against an engine in this process.

mod client;
mod connections;
mod devices;
mod plugins;
mod profiles;
mod rules;
mod schemas;
#[cfg(feature = "javascript")]
mod scripts;
mod streams;
