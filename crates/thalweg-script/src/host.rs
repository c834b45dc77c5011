//! All scripts of an instance, by their names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use thalweg_core::Diagnostic;
use thalweg_expr::function::RemoteFunction;
use thalweg_expr::registry::RemoteFunctions;
use tracing::warn;

use crate::function::ScriptFunction;
use crate::limits::Limits;
use crate::script::{Script, ScriptError};

/// Where scripts are kept.
pub trait Shelf: Send + Sync {
    /// All of them.
    ///
    /// # Errors
    /// They cannot be read.
    fn load(&self) -> Result<Vec<Script>, String>;

    /// Keeps one, in the place of another of its name.
    ///
    /// # Errors
    /// Nothing was changed.
    fn put(&self, script: &Script) -> Result<(), String>;

    /// Forgets one.
    ///
    /// # Errors
    /// Nothing was changed.
    fn remove(&self, name: &str) -> Result<(), String>;
}

/// The scripts of one engine. Creating and updating run the script once: call them from where blocking is allowed.
pub struct ScriptHost {
    scripts: Arc<Scripts>,
    shelf: Box<dyn Shelf>,
    /// Held while a script is changed, so that shelf and memory agree.
    changing: Mutex<()>,
}

/// What the functions that rules hold look at.
pub(crate) struct Scripts {
    pub(crate) limits: Limits,
    entries: RwLock<Entries>,
}

#[derive(Default)]
struct Entries {
    by_name: BTreeMap<String, Arc<Entry>>,
    versions: u64,
}

/// A script and the number of its version, which no other has.
pub(crate) struct Entry {
    pub(crate) script: Script,
    pub(crate) version: u64,
}

impl Scripts {
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Entry>> {
        self.read().by_name.get(name).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, script: Script) {
        let mut entries = self.write();
        entries.versions += 1;
        let entry = Arc::new(Entry { version: entries.versions, script });
        entries.by_name.insert(entry.script.id.clone(), entry);
    }
}

impl ScriptHost {
    /// The scripts that are kept. They were checked when they came; one that no longer works fails where it is used.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn open(limits: Limits, shelf: Box<dyn Shelf>) -> Result<Arc<Self>, String> {
        let scripts = Arc::new(Scripts { limits, entries: RwLock::default() });
        shelf.load()?.into_iter().for_each(|script| scripts.put(script));
        Ok(Arc::new(Self { scripts, shelf, changing: Mutex::default() }))
    }

    /// Adds a script.
    ///
    /// # Errors
    /// It cannot be used, cannot be kept, or there is one of its name.
    pub fn create(&self, script: Script) -> Result<(), ScriptError> {
        script.check(&self.scripts.limits)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.scripts.get(&script.id).is_some() {
            return Err(ScriptError::Exists(script.id));
        }
        self.put(script)
    }

    /// Adds a script, or puts it in the place of the one of its name: rules that run call the new one from their next
    /// rows on, with its state from the beginning. Those that called an aggregate that now is none, or the other way
    /// round, keep the old one until they are started again.
    ///
    /// # Errors
    /// It cannot be used, or cannot be kept.
    pub fn update(&self, script: Script) -> Result<(), ScriptError> {
        script.check(&self.scripts.limits)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(script)
    }

    fn put(&self, script: Script) -> Result<(), ScriptError> {
        self.shelf.put(&script).map_err(ScriptError::Store)?;
        if thalweg_expr::registry::builtin(&script.id).is_some() {
            warn!(function = %script.id, "a built-in function has this name and always wins; the script is never called");
        }
        self.scripts.put(script);
        Ok(())
    }

    /// Removes a script. Rules that run keep it until they end.
    ///
    /// # Errors
    /// There is none of this name, or it cannot be removed.
    pub fn delete(&self, name: &str) -> Result<(), ScriptError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.scripts.get(name).is_none() {
            return Err(ScriptError::Missing(name.to_owned()));
        }
        self.shelf.remove(name).map_err(ScriptError::Store)?;
        self.scripts.write().by_name.remove(name);
        Ok(())
    }

    /// The names of all, in order.
    pub fn list(&self) -> Vec<String> {
        self.scripts.read().by_name.keys().cloned().collect()
    }

    /// One of them.
    pub fn describe(&self, name: &str) -> Option<Script> {
        self.scripts.get(name).map(|entry| entry.script.clone())
    }
}

impl RemoteFunctions for ScriptHost {
    fn resolve(&self, name: &str) -> Result<Option<Arc<dyn RemoteFunction>>, Diagnostic> {
        let entry = self.scripts.get(name);
        Ok(entry.map(|entry| Arc::new(ScriptFunction::new(Arc::clone(&self.scripts), entry)) as _))
    }

    fn names(&self) -> Vec<String> {
        self.list()
    }
}
