//! Checkpoints over a store: the newest and the one before of each rule, each written whole or not at all. The one
//! before is there for an entry that the disk has damaged (R7.5).

use std::sync::Arc;

use thalweg_runtime::{Entry, Snapshot, SnapshotStore};

use super::{Change, Store, StoreError, Table};

/// How many checkpoints of a rule are kept.
const KEPT: usize = 2;

/// The checkpoints of all rules.
#[derive(Clone)]
pub struct Snapshots {
    store: Arc<dyn Store>,
}

impl Snapshots {
    /// Checkpoints in this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Keeps snapshots and drops the ones that are too old, all in one write.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn save(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let mut changes = Vec::with_capacity(2 * entries.len());
        for Entry { rule, epoch, bytes } in entries {
            let key = format!("{}{:020}", prefix(rule), (*epoch).max(0));
            let mut older = self.store.keys(Table::Checkpoint, &prefix(rule))?;
            older.retain(|other| *other != key);
            let n_old = (older.len() + 1).saturating_sub(KEPT);
            changes.push(Change::Put(Table::Checkpoint, key, bytes.clone()));
            changes.extend(older.into_iter().take(n_old).map(|key| Change::Delete(Table::Checkpoint, key)));
        }
        self.store.write(&changes)
    }

    /// The newest snapshot of a rule that is whole.
    ///
    /// # Errors
    /// The store cannot be read, or snapshots exist and none is whole.
    pub fn newest(&self, rule: &str) -> Result<Option<Snapshot>, StoreError> {
        let mut damage = None;
        for key in self.store.keys(Table::Checkpoint, &prefix(rule))?.into_iter().rev() {
            let Some(bytes) = self.store.get(Table::Checkpoint, &key)? else { continue };
            match Snapshot::decode(&bytes) {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(error) => {
                    tracing::error!(rule, checkpoint = key, %error, "checkpoint passed over");
                    damage = Some(StoreError(error.to_string()));
                }
            }
        }
        damage.map_or(Ok(None), Err)
    }

    /// Drops all snapshots of a rule.
    ///
    /// # Errors
    /// Nothing was dropped.
    pub fn remove(&self, rule: &str) -> Result<(), StoreError> {
        let changes = self.removal(rule)?;
        if changes.is_empty() { Ok(()) } else { self.store.write(&changes) }
    }

    /// What drops all snapshots of a rule.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn removal(&self, rule: &str) -> Result<Vec<Change>, StoreError> {
        let keys = self.store.keys(Table::Checkpoint, &prefix(rule))?.into_iter();
        Ok(keys.map(|key| Change::Delete(Table::Checkpoint, key)).collect())
    }
}

impl SnapshotStore for Snapshots {
    fn save(&self, entries: &[Entry]) -> Result<(), String> {
        Snapshots::save(self, entries).map_err(|why| why.to_string())
    }

    fn newest(&self, rule: &str) -> Result<Option<Snapshot>, String> {
        Snapshots::newest(self, rule).map_err(|why| why.to_string())
    }

    fn remove(&self, rule: &str) -> Result<(), String> {
        Snapshots::remove(self, rule).map_err(|why| why.to_string())
    }
}

/// Ids hold no slash, so no rule's prefix is another's.
fn prefix(rule: &str) -> String {
    format!("{rule}/")
}
