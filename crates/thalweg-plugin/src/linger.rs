//! Who uses which function: a channel that no rule uses any more is closed after a while (`portable-plugins.md` 6).
//!
//! A thread waits for that while there is something to wait for.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::channel::Deadline;

#[derive(Default)]
pub(crate) struct Linger {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    users: BTreeMap<String, usize>,
    /// Functions without users, and until when they are kept.
    idle: BTreeMap<String, Deadline>,
    has_thread: bool,
    is_over: bool,
}

impl Linger {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more user.
    pub(crate) fn enter(&self, function: &str) {
        let mut state = self.lock();
        state.idle.remove(function);
        *state.users.entry(function.to_owned()).or_default() += 1;
    }

    /// One user less. After the last one `close` is called with the name, unless another comes within `wait`.
    pub(crate) fn leave(
        self: &Arc<Self>,
        function: &str,
        wait: Duration,
        close: impl Fn(&str) + Send + 'static,
    ) {
        let mut state = self.lock();
        let Some(users) = state.users.get_mut(function) else { return };
        *users -= 1;
        if *users > 0 || state.is_over {
            return;
        }
        state.users.remove(function);
        state.idle.insert(function.to_owned(), Deadline::after(wait));
        if !state.has_thread {
            let this = Arc::clone(self);
            let thread = std::thread::Builder::new().name("plugin-linger".to_owned());
            // Without a thread the channel stays open, which costs little.
            state.has_thread = thread.spawn(move || this.run(&close)).is_ok();
        }
        drop(state);
        self.changed.notify_all();
    }

    pub(crate) fn is_used(&self, function: &str) -> bool {
        self.lock().users.contains_key(function)
    }

    /// Nothing is waited for any more.
    pub(crate) fn end(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }

    fn run(&self, close: &dyn Fn(&str)) {
        let mut state = self.lock();
        while !state.is_over && !state.idle.is_empty() {
            let due = state.idle.iter().find(|(_, until)| until.is_over()).map(|(name, _)| name.clone());
            if let Some(name) = due {
                state.idle.remove(&name);
                drop(state);
                close(&name);
                state = self.lock();
                continue;
            }
            let wait =
                state.idle.values().fold(Duration::from_secs(3600), |wait, until| until.left_at_most(wait));
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.has_thread = false;
    }
}
