//! Where figures go: a table for people, JSON lines for programs, and a file if asked for.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::json;

use super::figure::{Figure, Goal};

/// A bench with goals.
pub(crate) struct Bench {
    pub(crate) name: &'static str,
    pub(crate) figures: &'static [Figure],
}

impl Bench {
    fn usage(&self) -> String {
        format!("{} [--json] [--only NAME,NAME] [--save]", self.name)
    }
}

/// What was asked for, and what has been measured.
pub(crate) struct Sheet {
    bench: &'static Bench,
    as_json: bool,
    only: Vec<String>,
    save: bool,
    /// As it was called.
    command: String,
    /// The table so far, for the file.
    text: String,
    n_met: usize,
    n_missed: usize,
}

impl Sheet {
    pub(crate) fn new(bench: &'static Bench, args: &[String]) -> Result<Self, String> {
        let (figures, usage) = (bench.figures, bench.usage());
        let (mut as_json, mut save, mut only) = (false, false, Vec::new());
        let (all, mut args) = (args, args.iter());
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--json" => as_json = true,
                "--save" => save = true,
                "--only" => {
                    let names = args.next().ok_or_else(|| format!("--only has no names\n{usage}"))?;
                    only = names.split(',').map(str::to_owned).collect();
                }
                other => return Err(format!("unknown option {other}\n{usage}")),
            }
        }
        if let Some(wrong) = only.iter().find(|name| figures.iter().all(|figure| figure.name != **name)) {
            let names: Vec<&str> = figures.iter().map(|figure| figure.name).collect();
            return Err(format!("unknown figure {wrong}; there are {}", names.join(", ")));
        }
        let command = [format!("cargo xtask bench {}", bench.name), all.join(" ")].join(" ");
        let this = Self { bench, as_json, only, save, command, text: String::new(), n_met: 0, n_missed: 0 };
        if !as_json {
            show(&format!("{}\n{}\n", machine(), head()));
        }
        Ok(this)
    }

    /// Whether a figure was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// Whether one of them was.
    pub(crate) fn wants_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.wants(name))
    }

    /// One of the figures with a goal; the note is for people.
    pub(crate) fn figure(&mut self, name: &str, value: f64, note: &str) {
        if !self.wants(name) {
            return;
        }
        let Some(figure) = self.bench.figures.iter().find(|figure| figure.name == name) else { return };
        let (sign, goal) = match figure.goal {
            Goal::AtLeast(goal) => (">=", goal),
            Goal::AtMost(goal) => ("<=", goal),
        };
        let is_met = figure.goal.is_met(value);
        (self.n_met, self.n_missed) =
            (self.n_met + usize::from(is_met), self.n_missed + usize::from(!is_met));
        let verdict = if is_met { "met" } else { "not met" };
        let (value_text, goal) = (readable(value), readable(goal));
        let row = format!(
            "{name:<28} {value_text:>11} {:<15} {sign} {goal:>7}  {verdict:<8} {note}\n",
            figure.unit
        );
        self.line(name, value, figure.unit, &row);
    }

    /// A figure without a goal that stands beside another.
    pub(crate) fn extra(&mut self, name: &str, value: f64, unit: &str) {
        let row = format!("  {name:<26} {:>11} {unit}\n", readable(value));
        self.line(name, value, unit, &row);
    }

    fn line(&mut self, name: &str, value: f64, unit: &str, row: &str) {
        if self.as_json {
            show(&format!("{}\n", json!({"name": name, "value": value, "unit": unit})));
        } else {
            show(row);
        }
        self.text.push_str(row);
    }

    /// The closing line, and the file.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        let closing = format!("{} met, {} not met; load now {}\n", self.n_met, self.n_missed, load());
        if !self.as_json {
            show(&closing);
        }
        if !self.save {
            return Ok(());
        }
        let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let file = top.join(format!("results/{}-{}.txt", said("date", &["-u", "+%F"]), self.bench.name));
        let text = format!("{}\n\n$ {}\n{}\n{}{closing}", machine(), self.command, head(), self.text);
        std::fs::write(&file, text).map_err(|why| format!("{}: {why}", file.display()))?;
        crate::report::complain(&format!("written to {}", file.display()));
        Ok(())
    }
}

fn head() -> String {
    format!("{:<28} {:>11} {:<15} {:>10}", "figure", "value", "unit", "goal")
}

/// Four figures, thousands as k and millions as M.
fn readable(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.3} M", value / 1e6),
        size if size >= 1e4 => format!("{:.1} k", value / 1e3),
        size if size >= 100.0 || value == 0.0 => format!("{value:.0}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.5}"),
    }
}

/// Date, commit, machine, compiler, load: what a figure is worth without them, nobody knows.
fn machine() -> String {
    let mut text = said("date", &["-u", "+%F %H:%M"]);
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let n_cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = said("uname", &["-r"]);
    let commit = said("git", &["rev-parse", "--short", "HEAD"]);
    let changed =
        if said("git", &["status", "--porcelain", "-uno"]).is_empty() { "" } else { " and changes" };
    let profile = std::env::current_exe().ok();
    let profile = profile.and_then(|exe| Some(exe.parent()?.file_name()?.to_string_lossy().into_owned()));
    let _ = write!(
        text,
        ", commit {commit}{changed}, {}, {n_cpus} cores, Linux {kernel}, {}, profile {}, load {}",
        model.unwrap_or("unknown processor"),
        said("rustc", &["--version"]),
        profile.unwrap_or_default(),
        load()
    );
    text
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// What a command prints; nothing when there is no such command.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

#[allow(clippy::print_stdout)]
fn show(text: &str) {
    print!("{text}");
}
