//! What import and export ask of rules (`rest-api.md` 14).

use super::{Record, RuleDefinition, Rules, Signal, of_text, settle};
use crate::error::EngineError;
use crate::id::may_replace;
use std::sync::{Arc, PoisonError};

impl Rules {
    /// The ids of all rules, those that cannot be read among them.
    pub fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.all().iter().map(|entry| entry.id.to_string()).collect();
        ids.extend(self.broken.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        ids
    }

    /// Creates or replaces a rule that begins with the next start of the engine, if its document says so; now it stands
    /// still.
    ///
    /// # Errors
    /// As [`Rules::update`].
    pub async fn keep(&self, id: &str, text: String) -> Result<(), EngineError> {
        let read = self.read(text, Some(id.to_owned())).await;
        let definition = read.map_err(|why| why.prefixed("Invalid rule json: "))?;
        let _turn = self.turn(id).await;
        let old = self.find(id);
        if let Some(old) = old.as_ref().map(|entry| entry.record())
            && !may_replace(&old.version, &definition.version)
        {
            return Err(too_old(id, &old.version, &definition.version));
        }
        let record = Record::from(&definition);
        drop(self.build(definition).await.map_err(|why| of_text(why, "Invalid rule json: "))?);
        self.save(&record).await?;
        match old {
            Some(entry) => {
                entry.set_record(record);
                self.control.signal(&entry.id, Signal::Stop(Arc::from("stopped by import"))).await;
                settle(&entry).await;
            }
            None => drop(self.insert(record)),
        }
        Ok(())
    }

    /// What is written in a rule, its streams and its actions without having an effect here. Empty when it cannot be built.
    pub async fn notes(&self, id: &str) -> Vec<String> {
        let Some(entry) = self.find(id) else { return Vec::new() };
        if let Some(needs) = entry.needs() {
            return needs.shape.notes.clone();
        }
        let Ok(definition) = entry.record().definition(&self.defaults) else { return Vec::new() };
        self.build(definition).await.map(|built| built.needs.shape.notes.clone()).unwrap_or_default()
    }

    /// A rule as it was read.
    ///
    /// # Errors
    /// There is none that is stored.
    pub fn definition(&self, id: &str) -> Result<RuleDefinition, EngineError> {
        self.stored(id)?.record().definition(&self.defaults)
    }
}

/// R1.10.
pub(super) fn too_old(id: &str, was: &str, is: &str) -> EngineError {
    EngineError::plain(format!("rule {id} already exists with version ({was}), new version ({is}) is lower"))
}
