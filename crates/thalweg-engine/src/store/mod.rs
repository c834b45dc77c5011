//! Where definitions and checkpoints are kept: tables of key to bytes, written in atomic changes.

mod disk;
mod keyed_state;
mod memory;
mod snapshots;

use thiserror::Error;

pub use disk::DiskStore;
pub use keyed_state::KeyedStates;
pub use memory::MemoryStore;
pub use snapshots::Snapshots;

/// The tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Name → stream or table.
    Stream,
    /// Id → rule document as posted.
    Rule,
    /// Id → named connection.
    Connection,
    /// `sources.<type>.<key>`, `sinks.<type>.<key>` → stored properties.
    Profile,
    /// Name → install request of a portable plugin.
    Plugin,
    /// Name → JavaScript function.
    Script,
    /// Name → what was sent to make an upload.
    Upload,
    /// `pending` → the import under way, `status` → what went wrong in the last one.
    Import,
    /// Id → task in the background.
    Task,
    /// `<rule>/<epoch>` → snapshot.
    Checkpoint,
    /// Key → JSON that `get_keyed_state` reads.
    KeyedState,
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 11] = [
        Self::Stream,
        Self::Rule,
        Self::Connection,
        Self::Profile,
        Self::Plugin,
        Self::Script,
        Self::Upload,
        Self::Import,
        Self::Task,
        Self::Checkpoint,
        Self::KeyedState,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Rule => "rule",
            Self::Connection => "connection",
            Self::Profile => "profile",
            Self::Plugin => "plugin",
            Self::Script => "script",
            Self::Upload => "upload",
            Self::Import => "import",
            Self::Task => "task",
            Self::Checkpoint => "checkpoint",
            Self::KeyedState => "keyed_state",
        }
    }
}

/// One change of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets a value.
    Put(Table, String, Vec<u8>),
    /// Removes a value, if it is there.
    Delete(Table, String),
}

/// Why the store cannot do it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("store: {0}")]
pub struct StoreError(pub String);

/// Tables of key to bytes.
pub trait Store: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// The store cannot be read.
    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// All entries whose key starts with `prefix`, in key order.
    ///
    /// # Errors
    /// The store cannot be read.
    fn scan(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// The keys that start with `prefix`, in order.
    ///
    /// # Errors
    /// The store cannot be read.
    fn keys(&self, table: Table, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// All changes or none. When it returns they survive a crash.
    ///
    /// # Errors
    /// Nothing was changed.
    fn write(&self, changes: &[Change]) -> Result<(), StoreError>;

    /// Gives back what other processes wait for, whoever still holds this store. Waits for what is under way; whatever
    /// is asked later fails.
    fn close(&self) {}
}

#[cfg(test)]
mod cuts;
#[cfg(test)]
mod tests;
