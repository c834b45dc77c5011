//! The store's table of keyed state, as rules see it: they read, only the management interface writes.

use std::fmt;
use std::sync::Arc;

use thalweg_core::Value;
use thalweg_core::json::{self, Numbers};
use thalweg_expr::KeyedState;

use super::{Change, Store, StoreError, Table};

/// Keyed state in a store: values as JSON.
pub struct KeyedStates(Arc<dyn Store>);

impl KeyedStates {
    /// The table of this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// The JSON of a key.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn json(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(Table::KeyedState, key)
    }

    /// All keys.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn keys(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.0.scan(Table::KeyedState, "")?.into_iter().map(|(key, _)| key).collect())
    }

    /// Sets a key; `text` is one JSON value.
    ///
    /// # Errors
    /// It is no JSON, or the store cannot be written.
    pub fn set(&self, key: &str, text: &[u8]) -> Result<(), StoreError> {
        json::parse(text, Numbers::Whole).map_err(|why| StoreError(format!("keyed state {key}: {why}")))?;
        self.0.write(&[Change::Put(Table::KeyedState, key.to_owned(), text.to_vec())])
    }

    /// Removes a key, if it is there.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.0.write(&[Change::Delete(Table::KeyedState, key.to_owned())])
    }
}

impl KeyedState for KeyedStates {
    fn get(&self, key: &str) -> Option<Value> {
        let text = self.json(key).ok()??;
        json::parse(&text, Numbers::Whole).ok()
    }
}

impl fmt::Debug for KeyedStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyedStates")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn what_is_set_is_read_and_anything_else_is_nothing() {
        let states = KeyedStates::new(Arc::new(MemoryStore::default()));
        states.set("limit", b"{\"high\": 80}").expect("it is JSON");
        let limit = Value::map([("high".into(), Value::Int(80))].into());
        assert_eq!(states.get("limit"), Some(limit));
        assert_eq!(states.keys(), Ok(vec!["limit".to_owned()]));
        assert!(states.set("x", b"{").is_err_and(|why| why.to_string().contains("keyed state x")));
        states.remove("limit").expect("the store is written");
        assert_eq!(states.get("limit"), None);
    }
}
