//! Imports in the background (`rest-api.md` 14.4). Their state is kept in the store.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use thalweg_core::Clock;
use thalweg_engine::store::{Change, Store, StoreError, Table};
use tracing::warn;

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TaskStatus {
    Register,
    Running,
    Finish,
    Error,
    Cancel,
}

impl TaskStatus {
    fn is_over(self) -> bool {
        !matches!(self, Self::Register | Self::Running)
    }
}

/// A task, as it is answered and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) status: TaskStatus,
    pub(crate) message: String,
    /// Seconds since 1970.
    pub(crate) created_timestamp: i64,
    pub(crate) updated_timestamp: i64,
}

/// All tasks.
pub(crate) struct Tasks {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    known: Mutex<BTreeMap<String, Known>>,
}

struct Known {
    task: Task,
    cancelled: Arc<AtomicBool>,
}

/// So many tasks that are over are remembered.
const REMEMBERED: usize = 100;

/// What is said of a task that the last end of the engine has cut off.
const CUT_OFF: &str = "err:the engine ended while the import was under way, and has done it again at its start; \
GET /data/import/status tells what failed, response:";

impl Tasks {
    /// Reads what is stored. What was running then is an error now.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub(crate) fn open(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let told = |why: StoreError| why.to_string();
        let tasks = Self { store, clock, known: Mutex::default() };
        for (id, bytes) in tasks.store.scan(Table::Task, "").map_err(told)? {
            let Ok(mut task) = serde_json::from_slice::<Task>(&bytes) else {
                warn!(task = id, "a stored task cannot be read and is left out");
                continue;
            };
            if !task.status.is_over() {
                task.status = TaskStatus::Error;
                task.message = CUT_OFF.to_owned();
                task.updated_timestamp = tasks.now();
                tasks.write(&task).map_err(told)?;
            }
            tasks.lock().insert(id, Known { task, cancelled: Arc::default() });
        }
        Ok(tasks)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> i64 {
        self.clock.now().0.div_euclid(1_000)
    }

    fn write(&self, task: &Task) -> Result<(), StoreError> {
        // Texts and numbers, none of which can fail.
        let bytes = serde_json::to_vec(task).unwrap_or_default();
        self.store.write(&[Change::Put(Table::Task, task.id.clone(), bytes)])
    }

    /// Begins a task, and what tells it to end.
    ///
    /// # Errors
    /// One was begun in the same second, or the store cannot be written.
    pub(crate) fn begin(&self) -> Result<(String, Arc<AtomicBool>), String> {
        let now = self.now();
        let id = format!("dataImport-{now}");
        let mut known = self.lock();
        if known.contains_key(&id) {
            return Err(format!("async task: {id} already exists; one import a second can be begun"));
        }
        let task = Task {
            id: id.clone(),
            status: TaskStatus::Register,
            message: String::new(),
            created_timestamp: now,
            updated_timestamp: now,
        };
        self.write(&task).map_err(|why| why.to_string())?;
        let cancelled = Arc::<AtomicBool>::default();
        known.insert(id.clone(), Known { task, cancelled: Arc::clone(&cancelled) });
        self.forget_old(&mut known);
        Ok((id, cancelled))
    }

    fn forget_old(&self, known: &mut BTreeMap<String, Known>) {
        let over = known.values().filter(|known| known.task.status.is_over());
        let mut over: Vec<_> =
            over.map(|known| (known.task.created_timestamp, known.task.id.clone())).collect();
        over.sort();
        let too_many = over.len().saturating_sub(REMEMBERED);
        let changes: Vec<_> = over.drain(..too_many).map(|(_, id)| Change::Delete(Table::Task, id)).collect();
        for change in &changes {
            if let Change::Delete(_, id) = change {
                known.remove(id);
            }
        }
        if let Err(why) = self.store.write(&changes) {
            warn!(%why, "tasks of long ago stay in the store");
        }
    }

    /// Notes where a task stands; one that is over stays as it is.
    pub(crate) fn set(&self, id: &str, status: TaskStatus, message: String) {
        let now = self.now();
        let mut known = self.lock();
        let Some(known) = known.get_mut(id).filter(|known| !known.task.status.is_over()) else { return };
        let task = &mut known.task;
        (task.status, task.message, task.updated_timestamp) = (status, message, now);
        if let Err(why) = self.write(task) {
            warn!(%why, task = id, "the state of a task is not kept");
        }
    }

    /// A task.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn get(&self, id: &str) -> Result<Task, String> {
        let known = self.lock();
        known.get(id).map(|known| known.task.clone()).ok_or_else(|| format!("async task: {id} not found"))
    }

    /// Tells a task to end. One that is over stays as it is.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn cancel(&self, id: &str) -> Result<(), String> {
        let known = self.lock();
        let found = known.get(id).ok_or_else(|| format!("async task: {id} not found"))?;
        found.cancelled.store(true, Ordering::Relaxed);
        drop(known);
        self.set(id, TaskStatus::Cancel, "canceled; what was imported before stays".to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::Timestamp;
    use thalweg_core::time::ManualClock;
    use thalweg_engine::store::MemoryStore;

    use super::*;

    #[test]
    fn a_task_that_was_running_when_the_engine_ended_is_an_error_then() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let at = |millis| ManualClock::at(Timestamp(millis));
        let tasks = Tasks::open(Arc::clone(&store), at(5_000)).expect("it can be read");
        let (id, _) = tasks.begin().expect("it is the first");
        assert_eq!(id, "dataImport-5");
        assert!(tasks.begin().is_err_and(|why| why.contains("dataImport-5 already exists")));
        tasks.set(&id, TaskStatus::Running, String::new());
        store.write(&[Change::Put(Table::Task, "broken".to_owned(), b"{".to_vec())]).expect("written");
        let tasks = Tasks::open(store, at(9_000)).expect("it can be read");
        let task = tasks.get(&id).expect("it is kept");
        assert_eq!((task.status, task.created_timestamp, task.updated_timestamp), (TaskStatus::Error, 5, 9));
        assert!(task.message.contains("the engine ended"), "{}", task.message);
    }

    #[test]
    fn a_task_that_is_over_stays_as_it_is_and_old_ones_are_forgotten() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let clock = ManualClock::at(Timestamp(0));
        let tasks = Tasks::open(Arc::clone(&store), clock.clone()).expect("it can be read");
        for second in 0..110 {
            clock.advance_to(Timestamp(second * 1_000));
            let (id, cancelled) = tasks.begin().expect("another second");
            tasks.cancel(&id).expect("it is known");
            assert!(cancelled.load(Ordering::Relaxed));
            tasks.set(&id, TaskStatus::Finish, "late".to_owned());
            assert_eq!(tasks.get(&id).expect("it is known").status, TaskStatus::Cancel);
        }
        assert_eq!(tasks.get("dataImport-0"), Err("async task: dataImport-0 not found".to_owned()));
        assert_eq!(store.keys(Table::Task, "").map(|keys| keys.len()), Ok(REMEMBERED + 1));
        assert_eq!(tasks.cancel("x"), Err("async task: x not found".to_owned()));
    }
}
