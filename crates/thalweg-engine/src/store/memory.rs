//! A store that forgets: for tests and trials.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{Change, Store, StoreError, Table};

/// A map.
#[derive(Debug, Default)]
pub struct MemoryStore {
    entries: Mutex<BTreeMap<(Table, String), Vec<u8>>>,
}

impl Store for MemoryStore {
    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(entries.get(&(table, key.to_owned())).cloned())
    }

    fn scan(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let from = entries.range((table, prefix.to_owned())..);
        let within = from.take_while(|((other, key), _)| *other == table && key.starts_with(prefix));
        Ok(within.map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn keys(&self, table: Table, prefix: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.scan(table, prefix)?.into_iter().map(|(key, _)| key).collect())
    }

    fn write(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            match change {
                Change::Put(table, key, value) => {
                    entries.insert((*table, key.clone()), value.clone());
                }
                Change::Delete(table, key) => {
                    entries.remove(&(*table, key.clone()));
                }
            }
        }
        Ok(())
    }
}
