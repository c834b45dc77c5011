//! The page "Coming from eKuiper", made from `docs/compat` and from the recorded cases that differ, so that it cannot drift.
//!
//! `cargo xtask docs` writes it; `tests/suite/migration.rs` fails when it is stale.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value as Json;

const HEAD: &str = "\
<!-- Made by `cargo xtask docs` from docs/compat and tests/conformance/cases; changes here are overwritten. -->

# Coming from eKuiper

Streams, rules, plugins, scripts and clients written for eKuiper 2.x work as they are and give the same results. Stop eKuiper,
start `thalweg serve` with your `etc` folder below its home, and post your streams and rules (or a rule set) again; data folders
are not shared. Where eKuiper crashes, loses data, hides an error or contradicts its own documentation, Thalweg does what the
user expected: this page lists those places for SQL, functions and rules; those of the management interface are marked BUG in
[`rest-api.md`](../compat/rest-api.md). What is not built yet stands in the [README](../../README.md).

An id (`W-6`, `S15`) is that of a rule in [`docs/compat`](../compat/decisions.md). Examples are recorded cases of
`tests/conformance`, which CI runs: what eKuiper gave is recorded, what Thalweg gives is checked.
";

/// How much of an outcome is shown.
const LONGEST: usize = 140;

/// The page.
///
/// # Errors
/// A file cannot be read, or has lost a chapter.
pub fn page(top: &Path) -> Result<String, String> {
    let read = |path: &str| fs::read_to_string(top.join(path)).map_err(|why| format!("{path}: {why}"));
    let (decisions, sql, functions) =
        (read("docs/compat/decisions.md")?, read("docs/compat/sql.md")?, read("docs/compat/functions.md")?);
    let examples = examples(&top.join("tests/conformance/cases"))?;
    let sql_rows = rows(chapter(&decisions, "## SQL")?).map(Row::decided);
    let known: BTreeMap<String, String> =
        rows(chapter(&functions, "## 21")?).map(|cells| (cells[0].clone(), cells[1].clone())).collect();
    let function_rows = rows(chapter(&decisions, "## Functions")?).map(|cells| {
        let mut row = Row::decided(cells);
        let upstream: Vec<&str> = row.ids.iter().filter_map(|id| known.get(id)).map(String::as_str).collect();
        row.upstream = upstream.join("; ");
        row
    });
    let decided: BTreeSet<String> =
        rows(chapter(&decisions, "## Functions")?).flat_map(|cells| ids(&cells[0])).collect();
    let defects = rows(chapter(&sql, "## 17.")?).map(|cells| Row::corrected(&cells));
    let surprises = rows(chapter(&functions, "## 21")?).filter(|cells| {
        let is_open = ids(&cells[0]).iter().all(|id| !decided.contains(id));
        is_open && (cells[2].contains('F') || ids(&cells[0]).iter().any(|id| examples.contains_key(id)))
    });
    let mut page = HEAD.to_owned();
    let mut shown = BTreeSet::new();
    let mut table = |title: &str, rows: Vec<Row>| {
        page.push_str(&format!("\n## {title}\n\n| id | eKuiper | Thalweg | example |\n|---|---|---|---|\n"));
        for row in rows {
            page.push_str(&row.line(&examples, &mut shown));
        }
    };
    table("SQL: choices", sql_rows.collect());
    table("SQL: defects that are corrected", defects.collect());
    table("Functions: choices", function_rows.collect());
    table("Functions: surprises that are gone", surprises.map(|cells| Row::surprise(&cells)).collect());
    let rest: Vec<Row> =
        examples.keys().filter(|id| !shown.contains(*id)).map(|id| Row::example(id)).collect();
    if !rest.is_empty() {
        let mut unused = BTreeSet::new();
        page.push_str("\n## Seen in recorded cases besides\n\n| id | eKuiper | Thalweg | example |\n|---|---|---|---|\n");
        for row in rest {
            page.push_str(&row.line(&examples, &mut unused));
        }
    }
    for title in ["Rules and delivery", "Beyond upstream's SQL", "Names"] {
        let text = chapter(&decisions, &format!("## {title}"))?;
        page.push_str(&format!("\n## {title}\n{}", text.replace("](../", "](../compat/../").trim_end()));
        page.push('\n');
    }
    Ok(page)
}

/// The text of a chapter without its title.
fn chapter<'a>(text: &'a str, title: &str) -> Result<&'a str, String> {
    let missing = || format!("docs/compat has no chapter {title:?} any more");
    let start = text.find(&format!("\n{title}")).ok_or_else(missing)? + 1;
    let text = text[start..].split_once('\n').ok_or_else(missing)?.1;
    Ok(text.find("\n## ").map_or(text, |end| &text[..end]))
}

