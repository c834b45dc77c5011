//! Every numbered rule of the language, of checkpoints, of the sink pipeline and of templates has a case or a test of
//! its own that names it. Whether the case fails when the rule is broken is for its reader to judge; that there is one,
//! and that no rule is forgotten when the specification grows, is checked here.
//!
//! What counts is what we wrote ourselves, with a sentence that says what it shows: comments of golden cases
//! (`tests/golden/**/*.case`), of `tests/rest/*.rest`, and of Rust tests. The recorded corpus comes on top. Choices of
//! `decisions.md` and defects of `sql.md` 17 need a proof of the choice: a recorded case that differs from upstream
//! because of it, or a comment that says `W-6 (decided)`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

/// Rules that no case can show, each with the reason.
const NOT_SHOWN: &[(&str, &str)] = &[
    ("C3.16", "is about kafka, influx2 and sql sinks, which are not built"),
    ("R-9", "says only that formats are described elsewhere"),
];

/// Choices that no case here can show, each with the reason.
const NOT_DECIDED_HERE: &[(&str, &str)] = &[];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("what is listed can be read")
}

fn spec(name: &str) -> String {
    read(&top().join("docs/compat").join(name))
}

fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() && !path.ends_with("target") {
            files(&path, endings, found);
        } else if path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known)) {
            found.push(path);
        }
    }
}

fn below(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&top().join(folder), &[ending], &mut found);
    found.sort();
    assert!(!found.is_empty(), "{folder} is somewhere else");
    found
}

/// An id as the specification writes them: `W-11a`, `R7.4`, `S52`.
fn is_id(word: &str) -> bool {
    let rest = word.strip_prefix(|letter: char| letter.is_ascii_uppercase());
    let Some(rest) = rest else { return false };
    let digits = rest.strip_prefix('-').unwrap_or(rest);
    let digits = digits.strip_suffix(|letter: char| letter.is_ascii_lowercase()).unwrap_or(digits);
    let parts: Vec<&str> = digits.split('.').collect();
    parts.len() <= 2
        && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The ids that a text names.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-' || letter == '.'))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| is_id(word))
}

/// The ids that a text says are decided: `W-6 (decided)`.
fn decided(text: &str) -> impl Iterator<Item = &str> {
    text.split("(decided)")
        .filter_map(|before| ids(before).last().filter(|id| before.trim_end().ends_with(id)))
}

/// The ids that the name of a test begins with: `j2_…` is J-2, and `r7_11_…` R7.11.
fn from_name(name: &str) -> String {
    let mut parts = name.split(['_', '(']);
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Some((letter, number)) = first.split_at_checked(1) else { return String::new() };
    let letter = letter.to_uppercase();
    format!("{letter}-{number} {letter}{number}.{second}")
}

/// What tests say of themselves: the comments of golden cases, REST plays and Rust tests.
fn sayings() -> Vec<String> {
    let mut sayings = Vec::new();
    for path in below("tests/golden", "case") {
        let text = read(&path);
        let has_case = |block: &&str| {
            block.lines().any(|line| {
                let word = line.split(' ').next().unwrap_or_default();
                matches!(word, "rule" | "error" | "ddlerror" | "jsonerror")
            })
        };
        for block in text.split("\n\n").filter(has_case) {
            sayings.extend(block.lines().filter(|line| line.starts_with('#')).map(str::to_owned));
        }
    }
    for path in below("tests/rest", "rest") {
        sayings.extend(read(&path).lines().filter(|line| line.starts_with('#')).map(str::to_owned));
    }
    let mut rust = below("crates", "rs");
    rust.extend(below("tests/suite", "rs").into_iter().filter(|path| !path.ends_with("inventory.rs")));
    for path in rust {
        let text = read(&path);
        let name = path.to_string_lossy();
        let is_test = name.contains("/tests/") || name.ends_with("tests.rs");
        let tests =
            if is_test { Some(&*text) } else { text.split_once("#[cfg(test)]").map(|(_, tests)| tests) };
        for line in tests.into_iter().flat_map(str::lines) {
            sayings.extend(line.split_once("//").map(|(_, comment)| comment.to_owned()));
            sayings.extend(line.trim().split_once("fn ").map(|(_, name)| from_name(name)));
        }
    }
    sayings
}

