//! `thalweg rule apply -f FOLDER`: streams, tables and rules that are kept in files, brought to an engine. Doing it twice
//! changes nothing the second time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json, json};

use super::client::{Client, Failure, Target, segment};
use super::shown::{Output, parsed, pretty};
use crate::yaml;

/// Words of `thalweg rule`.
#[derive(Debug, Args)]
pub struct RuleArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: RuleCommand,
}

/// The commands below `thalweg rule`. What concerns one rule is a verb: create, show, describe, start, stop, drop.
#[derive(Debug, Subcommand)]
pub enum RuleCommand {
    /// Bring an engine to what the files of a folder say: streams, tables and rules kept in git.
    Apply(ApplyArgs),
}

/// Flags of `rule apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// A folder (with those below it) or a file: CREATE statements in .sql; rules, lists of rules, and what
    /// export ruleset writes in .json and .yaml. A rule without an id is called like its file.
    #[arg(short, long = "file", value_name = "PATH")]
    pub file: PathBuf,
    /// Only say what would change.
    #[arg(long)]
    pub dry_run: bool,
    /// Also remove the rules, streams and tables of the engine that no file has.
    #[arg(long)]
    pub prune: bool,
    /// For people or for programs.
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
    /// The engine.
    #[command(flatten)]
    pub target: Target,
}

/// What can be defined, in the order in which it must be; removed in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Stream,
    Table,
    Rule,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Stream, Self::Table, Self::Rule];

    fn word(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Table => "table",
            Self::Rule => "rule",
        }
    }

    /// The family of routes, and the member of a rule set.
    fn plural(self) -> &'static str {
        match self {
            Self::Stream => "streams",
            Self::Table => "tables",
            Self::Rule => "rules",
        }
    }

    fn path(self, name: &str) -> String {
        format!("/{}/{}", self.plural(), segment(name))
    }
}

/// Definitions by kind and name: statements, and documents of rules.
type Definitions = BTreeMap<(Kind, String), String>;

/// One of them.
type Definition = ((Kind, String), String);

/// Applies, saying each step as it is done.
///
/// # Errors
/// A file cannot be read, two say different things, the engine refuses a part, or there is none.
pub fn run(args: &ApplyArgs) -> Result<String, Failure> {
    let wanted = read(&args.file).map_err(Failure::Refused)?;
    let client = args.target.client();
    let present = present(&client)?;
    let mut steps = Vec::new();
    let mut failed = Vec::new();
    let mut note = |change: &'static str, kind: Kind, name: &str, done: Result<String, Failure>| {
        let change = match done {
            Ok(_) => change,
            Err(Failure::Refused(why)) => {
                failed.push(format!("{} {name}: {why}", kind.word()));
                "failed"
            }
            Err(other) => return Err(other),
        };
        if args.output == Output::Table {
            let _ = writeln!(std::io::stdout(), "{change:<9}  {} {name}", kind.word());
        }
        steps.push(json!({"kind": kind.word(), "name": name, "change": change}));
        Ok(())
    };
    for ((kind, name), text) in &wanted {
        let change = match present.get(&(*kind, name.clone())) {
            None => "created",
            Some(old) if same(*kind, old, text) => "unchanged",
            Some(_) => "updated",
        };
        let is_idle = args.dry_run || change == "unchanged";
        note(
            change,
            *kind,
            name,
            if is_idle { Ok(String::new()) } else { put(&client, *kind, name, text, change) },
        )?;
    }
    let gone = present.keys().rev().filter(|key| args.prune && !wanted.contains_key(*key));
    for (kind, name) in gone {
        let removed = if args.dry_run { Ok(String::new()) } else { client.delete(&kind.path(name)) };
        note("removed", *kind, name, removed)?;
    }
    let shown = match args.output {
        Output::Json => pretty(&json!(steps)),
        Output::Table => summary(&steps, args.dry_run),
    };
    if failed.is_empty() {
        return Ok(shown);
    }
    let _ = std::io::stdout().write_all(shown.as_bytes());
    Err(Failure::Refused(failed.join("\nthalweg: ")))
}

fn summary(steps: &[Json], is_dry: bool) -> String {
    let count = |change: &str| steps.iter().filter(|step| step["change"] == change).count();
    let changes =
        ["created", "updated", "unchanged", "removed", "failed"].map(|change| (change, count(change)));
    let told: Vec<String> = changes
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(change, count)| format!("{count} {change}"))
        .collect();
    let told = if told.is_empty() { "nothing to do".to_owned() } else { told.join(", ") };
    if is_dry { format!("dry run, nothing is changed: {told}\n") } else { format!("{told}\n") }
}

