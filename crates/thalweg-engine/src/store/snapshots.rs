//! Checkpoints over a store: the newest three of each rule (R7.5), each written whole or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_runtime::{Snapshot, SnapshotStore};

use super::{Change, Store, StoreError, Table};

/// How many checkpoints of a rule are kept.
const KEPT: usize = 3;

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

    /// Keeps a snapshot and drops the ones that are too old, in one write.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn save(&self, rule: &str, snapshot: &Snapshot) -> Result<(), StoreError> {
        let key = format!("{}{:020}", prefix(rule), snapshot.epoch.max(0));
        let mut changes = vec![Change::Put(Table::Checkpoint, key.clone(), encode(snapshot))];
        let older: Vec<String> =
            self.store.scan(Table::Checkpoint, &prefix(rule))?.into_iter().map(|(key, _)| key).collect();
        let older: Vec<String> = older.into_iter().filter(|other| *other != key).collect();
        let n_old = (older.len() + 1).saturating_sub(KEPT);
        changes.extend(older.into_iter().take(n_old).map(|key| Change::Delete(Table::Checkpoint, key)));
        self.store.write(&changes)
    }

    /// The newest snapshot of a rule that can be read.
    ///
    /// # Errors
    /// The store cannot be read, or snapshots exist and none is whole.
    pub fn newest(&self, rule: &str) -> Result<Option<Snapshot>, StoreError> {
        let mut damage = None;
        for (_, bytes) in self.store.scan(Table::Checkpoint, &prefix(rule))?.into_iter().rev() {
            match decode(&bytes) {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(error) => damage = Some(StoreError(error.to_string())),
            }
        }
        damage.map_or(Ok(None), Err)
    }

    /// Drops all snapshots of a rule.
    ///
    /// # Errors
    /// Nothing was dropped.
    pub fn remove(&self, rule: &str) -> Result<(), StoreError> {
        let keys = self.store.scan(Table::Checkpoint, &prefix(rule))?.into_iter().map(|(key, _)| key);
        let changes: Vec<Change> = keys.map(|key| Change::Delete(Table::Checkpoint, key)).collect();
        if changes.is_empty() { Ok(()) } else { self.store.write(&changes) }
    }
}

impl SnapshotStore for Snapshots {
    fn save(&self, rule: &str, snapshot: &Snapshot) -> Result<(), String> {
        Snapshots::save(self, rule, snapshot).map_err(|why| why.to_string())
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

fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let mut out = StateWriter::new();
    out.section("rule", 1);
    out.u64(snapshot.fingerprint);
    out.i64(snapshot.epoch);
    for part in [&snapshot.nodes, &snapshot.offsets] {
        out.u64(part.len() as u64);
        for (name, bytes) in part {
            out.text(name);
            out.bytes(bytes);
        }
    }
    out.finish()
}

fn decode(bytes: &[u8]) -> Result<Snapshot, StateError> {
    let mut from = StateReader::new(bytes);
    from.section("rule", 1)?;
    let (fingerprint, epoch) = (from.u64()?, from.i64()?);
    let mut parts = [BTreeMap::new(), BTreeMap::new()];
    for part in &mut parts {
        for _ in 0..from.read_len()? {
            let name = from.text()?.to_owned();
            part.insert(name, from.bytes()?.to_vec());
        }
    }
    let [nodes, offsets] = parts;
    Ok(Snapshot { fingerprint, epoch, nodes, offsets })
}