/// Ids at the head of a specification's paragraphs that start with one of these.
fn rules(text: &str, starts: &[&str]) -> Vec<String> {
    let head = |line: &str| line.trim_start_matches("- ").trim_start_matches("**").to_owned();
    let heads: Vec<String> = text.lines().map(head).collect();
    let named = heads.iter().filter(|head| starts.iter().any(|start| head.starts_with(start)));
    named.filter_map(|head| ids(head.split([' ', '*']).next()?).next().map(str::to_owned)).collect()
}

/// The ids in the first column of the tables of a text.
fn first_column(text: &str) -> BTreeSet<String> {
    let cells = text.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
    cells.flat_map(|cell| ids(cell).map(str::to_owned)).collect()
}

fn section<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).expect("the chapters keep their names");
    let rest = &text[start..];
    &rest[..rest[1..].find(to).map_or(rest.len(), |end| end + 1)]
}

fn report(missing: &[String], what: &str) {
    assert!(missing.is_empty(), "{} {what}: {}", missing.len(), missing.join(", "));
}

/// Ids that are not said, nor excepted; and exceptions that are said, or no id.
fn gaps(wanted: &BTreeSet<String>, said: &BTreeSet<String>, excepted: &[(&str, &str)]) -> Vec<String> {
    let is_excepted = |id: &str| excepted.iter().any(|(known, _)| *known == id);
    let open = wanted.iter().filter(|id| !said.contains(*id) && !is_excepted(id)).cloned();
    let stale = excepted.iter().filter(|(id, _)| said.contains(*id) || !wanted.contains(*id));
    open.chain(stale.map(|(id, _)| format!("{id} (no exception any more)"))).collect()
}

#[test]
fn every_rule_has_a_case_of_its_own() {
    let sql = spec("sql.md");
    let connectors = spec("connectors.md");
    let mut wanted: BTreeSet<String> =
        rules(&sql, &["A-", "C-", "D-", "E-", "F-", "G-", "J-", "L-"]).into_iter().collect();
    wanted.extend(rules(&sql, &["O-", "P-", "Q-", "R-", "T-", "W-", "X-", "Z-"]));
    assert_eq!(wanted.len(), sql.lines().filter(|line| line.starts_with("- **")).count());
    wanted.extend(rules(section(&spec("rules.md"), "## 7.", "\n## "), &["R7."]));
    wanted.extend(rules(section(&connectors, "## 3.", "\n## "), &["C3."]));
    wanted.extend(rules(section(&connectors, "## 4.", "\n## "), &["T4."]));
    assert!(wanted.len() > 230, "{} rules", wanted.len());
    let sayings = sayings();
    let said = sayings.iter().flat_map(|saying| ids(saying).map(str::to_owned)).collect();
    report(&gaps(&wanted, &said, NOT_SHOWN), "rules that no case names");
}

#[test]
fn every_choice_has_a_case_that_shows_it() {
    let decisions = spec("decisions.md");
    let mut wanted = first_column(section(&decisions, "## SQL", "\n## "));
    wanted.extend(first_column(section(&decisions, "## Functions", "\n## ")));
    wanted.extend(first_column(section(&spec("sql.md"), "## 17.", "\n## ")));
    assert!(wanted.len() > 80, "{} choices", wanted.len());
    let sayings = sayings();
    let mut said: BTreeSet<String> =
        sayings.iter().flat_map(|saying| decided(saying).map(str::to_owned)).collect();
    for path in below("tests/conformance/cases", "jsonl") {
        for line in read(&path).split('\n').filter(|line| !line.is_empty()) {
            let case: Json = serde_json::from_str(line).expect("a case is JSON");
            said.extend(case["differs"].as_str().map(str::to_owned));
        }
    }
    report(&gaps(&wanted, &said, NOT_DECIDED_HERE), "choices that no case shows");
}

#[test]
fn ids_are_found_in_sentences() {
    let text = "# W-11a, S52 and R7.4: a UTF-8 case of J-1. (T-5)";
    assert_eq!(ids(text).collect::<Vec<_>>(), ["W-11a", "S52", "R7.4", "J-1", "T-5"]);
    assert_eq!(decided("W-6 (decided), J-1, S1 (decided): so").collect::<Vec<_>>(), ["W-6", "S1"]);
    assert_eq!(ids(&from_name("j2_rows_come")).collect::<Vec<_>>(), ["J-2"]);
    assert_eq!(ids(&from_name("r7_11_answers()")).collect::<Vec<_>>(), ["R-7", "R7.11"]);
}
