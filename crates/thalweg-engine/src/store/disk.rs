//! The store on disk: one `redb` file, every write durable before it returns.
//!
//! Writes that come while another one waits for the disk wait together: whoever goes next takes all of them into one
//! transaction, so that many at once share an fsync.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use redb::{Database, DatabaseError, ReadableDatabase, TableDefinition, WriteTransaction};

use super::{Change, Store, StoreError, Table};

/// Opened by one process at a time.
pub struct DiskStore {
    /// Nothing once it is closed. Held for reading while it is used, so that closing waits for what is under way.
    database: RwLock<Option<Database>>,
    line: Mutex<Line>,
    /// Told when a transaction is through.
    moved: Condvar,
}

/// The writes that wait for the one that is under way.
#[derive(Default)]
struct Line {
    /// The number of the next write.
    next: u64,
    is_busy: bool,
    waiting: Vec<(u64, Vec<Change>)>,
    /// What became of writes that others have taken along.
    done: BTreeMap<u64, Result<(), StoreError>>,
}

/// What is read stays in memory up to here; definitions are read once, when the engine starts.
const CACHE: usize = 1 << 20;

impl DiskStore {
    /// Opens the file, or makes it. After a crash it is as the last finished write left it.
    ///
    /// # Errors
    /// Another process has it open, it is no store, or the folder cannot be written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let place = path.display();
        let database =
            Database::builder().set_cache_size(CACHE).create(path).map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => {
                    StoreError(format!("{place} is in use by another thalweg; give this one its own --home"))
                }
                error => StoreError(format!("cannot open {place}: {error}")),
            })?;
        Self::on(database)
    }

    /// On an open database.
    pub(super) fn on(database: Database) -> Result<Self, StoreError> {
        let database = RwLock::new(Some(database));
        let store = Self { database, line: Mutex::default(), moved: Condvar::new() };
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

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits, and `own` before it. The result of `own`.
    fn go(&self, mut line: MutexGuard<'_, Line>, own: Option<&[Change]>) -> Result<(), StoreError> {
        line.is_busy = true;
        let waiting = std::mem::take(&mut line.waiting);
        drop(line);
        let all = || own.into_iter().chain(waiting.iter().map(|(_, changes)| &changes[..]));
        let together = self.commit(all());
        // Nobody fails for what another one asks.
        let alone = |changes: &[Change]| match &together {
            Err(_) if all().count() > 1 => self.commit(std::iter::once(changes)),
            result => result.clone(),
        };
        let result = own.map_or(Ok(()), alone);
        let done: Vec<_> = waiting.iter().map(|(number, changes)| (*number, alone(changes))).collect();
        let mut line = self.line();
        line.done.extend(done);
        line.is_busy = false;
        drop(line);
        self.moved.notify_all();
        result
    }

    /// All of these writes in one transaction.
    fn commit<'c>(&self, writes: impl Iterator<Item = &'c [Change]>) -> Result<(), StoreError> {
        // Others wait for the answer, so that there must be one.
        let work = AssertUnwindSafe(|| {
            self.in_transaction(|transaction| {
                writes.flatten().try_for_each(|change| apply(transaction, change))
            })
        });
        catch_unwind(work).unwrap_or_else(|_| Err(StoreError("internal error while writing".to_owned())))
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

fn apply(transaction: &WriteTransaction, change: &Change) -> Result<(), StoreError> {
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
    Ok(())
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
        let mut line = self.line();
        if line.is_busy {
            let number = line.next;
            line.next += 1;
            line.waiting.push((number, changes.to_vec()));
            while line.is_busy && !line.done.contains_key(&number) {
                line = self.moved.wait(line).unwrap_or_else(PoisonError::into_inner);
            }
            if let Some(done) = line.done.remove(&number) {
                return done;
            }
            // Nobody else: this one goes for all that wait, itself among them.
            self.go(line, None)?;
            let lost = || Err(StoreError("internal error: a write is lost".to_owned()));
            return self.line().done.remove(&number).unwrap_or_else(lost);
        }
        self.go(line, Some(changes))
    }

    fn close(&self) {
        drop(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
    }
}
