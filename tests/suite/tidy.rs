//! The shape of the code: allowed edges between crates, sizes, names, and the places where dangerous things may stand
//! (`docs/design/architecture.md` chapters 2 and 12, `docs/design/style.md`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which of our crates each crate may use (architecture, chapter 2).
const EDGES: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("sql", &["core"]),
    ("expr", &["core"]),
    ("sp", &[]),
    ("fetch", &[]),
    ("template", &["core"]),
    ("connectors", &["core", "template"]),
    ("plan", &["core", "sql", "expr"]),
    ("plugin", &["core", "expr", "sp", "fetch"]),
    ("script", &["core", "expr"]),
    ("service", &["core", "expr", "fetch"]),
    ("runtime", &["core", "expr", "template", "plan"]),
    ("engine", &["core", "sql", "expr", "plan", "runtime"]),
    (
        "server",
        &[
            "core",
            "sql",
            "expr",
            "plan",
            "runtime",
            "engine",
            "connectors",
            "plugin",
            "script",
            "service",
            "template",
        ],
    ),
];

/// Outside crates that only some of ours may use.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("tokio", &["connectors", "plugin", "service", "runtime", "engine", "server"]),
    ("axum", &["connectors", "server"]),
    ("sqlparser", &["sql"]),
    ("redb", &["engine"]),
    ("rumqttc", &["connectors", "server"]),
    ("nng", &["plugin"]),
    ("rquickjs", &["script"]),
    ("mio", &["runtime"]),
    ("rustyline", &["server"]),
];

/// Files that may hold `unsafe`, each with its reason beside the code.
const UNSAFE: &[&str] = &[
    "thalweg-core/src/column.rs",
    "thalweg-connectors/src/format/json/shape/simd.rs",
    "thalweg-connectors/src/format/json/shape/template.rs",
    "thalweg-sp/src/sys.rs",
    "thalweg-plugin/src/sys.rs",
    "thalweg-plugin/src/mapped.rs",
    "thalweg-script/src/board.rs",
    "thalweg-script/src/vm.rs",
];

/// Files that may ask the system what time it is.
const CLOCKS: &[&str] = &["thalweg-core/src/time.rs"];

/// Files that may measure how long they wait in real time: deadlines of sockets, processes and clients, never of data.
const WAITS: &[&str] = &[
    "thalweg-core/src/time.rs",
    "thalweg-sp/src/deadline.rs",
    "thalweg-service/src/gate.rs",
    "thalweg-connectors/src/broker/connection.rs",
    "thalweg-connectors/src/broker/hub.rs",
    "thalweg-script/src/watch.rs",
    "thalweg-runtime/src/running.rs",
    "thalweg-server/src/cli/query.rs",
    "thalweg-server/src/demo/devices.rs",
    "thalweg-server/src/demo/mod.rs",
    "thalweg-runtime/src/checkpoint.rs",
    "thalweg-runtime/src/checkpoint/write.rs",
];

const BANNED_NAMES: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "misc", "manager", "base", "types"];

const MAX_FILE: usize = 600;
const MAX_FUNCTION: usize = 80;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, ending, found);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
}

/// Every source file of the crates, as path below `crates/` and text.
fn rust_files() -> Vec<(String, String)> {
    let crates = top().join("crates");
    let mut paths = Vec::new();
    sources(&crates, "rs", &mut paths);
    assert!(paths.len() > 50, "the sources are somewhere else");
    let file = |path: PathBuf| {
        let name = path.strip_prefix(&crates).expect("it is below crates").to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).expect("sources are UTF-8"))
    };
    paths.into_iter().map(file).collect()
}

fn is_test_file(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("/tests.rs") || name.ends_with("_tests.rs")
}

/// The part before the test module.
fn without_tests(text: &str) -> &str {
    text.split_once("#[cfg(test)]\nmod tests {").map_or(text, |(code, _)| code)
}

fn dependencies(manifest: &str) -> Vec<&str> {
    let section = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let name = |line: &'_ str| line.split(['.', '=', ' ']).next().map(str::len);
    section
        .lines()
        .filter_map(|line| name(line).map(|len| &line[..len]))
        .filter(|name| !name.is_empty())
        .collect()
}

fn report(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} places:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn crates_use_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    for (name, allowed) in EDGES {
        let manifest = fs::read_to_string(top().join(format!("crates/thalweg-{name}/Cargo.toml")));
        let manifest = manifest.expect("every crate of the table exists");
        for used in dependencies(&manifest) {
            if let Some(ours) = used.strip_prefix("thalweg-").filter(|ours| !allowed.contains(ours)) {
                wrong.push(format!("thalweg-{name} may not use thalweg-{ours}"));
            }
            let limited = ONLY_IN.iter().find(|(outside, _)| *outside == used);
            if limited.is_some_and(|(_, users)| !users.contains(name)) {
                wrong.push(format!("thalweg-{name} may not use {used}"));
            }
        }
    }
    report(&wrong);
}

