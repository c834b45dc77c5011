//! What the machine says about itself and this process. Absent where there is no `/proc`.

/// The operating system, by Go's name.
pub(crate) fn os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}

/// The processor, by Go's name.
pub(crate) fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// CPU seconds of this process so far.
pub(crate) fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold blanks; user and system time are fields 14 and 15, in ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()?.checked_add(fields.get(12)?.parse().ok()?)?;
    Some(ticks as f64 / 100.0)
}

/// Resident bytes of this process.
pub(crate) fn memory_used() -> Option<u64> {
    kilobytes("/proc/self/status", "VmRSS:")
}

/// Bytes of the machine, or of the container.
pub(crate) fn memory_total() -> Option<u64> {
    let limit =
        std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let machine = kilobytes("/proc/meminfo", "MemTotal:");
    match (limit, machine) {
        (Some(limit), Some(machine)) => Some(machine.min(limit)),
        (limit, machine) => limit.or(machine),
    }
}

fn kilobytes(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
}
