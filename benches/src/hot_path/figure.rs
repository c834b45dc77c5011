//! Table: the figures of `hot-path`, with their goals.

/// What a figure is to reach.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
}

impl Goal {
    /// Whether it is reached.
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(goal) => value >= goal,
            Self::AtMost(goal) => value <= goal,
        }
    }
}

/// Name, unit and goal.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) goal: Goal,
}

pub(crate) const fn least(name: &'static str, unit: &'static str, goal: f64) -> Figure {
    Figure { name, unit, goal: Goal::AtLeast(goal) }
}

pub(crate) const fn most(name: &'static str, unit: &'static str, goal: f64) -> Figure {
    Figure { name, unit, goal: Goal::AtMost(goal) }
}

/// In the order in which they are measured.
pub(crate) const FIGURES: &[Figure] = &[
    least("decode_a_ratio", "x", 12.0),
    least("decode_b_ratio", "x", 12.0),
    least("decode_c_ratio", "x", 80.0),
    least("filter_mps", "msg/s/core", 5e6),
    // None for each message; what is left of a few for each read is less than half a hundredth.
    most("filter_allocs_per_msg", "allocations/msg", 0.005),
    least("passthrough_mps", "msg/s/core", 6e6),
    least("window_100_mps", "msg/s/core", 5e6),
    least("window_100k_mps", "msg/s/core", 3e6),
    most("rules_300_us", "us/msg", 0.35),
    most("rules_3000_us", "us/msg", 1.5),
    most("rules_10000_us", "us/msg", 5.0),
    most("rules_300x500_core_pct", "%", 2.0),
    most("rss_idle_mb", "MB", 20.0),
    most("rule_kb", "KB", 4.0),
    most("latency_p50_us", "us", 50.0),
    most("latency_p99_us", "us", 200.0),
    most("mosquitto_cpu_s_per_million", "s", 1.0),
    least("qos1_mps", "msg/s/core", 2e6),
    most("cold_start_ms", "ms", 50.0),
    most("binary_mb", "MB", 25.0),
];
