//! What a rule looks like: its graph and its columns.

use std::sync::Arc;

use thalweg_core::ErrorCode;

use super::{Phase, Rules};
use crate::document::Document;
use crate::error::EngineError;

impl Rules {
    /// The graph of a rule (R3.5).
    ///
    /// # Errors
    /// There is none, or it was never started since boot.
    pub fn topology(&self, id: &str) -> Result<Document, EngineError> {
        let never = || never_started(id, "topo");
        let needs = self.known(id)?.needs().ok_or_else(never)?;
        let topology = &needs.shape.topology;
        let names = |names: &[Arc<str>]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let edges = topology.edges.iter().map(|(from, to)| (from.to_string(), names(to).into())).collect();
        Ok(Document::object()
            .with("sources", names(&topology.sources))
            .with("edges", Document::Object(edges)))
    }

    /// The named output columns of a running rule.
    ///
    /// # Errors
    /// There is none, or it does not run.
    pub fn schema(&self, id: &str) -> Result<Document, EngineError> {
        let entry = self.known(id)?;
        if entry.view().phase != Phase::Running {
            return Err(never_started(id, "schema"));
        }
        let mut schema = Document::object();
        let needs = entry.needs().unwrap_or_default();
        for (index, name) in needs.shape.columns.iter().enumerate() {
            schema.push(name.as_ref(), Document::object().with("hasIndex", true).with("index", index));
        }
        Ok(schema)
    }
}

fn never_started(id: &str, what: &str) -> EngineError {
    let text = format!("Fail to get rule {id}'s {what}, make sure the rule has been started before");
    EngineError::new(ErrorCode::General, text)
}
