//! The store on disk: one `redb` file, every write an fsynced transaction.

use std::path::Path;
use std::sync::{PoisonError, RwLock};

use redb::{Database, DatabaseError, ReadableDatabase, TableDefinition, WriteTransaction};

use super::{Change, Store, StoreError, Table};

/// Opened by one process at a time.
pub struct DiskStore {
    /// Nothing once it is closed. Held for reading while it is used, so that closing waits for what is under way.
    database: RwLock<Option<Database>>,
}

impl DiskStore {
    /// Opens the file, or makes it. After a crash it is as the last finished write left it.
    ///
    /// # Errors
    /// Another process has it open, it is no store, or the folder cannot be written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let place = path.display();
        let database = Database::create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => {
                StoreError(format!("{place} is in use by another thalweg; give this one its own --home"))
            }
            error => StoreError(format!("cannot open {place}: {error}")),
        })?;
        let store = Self { database: RwLock::new(Some(database)) };
        // A read of a table that was never written is an error in redb, so all are made here.
        store.in_transaction(|transaction| {
            Table::ALL
                .iter()
                .try_for_each(|table| transaction.open_table(definition(*table)).map(drop).map_err(failed))
        })?;
        Ok(store)
    }

    fn opened<T>(&self, work: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        work(database.as_ref().ok_or_else(|| StoreError("closed, the engine has stopped".to_owned()))?)
    }

    fn in_transaction(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.opened(|database| {
            let transaction = database.begin_write().map_err(failed)?;
            work(&transaction)?;
            transaction.commit().map_err(failed)
        })
    }

    /// What `pick` takes of the entries whose key starts with `prefix`.
    fn within<T>(
        &self,
        table: Table,
        prefix: &str,
        pick: impl Fn(&str, &[u8]) -> T,
    ) -> Result<Vec<T>, StoreError> {
        self.opened(|database| {
            let transaction = database.begin_read().map_err(failed)?;
            let table = transaction.open_table(definition(table)).map_err(failed)?;
            let mut picked = Vec::new();
            for entry in table.range(prefix..).map_err(failed)? {
                let (key, value) = entry.map_err(failed)?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                picked.push(pick(key.value(), value.value()));
            }
            Ok(picked)
        })
    }
}

fn definition(table: Table) -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(table.name())
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError(error.to_string())
}

impl Store for DiskStore {
    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.opened(|database| {
            let transaction = database.begin_read().map_err(failed)?;
            let table = transaction.open_table(definition(table)).map_err(failed)?;
            let value = table.get(key).map_err(failed)?;
            Ok(value.map(|value| value.value().to_vec()))
        })
    }

    fn scan(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.within(table, prefix, |key, value| (key.to_owned(), value.to_vec()))
    }

    fn keys(&self, table: Table, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.within(table, prefix, |key, _| key.to_owned())
    }

    fn write(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.in_transaction(|transaction| {
            for change in changes {
                match change {
                    Change::Put(table, key, value) => {
                        let mut table = transaction.open_table(definition(*table)).map_err(failed)?;
                        table.insert(key.as_str(), value.as_slice()).map_err(failed)?;
                    }
                    Change::Delete(table, key) => {
                        let mut table = transaction.open_table(definition(*table)).map_err(failed)?;
                        table.remove(key.as_str()).map_err(failed)?;
                    }
                }
            }
            Ok(())
        })
    }

    fn close(&self) {
        drop(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
    }
}