/// The cells of the rows of a chapter's tables, of those whose first cell holds ids.
fn rows(chapter: &str) -> impl Iterator<Item = Vec<String>> {
    let lines = chapter.lines().filter(|line| line.starts_with('|'));
    let cells = lines.map(|line| {
        let line = line.replace("\\|", "\u{1}");
        let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{1}', "\\|"));
        cells.collect::<Vec<_>>()
    });
    cells.filter(|cells| !ids(&cells[0]).is_empty())
}

/// The ids of a cell: `S12, S13`.
fn ids(cell: &str) -> Vec<String> {
    let is_id = |word: &&str| {
        word.starts_with(|letter: char| letter.is_ascii_uppercase())
            && word.contains(|c: char| c.is_ascii_digit())
    };
    cell.split(", ").filter(is_id).map(str::to_owned).collect()
}

/// One difference.
struct Row {
    ids: Vec<String>,
    upstream: String,
    ours: String,
}

impl Row {
    fn decided(cells: Vec<String>) -> Self {
        Self { ids: ids(&cells[0]), upstream: String::new(), ours: cells[1].clone() }
    }

    fn corrected(cells: &[String]) -> Self {
        Self { ids: ids(&cells[0]), upstream: cells[1].clone(), ours: cells[2].clone() }
    }

    /// What stands behind the letter of the stance is what Thalweg does.
    fn surprise(cells: &[String]) -> Self {
        let inside = cells[2].split_once('(').and_then(|(_, rest)| rest.split_once(')'));
        let ours = inside.map_or("no crash and no refusal of what is right", |(inside, _)| inside);
        Self { ids: ids(&cells[0]), upstream: cells[1].clone(), ours: ours.to_owned() }
    }

    fn example(id: &str) -> Self {
        Self { ids: vec![id.to_owned()], upstream: String::new(), ours: String::new() }
    }

    fn line(&self, examples: &BTreeMap<String, Example>, shown: &mut BTreeSet<String>) -> String {
        let mut cells = Vec::new();
        for id in &self.ids {
            if let Some(example) = examples.get(id) {
                shown.insert(id.clone());
                cells.push(example.cell());
            }
        }
        let ids = self.ids.join(", ");
        format!("| {ids} | {} | {} | {} |\n", self.upstream, self.ours, cells.join("<br>"))
    }
}

/// The shortest case that shows a difference.
struct Example {
    case: Json,
    count: usize,
}

impl Example {
    fn cell(&self) -> String {
        let case = &self.case;
        let sql = case["sql"].as_str().unwrap_or_default();
        let more = if self.count > 1 { format!(", {} cases", self.count) } else { String::new() };
        let of = |name: &str| code(&outcome(&case[name]));
        format!(
            "{} ({}{more})<br>eKuiper: {}<br>Thalweg: {}",
            code(sql),
            case["id"].as_str().unwrap_or_default(),
            of("upstream"),
            of("expect")
        )
    }
}

/// What a run came to.
fn outcome(run: &Json) -> String {
    let error = run["error"].as_str().map(|error| {
        // The statement is shown already.
        error.rsplit(" error: ").next().unwrap_or(error).to_owned()
    });
    let stopped = if run["stopped"].is_null() { "" } else { "the rule stops; " };
    match (error, run["create"].as_u64()) {
        (Some(error), _) => format!("{stopped}{error}"),
        (None, Some(400..)) => "refused".to_owned(),
        _ if !run["timed_messages"].is_null() => format!("{stopped}{}", run["timed_messages"]),
        _ => format!("{stopped}{}", run["messages"]),
    }
}

/// As code in a cell of a table, cut where it is long.
fn code(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = line.chars().take(LONGEST).collect();
    let cut = if short.len() < line.len() { " …" } else { "" };
    let fence = if short.contains('`') { "``" } else { "`" };
    let pad = if short.contains('`') || short.is_empty() { " " } else { "" };
    format!("{fence}{pad}{}{pad}{fence}{cut}", short.replace('|', "\\|"))
}

/// For each id the shortest case that differs because of it.
fn examples(folder: &Path) -> Result<BTreeMap<String, Example>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", folder.display());
    let files = fs::read_dir(folder).map_err(|why| wrong(&why))?;
    let mut files: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    files.sort();
    let mut examples: BTreeMap<String, Example> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|why| wrong(&why))?;
        for line in text.split('\n').filter(|line| !line.is_empty()) {
            let case: Json = serde_json::from_str(line).map_err(|why| wrong(&why))?;
            let Some(id) = case["differs"].as_str().map(str::to_owned) else { continue };
            let length = |case: &Json| case["sql"].to_string().len() + case["upstream"].to_string().len();
            match examples.get_mut(&id) {
                None => drop(examples.insert(id, Example { case, count: 1 })),
                Some(known) => {
                    known.count += 1;
                    if length(&case) < length(&known.case) {
                        known.case = case;
                    }
                }
            }
        }
    }
    Ok(examples)
}
