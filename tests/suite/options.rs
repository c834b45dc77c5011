//! `docs/guide/options.md` against a server: every option of its tables is honoured, told or refused as it says there,
//! and no option of ours is missing.

use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};
use thalweg_server::{ServeOptions, start};
use thalweg_tests::http::Api;

/// A row of a table.
struct Row {
    section: String,
    /// What the option belongs to; empty: the rule.
    at: String,
    option: String,
    example: String,
    here: String,
}

fn rows() -> Vec<Row> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/options.md");
    let text = fs::read_to_string(file).expect("the page is there");
    let (mut section, mut rows) = (String::new(), Vec::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.to_owned();
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let (at, cells) = match cells.as_slice() {
            [option, example, here, _] if example.starts_with('`') => ("", [*option, *example, *here]),
            [at, option, example, here, _] if example.starts_with('`') => (*at, [*option, *example, *here]),
            _ => continue,
        };
        let [option, example, here] = cells.map(str::to_owned);
        let example = example.trim_matches('`').to_owned();
        rows.push(Row { section: section.clone(), at: at.to_owned(), option, example, here });
    }
    rows
}

/// The statement and the rule that use an option.
fn written(row: &Row) -> (String, Json) {
    let columns = "(id BIGINT, ts BIGINT)";
    let own: Json = serde_json::from_str(&format!("{{{}}}", row.example)).unwrap_or_default();
    let mut rule = json!({"id": "r", "sql": "SELECT id FROM x", "actions": [{"nop": {}}]});
    let stream = |more: &str| format!("CREATE STREAM x {columns} WITH (DATASOURCE=\"t\", {more})");
    let statement = match (row.section.as_str(), row.at.as_str()) {
        ("Rule options", _) => {
            rule["options"] = own;
            stream("TYPE=\"memory\", TIMESTAMP=\"ts\"")
        }
        (section, "table") if section.starts_with("Options") => {
            rule["sql"] = json!("SELECT demo.id FROM demo INNER JOIN x ON demo.id = x.id");
            format!("CREATE TABLE x {columns} WITH (DATASOURCE=\"t\", {})", row.example)
        }
        (section, _) if section.starts_with("Options") => match row.option.as_str() {
            "DATASOURCE" => format!("CREATE STREAM x {columns} WITH ({})", row.example),
            _ => stream(&row.example),
        },
        (section, kind) if section.starts_with("Properties of sources") => {
            stream(&format!("TYPE=\"{kind}\", EXTRA='{own}'"))
        }
        (_, kind) => {
            rule["actions"] = json!([{kind: own}]);
            stream("TYPE=\"memory\"")
        }
    };
    (statement, rule)
}

/// What a server makes of an option: `refused` with the text, or the warnings of its rule.
fn outcome(api: &Api, row: &Row) -> Result<Vec<String>, String> {
    let (statement, rule) = written(row);
    let kind = if row.at == "table" { "tables" } else { "streams" };
    let made = api.post(&format!("/{kind}"), &json!({"sql": statement}));
    let result = if made.status >= 400 { Err(made.body) } else { posted(api, &rule) };
    api.call("DELETE", "/rules/r", "");
    api.call("DELETE", &format!("/{kind}/x"), "");
    result
}

fn posted(api: &Api, rule: &Json) -> Result<Vec<String>, String> {
    let made = api.post("/rules", rule);
    if made.status >= 400 {
        return Err(made.body);
    }
    let warnings = api.status("r")["warnings"].as_array().cloned().unwrap_or_default();
    Ok(warnings.iter().filter_map(Json::as_str).map(str::to_owned).collect())
}

/// Why a row is wrong; none if it is right.
fn wrong(row: &Row, outcome: &Result<Vec<String>, String>) -> Option<String> {
    let last = row.option.rsplit('.').next().unwrap_or_default();
    let named = if last.starts_with('(') { "did you mean" } else { last };
    let is_right = match (row.here.as_str(), outcome) {
        ("yes" | "same", Ok(warnings)) => warnings.is_empty(),
        ("told", Ok(warnings)) => !warnings.is_empty() && warnings.iter().all(|text| text.contains(named)),
        ("refused", Err(text)) => text.len() > "{\"error\":1000}".len(),
        _ => false,
    };
    (!is_right)
        .then(|| format!("{} {} {}: {} is not so: {outcome:?}", row.at, row.option, row.example, row.here))
}

#[test]
fn every_option_does_what_the_page_of_options_says() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let options = ServeOptions {
        home: home.path().join("home"),
        port: Some(0),
        data_port: Some(0),
        environment: [("KUIPER__BASIC__RESTIP".to_owned(), "127.0.0.1".to_owned())].into(),
        ..ServeOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the system gives threads");
    let server = runtime.block_on(start(options)).expect("it starts");
    let api = Api::new(server.port());
    fs::write(home.path().join("home/t"), "{}").expect("it can be written");
    api.sql("CREATE STREAM demo (id BIGINT) WITH (DATASOURCE=\"demo\", TYPE=\"memory\")");
    let wrong: Vec<String> = rows().iter().filter_map(|row| wrong(row, &outcome(&api, row))).collect();
    runtime.block_on(server.stop());
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The options of D-4.
fn ddl_options() -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compat/sql.md");
    let text = fs::read_to_string(file).expect("the spec is there");
    let of_d4 = text
        .lines()
        .skip_while(|line| !line.contains("**D-4**"))
        .take_while(|line| !line.contains("**D-5**"));
    let names = of_d4.filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    names.filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')).map(str::to_owned).collect()
}

#[test]
fn no_option_is_missing_on_the_page_of_options() {
    let rows = rows();
    let has = |section: &str, name: &str| {
        rows.iter().any(|row| row.section.starts_with(section) && row.option.eq_ignore_ascii_case(name))
    };
    let specs = thalweg_connectors::properties();
    let of_all = |owner: &'static str| {
        specs.iter().filter(move |(name, _)| *name == owner).flat_map(|(_, specs)| specs.iter())
    };
    let sources = of_all("every source").filter(|spec| !has("Properties of sources", spec.name));
    let sinks = of_all("every sink").filter(|spec| !has("Properties of actions", spec.name));
    let inert = specs.iter().flat_map(|(_, specs)| specs.iter()).filter(|spec| spec.inert);
    let inert = inert.filter(|spec| !has("Properties", spec.name));
    let missing: Vec<&str> = sources.chain(sinks).chain(inert).map(|spec| spec.name).collect();
    assert!(missing.is_empty(), "missing properties: {missing:?}");
    let options = ddl_options();
    assert_eq!(options.len(), 16, "D-4");
    let missing: Vec<String> = options.into_iter().filter(|name| !has("Options of streams", name)).collect();
    assert!(missing.is_empty(), "missing options of WITH: {missing:?}");
    let options = thalweg_engine::rule::RuleOptions::names();
    let missing: Vec<String> = options.into_iter().filter(|name| !has("Rule options", name)).collect();
    assert!(missing.is_empty(), "missing options: {missing:?}");
}
