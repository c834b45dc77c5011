//! Runs portable plugins in their own processes and presents them as functions, sources and sinks.
//!
//! [`PluginHost`] installs and removes packages, keeps one process per plugin alive and registers what each plugin
//! declares, so that the rest of Thalweg cannot tell a plugin from a built-in. The protocol is that of
//! `docs/compat/portable-plugins.md` 1 to 10; the wire below it is the crate `thalweg-sp` (`channel.rs`). Nothing here knows
//! SQL, rules or REST.

mod blocking;
mod bundle;
mod catalog;
mod cgroup;
mod channel;
mod config;
mod consignment;
mod control;
mod entered;
mod error;
mod feed;
mod frame;
mod function;
mod greeting;
mod group;
mod health;
mod host;
mod install;
mod limits;
mod linger;
mod manifest;
mod mapped;
mod messages;
mod output;
mod pack;
mod package;
mod plugin;
mod process;
mod python;
mod sdk;
mod sink;
mod sockets;
mod source;
mod status;
mod symbol;
mod sys;
mod watch;
mod wire;

pub use bundle::{Bundle, name_in};
pub use config::{HostConfig, PythonConfig};
pub use control::{Pulse, SymbolMetrics};
pub use error::PluginError;
pub use greeting::PluginSettings;
pub use group::PluginUsage;
pub use health::PluginTrouble;
pub use host::{InstallRequest, PluginHost};
pub use limits::PluginLimits;
pub use manifest::PluginInfo;
pub use output::{LogLine, PluginLog};
pub use pack::{VIBRATION, pack};
pub use python::{Changed, Install, PythonError, PythonPlugins, Users, What};
pub use sdk::unpack_sdk;
pub use status::{CallTimes, PluginStatus, SymbolStatus};
