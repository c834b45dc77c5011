//! Process groups and signals, which the standard library does not know.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

pub(crate) const TERMINATE: i32 = libc::SIGTERM;
pub(crate) const KILL: i32 = libc::SIGKILL;
pub(crate) const STOP: i32 = libc::SIGSTOP;
pub(crate) const CONTINUE: i32 = libc::SIGCONT;

/// The user of this process.
pub(crate) fn own_user() -> u32 {
    // SAFETY: the call has no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

/// The process group of a process; `None` when there is no such process.
pub(crate) fn group_of(pid: i32) -> Option<i32> {
    // SAFETY: the call takes a number and touches no memory.
    let group = unsafe { libc::getpgid(pid) };
    (group >= 0).then_some(group)
}

/// Signals all processes of a group. That there are none left is no error.
pub(crate) fn signal_group(group: i32, signal: i32) {
    if group > 1 {
        // SAFETY: the call takes numbers and touches no memory. A group above 1 is not ours nor everybody.
        unsafe { libc::kill(-group, signal) };
    }
}

/// Kills one process. That there is none any more is no error.
pub(crate) fn kill(pid: i32) {
    if pid > 1 {
        // SAFETY: the call takes numbers and touches no memory. An id above 1 is one process, and not the first one.
        unsafe { libc::kill(pid, KILL) };
    }
}

/// The unit of processor times in `/proc`.
pub(crate) fn ticks_a_second() -> u64 {
    // SAFETY: the call takes a number and touches no memory.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// Lets the process, and what it starts, have so many files and sockets open at most.
pub(crate) fn limit_open_files(command: &mut Command, n_files: u64) {
    // SAFETY: between fork and exec only `setrlimit` is called, which is async-signal-safe, on a value that the
    // closure owns.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: n_files as libc::rlim_t, rlim_max: n_files as libc::rlim_t };
            match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
}

/// Gives the process a group of its own and lets the kernel kill it when the thread that starts it ends, which is
/// the case when the engine dies in whatever way.
pub(crate) fn detach(command: &mut Command) {
    command.process_group(0);
    #[cfg(target_os = "linux")]
    // SAFETY: between fork and exec only `prctl` and `getppid` are called, which are async-signal-safe.
    unsafe {
        let parent = std::process::id();
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The engine does without huge pages to stay small, which a process would inherit: numpy asks for them.
            let _ = libc::prctl(libc::PR_SET_THP_DISABLE, 0, 0, 0, 0);
            // The parent may have died before.
            if libc::getppid() as u32 != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}
