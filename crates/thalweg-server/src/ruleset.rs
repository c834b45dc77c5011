//! Streams, tables and rules of one document (`rest-api.md` 14.1), whoever brings it: `POST /ruleset/import` or a file
//! at the start.

use serde_json::{Map, Value as Json};
use thalweg_core::Props;
use thalweg_engine::Engine;
use thalweg_sql::ast::SourceKind;
use tracing::warn;

/// A document that was read.
pub(crate) struct RuleSet(Props);

impl RuleSet {
    /// Reads a text.
    ///
    /// # Errors
    /// It is no JSON object.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        match serde_json::from_str(text) {
            Ok(Json::Object(members)) => Ok(Self(Props::from(members))),
            Ok(_) => Err(": it must be an object".to_owned()),
            Err(why) => Err(format!(" {why}")),
        }
    }

    fn members(&self, name: &str) -> Map<String, Json> {
        self.0.get(name).and_then(Json::as_object).cloned().unwrap_or_default()
    }

    /// Makes or replaces streams or tables; how many that worked for. Waits for the disk.
    pub(crate) fn define(&self, engine: &Engine, kind: SourceKind) -> usize {
        let name = if kind == SourceKind::Table { "tables" } else { "streams" };
        let one = |(name, sql): &(String, Json)| {
            let replaced = engine.catalog().replace(kind, name, sql.as_str().unwrap_or_default());
            let why = replaced.as_ref().err().map(|why| why.message.as_str());
            why.inspect(|why| warn!(name, why, "a definition is not imported")).is_none()
        };
        self.members(name).into_iter().filter(one).count()
    }

    /// Makes or replaces rules; how many that worked for.
    pub(crate) async fn rules(&self, engine: &Engine) -> usize {
        let mut done = 0;
        for (id, text) in self.members("rules") {
            match engine.rules().update(&id, text.as_str().unwrap_or_default().to_owned()).await {
                Ok(_) => done += 1,
                Err(why) => warn!(rule = id, why = why.message, "a rule is not imported"),
            }
        }
        done
    }
}
