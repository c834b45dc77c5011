//! What user interfaces ask before they offer functions and operators (`rest-api.md` 8.1). Ours come from the tables of
//! functions and of operators; those of plugins from the files that are installed with them, as they are.

use std::path::Path;
use std::sync::Arc;

use axum::extract::State;
use serde_json::{Value as Json, json};
use thalweg_engine::{Document, EngineError};
use thalweg_expr::builtin::{SHIPPED, TABLES};
use thalweg_expr::{Arg, ArgKind, Function};

use super::routes::{Routes, get};
use super::{Answer, Failure, blocking, operators};
use crate::server::App;

pub(super) fn routes() -> Routes {
    Routes::new().route("/metadata/functions", get(functions)).route("/metadata/operators", get(operators))
}

async fn functions(State(app): State<Arc<App>>) -> Result<Answer, Failure> {
    let described = blocking(move || {
        let mut all = vec![
            table("The functions of the language.", TABLES),
            table("Functions that eKuiper ships as plugins, and Thalweg has built in.", SHIPPED),
        ];
        all.extend(installed(&app.home.join("etc/functions"))?);
        all.extend(installed(&app.home.join("data/functions"))?);
        all.extend(app.plugins.python().metadata().into_iter().map(Document::Plain));
        Ok(Document::List(all))
    });
    Ok(Answer::document(&described.await?))
}

async fn operators(State(app): State<Arc<App>>) -> Result<Answer, Failure> {
    let described = blocking(move || {
        let mut all: Vec<_> = operators::described().into_iter().map(Document::Plain).collect();
        all.extend(installed(&app.home.join("etc/ops"))?);
        Ok(Document::List(all))
    });
    Ok(Answer::document(&described.await?))
}

/// The JSON files of a folder, in the order of their names. Upstream's own list of built-ins is ours already.
fn installed(folder: &Path) -> Result<Vec<Document>, EngineError> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let is_ours = |path: &Path| {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        path.ends_with("functions/internal.json") || (folder.ends_with("ops") && operators::has(name))
    };
    let is_wanted = |path: &&std::path::PathBuf| {
        path.extension().is_some_and(|ending| ending == "json") && !is_ours(path)
    };
    let read = |path: &std::path::PathBuf| {
        let refuse = |why: String| EngineError::plain(format!("{}: {why}", path.display()));
        let text = std::fs::read(path).map_err(|why| refuse(why.to_string()))?;
        let json: Json = serde_json::from_slice(&text).map_err(|why| refuse(why.to_string()))?;
        Ok(Document::Plain(json))
    };
    files.iter().filter(is_wanted).map(read).collect()
}

fn table(about: &str, tables: &[&[Function]]) -> Document {
    let page = both("");
    let about = json!({
        "trial": false,
        "author": {"name": "Thalweg", "email": "", "company": "", "website": ""},
        "helpUrl": page,
        "description": both(about),
    });
    let functions = tables.iter().copied().flatten().map(function).collect();
    Document::object().with("about", about).with("functions", Document::List(functions))
}

/// Upstream has each text in two languages; we have one.
fn both(text: &str) -> Json {
    json!({"en_US": text, "zh_CN": text})
}

fn function(function: &Function) -> Document {
    let required: Vec<&str> = function.args.iter().filter(|arg| !arg.optional).map(|arg| arg.name).collect();
    let example = format!("{}({})", function.name, required.join(", "));
    let manual = function.manual();
    let hint = format!("{} {}", function.doc.summary, manual.remark);
    let returned = json!({"type": result_type(manual.returns), "hint": both(manual.returns)});
    let node = json!({"category": "function", "icon": "iconPath", "label": both(function.name)});
    Document::object()
        .with("name", function.name)
        .with("example", example)
        .with("aggregate", function.is_aggregate())
        .with("hint", both(hint.trim_end()))
        .with("args", Document::List(function.args.iter().map(argument).collect()))
        .with("return", returned)
        .with("node", node)
}

fn argument(arg: &Arg) -> Document {
    let is_literal = matches!(arg.kind, ArgKind::LiteralInt | ArgKind::LiteralText | ArgKind::LiteralBool);
    let kind = match arg.kind {
        ArgKind::Any => "any",
        ArgKind::Number => "number",
        ArgKind::Int | ArgKind::LiteralInt => "int",
        ArgKind::Text | ArgKind::LiteralText => "string",
        ArgKind::Bool | ArgKind::LiteralBool => "boolean",
        ArgKind::Array => "array",
        ArgKind::Object => "object",
        ArgKind::Time => "datetime",
    };
    Document::object()
        .with("name", arg.name)
        .with("optional", arg.optional)
        .with("control", if is_literal { "text" } else { "field" })
        .with("type", kind)
        .with("hint", both(if arg.repeated { "One or more." } else { "" }))
        .with("label", both(arg.name))
}

/// The manual's words as the types that upstream's files use.
fn result_type(returns: &str) -> &'static str {
    match returns {
        "bigint" => "int",
        "float" => "float",
        "bigint or float" => "number",
        "boolean" => "bool",
        "string" => "string",
        "bytea" => "bytea",
        "datetime" => "datetime",
        "object" => "object",
        other if other.starts_with("array") && !other.contains(" or ") => "array",
        _ => "any",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_of(document: &Document) -> Json {
        serde_json::from_str(&document.compact()).unwrap()
    }

    #[test]
    fn a_function_is_described_as_upstreams_files_do() {
        let avg = TABLES.iter().copied().flatten().find(|function| function.name == "avg").unwrap();
        let described = function(avg).compact();
        let start =
            r#"{"name":"avg","example":"avg(x)","aggregate":true,"hint":{"en_US":"The mean of the numbers"#;
        assert!(described.starts_with(start), "{described}");
        let described = json_of(&function(avg));
        assert_eq!(described["args"][0]["name"], "x");
        assert_eq!(described["args"][0]["type"], "number");
        assert_eq!(described["args"][0]["control"], "field");
        assert_eq!(described["return"]["type"], "number");
        assert_eq!(described["node"]["category"], "function");
        assert_eq!(described["node"]["label"]["zh_CN"], "avg");
    }

    #[test]
    fn all_functions_of_the_table_are_listed_once() {
        let listed = json_of(&table("", TABLES));
        let names: Vec<&str> =
            listed["functions"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 185, "184 and dedup_trigger");
        assert_eq!(names.iter().collect::<std::collections::HashSet<_>>().len(), names.len());
    }

    #[test]
    fn installed_files_are_added_but_not_upstreams_list_of_built_ins() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("functions");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("internal.json"), "{}").unwrap();
        std::fs::write(folder.join("label.json"), r#"{"functions":[{"name":"label"}]}"#).unwrap();
        let found = installed(&folder).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(json_of(&found[0])["functions"][0]["name"], "label");
        std::fs::write(folder.join("bad.json"), "{").unwrap();
        assert!(installed(&folder).unwrap_err().message.contains("bad.json"));
        assert_eq!(installed(&home.path().join("nowhere")).unwrap().len(), 0);
    }
}
