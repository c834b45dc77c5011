//! How figures are printed.

/// Prints figures as a table for people or as JSON lines.
pub(crate) struct Report {
    as_json: bool,
}

#[allow(clippy::print_stdout)]
impl Report {
    pub(crate) fn new(as_json: bool) -> Self {
        Self { as_json }
    }

    /// Whether lines are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.as_json
    }

    /// One figure.
    pub(crate) fn figure(&self, name: &str, value: f64, unit: &str) {
        if self.as_json {
            println!("{}", serde_json::json!({"name": name, "value": value, "unit": unit}));
        } else {
            println!("{name:<34} {value:>12.2} {unit}");
        }
    }

    /// Times of one item for several ways of doing the same, and how much faster each is than the first.
    pub(crate) fn compare(&self, name: &str, variants: &[(&str, f64)]) {
        let yardstick = variants.first().map_or(0.0, |(_, ns)| *ns);
        for (variant, ns) in variants {
            self.figure(&format!("{name}/{variant}"), *ns, "ns/row");
            self.figure(&format!("{name}/{variant} rate"), 1e3 / ns, "M rows/s");
            self.figure(&format!("{name}/{variant} ratio"), yardstick / ns, "x");
        }
    }
}

/// A line of JSON on standard output.
#[allow(clippy::print_stdout)]
pub(crate) fn json_line(value: &serde_json::Value) {
    println!("{value}");
}

/// Why a bench cannot run.
#[allow(clippy::print_stderr)]
pub(crate) fn complain(why: &str) {
    eprintln!("bench: {why}");
}
