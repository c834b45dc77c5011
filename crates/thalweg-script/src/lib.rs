//! Functions written in JavaScript, as expressions see them (`rest-api.md` 12, `functions.md` 19).
//!
//! [`ScriptHost`] knows the scripts by their names and checks new ones. Each call in a statement has an interpreter of
//! its own (`vm.rs`): two calls share nothing, a script reaches neither files nor network nor processes, and time,
//! memory and stack of a call have limits. Rows cross the border a batch at a time: numbers as arrays that both sides
//! see, everything else value by value (`into_js.rs`, `from_js.rs`), and the loop over the rows is itself JavaScript.
//! Where scripts are kept is the caller's business ([`Shelf`]); nothing here knows SQL, rules or REST.

mod board;
mod fault;
mod from_js;
mod function;
mod host;
mod into_js;
mod limits;
mod logs;
mod script;
mod tools;
mod vm;
mod watch;

pub use host::{ScriptHost, Shelf};
pub use limits::Limits;
pub use script::{Script, ScriptError};

#[cfg(test)]
mod tests;
