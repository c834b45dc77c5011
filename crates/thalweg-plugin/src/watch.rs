//! Keeps a plugin's processes within their limits: looks at what they use, slows them down, ends them.
//!
//! One thread for each process that has such limits. Memory is looked at ten times a second, so that a plugin may be
//! over its limit for a moment; time on the processor is given out beforehand and the group is stopped while it is in
//! debt. Where the kernel keeps both (`cgroup.rs`) no plugin is over its limit, and none is stopped: it gets its share.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::cgroup::Cgroup;
use crate::group::{self, PluginUsage};
use crate::limits::PluginLimits;
use crate::plugin::{Phase, Plugin};
use crate::sys;

const TICK: Duration = Duration::from_millis(100);
/// New processes of the group are looked for this often, in ticks; at every tick if their number is limited.
const SEARCH: u32 = 10;
/// Time on the processor that a plugin which was idle may use at once, in milliseconds of its share.
const SAVED_MS: f64 = 500.0;

/// Watches one life, of a process group, until it ends.
pub(crate) fn watch(
    plugin: &Arc<Plugin>,
    (life, group): (u64, i32),
    limits: PluginLimits,
    kept: Option<Arc<Cgroup>>,
) {
    let (watched, members) = (Arc::clone(plugin), Vec::new());
    let watcher = Watcher { plugin: watched, life, group, limits, kept, members, credit: SAVED_MS, used: 0 };
    let thread = std::thread::Builder::new().name("plugin-watch".to_owned());
    if let Err(error) = thread.spawn(move || watcher.run()) {
        warn!(plugin = %plugin.name, "the limits of plugin {} are not watched: {error}", plugin.name);
    }
}

struct Watcher {
    plugin: Arc<Plugin>,
    life: u64,
    group: i32,
    limits: PluginLimits,
    /// The kernel keeps the limits as well.
    kept: Option<Arc<Cgroup>>,
    members: Vec<i32>,
    /// Milliseconds on the processor that may still be used.
    credit: f64,
    /// Those used at the last look; where the kernel keeps the share, those that were waited for.
    used: u64,
}

impl Watcher {
    fn run(mut self) {
        let mut tick = 0;
        while self.plugin.pause_in(self.life, TICK) {
            if tick % SEARCH == 0 || self.limits.processes.is_some() {
                self.members = group::members(self.group);
            }
            tick = (tick + 1) % SEARCH;
            let usage = group::usage(&self.members);
            if let Some(reason) = self.excess(&usage) {
                return self.end(reason);
            }
            match self.kept.as_ref().map(|kept| kept.throttled()) {
                Some(waited) => self.note(waited),
                None => self.throttle(&usage),
            }
        }
    }

    fn excess(&self, usage: &PluginUsage) -> Option<String> {
        if self.limits.memory.is_some_and(|limit| usage.memory_bytes > limit) {
            return Some(self.limits.memory_exceeded());
        }
        // Until it runs, its processes may be those of a launcher, which are many and short.
        if self.plugin.state().phase != Phase::Running {
            return None;
        }
        if let Some(limit) = self.limits.processes.filter(|limit| usage.processes > *limit) {
            return Some(format!("went over its limit of {limit} processes"));
        }
        let limit = self.limits.hang_timeout?;
        let (_, what) = self.plugin.owes().filter(|(owed, _)| *owed > limit)?;
        Some(format!("did not answer for {}ms {what}", limit.as_millis()))
    }

    fn end(&self, reason: String) {
        let mut state = self.plugin.state();
        if state.life == self.life && state.pid.is_some() {
            state.kill_reason = Some(format!("signal 9: {reason}"));
            sys::signal_group(self.group, sys::KILL);
        }
    }

    /// Notes how long the kernel has held the processes back since the last look.
    fn note(&mut self, waited: Duration) {
        let waited = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        let before = std::mem::replace(&mut self.used, waited);
        self.plugin.set_throttled(Duration::from_millis(waited.saturating_sub(before)));
    }

    /// Stops the group until its share has made up for what it has used.
    fn throttle(&mut self, usage: &PluginUsage) {
        let Some(share) = self.limits.cpu else { return };
        let used = usage.cpu_ms.saturating_sub(std::mem::replace(&mut self.used, usage.cpu_ms));
        let earned = TICK.as_secs_f64() * 1_000.0 * share;
        self.credit = (self.credit + earned).min(SAVED_MS * share) - used as f64;
        if self.credit >= 0.0 {
            return;
        }
        let pause = Duration::from_secs_f64((-self.credit / share / 1_000.0).min(60.0));
        self.plugin.set_throttled(pause);
        sys::signal_group(self.group, sys::STOP);
        self.plugin.pause_in(self.life, pause);
        sys::signal_group(self.group, sys::CONTINUE);
        self.plugin.set_throttled(Duration::ZERO);
        // It has earned during the pause what it owed; the tick that follows counts on its own.
        self.credit = 0.0;
    }
}
