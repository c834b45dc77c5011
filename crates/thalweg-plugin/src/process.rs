//! The processes behind a plugin: started, awaited, started again (`portable-plugins.md` 9).
//!
//! One thread per plugin starts each process and waits for its end. It is the same thread for both because the
//! kernel ties the parent-death signal to the thread that started the process.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use crate::channel::Deadline;
use tracing::{info, warn};

use crate::cgroup::Cgroup;
use crate::group;
use crate::package::Launch;
use crate::plugin::{Phase, Plugin};
use crate::sockets;
use crate::sys;
use crate::watch::watch;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A process that has lived so long is healthy: the next pause is the first one again.
const HEALTHY: Duration = Duration::from_secs(60);

/// Keeps a process alive while the plugin is wanted.
pub(crate) fn supervise(plugin: &Arc<Plugin>) -> io::Result<()> {
    let plugin = Arc::clone(plugin);
    let thread = std::thread::Builder::new().name("plugin".to_owned());
    thread.spawn(move || run(&plugin)).map(drop)
}

fn run(plugin: &Arc<Plugin>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let healthy = Deadline::after(HEALTHY);
        let reason = live(plugin);
        if healthy.is_over() {
            pause = FIRST_PAUSE;
        }
        if !pause_before_next(plugin, &reason, pause) {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits until the next process is due; false when there shall be none.
fn pause_before_next(plugin: &Plugin, reason: &str, pause: Duration) -> bool {
    let mut state = plugin.state();
    if state.wanted {
        warn!(plugin = %plugin.name, "plugin {} ended ({reason}); next try in {} ms", plugin.name, pause.as_millis());
        let deadline = Deadline::after(pause);
        while state.wanted && !state.hurry && !deadline.is_over() {
            state = plugin.wait(state, deadline);
        }
    }
    state.hurry = false;
    if state.wanted {
        state.restarts += 1;
    } else {
        let next = state.after_stop;
        state.enter(next);
        state.is_supervised = false;
    }
    let goes_on = state.wanted;
    drop(state);
    plugin.changed.notify_all();
    goes_on
}

/// One life: returns why it ended.
fn live(plugin: &Arc<Plugin>) -> String {
    let life = begin(plugin);
    let reason = match spawn(plugin) {
        Err(error) => error,
        Ok((mut child, kept)) => {
            let pid = child.id();
            let opener = {
                let plugin = Arc::clone(plugin);
                std::thread::Builder::new()
                    .name("plugin-start".to_owned())
                    .spawn(move || bring_up(&plugin, life, pid))
            };
            if opener.is_err() {
                sys::signal_group(pid as i32, sys::KILL);
            }
            let status = child.wait();
            if kept.is_some_and(|kept| kept.was_out_of_memory()) {
                let mut state = plugin.state();
                let reason = format!("signal 9: {}", state.limits.memory_exceeded());
                state.kill_reason.get_or_insert(reason);
            }
            // Whatever the process has started goes with it.
            sys::signal_group(pid as i32, sys::KILL);
            group::end_marked(&plugin.mark());
            let words = plugin.output.last_words();
            describe(status, words)
        }
    };
    end(plugin, &reason)
}

fn begin(plugin: &Plugin) -> u64 {
    let control = plugin.state().control.clone();
    if let Some(control) = control {
        // Nothing of an earlier process may be taken for this one's handshake.
        control.disconnect();
    }
    let mut state = plugin.state();
    state.life += 1;
    state.enter(Phase::Starting);
    state.kill_reason = None;
    state.peer = Arc::default();
    state.life
}

/// Starts a process, in a group that the kernel keeps within its limits where that can be.
fn spawn(plugin: &Arc<Plugin>) -> Result<(Child, Option<Arc<Cgroup>>), String> {
    let mut state = plugin.state();
    if !state.wanted {
        return Err("stopped".to_owned());
    }
    let Some(package) = state.package.clone() else {
        return Err("no package".to_owned());
    };
    plugin.set_group(None, true);
    let limits = state.limits;
    let spawned = package.spawn(&Launch { config: &plugin.config, limits, sockets: plugin.socket_folder() });
    plugin.set_group(spawned.as_ref().ok().map(Child::id), false);
    let mut child = spawned?;
    state.pid = Some(child.id());
    plugin.output.begin(child.id());
    info!(plugin = %plugin.name, pid = child.id(), "plugin {} started", plugin.name);
    let kept = Cgroup::around((&plugin.name, state.life), child.id(), &limits).map(Arc::new);
    state.is_kept_by_kernel = kept.is_some();
    if limits.needs_watch() {
        watch(plugin, (state.life, child.id() as i32), limits, kept.clone());
    }
    if let Some(pipe) = child.stdout.take() {
        plugin.output.follow(&plugin.name, pipe, false);
    }
    if let Some(pipe) = child.stderr.take() {
        plugin.output.follow(&plugin.name, pipe, true);
    }
    Ok((child, kept))
}

/// Waits for the handshake and starts the symbols again. Runs beside the thread that waits for the process.
fn bring_up(plugin: &Plugin, life: u64, pid: u32) {
    let Some(control) = plugin.state().control.clone() else {
        return;
    };
    let is_over = || {
        let state = plugin.state();
        state.life != life || state.pid.is_none() || !state.wanted
    };
    let patience = plugin.config.init_timeout;
    if !control.wait_request(Deadline::after(patience), &is_over) {
        if !is_over() {
            let mut reason = format!("no handshake within {}ms", patience.as_millis());
            let folder = plugin.socket_folder();
            if folder != Path::new(sockets::USUAL) {
                let where_to = format!(
                    "; another engine has its names in {}, and it does not look into {}",
                    sockets::USUAL,
                    folder.display()
                );
                reason.push_str(&where_to);
            }
            plugin.state().kill_reason = Some(reason);
            sys::signal_group(pid as i32, sys::KILL);
        }
        return;
    }
    if let Err(why) = plugin.greet(&control, life, patience) {
        if !is_over() {
            plugin.state().kill_reason = Some(why);
            sys::signal_group(pid as i32, sys::KILL);
        }
        return;
    }
    plugin.replay(life);
    let mut state = plugin.state();
    if state.life == life && state.pid.is_some() {
        state.enter(Phase::Running);
        state.error.clear();
        state.failed_starts = 0;
        drop(state);
        plugin.changed.notify_all();
        plugin.feel_pulse(life);
    }
}

fn end(plugin: &Plugin, reason: &str) -> String {
    plugin.set_group(None, false);
    let mut state = plugin.state();
    let reason = state.kill_reason.take().unwrap_or_else(|| reason.to_owned());
    state.pid = None;
    state.failed_starts =
        if state.phase == Phase::Running { 0 } else { state.failed_starts.saturating_add(1) };
    let next = if state.wanted { Phase::Error } else { state.after_stop };
    state.enter(next);
    state.error = reason.clone();
    state.last_exit = Some(reason.clone());
    let control = state.control.clone();
    drop(state);
    plugin.changed.notify_all();
    if let Some(control) = control {
        control.wake();
    }
    reason
}

fn describe(status: io::Result<ExitStatus>, words: Option<String>) -> String {
    let status = match status {
        Err(error) => return format!("lost: {error}"),
        Ok(status) => status,
    };
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown end".to_owned(),
    };
    match words {
        Some(words) if status.code() != Some(0) && status.signal().is_none() => format!("{how}: {words}"),
        _ => how,
    }
}
