//! Calls under way: they are let end before another process takes the place of the one that serves them.

use std::sync::Arc;
use std::time::Duration;

use crate::channel::Deadline;
use crate::plugin::{Phase, Plugin};

/// Calls under way in one life.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) life: u64,
    plugin: Arc<Plugin>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = self.plugin.state();
        state.n_entered -= 1;
        let is_awaited = state.n_entered == 0 && state.phase != Phase::Running;
        drop(state);
        if is_awaited {
            self.plugin.changed.notify_all();
        }
    }
}

impl Plugin {
    /// The same as [`Plugin::life`] for calls, which are let end before another process takes the place of this one.
    pub(crate) fn enter(self: &Arc<Self>, patience: Duration) -> Result<Entered, String> {
        let mut state = self.state();
        let deadline = Deadline::after(patience);
        while state.phase == Phase::Starting && !deadline.is_over() {
            state = self.wait(state, deadline);
        }
        if state.phase != Phase::Running {
            return Err(self.why_not(&state));
        }
        state.n_entered += 1;
        Ok(Entered { life: state.life, plugin: Arc::clone(self) })
    }

    /// Lets the calls under way end, for so long at most, and those that come wait as they do while a process starts:
    /// another process is about to take the place of this one.
    pub(crate) fn hold(&self, patience: Duration) {
        let mut state = self.state();
        if state.phase == Phase::Running {
            state.enter(Phase::Starting);
        }
        let deadline = Deadline::after(patience);
        while state.n_entered > 0 && state.pid.is_some() && !deadline.is_over() {
            state = self.wait(state, deadline);
        }
    }
}
