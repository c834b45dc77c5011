//! What files of the home folder define at the start: `connections/connection.yaml` (configuration.md 6) and `init.json`
//! (7).

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::{Value as Json, json};
use thalweg_engine::Engine;
use thalweg_sql::ast::SourceKind;
use tracing::{info, warn};

use crate::environment::{self, Environment};
use crate::home::Home;
use crate::ruleset::RuleSet;
use crate::yaml;

/// Where is noted what `connection.yaml` said when it was last applied.
const APPLIED: &str = "data/connections/applied";

/// The definitions of `init.json` files whose rules are to come yet.
pub(crate) struct Pending(Vec<RuleSet>);

/// What comes before the stored rules: connections, streams and tables.
pub(crate) async fn before_rules(engine: &Engine, home: &Home, environment: &Environment) -> Pending {
    if let Err(why) = connections(engine, home, environment).await {
        warn!(why, "etc/connections/connection.yaml is not applied; the next start tries again");
    }
    let mut sets = Vec::new();
    for folder in ["data", "etc"] {
        match init(&home.join(folder)) {
            Ok(None) => {}
            Ok(Some(set)) => {
                let streams = set.define(engine, SourceKind::Stream);
                let tables = set.define(engine, SourceKind::Table);
                info!(folder, streams, tables, "init.json is imported");
                sets.push(set);
            }
            Err(why) => warn!(why, folder, "init.json is not imported"),
        }
    }
    Pending(sets)
}

impl Pending {
    /// What comes behind the stored rules: the rules of `init.json`.
    pub(crate) async fn after_rules(self, engine: &Engine) {
        for set in self.0 {
            let rules = set.rules(engine).await;
            info!(rules, "the rules of init.json are imported");
        }
    }
}

/// The `init.json` of a folder unless it was imported before, as the marker beside it says. The marker is written in
/// any case, as upstream does.
fn init(folder: &Path) -> Result<Option<RuleSet>, String> {
    let file = folder.join("init.json");
    let told = |why: std::io::Error| format!("{}: {why}", file.display());
    let changed = match std::fs::metadata(&file).and_then(|about| about.modified()) {
        Ok(time) => time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis()),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(told(why)),
    };
    let marker = folder.join(format!("initialized{changed}"));
    if marker.exists() {
        return Ok(None);
    }
    for old in markers(folder) {
        let _ = std::fs::remove_file(old);
    }
    if let Err(why) = std::fs::write(&marker, "") {
        warn!(%why, marker = %marker.display(), "cannot note that init.json is imported; the next start does it again");
    }
    let text = std::fs::read_to_string(&file).map_err(told)?;
    RuleSet::read(&text).map(Some).map_err(|why| format!("{}{why}", file.display()))
}

fn markers(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_marker = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix("initialized").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    entries.map(|entry| entry.path()).filter(is_marker).collect()
}

/// Makes and removes the connections of the file, if it says something else than when it was last applied.
async fn connections(engine: &Engine, home: &Home, environment: &Environment) -> Result<(), String> {
    let tree = connection_tree(home, environment)?;
    let Json::Object(kinds) = &tree else { return Ok(()) };
    let digest = ring::digest::digest(&ring::digest::SHA256, tree.to_string().as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let applied = home.join(APPLIED);
    if std::fs::read_to_string(&applied).is_ok_and(|before| before == digest) {
        return Ok(());
    }
    let mut failed = Vec::new();
    for (kind, entries) in kinds {
        for (id, props) in entries.as_object().into_iter().flatten() {
            if let Err(why) = connection(engine, kind, id, props).await {
                failed.push(format!("{kind}.{id}: {why}"));
            }
        }
    }
    if !failed.is_empty() {
        return Err(failed.join("; "));
    }
    let folder = applied.parent().unwrap_or(Path::new("."));
    let noted = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&applied, digest));
    noted.map_err(|why| format!("{}: {why}", applied.display()))
}

/// The file with the environment on top.
pub(crate) fn connection_tree(home: &Home, environment: &Environment) -> Result<Json, String> {
    let written = yaml::read(&home.join("etc/connections/connection.yaml"))?.unwrap_or_default();
    let mut tree = if written.is_null() { json!({}) } else { written };
    yaml::overlay(&mut tree, &environment::tree(environment, "connection"));
    Ok(tree)
}

/// `create`, which never replaces, or `delete`.
async fn connection(engine: &Engine, kind: &str, id: &str, props: &Json) -> Result<(), String> {
    let Json::Object(props) = props else { return Err("it must hold properties".to_owned()) };
    let operation =
        yaml::member(&Json::Object(props.clone()), "xOperation").and_then(Json::as_str).map(str::to_owned);
    let exists = engine.describe_connection(id).is_ok();
    match operation.as_deref().unwrap_or("create") {
        "delete" if exists => engine.delete_connection(id).await.map_err(|why| why.message),
        "create" if !exists => {
            let own = props.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("xOperation"));
            let own: serde_json::Map<String, Json> =
                own.map(|(name, value)| (name.clone(), value.clone())).collect();
            let body = json!({"id": id, "typ": kind, "props": own}).to_string();
            engine.create_connection(body.as_bytes()).await.map_err(|why| why.message)
        }
        "create" | "delete" => Ok(()),
        other => Err(format!("xOperation must be create or delete, not {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_file_is_imported_once_and_again_when_it_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(init(folder.path()).expect("none is no mistake").is_none());
        let file = folder.path().join("init.json");
        std::fs::write(&file, "{\"streams\":{}}").expect("written");
        assert!(init(folder.path()).expect("it can be read").is_some());
        assert!(init(folder.path()).expect("it is known").is_none());
        let later = UNIX_EPOCH + std::time::Duration::from_secs(5);
        std::fs::File::open(&file).and_then(|file| file.set_modified(later)).expect("it is ours");
        assert!(init(folder.path()).expect("it can be read").is_some());
        assert_eq!(markers(folder.path()), [folder.path().join("initialized5000")]);
        std::fs::write(&file, "[]").expect("written");
        assert!(init(folder.path()).is_err());
    }
}