/// All that the engine has.
fn present(client: &Client) -> Result<Definitions, Failure> {
    let document = parsed(&client.post("/ruleset/export", "")?)?;
    let mut present = Definitions::new();
    for kind in Kind::ALL {
        for (name, text) in document[kind.plural()].as_object().into_iter().flatten() {
            present.insert((kind, name.clone()), text.as_str().unwrap_or_default().to_owned());
        }
    }
    Ok(present)
}

fn put(client: &Client, kind: Kind, name: &str, text: &str, change: &str) -> Result<String, Failure> {
    let body = match kind {
        Kind::Rule => text.to_owned(),
        _ => json!({ "sql": text }).to_string(),
    };
    match (kind, change) {
        (Kind::Rule, "created") => client.post("/rules", &body),
        (_, "created") => client.post("/streams", &body),
        _ => client.put(&kind.path(name), &body),
    }
}

/// Whether two definitions say the same. A rule that does not say whether it runs leaves that as it is.
fn same(kind: Kind, old: &str, new: &str) -> bool {
    if kind != Kind::Rule {
        return words(old) == words(new);
    }
    let document = |text: &str| serde_json::from_str::<Map<String, Json>>(text).unwrap_or_default();
    let (mut old, new) = (document(old), document(new));
    for name in ["triggered", "id"] {
        if !new.contains_key(name) {
            old.remove(name);
        }
    }
    old == new
}

/// A statement without the blanks and the end that mean nothing.
fn words(sql: &str) -> Vec<&str> {
    sql.trim().trim_end_matches(';').split_whitespace().collect()
}

/// Everything that a file, or a folder with those below it, says.
fn read(path: &Path) -> Result<Definitions, String> {
    let mut files = Vec::new();
    gather(path, &mut files)?;
    files.sort();
    let mut found = Definitions::new();
    let mut places: BTreeMap<(Kind, String), PathBuf> = BTreeMap::new();
    for file in files {
        let told = |why: String| format!("{}: {why}", file.display());
        let text = std::fs::read_to_string(&file).map_err(|why| told(why.to_string()))?;
        for (key, definition) in definitions(&file, &text).map_err(told)? {
            if let Some(other) = places.insert(key.clone(), file.clone()) {
                let (kind, name) = (key.0.word(), key.1);
                return Err(told(format!("{kind} {name} is also in {}", other.display())));
            }
            found.insert(key, definition);
        }
    }
    match found.is_empty() {
        true => Err(format!("{}: no .sql, .json or .yaml file defines anything", path.display())),
        false => Ok(found),
    }
}

fn gather(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let told = |why: std::io::Error| format!("{}: {why}", path.display());
    if !path.is_dir() {
        std::fs::metadata(path).map_err(told)?;
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(told)? {
        let below = entry.map_err(told)?.path();
        let name = below.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let ending = below.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if name.starts_with('.') {
            continue;
        }
        if below.is_dir() {
            gather(&below, files)?;
        } else if ["sql", "json", "yaml", "yml"].contains(&ending) {
            files.push(below);
        }
    }
    Ok(())
}

/// What one file says.
fn definitions(file: &Path, text: &str) -> Result<Vec<Definition>, String> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let document = match file.extension().and_then(|ending| ending.to_str()) {
        Some("json") => serde_json::from_str(text).map_err(|why| why.to_string())?,
        Some("yaml" | "yml") => yaml::parse(text)?,
        _ => return statements(text),
    };
    match document {
        Json::Array(rules) => rules.iter().map(|document| rule("", document)).collect(),
        Json::Object(set) if Kind::ALL.iter().any(|kind| set.contains_key(kind.plural())) => rule_set(&set),
        document => Ok(vec![rule(stem, &document)?]),
    }
}

/// The form of `export ruleset`; rules may also stand there as they are.
fn rule_set(set: &Map<String, Json>) -> Result<Vec<Definition>, String> {
    let mut found = Vec::new();
    for kind in Kind::ALL {
        for (name, value) in set.get(kind.plural()).and_then(Json::as_object).into_iter().flatten() {
            let text = value.as_str();
            found.push(match (kind, text) {
                (Kind::Rule, None) => rule(name, value)?,
                (Kind::Rule, Some(text)) => {
                    let document = serde_json::from_str(text).map_err(|why| format!("rule {name}: {why}"))?;
                    rule(name, &document)?
                }
                (_, Some(text)) => ((kind, name.clone()), text.to_owned()),
                (_, None) => return Err(format!("{} {name} must be a CREATE statement", kind.word())),
            });
        }
    }
    Ok(found)
}

