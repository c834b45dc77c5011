//! Who listens to which topic.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use thalweg_core::time::Timestamp;
use thalweg_core::value::Fields;

use super::topic::matches;

/// One publication.
pub(crate) struct Item<'a> {
    /// The topic as resolved for this message.
    pub(crate) topic: &'a str,
    /// The rows of one result.
    pub(crate) rows: &'a [Arc<Fields>],
    /// When it was published.
    pub(crate) time: Timestamp,
    /// How tables are to take the rows; `None`: upsert by the table's own key.
    pub(crate) change: Option<&'a Change>,
}

/// The columns by which a sink says what a row does to a table.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// Holds insert, update, upsert or delete.
    pub(crate) rowkind_field: Arc<str>,
    /// Holds the key.
    pub(crate) key_field: Arc<str>,
}

/// A subscriber.
pub(crate) trait Listener: Send + Sync {
    /// Takes a publication. Never waits.
    fn take(&self, item: &Item<'_>);
}

/// A filter and who listens to it.
type Subscription = (Arc<str>, Weak<dyn Listener>);

/// The topics of one engine.
#[derive(Default)]
pub(crate) struct Hub {
    listeners: RwLock<Vec<Subscription>>,
}

impl Hub {
    /// Subscribes for as long as the listener lives.
    pub(crate) fn subscribe(&self, filter: &str, listener: Weak<dyn Listener>) {
        let mut listeners = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|(_, listener)| listener.strong_count() > 0);
        listeners.push((Arc::from(filter), listener));
    }

    /// Gives the item to everybody whose filter matches.
    pub(crate) fn publish(&self, item: &Item<'_>) {
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        for (filter, listener) in listeners.iter() {
            if matches(filter, item.topic)
                && let Some(listener) = listener.upgrade()
            {
                listener.take(item);
            }
        }
    }
}
