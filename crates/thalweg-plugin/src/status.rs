//! `GET /plugins/portables/{name}/status`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::control::SymbolMetrics;
use crate::group::PluginUsage;
use crate::health::PluginTrouble;
use crate::limits::PluginLimits;

/// The state of a plugin. The first three fields are upstream's; ours follow.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginStatus {
    /// Started sources and sinks by rule.
    pub ref_count: BTreeMap<String, usize>,
    /// `initializing`, `running`, `error` or `stop`.
    pub status: String,
    /// Why it is in error.
    pub err_msg: String,
    /// The process, while there is one.
    pub pid: Option<u32>,
    /// The package's version.
    pub version: String,
    /// Since when it runs, or does not, in milliseconds since 1970.
    pub since: i64,
    /// Processes started after the first.
    pub restarts: u64,
    /// How the last process ended.
    pub last_exit: Option<String>,
    /// Commands that wait on the control channel.
    pub queue: usize,
    /// What is started.
    pub symbols: Vec<SymbolStatus>,
    /// `ok`, `degraded` or `failing`.
    pub health: &'static str,
    /// Why it is not well.
    pub health_reasons: Vec<PluginTrouble>,
    /// What its processes may use: the configuration's limits and its own.
    pub limits: PluginLimits,
    /// Who keeps the limits of memory and processor: `cgroup` (the kernel) or `engine`, which looks ten times a second.
    pub limits_by: &'static str,
    /// What they use, while there are any.
    pub usage: Option<PluginUsage>,
    /// The time for which they were stopped because of `limits.cpu`, in milliseconds.
    pub throttled_ms: u64,
    /// The last lines that the process printed.
    pub log: Vec<String>,
    /// The SDK that the process runs on, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk: Option<String>,
    /// What is in force on its control, source and sink channels beyond the protocol of old.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<&'static str>,
}

/// One started function, source or sink.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SymbolStatus {
    /// `function`, `source` or `sink`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The rule; empty for functions.
    pub rule: String,
    /// Whether it runs in the present process.
    pub running: bool,
    /// Why not.
    pub error: Option<String>,
    /// For functions whose channel is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<CallTimes>,
    /// What it has counted in its latest process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SymbolMetrics>,
}

/// What calls of a function have taken altogether since its channel was opened, over all rules (section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallTimes {
    /// How many there were.
    pub calls: u64,
    /// They waited for the calls of other rules so long, in microseconds.
    pub waiting_us: u64,
    /// They took so long, in microseconds.
    pub calling_us: u64,
}
