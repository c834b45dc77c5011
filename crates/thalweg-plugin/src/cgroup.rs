//! Control groups of Linux (version 2): limits that the kernel keeps, where whoever started the engine lets it make
//! groups (`portable-plugins.md` 3.1; the files are those of the kernel's `cgroup-v2` document).
//!
//! A group with processes of its own may not give controllers to others, so the engine first moves into one beside
//! those of its plugins. That is done when the first plugin with such a limit is started, and taken back if it leads
//! nowhere. Where there are no groups, or not ours, `watch.rs` alone looks after the limits.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::Duration;

use crate::limits::PluginLimits;

/// Where the kernel shows the groups.
const MOUNTED: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// What is asked of the group above.
const CONTROLLERS: [&str; 2] = ["memory", "cpu"];
/// The group of the engine itself.
const OWN: &str = "thalweg-engine";
/// What plugins' groups are called, before the engine's process and the plugin's name.
const PREFIX: &str = "thalweg-plugin";
/// The time over which a share of the processor is kept, in microseconds.
const PERIOD_US: f64 = 100_000.0;
/// So often, with a millisecond between, a group is asked to go whose last process is ending.
const PATIENCE: u32 = 200;

/// The group of one process of a plugin and of what that starts. It goes with its processes.
#[derive(Debug)]
pub(crate) struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// Puts a process that has just begun, of a plugin with this name and so many processes before, into a group with
    /// these limits. Nothing if there are none for the kernel to keep, or it does not let us.
    pub(crate) fn around(plugin: (&str, u64), pid: u32, limits: &PluginLimits) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        let own = own.trim_start_matches('/');
        MOUNTED.iter().find_map(|mounted| Self::below(&Path::new(mounted).join(own), plugin, pid, limits))
    }

    fn below(own: &Path, (plugin, life): (&str, u64), pid: u32, limits: &PluginLimits) -> Option<Self> {
        if limits.memory.is_none() && limits.cpu.is_none() {
            return None;
        }
        let above = delegated(own)?;
        remove_empty(&above);
        // No two lives have one name: whoever still holds the group of the last one must not end this one.
        let group = Self { folder: above.join(format!("{PREFIX}-{}-{life}-{plugin}", process::id())) };
        fs::create_dir(&group.folder).ok()?;
        // On any error the group goes again.
        group.limit(limits).and_then(|()| group.write("cgroup.procs", &pid.to_string())).ok()?;
        Some(group)
    }

    fn limit(&self, limits: &PluginLimits) -> io::Result<()> {
        if let Some(bytes) = limits.memory {
            self.write("memory.max", &bytes.to_string())?;
            // All of the plugin or nothing: half of it would not answer and not end.
            self.write("memory.oom.group", "1")?;
            // What counts as used is also what is swapped out. There may be no swap.
            let _ = self.write("memory.swap.max", "0");
        }
        let Some(cores) = limits.cpu else { return Ok(()) };
        self.write("cpu.max", &format!("{:.0} {PERIOD_US:.0}", cores * PERIOD_US))
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.folder.join(file), text)
    }

    /// Whether the kernel has ended processes of the group because of its memory.
    pub(crate) fn was_out_of_memory(&self) -> bool {
        self.number("memory.events", "oom_kill") > 0
    }

    /// The time for which its processes had to wait because of their share of the processor.
    pub(crate) fn throttled(&self) -> Duration {
        Duration::from_micros(self.number("cpu.stat", "throttled_usec"))
    }

    fn number(&self, file: &str, name: &str) -> u64 {
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }

    /// Ends what is in the group, also what has left its process group, and the group.
    fn end(&self) {
        for _ in 0..PATIENCE {
            if !self.folder.exists() {
                return;
            }
            let _ = self.write("cgroup.kill", "1");
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.end();
    }
}

/// Removes the groups that engines have left behind which were killed. One with processes stays.
fn remove_empty(above: &Path) {
    let entries = fs::read_dir(above).into_iter().flatten().flatten();
    let groups = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    groups.for_each(|group| drop(fs::remove_dir(group.path())));
}