/// A rule, which gets this id if it has none.
fn rule(id: &str, document: &Json) -> Result<Definition, String> {
    let Json::Object(members) = document else { return Err("a rule must be an object".to_owned()) };
    let mut members = members.clone();
    let written = members.get("id").and_then(Json::as_str).filter(|id| !id.is_empty()).map(str::to_owned);
    let id = written.unwrap_or_else(|| id.to_owned());
    if id.is_empty() {
        return Err("a rule of a list needs an id".to_owned());
    }
    members.insert("id".to_owned(), id.clone().into());
    Ok(((Kind::Rule, id), Json::Object(members).to_string()))
}

/// The CREATE statements of a text, each ended by a semicolon at the end of a line or by the end of the text.
fn statements(text: &str) -> Result<Vec<Definition>, String> {
    let mut found = Vec::new();
    let mut names = BTreeSet::new();
    let without_comments: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .map(|line| format!("{line}\n"))
        .collect();
    for sql in without_comments.split(";\n").map(str::trim).filter(|sql| !sql.is_empty()) {
        let sql = sql.trim_end_matches(';').trim();
        let mut words = sql.split(|c: char| c.is_whitespace() || c == '(').filter(|word| !word.is_empty());
        let heads = [words.next(), words.next()].map(|word| word.unwrap_or_default().to_lowercase());
        let kind = match [heads[0].as_str(), heads[1].as_str()] {
            ["create", "stream"] => Kind::Stream,
            ["create", "table"] => Kind::Table,
            _ => return Err(format!("only CREATE STREAM and CREATE TABLE belong here, not {:.40}", sql)),
        };
        let name = words.next().unwrap_or_default().trim_matches('`').to_owned();
        if !names.insert(name.clone()) {
            return Err(format!("{name} is defined twice"));
        }
        found.push(((kind, name), sql.to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_all_forms_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().expect("it has one")).expect("made");
            std::fs::write(file, text).expect("written");
        };
        write(
            "s.sql",
            "-- both\nCREATE STREAM s (a BIGINT)\n  WITH (TYPE=\"memory\");\ncreate table `t`() WITH ();\n",
        );
        write("rules/warm.json", "{\"sql\": \"SELECT 1\"}");
        write("rules/more.yaml", "- id: a\n  sql: SELECT 2\n- id: b\n  sql: SELECT 3\n");
        write("set.json", "{\"rules\": {\"c\": \"{\\\"sql\\\":\\\"SELECT 4\\\"}\"}}");
        write(".git/x.json", "no");
        write("README.md", "no");
        let found = read(folder.path()).expect("all can be read");
        let names: Vec<String> = found.keys().map(|(kind, name)| format!("{} {name}", kind.word())).collect();
        assert_eq!(names, ["stream s", "table t", "rule a", "rule b", "rule c", "rule warm"]);
        assert_eq!(found[&(Kind::Rule, "warm".to_owned())], "{\"id\":\"warm\",\"sql\":\"SELECT 1\"}");
        write("again.sql", "CREATE STREAM s () WITH ()");
        let why = read(folder.path()).expect_err("s is there twice");
        assert!(why.contains("stream s is also in "), "{why}");
        write("again.sql", "DROP STREAM s");
        assert!(read(folder.path()).is_err_and(|why| why.contains("only CREATE STREAM")));
        assert!(read(&folder.path().join("none")).is_err());
    }

    #[test]
    fn blanks_and_whether_a_rule_runs_make_no_difference() {
        assert!(same(Kind::Stream, "CREATE STREAM s () WITH ()", "CREATE  STREAM s ()\nWITH ();"));
        assert!(!same(Kind::Stream, "CREATE STREAM s () WITH ()", "CREATE STREAM s () WITH (TEMP=TRUE)"));
        assert!(same(
            Kind::Rule,
            "{\"triggered\":false,\"id\":\"r\",\"sql\":\"x\"}",
            "{\"sql\": \"x\", \"id\": \"r\"}"
        ));
        assert!(!same(Kind::Rule, "{\"triggered\":false,\"id\":\"r\"}", "{\"triggered\":true,\"id\":\"r\"}"));
    }
}
