//! Statements to begin with: every query and definition of the recorded and the golden cases.

use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value as Json;

/// All of them; empty outside a checkout.
pub(crate) fn statements() -> &'static [String] {
    static STATEMENTS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found: Vec<String> =
            super::world::DEFINITIONS.iter().map(|text| (*text).to_owned()).collect();
        for path in files(&tests.join("conformance/cases")) {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let cases = text.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
            found.extend(cases.filter_map(|case| case["sql"].as_str().map(str::to_owned)));
        }
        for path in files(&tests.join("golden")) {
            found.extend(golden(&std::fs::read_to_string(path).unwrap_or_default()));
        }
        found.sort();
        found.dedup();
        found
    });
    &STATEMENTS
}

fn golden(text: &str) -> Vec<String> {
    let rest =
        |line: &str| ["rule ", "error "].iter().find_map(|word| line.strip_prefix(word).map(str::to_owned));
    text.lines().filter_map(rest).map(|sql| sql.trim().to_owned()).collect()
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn statements_of_the_cases_are_found() {
        assert!(super::statements().len() > 800, "{}", super::statements().len());
    }
}