#[test]
fn files_and_functions_are_small() {
    let mut wrong = Vec::new();
    for (name, text) in rust_files() {
        if is_test_file(&name) || text.starts_with("//! Table:") {
            continue;
        }
        let code = without_tests(&text);
        let lines = code.lines().count();
        if lines > MAX_FILE {
            wrong.push(format!("{name}: {lines} lines, at most {MAX_FILE}"));
        }
        for (function, lines) in functions(code) {
            if lines > MAX_FUNCTION {
                wrong.push(format!("{name}: {function} has {lines} lines, at most {MAX_FUNCTION}"));
            }
        }
    }
    report(&wrong);
}

/// Name and length of each function; relies on rustfmt's closing braces.
fn functions(code: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        let indent = &line[..line.len() - body.len()];
        let Some(at) = body.find("fn ").filter(|_| !body.starts_with("//") && !body.starts_with('"')) else {
            continue;
        };
        let words_before = body[..at].split_whitespace();
        let starts_here = words_before.clone().all(|word| {
            word.starts_with("pub")
                || matches!(word, "const" | "async" | "unsafe" | "extern")
                || word.ends_with(')')
        });
        if !starts_here {
            continue;
        }
        let name: String = body[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let head_end = lines[start..].iter().position(|line| line.ends_with('{') || line.ends_with(';'));
        if head_end.is_none_or(|end| lines[start + end].ends_with(';')) {
            continue;
        }
        let close = format!("{indent}}}");
        if let Some(length) = lines[start..].iter().position(|line| *line == close) {
            found.push((name, length + 1));
        }
    }
    found
}

#[test]
fn files_are_named_after_their_subject_and_begin_with_what_they_are() {
    let mut wrong = Vec::new();
    for (name, text) in rust_files() {
        let stem =
            Path::new(&name).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if BANNED_NAMES.contains(&stem.as_str()) {
            wrong.push(format!("{name}: the name says nothing"));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("{name}: begins without a module doc"));
        }
    }
    report(&wrong);
}

#[test]
fn dangerous_things_stand_only_where_they_are_allowed() {
    let rules: &[(&str, &[&str])] = &[
        ("unsafe {", UNSAFE),
        ("SystemTime::now", CLOCKS),
        ("Instant::now", WAITS),
        ("static mut", &[]),
        ("lazy_static", &[]),
    ];
    let mut wrong = Vec::new();
    for (name, text) in rust_files() {
        if is_test_file(&name) || name.starts_with("xtask/") {
            continue;
        }
        for (needle, allowed) in rules {
            if without_tests(&text).contains(needle) && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{name}: {needle}"));
            }
        }
    }
    report(&wrong);
}

#[test]
fn environment_is_read_by_the_server_only() {
    let mut wrong = Vec::new();
    for (name, text) in rust_files() {
        let reads = without_tests(&text).contains("env::var");
        if reads
            && !is_test_file(&name)
            && !name.starts_with("thalweg-server/")
            && !name.starts_with("xtask/")
        {
            wrong.push(name);
        }
    }
    report(&wrong);
}

#[test]
fn the_map_of_crates_names_every_crate_and_no_other() {
    let map = fs::read_to_string(top().join("crates/README.md")).expect("crates/README.md");
    let folders = fs::read_dir(top().join("crates")).expect("crates");
    let mut named: BTreeMap<String, bool> = BTreeMap::new();
    for folder in folders.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()) {
        let name = folder.file_name().expect("a folder has a name").to_string_lossy().into_owned();
        named.insert(name.clone(), map.contains(&format!("`{name}`")));
    }
    let missing: Vec<&String> =
        named.iter().filter(|(_, is_named)| !**is_named).map(|(name, _)| name).collect();
    assert!(missing.is_empty(), "crates/README.md does not name {missing:?}");
    for word in map.split('`').filter(|word| word.starts_with("thalweg-") && !word.contains('/')) {
        assert!(named.contains_key(word), "crates/README.md names {word}, which is not there");
    }
}

#[test]
fn tests_do_not_sleep() {
    let mut wrong = Vec::new();
    let mut paths = Vec::new();
    sources(&top().join("tests"), "rs", &mut paths);
    sources(&top().join("crates"), "rs", &mut paths);
    for path in paths {
        let text = fs::read_to_string(&path).expect("sources are UTF-8");
        let name = path.strip_prefix(top()).unwrap_or(&path).to_string_lossy().into_owned();
        let tests = if is_test_file(&name) || name.starts_with("tests/suite/") {
            text.as_str()
        } else {
            text.split_once("#[cfg(test)]\nmod tests {").map_or("", |(_, tests)| tests)
        };
        // The one bounded loop that waits for other processes.
        let is_allowed = name.ends_with("tidy.rs") || name.ends_with("tests/src/wait.rs");
        if tests.contains("thread::sleep(") && !is_allowed {
            wrong.push(name);
        }
    }
    report(&wrong);
}
