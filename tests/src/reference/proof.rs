//! Which recorded cases are about a function, and whether they agree.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value as Json;
use thalweg_expr::{Family, Function};

/// The recorded cases as far as they prove functions.
pub(super) struct Proofs {
    cases: Vec<Recorded>,
}

struct Recorded {
    id: String,
    area: String,
    sql: String,
    /// `f:abs`, `S7` …
    rules: Vec<String>,
    /// The decision by which it is not upstream's result.
    decision: Option<String>,
    /// Whether Thalweg gives the expected result.
    agrees: bool,
}

/// What the cases say of one function.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Proof {
    /// How many cases each file has.
    pub by_area: BTreeMap<String, usize>,
    /// Decisions and defects because of which results are not upstream's.
    pub decisions: Vec<String>,
    /// Cases that do not agree.
    pub differing: Vec<String>,
}

impl Proofs {
    /// From the folder of the recorded cases.
    pub(super) fn read(folder: &Path) -> Result<Self, String> {
        let read = |path: &Path| fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()));
        let differs = read(&folder.join("differs.txt"))?;
        let differs: Vec<&str> = differs.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let entries = fs::read_dir(folder.join("cases")).map_err(|why| why.to_string())?;
        let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        let mut cases = Vec::new();
        for file in files {
            for line in read(&file)?.split('\n').filter(|line| !line.trim().is_empty()) {
                let json: Json =
                    serde_json::from_str(line).map_err(|why| format!("{}: {why}", file.display()))?;
                cases.push(recorded(&json, &differs));
            }
        }
        Ok(Self { cases })
    }

    /// What is recorded about a function; of a window the statements that use it.
    pub(super) fn of(&self, function: &Function) -> Proof {
        let tag = format!("f:{}", function.name);
        let call = format!("{}(", function.name);
        let is_window = function.doc.family == Family::Window;
        let is_about = |case: &&Recorded| match is_window {
            true => case.sql.to_lowercase().contains(&call),
            false => case.rules.contains(&tag),
        };
        let mut proof = Proof::default();
        for case in self.cases.iter().filter(is_about) {
            *proof.by_area.entry(case.area.clone()).or_default() += 1;
            proof.decisions.extend(case.decision.clone());
            if !case.agrees {
                proof.differing.push(case.id.clone());
            }
        }
        proof.decisions.sort();
        proof.decisions.dedup();
        proof
    }
}

fn recorded(json: &Json, differs: &[&str]) -> Recorded {
    let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
    let rules = json["rules"].as_array().into_iter().flatten();
    let id = text("id");
    Recorded {
        area: text("area"),
        sql: text("sql"),
        rules: rules.filter_map(|rule| rule.as_str().map(str::to_owned)).collect(),
        decision: json["differs"].as_str().map(str::to_owned),
        agrees: !differs.contains(&id.as_str()),
        id,
    }
}
