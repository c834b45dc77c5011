//! What `/proc` knows of a plugin's processes: how much they use, and who has slipped out of the group.
//!
//! Where there is no `/proc` nothing is found: limits that are watched do nothing then.

use std::fs;
use std::ops::AddAssign;

use serde::Serialize;

use crate::sys;

/// What the processes of a plugin use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginUsage {
    /// How many there are.
    pub processes: u64,
    /// Memory that is theirs alone: neither files nor program text. What is swapped out counts.
    pub memory_bytes: u64,
    /// The time for which they have kept a core busy, in milliseconds; of those that still run and their children.
    pub cpu_ms: u64,
}

impl AddAssign for PluginUsage {
    fn add_assign(&mut self, other: Self) {
        self.processes += other.processes;
        self.memory_bytes += other.memory_bytes;
        self.cpu_ms += other.cpu_ms;
    }
}

/// One line of `/proc/<pid>/stat`, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    state: char,
    group: i32,
    cpu_ticks: u64,
    started: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name in parentheses may hold anything, also parentheses.
        let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let fields: Vec<u64> = fields.map(|field| field.parse().unwrap_or(0)).collect();
        // The fields are numbered from 1 in proc(5); these begin with the fourth.
        let field = |number: usize| fields.get(number - 4).copied();
        let cpu_ticks = [14, 15, 16, 17].into_iter().filter_map(field).sum();
        Some(Self { state, group: i32::try_from(field(5)?).ok()?, cpu_ticks, started: field(22)? })
    }

    fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The processes of a group that have not ended.
pub(crate) fn members(group: i32) -> Vec<i32> {
    let is_member = |pid: &i32| Stat::of(*pid).is_some_and(|stat| stat.group == group && stat.is_alive());
    all().filter(is_member).collect()
}

/// What these processes use, as far as they are still there.
pub(crate) fn usage(pids: &[i32]) -> PluginUsage {
    let mut sum = PluginUsage::default();
    for pid in pids {
        let Some(stat) = Stat::of(*pid).filter(Stat::is_alive) else { continue };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let cpu_ms = stat.cpu_ticks.saturating_mul(1_000) / sys::ticks_a_second();
        sum += PluginUsage { processes: 1, memory_bytes: own_memory(&status), cpu_ms };
    }
    sum
}

fn own_memory(status: &str) -> u64 {
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    ["RssAnon", "RssShmem", "VmSwap"].into_iter().map(of).sum::<u64>().saturating_mul(1024)
}

/// The variable that every process of a plugin inherits, also one that leaves the group.
pub(crate) const MARK: &str = "THALWEG_PLUGIN";

/// The value of [`MARK`]: who started the process, and for which plugin.
pub(crate) fn mark(data_dir: &str, plugin: &str) -> String {
    let own = std::process::id();
    format!("{data_dir}:{own}.{}:{plugin}", Stat::of(own as i32).map_or(0, |stat| stat.started))
}

/// Kills what carries this mark, but for the processes of `group`.
pub(crate) fn end_marked(mark: &str) {
    let wanted = format!("{MARK}={mark}");
    marked(|variable| variable == wanted).into_iter().for_each(sys::kill);
}

/// Kills what an engine on the same data has left behind that was killed itself.
pub(crate) fn end_orphans(data_dir: &str) {
    let begin = format!("{MARK}={data_dir}:");
    let is_orphan = |variable: &str| {
        let engine = variable.strip_prefix(&begin).and_then(|rest| rest.split(':').next());
        let engine = engine.and_then(|engine| engine.split_once('.'));
        engine.is_some_and(|(pid, started)| {
            let stat = pid.parse().ok().and_then(Stat::of);
            !stat.is_some_and(|stat| stat.is_alive() && stat.started.to_string() == started)
        })
    };
    marked(is_orphan).into_iter().for_each(sys::kill);
}

/// Our own processes that began with an environment in which one variable is so.
fn marked(is_so: impl Fn(&str) -> bool) -> Vec<i32> {
    let own = std::process::id() as i32;
    let is_marked = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| {
            variable.starts_with(MARK.as_bytes()) && std::str::from_utf8(variable).is_ok_and(&is_so)
        })
    };
    all().filter(|pid| *pid != own).filter(is_marked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let text = "12 (a) S (b)) R 1 7 3 0 -1 0 0 0 0 0 10 20 3 4 20 0 1 0 999 100 5";
        assert_eq!(Stat::parse(text), Some(Stat { state: 'R', group: 7, cpu_ticks: 37, started: 999 }));
        for text in ["", "12", "12 (a)", "12 (a) S", "12 (a) S x"] {
            assert_eq!(Stat::parse(text), None, "{text}");
        }
    }

    #[test]
    fn memory_is_what_belongs_to_the_process() {
        let status = "Name:\tx\nVmRSS:\t 900 kB\nRssAnon:\t 100 kB\nRssFile:\t 700 kB\nRssShmem:\t 100 kB\nVmSwap:\t 1 kB\n";
        assert_eq!(own_memory(status), 201 * 1024);
        assert_eq!(own_memory(""), 0);
    }

    #[test]
    fn this_process_uses_something_and_carries_no_mark() {
        let own = std::process::id() as i32;
        let usage = usage(&[own]);
        assert!(usage.processes == 1 && usage.memory_bytes > 0, "{usage:?}");
        assert_eq!(marked(|_| true).iter().filter(|pid| **pid == own).count(), 0);
    }
}