/// The group below which plugins may have theirs, with the controllers that they need.
fn delegated(own: &Path) -> Option<PathBuf> {
    let has_moved = own.file_name().is_some_and(|name| name == OWN);
    let above = if has_moved { own.parent()? } else { own };
    // The kernel's topmost group has no type. It belongs to nobody.
    if !above.join("cgroup.type").exists() {
        return None;
    }
    let lists = |file: &str| {
        let listed = fs::read_to_string(above.join(file)).unwrap_or_default();
        CONTROLLERS.iter().all(|wanted| listed.split_whitespace().any(|name| name == *wanted))
    };
    if lists("cgroup.subtree_control") {
        return Some(above.to_owned());
    }
    if has_moved || !lists("cgroup.controllers") {
        return None;
    }
    let (room, pid) = (above.join(OWN), process::id().to_string());
    if !room.exists() {
        fs::create_dir(&room).ok()?;
    }
    let wanted = CONTROLLERS.map(|name| format!("+{name}")).join(" ");
    let moved = fs::write(room.join("cgroup.procs"), &pid)
        .and_then(|()| fs::write(above.join("cgroup.subtree_control"), wanted));
    if moved.is_err() || !lists("cgroup.subtree_control") {
        // Others are in the group as well: a shell, a container's first process.
        let _ = fs::write(above.join("cgroup.procs"), &pid);
        let _ = fs::remove_dir(&room);
        return None;
    }
    Some(above.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a group, as far as files go. The kernel is not there: what is written stays written.
    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        folder
    }

    fn limits() -> PluginLimits {
        PluginLimits { memory: Some(1 << 20), cpu: Some(0.25), ..PluginLimits::default() }
    }

    #[test]
    fn a_process_is_put_into_a_group_with_its_limits_where_plugins_may_have_groups() {
        let above = group(&[("cgroup.type", "domain\n"), ("cgroup.subtree_control", "cpu io memory\n")]);
        let kept = Cgroup::below(above.path(), ("p", 3), 4711, &limits()).expect("a group");
        let read = |name: &str| fs::read_to_string(kept.folder.join(name)).expect("a file");
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!(read("memory.oom.group"), "1");
        assert_eq!(read("cpu.max"), "25000 100000");
        assert_eq!(read("cgroup.procs"), "4711");
        assert!(kept.folder.ends_with(format!("thalweg-plugin-{}-3-p", process::id())));
        assert!(!kept.was_out_of_memory());
        fs::write(kept.folder.join("memory.events"), "low 0\noom 1\noom_kill 2\n").expect("a file");
        fs::write(kept.folder.join("cpu.stat"), "usage_usec 9\nthrottled_usec 1500\n").expect("a file");
        assert!(kept.was_out_of_memory());
        assert_eq!(kept.throttled(), Duration::from_micros(1500));
        // An engine that has moved already finds the group above.
        let room = above.path().join(OWN);
        fs::create_dir(&room).expect("a folder");
        assert_eq!(delegated(&room).as_deref(), Some(above.path()));
    }

    #[test]
    fn where_it_leads_nowhere_there_is_no_group_and_the_engine_stays_where_it_was() {
        let none = |files: &[(&str, &str)]| {
            let above = group(files);
            assert!(Cgroup::below(above.path(), ("p", 1), 1, &limits()).is_none(), "{files:?}");
            assert!(!above.path().join(OWN).exists());
            fs::read_to_string(above.path().join("cgroup.procs")).unwrap_or_default()
        };
        assert_eq!(none(&[]), "");
        assert_eq!(none(&[("cgroup.subtree_control", "memory cpu")]), "", "the kernel's topmost group");
        assert_eq!(none(&[("cgroup.type", "domain"), ("cgroup.controllers", "hugetlb")]), "");
        let above = group(&[("cgroup.type", "domain"), ("cgroup.subtree_control", "memory cpu")]);
        assert!(
            Cgroup::below(above.path(), ("p", 1), 1, &PluginLimits::default()).is_none(),
            "nothing to keep"
        );
    }

    #[test]
    fn the_engine_moves_aside_and_asks_for_the_controllers() {
        let above = group(&[("cgroup.type", "domain"), ("cgroup.controllers", "cpuset cpu io memory pids")]);
        // Without a kernel the file holds what was asked for, which is not what it would list.
        assert_eq!(delegated(above.path()), None);
        let asked = fs::read_to_string(above.path().join("cgroup.subtree_control")).expect("asked");
        assert_eq!(asked, "+memory +cpu");
        let back = fs::read_to_string(above.path().join("cgroup.procs")).expect("back");
        assert_eq!(back, process::id().to_string());
    }
}
